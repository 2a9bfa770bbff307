"""A session's NWB file, from its recordings."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from fractions import Fraction
from importlib.metadata import version
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from hdmf.container import AbstractContainer
from pynwb import NWBHDF5IO, NWBFile
from pynwb.file import Subject

from pipeline.inspect import metadata as inspect_metadata
from pipeline.inspect.context import Context
from pipeline.nwb import images, metadata, motion, responses
from pipeline.nwb.fill import fill
from pipeline.nwb.kinds import IN_NWB
from pipeline.nwb.metadata import Metadata
from pipeline.nwb.motion import Translations
from pipeline.nwb.session import MICROSECOND, Opened, SessionFile, Source, on_one_clock, opened, start_of
from recording.errors import shown
from recording.formats.fields import to_datetime

SOFTWARE = " SW Version"  # "Acquisition SW Version", "Behavior Acquisition SW Version"
OBJECT_IDS = uuid.UUID("6f1f2c1e-2f0b-4a6e-9d0c-0f7d6a2f5b11")  # this project's own name space


@dataclass(frozen=True)
class Contents:
    """The contents of a file."""

    sources: Sequence[Source]
    identifier: str
    metadata: Metadata = field(default_factory=Metadata)
    projections: Mapping[str, tuple[np.ndarray, str]] = field(default_factory=dict)  # by name: pixels, description
    translations: Sequence[Translations] = ()
    responses: Sequence[Path] = ()  # tables of cells that a step wrote, with their averages beside them
    embed: bool = False  # movies' frames, too
    advise: Callable[[str], None] = lambda message: None
    start: datetime | None = None  # of the session's clock, from which the sources' offsets count


def write(path: Path, contents: Contents, context: Context) -> list[Path]:
    """Write the file, and films beside it, whole or not at all. The same contents give the same bytes.

    Returns all of them. Raises Unusable, BadRecording.
    """
    sources = contents.sources
    as_recorded = [opened(one, context.open(one.path, one.kind), IN_NWB[one.kind].in_plane) for one in sources]
    recordings = sorted(on_one_clock(as_recorded, contents.start), key=_order)
    temporary = path.with_name(f".{path.stem}.tmp.nwb")  # pynwb wants this suffix
    session = _session(path, recordings, contents, context)
    films = [path.with_name(name) for name in session.films]
    try:
        for film, write_film in zip(films, session.films.values()):
            write_film(film, context)
        _name_objects(session.file, contents.identifier)
        with NWBHDF5IO(str(temporary), "w") as io:
            io.write(session.file)
        with h5py.File(temporary, "r+") as file:
            for fill_in in session.fills:
                fill(file[fill_in.dataset], fill_in.slabs(), context.threads, context.progress)
        temporary.replace(path)
        return [path, *films]
    except BaseException:
        for unfinished in (temporary, *films):
            with contextlib.suppress(FileNotFoundError):
                unfinished.unlink()
        raise


def _order(recording: Opened) -> tuple[int, bool, Fraction, str]:
    return list(IN_NWB).index(recording.kind), recording.source.is_product, recording.start, recording.name


def _session(path: Path, recordings: list[Opened], contents: Contents, context: Context) -> SessionFile:
    said = stated(recordings)
    known = contents.metadata.over(accepted(said))
    _warn_of_refused(said, known, context.warn)
    _advise(known, contents.advise)
    start = start_of(recordings, known)
    zero = min(recording.start for recording in recordings)
    if known.get("NWBFile", "session_start_time") is None:
        zero = zero // MICROSECOND * MICROSECOND  # as start_of
    given = known.section("NWBFile")
    given.pop("session_start_time", None)
    names = ", ".join(recording.name for recording in recordings)
    given.setdefault("session_description", f"Recorded with Inscopix's software: {names}")
    software = {**inspect_metadata.software(), "pynwb": version("pynwb"), **_acquired_with(recordings)}
    acquired = [recording for recording in recordings if not recording.source.is_product] or recordings
    changed = max(recording.source.path.stat().st_mtime_ns for recording in acquired) // 10**9
    file = NWBFile(
        identifier=contents.identifier,
        session_start_time=start,
        file_create_date=[to_datetime(Fraction(changed), 0) or start],  # so that a re-run writes the same
        subject=_subject(known, start),
        was_generated_by=[[name, number] for name, number in software.items() if number],
        **given,
    )
    session = SessionFile(file, zero, known, contents.embed, path, context.scratch, context.warn, recordings)
    session.translations = [*contents.translations]
    for recording in _labelled(recordings):
        IN_NWB[recording.kind].add(session, recording)
    images.add_images(session, contents.projections)
    for translations in session.translations:
        motion.add(session, translations, recordings)
    for table in contents.responses:
        responses.add(session, table, path.stem)
    session.add_descriptions()
    return session


def _labelled(recordings: Sequence[Opened]) -> list[Opened]:
    """Labels are only needed by kinds of which there are several."""

    def needs(one: Opened) -> bool:
        like = sum((other.kind, other.source.is_product) == (one.kind, one.source.is_product) for other in recordings)
        return like > 1 or (one.kind == "movie" and one.source.is_product)

    return [one if needs(one) else replace(one, source=replace(one.source, label="")) for one in recordings]


# ---- metadata


def stated(recordings: Sequence[Opened]) -> Metadata:
    """Subject and session as the files state them, if somebody filled them in, whether or not NWB takes the values.

    The acquisition software presets the animal's sex, so it counts only if the animal has an ID.
    """
    session: dict[str, Any] = {}
    subject: dict[str, Any] = {}
    for acquired in (recording.acquisition for recording in recordings):
        session = {**_stated_session(acquired), **session}
        if acquired.get("Animal ID"):
            subject = subject or _stated_subject(acquired)
    return Metadata({"NWBFile": session, "Subject": subject})


def _stated_session(acquired: Mapping[str, Any]) -> dict[str, Any]:
    name, experimenter = acquired.get("Session Name"), acquired.get("Experimenter Name")
    facts = {"session_id": str(name or "").replace("/", "-"), "experimenter": [experimenter] if experimenter else None}
    return {name: value for name, value in facts.items() if value}


def _acquired_with(recordings: Sequence[Opened]) -> dict[str, str]:
    """Versions of the acquisition software, by its name."""
    stated = [item for recording in recordings for item in recording.acquisition.items()]
    return {
        f"Inscopix {name[: -len(SOFTWARE)]} Software": str(value)
        for name, value in stated
        if name.endswith(SOFTWARE) and value
    }


def _stated_subject(acquired: Mapping[str, Any]) -> dict[str, Any]:
    subject = {
        "subject_id": str(acquired["Animal ID"]).replace("/", "-"),
        "sex": str(acquired.get("Animal Sex", "")).upper(),
        "species": acquired.get("Animal Species"),
        "description": acquired.get("Animal Description"),
        "date_of_birth": acquired.get("Animal Date of Birth"),
    }
    return {name: value for name, value in subject.items() if value}


def accepted(said: Metadata) -> Metadata:
    """The values that NWB takes, of what recordings state."""
    return Metadata(
        {
            section: {
                name: datetime.fromisoformat(value) if name == "date_of_birth" else value
                for name, value in fields.items()
                if metadata.FIELDS[section][name].fits(value)
            }
            for section, fields in said.values.items()
        }
    )


def _warn_of_refused(said: Metadata, known: Metadata, warn: Callable[[str], None]) -> None:
    for section, fields in said.values.items():
        for name, value in fields.items():
            if known.get(section, name) is None:
                rule = metadata.FIELDS[section][name].expected
                warn(f"the recording states {section}.{name} as {shown(value)}, but NWB takes {rule}: it is left out")


def _subject(known: Metadata, start: datetime) -> Subject | None:
    given = known.section("Subject")
    born = given.get("date_of_birth")
    if born is not None and born.tzinfo is None:
        given["date_of_birth"] = born.replace(tzinfo=start.tzinfo)
    return Subject(**given) if given else None


def _advise(known: Metadata, advise: Callable[[str], None]) -> None:
    """Name what a lab has not written yet."""
    required, asked = (metadata.missing(known, wanted) for wanted in (metadata.REQUIRED, metadata.ASKED_FOR))
    parts = []
    if required:
        parts.append(f"DANDI will refuse the NWB file without {', '.join(required)}")
    if asked:
        parts.append(f"{', '.join(asked)} are unknown and left out")
    if parts:
        advise("; ".join(parts) + ": write them into nwb.toml in the input folder")


# ---- the same bytes each time


def _name_objects(container: AbstractContainer, identifier: str, place: str = "") -> None:
    """Object IDs that follow from the session and the object's place, where hdmf draws them at random.

    hdmf has no public way to give them; the test that two files are equal would notice if this one closed.
    """
    place += f"/{type(container).__name__} {container.name}"
    container._AbstractContainer__object_id = str(uuid.uuid5(OBJECT_IDS, f"{identifier}{place}"))  # type: ignore[attr-defined]
    for child in container.children:
        _name_objects(child, identifier, place)
