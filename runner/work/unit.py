"""What one worker handles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from protocol.job import Session
from runner.input.tables import Reader
from runner.recipe import RecipeChoice
from runner.recordings import Recording
from runner.records import Record


@dataclass(frozen=True)
class Unit:
    """The inputs of one worker: the parts of a recording, and what else of their session it inspects."""

    parts: tuple[Recording, ...]
    others: tuple[Recording, ...]
    neighbours: tuple[Recording, ...]  # in the NWB file too, though other workers make their results
    kind: str
    fingerprint: str
    results: str  # folder, relative to the output
    session: Session
    recipe: RecipeChoice
    warnings: tuple[str, ...] = ()
    tables: tuple[Reader, ...] = ()  # that its recipe reads beside the recordings
    failure: str = ""  # of the recipe: it is inspected so that there is something to see
    log: int | None = None  # file descriptor of a log to go on with, where another worker tried before
    is_retried: bool = False  # its worker died once; it is tried again when no other worker runs
    left_out: tuple[str, ...] = ()  # paths of the session that could not be used
    edited: tuple[str, ...] = ()  # files among earlier results that somebody edited
    done: Record | None = None  # by an earlier run, and it would be the same

    @property
    def recordings(self) -> tuple[Recording, ...]:
        """Whose results its worker makes."""
        return self.parts + self.others

    @property
    def inputs(self) -> tuple[Recording, ...]:
        """All that its worker reads."""
        return self.recordings + self.neighbours

    @property
    def size(self) -> int:
        return sum(recording.size for recording in self.inputs)

    @property
    def name(self) -> str:
        return named(self.recordings)


def named(recordings: Sequence[Recording]) -> str:
    """The first of these recordings and how many more there are, for messages."""
    first, *rest = recordings
    return first.relative + (f" and {len(rest)} more" if rest else "")
