"""Event sets: a table of a row an event, as NWB has it since 2.11; for an older pynwb, of a row a cell."""

from __future__ import annotations

from itertools import accumulate

import numpy as np
import pynwb
from hdmf.common import DynamicTable, DynamicTableRegion, VectorData, VectorIndex

from pipeline.inspect import packets
from pipeline.nwb.session import Opened, SessionFile

# pynwb 3, the last for Python 3.9, has no module for them.
HAS_EVENTS = hasattr(pynwb.NWBFile, "add_events_table")
AMPLITUDE = "In the unit of the traces that the events were found in"


def add(session: SessionFile, recording: Opened) -> None:
    """Where the file has a cell set that names the same cells, `cell` refers to their rows in its PlaneSegmentation."""
    cells = recording.opened.channels
    if not cells:
        session.leave_out(recording, "cells")
    elif HAS_EVENTS:
        _add_events(session, recording, cells)
    else:
        _add_cells(session, recording, cells)


def _add_events(session: SessionFile, recording: Opened, cells: list[packets.Channel]) -> None:
    """Add the table of events by time: columns `timestamp`, `cell_name`, `amplitude`, `cell`."""
    from pynwb.event import EventsTable, TimestampVectorData

    counts = [len(cell.value) for cell in cells]
    if not sum(counts):
        session.leave_out(recording, "events")
        return
    whose = np.repeat(np.arange(len(cells)), counts)
    order = np.lexsort((whose, np.concatenate([cell.offset_us for cell in cells])))
    times = np.concatenate([session.times(cell.offset_us, recording.start) for cell in cells])
    whose, names = whose[order], [cell.name for cell in cells]
    silent = ", ".join(cell.name for cell in cells if not len(cell.value))
    table = EventsTable(
        name=session.name("Events", recording.source.label),
        description=f"Events of {recording.title}" + (f"; without any: {silent}" if silent else ""),
        source_description=recording.source.made_by or recording.name,
        id=list(range(len(order))),
        columns=[
            TimestampVectorData(
                name="timestamp", description="Seconds from the session's start", data=times[order], resolution=1e-6
            ),
            VectorData(name="cell_name", description="Name in the event set", data=[names[i] for i in whose]),
            VectorData(
                name="amplitude", description=AMPLITUDE, data=np.concatenate([cell.value for cell in cells])[order]
            ),
            *cells_of(session, names, whose),
        ],
    )
    session.file.add_events_table(table)


def _add_cells(session: SessionFile, recording: Opened, cells: list[packets.Channel]) -> None:
    """Columns `cell_name`, `event_times`, `event_amplitudes`, `cell`."""
    ends = list(accumulate(len(cell.value) for cell in cells))
    times = np.concatenate([session.times(cell.offset_us, recording.start) for cell in cells])
    amplitudes = np.concatenate([cell.value for cell in cells])
    names = [cell.name for cell in cells]
    columns = [VectorData(name="cell_name", description="Name in the event set", data=names)]
    for name, values, what in (
        ("event_times", times, "Seconds from the session's start"),
        ("event_amplitudes", amplitudes, AMPLITUDE),
    ):
        column = VectorData(name=name, description=what, data=values)
        columns += [VectorIndex(name=f"{name}_index", target=column, data=ends), column]
    columns += cells_of(session, names, np.arange(len(cells)))
    table = DynamicTable(
        name=session.name("Events", recording.source.label),
        description=f"Events of {recording.title}; one row a cell",
        id=list(range(len(cells))),
        columns=columns,
    )
    session.ophys.add(table)


def cells_of(session: SessionFile, names: list[str], whose: np.ndarray) -> list[DynamicTableRegion]:
    """The column that says of which cell each row is; `whose` are places in `names`."""
    for known, table in reversed(session.segmentations):
        if len(set(known)) == len(known) and set(names) <= set(known):
            rows = [known.index(name) for name in names]
            data = [rows[i] for i in whose]
            return [DynamicTableRegion(name="cell", description="The cell's row", data=data, table=table)]
    return []
