"""Messages between PID 1 and its workers: jobs, events, facts about a recipe. See docs/architecture.md."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Union

from recording.message import Malformed, Message, parse, read, to_json

ANIMAL = "animal"  # the kind of a job that follows the cells of one over its sessions
INSPECT = "inspect"  # the recipe that is built in: results for every kind, nothing to choose


# ---- the job


@dataclass(frozen=True)
class Options:
    """Results that are made only on request."""

    movie_tiff: bool = False
    movie_mp4: bool = False
    nwb: bool = False
    nwb_movie: bool = False  # with the frames in it
    engine: str = "auto"  # which computes the steps of recipes that do not say


@dataclass(frozen=True)
class Session:
    """More contents for the NWB file of a job, besides its inputs and products. All paths are absolute."""

    companions: tuple[Path, ...] = ()  # recordings of the same session
    metadata: tuple[Path, ...] = ()  # nwb.toml and the like; later ones override earlier ones
    copies: Path | None = None  # of the metadata, as they were when the run began: see recording.copies


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
    failure: str = ""  # of the recipe that should have been run: what is inspected says so
    copies: Path | None = None  # of the recipe and its Python files, as they were when the run began
    session: Session | None = None  # if this job is to write an NWB file
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
class Failure:
    """The worker's last event; it exits with 1."""

    event: ClassVar[str] = "error"
    reason: str  # one sentence that names the cause and the way out
    out_of_memory: bool = False  # more memory would help


@dataclass(frozen=True)
class Result:
    """The worker's last event; it exits with 0."""

    event: ClassVar[str] = "result"
    products: tuple[str, ...]  # file names in the staging folder
    summary: str = ""  # a short line for the report
    thumbnail: str | None = None  # base64 of a small PNG


Event = Union[Progress, Caution, Failure, Result]
_EVENTS = {each.event: each for each in (Progress, Caution, Failure, Result)}


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
    steps: tuple[str, ...] = ()
    licensed: tuple[str, ...] = ()
    nwb: bool = False  # whether it writes an NWB file
    follow: bool = True  # whether cells are followed over the sessions of an animal
