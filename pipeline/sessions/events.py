"""Cells with the events that were found in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from pipeline.inspect.results import Summary
from pipeline.pages.content import Part


def with_events(shown: Sequence[Summary]) -> list[Part]:
    """Cell sets get the events that were found in them: of event sets that name the same cells."""
    events = [summary for summary in shown if summary.part.kind == "event_set"]
    cells = [summary.part.name for summary in shown if summary.part.kind == "cell_set"]
    events_of = dict(zip(cells, events)) if len(events) == len(cells) else {}
    parts = [summary.part for summary in shown]
    return [_with_events(part, events_of[part.name]) if part.name in events_of else part for part in parts]


def _with_events(part: Part, events: Summary) -> Part:
    """Cells whose events are those of an event set with the same names."""
    if not part.cells:
        return part
    table = pd.read_csv(f"{events.beside}-events.csv", dtype={"cell": str}, keep_default_na=False)
    if not set(table["cell"]) <= set(part.cells.names):
        return part
    samples = part.cells.samples_at(table["time_s"].to_numpy(float))
    by_cell = dict(tuple(pd.Series(samples).groupby(table["cell"].to_numpy())))
    names, none = part.cells.names, np.empty(0, np.int64)
    of_cells = [by_cell[name].to_numpy() if name in by_cell else none for name in names]
    return replace(part, cells=replace(part.cells, events=of_cells, event_kind=f"events of {events.part.name}"))
