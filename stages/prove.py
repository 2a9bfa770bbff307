#!/usr/bin/env python3
"""No image comes out of a build in which the API, its dependencies or its algorithms do not work; runs in the runtime's
own root, without network.

    prove.py RECIPE

First healthcheck.py --deep, then, if the product has the licensed algorithms, the steps of a recipe on a small
synthetic movie, as a user who may write nothing but /tmp. What the product says when it refuses ends the build, with
the way out. PROOF=load leaves the algorithms out. LICENCE names a licence file, if one was passed.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

USER = 1000
SECONDS = 600
HEALTHCHECK = Path("/app/healthcheck.py")
WAYS_OUT = {
    r"activat|licen[cs]e": (
        "If it wants a licence file, pass it with LICENCE=path: the build uses it for this proof alone, and runs need "
        "it again (docs/build.md)."
    ),
    r"numpy|\bnp\.": (
        "If it needs an older NumPy: write numpy<2 for numpy in requirements.in, run 'make lock', and build again."
    ),
    r"python ?\d|python version|syntax ?error": (
        "If it needs another Python: build with BASE_IMAGE=python:3.9-slim-bookworm; the lock serves 3.9 to 3.12."
    ),
}
ALL_THE_SAME = "To build all the same, with what works: PROOF=load."


class Refused(Exception):
    """What the product says when it does not work."""


# --- in the build ---------------------------------------------------------------------------------------------------


def main(recipe: Path) -> int:
    proof = os.environ.get("PROOF") or "algorithms"
    if proof not in ("algorithms", "load"):
        return fail(f"PROOF={proof}: there are only algorithms and load.")
    loaded = run([sys.executable, str(HEALTHCHECK), "--deep"])
    print(loaded.stdout, end="", flush=True)
    if loaded.returncode:
        return fail("isx does not work in this image: its answer stands above.", loaded.stdout)
    if proof == "load":
        return 0
    with tempfile.TemporaryDirectory() as folder:
        os.chown(folder, USER, USER)
        tried = run([sys.executable, __file__, "--try", str(recipe), folder], user=USER, cwd=folder)
    print(tried.stdout, end="", flush=True)
    if tried.returncode:
        return fail("the algorithms of this product do not run in this image: its answer stands above.", tried.stdout)
    return 0


def run(command: list[str], user: int | None = None, cwd: str = "/") -> subprocess.CompletedProcess[str]:
    as_user = {"user": user, "group": user, "extra_groups": []} if user else {}
    environment = {**os.environ, "HOME": "/tmp", "PYTHONPATH": str(HEALTHCHECK.parent), "PYTHONFAULTHANDLER": "1"}
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    try:
        return subprocess.run(
            command,
            check=False,
            text=True,
            errors="replace",
            timeout=SECONDS,
            env=environment,
            cwd=cwd,
            **pipes,
            **as_user,
        )
    except subprocess.TimeoutExpired as error:
        said = error.stdout.decode(errors="replace") if isinstance(error.stdout, bytes) else error.stdout or ""
        return subprocess.CompletedProcess(command, 1, f"{said}\nIt did not end within {SECONDS} s.\n")


def fail(message: str, said: str = "") -> int:
    ways_out = [way for pattern, way in WAYS_OUT.items() if re.search(pattern, said, re.IGNORECASE)]
    ways_out += [ALL_THE_SAME] if "algorithms of this product" in message else []
    print("\nERROR: " + " ".join([message, *ways_out]) + "\n", file=sys.stderr)
    return 1


# --- in a process of the image's own user ----------------------------------------------------------------------------


def try_algorithms(recipe: Path, folder: Path) -> int:
    """The steps of a recipe, each on what the one before made."""
    import isx
    import isx._internal

    if not isx._internal.is_with_algos:
        print("no licensed algorithms in this product: none to prove")
        return 0
    files = {"movie": folder / "movie.isxd"}
    write_movie(files["movie"])
    for number, step in enumerate(steps_of(recipe), 1):
        name = step.pop("use")
        call = CALLS.get(name)
        if call is None:
            print(f"{name}: not proven, this proof does not know how to call it")
            continue
        try:
            call(getattr(isx, name), files, folder / f"{number}-{name}.isxd", step)
        except Exception as error:
            print(f"{name} says: {type(error).__name__}: {error}")
            return 1
        print(f"{name}: runs")
    return 0


def steps_of(recipe: Path) -> list[dict[str, Any]]:
    try:
        import tomllib
    except ImportError:
        import tomli as tomllib
    steps = tomllib.loads(recipe.read_text(encoding="utf-8"))["step"]
    few = {"num_pcs": 8, "num_ics": 6}  # for the small movie
    return [
        {
            key: None if value == "none" else few.get(key, value)
            for key, value in step.items()
            if key not in ("from", "engine")
        }
        for step in steps
    ]


def filter_movie(function: Callable, files: dict[str, Path], target: Path, step: dict[str, Any]) -> None:
    if "projection" in files and function.__name__ == "motion_correct":
        step["reference_file_name"] = str(files["projection"])
    function([str(files["movie"])], [str(target)], **step)
    files["movie"] = target


def project(function: Callable, files: dict[str, Path], target: Path, step: dict[str, Any]) -> None:
    function([str(files["movie"])], str(target), **step)
    files["projection"] = target


def find_cells(function: Callable, files: dict[str, Path], target: Path, step: dict[str, Any]) -> None:
    function([str(files["movie"])], [str(target)], **step)
    files["cells"] = target


def find_events(function: Callable, files: dict[str, Path], target: Path, step: dict[str, Any]) -> None:
    function([str(files["cells"])], [str(target)], **step)
    files["events"] = target


def sort_cells(function: Callable, files: dict[str, Path], target: Path, step: dict[str, Any]) -> None:
    step["filters"] = [tuple(rule) for rule in step["filters"]]
    function([str(files["cells"])], [str(files["events"])], **step)


CALLS = {
    "preprocess": filter_movie,
    "spatial_filter": filter_movie,
    "motion_correct": filter_movie,
    "dff": filter_movie,
    "project_movie": project,
    "pca_ica": find_cells,
    "event_detection": find_events,
    "auto_accept_reject": sort_cells,
}


def write_movie(path: Path) -> None:
    """Six blinking cells in noise, 96 x 96 pixels, 20 s at 10 Hz."""
    import isx
    import numpy as np

    random = np.random.default_rng(1)
    y, x = np.mgrid[:96, :96]
    centres = [(24, 24), (24, 70), (48, 47), (72, 24), (72, 70), (40, 80)]
    footprints = np.array([np.exp(-((y - row) ** 2 + (x - column) ** 2) / 32) for row, column in centres])
    events = (random.random((200, len(centres))) < 0.05).astype(float)
    traces = np.array([np.convolve(train, np.exp(-np.arange(30) / 7))[:200] for train in events.T]).T
    frames = random.poisson(300 + 200 * np.tensordot(traces, footprints, 1)).astype(np.uint16)
    timing = isx.Timing(num_samples=len(frames), period=isx.Duration.from_msecs(100))
    movie = isx.Movie.write(str(path), timing, isx.Spacing(num_pixels=frames.shape[1:]), np.uint16)
    for number, frame in enumerate(frames):
        movie.set_frame_data(number, frame)
    movie.flush()


if __name__ == "__main__":
    if sys.argv[1] == "--try":
        sys.exit(try_algorithms(Path(sys.argv[2]), Path(sys.argv[3])))
    sys.exit(main(Path(sys.argv[1])))
