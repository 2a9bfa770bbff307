#!/usr/bin/env python3
"""A recording of a whole field through recipes: seconds a step, memory, and what that makes for one of 20 minutes.

    long_movie.py [--frames N] [--recipes NAME...] [--folder FOLDER] [--json]

Needs the image's packages: run it in the image with this project mounted, or in a virtual environment with
requirements.txt and isx. The movie has 1280 x 800 px at 20 Hz and moves; it is a simulated field of 320 x 200 px with
its cells, repeated in both directions without a seam. Each recipe runs with `keep = "last"`, as `docker run` does it,
with all its results. Most of the time grows with the number of frames, so that 24,000 frames take at most 24,000 / N
times as long. Memory is what all processes of the run hold together at most, without pages of files.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))

ROWS, COLUMNS, RATE_HZ = 800, 1280, 20
REPEATS = 4  # of the simulated field, down and across
WHOLE = 24_000  # frames of 20 minutes


def write_movie(path: Path, n: int) -> int:
    """Returns the number of cells."""
    import numpy as np

    from open_engine.files import frames
    from open_engine.files.movies import Spacing, Timing
    from samples import simulate

    shape = (ROWS // REPEATS, COLUMNS // REPEATS)
    seconds = n / RATE_HZ
    made = simulate.recording(1, seconds, shape, 30, diameter_px=14, motion_px=2, rate_hz=RATE_HZ, endless=True)
    timing, spacing = Timing(n, Fraction(1, RATE_HZ)), Spacing(ROWS, COLUMNS)
    blocks = (np.tile(frame, (1, REPEATS, REPEATS)) for frame in np.split(made.movie, n))
    frames.write_movie(path, None, blocks, "uint16", timing, spacing, {})
    return len(made.traces) * REPEATS**2


def run(recipe: str, movie: Path, folder: Path) -> dict[str, Any]:
    """Seconds of each step and of all, and memory in MB."""
    text = (PROJECT / f"recipes/{recipe}.toml").read_text().replace('keep = "all"', 'keep = "last"')
    (folder / f"{recipe}.toml").write_text(text)
    output = folder / recipe
    output.mkdir()
    options = ("--input-dir", movie.parent, "--output-dir", output, "--recipe", folder / f"{recipe}.toml")
    process = subprocess.Popen(
        [sys.executable, PROJECT / "bootstrap.py", *options], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    peak, done = 0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.1):
            peak = max(peak, held_by(process.pid))

    watcher = threading.Thread(target=watch)
    watcher.start()
    started, before = time.monotonic(), _processor_s()
    _, log = process.communicate()
    done.set()
    watcher.join()
    if process.returncode:
        raise RuntimeError(f"the recipe {recipe} failed: {log.decode()[-2000:]}")
    record = json.loads((output / movie.stem / f"{movie.stem}.json").read_text())
    steps = [[step["step"], step["seconds"]] for step in record["steps"]]
    return {
        "seconds": round(time.monotonic() - started, 1),
        "cpu_s": round(_processor_s() - before, 1),
        "peak_mb": round(peak / 1e6),
        "steps": steps,
    }


def _processor_s() -> float:
    """Processor time of all processes that have ended, their children included."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def held_by(pid: int) -> int:
    """Bytes that a process and its descendants hold, without pages of files.

    What they share counts once: one of them has all of it, and the others a part.
    """
    held = _held(pid)
    return sum(own for own, _ in held) + max((shared for _, shared in held), default=0)


def _held(pid: int) -> list[tuple[int, int]]:
    """Of each process, its own bytes and those that it may share."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        children = [int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in _children(task)]
    except OSError:
        return []
    kilobytes = dict(line.split(":") for line in status.splitlines() if line.startswith("Rss"))
    own, shared = (1024 * int(kilobytes.get(name, "0").split()[0]) for name in ("RssAnon", "RssShmem"))
    return [(own, shared), *(held for child in children for held in _held(child))]


def _children(task: Path) -> list[str]:
    return (task / "children").read_text().split()


def extraction_gb(threads: int) -> float:
    """What run_cnmfe holds for 20 minutes after the recipes' preprocessing, if it has 16 GB: patches that were read,
    and those that are worked on, as run_cnmfe itself reckons before it begins.
    """
    from open_engine.cnmfe.extraction import Settings
    from open_engine.steps.run_cnmfe import READ_MOST, READ_SHARE

    patch = 80 * 80 * 4 * (WHOLE // 2)
    field = patch * (ROWS // 2) * (COLUMNS // 2) / (80 - 20) ** 2
    copies = Settings(diameter=7, rate_hz=RATE_HZ / 2).working_copies
    return round((min(READ_SHARE * 16e9, READ_MOST, field) + threads * copies * patch) / 1e9, 1)


def report(measured: dict[str, Any]) -> str:
    n = measured["frames"]
    lines = [f"{n} frames of {COLUMNS} x {ROWS} px with {measured['cells']} cells, {measured['cores']} cores"]
    lines += [f"run_cnmfe on 20 minutes: {measured['extraction_gb']} GB with 4 threads, its default"]
    for recipe, one in measured["recipes"].items():
        share = one["seconds"] * RATE_HZ / n
        lines.append(
            f"{recipe}: {one['seconds']} s, {one['cpu_s']} s of processor time, {one['peak_mb']} MB; "
            f"{share:.2f} of the time that the recording took, so {20 * share:.0f} minutes for 20"
        )
        lines += [f"  {name:24} {seconds:8.1f} s" for name, seconds in one["steps"]]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--frames", type=int, default=1000)
    parser.add_argument("--recipes", nargs="+", default=["cnmfe", "standard", "cells"])
    parser.add_argument("--folder", type=Path, help="where the movie goes; default: a temporary folder")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        (folder / "input").mkdir()
        movie = folder / "input" / "field.isxd"
        cells = write_movie(movie, options.frames)
        recipes = {recipe: run(recipe, movie, folder) for recipe in options.recipes}
    cores = len(os.sched_getaffinity(0))
    measured = {
        "frames": options.frames,
        "cells": cells,
        "cores": cores,
        "recipes": recipes,
        "extraction_gb": extraction_gb(4),
    }
    print(json.dumps(measured) if options.json else report(measured))


if __name__ == "__main__":
    main()
