"""How fast red blood cells move through a vessel, and where to, over time.

Red cells do not take up the dye: they are dark gaps that move along the vessel. Their motion d from frame to frame, in
each window of time and region, is that of `open_engine.image_correlation`. The velocity is |d| times the frame rate.
The direction is that of d, in degrees counterclockwise from the right as the image is shown. Without a clear motion the
sample is NaN; how many there are is reported. Cells must move by less than half their distance from each other between
two frames, or they are taken for each other.

What is stored (two traces, three correlation maps) and what the parameters mean is public (docstrings of isx.algo and
isx.VesselSet); how IDPS finds the peak is not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from open_engine import polygons
from open_engine.context import StepContext
from open_engine.files import frames, vesselsets
from open_engine.files.frames import Movie
from open_engine.files.vesselsets import Windows
from open_engine.image_correlation import peak_motion
from recording.errors import Unusable

REFERENCES = ("hebert2005",)

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
            scale = [float(size) for size in movie.spacing.pixel] if output_units == "microns" else [1.0, 1.0]
            image, motions = _measured(movie, corners, windows, context, frames.span_of(i, len(input_movie_files)))
            vessels = []
            for name, roi, (moved, maps) in zip(vesselsets.names_of((), len(rois)), corners, motions):
                across, down = moved.T
                speed = np.hypot(across * scale[0], down * scale[1]) * movie.timing.rate_hz
                direction = np.degrees(np.arctan2(-down * scale[1], across * scale[0])) % 360
                if lost := int(np.isnan(speed).sum()) - len(windows.timing.dropped):
                    context.warn(f"{movie.path.name}: {name} has no clear motion in {lost} of {len(speed)} windows")
                traces = [values.astype(np.float32) for values in (speed, direction)]
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
    by_window = [window for (window,) in frames.each_block(one_by_one, work, context, (middle, high))]
    return image, [
        (np.array([moved for moved, _ in vessel]), np.array([maps for _, maps in vessel])) for vessel in zip(*by_window)
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
