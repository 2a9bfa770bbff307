"""Crop a movie, make it smaller in space and time, and repair what the sensor does wrong.

In this order, for each frame:

1. Defective pixels become the median of their sound neighbours in the 3 x 3 around them. A pixel is defective if, in
   the median of 15 frames spread over the recording, it is brighter than all but one of its eight neighbours, or darker
   than all but one, by more than 10 robust standard deviations of a pixel about the median of its 3 x 3, and by more
   than 10% of that median. Optics blur everything in the tissue over several pixels, so nothing in it looks like that;
   "all but one" also finds two defective pixels side by side.
2. The crop, in pixels of the input; `tlbr` includes both corners.
3. Space: the mean of n x n bins that do not overlap; rows and columns that fill no bin are left out.
4. Time: the mean of n adjacent frames, without overlap; frames at the end that fill no bin are left out. Only recorded
   frames count; where none of the n is, the result is not recorded either, and for the first one's reason.

Early frames, taken while the light comes on, are those at the start of a recording (at most its first 2 s) whose mean
is below 80% of the least of the means in the 5 s that follow; activity makes the whole field vary too, but not to such
a step. They are removed, and the movie starts after them.

Steps 2 to 4 are defined in public (Inscopix, IDPS guide, "Preprocessing"). The rules for defective pixels and early
frames are this project's own. Integer movies stay integer: means are rounded to the nearest, halves to even.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import scipy

from open_engine.binning import binned, binned_timing
from open_engine.context import StepContext
from open_engine.files import frames
from open_engine.files.frames import Movie, Source, Spacing, Timing
from open_engine.robust import noise_sd
from recording.errors import Unusable

FRAME_BY_FRAME = True  # see pipeline/engines/open.py

DEVIATION = 10  # robust standard deviations
RELATIVE_DEVIATION = 0.1
MOST_DEFECTIVE = 0.01  # of the pixels; more than that is structure, not damage
EARLY_S, SETTLED_S = 2.0, 5.0
DIM = 0.8


def preprocess(
    input_movie_files: Sequence[Source],
    output_movie_files: Sequence[Source],
    temporal_downsample_factor: int = 1,
    spatial_downsample_factor: int = 1,
    crop_rect: Sequence[int] | None = None,
    crop_rect_format: str = "tlbr",
    fix_defective_pixels: bool = True,
    trim_early_frames: bool = True,
    *,
    context: StepContext,
) -> None:
    """Crop, repair and down-sample movies; timing and spacing follow. The order is that of the module's list.

    input_movie_files, output_movie_files : the parts of a series, in order of start.
    temporal_downsample_factor, spatial_downsample_factor : frames and pixels (each way) that become one.
    crop_rect : in px of the input; [top, left, bottom, right], both corners inside, or, with crop_rect_format
        "tlwh", [left, top, width, height].
    fix_defective_pixels, trim_early_frames : whether to do so.

    Raises Unusable if nothing is left after cropping, binning or trimming.
    """
    n_movies = len(input_movie_files)
    for i, (source, target) in enumerate(zip(input_movie_files, output_movie_files)):
        with frames.open_movie(source) as movie:
            x, y, width, height = _area(movie, crop_rect, crop_rect_format, spatial_downsample_factor)
            first = _early_frames(movie) if trim_early_frames else 0
            if first:
                context.warn(f"{movie.path.name}: the first {first} frames are dim and were left out")
            reduced = _Reduced(
                first=first,
                spacing=movie.spacing.cropped(x, y, width, height).binned(spatial_downsample_factor),
                corner=(x, y),
                in_time=temporal_downsample_factor,
                in_space=spatial_downsample_factor,
                repair=_Repair(_defective_pixels(movie, context) if fix_defective_pixels else (), movie.shape),
            )
            _produce(target, movie, reduced, context, frames.span_of(i, n_movies))


def _produce(target: Source, movie: Movie, reduced: _Reduced, context: StepContext, span: tuple[float, float]) -> None:
    timing = binned_timing(_later(movie.timing, reduced.first), reduced.in_time)
    if timing.n_samples == 0:
        raise Unusable(
            f"{movie.path.name} has {movie.n_frames - reduced.first} frames, too few for a mean of {reduced.in_time}: "
            "lower temporal_downsample_factor"
        )
    noted = movie.extra.get("idps", {})
    known = {name: value for name, value in noted.items() if isinstance(value, int)}
    factors = {"spatialDownsampling": reduced.in_space, "temporalDownsampling": reduced.in_time}
    extra = frames.with_idps(movie.extra, **{name: known.get(name, 1) * factor for name, factor in factors.items()})
    frames.produce(target, movie, reduced, context, span, timing=timing, spacing=reduced.spacing, extra=extra)


@dataclass(frozen=True)
class _Reduced:
    """The samples of a movie that is cropped, repaired and binned."""

    first: int  # sample that is kept
    spacing: Spacing  # of the product
    corner: tuple[int, int]  # x, y of its first pixel in the input
    in_time: int
    in_space: int
    repair: _Repair

    def __call__(self, movie: Movie, start: int, stop: int) -> np.ndarray:
        made = np.empty((stop - start, self.spacing.rows, self.spacing.columns), movie.dtype)
        for low, high in frames.cuts(stop - start, movie.shape, frames.BLOCK_MB / self.in_time):
            made[low:high] = self._block(movie, start + low, start + high)
        return made

    def _block(self, movie: Movie, start: int, stop: int) -> np.ndarray:
        begin, end = (self.first + index * self.in_time for index in (start, stop))
        smaller = self.in_time > 1 or self.in_space > 1
        block = movie.read(begin, end) if smaller else movie.samples(begin, end)
        self.repair(block)
        (x, y), rows, columns = self.corner, self.spacing.rows * self.in_space, self.spacing.columns * self.in_space
        cropped = block[:, y : y + rows, x : x + columns]
        return frames.converted(binned(cropped, movie.valid[begin:end], self.in_time, self.in_space), movie.dtype)


def _area(movie: Movie, rect: Sequence[int] | None, form: str, factor: int) -> tuple[int, int, int, int]:
    """x, y, width and height of the crop in pixels of the input."""
    rows, columns = movie.shape
    if rect is None:
        x, y, width, height = 0, 0, columns, rows
    elif form == "tlbr":
        y, x, bottom, right = rect
        width, height = right - x + 1, bottom - y + 1
    else:
        x, y, width, height = rect
    if min(x, y) < 0 or min(width, height) < 1 or x + width > columns or y + height > rows:
        raise Unusable(
            f"crop_rect {list(rect or ())} does not lie in the field of {movie.path.name}, which is {columns} px wide "
            f"and {rows} px high"
        )
    if min(width, height) < factor:
        raise Unusable(
            f"{movie.path.name}: {width} x {height} px are too few for bins of {factor} x {factor} px: "
            "lower spatial_downsample_factor"
        )
    return x, y, width, height


def _early_frames(movie: Movie) -> int:
    """How many frames at the start are dim."""
    rate = movie.timing.rate_hz
    n_early = min(max(1, round(EARLY_S * rate)), movie.n_frames // 4)
    n_settled = max(3, round(SETTLED_S * rate))
    means = _frame_means(movie, n_early + n_settled)
    settled = means[n_early:]
    if not np.isfinite(settled).any():
        return 0
    bright = ~(means[:n_early] < DIM * np.nanmin(settled))  # also where not recorded
    return int(np.argmax(bright)) if bright.any() else n_early


def _frame_means(movie: Movie, n: int) -> np.ndarray:
    """Means of the first n samples at most; NaN where not recorded."""
    means = []
    for start, stop in frames.chunks(movie, frames.BLOCK_MB):
        means.append(movie.read(start, stop).mean(axis=(1, 2), dtype=np.float64))
        if stop >= n:
            break
    joined = np.concatenate(means)[:n]
    return np.where(movie.valid[: len(joined)], joined, np.nan)


def _later(timing: Timing, n: int) -> Timing:
    """The timing of the movie without its first n samples."""
    return replace(
        timing,
        n_samples=timing.n_samples - n,
        start=timing.start + n * timing.period,
        dropped=tuple(i - n for i in timing.dropped if i >= n),
        blank=tuple(i - n for i in timing.blank if i >= n),
        cropped=tuple((max(first, n) - n, last - n) for first, last in timing.cropped if last >= n),
    )


def _defective_pixels(movie: Movie, context: StepContext) -> np.ndarray:
    """Row and column of each, shape (n, 2)."""
    recorded = np.flatnonzero(movie.valid)
    if len(recorded) == 0:
        return np.empty((0, 2), int)
    chosen = recorded[np.unique(np.linspace(0, len(recorded) - 1, 15).astype(int))]
    still = np.median([movie.read(i, i + 1)[0] for i in chosen], axis=0)
    around = scipy.ndimage.median_filter(still, 3, mode="mirror")
    spread = noise_sd(still, around=around)
    margin = np.maximum(DEVIATION * spread, RELATIVE_DEVIATION * np.abs(around))
    ring = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]])
    second_least, second_greatest = (
        scipy.ndimage.rank_filter(still, rank, footprint=ring, mode="mirror") for rank in (1, -2)
    )
    defective = (still > second_greatest + margin) | (still < second_least - margin)
    if np.mean(defective) > MOST_DEFECTIVE:
        context.warn(f"{movie.path.name}: {defective.sum()} pixels look defective, too many to be: none was changed")
        return np.empty((0, 2), int)
    return np.argwhere(defective)


class _Repair:
    """Replaces defective pixels by the median of their sound neighbours."""

    def __init__(self, defective: Iterable[Sequence[int]], shape: tuple[int, int]) -> None:
        bad = {(int(row), int(column)) for row, column in defective}
        self.places: list[tuple[tuple[int, int], np.ndarray, np.ndarray]] = []
        for row, column in sorted(bad):
            near = [(row + dy, column + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
            sound = [p for p in near if p not in bad and 0 <= p[0] < shape[0] and 0 <= p[1] < shape[1]]
            if sound:
                self.places.append(((row, column), *np.array(sound).T))

    def __call__(self, block: np.ndarray) -> None:
        for (row, column), rows, columns in self.places:
            block[:, row, column] = frames.converted(np.median(block[:, rows, columns], axis=1), block.dtype)
