"""When events happened: the edges of TTL pulses, or times in a table that a lab writes; when samples were taken."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from common import csv_tables
from common.ownership import why_unread
from open_engine.files.cellsets import CellSet, listed
from open_engine.peri_event import Timeline
from recording.errors import Unusable

WANTED = "it needs a column time_s, in seconds from the session's start, and a row an event"
MOST = 64 << 20  # bytes; a row has twenty


def read_edges(tables: Sequence[str | Path], channel: str, edge: str) -> np.ndarray:
    """Onsets of a channel's pulses, or with the edge "fall" their ends, in s. Raises Unusable."""
    column = "offset_s" if edge == "fall" else "onset_s"
    if not tables:
        raise Unusable(f"the session has no GPIO recording, so nothing is known of {channel}: give events = a table")
    rows = [row for table in tables for _, row in _read(Path(table)).rows()]
    times = [float(row[column]) for row in rows if row["channel"] == channel and row[column]]
    if not times:
        there = sorted({row["channel"] for row in rows})
        raise Unusable(
            f"channel {channel} has no {'falling' if edge == 'fall' else 'rising'} edges: "
            + (f"choose one of those that have, {', '.join(there)}" if there else "no channel of the session has any")
        )
    return np.sort(times)


def read_times(path: Path, session: str = "") -> dict[str, np.ndarray]:
    """Times in s by label, of a table with a column time_s; the label is "" without such a column.

    If it has a column session, only rows of this one count. Raises Unusable.
    """
    table = _read(path)
    if "time_s" not in table.columns:
        there = listed(filter(None, table.columns)) if table.lines else ""
        raise Unusable(f"{path.name} has no column time_s{f', but {there}' if there else ''}: {WANTED}")
    rows = [*table.rows()]
    if not rows:
        raise Unusable(f"{path.name} has no rows: {WANTED}")
    if "session" in table.columns:
        named = {row["session"].strip() for _, row in rows}
        rows = [(number, row) for number, row in rows if row["session"].strip() == session]
        if not rows:
            there = listed(sorted(filter(None, named))) or "none"
            raise Unusable(f"{path.name} has no row of session {session}: its column session names {there}")
    decimal_comma = table.decimal_comma("time_s")
    times: dict[str, list[float]] = {}
    for number, row in rows:
        time_s = csv_tables.number(row["time_s"], decimal_comma)
        if not math.isfinite(time_s):
            raise Unusable(f"{path.name}:{number}: time_s is {row['time_s'][:40]!r}, not a number of seconds")
        times.setdefault(row.get("label", "").strip(), []).append(time_s)
    return {label: np.sort(its) for label, its in sorted(times.items())}


def _read(path: Path) -> csv_tables.Table:
    try:
        with path.open("rb") as file:
            content = file.read(MOST + 1)
    except OSError as error:
        raise Unusable(f"{path.name} cannot be read: {why_unread(path, error)}") from None
    if len(content) > MOST:
        raise Unusable(f"{path.name} has more than {MOST >> 20} MB: {WANTED}")
    text = csv_tables.text_of(content)
    try:
        if "\0" in text or text.startswith("PK\x03\x04"):  # such as a spreadsheet's own format
            raise csv.Error
        return csv_tables.read(text)
    except csv.Error:
        raise Unusable(f"{path.name} is not a readable table: save it as CSV, in UTF-8") from None


def timeline_of(cells: CellSet, begins_s: Mapping[str, float]) -> Timeline:
    """When the samples of a cell set were taken: as `begins_s` says, by path, else by the starts that files state."""
    paths = [str(part.path) for part in cells.parts]
    if all(path in begins_s for path in paths):
        starts = [begins_s[path] for path in paths]
    else:
        stated = [_start(part.footer) for part in cells.parts]
        starts = [start - stated[0] for start in stated]
    lengths = tuple(part.stop - part.start for part in cells.parts)
    return Timeline(tuple(starts), lengths, cells.period_s, cells.valid)


def _start(footer: Mapping[str, Any]) -> float:
    start = footer["timingInfo"]["start"]["secsSinceEpoch"]
    return start["num"] / start["den"]
