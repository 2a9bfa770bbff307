"""When traces rise, however active the cell is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import isx
import numpy as np
import pytest

from bench import accuracy, conditions
from open_engine.context import StepContext
from open_engine.files.cellsets import read_cell_set, write_cell_set
from open_engine.steps.detect_transients import detect_transients
from open_engine.transients import filled, find_events, find_transients
from recording import formats
from recording.errors import Unusable
from samples import recordings

RATE_HZ = 10.0
REACH = 3  # samples from an event to the transient that it is


def traces(rng: np.random.Generator, per_s: float, decay_s: float, n: int = 900) -> tuple[np.ndarray, list[np.ndarray]]:
    """Traces of eight cells, with noise of 0.15 of a transient, and the samples at which transients begin."""
    kernel = np.exp(-np.arange(80) / (decay_s * RATE_HZ))
    onsets = [np.flatnonzero(rng.random(n) < per_s / RATE_HZ) for _ in range(8)]
    onsets = [samples[np.diff(samples, prepend=-99) > REACH] for samples in onsets]
    made = np.zeros((8, n))
    for row, its in zip(made, onsets):
        np.add.at(row, its, rng.uniform(0.8, 2, len(its)))
    calcium = np.stack([np.convolve(row, kernel)[:n] for row in made])
    return calcium + 0.15 * rng.normal(size=calcium.shape), onsets


def f1(samples: np.ndarray, true: np.ndarray) -> float:
    hits = sum(bool((np.abs(samples - onset) <= REACH).any()) for onset in true)
    return 2 * hits / max(1, len(samples) + len(true))


@pytest.mark.parametrize("decay_s", [0.3, 0.6, 1.8])
@pytest.mark.parametrize("per_s", [0.05, 0.2, 0.6])
def test_activity_is_not_taken_for_noise(decay_s: float, per_s: float) -> None:
    made, true = traces(np.random.default_rng(3), per_s, decay_s)
    detected = [transients.samples for transients in find_transients(made, RATE_HZ)]
    ours = np.mean([f1(*pair) for pair in zip(detected, true)])
    theirs = np.mean([f1(find_events(row, 1 / RATE_HZ).samples, its) for row, its in zip(made, true)])
    busy = per_s * decay_s > 0.3
    assert ours >= (0.7 if per_s > 0.5 else 0.9)
    assert ours >= theirs + (0.15 if busy else -0.05)


def test_of_cells_that_never_rest_even_the_true_spikes_score_less() -> None:
    """What bench/accuracy.py calls events is defined for cells that rest: for others its score says little."""
    what = conditions.CONDITIONS["tonic"]
    made = conditions.simulate(replace(what, cells=12, tonic=1.0, size=64, frames=400), seed=4)
    fields = ("A", "C", "S", "counted", "shifts", "inside")
    truth = accuracy.Truth(*(made[field] for field in fields), what.rate_hz, 8)
    cells = accuracy.Cells(truth.A, truth.C)
    detected = [its.samples / what.rate_hz for its in find_transients(truth.C.astype(float), what.rate_hz)]
    spikes = [np.flatnonzero(its) / what.rate_hz for its in truth.S]
    assert accuracy.event_f1(truth, cells, spikes) < accuracy.event_f1(truth, cells, detected) < 0.7


def test_their_height_is_that_of_the_rise() -> None:
    clean = np.zeros((6, 600))
    clean[:, 100:] += 3 * np.exp(-np.arange(500) / 6)
    made = clean + 0.1 * np.random.default_rng(0).normal(size=clean.shape)
    for transients in find_transients(made, RATE_HZ):
        assert transients.samples.tolist() == [100]
        assert transients.amplitudes == pytest.approx([3], rel=0.2)


@pytest.mark.parametrize("trace", [np.zeros(500), np.full(500, np.pi), np.random.default_rng(1).normal(size=500)])
def test_noise_and_nothing_have_none(trace: np.ndarray) -> None:
    (transients,) = find_transients(trace[None], RATE_HZ)
    assert len(transients.samples) == 0


def test_a_series_with_dropped_frames(tmp_path: Path, context: StepContext) -> None:
    made = traces(np.random.default_rng(5), 0.2, 0.6, n=400)[0].astype(np.float32)
    lengths, dropped = (250, 150), [40, 41, 120]
    movies = [
        recordings.movie(
            tmp_path / f"m{i}.isxd", n, 5, 6, period_ms=100, start_ms=recordings.START_MS + i * 60_000, dropped=gone
        )
        for i, (n, gone) in enumerate(zip(lengths, (dropped, [])))
    ]
    paths, out = ([str(tmp_path / f"{name}{i}.isxd") for i in range(2)] for name in ("cells", "events"))
    write_cell_set(paths, [formats.read_footer(movie) for movie in movies], np.ones((8, 5, 6), np.float32), made)
    before = [Path(path).read_bytes() for path in paths]
    detect_transients(paths, out, context=context)
    assert [Path(path).read_bytes() for path in paths] == before
    sets = [isx.EventSet.read(path) for path in out]
    at = [[sets[part].get_cell_data(i)[0] // 100_000 for i in range(8)] for part in range(2)]
    assert all(set(samples.tolist()).isdisjoint(dropped) and samples.max() < 250 for samples in at[0])
    assert all((samples < 150).all() for samples in at[1])
    assert sum(map(len, at[1])) > 8
    cells = read_cell_set(paths)
    expected = find_transients(np.stack([filled(row, cells.valid) for row in cells.traces]), RATE_HZ)
    for i, transients in enumerate(expected):
        samples = np.concatenate([at[0][i], at[1][i] + 250])
        assert samples.tolist() == [k for k in transients.samples if cells.valid[k]]


def test_without_cells_that_count(tmp_path: Path, context: StepContext) -> None:
    movie = recordings.movie(tmp_path / "m.isxd", 50, 5, 6, period_ms=100)
    cells, out = tmp_path / "cells.isxd", tmp_path / "events.isxd"
    made = np.zeros((1, 50), np.float32)
    write_cell_set(str(cells), [formats.read_footer(movie)], np.ones((1, 5, 6)), made, statuses=["rejected"])
    with pytest.raises(Unusable, match=r"no cell of cells.isxd is accepted or undecided: accept some first"):
        detect_transients(str(cells), str(out), context=context)
    assert not out.exists()
