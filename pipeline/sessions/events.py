"""Cells with the events that were found in them."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

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
    by_cell: dict[str, list[float]] = {name: [] for name in part.cells.names}
    with Path(f"{events.beside}-events.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if row["cell"] not in by_cell:
                return part
            by_cell[row["cell"]].append(float(row["time_s"]))
    of_cells = [part.cells.samples_at(np.array(by_cell[name])) for name in part.cells.names]
    return replace(part, cells=replace(part.cells, events=of_cells, event_kind=f"events of {events.part.name}"))
