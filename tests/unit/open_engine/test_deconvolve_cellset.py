from __future__ import annotations

from pathlib import Path

import isx
import numpy as np
import pytest

from open_engine.cnmfe import oasis
from open_engine.context import StepContext
from open_engine.steps.deconvolve_cellset import deconvolve_cellset
from recording.errors import Unusable
from samples import recordings


def calcium(seed: int = 0, n_cells: int = 20, n: int = 1500, g: float = 0.9) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    c = (rng.random((n_cells, n)) < 0.01) * rng.uniform(4, 12, (n_cells, n))
    for t in range(1, n):
        c[:, t] += g * c[:, t - 1]
    return c, c + rng.normal(0, 1, c.shape)


def solved(y: np.ndarray, g: float, penalty: float) -> tuple[np.ndarray, np.ndarray]:
    """Calcium and spikes of each trace, with one penalty."""
    samples = [oasis._samples(trace, g) for trace in y]
    fits = [of_trace.fitted(penalty) for of_trace in samples]
    pools = [of_trace.joined(heads) for of_trace, (heads, _) in zip(samples, fits)]
    values = [np.maximum(value[heads], 0) for heads, value in fits]
    c, s = ([getattr(pool, name)(value) for pool, value in zip(pools, values)] for name in ("calcium", "spikes"))
    return np.array(c), np.array(s)


@pytest.mark.parametrize("penalty", [0.0, 0.7, 3.0])
@pytest.mark.parametrize("g", [0.3, 0.9, 0.99])
def test_oasis_meets_its_optimality_conditions(g: float, penalty: float) -> None:
    """The gradient with respect to each spike is not negative, and zero where there is one (Karush-Kuhn-Tucker)."""
    _, y = calcium(1, g=min(g, 0.95))
    c, s = solved(y, g, penalty)
    gradient = np.zeros_like(c)
    later = np.zeros(len(c))
    for t in range(c.shape[1] - 1, -1, -1):
        later = c[:, t] - y[:, t] + g * later
        gradient[:, t] = later + penalty
    assert s.min() >= 0
    assert gradient.min() > -1e-8
    assert np.abs(gradient * s).max() < 1e-7
    np.testing.assert_allclose(c[:, 1:], g * c[:, :-1] + s[:, 1:], atol=1e-9)


def test_each_cell_is_solved_as_if_alone() -> None:
    _, y = calcium(2)
    g, noise = np.linspace(0.8, 0.95, len(y)), oasis.noise_level(y)
    together = oasis.denoise(y, g, noise)
    alone = oasis.denoise(y[7:8], g[7:8], noise[7:8])
    np.testing.assert_array_equal(together[7], alone[0])


def test_denoising_brings_traces_closer_to_the_truth() -> None:
    c, y = calcium(3)
    noise = oasis.noise_level(y)
    assert noise.mean() == pytest.approx(1, abs=0.15)
    g = oasis.decay_per_sample(y, noise)
    assert np.median(g) == pytest.approx(0.9, abs=0.05)
    denoised = oasis.denoise(y, g, noise)
    assert np.median([np.corrcoef(a, b)[0, 1] for a, b in zip(denoised, c)]) > 0.97
    assert np.median([np.corrcoef(a, b)[0, 1] for a, b in zip(y, c)]) < 0.95


@pytest.mark.parametrize("average", ["mean", "median", "logmexp"])
def test_noise_of_white_noise(average: str) -> None:
    y = np.random.default_rng(4).normal(0, 3, (50, 2000))
    assert oasis.noise_level(y, average=average).mean() == pytest.approx(3, rel=0.02)


def test_writes_denoised_traces_and_spikes(tmp_path: Path, context: StepContext) -> None:
    path = recordings.cell_set(tmp_path / "cells.isxd", n=600, seed=5)
    denoised, spikes = tmp_path / "den.isxd", tmp_path / "spk.isxd"
    deconvolve_cellset([str(path)], [str(denoised)], [str(spikes)], context=context)
    raw, out, events = isx.CellSet.read(str(path)), isx.CellSet.read(str(denoised)), isx.EventSet.read(str(spikes))
    usable = [i for i in range(raw.num_cells) if raw.get_cell_status(i) != "rejected"]
    assert out.num_cells == events.num_cells == len(usable)
    for k, i in enumerate(usable):
        np.testing.assert_array_equal(out.get_cell_image_data(k), raw.get_cell_image_data(i))
        before, after = raw.get_cell_trace_data(i), out.get_cell_trace_data(k)
        valid = np.isfinite(before)
        assert (np.isfinite(after) == valid).all()
        assert np.corrcoef(before[valid], after[valid])[0, 1] > 0.8
        offsets, amplitudes = events.get_cell_data(k)
        assert len(offsets) > 2
        assert 10 * 50_000 not in offsets, "sample 10 was dropped"
        assert (amplitudes > 0).all()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"first_order_ar": False}, "does not offer deconvolve_cellset's first_order_ar = false"),
        ({"deconvolution_method": "scs"}, "does not offer deconvolve_cellset's deconvolution_method = scs"),
    ],
)
def test_refuses_what_it_cannot_do(tmp_path: Path, context: StepContext, given: dict, message: str) -> None:
    path = recordings.cell_set(tmp_path / "cells.isxd")
    with pytest.raises(Unusable, match=message):
        deconvolve_cellset([str(path)], [str(tmp_path / "d.isxd")], None, **given, context=context)
