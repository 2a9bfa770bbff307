"""Runs the image's entry point from the checkout, as a process of its own, on recordings that isx made."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.trees import sentinel as sentinel  # tests take these from here
from tests.trees import tree as tree

ROOT = Path(__file__).resolve().parent.parent
API = Path(importlib.util.find_spec("isx").origin).parent.parent  # site-packages or the baked tree
TIMEOUT = 120
SCHEDULERS = ("SLURM_", "JOB_", "SHARD")  # of the machine that runs the tests: not for the runs that are tested

MAKER = """
import sys
import numpy as np
import isx

SECOND = 1_600_000_000

def timing(start, n):
    start = isx.Time._from_secs_since_epoch(isx.Duration.from_secs(SECOND + start))
    return isx.Timing(num_samples=n, period=isx.Duration.from_msecs(100), start=start)

def image(path):
    rng = np.random.default_rng(1)
    isx.Image.write(path, isx.Spacing(num_pixels=(12, 16)), np.float32, rng.random((12, 16), dtype=np.float32))

def movie(path, start=0, n=5, rows=12):
    rng = np.random.default_rng(2)
    movie = isx.Movie.write(path, timing(start, n), isx.Spacing(num_pixels=(rows, 16)), np.uint16)
    for number in range(n):
        movie.set_frame_data(number, rng.integers(0, 4096, (rows, 16)).astype(np.uint16))
    movie.flush()

folder = sys.argv[1]
image(f"{folder}/image.isxd")
for number in range(3):
    movie(f"{folder}/part{number + 1}.isxd", start=10 * number)
movie(f"{folder}/overlapping.isxd", start=10.2)
movie(f"{folder}/larger.isxd", start=100, rows=20)
"""


@dataclass
class Run:
    """What a finished run left behind."""

    code: int
    stdout: str
    stderr: str
    events: list[dict[str, Any]] = field(default_factory=list)

    def named(self, event: str) -> list[dict[str, Any]]:
        return [entry for entry in self.events if entry["event"] == event]

    @property
    def end(self) -> str:
        """The last word."""
        assert self.events[-1]["event"] == "end", self.stderr
        assert self.events[-1]["code"] == self.code
        return self.events[-1]["message"]


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    names = {"INPUT_DIR", "OUTPUT_DIR", "EXPECTED_OUTPUT_FILE", "RECIPE", "ENGINE", "WORKERS", "FORCE", "LOG_FORMAT"}
    names |= {"RUN_ID", "METRICS"}
    kept = {key: value for key, value in os.environ.items() if key not in names and not key.startswith(SCHEDULERS)}
    return {**kept, **(extra or {})}


def interpreter(folder: Path, *places: Path) -> Path:
    """A Python as the image has it: a `.pth` file puts these folders on its path, before those of the one at hand."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", "--clear", folder], check=True, timeout=TIMEOUT)
    (site,) = folder.glob("lib/*/site-packages")
    lines = dict.fromkeys(map(str, (*places, API, sysconfig.get_path("purelib"))))
    (site / "api.pth").write_text("\n".join(lines) + "\n")
    return folder / "bin/python"


ENTRY = ROOT / "bootstrap.py"


def command(
    arguments: Sequence[str | Path], python: str | Path = sys.executable, entry: str | Path = ENTRY
) -> list[str]:
    return [str(python), str(entry), *map(str, arguments)]


def bootstrap(
    *arguments: str | Path,
    env: Mapping[str, str] | None = None,
    python: str | Path = sys.executable,
    entry: str | Path = ENTRY,
    **options: Any,
) -> Run:
    done = subprocess.run(
        command(arguments, python, entry),
        env=environment(env),
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
        **options,
    )
    lines = done.stderr.splitlines()
    events = [json.loads(line) for line in lines if line.startswith('{"time"')]
    return Run(done.returncode, done.stdout, done.stderr, events)


def start(*arguments: str | Path, env: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
    return subprocess.Popen(command(arguments), env=environment(env), stderr=subprocess.PIPE, text=True)


def run(input: Path, output: Path, *arguments: str, **options: Any) -> Run:
    return bootstrap("--input-dir", input, "--output-dir", output, *arguments, **options)


def make_recordings(folder: Path) -> None:
    subprocess.run([sys.executable, "-c", MAKER, str(folder)], check=True, capture_output=True, timeout=TIMEOUT)
