#!/usr/bin/env python3
"""Builds the image on another Debian and compares what it makes with what the image on the default base makes.

    other_base.py [--release trixie] [--unit]

The private engine makes the base from Debian's packages (a minute); another Docker pulls it from Docker Hub. Then the
image is built on it under the name IMAGE-RELEASE, and both work on a simulated recording. What they make by inspecting
it (tables, TIFFs, figures, films) must be the same, byte for byte. The recipe `cells` must find the true cells as well:
its numbers may differ in the last digits, as each Python has its own releases of NumPy and SciPy. --unit also runs the
unit tests in the image on the other base, which takes as long as in `make test`. Needs an engine and IMAGE, as `make`
does.
"""

from __future__ import annotations

import argparse
import filecmp
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
IMAGE = os.environ.get("IMAGE") or "isx"
SAME = (".csv", ".tif", ".png", ".svg", ".isxd", ".mp4")  # what says nothing of software or time
OURS = "logs", ".records"  # of the run itself
OPTIONS = ("NWB=1", "MOVIE_TIFF=1", "MOVIE_MP4=1")
USER = f"{os.getuid()}:{os.getgid()}"
APART = 0.02  # in the F1 of cells found


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--release", default="trixie", help="of Debian (default: %(default)s)")
    parser.add_argument("--unit", action="store_true", help="run the unit tests there, too")
    options = parser.parse_args()
    base = said("python3", ROOT / "docker_engine/engine.py", "base", options.release)
    other = f"{IMAGE}-{options.release}"
    build(other, base, "image")
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        in_image(IMAGE, work, "python", "/simulate.py", "/made/input", folder="input")
        for image in (IMAGE, other):
            in_image(image, work, "--input-dir=/made/input", f"--output-dir=/made/{image}", folder=image)
        n_files, differing = compare(work / IMAGE, work / other)
        scores = [score(image, work) for image in (IMAGE, other)]
    print(f"{other}: {said('docker', 'run', '--rm', f'{other}:latest', '--version').splitlines()[2]}")
    print(f"F1 of cells found: {scores[0]:.2f} on the default base, {scores[1]:.2f} on this one")
    print(f"{n_files} tables, images, recordings and films of both: {len(differing)} differ {differing or ''}".rstrip())
    if options.unit and not differing:
        build(other, base, "test")
        return subprocess.run(
            ["docker", "run", "--rm", "--cap-add", "SYS_ADMIN", f"{other}:test"], check=False
        ).returncode
    return 1 if differing or not n_files or abs(scores[0] - scores[1]) > APART else 0


def said(*command: object) -> str:
    return subprocess.run([*map(str, command)], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def build(image: str, base: str, target: str) -> None:
    variables = {"IMAGE": image, "BASE_IMAGE": base, "BASE_DIGEST": "", "ISX_SOURCE": "public"}
    targets = [] if target == "image" else [target]
    command = [sys.executable, ROOT / "scripts/build.py", *targets]
    subprocess.run(command, env={**os.environ, **variables}, check=True)


def in_image(image: str, work: Path, *arguments: str, folder: str) -> None:
    (work / folder).mkdir()
    mounts = ["-v", f"{work}:/made", "-v", f"{ROOT / 'samples/simulate.py'}:/simulate.py:ro"]
    options = [part for option in OPTIONS for part in ("-e", option)]
    command = ["docker", "run", "--rm", "--user", USER, *mounts, *options, f"{image}:latest", *arguments]
    subprocess.run(command, check=True)


def score(image: str, work: Path) -> float:
    """How well the recipe `cells` finds the cells that were simulated."""
    folder = f"cells-{image}"
    in_image(image, work, "--recipe=cells", "--input-dir=/made/input", f"--output-dir=/made/{folder}", folder=folder)
    compared = f"/made/{folder}/simulated/simulated-cells.isxd", "/made/input/simulated-truth.npz", "/made/picture.png"
    mounts = ["-v", f"{work}:/made", "-v", f"{ROOT / 'scripts/compare.py'}:/compare.py:ro"]
    line = said("docker", "run", "--rm", "--user", USER, *mounts, f"{image}:latest", "python", "/compare.py", *compared)
    return float(re.findall(r"F1 (\d\.\d+)", line)[0])


def compare(one: Path, other: Path) -> tuple[int, list[str]]:
    """How many files must be equal, and those that are not, or are there only once."""
    names = [{path.relative_to(folder) for path in folder.rglob("*") if path.is_file()} for folder in (one, other)]
    differing = {str(name) for name in names[0] ^ names[1]}
    equal = [name for name in names[0] & names[1] if name.suffix in SAME and name.parts[0] not in OURS]
    equal = [name for name in equal if str(name) != "summary.csv"]  # it says how long each took
    differing |= {str(name) for name in equal if not filecmp.cmp(one / name, other / name, shallow=False)}
    return len(equal), sorted(differing)


if __name__ == "__main__":
    sys.exit(main())
