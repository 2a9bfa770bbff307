"""How fast the pass over a movie is, against two measures of the same run.

- floor: read each frame, convert it to float32, one dot product; less no statistic can do.
- naive: each statistic as NumPy spells it, frame by frame.
- pass: what the adapter does, all statistics of all frames and pixels.

All three read the same file, which is in the page cache, on as many processes as are asked for; rounds are interleaved,
so that a busy machine slows all alike, and the ratios are of the medians. Beside the rates stands the ratio of
processor time, which depends less on what else the machine does.

    python bench/movie_pass.py [--frames 1000] [--size 800x1280] [--dtype uint16] [--processes 2] [--rounds 5] [--json]
"""

from __future__ import annotations

import os

os.environ["OPENBLAS_NUM_THREADS"] = "1"

import json
import statistics as medians
import subprocess
import sys
import tempfile
from collections.abc import Callable
from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np

from measure import interleaved, movie_options, seconds_of

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from open_engine.files.frames import write_movie  # noqa: E402  only after the threads of BLAS are set
from open_engine.files.movies import Spacing, Timing, open_frames  # noqa: E402
from open_engine.statistics import movie_statistics  # noqa: E402
from recording.formats import MovieLayout, movie_layout  # noqa: E402


def main() -> None:
    options = movie_options(__doc__, frames=1000, rounds=5, workers="processes")
    rows, columns = (int(side) for side in options.size.split("x"))
    with tempfile.TemporaryDirectory(dir=options.dir) as folder:
        path = Path(folder) / "movie.isxd"
        layout = _write_movie(path, options.frames, rows, columns, options.dtype)
        wall, processor = _measure(path, layout, options.processes, options.rounds)
    report = _report(wall, processor, n_bytes=options.frames * layout.stride)
    report |= {"frames": options.frames, "size": options.size, "dtype": options.dtype, "processes": options.processes}
    print(json.dumps(report) if options.json else _table(report))


def _write_movie(path: Path, n: int, rows: int, columns: int, dtype: str) -> MovieLayout:
    """A bright field with the noise of a sensor of 12 bits; 20 different frames, over and over."""
    rng = np.random.default_rng(0)
    field = 400 + 800 * rng.random((rows, columns), np.float32)
    scale = 1 / 16 if dtype == "uint8" else 1
    different = [(scale * (field + rng.normal(0, 20, field.shape))).astype(dtype) for _ in range(20)]
    timing, spacing = Timing(n, Fraction(1, 20)), Spacing(rows, columns)
    write_movie(path, None, (different[i % 20][np.newaxis] for i in range(n)), dtype, timing, spacing, {})
    return movie_layout(path)


Seconds = dict[str, list[float]]  # of each contender, one a round


def _measure(path: Path, layout: MovieLayout, processes: int, rounds: int) -> tuple[Seconds, Seconds]:
    contenders: dict[str, Callable[[], object]] = {
        "floor": lambda: _in_processes("floor", path, layout, processes),
        "pass": lambda: _pass(path, processes),
        "naive": lambda: _in_processes("naive", path, layout, processes),
    }
    measured = interleaved({name: partial(_timed, run) for name, run in contenders.items()}, rounds)
    wall, processor = ({name: [one[i] for one in runs] for name, runs in measured.items()} for i in (0, 1))
    return wall, processor


def _pass(path: Path, processes: int) -> None:
    with open_frames(path) as frames:
        movie_statistics(frames, processes)


def _timed(run: Callable[[], object]) -> tuple[float, float]:
    """Seconds by the clock, and of this process's and its children's processors."""
    worked = sum(os.times()[:4])
    return seconds_of(run), sum(os.times()[:4]) - worked


def _in_processes(name: str, path: Path, layout: MovieLayout, processes: int) -> None:
    """Some frames in each of several processes, of which this is the first."""
    cuts = [layout.n_stored * i // processes for i in range(processes + 1)]
    others = [
        subprocess.Popen(
            [
                sys.executable,
                __file__,
                "--part",
                name,
                str(path),
                str(first),
                str(last),
                layout.dtype,
                str(layout.stride),
            ]
        )
        for first, last in zip(cuts[1:], cuts[2:])
    ]
    PARTS[name](path, 0, cuts[1], layout.dtype, layout.stride)
    assert all(other.wait() == 0 for other in others)


def floor(path: Path, first: int, last: int, dtype: str, stride: int) -> float:
    frame, total = np.empty(stride // np.dtype(dtype).itemsize, dtype), 0.0
    with path.open("rb", buffering=0) as file:
        file.seek(first * stride)
        for _ in range(first, last):
            file.readinto(frame)
            converted = frame.astype(np.float32)
            total += float(converted @ converted)
    return total


def naive(path: Path, first: int, last: int, dtype: str, stride: int) -> object:
    frame = np.empty(stride // np.dtype(dtype).itemsize, dtype)
    total, squares = np.zeros(len(frame)), np.zeros(len(frame))
    least, most = np.full(len(frame), np.inf), np.full(len(frame), -np.inf)
    rows = []
    with path.open("rb", buffering=0) as file:
        file.seek(first * stride)
        for _ in range(first, last):
            file.readinto(frame)
            rows.append((frame.mean(), frame.std(), frame.min(), frame.max(), (frame == 4095).mean()))
            exact = frame.astype(np.float64)
            total += exact
            squares += exact**2
            least, most = np.minimum(least, frame), np.maximum(most, frame)
    return rows, total, squares, least, most


PARTS = {"floor": floor, "naive": naive}


def _report(wall: Seconds, processor: Seconds, n_bytes: int) -> dict[str, float]:
    rate = {name: n_bytes / medians.median(seconds) / 1e6 for name, seconds in wall.items()}
    report = {f"{name}_mb_per_s": round(value) for name, value in rate.items()}
    report["pass_to_floor"] = round(rate["pass"] / rate["floor"], 3)
    report["pass_to_floor_processor"] = round(medians.median(processor["floor"]) / medians.median(processor["pass"]), 3)
    report["pass_to_naive"] = round(rate["pass"] / rate["naive"], 2)
    return report


def _table(report: dict[str, float]) -> str:
    lines = [f"{report['frames']} frames of {report['size']} {report['dtype']}, {report['processes']} processes"]
    lines += [f"{name:>6} {report[f'{name}_mb_per_s']:>6} MB/s" for name in ("floor", "pass", "naive")]
    lines.append(
        f"  pass / floor {report['pass_to_floor']:.0%} ({report['pass_to_floor_processor']:.0%} by processor time), "
        f"pass / naive {report['pass_to_naive']}"
    )
    return "\n".join(lines)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--part"]:
        name, path, first, last, dtype, stride = sys.argv[2:]
        PARTS[name](Path(path), int(first), int(last), dtype, int(stride))
    else:
        main()
