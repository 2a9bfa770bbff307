"""One cell set of the cells that several focal planes show, each cell once.

A cell that reaches across planes appears in more than one, at the same place and with the same activity. As IDPS
describes it, cells of two planes are one if their footprints match (normalised cross-correlation of at least
`min_spat_correlation`) and their traces correlate more than chance would have it: above the percentile
`temp_correlation_thresh` of the correlations between cells of the two planes that do not match in space. Of the cells
that belong together, over all planes, the one with the strongest trace is kept, by its peak above the median over the
median absolute deviation.

Planes of one recording are not aligned to each other: they show one field, and mostly other cells, by which an
alignment could only go wrong. Whether IDPS aligns them, and which cell it keeps, is not public.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from open_engine.alignment import cut_footprints
from open_engine.context import StepContext
from open_engine.files.cellsets import (
    CellSet,
    as_list,
    default_names,
    listed,
    read_cell_set,
    warn_of_unmatched,
    write_cell_set,
)
from open_engine.overlap import cross_correlations
from recording.errors import Unusable

FEWEST = 20  # pairs of cells from which a percentile of their correlations means something


def multiplane_registration(
    input_cell_set_files: list[str],
    output_cell_set_file: str | list[str],
    min_spat_correlation: float = 0.5,
    temp_correlation_thresh: float = 0.99,
    accepted_cells_only: bool = False,
    *,
    context: StepContext,
) -> None:
    """Write the cells of all planes, each once, in the field of the first plane and on its time.

    Planes whose last frame is missing are compared without it. Rejected cells are left out, with `accepted_cells_only`
    undecided ones too; the others keep their status and are named anew. Raises Unusable if there are no cells, or the
    planes differ in size or in length by more than one sample.
    """
    planes = [read_cell_set(path) for path in as_list(input_cell_set_files)]
    planes = [plane.chosen(plane.usable(accepted_cells_only)) for plane in planes]
    _check(planes)
    for plane in planes:
        warn_of_unmatched(plane, context.warn)
        unknown = [plane.names[i] for i in plane.without_values()]
        if unknown:
            name = plane.parts[0].path.name
            context.warn(
                f"cells of {name} match none, because their traces hold fewer than 3 numbers: {listed(unknown)}"
            )
    n_samples = planes[0].traces.shape[1]
    recorded = np.logical_and.reduce([_fitted(plane.valid[np.newaxis], n_samples, False)[0] for plane in planes])
    cut = [cut_footprints(plane.images) for plane in planes]
    traces = [_fitted(plane.traces, n_samples, np.nan) for plane in planes]
    same = _same_cells(
        cut, [of_plane[:, recorded] for of_plane in traces], min_spat_correlation, temp_correlation_thresh, context
    )
    images, activity = np.concatenate([plane.images for plane in planes]), np.concatenate(traces)
    strengths = [_strength(trace[recorded]) for trace in activity]
    kept = sorted(max(group, key=lambda i: strengths[i]) for group in same)
    statuses = [status for plane in planes for status in plane.statuses]
    write_cell_set(
        output_cell_set_file,
        [planes[0].footer],
        images[kept],
        activity[kept],
        default_names(len(kept)),
        [statuses[i] for i in kept],
    )


def _same_cells(
    cut: Sequence[np.ndarray], traces: Sequence[np.ndarray], least: float, percentile: float, context: StepContext
) -> list[list[int]]:
    """Groups of the cells of all planes, counted through, that are one."""
    starts = np.cumsum([0, *map(len, cut)])
    group = list(range(starts[-1]))
    for a, b in combinations(range(len(cut)), 2):
        alike = cross_correlations(cut[a], cut[b])
        correlations = _correlations(traces[a], traces[b])
        near = alike >= max(least, 1e-9)
        chance = correlations[~near]
        if len(chance) < FEWEST:
            if near.any():
                context.warn(
                    f"planes {a} and {b} have {len(chance)} pairs of cells that lie apart, too few to say which "
                    "correlation of traces is chance: cells that match in space count as one if theirs is above 0.5"
                )
            level = 0.5
        else:
            level = float(np.quantile(chance, percentile))
        for i, j in zip(*np.nonzero(near & (correlations > level))):
            first, second = group[starts[a] + i], group[starts[b] + j]
            group = [first if its == second else its for its in group]
    return [[i for i, its in enumerate(group) if its == who] for who in sorted(set(group))]


def _correlations(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Pearson's r of each pair of traces. Samples that are no number count as the mean; r of a trace of such is 0."""
    units = []
    for traces in (a, b):
        known = np.isfinite(traces)
        mean = traces.sum(axis=1, keepdims=True, dtype=np.float64, where=known) / np.maximum(
            known.sum(1, keepdims=True), 1
        )
        off = np.where(known, traces - mean, 0)
        length = np.linalg.norm(off, axis=1, keepdims=True)
        units.append(np.divide(off, length, out=np.zeros_like(off), where=length > 0))
    return units[0] @ units[1].T


def _strength(trace: np.ndarray) -> float:
    trace = trace[np.isfinite(trace)].astype(np.float64)
    off = trace - np.median(trace) if trace.size else np.zeros(1)
    spread = float(np.median(np.abs(off)))
    return float(off.max()) / spread if spread > 0 else 0.0


def _fitted(samples: np.ndarray, n: int, missing: object) -> np.ndarray:
    """Samples cut to `n`, or filled up with `missing`."""
    return np.pad(samples[:, :n], ((0, 0), (0, max(0, n - samples.shape[1]))), constant_values=missing)


def _check(planes: Sequence[CellSet]) -> None:
    first = planes[0]
    for plane in planes[1:]:
        if plane.shape != first.shape or abs(plane.traces.shape[1] - first.traces.shape[1]) > 1:
            raise Unusable(
                f"{plane.parts[0].path.name} differs from {first.parts[0].path.name} in the size of its field or the "
                "number of samples, so they are not planes of one recording: give cell sets of de-interleaved planes"
            )
    if not any(plane.n_cells for plane in planes):
        raise Unusable("none of the planes has cells to register: check the cells' statuses")
