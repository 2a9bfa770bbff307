"""Vessel sets. NWB has no type for vessels: a table says where they are, a TimeSeries holds what was measured."""

from __future__ import annotations

import numpy as np
from hdmf.backends.hdf5 import H5DataIO
from hdmf.common import DynamicTable, VectorData
from pynwb import TimeSeries

from pipeline.inspect import metadata
from pipeline.inspect.vessels import measured
from pipeline.nwb.images import add_images
from pipeline.nwb.session import Opened, SessionFile

SPELT = {"px": "pixels", "um": "micrometers", "deg": "degrees", "px_per_s": "pixels/s", "um_per_s": "micrometers/s"}


def add(session: SessionFile, recording: Opened) -> None:
    vessels = recording.handle
    n = vessels.num_vessels
    if n == 0:
        session.leave_out(recording, "vessels")
        return
    names = [vessels.get_vessel_name(i) for i in range(n)]
    label = recording.source.label
    lines = np.array([vessels.get_vessel_line_data(i) for i in range(n)])
    columns = [
        ("vessel_name", names, "Name in the vessel set"),
        ("status", [vessels.get_vessel_status(i) for i in range(n)], "accepted, undecided or rejected"),
        ("corners", lines, "px; for each corner of the line or the region x, rightwards, and y, downwards"),
    ]
    table = DynamicTable(
        name=session.name("Vessels", label),
        description=f"Vessels of {recording.title}",
        id=list(range(n)),
        columns=[VectorData(name=name, data=data, description=what) for name, data, what in columns],
    )
    session.ophys.add(table)
    for (what, unit), read in measured(vessels, recording.footer).items():
        values = np.ascontiguousarray(metadata.traces(recording.timing, n, read).T)
        series = TimeSeries(
            name=session.name(f"Vessel{what.capitalize()}", label),
            description=f"{what.capitalize()} of {', '.join(names)}, a column each; missing samples are NaN",
            data=H5DataIO(values, compression="gzip", shuffle=True),
            unit=SPELT[unit],
            starting_time=session.seconds(recording.start),
            rate=recording.rate,
        )
        session.ophys.add(series)
    picture = vessels.get_vessel_image_data(0)  # one for all
    add_images(session, {recording.source.path.stem: (picture, f"Projection in which the vessels of {table.name} lie")})
