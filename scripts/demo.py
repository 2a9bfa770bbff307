#!/usr/bin/env python3
"""Run the image on a folder of recordings, as the current user, with every restriction at once.

Reads INPUT (default: input), writes OUTPUT (default: output) and runs RECIPE (default: inspect). If ./input has no
recording, the image first simulates one there; the recipe is then `cells`, and the result is compared with the truth. A
folder named by INPUT is left as it is. Standard library only.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
IMAGE = os.environ.get("IMAGE", "isx") + ":latest"
TRUTH = "simulated-truth.npz"  # beside the recording that simulate.py makes
PICTURE = "found-and-true.png"
SUFFIXES = {".isxd", ".isxb", ".gpio", ".imu"}


def run(*arguments: str) -> int:
    """`docker run` as the current user, read-only, without network, capabilities or new privileges."""
    user = f"{os.getuid()}:{os.getgid()}"
    restrictions = ["--read-only", "--tmpfs", "/tmp", "--network", "none", "--cap-drop", "ALL"]
    restrictions += ["--security-opt", "no-new-privileges"]
    command = ["docker", "run", "--rm", "--user", user, *restrictions, *arguments]
    return subprocess.run(command, check=False).returncode


def has_recordings(folder: Path) -> bool:
    return any(path.suffix.lower() in SUFFIXES for path in folder.rglob("*"))


def main() -> int:
    source = Path(os.environ.get("INPUT") or PROJECT / "input").resolve()
    results = Path(os.environ.get("OUTPUT") or PROJECT / "output").resolve()
    for folder in (source, results):
        folder.mkdir(parents=True, exist_ok=True)
    if not has_recordings(source):
        if os.environ.get("INPUT"):
            print(f"No recording in {source}: looked for {', '.join(sorted(SUFFIXES))}.", file=sys.stderr)
            return 66
        print(f"No recordings in {source}: simulating one there.", flush=True)
        mounts = ["-v", f"{source}:/made", "-v", f"{PROJECT / 'samples/simulate.py'}:/simulate.py:ro"]
        if run(*mounts, IMAGE, "python", "/simulate.py", "/made"):
            return 1
    is_simulated = (source / TRUTH).is_file()
    recipe = os.environ.get("RECIPE") or ("cells" if is_simulated else "inspect")
    options = ["-e", "LOG_FORMAT=text", "-e", f"RECIPE={recipe}", *(["-t"] if sys.stdout.isatty() else [])]
    code = run(*options, "-v", f"{source}:/data:ro", "-v", f"{results}:/output", IMAGE)
    if code == 0 and is_simulated:
        compare(source, results)
    if code == 0:
        print(f"\nOpen {results}/index.html")
    return code


def compare(source: Path, results: Path) -> None:
    """Say how much of what was simulated the recipe found, and draw it."""
    for cell_set in sorted((results / "simulated").glob("*-cells.isxd")):
        mounts = ["-v", f"{source}:/data:ro", "-v", f"{results}:/output"]
        mounts += ["-v", f"{PROJECT / 'scripts/compare.py'}:/compare.py:ro"]
        files = [f"/output/simulated/{cell_set.name}", f"/data/{TRUTH}", f"/output/{PICTURE}"]
        print(f"\n{cell_set.name}: ", end="", flush=True)
        if run(*mounts, IMAGE, "python", "/compare.py", *files) == 0:
            print(f"Found and true cells: {results / PICTURE}")


if __name__ == "__main__":
    sys.exit(main())
