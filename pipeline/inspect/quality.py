"""Quality: each number with its definition and unit, computed where the data is read.

docs/quality.md lists all of them, with the sources of the definitions and of the few thresholds.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from common.csv_cells import cell
from open_engine import robust
from pipeline.pages.content import Measure

CHECKED_FRAMES = 60  # of a movie, evenly spread, whose sharpness and shift are measured
NOISE_EVERY = 4  # of these frames, whose noise is measured
CHECKED_PX = 256  # greatest height and width of the middle of the frame in which they are
OUTLIER = 3.5  # modified z-score (Iglewicz and Hoaglin 1993, How to Detect and Handle Outliers)
EVENT_START, EVENT_END = 5.0, 2.5  # noise standard deviations above the median
ALIKE_CORRELATION = 0.8  # above which CaImAn merges overlapping components (Giovannucci et al. 2019, eLife 8:e38173)


def write(path: Path, measures: Mapping[str, Sequence[Measure]]) -> None:
    """One row a measure; `measures` go by the name of the recording."""
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["recording", "measure", "value", "unit", "mark", "definition"])
        for recording, of_recording in measures.items():
            for measure in of_recording:
                value = "" if measure.value is None else f"{measure.value:.6g}"
                rows.writerow([cell(recording), measure.name, value, measure.unit, cell(measure.mark), measure.meaning])


def to_json(measures: Sequence[Measure]) -> dict[str, Any]:
    """Value, unit and mark of each measure, by name."""
    return {measure.name: {key: asdict(measure)[key] for key in ("value", "unit", "mark")} for measure in measures}


def percent(part: float, whole: float) -> float | None:
    return 100 * part / whole if whole else None


def median(values: np.ndarray) -> float | None:
    """Median of what is finite; None if nothing is."""
    finite = np.asarray(values, np.float64)
    finite = finite[np.isfinite(finite)]
    return float(np.median(finite)) if finite.size else None


# ---- movies


def brightness_change(means: np.ndarray) -> float | None:
    """Median of the last tenth of the frames' means, less that of the first, in percent of it."""
    tenth = max(1, len(means) // 10)
    if len(means) < 10:
        return None
    first, last = float(np.median(means[:tenth])), float(np.median(means[-tenth:]))
    return 100 * (last - first) / first if first > 0 else None


def bleaching(time_s: np.ndarray, means: np.ndarray) -> float | None:
    """Loss of brightness in percent a minute: the least-squares line through the logarithm of the frames' means.

    None for less than a minute, or if a mean is not positive. The sensor's dark level is not subtracted, for
    recordings do not state it: the true loss is larger.
    """
    if len(means) < 10 or time_s[-1] - time_s[0] < 60 or means.min() <= 0:
        return None
    slope = np.polyfit(time_s - time_s[0], np.log(means), 1)[0]
    return float(100 * (1 - np.exp(60 * slope)))


def sharpness(frame: np.ndarray) -> float:
    """Variance of the Laplacian over that of the frame (Pech-Pacheco et al. 2000, ICPR): falls where it is blurred."""
    frame = frame.astype(np.float32)
    laplacian = frame[1:-1, :-2] + frame[1:-1, 2:] + frame[:-2, 1:-1] + frame[2:, 1:-1] - 4 * frame[1:-1, 1:-1]
    variance = float(frame.var())
    return float(laplacian.var()) / variance if variance > 0 else float("nan")


def crispness(image: np.ndarray) -> float | None:
    """Norm of the gradient field over that of the image without its mean, 1/px.

    After Pnevmatikakis and Giovannucci 2017, J. Neurosci. Methods 291:83, who do not divide: so it does not depend on
    the unit. It rises when motion is corrected.
    """
    if min(image.shape) < 2 or not np.isfinite(image).all():
        return None
    rows, columns = np.gradient(image.astype(np.float64))
    spread = float(np.linalg.norm(image - image.mean()))
    return float(np.sqrt((rows**2).sum() + (columns**2).sum())) / spread if spread > 0 else None


@dataclass(frozen=True)
class FrameChecks:
    """Measurements in some of a movie's frames; one value for each of them."""

    sharpness: np.ndarray
    shift_px: np.ndarray
    correlation: np.ndarray  # with the movie's mean image
    noise: float | None  # of one pixel in one frame, in the movie's unit


def check_frames(frames: Iterable[tuple[np.ndarray, np.ndarray | None]], mean: np.ndarray) -> FrameChecks:
    """`frames` are pairs of a frame (rows, columns) and the one that follows it, if any; `mean` is the mean image."""
    mean = (mean - mean.mean()).astype(np.float32)
    norm = float(np.linalg.norm(mean))
    window = np.outer(np.hanning(mean.shape[0]), np.hanning(mean.shape[1])).astype(np.float32)
    reference = np.conj(np.fft.rfft2(mean * window))
    sharp, shifts, correlations, noise = [], [], [], []
    for number, (frame, following) in enumerate(frames):
        frame = _finite(frame)
        centred = frame - frame.mean()
        scale = float(np.linalg.norm(centred)) * norm
        sharp.append(sharpness(frame))
        correlations.append(float(np.vdot(centred, mean)) / scale if scale > 0 else np.nan)
        shifts.append(_shift(np.fft.rfft2(centred * window) * reference, mean.shape) if scale > 0 else np.nan)
        if following is not None and number % NOISE_EVERY == 0:
            noise.append(robust.spread(_finite(following) - frame) / np.sqrt(2))
    return FrameChecks(np.array(sharp), np.array(shifts), np.array(correlations), median(np.array(noise)))


def _finite(frame: np.ndarray) -> np.ndarray:
    """The frame as float32, zero where it is not finite."""
    return np.nan_to_num(frame) if frame.dtype.kind == "f" else frame.astype(np.float32)


def _shift(spectrum: np.ndarray, shape: tuple[int, ...]) -> float:
    """Length in whole px of the shift at which the cross-correlation is highest."""
    correlation = np.fft.irfft2(spectrum, s=shape)
    place = np.unravel_index(int(correlation.argmax()), shape)
    return float(np.hypot(*(at if at <= size // 2 else at - size for at, size in zip(place, shape))))


def outliers(values: np.ndarray, below: bool) -> int:
    """How many lie further out than OUTLIER on one side."""
    finite = values[np.isfinite(values)]
    if len(finite) < 10:
        return 0
    score = robust.modified_z(finite)
    return int((score < -OUTLIER).sum() if below else (score > OUTLIER).sum())


# ---- cells


@dataclass(frozen=True)
class Events:
    """Transients of one trace."""

    peaks: np.ndarray  # samples at which they peak
    half_decay_s: float  # median time from the peak to half of it; NaN if there are none


def transients(trace: np.ndarray, noise: float, period_s: float) -> Events:
    """Stretches above EVENT_END noise standard deviations over the median that reach EVENT_START, as one event each.

    Missing samples lie on a straight line between those beside them.
    """
    none = Events(np.empty(0, np.int64), float("nan"))
    there = np.flatnonzero(np.isfinite(trace))
    if not noise > 0 or not len(there):
        return none
    height = (trace - np.median(trace[there])) / noise
    height = np.interp(np.arange(len(trace)), there, height[there])  # a gap ends no transient
    edges = np.flatnonzero(np.diff(np.concatenate([[False], height > EVENT_END, [False]]).astype(np.int8)))
    starts, ends = edges[::2], edges[1::2]
    if not len(starts):
        return none
    is_event = np.maximum.reduceat(height, starts) > EVENT_START
    peaks, decays = [], []
    for start, end in zip(starts[is_event], ends[is_event]):
        peak = int(height[start:end].argmax())
        peaks.append(start + peak)
        falling = height[start + peak : end + 1]
        under = np.flatnonzero(falling < falling[0] / 2)
        if len(under):  # else the recording ends before
            decays.append(under[0] * period_s)
    return Events(np.array(peaks, np.int64), float(np.median(decays)) if decays else float("nan"))


@dataclass(frozen=True)
class Overlap:
    """Two cells whose footprints share pixels, where each reaches half its maximum."""

    first: int
    second: int
    cosine: float  # of the footprints there: 1 if they are the same but for a factor
    correlation: float  # of the traces

    @property
    def is_alike(self) -> bool:
        return self.correlation > ALIKE_CORRELATION

    def other(self, cell: int) -> int:
        return self.second if cell == self.first else self.first


def overlaps(cores: Sequence[tuple[int, int, np.ndarray]], traces: np.ndarray) -> list[Overlap]:
    """Overlaps of cells that share pixels; `cores` are row, column and values, 0 outside; `traces` (cells, samples)."""
    boxes = np.array([(top, left, top + v.shape[0], left + v.shape[1]) for top, left, v in cores]).reshape(-1, 4)
    norms = [float(np.linalg.norm(values)) for _, _, values in cores]
    pairs = []
    for i, (top, left, values) in enumerate(cores):
        later = boxes[i + 1 :]
        meets = (later[:, 0] < boxes[i, 2]) & (later[:, 2] > top) & (later[:, 1] < boxes[i, 3]) & (later[:, 3] > left)
        for j in np.flatnonzero(meets) + i + 1:
            other_top, other_left, other = cores[j]
            row, column = max(top, other_top), max(left, other_left)
            end_row, end_column = min(boxes[i, 2], boxes[j, 2]), min(boxes[i, 3], boxes[j, 3])
            mine = values[row - top : end_row - top, column - left : end_column - left]
            theirs = other[row - other_top : end_row - other_top, column - other_left : end_column - other_left]
            shared = float((mine * theirs).sum())
            if shared > 0:
                pairs.append(Overlap(i, int(j), shared / (norms[i] * norms[j]), _correlation(traces[i], traces[j])))
    return pairs


def _correlation(first: np.ndarray, second: np.ndarray) -> float:
    both = np.isfinite(first) & np.isfinite(second)
    a, b = first[both].astype(np.float64), second[both].astype(np.float64)
    if len(a) < 3 or a.std() == 0 or b.std() == 0:
        return float("nan")
    return float(np.corrcoef(a, b)[0, 1])
