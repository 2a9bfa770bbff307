"""Behaviour movies: a film beside the file, which refers to it, and what nVision's tracking found."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from hdmf.backends.hdf5 import H5DataIO
from hdmf.utils import get_docval
from pynwb import TimeSeries
from pynwb.behavior import Position, SpatialSeries
from pynwb.device import Device
from pynwb.image import ImageSeries

from pipeline.inspect import metadata, optics
from pipeline.inspect.behavior import tracking_table
from pipeline.nwb import behavior_mp4
from pipeline.nwb.movies import note_invalid
from pipeline.nwb.session import Opened, SessionFile

# pynwb 4 wants the number of frames that are elsewhere; pynwb 3, the last for Python 3.9, does not know it.
ASKS_FOR_SAMPLES = "num_samples" in {argument["name"] for argument in get_docval(ImageSeries.__init__)}
SERIES = "BehaviorMovie"
BOX = ("box_left_px", "box_top_px", "box_right_px", "box_bottom_px")


def add(session: SessionFile, recording: Opened) -> None:
    _add_film(session, recording)
    if recording.kind == "nvision":
        _add_tracking(session, recording)


def _add_film(session: SessionFile, recording: Opened) -> None:
    """Its frames are those that were stored, in order; times tell where some were dropped."""
    rows, columns = recording.handle.spacing.num_pixels
    shown = np.flatnonzero(metadata.valid_samples(recording.timing))
    frames = behavior_mp4.frames_of(recording.source.path, shown, recording.period, (rows, columns))
    if frames is None:
        session.warn(f"{recording.name} has no MP4 beside the NWB file: its frames cannot be separated")
        session.describe(recording, n_frames=recording.timing.num_samples, width=columns, height=rows)
        return
    if "BehaviorCamera" not in session.file.devices:
        session.file.add_device(Device(name="BehaviorCamera", description="Camera of a behavior movie"))
    name = session.name(SERIES, recording.source.label)
    file = f"{session.path.stem}-behavior{name.removeprefix(SERIES)}.mp4"
    session.films[file] = partial(behavior_mp4.write, frames)
    series = ImageSeries(
        name=name,
        description=f"{len(shown)} of {recording.timing.num_samples} frames of {recording.name}; the first track has "
        "them as stored (Motion JPEG), the second as browsers play them (AV1)",
        unit="counts",
        device=session.file.devices["BehaviorCamera"],
        external_file=[file],
        format="external",
        starting_frame=[0],
        dimension=[columns, rows],
        **_times(session, recording, shown),
    )
    session.file.add_acquisition(series)
    valid = metadata.valid_samples(recording.timing)
    note_invalid(session, recording, np.where(valid, "valid", "dropped"), name)


def _times(session: SessionFile, recording: Opened, shown: np.ndarray) -> dict[str, Any]:
    if len(shown) < recording.timing.num_samples:
        times = [session.seconds(recording.start + int(index) * recording.period) for index in shown]
        return {"timestamps": H5DataIO(np.array(times), compression="gzip", shuffle=True)}
    when = {"starting_time": session.seconds(recording.start), "rate": recording.rate}
    return {**when, "num_samples": len(shown)} if ASKS_FOR_SAMPLES else when


def _add_tracking(session: SessionFile, recording: Opened) -> None:
    """One row a frame that the library exports, NaN where nothing was found."""
    _, frames, noted = recording.opened.camera
    samples, px_per_cm = frames.get("samples", []), optics.px_per_cm(noted)
    length = {"unit": "centimeters", "conversion": 1 / px_per_cm} if px_per_cm else {"unit": "pixels"}
    table = tracking_table(recording.source.path, samples, session.scratch, session.warn)
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
        **length,
        reference_frame="(0, 0) is the top left pixel; x to the right, y down",
        **when,
    )
    behavior = session.module("behavior", "What nVision's tracking found")
    if "Position" not in behavior.data_interfaces:
        behavior.add(Position(name="Position"))
    behavior["Position"].add_spatial_series(centre)
    for name, unit, what, data in (
        ("Box", length, "Box around the animal: left, top, right, bottom", values(*BOX)),
        ("Confidence", {"unit": "percent"}, "Confidence of the tracking", values("confidence_percent")),
    ):
        behavior.add(TimeSeries(name=session.name(name, label), description=what, data=data, **unit, **when))
