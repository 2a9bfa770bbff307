"""Behaviour movies: a reference to the file, and what nVision's tracking found."""

from __future__ import annotations

import numpy as np
from hdmf.backends.hdf5 import H5DataIO
from pynwb import TimeSeries
from pynwb.behavior import Position, SpatialSeries
from pynwb.device import Device
from pynwb.image import ImageSeries

from pipeline.inspect.behavior import tracking_table
from pipeline.nwb.movies import elsewhere
from pipeline.nwb.session import Opened, SessionFile
from recording import formats

BOX = ("box_left_px", "box_top_px", "box_right_px", "box_bottom_px")


def add(session: SessionFile, recording: Opened) -> None:
    rows, columns = recording.handle.spacing.num_pixels
    size = recording.source.path.stat().st_size
    if "BehaviorCamera" not in session.file.devices:
        session.file.add_device(Device(name="BehaviorCamera", description="Camera of a behavior movie"))
    series = ImageSeries(
        name=session.name("BehaviorMovie", recording.source.label),
        description=f"Movie {recording.name} ({size} bytes): {recording.timing.num_samples} frames, Motion JPEG",
        unit="counts",
        device=session.file.devices["BehaviorCamera"],
        starting_time=session.seconds(recording.start),
        rate=recording.rate,
        **elsewhere(recording, columns, rows, recording.timing.num_samples),
    )
    session.file.add_acquisition(series)
    if recording.kind == "nvision":
        _add_tracking(session, recording)


def _add_tracking(session: SessionFile, recording: Opened) -> None:
    """One row a frame that the library exports, NaN where nothing was found."""
    samples = formats.read_isxb(recording.source.path)[1].get("samples", [])
    table = tracking_table(recording.source.path, samples, session.scratch)
    if table is None or not table["center_x_px"].notna().any():
        return
    period, start = recording.period, session.seconds(recording.start)
    index = table["index"].to_numpy()
    times = index * period.numerator / period.denominator + start
    steps = np.diff(index)
    is_regular = len(steps) > 1 and bool((steps == steps[0]).all())
    when = {"starting_time": float(times[0]), "rate": recording.rate / int(steps[0])} if is_regular else {}
    when = when or {"timestamps": times}

    def values(*names: str) -> H5DataIO:
        return H5DataIO(table[list(names)].to_numpy(np.float64), compression="gzip", shuffle=True)

    label = recording.source.label
    centre = SpatialSeries(
        name=session.name("Centre", label),
        description=f"Middle of the animal's box in {recording.name}: x, y",
        data=values("center_x_px", "center_y_px"),
        unit="pixels",
        reference_frame="(0, 0) is the top left pixel; x to the right, y down",
        **when,
    )
    behavior = session.module("behavior", "What nVision's tracking found")
    if "Position" not in behavior.data_interfaces:
        behavior.add(Position(name="Position"))
    behavior["Position"].add_spatial_series(centre)
    for name, unit, what, data in (
        ("Box", "pixels", "Box around the animal: left, top, right, bottom", values(*BOX)),
        ("Confidence", "percent", "Confidence of the tracking", values("confidence_percent")),
    ):
        behavior.add(TimeSeries(name=session.name(name, label), description=what, data=data, unit=unit, **when))
