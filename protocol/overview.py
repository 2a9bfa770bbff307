"""What the overview of a run shows. PID 1 knows it; a worker makes the page of it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from protocol.message import Message

INDEX, ROOMS = "index.html", "rooms.json"  # what the worker makes
LEFT_OUT = "left out"  # status of a recording in a form that cannot be read


@dataclass
class Row:
    """One input."""

    path: str  # relative to the input folder
    kind: str
    status: str  # "done", "failed" or LEFT_OUT
    reason: str = ""
    seconds: float = 0.0
    summary: str = ""
    thumbnail: str | None = None
    warnings: list[str] = field(default_factory=list)
    results: str = ""  # folder, relative to the output
    products: tuple[str, ...] = ()
    log: str = ""  # relative to the output; "" if there is none
    session: str = ""  # path of its first part; "" for a session of one recording
    part: int = 0  # from 1, if there are several
    parts: int = 0
    animal: str = ""
    start: str = ""  # of the session, ISO 8601
    advice: list[str] = field(default_factory=list)  # what a lab has not written yet

    @property
    def page(self) -> str:
        """Its own page, relative to the output; "" if there is none."""
        name = f"{self.results.rpartition('/')[2]}.html"
        return f"{self.results}/{name}" if name in self.products else ""


@dataclass
class Entry:
    """A line of the table: a session, which may be one recording."""

    rows: list[Row]
    measures: dict[str, tuple[str, str]] = field(default_factory=dict)  # values and units, by name
    n_marked: int = 0  # measures to look at again

    @property
    def first(self) -> Row:
        return self.rows[0]

    @property
    def name(self) -> str:
        """Name of the session; of the recording, if the session is a single one."""
        first = self.first
        return first.results.rpartition("/")[2] if first.parts > 1 else first.path.rpartition("/")[2]

    @property
    def beside(self) -> list[Row]:
        """Recordings that are no part of the one that leads."""
        return [row for row in self.rows if not row.part and row.path != self.first.path]


@dataclass(frozen=True)
class Followed:
    """What became of one animal."""

    animal: str
    sessions: tuple[str, ...]
    status: str  # "done" or "failed"
    reason: str = ""
    summary: str = ""
    results: str = ""
    products: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    is_earlier: bool = False  # done by an earlier run
    fingerprint: str = ""

    @property
    def page(self) -> str:
        return f"{self.results}/{self.animal}.html" if self.status == "done" else ""


@dataclass(frozen=True)
class Overview(Message):
    """All of a run."""

    entries: list[Entry]  # of what is done, in natural order
    others: list[Row]  # what failed or is left out
    made: datetime
    seconds: float = 0.0  # that the run took; 0 if no process knows it
    software: Mapping[str, str] = field(default_factory=dict)
    animals: tuple[Followed, ...] = ()
    has_all_pictures: bool = True

    @property
    def digest(self) -> str:
        """Digest of all that the page shows, except the time at which it was made."""
        animals = tuple(replace(animal, is_earlier=False) for animal in self.animals)
        shown = replace(self, made=datetime.min, seconds=0.0, animals=animals)
        return hashlib.sha256(shown.to_json()).hexdigest()


@dataclass(frozen=True)
class Room:
    """What goes into a place that a page keeps for it, between two comments: the first text for which there is room."""

    page: str  # relative to the output
    mark: str  # of the comments
    texts: tuple[str, ...]


@dataclass(frozen=True)
class Rooms(Message):
    """The rooms of all pages."""

    rooms: tuple[Room, ...]
