"""Messages between PID 1 and its workers: jobs, events, facts about a recipe. See docs/architecture.md."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar, Union

from protocol.message import Malformed, Message, parse, read, to_json

NOBODY = -1  # the number, in an NWB file, of a cell that is not followed
ANIMAL = "animal"  # the kind of a job that follows the cells of one over its sessions
OVERVIEW = "overview"  # the kind of a job that makes the page of a run
INSPECT = "inspect"  # the recipe that is built in: results for every kind, nothing to choose


# ---- the job


@dataclass(frozen=True)
class Options:
    """Results that are made, or left out, on request."""

    movie_tiff: bool = False
    movie_mp4: bool = False
    film: bool = True  # before and after motion correction
    nwb: bool = False
    nwb_movie: bool = False  # with the frames in it
    engine: str = "auto"  # which computes the steps of recipes that do not say


@dataclass(frozen=True)
class Member:
    """A recording of a session."""

    path: Path  # absolute
    kind: str
    stem: str  # its own results are named <stem>.json, <stem>-frames.csv, ...
    offset_us: int = 0  # its start, from the session's
    placed_by: str = ""  # what tells that
    part: int = 0  # from 0: which part it is, or was made from
    is_made: bool = False  # by processing a part
    only_for_nwb: bool = False  # another job makes its results


@dataclass(frozen=True)
class Session:
    """The session of a job: its inputs, which are the first members, and what belongs to them."""

    name: str = ""
    members: tuple[Member, ...] = ()
    start: datetime | None = None  # of the session's clock
    animal: str = ""
    reasons: tuple[str, ...] = ()  # why these are one session, and what their times go by
    nwb: bool = False  # whether it gets an NWB file
    metadata: tuple[Path, ...] = ()  # nwb.toml and the like, absolute; later ones override earlier ones
    copies: Path | None = None  # of the metadata, as they were when the run began: see protocol.copies
    decisions: str = ""  # what <name>.decisions.csv beside the recordings holds

    def member(self, path: Path) -> Member:
        return next(one for one in self.members if one.path == path)


@dataclass(frozen=True)
class Job(Message):
    """The task of one worker. All paths are absolute."""

    inputs: tuple[Path, ...]  # the parts of a series by start
    kind: str
    stem: str  # results are named <stem>.json, <stem>-mean.tif, ...
    staging: Path  # where results are written
    scratch: Path  # for temporary files
    recipe: str  # its path, or INSPECT
    options: Options
    provenance: Mapping[str, Any]  # embedded unchanged in <stem>.json
    results: Path | None = None  # those of an earlier run
    edited: tuple[Path, ...] = ()  # results of earlier runs that somebody edited, kept under other names
    failure: str = ""  # of the recipe that should have been run: what is inspected says so
    copies: Path | None = None  # of the recipe and its Python files, as they were when the run began
    session: Session = field(default_factory=Session)
    threads: int = 1
    events_fd: int = -1


@dataclass(frozen=True)
class Fork(Message):
    """A request to the fork server; the job itself is the new worker's standard input."""

    scratch: Path
    address_space: int | None  # bytes; no limit if None


# ---- events, from a worker to PID 1


@dataclass(frozen=True)
class Progress:
    event: ClassVar[str] = "progress"
    done: float  # 0 to 1


@dataclass(frozen=True)
class Caution:
    event: ClassVar[str] = "warning"
    message: str


@dataclass(frozen=True)
class Advice:
    """What a lab may want to write down: nothing is wrong without it."""

    event: ClassVar[str] = "advice"
    message: str


@dataclass(frozen=True)
class At:
    """Which recording of a session the worker looks at from now on: if it dies, that one is at fault."""

    event: ClassVar[str] = "at"
    path: Path | None = None  # absolute; None: no longer at one


@dataclass(frozen=True)
class Failure:
    """The worker's last event; it exits with 1."""

    event: ClassVar[str] = "error"
    reason: str  # one sentence that names the cause and the way out
    out_of_memory: bool = False  # more memory would help


@dataclass(frozen=True)
class Room:
    """Where a product keeps room for the numbers of an animal's cells: little-endian, 4 bytes each, -1 for none."""

    file: str  # the product's name
    offset: int  # bytes
    n: int  # cells
    cells: str  # digest of their names


def digest(names: Iterable[str]) -> str:
    """Digest of the cells' names, as tables spell them, in table order."""
    return hashlib.sha256("\n".join(names).encode("utf-8", "surrogateescape")).hexdigest()


@dataclass(frozen=True)
class Result:
    """The worker's last event; it exits with 0."""

    event: ClassVar[str] = "result"
    products: tuple[str, ...]  # file names in the staging folder
    summary: str = ""  # a short line for the report
    thumbnail: str | None = None  # base64 of a small PNG
    failed: Mapping[str, str] = field(default_factory=dict)  # recordings of the session, by path: why not
    rooms: tuple[Room, ...] = ()


Event = Union[Progress, Caution, Advice, At, Failure, Result]
_EVENTS = {event.event: event for event in (Progress, Caution, Advice, At, Failure, Result)}


def event_to_json(event: Event) -> bytes:
    """One line."""
    return to_json({"event": event.event, **asdict(event)}) + b"\n"


def event_from_json(line: str | bytes | bytearray) -> Event | None:
    """None for an event of a name that is not known. Raises Malformed."""
    content = parse(line)
    name = content.pop("event", None) if isinstance(content, dict) else None
    if not isinstance(name, str):
        raise Malformed("no event")
    return read(_EVENTS[name], content) if name in _EVENTS else None


# ---- the answer of the recipe's checker


@dataclass(frozen=True)
class RecipeFacts(Message):
    """A recipe that can be used, as far as PID 1 needs to know it."""

    group: str  # "series" or "file"
    kinds: tuple[str, ...]  # that it takes
    sha256: str  # of the recipe and of the Python files of its steps
    nwb: bool = False  # whether it writes an NWB file
    follow: bool = True  # whether cells are followed over the sessions of an animal
    beside: tuple[str, ...] = ()  # names of files that its steps read in the folder of the recordings
