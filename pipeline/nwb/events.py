"""Event sets: a table of one row a cell, cells without events included."""

from __future__ import annotations

from itertools import accumulate

import numpy as np
from hdmf.common import DynamicTable, DynamicTableRegion, VectorData, VectorIndex

from pipeline.inspect import packets
from pipeline.nwb.session import Opened, SessionFile


def add(session: SessionFile, recording: Opened) -> None:
    """Columns `cell_name`, `event_times` (s from the session's start) and `event_amplitudes`.

    Where the file has a cell set that names the same cells, `cell` refers to their rows in its PlaneSegmentation.
    """
    cells = packets.channels(recording.stored, recording.handle)
    if not cells:
        session.leave_out(recording, "cells")
        return
    ends = list(accumulate(len(cell.value) for cell in cells))
    times = np.concatenate([session.times(cell.offset_us, recording.start) for cell in cells])
    amplitudes = np.concatenate([cell.value for cell in cells])
    names = [cell.name for cell in cells]
    columns = [VectorData(name="cell_name", description="Name in the event set", data=names)]
    for name, values, what in (
        ("event_times", times, "Seconds from the session's start"),
        ("event_amplitudes", amplitudes, "In the unit of the traces that the events were found in"),
    ):
        column = VectorData(name=name, description=what, data=values)
        columns += [VectorIndex(name=f"{name}_index", target=column, data=ends), column]
    columns += _cells_of(session, names)
    table = DynamicTable(
        name=session.name("Events", recording.source.label),
        description=f"Events of {recording.title}; one row a cell",
        id=list(range(len(cells))),
        columns=columns,
    )
    session.ophys.add(table)


def _cells_of(session: SessionFile, names: list[str]) -> list[DynamicTableRegion]:
    for known, table in reversed(session.segmentations):
        if len(set(known)) == len(known) and set(names) <= set(known):
            rows = [known.index(name) for name in names]
            return [DynamicTableRegion(name="cell", description="The cell's row", data=rows, table=table)]
    return []
