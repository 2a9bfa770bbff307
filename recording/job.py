"""Messages between PID 1 and its workers: jobs, events, facts about a recipe. Only this module knows their JSON.

Whoever reads refuses anything malformed and names the field. docs/architecture.md describes the protocol.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, TypeVar, Union

INSPECT = "inspect"  # the recipe that is built in: results for every kind, nothing to choose

T = TypeVar("T")


class Malformed(ValueError):
    """A message that does not follow the protocol; says which field is to blame."""


class _Message:
    def to_json(self) -> bytes:
        return _to_json(asdict(self))  # type: ignore[call-overload]

    @classmethod
    def from_json(cls: type[T], text: str | bytes) -> T:
        """Raises Malformed."""
        return _read(cls, _parse(text))


# ---- the job


@dataclass(frozen=True)
class Options:
    """Results that are made only on request."""

    movie_tiff: bool = False
    movie_mp4: bool = False
    nwb: bool = False
    nwb_movie: bool = False  # with the frames in it
    engine: str = "auto"  # who carries out the steps of recipes that do not say


@dataclass(frozen=True)
class Session:
    """What goes into the NWB file of a job, besides its inputs and what is made of them. All paths are absolute."""

    companions: tuple[Path, ...] = ()  # recordings of the same session
    metadata: tuple[Path, ...] = ()  # nwb.toml and the like; later ones override earlier ones


@dataclass(frozen=True)
class Job(_Message):
    """What one worker is to do. All paths are absolute."""

    inputs: tuple[Path, ...]  # the parts of a series by start
    kind: str
    stem: str  # results are named <stem>.json, <stem>-mean.tif, ...
    staging: Path  # where results are written
    scratch: Path  # for temporary files
    recipe: str  # its path, or INSPECT
    options: Options
    provenance: Mapping[str, Any]  # embedded unchanged in <stem>.json
    results: Path | None = None  # those of an earlier run
    session: Session | None = None  # where this job is to write an NWB file
    threads: int = 1
    events_fd: int = -1


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
    return _to_json({"event": event.event, **asdict(event)}) + b"\n"


def event_from_json(line: str | bytes | bytearray) -> Event | None:
    """None for an event of a name that is not known. Raises Malformed."""
    content = _parse(line)
    name = content.pop("event", None) if isinstance(content, dict) else None
    if not isinstance(name, str):
        raise Malformed("no event")
    return _read(_EVENTS[name], content) if name in _EVENTS else None


# ---- the answer of the recipe's checker


@dataclass(frozen=True)
class RecipeFacts(_Message):
    """What PID 1 needs to know of a recipe that can be used."""

    group: str  # "series" or "file"
    kinds: tuple[str, ...]  # that it takes
    sha256: str  # of the recipe and of the Python files of its steps
    steps: tuple[str, ...] = ()
    licensed: tuple[str, ...] = ()
    nwb: bool = False  # whether it writes an NWB file


# ---- reading, by the types that fields are annotated with


def _of(*types: type) -> Callable[[Any], Any]:
    def read(value: Any) -> Any:
        if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
            raise ValueError
        return value

    return read


def _path(value: Any) -> Path:
    path = Path(_of(str)(value))
    if not path.is_absolute():
        raise ValueError
    return path


def _each(reader: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: tuple(map(reader, _of(list)(value)))


_READERS: dict[str, Callable[[Any], Any]] = {
    "str": _of(str),
    "str | None": _of(str, type(None)),
    "bool": _of(bool),
    "int": _of(int),
    "float": _of(int, float),
    "Mapping[str, Any]": _of(dict),
    "Options": lambda value: _read(Options, value),
    "Session | None": lambda value: None if value is None else _read(Session, value),
    "Path": _path,
    "Path | None": lambda value: _path(value) if value else None,
    "tuple[Path, ...]": _each(_path),
    "tuple[str, ...]": _each(_of(str)),
}


def _read(cls: type[T], content: object) -> T:
    """An object of this class. Raises Malformed."""
    what = cls.__name__.lower()
    if not isinstance(content, dict):
        raise Malformed(f"{what}: not a JSON object")
    known = {each.name: each for each in fields(cls)}  # type: ignore[arg-type]
    unknown = sorted(content.keys() - known.keys())
    if unknown:
        raise Malformed(f"{what}: unknown field {unknown[0]}")
    values = {}
    for name, each in known.items():
        if name in content:
            try:
                values[name] = _READERS[str(each.type)](content[name])
            except Malformed:
                raise
            except ValueError:
                raise Malformed(f"{what}: {name} is {_short(content[name])}") from None
        elif each.default is MISSING:
            raise Malformed(f"{what}: no {name}")
    return cls(**values)


def _parse(text: str | bytes | bytearray) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Malformed(f"not JSON: {error}") from None


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def _to_json(content: object) -> bytes:
    return json.dumps(content, default=os.fspath).encode()
