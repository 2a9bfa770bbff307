"""Quality of a movie: brightness over all frames; sharpness, shift and noise of some. See docs/quality.md."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from open_engine.files.movies import StoredFrames, open_frames
from open_engine.statistics import MovieStatistics
from pipeline.inspect import quality
from pipeline.pages.content import Measure


def measures(
    frames: StoredFrames,
    status: np.ndarray,
    time_s: np.ndarray,
    statistics: MovieStatistics | None,
    unit: str,
) -> tuple[Measure, ...]:
    """All of one movie. `status` and `time_s` (s) have one value a sample; `unit` is that of the pixels.

    Raises BadRecording where the file became shorter.
    """
    layout = frames.layout
    dropped = int((status == "dropped").sum())
    of_movie = [
        Measure(
            "dropped_percent",
            "Dropped frames",
            quality.percent(dropped, layout.n_samples),
            "%",
            "frames that the recording says were dropped, of all",
        )
    ]
    if not statistics:
        return tuple(of_movie)
    means, valid = statistics.frame_mean, status == "valid"
    if statistics.saturation_level is not None:
        clipped = int((statistics.frame_saturated > 0).sum())
        of_movie += [
            Measure(
                "saturated_frames_percent",
                "Frames with saturated pixels",
                quality.percent(clipped, len(means)),
                "%",
                f"valid frames with a pixel at {statistics.saturation_level:g} counts, of all valid ones",
                "what is brighter than the sensor's highest value is cut off there" if clipped else "",
            ),
            Measure(
                "saturated_pixels_max_percent",
                "Saturated pixels, worst frame",
                100 * float(statistics.frame_saturated.max()),
                "%",
                f"pixels at {statistics.saturation_level:g} counts in the frame that has most of them",
            ),
        ]
    of_movie += [
        Measure(
            "brightness_change_percent",
            "Change of brightness",
            None if is_flat(statistics) else quality.brightness_change(means),
            "%",
            "median of the frames' means in the last tenth of the frames, against the first tenth",
        ),
        Measure(
            "bleaching_percent_per_min",
            "Bleaching",
            None if is_flat(statistics) else quality.bleaching(time_s[valid], means),
            "%/min",
            "loss of brightness by a line through the logarithm of the frames' means; from a minute on; "
            "the dark level is not subtracted",
        ),
        *_frame_measures(frames, valid, statistics, unit),
    ]
    return tuple(of_movie)


def is_flat(statistics: MovieStatistics) -> bool:
    """Whether the mean image is but what is left of the noise, as that of ΔF/F is: nothing can be compared to it."""
    return bool(np.median(np.abs(statistics.mean)) < 0.1 * np.median(statistics.std))


def _frame_measures(
    source: StoredFrames, valid: np.ndarray, statistics: MovieStatistics, unit: str
) -> tuple[Measure, ...]:
    """Measures of some frames: sharpness, shift and noise, in the middle of the field of view."""
    layout = source.layout
    rows, columns = _middle(layout.rows), _middle(layout.columns)
    if min(rows.stop - rows.start, columns.stop - columns.start) < 8:
        return ()
    frames = _some_frames(source, valid, rows, columns)
    checks = quality.check_frames(frames, statistics.mean[rows, columns])
    n = len(checks.sharpness)
    which = "every frame" if n == layout.n_stored else f"{n} frames, evenly spread"
    has_structure = not is_flat(statistics)
    shift_px = checks.shift_px if has_structure else np.empty(0)
    outlier = f"modified z-score beyond {quality.OUTLIER} (Iglewicz and Hoaglin 1993)"
    blurred, shifted = quality.outliers(checks.sharpness, below=True), quality.outliers(shift_px, below=False)
    return (
        Measure(
            "blurred_frames",
            "Blurred frames",
            blurred,
            "",
            f"whose sharpness (variance of the Laplacian over that of the frame) is an outlier; {which}",
            f"{outlier}: {blurred} of {n}" if blurred else "",
        ),
        Measure(
            "shifted_frames",
            "Shifted frames",
            shifted if has_structure else None,
            "",
            f"whose shift against the mean image is an outlier; {which}",
            f"{outlier}: {shifted} of {n}" if shifted else "",
        ),
        Measure(
            "shift_median_px",
            "Shift, median",
            quality.median(shift_px),
            "px",
            f"of a frame against the mean image, in whole px, by cross-correlation; {which}",
        ),
        Measure(
            "shift_max_px",
            "Shift, greatest",
            float(np.nanmax(shift_px)) if np.isfinite(shift_px).any() else None,
            "px",
            "the greatest of these shifts",
        ),
        Measure(
            "correlation_with_mean",
            "Correlation with the mean image",
            quality.median(checks.correlation) if has_structure else None,
            "",
            f"Pearson's r of a frame and the mean image, median; {which}",
        ),
        Measure(
            "crispness_per_px",
            "Crispness of the mean image",
            quality.crispness(statistics.mean[rows, columns]) if has_structure else None,
            "1/px",
            "norm of its gradients over that of the image less its mean; it rises when motion is corrected",
        ),
        Measure(
            f"pixel_noise_{unit}",
            "Noise of a pixel",
            checks.noise,
            unit,
            "robust standard deviation of the difference of successive frames, over √2",
        ),
    )


def _middle(size: int) -> slice:
    """The middle of one side of the frame, of at most CHECKED_PX."""
    start = max(0, (size - quality.CHECKED_PX) // 2)
    return slice(start, min(size, start + quality.CHECKED_PX))


def _some_frames(
    source: StoredFrames, valid: np.ndarray, rows: slice, columns: slice
) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
    """The middle of some frames, evenly spread, each with that of the next sample if that is valid too."""
    samples = np.flatnonzero(valid)
    for i in _spread(len(samples)):
        follows = i + 1 < len(samples) and samples[i + 1] == samples[i] + 1
        frame, *following = _stored(source, [i, i + 1] if follows else [i], rows, columns)
        yield frame, following[0] if following else None


def _spread(n: int) -> list[int]:
    """Numbers of at most CHECKED_FRAMES of n frames, evenly spread."""
    return np.unique(np.linspace(0, n - 1, min(quality.CHECKED_FRAMES, n)).astype(int)).tolist()


def _stored(source: StoredFrames, wanted: list[int], rows: slice, columns: slice) -> Iterator[np.ndarray]:
    """A part of each of these recorded frames. Raises BadRecording."""
    for number in wanted:
        band = np.empty((1, rows.stop - rows.start, source.layout.columns), source.dtype)
        yield source.read_into(band, number, rows.start * source.layout.columns)[0, :, columns]


@dataclass(frozen=True)
class Glance:
    """Numbers from some frames of a movie."""

    n: int
    mean: np.ndarray  # (rows, columns), of these frames
    correlation: float | None  # of a frame with their mean, median


def glance(recording: Path) -> Glance:
    """Look at some frames, evenly spread, without reading the whole movie. Raises BadRecording."""
    with open_frames(recording) as source:
        n, mean = _mean_of_some(source)
        flat = (mean - mean.mean()).ravel()
        correlations = [_correlation(frame.ravel(), flat) for frame in _some_whole(source)]
    return Glance(n, mean, quality.median(np.array(correlations)) if n else None)


def mean_image(recording: Path) -> np.ndarray:
    """Mean of some frames, evenly spread, (rows, columns) float64; 0 without frames. Raises BadRecording."""
    with open_frames(recording) as source:
        return _mean_of_some(source)[1]


def _mean_of_some(source: StoredFrames) -> tuple[int, np.ndarray]:
    """Number of these frames, and their mean; one frame at a time is held."""
    total, n = np.zeros((source.layout.rows, source.layout.columns)), 0
    for frame in _some_whole(source):
        total += frame
        n += 1
    return n, total / max(1, n)


def _some_whole(source: StoredFrames) -> Iterator[np.ndarray]:
    layout = source.layout
    wanted = _spread(layout.n_stored) if layout.n_stored else []
    for frame in _stored(source, wanted, slice(0, layout.rows), slice(0, layout.columns)):
        yield frame.astype(np.float32)


def _correlation(frame: np.ndarray, centred: np.ndarray) -> float:
    frame = frame - frame.mean()
    scale = float(np.linalg.norm(frame) * np.linalg.norm(centred))
    return float(frame @ centred) / scale if scale > 0 else float("nan")
