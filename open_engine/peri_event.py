"""Which cells respond to events: activity around them, against the same events at other times.

A cell's effect is its mean in the window after an event less its mean in the window before, averaged over events, in
units of the trace's noise. Chance is what the same train of events gives at other times: within each part of a session
it is shifted by a random amount, and what leaves the part at its end comes in at its beginning (a circular shift;
Harris 2020, arXiv 2012.06862, says what tests by shifts assume). Traces are left as they are, so that their
autocorrelation, and what cells have in common, is in the chance too; so are the intervals between events.

An event is used if all samples of its window were recorded in one part. Shifts lead from such places to such places
only: a part's places are numbered and the numbers are shifted. So each shuffle has as many events as the data, near an
edge or a gap too.

A response may be much shorter than the window. So the test looks at the window's half and quarter around the event as
well, each in units of its spread over shuffles, and takes the most extreme. It does the same with each shuffle, which
corrects for the choice.

p is the share of shuffles that are at least as extreme in either direction, the data among them (North, Curtis and
Sham 2002, Am J Hum Genet 71, 439): it is never 0. q is by Benjamini and Hochberg (1995, J R Stat Soc B 57, 289) over
cells.

What is assumed: whether events and activity are related or not, shifting the train makes no difference to how often
events come and how active and noisy cells are. It does if both change together over a session: events in its first
half, when the animal is awake, say. Trains that a shift maps onto themselves (every ten seconds) leave nothing to
compare with. A response spreads to shifts of a few samples; in short recordings these are a good part of all shifts.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy

from open_engine.cnmfe import oasis

SHUFFLES = 1000
SEED = 20_231_107
LEVEL = 0.05  # of q, below which a cell responds
UP, DOWN, NONE = "up", "down", "none"
TIE = 1e-6  # of the spread: sums of the same numbers in another order are no less extreme
SHORTEST_S = 0.5  # of a nested window's sides: a response of calcium lasts longer, a shift within it changes little
EARLY = 1e-3  # of a sample: time stamps are rounded


@dataclass(frozen=True)
class Timeline:
    """When the samples of a session were taken."""

    starts_s: tuple[float, ...]  # of each part
    lengths: tuple[int, ...]  # of each part, in samples
    period_s: float
    valid: np.ndarray  # (samples of all parts,) bool: whether the sample was recorded

    @cached_property
    def first(self) -> np.ndarray:
        """(parts + 1,) the first sample of each part, and the number of samples."""
        return np.concatenate([[0], np.cumsum(self.lengths)]).astype(np.intp)

    def samples_at(self, times_s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """For each time, the sample that was being taken and its part; -1 where there is none."""
        samples, parts = np.full(len(times_s), -1, np.intp), np.full(len(times_s), -1, np.intp)
        for part, (start, length) in enumerate(zip(self.starts_s, self.lengths)):
            at = np.floor((times_s - start) / self.period_s + EARLY)
            inside = (at >= 0) & (at < length)
            samples[inside], parts[inside] = self.first[part] + at[inside].astype(np.intp), part
        return samples, parts


@dataclass(frozen=True)
class Window:
    """Offsets from the sample of an event: [begin, 0) is before it, [0, end) after it."""

    begin: int
    end: int

    @classmethod
    def of(cls, window_s: tuple[float, float], period_s: float) -> Window:
        """A window of at least one sample on either side."""
        return cls(min(-1, round(window_s[0] / period_s)), max(1, round(window_s[1] / period_s)))

    def nested(self, shortest: float) -> list[Window]:
        """This one, and its half, its quarter and so on around the event, with no side below `shortest` samples."""
        windows = [self]
        while min(-windows[-1].begin, windows[-1].end) >= 2 * shortest:
            windows.append(Window(-(-windows[-1].begin // 2), windows[-1].end // 2))
        return windows

    @property
    def offsets(self) -> np.ndarray:
        return np.arange(self.begin, self.end)


@dataclass(frozen=True)
class Trials:
    """The events that can be used, and how many cannot."""

    samples: np.ndarray  # (used,) of each event used
    parts: np.ndarray  # (used,) its part
    places: tuple[np.ndarray, ...]  # of each part: the samples at which an event could be used
    outside: int  # events while nothing was recorded, before, after or between parts
    at_edges: int  # events whose window leaves their part
    at_gaps: int  # events in whose window a frame was lost

    @property
    def left_out(self) -> int:
        return self.outside + self.at_edges + self.at_gaps

    def shifts(self, shuffles: int) -> list[np.ndarray]:
        """(1 + shuffles,) of each part: by how many of its places the events are shifted; first, by none."""
        draw = np.random.default_rng(SEED)
        return [np.append(0, draw.integers(0, max(1, len(places)), shuffles)) for places in self.places]

    def means(self, values: np.ndarray, shifts: list[np.ndarray]) -> np.ndarray:
        """(rows, 1 + shuffles) means over the shifted events of values (rows, samples).

        The sums of all shifts of a part at once are a circular correlation with the number of events at each place.
        """
        total = np.zeros((len(values), len(shifts[0])))
        for part, (places, by) in enumerate(zip(self.places, shifts)):
            its = self.samples[self.parts == part]
            if len(its) == 0:
                continue
            events = np.bincount(np.searchsorted(places, its), minlength=len(places))
            product = scipy.fft.rfft(values[:, places], axis=1) * scipy.fft.rfft(events).conj()
            total += scipy.fft.irfft(product, len(places), axis=1)[:, by]
        return total / len(self.samples)


@dataclass(frozen=True)
class Responses:
    """How each cell responds, and how likely that is by chance."""

    trials: Trials
    offsets_s: np.ndarray  # (offsets,) from the event to the beginning of a sample
    effect: np.ndarray  # (cells,) in units of the noise; NaN if there is no event
    p: np.ndarray  # (cells,) NaN if there is no event, or the trace is not known
    q: np.ndarray  # (cells,)
    classes: tuple[str, ...]  # UP, DOWN or NONE
    mean: np.ndarray  # (cells, offsets) around events, less the mean before each event, in units of the noise
    sem: np.ndarray  # (cells, offsets) its standard error over events; NaN with one event
    noise: np.ndarray  # (cells,) of the traces, in their own unit


def find_trials(events_s: np.ndarray, timeline: Timeline, window: Window) -> Trials:
    """Which of the events (in s, on the timeline's clock) have their whole window in recorded samples of one part."""
    events_s = np.sort(np.asarray(events_s, float))
    samples, parts = timeline.samples_at(events_s)
    lost = np.concatenate([[0], np.cumsum(~timeline.valid)])
    places, within = [], np.zeros(len(timeline.valid), bool)
    for start, stop in zip(timeline.first, timeline.first[1:]):
        inside = np.arange(start - window.begin, stop - window.end + 1)
        within[inside] = True
        places.append(inside[lost[inside + window.end] == lost[inside + window.begin]])
    usable = np.zeros(len(timeline.valid), bool)
    usable[np.concatenate(places)] = True
    recorded = samples >= 0
    used = recorded & usable[samples]
    at_edges = recorded & ~within[samples]
    return Trials(
        samples=samples[used],
        parts=parts[used],
        places=tuple(places),
        outside=int((~recorded).sum()),
        at_edges=int(at_edges.sum()),
        at_gaps=int((recorded & ~used & ~at_edges).sum()),
    )


def responses(
    traces: np.ndarray,
    events_s: np.ndarray,
    timeline: Timeline,
    window_s: tuple[float, float],
    shuffles: int = SHUFFLES,
    scale: float | None = None,
) -> Responses:
    """Test each cell for a response to events.

    Parameters
    ----------
    traces : (cells, samples of all parts), in any unit; not read where `timeline.valid` is False.
    events_s : (events,) in s, on the timeline's clock.
    timeline : when samples were taken.
    window_s : from when to when around an event, in s; the first is negative, the second positive.
    shuffles : random shifts. p is at least 1 / (shuffles + 1).
    scale : what stands in for the noise of each trace; estimated if None.

    Returns
    -------
    The same for the same input, whatever the machine's cores. A cell with a recorded sample that is no number is not
    tested.
    """
    window = Window.of(window_s, timeline.period_s)
    nested = window.nested(SHORTEST_S / timeline.period_s)
    trials = find_trials(events_s, timeline, window)
    shifts = trials.shifts(shuffles)
    cells, n_events = len(traces), len(trials.samples)
    effect, p, noise = np.full(cells, np.nan), np.full(cells, np.nan), np.full(cells, np.nan)
    upward = np.zeros(cells, bool)
    mean = np.full((cells, len(window.offsets)), np.nan)
    sem = mean.copy()
    recorded = np.flatnonzero(timeline.valid)
    for cell in range(cells):
        trace = traces[cell].astype(float)
        if not len(recorded) or not np.isfinite(trace[recorded]).all():
            continue
        trace = np.interp(np.arange(len(trace)), recorded, trace[recorded])
        noise[cell] = scale or oasis.noise_level(trace)
        trace = (trace - trace.mean()) / (noise[cell] if noise[cell] > 0 else 1)
        if n_events == 0:
            continue
        change = np.array([changes(trace, narrower) for narrower in nested])
        effect[cell] = change[0, trials.samples].mean()
        p[cell], upward[cell] = two_sided(trials.means(change, shifts))
        mean[cell], sem[cell] = average(single_trials(trace, trials.samples, window))
    q = benjamini_hochberg(p)
    classes = tuple(map(classify, upward, q))
    return Responses(trials, window.offsets * timeline.period_s, effect, p, q, classes, mean, sem, noise)


def changes(trace: np.ndarray, window: Window) -> np.ndarray:
    """(samples,) mean after less mean before, were there an event at each; 0 where the window leaves the trace."""
    total = np.concatenate([[0], np.cumsum(trace)])
    at = np.arange(-window.begin, len(trace) - window.end + 1)
    change = np.zeros(len(trace))
    change[at] = (total[at + window.end] - total[at]) / window.end
    change[at] -= (total[at] - total[at + window.begin]) / -window.begin
    return change


def two_sided(means: np.ndarray) -> tuple[float, bool]:
    """p of the first column of (windows, 1 + shuffles), and whether it is high rather than low.

    Each window's means are taken from their average over shuffles, in units of their spread; of each shuffle, the
    window that is farthest from it counts.
    """
    spread = means.std(axis=1, keepdims=True)
    z = (means - means.mean(axis=1, keepdims=True)) / np.where(spread > 0, spread, 1)
    farthest = np.abs(z).max(axis=0)
    return float((farthest >= farthest[0] - TIE).mean()), bool(z[np.abs(z[:, 0]).argmax(), 0] > 0)


def benjamini_hochberg(p: np.ndarray) -> np.ndarray:
    """q: the least rate of false discoveries at which each would be one. NaN, and not counted, where p is."""
    q = np.full(len(p), np.nan)
    tested = np.flatnonzero(np.isfinite(p))
    order = tested[np.argsort(p[tested], kind="stable")]
    scaled = p[order] * len(order) / np.arange(1, len(order) + 1)
    q[order] = np.minimum.accumulate(scaled[::-1])[::-1]
    return q


def classify(upward: bool, q: float) -> str:
    return NONE if not q < LEVEL else UP if upward else DOWN


def single_trials(trace: np.ndarray, samples: np.ndarray, window: Window) -> np.ndarray:
    """(events, offsets) of a trace, less the mean before each event."""
    trials = trace[samples[:, None] + window.offsets]
    return trials - trials[:, : -window.begin].mean(axis=1, keepdims=True)


def average(trials: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean over events and its standard error."""
    n = len(trials)
    error = trials.std(axis=0, ddof=1) / np.sqrt(n) if n > 1 else np.full(trials.shape[1], np.nan)
    return trials.mean(axis=0), error
