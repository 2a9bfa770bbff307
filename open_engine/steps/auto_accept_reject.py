"""Accepts or rejects cells by their metrics. Definitions: metrics.py."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence

from open_engine.context import StepContext
from open_engine.files.cellsets import edit_footer, listed, read_cell_set, status_numbers, with_reasons
from open_engine.metrics import ImageMetrics, TraceMetrics, all_metrics
from recording.errors import Unusable

# Those of Inscopix's own example; what IDPS does without filters is not public.
DEFAULT_FILTERS = (("SNR", ">", 3.0), ("Event Rate", ">", 0.0), ("# Comps", "=", 1.0))

STATISTICS: dict[str, Callable[[TraceMetrics, ImageMetrics], float]] = {
    "# Comps": lambda trace, image: image.n_components,
    "Cell Size": lambda trace, image: image.width,
    "SNR": lambda trace, image: trace.snr,
    "Event Rate": lambda trace, image: trace.event_rate,
}
OPERATORS = {"<": operator.lt, "=": operator.eq, ">": operator.gt}


def auto_accept_reject(
    input_cell_set_files: str | list[str],
    input_event_set_files: str | list[str],
    filters: Sequence[Sequence[object]] | None = None,
    *,
    context: StepContext,
) -> None:
    """Accept the cells that pass all filters, reject the others; changes the cell sets in place.

    A filter is (statistic, operator, value), as in `isx.algo.auto_accept_reject`: "# Comps", "Cell Size" (px), "SNR" or
    "Event Rate" (Hz); "<", "=" or ">". Without filters: SNR > 3, Event Rate > 0, # Comps = 1. Of a series, a cell has
    one status. A cell of which a filter's statistic is not known, as its trace holds fewer than 3 numbers, stays
    undecided unless another filter rejects it. Raises Unusable for any other statistic or operator.
    """
    tests = [_test(*entry) for entry in (DEFAULT_FILTERS if filters is None else filters)]
    cells = read_cell_set(input_cell_set_files)
    of_cells = all_metrics(cells, input_event_set_files)
    outcomes = [[test(trace, image) for test in tests] for trace, image in of_cells]
    decided = [_status([passes for passes, _ in of_cell]) for of_cell in outcomes]
    reasons = ["; ".join(reason for passes, reason in of_cell if not passes) for of_cell in outcomes]
    if "accepted" not in decided:
        context.warn(f"none of {cells.n_cells} cells passes all filters")
    unknown = [name for name, status in zip(cells.names, decided) if status == "undecided"]
    if unknown:
        context.warn(f"cells whose traces hold fewer than 3 numbers stay undecided: {listed(unknown)}")
    statuses = status_numbers(decided)
    for part in cells.parts:
        edit_footer(part.path, CellStatuses=statuses, **with_reasons(reasons))


def _status(passes: Sequence[bool | None]) -> str:
    return "rejected" if False in passes else "undecided" if None in passes else "accepted"


def _test(statistic: str, sign: str, value: float) -> Callable[[TraceMetrics, ImageMetrics], tuple[bool | None, str]]:
    """Whether a cell passes, None if that is not known; and why it would not."""
    if statistic not in STATISTICS or sign not in OPERATORS:
        raise Unusable(
            f"filter [{statistic!r}, {sign!r}, {value}] is not known: "
            f"use one of {', '.join(STATISTICS)} and one of {', '.join(OPERATORS)}"
        )

    def passes(trace: TraceMetrics, image: ImageMetrics) -> tuple[bool | None, str]:
        measured = STATISTICS[statistic](trace, image)
        if measured != measured:
            return None, f"{statistic} is not known"
        return bool(OPERATORS[sign](measured, value)), f"{statistic} {measured:.3g} is not {sign} {value:g}"

    return passes
