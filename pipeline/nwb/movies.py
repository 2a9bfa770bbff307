"""Movies: their frames, or a table that says what they are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from pynwb.ophys import OnePhotonSeries, TwoPhotonSeries

from open_engine.files.movies import open_frames
from pipeline.inspect.export import refuse_mostly_black
from pipeline.inspect.movie import sample_status
from pipeline.nwb import motion
from pipeline.nwb.fill import Fill, empty
from pipeline.nwb.session import NOT_STATED, Opened, SessionFile, is_two_photon
from recording import formats

CHUNK_FRAMES, CHUNK_SIDE = 32, 128  # 1 MB of 16 bits: a pixel over time and a frame both touch few of them
LED = ("Microscope EX LED Power (mw/mm^2)", "Microscope EX LED 1 Power (mw/mm^2)")


def add(session: SessionFile, recording: Opened) -> None:
    """A OnePhotonSeries if frames are wanted, else a row of `Movies`: no reader knows a reference to an `.isxd`.

    NWB orders the axes time, x, y. Frames keep their numbers: those that were dropped, cropped or blank read as zeros,
    as in isx, and are listed in `invalid_times` with the reason.
    """
    layout = recording.opened.layout
    name = _add_frames(session, recording, layout) if session.embed else _describe(session, recording, layout)
    note_invalid(session, recording, sample_status(layout), name)


def _add_frames(session: SessionFile, recording: Opened, layout: formats.MovieLayout) -> str:
    """Returns what the series is called."""
    refuse_mostly_black(layout)
    stack = motion.stack_of(session, recording, layout.n_samples)
    shape = (layout.n_samples, layout.columns, layout.rows)
    chunks = chunks_of(shape)
    two_photon = is_two_photon(recording)
    kind = TwoPhotonSeries if two_photon else OnePhotonSeries
    series = kind(
        name="corrected" if stack else session.name(kind.__name__, recording.source.label),
        description=_description(recording, layout),
        imaging_plane=session.plane(recording),
        unit=_unit(layout),
        starting_time=session.seconds(recording.start),
        rate=recording.rate,
        data=empty(shape, layout.dtype, chunks),
        **({} if two_photon else _light(recording.acquisition)),
    )
    if stack:
        place, name = stack.add(session, series), stack.name
    elif recording.source.is_product:
        session.ophys.add(series)
        place, name = f"processing/ophys/{series.name}", series.name
    else:
        session.file.add_acquisition(series)
        session.originals.setdefault(recording.source.part, series)
        place, name = f"acquisition/{series.name}", series.name
    session.fills.append(Fill(f"/{place}/data", lambda: slabs(recording.source.path, chunks[0])))
    return name


def _describe(session: SessionFile, recording: Opened, layout: formats.MovieLayout) -> str:
    """Returns the name of its file."""
    light = _light(recording.acquisition)
    session.describe(
        recording,
        n_frames=layout.n_samples,
        width=layout.columns,
        height=layout.rows,
        pixel_type=np.dtype(layout.dtype).name,
        unit=_unit(layout),
        imaging_plane=session.plane(recording).name,
        exposure_time=light.get("exposure_time", NOT_STATED),
        intensity=light.get("intensity", NOT_STATED),
    )
    return recording.name


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


def _unit(layout: formats.MovieLayout) -> str:
    return "a.u." if layout.dtype == "<f4" else "counts"


def _description(recording: Opened, layout: formats.MovieLayout) -> str:
    size = recording.source.path.stat().st_size
    return (
        f"Movie {recording.title} ({size} bytes): {layout.n_samples} frames of {layout.columns} x {layout.rows} "
        f"pixels, {np.dtype(layout.dtype).name}"
    )


def _light(acquired: dict[str, Any]) -> dict[str, float]:
    """The microscope's settings in NWB's units: s, mW/mm^2."""
    numbers = {name: float(value) for name, value in acquired.items() if isinstance(value, (int, float)) and value}
    power = next((numbers[name] for name in LED if name in numbers), None)
    settings = {"exposure_time": numbers.get("Exposure Time (ms)", 0.0) / 1000, "intensity": power}
    return {name: value for name, value in settings.items() if value}


def note_invalid(session: SessionFile, recording: Opened, status: np.ndarray, name: str) -> None:
    """Stretches in which `status`, a text a sample, is not "valid" are invalid times of the series of this name."""
    edges = np.flatnonzero(np.append(True, status[1:] != status[:-1]))
    for first, last in zip(edges, [*edges[1:], len(status)]):
        if status[first] != "valid":
            session.file.add_invalid_time_interval(
                start_time=session.seconds(recording.start + int(first) * recording.period),
                stop_time=session.seconds(recording.start + int(last) * recording.period),
                tags=[str(status[first]), name],
            )
