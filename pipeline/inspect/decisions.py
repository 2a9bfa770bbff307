"""Decisions by eye: what `<session>.decisions.csv` says of the cells of one cell set.

The file comes from the page, by way of people and their spreadsheets: it may have a byte order mark, semicolons or tabs
between its columns, and `'` before what a spreadsheet would run as a formula.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from common.csv_cells import cell as safe_cell
from recording.errors import Unusable

STATUSES = ("accepted", "rejected", "undecided")
COLUMNS = ("cell", "status", "cells", "by", "at", "note")
LONGEST = 2000  # characters of one text that is passed on
MOST_NAMED = 8  # in one warning


@dataclass(frozen=True)
class Decision:
    """One cell, decided by hand. `cells` is the `cell_set_id` of the cell set that it is in."""

    cell: str
    status: str
    cells: str
    by: str = ""
    at: str = ""
    note: str = ""


@dataclass(frozen=True)
class Decisions:
    """The rows of a file. A later row on the same cell of the same cell set holds."""

    file: str = ""  # its name, for messages
    rows: Sequence[Decision] = ()
    problems: Sequence[str] = field(default=())  # sentences on rows that say nothing
    matched: set[str] = field(default_factory=set)  # identities of cell sets that rows are about

    def about(self, cell_set_id: str, names: Sequence[str]) -> dict[str, Decision]:
        """By the name of the cell: those on this very cell set."""
        if any(row.cells == cell_set_id for row in self.rows):
            self.matched.add(cell_set_id)
        known = {safe_cell(name): name for name in names} | {name: name for name in names}
        return {known[row.cell]: row for row in self.rows if row.cells == cell_set_id and row.cell in known}

    def missing(self, cell_set_id: str, names: Sequence[str]) -> list[str]:
        """Cells that rows on this very cell set name, and that it does not have."""
        known = {safe_cell(name) for name in names} | set(names)
        return [row.cell[:80] for row in self.rows if row.cells == cell_set_id and row.cell not in known]

    def complaints(self) -> list[str]:
        """When all cell sets of the session were looked at: a sentence for each reason why rows are not applied."""
        others = [row.cell for row in self.rows if row.cells not in self.matched]
        if not others:
            return [*self.problems]
        return [
            *self.problems,
            f"{self.file}: the decisions on {_named(others)} were NOT applied: they are about other cells, since the "
            "present ones were computed anew. Decide on the page again and save",
        ]


def read(text: str, session: str) -> Decisions | None:
    """What the file of a session holds; None if there is none."""
    file = f"{session}.decisions.csv"
    try:
        return parse(text, file) if text else None
    except Unusable as error:
        return Decisions(file, problems=(f"no decision was applied: {error}",))


def parse(text: str, file: str) -> Decisions:
    """The content of a file. Raises Unusable if it is no table of decisions."""
    text = text.removeprefix("\ufeff")
    first = text.partition("\n")[0]
    if first.lower().startswith("sep="):  # what some spreadsheets put before the table
        text = text.partition("\n")[2]
        first = text.partition("\n")[0]
    separator = max(",;\t", key=first.count)
    try:
        lines = list(csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True))
    except csv.Error as error:
        raise Unusable(f"{file} is no table that can be read ({error}): save it again from the page") from None
    header = [each.strip().casefold() for each in lines[0]] if lines else []
    missing = [name for name in COLUMNS[:3] if name not in header]
    if missing:
        raise Unusable(
            f"{file} has no column {' and no column '.join(missing)}: its first line must be {','.join(COLUMNS)}, "
            "as the page saves it"
        )
    where = {name: header.index(name) for name in COLUMNS if name in header}
    rows: dict[tuple[str, str], Decision] = {}
    problems = []
    for number, line in enumerate(lines[1:], 2):
        if not any(each.strip() for each in line):
            continue
        values = {name: line[at][:LONGEST] if at < len(line) else "" for name, at in where.items()}
        status = values["status"].strip().casefold()
        if status not in STATUSES:
            problems.append(f"{file}:{number}: {values['status'][:40]!r} is no status: one of {', '.join(STATUSES)}")
            continue
        row = Decision(**{**values, "status": status, "cells": values["cells"].strip()})
        earlier = rows.pop((row.cells, row.cell), None)
        if earlier and earlier.status != status:
            problems.append(f"{file}:{number}: {row.cell[:80]} is decided twice: {status}, the later one, holds")
        rows[row.cells, row.cell] = row
    return Decisions(file, tuple(rows.values()), tuple(problems))


class CellSetId:
    """The identity of a cell set: that of its names and footprints, whatever the statuses. Cells are added in order."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()

    def add(self, name: str, footprint: np.ndarray) -> None:
        """`footprint` has shape (rows, columns)."""
        pixels = np.flatnonzero(footprint).astype("<u4")
        self._digest.update(f"{name}\0{footprint.shape}\0{pixels.size}\0".encode("utf-8", "surrogateescape"))
        self._digest.update(pixels.tobytes())
        self._digest.update(footprint.ravel()[pixels].astype("<f4").tobytes())

    def __str__(self) -> str:
        return self._digest.hexdigest()[:16]


def for_page(decided: Mapping[str, Decision]) -> list[dict[str, str]]:
    """As the explorer reads them."""
    return [
        {"cell": name, "status": row.status, "by": row.by, "at": row.at, "note": row.note}
        for name, row in decided.items()
    ]


def _named(cells: Iterable[str]) -> str:
    cells = [cell[:80] for cell in cells]
    more = f" and {len(cells) - MOST_NAMED} more" if len(cells) > MOST_NAMED else ""
    return ", ".join(cells[:MOST_NAMED]) + more
