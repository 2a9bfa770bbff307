"""Shared by the benchmarks: commands, repeated and interleaved measurements, the machine."""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parent.parent
NAME = "isx-bench"  # never the name that users build under
IMAGE = f"{NAME}:public"
ME = f"{os.getuid()}:{os.getgid()}"

# Bench code and the makers of recordings, where the image's own modules are.
CODE = (
    *("-v", f"{PROJECT / 'bench'}:/app/bench:ro", "-v", f"{PROJECT / 'samples'}:/app/samples:ro"),
    *("-e", "PYTHONPATH=/app"),
)

EMPTY = """
import os, shutil
for entry in os.scandir("/w"):
    shutil.rmtree(entry) if entry.is_dir(follow_symlinks=False) else os.unlink(entry)
"""


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def docker(*arguments: object) -> str:
    """Standard output; raises with standard error where the command fails."""
    done = subprocess.run(["docker", *map(str, arguments)], check=False, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"docker {' '.join(map(str, arguments))} failed ({done.returncode}):\n{done.stderr[-3000:]}")
    return done.stdout.strip()


def inside(*arguments: object, options: tuple[object, ...] = ()) -> str:
    """bench/inside.py in the image."""
    return docker("run", "--rm", "--user", ME, *CODE, *options, IMAGE, "python", "/app/bench/inside.py", *arguments)


def seconds_of(action: Callable[[], object]) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def interleaved(contenders: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, list[Any]]:
    """The values that each returns, in turns, so that a busy moment slows all alike."""
    measured: dict[str, list[Any]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, measure in contenders.items():
            measured[name].append(measure())
    return measured


def movie_options(about: str, frames: int, rounds: int, workers: str) -> argparse.Namespace:
    """The command line of a benchmark on one movie; `workers` is what it calls those that share the work."""
    parser = argparse.ArgumentParser(description=about.splitlines()[0])
    parser.add_argument("--frames", type=int, default=frames)
    parser.add_argument("--size", default="800x1280", help="rows x columns")
    parser.add_argument("--dtype", default="uint16", choices=("uint16", "float32", "uint8"))
    parser.add_argument(f"--{workers}", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--dir", help="where files are written; by default the system's temporary folder")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def spread(values: list[float]) -> dict[str, float]:
    """Median, least and greatest, to four digits."""
    figures = {"median": statistics.median(values), "low": min(values), "high": max(values)}
    return {**{name: rounded(value) for name, value in figures.items()}, "n": len(values)}


def rounded(value: float) -> float:
    return float(f"{value:.4g}")


@contextlib.contextmanager
def workspace() -> Iterator[Path]:
    """A folder that any user of a container may write to; files of other users go away with it too."""
    folder = Path(tempfile.mkdtemp(prefix=f"{NAME}-"))
    folder.chmod(0o777)
    try:
        yield folder
    finally:
        with contextlib.suppress(RuntimeError):
            docker("run", "--rm", "--user", "0", "-v", f"{folder}:/w", IMAGE, "python", "-c", EMPTY)
        shutil.rmtree(folder, ignore_errors=True)


def new_folder(folder: Path) -> Path:
    folder.mkdir()
    folder.chmod(0o777)
    return folder


def machine() -> dict[str, Any]:
    """The machine that the figures depend on."""
    cpu = next((line.partition(":")[2].strip() for line in lines("/proc/cpuinfo") if line.startswith("model name")), "")
    kilobytes = next(int(line.split()[1]) for line in lines("/proc/meminfo") if line.startswith("MemTotal"))
    engine = docker("version", "--format", "{{.Server.Version}}")
    return {
        "cpu": cpu or platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(kilobytes * 1024 / 1e9),
        "kernel": platform.release(),
        "engine": engine,
        "storage": docker("info", "--format", "{{.Driver}}"),
        "builder": docker("buildx", "version").split()[1],
        "load": rounded(os.getloadavg()[0]),
    }


def lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines()
