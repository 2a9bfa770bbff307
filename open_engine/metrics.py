"""What can be said of the quality of a cell: of its trace and events, and of its footprint.

Of the trace, as Inscopix's open I/O library defines them (isxcore, TraceMetrics): median absolute deviation; SNR, the
median amplitude of the events divided by it; events per second of recorded time; of amplitudes, rise and decay times
the median and the standard deviation from it. A cell without events has 0 throughout, as in IDPS; one whose trace holds
no number has NaN, as nothing is known of it.

Rise and decay times are approximate, as IDPS's rule is not public. From the event's time the trace is followed up to
its next peak, and from there down to where the rise began. The decay time ends where the trace has lost 1 - 1/e of
the rise (between samples: on a straight line); events whose trace does not fall so far before the next event have no
decay time.

Of the footprint: the components in which it exceeds half its maximum, their areas, centres and greatest widths
(outlines.py). IDPS cuts footprints elsewhere: in a published cell set of its own, at about the brightest 0.1% of the
field, so that sizes differ from these.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from open_engine.files.cellsets import SAMPLES_OF_A_PEAK, CellSet, as_list
from open_engine.outlines import greatest_distance, outlines
from recording import formats
from recording.errors import BadRecording, Unusable

if TYPE_CHECKING:
    import isx  # brings pandas, which takes a third of a second: not for each process of an extraction

CUT = 0.5  # of the maximum
NOWHERE = (math.nan, math.nan)
NEAR = 0.75  # diameters from the centre of a footprint


@dataclass(frozen=True)
class TraceMetrics:
    """Metrics of a trace, in the order of an event set's footer."""

    snr: float = 0.0
    mad: float = 0.0  # unit of the trace
    event_rate: float = 0.0  # Hz
    amplitude_median: float = 0.0  # unit of the trace
    amplitude_sd: float = 0.0
    rise_median: float = 0.0  # s
    rise_sd: float = 0.0
    decay_median: float = 0.0  # s
    decay_sd: float = 0.0


UNKNOWN = TraceMetrics(*[math.nan] * 9)


@dataclass(frozen=True)
class ImageMetrics:
    """Places and sizes of all components and of the largest one. Centres are cut to whole pixels, as by IDPS."""

    n_components: int = 0
    center: tuple[float, float] = NOWHERE  # x, y, px: mean of the components' centres
    area: float = 0.0  # px
    width: float = 0.0  # px, greatest distance of two points of the outlines: the "cell size"
    largest_center: tuple[float, float] = NOWHERE
    largest_area: float = 0.0
    largest_width: float = 0.0

    def as_json(self) -> list[object]:
        """Metrics in the order of a cell set's footer. An unknown place is 0, as in IDPS."""
        centers = (self.center, self.largest_center) if self.n_components else ((0, 0), (0, 0))
        places = [{"x": x, "y": y} for x, y in centers]
        return [self.n_components, *places, self.area, self.largest_area, self.width, self.largest_width]

    @classmethod
    def of_json(cls, stored: Sequence[object]) -> ImageMetrics:
        n, center, largest_center, area, largest_area, width, largest_width = stored
        if not n:
            return cls()
        return cls(n, _xy(center), area, width, _xy(largest_center), largest_area, largest_width)


@dataclass(frozen=True)
class Events:
    """The events of one cell, over all parts of a series."""

    samples: np.ndarray  # index of the sample in which each event lies
    amplitudes: np.ndarray  # unit of the trace


NO_EVENTS = Events(np.zeros(0, int), np.zeros(0))


def image_metrics(footprint: np.ndarray) -> ImageMetrics:
    """Metrics of a footprint, shape (rows, columns). Without positive values: no component, and a place of NaN."""
    parts = outlines(footprint, CUT)
    if not parts:
        return ImageMetrics()
    largest = max(parts, key=lambda outline: (outline.area, len(outline.points)))
    x, y = np.mean([outline.center for outline in parts], axis=0)
    return ImageMetrics(
        n_components=len(parts),
        center=_whole(x, y),
        area=sum(outline.area for outline in parts),
        width=greatest_distance(np.concatenate([outline.points for outline in parts])),
        largest_center=_whole(*largest.center),
        largest_area=largest.area,
        largest_width=greatest_distance(largest.points),
    )


def compactness(footprint: np.ndarray, diameter: float) -> float:
    """The share of a footprint's square, shape (rows, columns), within 0.75 diameters (px) of its centre; 0 if empty.

    The centre is that of mass of the square. A cell has nearly all of it there; a ring, an arc or a larger thing less.
    """
    y, x = np.nonzero(footprint > 0)
    power = footprint[y, x].astype(np.float64) ** 2
    if not len(power):
        return 0.0
    row, column = np.average(y, weights=power), np.average(x, weights=power)
    return float(power[np.hypot(y - row, x - column) <= NEAR * diameter].sum() / power.sum())


def trace_metrics(trace: np.ndarray, valid: np.ndarray, events: Events, period_s: float) -> TraceMetrics:
    """Metrics of a trace, shape (samples), of which those in `valid` were recorded."""
    good = valid & np.isfinite(trace)
    if good.sum() < SAMPLES_OF_A_PEAK:
        return UNKNOWN
    if not len(events.samples):
        return TraceMetrics()
    recorded = trace[good].astype(np.float64)
    mad = float(np.median(np.abs(recorded - np.median(recorded))))
    amplitude, amplitude_sd = _median_and_spread(events.amplitudes)
    rises, decays = rise_and_decay_times(np.where(good, trace, np.nan), events.samples)
    rise, decay = (_median_and_spread(np.array(times) * period_s) for times in (rises, decays))
    return TraceMetrics(
        snr=amplitude / mad if mad > 0 else 0.0,
        mad=mad,
        event_rate=len(events.samples) / (good.sum() * period_s),
        amplitude_median=amplitude,
        amplitude_sd=amplitude_sd,
        rise_median=rise[0],
        rise_sd=rise[1],
        decay_median=decay[0],
        decay_sd=decay[1],
    )


def rise_and_decay_times(trace: np.ndarray, events: np.ndarray) -> tuple[list[float], list[float]]:
    """Rise and decay times of a trace's events, in samples. NaN in the trace ends a rise or a decay."""
    rises, decays = [], []
    ends = [*events[1:], len(trace)]
    for event, end in zip(events, ends):
        peak = int(event)
        while peak + 1 < len(trace) and trace[peak + 1] > trace[peak]:
            peak += 1
        begin = peak
        while begin > 0 and trace[begin - 1] < trace[begin]:
            begin -= 1
        if begin < peak:
            rises.append(float(peak - begin))
        level = trace[begin] + (trace[peak] - trace[begin]) / np.e
        fallen = np.flatnonzero(trace[peak : max(end, peak + 1)] <= level)
        if begin < peak and len(fallen):
            after = peak + int(fallen[0])
            above, below = trace[after - 1], trace[after]
            if np.isfinite(above):
                decays.append(float(after - 1 - peak + (above - level) / (above - below)))
    return rises, decays


def read_events(paths: object, cells: CellSet) -> list[Events]:
    """The events of each cell, by its name, over the event sets that belong to the parts of a cell set.

    Raises Unusable if there are not as many event sets as parts, or one is no event set or of other cells.
    """
    files = as_list(paths)
    if len(files) != len(cells.parts):
        raise Unusable(f"{len(files)} event sets for {len(cells.parts)} cell sets: give one for each")
    samples: dict[str, list[np.ndarray]] = {name: [] for name in cells.names}
    amplitudes: dict[str, list[np.ndarray]] = {name: [] for name in cells.names}
    for file, part in zip(files, cells.parts):
        event_set = _opened(file)
        names = [event_set.get_cell_name(i) for i in range(event_set.num_cells)]
        if not set(names) <= set(cells.names):
            raise Unusable(
                f"{file.name} has events of cells that {part.path.name} does not have: give those of its own"
            )
        for i, name in enumerate(names):
            offsets_us, sizes = event_set.get_cell_data(i)
            within = np.rint(offsets_us.astype(np.float64) / (1e6 * cells.period_s)).astype(int)
            samples[name].append(part.start + np.clip(within, 0, part.stop - part.start - 1))
            amplitudes[name].append(sizes.astype(np.float64))
    return [
        Events(np.concatenate(samples[name]), np.concatenate(amplitudes[name])) if samples[name] else NO_EVENTS
        for name in cells.names
    ]


def all_metrics(cells: CellSet, event_files: object) -> list[tuple[TraceMetrics, ImageMetrics]]:
    """The metrics of each cell, in order."""
    if not cells.n_cells:
        return []
    events = read_events(event_files, cells)
    return [
        (trace_metrics(cells.traces[i], cells.valid, events[i], cells.period_s), image_metrics(cells.images[i]))
        for i in range(cells.n_cells)
    ]


def stored_metrics(cells: CellSet, event_files: object) -> list[tuple[TraceMetrics, ImageMetrics]]:
    """Metrics stored in the files. Over a series, those of traces are averaged by the parts' durations, as in IDPS."""
    durations = np.array([part.stop - part.start for part in cells.parts], float)
    per_part = [_stored_trace_metrics(file, cells) for file in as_list(event_files)]
    images = cells.footer.get("cellMetrics") or []
    if len(images) != cells.n_cells or not all(images) or not all(per_part):
        raise Unusable(
            "the cell sets and event sets hold no metrics that were computed before: set recompute_metrics = true"
        )
    weighted = np.tensordot(durations / durations.sum(), np.array(per_part), 1)
    weighted[cells.without_values()] = np.nan
    return [(TraceMetrics(*row), ImageMetrics.of_json(image)) for row, image in zip(weighted.tolist(), images)]


def _stored_trace_metrics(file: Path, cells: CellSet) -> list[list[float]]:
    footer = formats.read_footer(file)
    stored = dict(zip(footer.get("channel list") or (), footer.get("metrics") or ()))
    if not stored or not all(stored.values()):
        return []
    nothing = list(astuple(TraceMetrics()))
    return [[float("nan") if x is None else x for x in stored.get(name, nothing)] for name in cells.names]


def _opened(file: Path) -> isx.EventSet:
    try:
        info = formats.check(file)
    except BadRecording as error:
        raise Unusable(f"{file.name} cannot be used: {error.reason}") from None
    if info.kind != "event_set":
        raise Unusable(f"{file.name} is not an event set but holds data of kind {info.kind}: give an event set")
    import isx

    return isx.EventSet.read(str(file))


def _median_and_spread(values: np.ndarray) -> tuple[float, float]:
    """Median and standard deviation from it; 0 of nothing."""
    if not len(values):
        return 0.0, 0.0
    middle = float(np.median(values))
    return middle, float(np.sqrt(np.mean((values - middle) ** 2)))


def _whole(x: float, y: float) -> tuple[int, int]:
    return int(x + 1e-6), int(y + 1e-6)  # a centre at 9 may have come out as 8.999...


def _xy(place: object) -> tuple[int, int]:
    return place["x"], place["y"]
