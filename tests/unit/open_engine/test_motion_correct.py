"""motion_correct against known shifts, on movies of our own generator."""

from __future__ import annotations

import dataclasses
from functools import cache
from pathlib import Path
from typing import Any

import isx
import numpy as np
import pytest
from scipy.ndimage import fourier_shift, gaussian_filter, gaussian_filter1d, map_coordinates

from bench import conditions
from open_engine.context import StepContext
from open_engine.files import frames
from open_engine.registration import standing_still
from open_engine.resampling import common_area, move_back
from open_engine.shifts import combined
from open_engine.steps.motion_correct import motion_correct
from open_engine.steps.spatial_filter import spatial_filter
from recording import formats
from recording.errors import Unusable
from samples import recordings
from samples import simulate as synthetic

SHAPE = (80, 96)


@pytest.fixture(scope="module")
def moving() -> synthetic.Recording:
    return synthetic.recording(seed=3, seconds=10, shape=SHAPE, n_cells=20, motion_px=1.5)


@pytest.fixture(scope="module")
def still() -> synthetic.Recording:
    return synthetic.recording(seed=4, seconds=10, shape=SHAPE, n_cells=20, motion_px=0)


@dataclasses.dataclass
class Corrected:
    movies: list[Path]
    translations: np.ndarray  # (n, 3): x, y, time
    area: list[int]

    @property
    def shifts(self) -> np.ndarray:
        """Shifts of the tissue, as the generator states them."""
        return -self.translations[:, [1, 0]]


def run(sources: list[Path], context: StepContext, **parameters: Any) -> Corrected:
    folder = sources[0].parent
    made = [folder / f"{source.stem}-MC.isxd" for source in sources]
    tables = [folder / f"{source.stem}-translations.csv" for source in sources]
    motion_correct(
        [str(path) for path in sources],
        [str(path) for path in made],
        output_translation_files=[str(path) for path in tables],
        output_crop_rect_file=str(folder / "crop.csv"),
        context=context,
        **parameters,
    )
    assert tables[0].read_text().startswith("translationX,translationY,time\n")
    rows = np.concatenate([np.loadtxt(table, delimiter=",", skiprows=1, ndmin=2) for table in tables])
    return Corrected(made, rows, [int(edge) for edge in (folder / "crop.csv").read_text().split(",")])


def read(path: Path) -> np.ndarray:
    with frames.open_movie(path) as movie:
        return movie.read(0, movie.n_frames)


def error(shifts: np.ndarray, true: np.ndarray) -> float:
    """Root mean square in px, a constant removed."""
    away = shifts - true
    return float(np.sqrt(((away - away.mean(axis=0)) ** 2).mean()))


def test_known_shifts_are_found(tmp_path: Path, context: StepContext, moving: synthetic.Recording) -> None:
    made = run(synthetic.write(tmp_path, "a", moving), context)
    assert error(made.shifts, moving.shifts) < 0.2
    assert not made.translations[0, :2].any()  # the reference frame
    np.testing.assert_allclose(made.translations[:, 2], 0.1 * np.arange(len(moving.movie)), atol=1e-6)


def test_known_shifts_are_found_in_a_filtered_movie(
    tmp_path: Path, context: StepContext, moving: synthetic.Recording
) -> None:
    """As the recipes `standard` and `cnmfe` have it: filtered before, and no band given."""
    filtered = tmp_path / "a-BP.isxd"
    spatial_filter(synthetic.write(tmp_path, "a", moving), [filtered], context=context)
    made = run([filtered], context, low_bandpass_cutoff=None, high_bandpass_cutoff=None)
    assert error(made.shifts, moving.shifts) < 0.2


@pytest.mark.parametrize(("shape", "size"), [((400, 640), 7), ((800, 1280), 14)])
@pytest.mark.parametrize("roi", [None, [[20, 20], [330, 20], [330, 380], [20, 380]]])
def test_large_fields_are_registered_as_well_as_small_ones(
    tmp_path: Path, context: StepContext, shape: tuple[int, int], size: int, roi: Any
) -> None:
    rng = np.random.default_rng(8)
    n = 10
    tissue = np.zeros((shape[0] + 40, shape[1] + 40), np.float32)
    tissue[tuple(rng.integers(0, length, 480) for length in tissue.shape)] = rng.uniform(0.5, 2, 480)
    spectrum = np.fft.rfft2(gaussian_filter(tissue, size / 3) * 100 * size**2)
    shifts = np.vstack([np.zeros(2), rng.uniform(-8, 8, (n - 1, 2))])
    light = 1 - 0.5 * np.hypot(*np.meshgrid(np.linspace(-1, 1, shape[1]), np.linspace(-1, 1, shape[0]))) / 1.5
    data = [np.fft.irfft2(fourier_shift(spectrum, by, tissue.shape[1]), tissue.shape) for by in shifts]
    seen = rng.poisson(light * (300 + np.maximum(data, 0))[:, 20:-20, 20:-20]).astype(np.uint16)
    made = run([recordings.movie_from(tmp_path / "a.isxd", seen)], context, roi=roi)
    assert error(made.shifts, shifts) < 0.05


def test_a_field_that_stands_still_stays_as_it_is(
    tmp_path: Path, context: StepContext, still: synthetic.Recording
) -> None:
    made = run(synthetic.write(tmp_path, "a", still), context)
    assert not made.translations[:, :2].any()
    assert made.area == [0, 0, SHAPE[1], SHAPE[0]]
    np.testing.assert_array_equal(read(made.movies[0]), still.movie)


def test_a_field_with_little_to_see_in_it_does_not_move(tmp_path: Path, context: StepContext) -> None:
    """What the whole field suggests draws both halves after it, so that they seem to agree."""
    rng = np.random.default_rng(5)
    y, x = np.mgrid[:96, :96]
    light = np.full((240, 96, 96), 400.0)
    for row, column in rng.uniform(0, 96, (12, 2)):
        cell = np.exp(-((y - row) ** 2 + (x - column) ** 2) / 40)
        calcium = np.convolve(rng.random(240) < 0.02, np.exp(-np.arange(30) / 6))[:240]
        light += 60 * (0.03 + calcium)[:, None, None] * cell
    data = rng.poisson(light).astype(np.uint16)
    made = run([recordings.movie_from(tmp_path / "a.isxd", data)], context)
    np.testing.assert_array_equal(read(made.movies[0]), data)


def test_rare_jerks_are_motion(tmp_path: Path, context: StepContext, still: synthetic.Recording) -> None:
    data = still.movie.copy()
    for t in (20, 50, 51, 80):
        data[t] = np.roll(data[t], (5, -3), axis=(0, 1))
    made = run([recordings.movie_from(tmp_path / "a.isxd", data)], context)
    np.testing.assert_allclose(made.shifts[[20, 50, 51, 80]], np.tile([5, -3], (4, 1)), atol=0.5)


def test_the_product_is_the_field_at_rest(tmp_path: Path, context: StepContext, moving: synthetic.Recording) -> None:
    made = run(synthetic.write(tmp_path, "a", moving), context)
    x, y, width, height = made.area
    low, high = moving.shifts.min(axis=0), moving.shifts.max(axis=0)
    assert abs(y + low[0]) < 1.5 and abs(x + low[1]) < 1.5
    assert abs(SHAPE[0] - height - y - high[0]) < 1.5 and abs(SHAPE[1] - width - x - high[1]) < 1.5
    footer = formats.read_footer(made.movies[0])
    expected = {"topLeft": {"x": 0, "y": 0}, "width": SHAPE[1], "height": SHAPE[0]}
    assert footer["extraProperties"]["idps"] == {"pre_mc": expected, "mc_padding": False}
    movie = isx.Movie.read(str(made.movies[0]))
    assert movie.spacing.num_pixels == (height, width)
    assert movie.data_type == np.uint16
    with frames.open_movie(made.movies[0]) as ours:
        assert [float(coordinate) for coordinate in ours.spacing.top_left] == [2 * x, 2 * y]
    before = moving.movie[:, y : y + height, x : x + width].astype(float)
    assert read(made.movies[0]).std(axis=0).mean() < 0.9 * before.std(axis=0).mean()


def test_padding_keeps_the_size(tmp_path: Path, context: StepContext, moving: synthetic.Recording) -> None:
    sources = synthetic.write(tmp_path, "a", moving)
    cropped = run(sources, context)
    data = read(cropped.movies[0])
    padded = run(sources, context, preserve_input_dimensions=True)
    x, y, width, height = padded.area
    whole = read(padded.movies[0])
    assert whole.shape[1:] == SHAPE
    np.testing.assert_array_equal(whole[:, y : y + height, x : x + width], data)
    ten = moving.movie[np.linspace(0, len(moving.movie) - 1, 10).astype(int)]
    assert whole[5, 0, 0] == np.rint(np.percentile(ten, 5))
    assert formats.read_footer(padded.movies[0])["extraProperties"]["idps"]["mc_padding"] is True


def test_one_correction_and_one_crop_over_all_parts(
    tmp_path: Path, context: StepContext, moving: synthetic.Recording
) -> None:
    parts = run(synthetic.write(tmp_path, "a", moving, n_parts=3), context, reference_segment_index=1)
    assert error(parts.shifts, moving.shifts) < 0.2
    assert not parts.translations[len(moving.movie) // 3, :2].any()
    assert {read(path).shape[1:] for path in parts.movies} == {tuple(parts.area[:1:-1])}


def test_reference_image(tmp_path: Path, context: StepContext, moving: synthetic.Recording) -> None:
    at = int(np.abs(moving.shifts).sum(axis=1).argmax())
    image = recordings.movie_from(tmp_path / "image.isxd", moving.movie[at : at + 1])
    made = run(synthetic.write(tmp_path, "a", moving), context, reference_file_name=str(image))
    np.testing.assert_allclose(np.median(made.shifts - moving.shifts, axis=0), -moving.shifts[at], atol=0.5)


def test_the_frame_before_counts_as_asked(tmp_path: Path, context: StepContext, moving: synthetic.Recording) -> None:
    made = run(synthetic.write(tmp_path, "a", moving), context, global_registration_weight=0.5)
    assert error(made.shifts, moving.shifts) < 0.25


def test_shifts_and_steps_are_combined_by_least_squares() -> None:
    rng = np.random.default_rng(0)
    shifts, steps = rng.normal(size=(2, 30, 2))
    solution = combined(shifts, steps, 0.3)
    rows = np.vstack([np.sqrt(0.3) * np.eye(30), np.sqrt(0.7) * np.diff(np.eye(30), axis=0)])
    values = np.vstack([np.sqrt(0.3) * shifts, np.sqrt(0.7) * steps[1:]])
    np.testing.assert_allclose(solution, np.linalg.lstsq(rows, values, rcond=None)[0], atol=1e-9)


def test_region_of_interest(tmp_path: Path, context: StepContext, moving: synthetic.Recording) -> None:
    """Outside the region the frames show something else, which moves differently."""
    data = moving.movie.copy()
    data[:, :, 66:] = moving.movie[::-1, :, 66:]
    roi = [[0, 0], [65, 0], [65, 79], [0, 79]]
    made = run([recordings.movie_from(tmp_path / "a.isxd", data)], context, roi=roi)
    assert error(made.shifts, moving.shifts) < 0.3


def test_gaps_and_frames_without_light(tmp_path: Path, context: StepContext, moving: synthetic.Recording) -> None:
    data = np.delete(moving.movie, [3, 10, 11], axis=0)
    data[20] = 0
    source = recordings.movie_from(tmp_path / "a.isxd", data, dropped=[3], cropped=[(10, 11)])
    made = run([source], context)
    assert not made.translations[[3, 10, 11], :2].any()
    recorded = np.setdiff1d(np.arange(len(moving.movie)), [3, 10, 11, 23])
    assert error(made.shifts[recorded], moving.shifts[recorded]) < 0.2
    assert np.isfinite(made.translations).all()
    with frames.open_movie(made.movies[0]) as movie:
        assert movie.timing.dropped == (3,)
        assert movie.timing.cropped == ((10, 11),)


def test_max_translation(
    tmp_path: Path, context: StepContext, warnings: list[str], moving: synthetic.Recording
) -> None:
    made = run(synthetic.write(tmp_path, "a", moving), context, max_translation=2)
    assert np.abs(made.translations[:, :2]).max() == 2
    assert any("max_translation (2 px)" in text for text in warnings)


@pytest.mark.parametrize("level", [0, 700])
def test_a_constant_movie_has_not_moved(tmp_path: Path, context: StepContext, level: int) -> None:
    data = np.full((12, 40, 50), level, np.uint16)
    made = run([recordings.movie_from(tmp_path / "a.isxd", data)], context)
    np.testing.assert_array_equal(read(made.movies[0]), data)


@pytest.mark.parametrize("n", [1, 2, 5])
def test_few_frames(tmp_path: Path, context: StepContext, still: synthetic.Recording, n: int) -> None:
    made = run([recordings.movie_from(tmp_path / "a.isxd", still.movie[:n])], context)
    assert len(made.translations) == n


def test_values_that_are_not_numbers(tmp_path: Path, context: StepContext, moving: synthetic.Recording) -> None:
    data = moving.movie.astype(np.float32)
    data[:, 30, 40] = np.nan
    made = run([recordings.movie_from(tmp_path / "a.isxd", data)], context)
    assert error(made.shifts, moving.shifts) < 0.25


@pytest.mark.parametrize("level", [1e20, 1e38])
def test_of_values_beyond_all_sums_nothing_is_said_to_stand_still(level: float) -> None:
    """As those of a file whose frames are taken at the wrong bytes."""
    smalls = (level * np.random.default_rng(0).uniform(-1, 1, (24, 40, 40))).astype(np.float32)
    assert standing_still(smalls, np.ones((40, 40), np.float32)) is None


@pytest.mark.parametrize(
    "parameters, message",
    [
        ({"reference_segment_index": 1}, "the series has 1 parts"),
        ({"reference_frame_index": 100}, "the movie has 100 frames"),
        ({"roi": [[1, 1], [2, 2]]}, "roi has 2 corners"),
        ({"roi": [[500, 500], [600, 500], [600, 600]]}, "lies outside the field, which is 96 x 80 px"),
    ],
)
def test_what_cannot_be_is_refused(
    tmp_path: Path, context: StepContext, still: synthetic.Recording, parameters: dict[str, Any], message: str
) -> None:
    with pytest.raises(Unusable, match=message):
        run(synthetic.write(tmp_path, "a", still), context, **parameters)


def test_a_reference_image_of_another_size_is_refused(
    tmp_path: Path, context: StepContext, still: synthetic.Recording
) -> None:
    image = recordings.image(tmp_path / "image.isxd")
    with pytest.raises(Unusable, match=r"image\.isxd has 32 x 24 px but the movie 96 x 80 px"):
        run(synthetic.write(tmp_path, "a", still), context, reference_file_name=str(image))


def test_a_small_field_and_one_without_frames_are_refused(tmp_path: Path, context: StepContext) -> None:
    small = recordings.movie_from(tmp_path / "a.isxd", np.zeros((5, 12, 40), np.uint16))
    with pytest.raises(Unusable, match="40 x 12 px are too few to register"):
        run([small], context)
    empty = recordings.movie_from(tmp_path / "b.isxd", np.empty((0, 24, 32), np.uint16), dropped=[0, 1])
    with pytest.raises(Unusable, match="no frame was recorded"):
        run([empty], context)


def test_cubic_convolution_reproduces_parabolas_and_grid_points() -> None:
    y, x = np.mgrid[:20, :24].astype(float)
    frame = (0.3 * y * y - x * x + 2 * x * y - 5).astype(np.float32)
    out = np.empty((10, 12), np.float32)
    for shift in ([0.0, 0.0], [2.0, -3.0], [1.25, -0.5], [-2.75, 0.125]):
        move_back(frame, np.array(shift), (5, 4, 12, 10), out)
        v, u = y[4:14, 5:17] + shift[0], x[4:14, 5:17] + shift[1]
        np.testing.assert_allclose(out, 0.3 * v * v - u * u + 2 * u * v - 5, atol=2e-3)


def test_common_area() -> None:
    shifts = np.array([[0, 0], [1.5, -2.25], [-0.5, 3]])
    assert common_area((50, 60), shifts) == (3, 1, 54, 47)  # ceil(2.25), ceil(0.5), 60 - 3 - 3, 50 - 1 - 2


def test_same_bytes_whatever_the_number_of_threads(
    tmp_path: Path, context: StepContext, moving: synthetic.Recording
) -> None:
    made = []
    for threads in (1, 3):
        folder = tmp_path / str(threads)
        folder.mkdir()
        result = run(synthetic.write(folder, "a", moving), dataclasses.replace(context, threads=threads))
        made.append((result.movies[0].read_bytes(), result.translations.tobytes()))
    assert made[0] == made[1]


# ---- what is hard to see


def simulated(kind: str, seed: int, **changes: Any) -> dict[str, np.ndarray]:
    what = dataclasses.replace(conditions.CONDITIONS[kind], **{"frames": 220, **changes})
    return conditions.simulate(what, seed)


DIM = {"haze": 5, "light": 0.012, "flash": (70, 260)}  # 70 photons a pixel, of which the tissue's structure has 2


@pytest.mark.parametrize(
    ("kind", "changes", "greatest_error"),
    [
        ("dark", {}, 0.11),
        ("dark", DIM, 0.3),
        ("dark", {**DIM, "motion": 0.6}, 0.3),
        ("dark", {**DIM, "noise": 4}, 0.4),
        ("shadow", {}, 0.2),
        ("shadow", {"shadow": 0.7}, 0.25),
        ("pattern", {"pattern": 0.05, "motion": 0.6}, 0.07),
        ("pattern", {}, 0.08),
        ("dust", {}, 0.13),
    ],
)
@pytest.mark.parametrize("seed", [3, 4])
def test_motion_is_corrected_where_little_is_seen(
    tmp_path: Path, context: StepContext, kind: str, changes: dict[str, Any], greatest_error: float, seed: int
) -> None:
    made = simulated(kind, seed, **changes)
    assert error(run([recordings.movie_from(tmp_path / "a.isxd", made["movie"])], context).shifts, made["shifts"]) < (
        greatest_error
    )


@pytest.mark.parametrize(
    ("kind", "changes"),
    [("dark", {}), ("dark", DIM), ("dark", {**DIM, "cells": 0, "waves": 400}), ("shadow", {}), ("pattern", {})],
)
@pytest.mark.parametrize("seed", [3, 4])
def test_tissue_that_stands_still_does_so_where_little_is_seen(
    tmp_path: Path, context: StepContext, kind: str, changes: dict[str, Any], seed: int
) -> None:
    seen = simulated(kind, seed, **changes, motion=0)["movie"]
    made = run([recordings.movie_from(tmp_path / "a.isxd", seen)], context)
    np.testing.assert_array_equal(read(made.movies[0]), seen)


# ---- tissue that bends


def bent(made: synthetic.Recording, rms: float) -> np.ndarray:
    """The movie as if the tissue also bent by so many px, as a sheet does; with some noise of its own."""
    rng = np.random.default_rng(12)
    n, rows, columns = made.movie.shape
    y, x = np.mgrid[:rows, :columns].astype(float)
    course = gaussian_filter1d(rng.normal(size=(2, n)), 1.5, axis=1)
    course *= rms / course.std(axis=1, keepdims=True)
    down, right = 1.4 * np.cos(np.pi * y / rows), 1.4 * np.sin(1.3 * np.pi * x / columns)
    seen = np.empty_like(made.movie)
    for t, frame in enumerate(made.movie):
        at = y - course[0, t] * down, x - course[1, t] * right
        seen[t] = np.rint(map_coordinates(frame.astype(float), at, order=3, mode="nearest") + rng.normal(0, 2, y.shape))
    return seen


@pytest.fixture(scope="module")
def wide() -> synthetic.Recording:
    return synthetic.recording(seed=21, seconds=12, shape=(112, 128), n_cells=40, diameter_px=8, motion_px=1.2)


def crispness(movie: np.ndarray) -> float:
    """Crispness in the middle of the field, from two means of alternate frames, whose noise is independent."""
    means = [movie[i::2].astype(float).mean(axis=0)[14:-14, 14:-14] for i in (0, 1)]
    one, other = (np.array(np.gradient(mean)) for mean in means)
    return float((one * other).mean()) / means[0].mean() ** 2


def with_what_stands_still(movie: np.ndarray, kind: str) -> np.ndarray:
    """The movie (frames, rows, columns), float32, with structure of the microscope or of a program before."""
    seen = movie.astype(np.float32)
    rows, columns = np.ogrid[: seen.shape[1], : seen.shape[2]]
    if kind == "edge of a lens":
        seen *= 1 / (1 + np.exp(np.hypot(rows - seen.shape[1] / 2, columns - seen.shape[2] / 2) - 54))
    elif kind == "saturated":
        seen[:, 30:52, 40:60] = 4095
    elif kind == "zeros at the edges":
        seen[:, :9], seen[:, :, -11:] = 0, 0
    elif kind == "not recorded at the edges":
        seen[:, :9], seen[:, :, -11:] = np.nan, np.nan
    elif kind == "dust":
        for row, column in np.random.default_rng(4).uniform(10, 110, (9, 2)):
            seen *= 1 - 0.5 * np.exp(-(np.hypot(rows - row, columns - column) ** 2) / 18)
    return seen if "not" in kind else np.rint(seen).astype(np.uint16)


@cache
def under_a_microscope(motion: float) -> synthetic.Recording:
    return synthetic.recording(seed=6, seconds=15, shape=(120, 120), n_cells=30, motion_px=motion)


STANDING_STILL = ["edge of a lens", "saturated", "zeros at the edges", "not recorded at the edges", "dust"]


@pytest.mark.parametrize("kind", STANDING_STILL)
@pytest.mark.parametrize("motion", [0, 1.5])
def test_what_stands_still_holds_nothing_and_moves_nothing(
    tmp_path: Path, context: StepContext, warnings: list[str], kind: str, motion: float
) -> None:
    recording = under_a_microscope(motion)
    seen = with_what_stands_still(recording.movie, kind)
    made = run([recordings.movie_from(tmp_path / "a.isxd", seen)], context)
    if motion:
        assert error(made.shifts, recording.shifts) < 0.2
        assert warnings == []
    else:
        assert not made.shifts.any()
        np.testing.assert_array_equal(read(made.movies[0]), seen)


@pytest.mark.parametrize("rms", [1.0, 2.0])
@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_tissue_that_bends_is_bent_back(
    tmp_path: Path,
    context: StepContext,
    warnings: list[str],
    wide: synthetic.Recording,
    monkeypatch: pytest.MonkeyPatch,
    rms: float,
    dtype: Any,
) -> None:
    data = bent(wide, rms).astype(dtype)
    if dtype == np.float32:
        data[3, 50, 60] = np.nan
    made = run([recordings.movie_from(tmp_path / "a.isxd", data, dropped=[7])], context)
    assert len(warnings) == 1
    assert warnings[0].startswith("the tissue bends, by ")
    straight = read(made.movies[0])
    assert np.isfinite(straight).all()
    assert straight.shape[1:] == (made.area[3], made.area[2])
    with frames.open_movie(made.movies[0]) as movie:
        sharpness = crispness(straight[movie.valid])
    unbent = run(synthetic.write(tmp_path, "unbent", wide), context)
    monkeypatch.setattr("open_engine.bending.bends", lambda *_: None)
    rigid = run([recordings.movie_from(tmp_path / "b.isxd", bent(wide, rms))], context)
    assert crispness(read(rigid.movies[0])) < (1 - 0.05 * rms) * sharpness
    assert sharpness > 0.98 * crispness(read(unbent.movies[0]))


@pytest.mark.parametrize("kept_size", [False, True])
def test_the_same_bytes_whatever_the_threads_where_tissue_bends(
    tmp_path: Path, context: StepContext, wide: synthetic.Recording, kept_size: bool
) -> None:
    written = []
    for threads in (1, 2):
        folder = tmp_path / str(threads)
        folder.mkdir()
        source = recordings.movie_from(folder / "a.isxd", bent(wide, 1.5)[:60])
        its = dataclasses.replace(context, threads=threads)
        written.append(run([source], its, preserve_input_dimensions=kept_size).movies[0].read_bytes())
    assert written[0] == written[1]


@pytest.mark.parametrize("motion", [0, 0.5, 2])
@pytest.mark.parametrize("seed", [31, 32])
def test_tissue_that_does_not_bend_is_not_bent(
    tmp_path: Path, context: StepContext, warnings: list[str], monkeypatch: pytest.MonkeyPatch, motion: float, seed: int
) -> None:
    made = synthetic.recording(seed=seed, seconds=15, shape=(112, 128), n_cells=40, diameter_px=8, motion_px=motion)
    with_test = run(synthetic.write(tmp_path, "a", made), context).movies[0].read_bytes()
    monkeypatch.setattr("open_engine.bending.bends", lambda *_: None)
    assert run(synthetic.write(tmp_path, "a", made), context).movies[0].read_bytes() == with_test
    assert warnings == []
