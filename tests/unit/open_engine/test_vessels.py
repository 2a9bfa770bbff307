"""Diameter of vessels whose diameter is known, and velocity of cells whose velocity is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import isx
import numpy as np
import pytest

from open_engine.context import StepContext
from open_engine.steps.estimate_rbc_velocity import estimate_rbc_velocity
from open_engine.steps.estimate_vessel_diameter import estimate_vessel_diameter
from open_engine.steps.estimate_vessel_diameter_single_vessel import estimate_vessel_diameter_single_vessel
from open_engine.vessel_profiles import drawn_line, fitted_lorentzian, half_heights, lorentzian
from recording import formats
from recording.errors import Unusable
from samples import recordings


def vessel(widths: np.ndarray, rows: int = 40, columns: int = 60) -> np.ndarray:
    """An upright vessel at x = 29.5 with a Lorentzian profile of these widths, one a frame."""
    x = np.arange(columns) - 29.5
    profile = 1000 / (1 + (x / (widths[:, np.newaxis] / 2)) ** 2)
    return np.repeat((100 + profile)[:, np.newaxis, :], rows, axis=1).astype(np.float32)


def measured(path: Path, context: StepContext, lines: Any, **parameters: Any) -> isx.VesselSet:
    target = path.with_name("vessels.isxd")
    estimate_vessel_diameter([str(path)], [str(target)], lines, context=context, **parameters)
    assert formats.check(target).kind == "vessel_set"
    return isx.VesselSet.read(str(target))


@pytest.mark.parametrize("end", [(9, 2), (2, 9), (-9, 3), (3, -9), (7, 7), (0, 6), (-5, -8), (5, 0)])
def test_drawn_lines_touch_each_step_of_the_longer_axis(end: tuple[int, int]) -> None:
    line = drawn_line((0, 0), end)
    assert len(line) == max(map(abs, end)) + 1
    assert tuple(line[0]) == (0, 0) and tuple(line[-1]) == end
    assert np.abs(np.diff(line, axis=0)).max() == 1
    exact = np.outer(np.linspace(0, 1, len(line)), end)
    assert np.abs(line - exact).max() <= 0.5


def test_lorentzian_fit_finds_its_own_parameters() -> None:
    parameters = fitted_lorentzian(lorentzian(np.arange(40), 500, 7.25, 18.3))
    np.testing.assert_allclose(parameters, (500, 7.25, 18.3), rtol=1e-6)


@pytest.mark.parametrize("rule, halves", [("independent", (5, 6)), ("global", (5, 5)), ("local", (6, 6))])
def test_half_heights(rule: str, halves: tuple[float, float]) -> None:
    profile = np.array([1, 0, 4, 10, 8, 4.5, 2, 3.0])  # the least is 0 on the left, 2 on the right
    left, right = half_heights(profile, rule)
    assert 1 < left < 3 < right < 6
    np.testing.assert_allclose(np.interp([left, right], np.arange(8), profile), halves)


@pytest.mark.parametrize("method", ["Parametric FWHM", "Non-Parametric FWHM"])
def test_diameter_follows_the_vessel(tmp_path: Path, context: StepContext, method: str) -> None:
    widths = np.repeat([6.0, 8.0, 10.0], 20)  # 1 s each
    path = recordings.movie_from(tmp_path / "a.isxd", vessel(widths))
    vessels = measured(path, context, [[[5, 20], [55, 20]]], time_window=1, time_increment=1, estimation_method=method)
    np.testing.assert_allclose(
        vessels.get_vessel_trace_data(0), [6, 8, 10], rtol=0.1
    )  # see the module: tails are cut off
    np.testing.assert_allclose(vessels.get_vessel_center_trace_data(0), 24.5, atol=0.05)
    assert vessels.timing.num_samples == 3
    assert vessels.timing.period.secs_float == 1
    np.testing.assert_allclose(vessels.get_vessel_image_data(0), vessel(widths).mean(axis=0), rtol=1e-5)
    np.testing.assert_array_equal(vessels.get_vessel_line_data(0), [[5, 20], [55, 20]])


def test_units_and_slant(tmp_path: Path, context: StepContext) -> None:
    """A line at 45 degrees sees the vessel wider by the root of 2; pixels are 3 µm."""
    path = recordings.movie_from(tmp_path / "a.isxd", vessel(np.full(40, 6.0)))
    vessels = measured(
        path, context, [[[12, 2], [47, 37]]], output_units="microns", estimation_method="Parametric FWHM"
    )
    np.testing.assert_allclose(vessels.get_vessel_trace_data(0), 3 * np.sqrt(2) * 6, rtol=0.1)
    noted = formats.read_footer(tmp_path / "vessels.isxd")["extraProperties"]["idps"]["vesselset"]
    assert noted["units"] == "microns" and noted["type"] == "vessel diameter"


def test_unsteady_vessels_are_rejected(tmp_path: Path, context: StepContext) -> None:
    widths = np.tile(np.repeat([5.0, 9.0], 20), 4)
    path = recordings.movie_from(tmp_path / "a.isxd", vessel(widths))
    lines = [[[5, 20], [55, 20]]]
    timing: dict[str, Any] = {"time_window": 1, "time_increment": 1}
    assert measured(path, context, lines, **timing).get_vessel_status(0) == "rejected"
    (tmp_path / "vessels.isxd").unlink()
    assert measured(path, context, lines, rejection_threshold_count=7, **timing).get_vessel_status(0) == "accepted"
    (tmp_path / "vessels.isxd").unlink()
    assert measured(path, context, lines, auto_accept_reject=False, **timing).get_vessel_status(0) == "undecided"


def test_windows_without_frames_are_dropped(tmp_path: Path, context: StepContext) -> None:
    data = vessel(np.full(40, 6.0))
    path = recordings.movie_from(tmp_path / "a.isxd", data, cropped=[(20, 39)])
    vessels = measured(path, context, [[[5, 20], [55, 20]]], time_window=1, time_increment=1, vessel_names=["artery"])
    assert list(vessels.timing.dropped) == [1]
    assert vessels.get_vessel_name(0) == "artery"


def test_single_vessel(tmp_path: Path, context: StepContext) -> None:
    path = recordings.movie_from(tmp_path / "a.isxd", vessel(np.full(5, 6.0)))
    line = [[5, 20], [55, 20]]
    profile, fit, estimate, coordinates = estimate_vessel_diameter_single_vessel(
        str(path), line, 0, 4, True, context=context
    )
    expected = vessel(np.array([6.0]))[0, 20, 5:56]
    np.testing.assert_allclose(profile, expected - expected.min(), rtol=1e-5)
    assert fit["fwhm"] == pytest.approx(estimate["length"]) == pytest.approx(6, rel=0.06)
    assert fit["peak_center"] == pytest.approx(24.5, abs=0.01)
    np.testing.assert_array_equal(coordinates[[0, -1]], line)


@pytest.mark.parametrize(
    "parameters, message",
    [
        ({"lines": [[[5, 20], [60, 20]]]}, "does not lie in the field of a.isxd"),
        ({"lines": [[[5, 20], [8, 20]]]}, "too short for a vessel"),
        ({"lines": [[[5, 20], [55, 20]]], "time_window": 60}, "lasts 0.25 s, less than time_window"),
    ],
)
def test_refused(tmp_path: Path, context: StepContext, parameters: dict[str, Any], message: str) -> None:
    path = recordings.movie_from(tmp_path / "a.isxd", vessel(np.full(5, 6.0)))
    with pytest.raises(Unusable, match=message):
        measured(path, context, **{"time_window": 0.1, "time_increment": 0.1, **parameters})


# ---- red blood cell velocity


def flow(n: int, motion: tuple[float, float], rows: int = 40, columns: int = 60, noise: float = 3) -> np.ndarray:
    """Dark cells that move by `motion` (x, y) px a frame, over a vessel that does not."""
    rng = np.random.default_rng(7)
    fy, fx = np.fft.fftfreq(2 * rows)[:, np.newaxis], np.fft.fftfreq(2 * columns)
    cells = np.fft.fft2(rng.normal(size=(2 * rows, 2 * columns)))
    cells *= np.exp(-2 * (np.pi * 1.5) ** 2 * (fx**2 + fy**2))
    frames = []
    for t in range(n):
        moved = np.fft.ifft2(cells * np.exp(-2j * np.pi * t * (fx * motion[0] + fy * motion[1]))).real
        frames.append(300 + np.arange(columns) - 200 * moved[:rows, :columns] + rng.normal(0, noise, (rows, columns)))
    return np.array(frames, np.float32)


def velocity(path: Path, context: StepContext, **parameters: Any) -> isx.VesselSet:
    target = path.with_name("vessels.isxd")
    rois = [[[10, 5], [10, 34], [50, 5], [50, 34]]]
    settings = {"time_window": 1, "time_increment": 0.5, **parameters}
    estimate_rbc_velocity([str(path)], [str(target)], rois, context=context, **settings)
    assert formats.check(target).kind == "vessel_set"
    return isx.VesselSet.read(str(target))


@pytest.mark.parametrize(
    "motion, speed, degrees", [((2.5, 0), 50, 0), ((0, -1.5), 30, 90), ((-3, 4), 100, 233.13), ((1.2, 1.6), 40, 306.87)]
)
def test_velocity_and_direction(
    tmp_path: Path, context: StepContext, motion: tuple[float, float], speed: float, degrees: float
) -> None:
    path = recordings.movie_from(tmp_path / "a.isxd", flow(40, motion))
    vessels = velocity(path, context)
    assert vessels.timing.num_samples == 3
    np.testing.assert_allclose(vessels.get_vessel_trace_data(0), speed, rtol=0.03)
    turned = (vessels.get_vessel_direction_trace_data(0) - degrees + 180) % 360 - 180
    np.testing.assert_allclose(turned, 0, atol=3)
    before, same, after = vessels.get_vessel_correlations_data(0, 1)
    assert same.max() == pytest.approx(1, abs=0.15)
    assert np.unravel_index(same.argmax(), same.shape) == (20, 20)
    np.testing.assert_allclose(before, after[::-1, ::-1])


def test_velocity_in_microns(tmp_path: Path, context: StepContext) -> None:
    path = recordings.movie_from(tmp_path / "a.isxd", flow(40, (2.5, 0)))
    vessels = velocity(path, context, output_units="microns", save_correlation_heatmaps=False)
    np.testing.assert_allclose(vessels.get_vessel_trace_data(0), 150, rtol=0.03)
    assert not vessels.has_correlation_heatmaps()


def test_noise_has_no_velocity(tmp_path: Path, context: StepContext, warnings: list[str]) -> None:
    data = 300 + np.random.default_rng(3).normal(0, 10, (40, 40, 60))
    vessels = velocity(recordings.movie_from(tmp_path / "a.isxd", data.astype(np.float32)), context)
    assert np.isnan(vessels.get_vessel_trace_data(0)).all()
    assert warnings == ["a.isxd: V0 has no clear motion in 3 of 3 windows"]


def test_a_region_that_is_too_small_is_refused(tmp_path: Path, context: StepContext) -> None:
    path = recordings.movie_from(tmp_path / "a.isxd", flow(3, (0, 0)))
    rois = [[[10, 5], [10, 7], [50, 5], [50, 7]]]
    with pytest.raises(Unusable, match="is too small: make it 5 px wide and high or more"):
        estimate_rbc_velocity([str(path)], [str(tmp_path / "v.isxd")], rois, 0.1, 0.1, context=context)
