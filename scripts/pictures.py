#!/usr/bin/env python3
"""Take the pictures of the README from what `make demo` made of the recording that it simulates.

    pictures.py    of output/, or OUTPUT, to docs/images: page-overview.png, page-cells.gif, found-and-true.png

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
OVERVIEW = ("index.html", "body", 1400, 420)  # page, what is at the top of the picture, width and height in px
CELLS = (PAGE, ".explorer, .map", 1150, 850)
GIF_WIDTH = 920  # px
ACTS = (  # what a user does on the page of a session: JavaScript, and how long the picture stays, ms
    ("", 2000),
    ("click('tr[data-i=\"5\"]')", 1500),
    ("click('tr[data-i=\"13\"]')", 1500),
    ("set('select[name=background]', 2)", 1800),
    ("click('[data-map=\"2\"]')", 1800),
    ("click('[data-map=\"0\"]'); set('select[name=background]', 0)", 1000),
    ("click('[data-do=doubt]')", 1800),
    ("click('[data-do=accept]')", 1500),
    ("click('.list tbody tr:nth-child(2)')", 1500),
    ("click('[data-do=reject]')", 2500),
)
HELPERS = """
const one = place => document.querySelector(".explorer " + place);
const click = place => one(place).dispatchEvent(new MouseEvent("click", { bubbles: true }));
const set = (place, value) => {
  one(place).value = value;
  for (const kind of ["input", "change"]) one(place).dispatchEvent(new Event(kind, { bubbles: true }));
};
"""
LOOK = f"""
OVERVIEW, CELLS, ACTS, HELPERS, GIF_WIDTH = {OVERVIEW!r}, {CELLS!r}, {ACTS!r}, {HELPERS!r}, {GIF_WIDTH}
import io, time
from PIL import Image
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
options = webdriver.ChromeOptions()
for argument in ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--user-data-dir=/tmp/profile"):
    options.add_argument(argument)
driver = webdriver.Chrome(options=options, service=Service("/usr/bin/chromedriver"))
def show(page, top, width, height):
    view = dict(width=width, height=height, deviceScaleFactor=1, mobile=False)
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", view)
    driver.get("file:///results/" + page)
    driver.execute_script("document.querySelector(arguments[0]).scrollIntoView()", top)
def shot():
    time.sleep(0.3)
    return Image.open(io.BytesIO(driver.get_screenshot_as_png())).convert("RGB")
show(*OVERVIEW)
for name, picture in (("page-overview", shot()), ("found-and-true", Image.open("/results/found-and-true.png"))):
    picture.convert("RGB").quantize(256).save(f"/pictures/{{name}}.png", optimize=True)
show(*CELLS)
frames = []
for act, _ in ACTS:
    driver.execute_script(HELPERS + act)
    frame = shot()
    frames.append(frame.resize((GIF_WIDTH, frame.height * GIF_WIDTH // frame.width), Image.Resampling.LANCZOS))
driver.quit()
side_by_side = Image.new("RGB", (GIF_WIDTH * len(frames), frames[0].height))
for n, frame in enumerate(frames):
    side_by_side.paste(frame, (GIF_WIDTH * n, 0))
palette = side_by_side.quantize(128)
first, *others = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
durations = [ms for _, ms in ACTS]
first.save("/pictures/page-cells.gif", save_all=True, append_images=others, duration=durations, loop=0, optimize=True)
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
        for picture in Path(folder).iterdir():
            (PICTURES / picture.name).write_bytes(picture.read_bytes())
    return 0


if __name__ == "__main__":
    sys.exit(main())
