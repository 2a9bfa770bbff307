"""The generator's truth is what its movie holds."""

from __future__ import annotations

from pathlib import Path

import isx
import numpy as np
import pytest

from recording import formats
from samples import simulate as synthetic


@pytest.fixture(scope="module")
def still() -> synthetic.Recording:
    return synthetic.recording(seed=1, seconds=12, shape=(80, 96), n_cells=15, motion_px=0)


def test_footprints_and_traces_explain_the_movie(still: synthetic.Recording) -> None:
    signal = np.tensordot(still.traces.T, still.footprints, 1)
    brightest = np.argsort(signal.std(axis=0).ravel())[-20:]
    seen = still.movie.reshape(len(still.movie), -1)[:, brightest].astype(float)
    expected = signal.reshape(len(signal), -1)[:, brightest]
    slopes = [np.polyfit(expected[:, i], seen[:, i], 1)[0] for i in range(20)]
    assert 0.75 < np.median(slopes) < 1.25  # bleaching and neuropil are the rest


def test_noise_is_that_of_photons(still: synthetic.Recording) -> None:
    """Variance of a difference of frames is twice gain x (counts - black level) plus read noise."""
    light = still.movie.astype(float)
    variance = np.median((np.diff(light, axis=0) ** 2), axis=0) / 0.455 / 2  # median of chi squared, 1 degree
    expected = synthetic.GAIN * (light.mean(axis=0) - synthetic.BLACK_LEVEL) + synthetic.READ_NOISE**2
    assert 0.85 < np.median(variance / expected) < 1.25


def test_shifts_are_those_of_the_frames() -> None:
    """A frame that is moved back by its shift is nearer to the first frame than by any other shift."""
    made = synthetic.recording(seed=2, seconds=6, shape=(96, 96), motion_px=2, brightness=20)
    assert np.abs(made.shifts).max() > 2
    fy, fx = np.fft.fftfreq(96)[:, np.newaxis], np.fft.fftfreq(96)
    band = (np.hypot(fy, fx) > 1 / 16) & (np.hypot(fy, fx) < 1 / 4)  # without the light, which does not move

    def moved_back(t: int, shift: np.ndarray) -> np.ndarray:
        spectrum = np.fft.fft2(made.movie[t]) * band * np.exp(2j * np.pi * (fy * shift[0] + fx * shift[1]))
        return np.fft.ifft2(spectrum).real[16:-16, 16:-16]

    first = moved_back(0, np.zeros(2))
    for t in np.argsort(-np.abs(made.shifts).sum(axis=1))[:5]:
        steps = [np.array([dy, dx]) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
        away = [((moved_back(t, made.shifts[t] + step) - first) ** 2).sum() for step in steps]
        assert int(np.argmin(away)) == 4, (t, made.shifts[t], away)


def test_same_seed_same_recording(still: synthetic.Recording) -> None:
    again = synthetic.recording(seed=1, seconds=12, shape=(80, 96), n_cells=15, motion_px=0)
    np.testing.assert_array_equal(again.movie, still.movie)
    assert not np.any(still.shifts)


def test_isx_opens_its_series(tmp_path: Path, still: synthetic.Recording) -> None:
    paths = synthetic.write(tmp_path, "made", still, n_parts=3)
    assert [path.name for path in paths] == ["made-part1.isxd", "made-part2.isxd", "made-part3.isxd"]
    infos = [formats.check(path) for path in paths]
    assert infos[0].end == infos[1].start
    assert [info.n_samples for info in infos] == [40, 40, 40]
    movie = isx.Movie.read(str(paths[1]))
    np.testing.assert_array_equal(movie.get_frame_data(0), still.movie[40])


@pytest.mark.parametrize("endless", [True, False])
def test_endless_tissue_has_no_seam(endless: bool) -> None:
    """What leaves the field at one edge comes in at the opposite one."""
    made = synthetic.recording(1, 4, (96, 112), 12, motion_px=3, brightness=8, endless=endless)
    t = int(np.abs(made.shifts).sum(axis=1).argmax())
    fy, fx = np.fft.fftfreq(96)[:, np.newaxis], np.fft.fftfreq(112)
    moved_back = np.fft.fft2(made.movie[t]) * np.exp(2j * np.pi * (fy * made.shifts[t, 0] + fx * made.shifts[t, 1]))
    first, last = made.movie[0].astype(float), np.fft.ifft2(moved_back).real
    edges = np.ones((96, 112), bool)
    edges[3:-3, 3:-3] = False
    r = np.corrcoef(first[edges], last[edges])[0, 1]
    assert (r > 0.95) == endless, r
    assert (made.inside == 1).all() == endless
