"""How fast red blood cells move through a vessel, and where to, over time.

Red cells do not take up the dye: they are dark gaps that move along the vessel. In each window of time and region, the
frames' difference from their mean, which takes away what does not move, is correlated with itself k = -1, 0, 1 frames
later (spatio-temporal image correlation; Hebert, Costantino and Wiseman 2005, Biophys. J. 88):

    R_k(d) = sum_t sum_p x_t(p) x_(t+k)(p + d) / (overlap of the region with itself at d, times the variance of x)

The velocity is the distance |d| of the peak of R_1 from the centre times the frame rate. Between pixels the peak is
that of the quadratic through the nine values around the greatest. The direction is that of d, in degrees
counterclockwise from the right as the image is shown. Without a peak of at least 5 robust standard deviations of R_1,
or with one at the rim of what can be told (half the region's longer side), the sample is NaN; how many there are is
reported. Cells must move by less than half their distance from each other between two frames, or they are taken for
each other.

What is stored (two traces, three correlation maps) and what the parameters mean is public (docstrings of isx.algo and
isx.VesselSet); how IDPS finds the peak is not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.fft import irfft2, next_fast_len, rfft2

from open_engine import polygons
from open_engine.context import StepContext
from open_engine.files import frames, vesselsets
from open_engine.files.frames import Movie
from open_engine.files.vesselsets import Windows
from open_engine.quadratic import peak_within
from open_engine.robust import noise_sd
from recording.errors import Unusable

REFERENCES = ("hebert2005",)

SIGNIFICANT = 5.0  # robust standard deviations
LEAST_OVERLAP = 0.2  # of the region with itself
LEAST_SIDE = 5  # px
MOST_BYTES = 256 << 20  # of a window's frames within all regions


def estimate_rbc_velocity(
    input_movie_files: Sequence[str],
    output_vessel_set_files: Sequence[str],
    rois: Sequence[Any],
    time_window: float = 10,
    time_increment: float = 2,
    output_units: str = "pixels",
    save_correlation_heatmaps: bool = True,
    *,
    context: StepContext,
) -> None:
    """Speed and direction of red blood cells in each region, over time; a vessel set for each movie.

    rois : regions of four corners [x, y] each, in px and in any order.
    time_window, time_increment : length of a window and its step to the next, s.
    output_units : of the speed: "pixels" (px/s) or "microns" (um/s, by the size of a pixel that the movie states).
    save_correlation_heatmaps : whether the vessel set holds the three correlation maps of each sample.

    Raises Unusable if a region is too small or a movie too short for one window.
    """
    for i, (source, target) in enumerate(zip(input_movie_files, output_vessel_set_files)):
        with frames.open_movie(source) as movie:
            windows = vesselsets.windows(movie, time_window, time_increment)
            corners = [_in_turn(movie, np.asarray(roi, np.int64)) for roi in rois]
            scale = [float(each) for each in movie.spacing.pixel] if output_units == "microns" else [1.0, 1.0]
            image, found = _measured(movie, corners, windows, context, frames.span_of(i, len(input_movie_files)))
            vessels = []
            for name, roi, (moved, maps) in zip(vesselsets.names_of((), len(rois)), corners, found):
                across, down = moved.T
                speed = np.hypot(across * scale[0], down * scale[1]) * movie.timing.rate_hz
                direction = np.degrees(np.arctan2(-down * scale[1], across * scale[0])) % 360
                if lost := int(np.isnan(speed).sum()) - len(windows.timing.dropped):
                    context.warn(f"{movie.path.name}: {name} has no clear motion in {lost} of {len(speed)} windows")
                traces = [each.astype(np.float32) for each in (speed, direction)]
                vessels.append((image, roi, *traces, maps if save_correlation_heatmaps else None, name))
            noted = {"units": f"{output_units} per second", "inputMovieFps": movie.timing.rate_hz}
            vesselsets.write(target, "rbc velocity", movie, windows, vessels, ["undecided"] * len(vessels), **noted)


def _in_turn(movie: Movie, corners: np.ndarray) -> np.ndarray:
    """The corners in the order in which an outline passes them. Raises Unusable where they enclose too little."""
    vesselsets.refuse_outside(movie, "the region", corners)
    away = corners - corners.mean(axis=0)
    ordered = corners[np.argsort(np.arctan2(away[:, 1], away[:, 0]), kind="stable")]
    if np.ptp(corners, axis=0).min() < LEAST_SIDE - 1:
        raise Unusable(f"the region {corners.tolist()} is too small: make it {LEAST_SIDE} px wide and high or more")
    return ordered


def _measured(
    movie: Movie, rois: Sequence[np.ndarray], windows: Windows, context: StepContext, span: tuple[float, float]
) -> tuple[np.ndarray, list[tuple[np.ndarray, np.ndarray]]]:
    """The movie's mean image, and for each region the motion a frame, (windows, 2) as x, y, and the maps."""
    boxes = [(*roi.min(axis=0).tolist(), *(roi.max(axis=0) + 1).tolist()) for roi in rois]
    pixels = sum((right - left) * (bottom - top) for left, top, right, bottom in boxes)
    if pixels * windows.length * 4 > MOST_BYTES:
        raise Unusable(
            f"{movie.path.name}: a window has {windows.length} frames, of which the regions take "
            f"{pixels * windows.length * 4 >> 20} MB: lower time_window or draw the regions closer to the vessels"
        )
    masks = []
    for roi, (left, top, right, bottom) in zip(rois, boxes):
        x, y = np.meshgrid(np.arange(left, right), np.arange(top, bottom))
        masks.append(polygons.contains(roi.tolist(), x + 1e-6, y + 1e-6))

    def work(start: int, stop: int) -> list[tuple[np.ndarray, np.ndarray]]:
        return [_of_window(movie, windows, i, boxes, masks) for i in range(start, stop)]

    total = np.zeros(movie.shape)
    low, high = span
    middle = (low + high) / 2
    for part in frames.each_block(
        frames.chunks(movie, frames.BLOCK_MB),
        lambda start, stop: movie.read(start, stop).sum(axis=0, dtype=np.float64),
        context,
        (low, middle),
    ):
        total += part
    image = vesselsets.mean_image(total, movie)
    one_by_one = [(i, i + 1) for i in range(len(windows.starts))]
    found = [each for (each,) in frames.each_block(one_by_one, work, context, (middle, high))]
    return image, [
        (np.array([moved for moved, _ in vessel]), np.array([maps for _, maps in vessel])) for vessel in zip(*found)
    ]


def _of_window(
    movie: Movie, windows: Windows, i: int, boxes: Sequence[tuple[int, int, int, int]], masks: Sequence[np.ndarray]
) -> list[tuple[np.ndarray, np.ndarray]]:
    start = int(windows.starts[i])
    stop = start + windows.length
    seen = [np.zeros((stop - start, bottom - top, right - left), np.float32) for left, top, right, bottom in boxes]
    for at in range(start, stop):
        frame = movie.read(at, at + 1)[0]
        for region, (left, top, right, bottom) in zip(seen, boxes):
            region[at - start] = frame[top:bottom, left:right]
    return [peak_motion(region, mask, movie.valid[start:stop]) for region, mask in zip(seen, masks)]


def peak_motion(region: np.ndarray, mask: np.ndarray, valid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The motion a frame, x and y in px (NaN: none to be told), and the maps of R_-1, R_0, R_1: (3, side, side)."""
    reach = max(mask.shape) // 2
    maps = np.zeros((3, 2 * reach + 1, 2 * reach + 1), np.float32)
    nothing = np.full(2, np.nan)
    if np.count_nonzero(valid[1:] & valid[:-1]) < 2 or not mask.any():
        return nothing, maps
    changing = (region - region[valid].mean(axis=0)) * mask
    changing -= (changing.sum(axis=(1, 2)) / mask.sum())[:, np.newaxis, np.newaxis] * mask
    variance = float((changing[valid] ** 2).sum() / (np.count_nonzero(valid) * mask.sum()))
    if variance == 0:
        return nothing, maps
    padded = tuple(next_fast_len(n + reach, real=True) for n in mask.shape)
    spectra = rfft2(changing, padded)
    near = np.ix_(*(np.arange(-reach, reach + 1) % n for n in padded))
    shape = rfft2(mask.astype(np.float32), padded)
    overlap = irfft2(np.abs(shape) ** 2, padded)[near]
    told = overlap >= LEAST_OVERLAP * mask.sum()
    scale = np.where(told, 1 / np.maximum(overlap, 1), 0) / variance
    for k, place in ((0, 1), (1, 2)):
        pairs = valid[: len(valid) - k] & valid[k:]
        product = (np.conj(spectra[: len(valid) - k][pairs]) * spectra[k:][pairs]).mean(axis=0)
        maps[place] = irfft2(product, padded)[near] * scale
    maps[0] = maps[2, ::-1, ::-1]  # the same pairs of frames, the other way round
    return _peak(maps[2], told), maps


def _peak(surface: np.ndarray, told: np.ndarray) -> np.ndarray:
    """Where the greatest value lies from the centre, as x and y; NaN where it is at the rim or does not stand out."""
    row, column = np.unravel_index(np.where(told, surface, -np.inf).argmax(), surface.shape)
    values = surface[told]
    around = np.s_[row - 1 : row + 2, column - 1 : column + 2]
    inner = 0 < row < len(surface) - 1 and 0 < column < len(surface) - 1 and told[around].all()
    if not inner or surface[row, column] - np.median(values) < SIGNIFICANT * noise_sd(values):
        return np.full(2, np.nan)
    centre = len(surface) // 2
    return np.array([column - centre, row - centre]) + peak_within(surface[around])[::-1]
