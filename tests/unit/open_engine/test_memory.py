"""Movie steps need the same memory for a short movie as for a long one, and less than 512 MB, libraries included."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from samples import recordings
from tests.launch import ROOT

LIMIT_MB, SLACK_MB = 512, 100  # the latter for what registration keeps of up to 200 frames, and what is freed late
SHORT, LONG = 20, 100  # frames of 800 x 1280 px: 41 MB and 205 MB as integers, twice that as float32
PROGRAM = """
import json, sys
import scipy.fft, scipy.linalg, scipy.ndimage, scipy.optimize  # which steps load when they use them
from pathlib import Path
from open_engine.steps.dff import dff
from open_engine.files.frames import Deferred
from open_engine.steps.motion_correct import motion_correct
from open_engine.steps.preprocess import preprocess
from open_engine.steps.spatial_filter import spatial_filter
from open_engine.context import StepContext

def peak_mb():
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024

def at_once(sources, targets, context):
    for step in (preprocess, spatial_filter, motion_correct):
        between = [Deferred("between.isxd")]
        step(sources, between, context=context)
        sources = between
    dff(sources, targets, context=context)

step, made, *movies = sys.argv[1:]
context, peaks = StepContext(Path("."), 2, lambda text: None, lambda fraction: None), []
for movie in movies:
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    globals()[step]([movie], [made], context=context)
    peaks.append(peak_mb())
json.dump(peaks, sys.stdout)
"""


@pytest.fixture(scope="module")
def movies(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("movies")
    few = np.random.default_rng(0).integers(300, 900, (10, 800, 1280)).astype(np.uint16)
    return [recordings.movie_from(folder / f"{n}.isxd", few[np.arange(n) % 10]) for n in (SHORT, LONG)]


@pytest.mark.parametrize("step", ["spatial_filter", "motion_correct", "at_once"])
def test_memory_does_not_grow_with_the_movie(tmp_path: Path, movies: list[Path], step: str) -> None:
    command = [sys.executable, "-c", PROGRAM, step, str(tmp_path / "made.isxd"), *map(str, movies)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    short, long = json.loads(done.stdout)
    assert long < LIMIT_MB, (short, long)
    assert long < short + SLACK_MB, (short, long)
