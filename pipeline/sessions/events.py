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
    events = [each for each in shown if each.part.kind == "event_set"]
    cells = [each.part.name for each in shown if each.part.kind == "cell_set"]
    found = dict(zip(cells, events)) if len(events) == len(cells) else {}
    return [_with_events(each.part, found[each.part.name]) if each.part.name in found else each.part for each in shown]


def _with_events(part: Part, events: Summary) -> Part:
    """Cells whose events are those of an event set with the same names."""
    if not part.cells:
        return part
    table = pd.read_csv(f"{events.beside}-events.csv", dtype={"cell": str}, keep_default_na=False)
    if not set(table["cell"]) <= set(part.cells.names):
        return part
    samples = part.cells.samples_at(table["time_s"].to_numpy(float))
    by_cell = dict(tuple(pd.Series(samples).groupby(table["cell"].to_numpy())))
    found = [by_cell[name].to_numpy() if name in by_cell else np.empty(0, np.int64) for name in part.cells.names]
    return replace(part, cells=replace(part.cells, events=found, event_kind=f"events of {events.part.name}"))
