from __future__ import annotations

from pathlib import Path

import isx
import numpy as np
import pytest

from open_engine.context import StepContext
from open_engine.steps.event_detection import event_detection
from open_engine.transients import find_events
from samples import recordings

PERIOD = 0.05


def transients(seed: int, n: int = 4000, noise: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """A trace with transients of 12 to 30 times the noise, and where each begins."""
    rng = np.random.default_rng(seed)
    begins = np.cumsum(rng.integers(60, 200, 25))
    begins = begins[begins < n - 60]
    trace = rng.normal(0, noise, n)
    shape = np.concatenate([[0.5, 1.0], np.exp(-np.arange(1, 60) * PERIOD / 0.6)])
    for begin in begins:
        trace[begin + 1 : begin + 1 + len(shape)] += rng.uniform(12, 30) * shape[: n - begin - 1]
    return trace, begins


def test_finds_transients_and_nothing_else() -> None:
    for seed in range(5):
        trace, begins = transients(seed)
        samples = find_events(trace, PERIOD).samples
        near = np.abs(samples[:, None] - begins[None]) <= 2
        recall, precision = near.any(axis=0).mean(), near.any(axis=1).mean()
        assert recall >= 0.95
        assert precision >= 0.9


def test_noise_alone_has_almost_no_events() -> None:
    noise = np.random.default_rng(0).normal(0, 1, (20, 4000))
    assert sum(len(find_events(trace, PERIOD, threshold=8).samples) for trace in noise) <= 20


def test_times_and_amplitude_of_an_exact_transient() -> None:
    trace = np.zeros(200)
    trace[100:105] = [0, 2, 6, 8, 10]
    trace[105:] = 10 * np.exp(-np.arange(1, 96) * PERIOD / 0.6)
    trace += np.tile([-0.1, 0.1], 100) * (np.arange(200) < 100)
    at = {ref: find_events(trace, PERIOD, reference=ref) for ref in ("beginning", "mid_rise", "maximum")}
    assert [its.samples.tolist() for its in at.values()] in ([[100], [102], [104]], [[98], [102], [104]])
    assert at["maximum"].amplitudes[0] == pytest.approx(10, abs=0.11)


def test_one_bright_sample_does_not_last() -> None:
    trace = np.random.default_rng(1).normal(0, 1, 1000)
    trace[500] = 30
    assert 500 not in find_events(trace, PERIOD, reference="maximum").samples
    trace[500:540] = 30 * np.exp(-np.arange(40) / 10)
    assert 500 in find_events(trace, PERIOD, reference="maximum").samples


def test_a_rise_below_zero_counts_only_if_asked() -> None:
    trace = np.random.default_rng(2).normal(0, 0.1, 400)
    trace[200:210] -= 20 * np.linspace(0, 1, 10)
    trace[210:260] -= 20 * np.exp(-np.arange(50) / 3)
    trace[212:] = np.maximum(trace[212:], -9)
    trace[215:] -= np.where(np.arange(185) < 40, 3, 0)
    ignored = find_events(trace, PERIOD)
    kept = find_events(trace, PERIOD, ignore_negative=False)
    assert len(kept.samples) >= len(ignored.samples)
    assert (trace[ignored.samples] + ignored.amplitudes / 2 > np.median(trace)).all()


def test_writes_one_file_a_part_with_its_own_times(tmp_path: Path, context: StepContext) -> None:
    parts = [str(recordings.cell_set(tmp_path / f"part{i}.isxd", n=400, seed=3)) for i in range(2)]
    out = [str(tmp_path / f"events{i}.isxd") for i in range(2)]
    event_detection(parts, out, context=context)
    for part, path in zip(parts, out):
        cells, events = isx.CellSet.read(part), isx.EventSet.read(path)
        names = [cells.get_cell_name(i) for i in range(4) if cells.get_cell_status(i) != "rejected"]
        assert [events.get_cell_name(i) for i in range(events.num_cells)] == names
        assert events.timing.num_samples == 400
        offsets, amplitudes = events.get_cell_data(0)
        assert len(offsets) > 0
        assert (offsets % 50_000 == 0).all()
        assert offsets.max() < 400 * 50_000
        assert (amplitudes > 0).all()


def test_constant_and_empty_traces_have_no_events() -> None:
    assert len(find_events(np.ones(100), PERIOD).samples) == 0
    assert len(find_events(np.ones(2), PERIOD).samples) == 0
