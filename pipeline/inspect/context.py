"""The argument and the return value of a kind's module."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from open_engine.context import StepContext
from pipeline.inspect.candidates import Candidates
from pipeline.inspect.decisions import Decisions
from pipeline.inspect.opened import OpenRecording, OpenRecordings
from pipeline.inspect.pieces import Piece
from pipeline.pages.cells import Cells
from pipeline.pages.content import Figure, Measure
from protocol.job import Options, Room


@dataclass
class Context(StepContext):
    """Everything that a module needs to make a recording's results."""

    options: Options = field(default_factory=Options)
    provenance: dict[str, Any] = field(default_factory=dict)
    decisions: Decisions | None = None  # by eye, on the cells of this recording
    candidates: Candidates | None = None  # that the step that found these cells did not take
    failure: str = ""  # of the recipe that should have been run, for the page
    advise: Callable[[str], None] = lambda message: None  # takes what a lab has not written yet
    at: Callable[[Path | None], None] = lambda path: None  # is told which recording is read, in case that is fatal
    offset_us: int = 0  # the recording's start, from the session's
    rooms: list[Room] = field(default_factory=list)  # in products, for the numbers of an animal's cells

    recordings: OpenRecordings = field(default_factory=OpenRecordings)

    def open(self, path: Path, kind: str) -> OpenRecording:
        """The recording, opened once for all that is made of it."""
        return self.recordings.open(path, kind, self.scratch)

    def remembering(self) -> tuple[Context, list[str]]:
        """The same, and the warnings that it is given from now on."""
        warnings: list[str] = []

        def warn(message: str) -> None:
            warnings.append(message)
            self.warn(message)

        return replace(self, warn=warn), warnings

    def in_turn(self, pieces: Sequence[Piece]) -> Iterator[Piece]:
        """Each of them, while it is read."""
        for piece in pieces:
            self.at(piece.recording.path)
            yield piece


@dataclass(frozen=True)
class Outcome:
    """The findings of a kind's module, besides the files that it wrote."""

    summary: str  # a short line for the report
    thumbnail: bytes  # a small PNG
    metadata: dict[str, Any]  # for the JSON
    measures: tuple[Measure, ...] = ()
    figures: tuple[Figure, ...] = ()  # for the page
    cells: Cells | None = None  # for the page
    methods: str = ""  # what was computed, and from where its definitions come: for the methods text
