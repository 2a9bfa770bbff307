"""Cells as the page's explorer gets them: thinned traces, outlines and footprints, small enough for thousands."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.pages.layout import PixelSize, place_labels

TRACES_BYTES = 4_500_000  # of base64, for all cells together
MOST_VALUES = 20_000  # of one cell
MISSING = 65535  # the code of a sample that is missing
FOOTPRINT_PX = 40  # greatest height and width of a footprint's picture


@dataclass(frozen=True)
class Background:
    """A picture of the field of view that can lie behind the outlines."""

    label: str
    meaning: str
    picture: bytes  # a JPEG of the whole field, perhaps smaller


@dataclass(frozen=True)
class Cells:
    """All that the explorer shows. Arrays go by cell; the last `n_candidates` are no cells, but can be made ones."""

    names: Sequence[str]
    status: Sequence[str]
    columns: Mapping[str, Sequence[float]]  # numbers of each cell, by the heading of their column
    traces: np.ndarray  # (cells, samples), NaN where missing
    period_s: float
    unit: str
    events: Sequence[np.ndarray]  # samples at which each cell's events peak
    event_kind: str  # what these events are
    cores: Sequence[tuple[int, int, np.ndarray]]  # row, column and values of each footprint, its peak 1
    background: bytes  # a PNG of the field of view: the footprints
    shape: tuple[int, int]  # rows, columns of the field of view
    pixel_um: PixelSize
    doubt: Sequence[float] = ()  # how much a look by eye would be worth, in any unit
    decided: Sequence[Mapping[str, str]] = ()  # by eye: `cell`, `status`, `by`, `at`, `note`
    cell_set_id: str = ""
    reasons: Sequence[str] = ()  # why each has the status that it has, "" where nobody said so
    n_candidates: int = 0
    candidates_id: str = ""  # as `cell_set_id`, of the set of all candidates
    of_candidates: frozenset[str] = frozenset()  # names of those that are in that set, cells since they were accepted
    tissue: Sequence[Background] = ()  # of the movie in which the cells were found; the first is shown at first
    pieces: tuple[tuple[int, float], ...] = ((0, 0.0),)  # first sample and its time in s of each part of a session

    @property
    def n_cells(self) -> int:
        """Number of cells, without candidates."""
        return len(self.names) - self.n_candidates

    def samples_at(self, time_s: np.ndarray) -> np.ndarray:
        """The samples nearest to these times, which lie in the parts."""
        starts = np.array([start for _, start in self.pieces])
        which = np.clip(np.searchsorted(starts, time_s + self.period_s / 2, side="right") - 1, 0, None)
        first = np.array([sample for sample, _ in self.pieces])[which]
        return first + np.rint((time_s - starts[which]) / self.period_s).astype(np.int64)


def thinned(traces: np.ndarray, n_sets: int = 1) -> tuple[np.ndarray, int]:
    """Traces (cells, values) that fit the page, and the samples a pair of values stands for (0: none was left out).

    Where there are too many, each stretch of samples becomes its least and its greatest value, so that no peak is lost.
    A page of `n_sets` cell sets has room for each.
    """
    n, samples = traces.shape
    room = int(np.clip(TRACES_BYTES / n_sets * 3 / 4 / 2 / max(1, n), 200, MOST_VALUES))
    if samples <= room:
        return traces, 0
    stretch = -(-samples // (room // 2))
    starts = np.arange(0, samples, stretch)
    pairs = np.stack([np.fmin.reduceat(traces, starts, axis=1), np.fmax.reduceat(traces, starts, axis=1)], axis=2)
    return pairs.reshape(n, -1), stretch


def encoded(trace: np.ndarray) -> tuple[str, float, float]:
    """A trace as base64 of 16-bit codes, and its least and greatest value, which have the codes 0 and 65534."""
    finite = trace[np.isfinite(trace)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    span = high - low if high > low else 1.0
    codes = np.where(
        np.isfinite(trace), np.rint((np.where(np.isfinite(trace), trace, low) - low) / span * (MISSING - 1)), MISSING
    )
    return b64encode(np.clip(codes, 0, MISSING).astype("<u2").tobytes()).decode(), low, low + span


def outline(core: tuple[int, int, np.ndarray]) -> str:
    """An SVG path in px around where a footprint reaches half its maximum; "" for an empty one."""
    import contourpy

    row, column, values = core
    if not values.size:
        return ""
    padded = np.pad(values, 1)
    lines = contourpy.contour_generator(z=padded).lines(0.5)
    path = []
    for line in lines:
        places = [f"{x + column - 1:.1f} {y + row - 1:.1f}" for x, y in line]
        path.append("M" + "L".join(places) + "Z")
    return "".join(path)


def labels(cells: Cells) -> list[tuple[int, str, float, float]]:
    """Index, name, x and y in px of each cell's name on the map: in its outline, or beside it."""
    there = [i for i, (_, _, values) in enumerate(cells.cores[: cells.n_cells]) if values.any()]
    boxes = np.array([box(cells.cores[i]) for i in there]).reshape(-1, 4)
    rows, columns = cells.shape
    letter = columns / 45 * 0.6  # the template's size of text
    names = [cells.names[i] for i in there]
    places = place_labels(names, boxes, letter, letter * 1.9, (-0.5, -0.5, columns - 0.5, rows - 0.5))
    return [(i, name, round(x, 1), round(y, 1)) for i, name, (x, y) in zip(there, names, places)]


def box(core: tuple[int, int, np.ndarray]) -> tuple[float, float, float, float]:
    """Left, top, right, bottom in px of what is not 0."""
    row, column, values = core
    rows, columns = np.flatnonzero(values.any(axis=1)) + row, np.flatnonzero(values.any(axis=0)) + column
    return columns[0] - 0.5, rows[0] - 0.5, columns[-1] + 0.5, rows[-1] + 0.5


def backgrounds(cells: Cells) -> list[dict[str, str]]:
    """Label, meaning and address of each picture that can lie behind the outlines."""
    footprints = {
        "label": "footprints",
        "meaning": "each footprint, its maximum white",
        "address": f"data:image/png;base64,{b64encode(cells.background).decode()}",
    }
    tissue = [
        {
            "label": picture.label,
            "meaning": picture.meaning,
            "address": f"data:image/jpeg;base64,{b64encode(picture.picture).decode()}",
        }
        for picture in cells.tissue
    ]
    return [*tissue, footprints]


def for_script(cells: Cells, session: str, n_sets: int = 1) -> dict[str, Any]:
    """The data that the explorer's script reads."""
    values, stretch = thinned(cells.traces, n_sets)
    traces, lows, highs = zip(*map(encoded, values)) if len(values) else ((), (), ())
    return {
        "names": list(cells.names),
        "status": list(cells.status),
        "doubt": [float(f"{doubt:.4g}") for doubt in cells.doubt] or [0] * len(cells.names),
        "decided": list(cells.decided),
        "clear": [float(f"{snr:.4g}") if snr == snr else 0 for snr in cells.columns.get("SNR", [0] * len(cells.names))],
        "cellSet": cells.cell_set_id,
        "ofCandidates": [i for i, name in enumerate(cells.names) if name in cells.of_candidates],
        "candidateSet": cells.candidates_id,
        "reasons": list(cells.reasons),
        "session": session,
        "period": cells.period_s,
        "samples": cells.traces.shape[1],
        "pieces": [list(piece) for piece in cells.pieces],
        "stretch": stretch,
        "unit": cells.unit,
        "eventKind": cells.event_kind,
        "traces": traces,
        "low": [float(f"{low:.7g}") for low in lows],
        "high": [float(f"{high:.7g}") for high in highs],
        "events": [np.asarray(samples).tolist() for samples in cells.events],
        "footprints": [_picture(core) for core in cells.cores],
        "backgrounds": backgrounds(cells),
    }


def _picture(core: tuple[int, int, np.ndarray]) -> list[Any]:
    """Height, width and base64 of a footprint as 8 bits."""
    values = core[2]
    step = max(1, -(-max(values.shape, default=0) // FOOTPRINT_PX)) if values.size else 1
    small = np.clip(values[::step, ::step] * 255, 0, 255).astype(np.uint8)
    return [*small.shape, b64encode(small.tobytes()).decode()]
