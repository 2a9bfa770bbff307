"""Tables that a recipe reads beside the recordings, such as times of events: one a session, or one that several share.

Workers read them; what is known here is when results must be made anew, and which sessions read one table.
"""

from __future__ import annotations

import contextlib
import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from common import csv_tables

HEAD = 4096  # bytes, in which a table's header ends


@dataclass(frozen=True)
class Reader:
    """A session whose recipe reads a table."""

    folder: Path  # of its recordings
    session: str
    table: str

    @property
    def own(self) -> Path:
        return self.folder / f"{self.session}.{self.table}"

    @property
    def common(self) -> Path:
        return self.folder / self.table


def shared(readers: Iterable[Reader]) -> list[str]:
    """A sentence for each table that several sessions read, each with the same times from its own start."""
    of_table: dict[Path, list[Reader]] = {}
    for reader in readers:
        if reader.common.is_file() and not reader.own.is_file():
            of_table.setdefault(reader.common, []).append(reader)
    several = [(path, its) for path, its in sorted(of_table.items()) if len(its) > 1]
    return [_sentence(its) for path, its in several if not _names_sessions(path)]


def _sentence(readers: Sequence[Reader]) -> str:
    first = readers[0]
    names = ", ".join(reader.session for reader in readers[:3]) + (", ..." if len(readers) > 3 else "")
    return (
        f"{first.table} applies to {len(readers)} sessions ({names}), with times from each one's start: if it belongs "
        f"to one of them, name it {first.own.name}, or add a column session"
    )


def _names_sessions(path: Path) -> bool:
    with contextlib.suppress(OSError, csv.Error), path.open("rb") as file:
        lines = csv_tables.text_of(file.read(HEAD)).splitlines()[:2]  # the first may only name the separator
        return "session" in csv_tables.read("\n".join(lines)).columns
    return False
