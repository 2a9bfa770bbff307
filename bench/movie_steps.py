#!/usr/bin/env python3
"""Measure the movie steps of the open engine: rate against reading plus writing, memory, and error of registration.

    movie_steps.py [--frames N] [--size ROWS COLUMNS] [--folder FOLDER] [--json] [--sims FOLDER...]

Needs the image's packages: run it in the image with this project mounted, or in a virtual environment with
requirements.txt and isx. Each step runs in a process of its own. Right after it, the same process reads the same movie
with the same reader and writes as many bytes as the step did: that is "reading plus writing". The ratio is that of
their rates, by the clock and by processor time over threads (which tells more where the machine is busy). Memory is the
greatest resident set of the process, all libraries included. `--sims` takes folders as the simulator leaves them
(movie.npy and truth.npz) and prints the root mean square error of the shifts instead.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

PROJECT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(PROJECT), str(PROJECT / "bench")]

from measure import rounded  # noqa: E402

STEPS = {
    "preprocess, defaults": ("preprocess", {}),
    "preprocess, space by 4": ("preprocess", {"spatial_downsample_factor": 4}),
    "preprocess, space by 2, time by 2": (
        "preprocess",
        {"spatial_downsample_factor": 2, "temporal_downsample_factor": 2},
    ),
    "spatial_filter": ("spatial_filter", {}),
    "motion_correct": ("motion_correct", {}),
    "dff": ("dff", {}),
    "trim_movie": ("trim_movie", {"crop_segments": [[10, 20]]}),
    "interpolate_movie": ("interpolate_movie", {}),
    "project_movie, mean": ("project_movie", {"stat_type": "mean"}),
    "project_movie, standard_deviation": ("project_movie", {"stat_type": "standard_deviation"}),
}


def write_moving(path: Path, n: int, rows: int, columns: int) -> None:
    """A textured field that moves, with noise: uint16, whole frames repeated from a few, so that it is quickly made."""
    from scipy.ndimage import gaussian_filter

    from samples import recordings

    rng = np.random.default_rng(0)
    tissue = gaussian_filter(rng.normal(size=(rows + 40, columns + 40)), 3) * 1500 + 800
    data = []
    for _ in range(20):
        y, x = rng.integers(15, 26, 2)
        data.append(np.clip(rng.normal(tissue[y : y + rows, x : x + columns], 20), 0, 4095).astype(np.uint16))
    order = rng.integers(0, 20, n)
    recordings.movie_from(path, np.array(data)[order])


def one(source: str, name: str, threads: int) -> dict[str, float]:
    """Runs in a process of its own: seconds of the step and of reading plus writing, and memory."""
    from open_engine.context import StepContext
    from open_engine.files import frames

    step_name, parameters = STEPS[name]
    step = getattr(import_module(f"open_engine.steps.{step_name}"), step_name)
    target = f"{source}-{os.getpid()}.isxd"
    inputs = source if step_name == "trim_movie" else [source]
    outputs = target if step_name in ("project_movie", "trim_movie") else [target]
    context = StepContext(Path(tempfile.gettempdir()), threads, lambda text: None, lambda fraction: None)
    step_took = timed(lambda: step(inputs, outputs, **parameters, context=context))
    memory = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    written = Path(target).stat().st_size
    Path(target).unlink()

    def read_and_write() -> None:
        with frames.open_movie(source) as movie, Path(target).open("wb", buffering=0) as file:
            cuts = list(frames.chunks(movie, frames.BLOCK_MB))
            product = np.ones(written // len(cuts), np.uint8)
            for cut in cuts:
                movie.stored(*cut)
                file.write(product.data)

    copy_took = timed(read_and_write)
    Path(target).unlink()
    return {"step": step_took, "copy": copy_took, "mb": int(memory.split()[1]) / 1024}


def timed(work: Callable[[], None]) -> tuple[float, float]:
    """Seconds by the clock and of the processor."""
    started = time.monotonic(), time.process_time()
    work()
    return time.monotonic() - started[0], time.process_time() - started[1]


def rates(folder: Path, n: int, rows: int, columns: int, threads: int) -> dict[str, Any]:
    """The speed of every step, Mpx a second, and that of a copy of the same movie."""
    source = folder / "steps.isxd"
    write_moving(source, n, rows, columns)
    megapixels, steps = n * rows * columns / 1e6, {}
    for name in STEPS:
        command = [sys.executable, __file__, "--one", name, "--threads", str(threads), str(source)]
        measured = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        (step, step_cpu), (copy, copy_cpu) = measured["step"], measured["copy"]
        steps[name] = {
            "mpx_per_s": rounded(megapixels / step),
            "copy_mpx_per_s": rounded(megapixels / copy),
            "ratio": rounded(copy / step),
            "ratio_by_processor": rounded(copy_cpu / (step_cpu / threads)),
            "mb": round(measured["mb"]),
        }
    source.unlink()
    return {"frames": n, "size": f"{columns} x {rows}", "threads": threads, "steps": steps}


def table(measured: dict[str, Any]) -> str:
    lines = [
        f"{measured['frames']} frames of {measured['size']} px, uint16, {measured['threads']} threads",
        f"{'step':34} {'Mpx/s':>7} {'read + write':>12} {'ratio':>6} {'by processor':>12} {'memory MB':>10}",
    ]
    for name, one in measured["steps"].items():
        lines.append(
            f"{name:34} {one['mpx_per_s']:7.0f} {one['copy_mpx_per_s']:12.0f} {one['ratio']:6.2f} "
            f"{one['ratio_by_processor']:12.2f} {one['mb']:10}"
        )
    return "\n".join(lines)


def errors(folder: Path, sims: list[Path], threads: int, band: tuple[float, float]) -> None:
    from open_engine.context import StepContext
    from open_engine.steps.motion_correct import motion_correct
    from samples import recordings

    context = StepContext(folder, threads, print, lambda fraction: None)
    for sim in sims:
        true = np.load(sim / "truth.npz")["shifts"]
        source, table = folder / "sim.isxd", folder / "shifts.csv"
        recordings.movie_from(source, np.load(sim / "movie.npy"))
        settings = {"low_bandpass_cutoff": band[0], "high_bandpass_cutoff": band[1]}
        motion_correct(
            [str(source)],
            [str(folder / "made.isxd")],
            output_translation_files=[str(table)],
            context=context,
            **settings,
        )
        shifts = -np.loadtxt(table, delimiter=",", skiprows=1)[:, [1, 0]]
        away = shifts - true
        error = np.sqrt(((away - away.mean(axis=0)) ** 2).mean())
        print(f"{sim.name:12} motion {true.std():5.2f} px, error {error:.3f} px, {np.abs(shifts).max():.2f} px at most")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--frames", type=int, default=1000)
    parser.add_argument("--size", type=int, nargs=2, default=(400, 640), metavar=("ROWS", "COLUMNS"))
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--folder", type=Path, help="where the movies go; default: a temporary folder")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--sims", type=Path, nargs="+", help="folders of simulated recordings")
    parser.add_argument("--band", type=float, nargs=2, default=(0.004, 0.016), help="cut-offs, for --sims")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("source", nargs="?", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(one(options.source, options.one, options.threads)))
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        if options.sims:
            errors(Path(folder), options.sims, options.threads, tuple(options.band))
        else:
            report = rates(Path(folder), options.frames, *options.size, options.threads)
            print(json.dumps(report) if options.json else table(report))


if __name__ == "__main__":
    main()
