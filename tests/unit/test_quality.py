"""Quality: numbers of recordings whose truth is known, and their definitions in the docs."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, shift

from pipeline.inspect import quality
from pipeline.inspect.results import Context, write_results
from pipeline.pages.content import Measure
from recording import formats
from samples import recordings

DOCS = Path(__file__).resolve().parents[2] / "docs/quality.md"
RNG = np.random.default_rng(0)
SCENE = gaussian_filter(RNG.normal(0, 1, (80, 90)), 2)


# ---- movies


@pytest.mark.parametrize(
    ("means", "expected"),
    [([100.0] * 20, 0), ([*[100.0] * 10, *[150.0] * 10], 50), ([100.0] * 9, None), ([0.0] * 20, None)],
)
def test_change_of_brightness(means, expected):
    assert quality.brightness_change(np.array(means)) == expected


def test_bleaching_is_that_of_the_exponential():
    time = np.arange(0, 300, 0.1)
    means = 1000 * 0.98 ** (time / 60) + RNG.normal(0, 1, len(time))
    assert quality.bleaching(time, means) == pytest.approx(2, abs=0.02)
    assert quality.bleaching(time[:500], means[:500]) is None  # less than a minute
    assert quality.bleaching(time, means - 990) is None  # a logarithm needs what is positive


def test_sharpness_and_crispness_fall_with_blur():
    """As Gaussian noise that was smoothed with sigma has it: gradients go by 1 / sigma, Laplacians by 1 / sigma²."""
    scene = gaussian_filter(RNG.normal(0, 1, (400, 400)), 3)
    wider = gaussian_filter(scene, 4)  # sigma is 5 in all
    assert quality.crispness(wider) / quality.crispness(scene) == pytest.approx(3 / 5, rel=0.05)
    assert quality.sharpness(wider) / quality.sharpness(scene) == pytest.approx((3 / 5) ** 4, rel=0.1)
    assert quality.crispness(7 * scene + 3) == pytest.approx(quality.crispness(scene))
    assert quality.crispness(np.ones((5, 5))) is None


def test_frames_that_move_and_blur_are_found():
    frames = [SCENE + RNG.normal(0, 0.02, SCENE.shape) for _ in range(40)]
    frames[5] = shift(SCENE, (3, -4), mode="nearest") + RNG.normal(0, 0.02, SCENE.shape)
    frames[9] = gaussian_filter(frames[9], 2)
    frames = [shift(frame, (i % 2, 0), mode="nearest") for i, frame in enumerate(frames)]  # so that the spread is not 0
    pairs = [(frame, frames[i + 1] if i + 1 < len(frames) else None) for i, frame in enumerate(frames)]
    checks = quality.check_frames(pairs, SCENE)
    assert checks.shift_px[5] == pytest.approx(np.hypot(4, 4))
    assert checks.shift_px[[0, 1]].tolist() == [0, 1]
    assert quality.outliers(checks.shift_px, below=False) == 1
    assert quality.outliers(checks.sharpness, below=True) >= 1
    assert checks.sharpness.argmin() == 9
    assert checks.correlation[0] > 0.98 > 0.5 > checks.correlation[5]


def test_noise_of_a_pixel():
    frames = [SCENE + RNG.normal(0, 3, SCENE.shape) for _ in range(10)]
    checks = quality.check_frames([*zip(frames, frames[1:])], SCENE)
    assert checks.noise == pytest.approx(3, rel=0.03)


def test_outliers_of_few_or_equal_values_are_none():
    assert quality.outliers(np.array([1.0, 1, 1, 50]), below=False) == 0
    assert quality.outliers(np.array([0.0] * 30 + [9]), below=False) == 0


def test_a_movie_of_delta_f_has_no_brightness(tmp_path):
    values = RNG.normal(0, 1, (40, 32, 32)).astype(np.float32)
    shown = measures(recordings.movie_from(tmp_path / "m.isxd", values - values.mean(axis=0)), tmp_path)
    assert shown["brightness_change_percent"] == shown["shift_max_px"] == shown["correlation_with_mean"] == ""
    assert float(shown["pixel_noise_au"]) == pytest.approx(1, rel=0.05)


def test_saturation_is_marked(tmp_path):
    values = np.full((20, 16, 16), 1000, np.uint16)
    values[3, 0, :4] = 4095
    path = recordings.movie_from(tmp_path / "m.isxd", values)
    shown = measures(path, tmp_path)
    assert float(shown["saturated_frames_percent"]) == 5
    assert float(shown["saturated_pixels_max_percent"]) == pytest.approx(100 * 4 / 256)
    assert "cut off" in marks(tmp_path)["saturated_frames_percent"]


# ---- cells


def test_transients_are_counted_and_their_decay_is_measured():
    period, tau = 0.05, 0.6
    spikes = np.zeros(4000)
    spikes[200::400] = 40
    trace = np.convolve(spikes, np.exp(-np.arange(200) * period / tau))[:4000] + RNG.normal(0, 0.2, 4000)
    transients = quality.transients(trace, 1.0, period)
    assert np.allclose(transients.peaks, np.arange(200, 4000, 400), atol=1)
    assert transients.half_decay_s == pytest.approx(tau * np.log(2), abs=2 * period)


def test_what_touches_only_the_lower_threshold_is_no_transient():
    trace = np.zeros(300)
    trace[50:60], trace[100:110], trace[105] = 4, 4, 6
    assert quality.transients(trace, 1.0, 1.0).peaks.tolist() == [105]


def test_a_gap_ends_no_transient():
    trace = np.zeros(100)
    trace[10:14], trace[14], trace[15:20] = 9, np.nan, 8
    trace[97:] = 7  # whose decay is not seen
    transients = quality.transients(trace, 1.0, 1.0)
    assert transients.peaks.tolist() == [10, 97]
    assert transients.half_decay_s == 10


@pytest.mark.parametrize("trace", [np.full(50, np.nan), np.zeros(50), np.empty(0)])
def test_no_transients(trace):
    assert not len(quality.transients(trace, 0.0, 1.0).peaks)


def test_overlap_is_the_cosine_of_the_footprints():
    disc = np.ones((4, 4))
    traces = RNG.normal(0, 1, (4, 500))
    traces[1] = traces[0] + RNG.normal(0, 0.1, 500)
    cores = [(0, 0, disc), (0, 2, disc), (0, 4, disc), (50, 50, np.zeros((0, 0)))]
    by_pair = {(pair.first, pair.second): pair for pair in quality.overlaps(cores, traces)}
    assert by_pair.keys() == {(0, 1), (1, 2)}
    assert by_pair[0, 1].cosine == by_pair[1, 2].cosine == pytest.approx(0.5)
    assert by_pair[0, 1].correlation == pytest.approx(np.corrcoef(traces[:2])[0, 1])
    assert by_pair[0, 1].is_alike and not by_pair[1, 2].is_alike


# ---- tables and docs


def test_what_cannot_be_told_is_empty(tmp_path):
    quality.write(
        tmp_path / "q.csv", {"a, b": [Measure("x", "X", None, "s", "mean,\nof"), Measure("n", "N", 3, "", "")]}
    )
    with (tmp_path / "q.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows[1:] == [["a, b", "x", "", "s", "", "mean,\nof"], ["a, b", "n", "3", "", "", ""]]


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "out/s-quality.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def marks(folder: Path) -> dict[str, str]:
    return {row["measure"]: row["mark"] for row in table(folder)}


def measures(path: Path, folder: Path) -> dict[str, str]:
    (folder / "out").mkdir()
    write_results(path, formats.check(path).kind, "s", folder / "out", Context(folder))
    return {row["measure"]: row["value"] for row in table(folder)}


@pytest.mark.parametrize("make", [recordings.movie, recordings.cell_set, recordings.event_set])
def test_every_measure_is_in_the_docs_with_its_unit(tmp_path, make):
    measures(make(tmp_path / "r.isxd"), tmp_path)
    lines = [line.split("|") for line in DOCS.read_text("utf-8").splitlines() if line.startswith("| `")]
    documented = {name: cells[2].strip() for cells in lines for name in re.findall(r"`(\w+)`", cells[1])}
    for row in table(tmp_path):
        unit = documented[row["measure"]]
        assert unit in (row["unit"], "as the movie"), row["measure"]
