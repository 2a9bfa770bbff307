"""Movies: the frames themselves, or a reference to the file that holds them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from hdmf.utils import get_docval
from pynwb.image import ImageSeries
from pynwb.ophys import OnePhotonSeries

from open_engine.files.movies import open_frames
from pipeline.inspect.export import refuse_mostly_black
from pipeline.inspect.movie import sample_status
from pipeline.nwb.fill import Fill, empty
from pipeline.nwb.session import Opened, SessionFile
from recording import formats

# pynwb 4 wants the number of frames that are elsewhere; pynwb 3, the last for Python 3.9, does not know it.
ASKS_FOR_SAMPLES = "num_samples" in {argument["name"] for argument in get_docval(ImageSeries.__init__)}
CHUNK_FRAMES, CHUNK_SIDE = 32, 128  # 1 MB of 16 bits: a pixel over time and a frame both touch few of them


def add(session: SessionFile, recording: Opened) -> OnePhotonSeries:
    """A OnePhotonSeries; NWB orders its axes time, x, y.

    Frames keep their numbers: those that were dropped, cropped or blank read as zeros, as in isx, and are listed in
    `invalid_times` with the reason.
    """
    layout = formats.movie_layout(recording.stored)
    name = session.name("OnePhotonSeries", recording.source.label)
    series = OnePhotonSeries(
        name=name,
        description=_description(recording, layout),
        imaging_plane=session.plane(recording),
        unit="a.u." if layout.dtype == "<f4" else "counts",
        starting_time=session.seconds(recording.start),
        rate=recording.rate,
        **_light(recording.acquisition),
        **_content(session, recording, layout, name),
    )
    if recording.source.is_product:
        session.ophys.add(series)
    else:
        session.file.add_acquisition(series)
    _note_invalid(session, recording, layout, name)
    return series


def _content(session: SessionFile, recording: Opened, layout: formats.MovieLayout, name: str) -> dict[str, Any]:
    if not session.embed or recording.source.is_product:
        return elsewhere(recording, layout.columns, layout.rows, layout.n_samples)
    refuse_mostly_black(layout)
    shape = (layout.n_samples, layout.columns, layout.rows)
    chunks = chunks_of(shape)
    session.fills.append(Fill(f"/acquisition/{name}/data", lambda: slabs(recording.stored, chunks[0])))
    return {"data": empty(shape, layout.dtype, chunks)}


def elsewhere(recording: Opened, columns: int, rows: int, n_samples: int) -> dict[str, Any]:
    """Frames that stay in the recording's own file."""
    found = {
        "external_file": [recording.name],
        "format": "external",
        "starting_frame": [0],
        "dimension": [columns, rows],
    }
    return {**found, "num_samples": n_samples} if ASKS_FOR_SAMPLES else found


def chunks_of(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(min(size, limit) for size, limit in zip(shape, (CHUNK_FRAMES, CHUNK_SIDE, CHUNK_SIDE)))


def slabs(path: Path, n_frames: int) -> Iterator[np.ndarray]:
    """Frames as isx reads them, some at a time, shape (frames, columns, rows). Raises BadRecording."""
    with open_frames(path) as frames:
        number, slab = 0, np.empty((n_frames, frames.layout.rows, frames.layout.columns), frames.dtype)
        for first in range(0, len(frames.valid), n_frames):
            places = frames.valid[first : first + n_frames]
            for i, is_valid in enumerate(places):
                if is_valid:
                    frames.read_into(slab[i : i + 1], number)
                    number += 1
                else:
                    slab[i] = 0
            yield slab[: len(places)].transpose(0, 2, 1)


def _description(recording: Opened, layout: formats.MovieLayout) -> str:
    size = recording.source.path.stat().st_size
    return (
        f"Movie {recording.title} ({size} bytes): {layout.n_samples} frames of {layout.columns} x {layout.rows} "
        f"pixels, {np.dtype(layout.dtype).name}"
    )


def _light(acquired: dict[str, Any]) -> dict[str, float]:
    """The microscope's settings in NWB's units: s, mW/mm^2."""
    found = {}
    if acquired.get("Exposure Time (ms)"):
        found["exposure_time"] = acquired["Exposure Time (ms)"] / 1000
    power = acquired.get("Microscope EX LED Power (mw/mm^2)") or acquired.get("Microscope EX LED 1 Power (mw/mm^2)")
    if power:
        found["intensity"] = float(power)
    return found


def _note_invalid(session: SessionFile, recording: Opened, layout: formats.MovieLayout, name: str) -> None:
    status = sample_status(layout)
    edges = np.flatnonzero(np.append(True, status[1:] != status[:-1]))
    for first, last in zip(edges, [*edges[1:], len(status)]):
        if status[first] != "valid":
            session.file.add_invalid_time_interval(
                start_time=session.seconds(recording.start + int(first) * recording.period),
                stop_time=session.seconds(recording.start + int(last) * recording.period),
                tags=[str(status[first]), name],
            )
