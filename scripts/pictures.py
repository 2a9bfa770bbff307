#!/usr/bin/env python3
"""Take the pictures of the README from what `make demo` made of the recording that it simulates.

    pictures.py    of output/, or OUTPUT, to docs/images: page-overview.png, page-cells.png, found-and-true.png

The browser of the image IMAGE:browser looks at the pages. Needs an engine, as `make pictures` does.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RESULTS = Path(os.environ.get("OUTPUT") or ROOT / "output").resolve()
PICTURES = ROOT / "docs/images"
PAGE = "simulated/simulated.html"
SHOTS = (  # page, what is at the top of the picture, name, width and height in px
    ("index.html", "body", "page-overview", 1400, 420),
    (PAGE, ".explorer, .map", "page-cells", 1150, 900),
)
LOOK = f"""
SHOTS = {SHOTS!r}
from PIL import Image
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
options = webdriver.ChromeOptions()
for argument in ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--user-data-dir=/tmp/profile"):
    options.add_argument(argument)
driver = webdriver.Chrome(options=options, service=Service("/usr/bin/chromedriver"))
for page, top, name, width, height in SHOTS:
    view = dict(width=width, height=height, deviceScaleFactor=1, mobile=False)
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", view)
    driver.get("file:///results/" + page)
    driver.execute_script("document.querySelector(arguments[0]).scrollIntoView()", top)
    driver.save_screenshot("/tmp/" + name + ".png")
driver.quit()
for place in [f"/tmp/{{shot[2]}}.png" for shot in SHOTS] + ["/results/found-and-true.png"]:
    picture = Image.open(place).convert("RGB").quantize(256)
    picture.save("/pictures/" + place.split("/")[-1], optimize=True)
"""


def main() -> int:
    for path in (RESULTS / PAGE, RESULTS / "found-and-true.png"):
        if not path.is_file():
            print(
                f"{path} is not there: run `make demo` first, with no recording of your own in input/", file=sys.stderr
            )
            return 1
    image = f"{os.environ.get('IMAGE') or 'isx'}:browser"
    with tempfile.TemporaryDirectory() as folder:
        mounts = ["-v", f"{RESULTS}:/results:ro", "-v", f"{folder}:/pictures"]
        command = ["docker", "run", "--rm", "--network", "none", "--entrypoint", "python", *mounts, image, "-c", LOOK]
        subprocess.run(command, check=True)
        for picture in Path(folder).glob("*.png"):
            (PICTURES / picture.name).write_bytes(picture.read_bytes())
    return 0


if __name__ == "__main__":
    sys.exit(main())
