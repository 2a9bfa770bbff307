"""Decisions by eye: what `<session>.decisions.csv`, and cell sets that somebody edited in the output, say of cells.

The file comes from the page, by way of people and their spreadsheets: it may have a byte order mark, semicolons or tabs
between its columns, and `'` before what a spreadsheet would run as a formula.

A decision is about one cell: of this name, in the cell set of this identity. It never goes to another cell. Where the
cells have changed, those whose footprints are where that of the decided cell was are named (footprints.py).
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path

import numpy as np

from common import csv_tables
from common.csv_cells import cell as safe_cell
from open_engine.files.cellsets import CellSet, read_cell_set
from pipeline.inspect.footprints import Core, around, core, core_of, matches
from recording.errors import BadRecording, Unusable
from recording.formats import check
from recording.names import DECISIONS

STATUSES = ("accepted", "rejected", "undecided")
COLUMNS = ("cell", "status", "cells", "by", "at", "note", "outline", "joined_with")
NEEDED = COLUMNS[:3]
BY_FOOTPRINT = "-decisions-by-footprint.csv"
LONGEST = 2000  # characters of one text that is passed on
LONGEST_OUTLINE = 20_000
HAND = "hand"  # who decided, where the file does not say
MOST_NAMED = 8  # in one warning


@dataclass(frozen=True)
class Decision:
    """One cell, decided by hand. `cells` is the `cell_set_id` of the cell set that it is in."""

    cell: str
    status: str
    cells: str
    by: str = ""
    at: str = ""  # ISO 8601, UTC
    note: str = ""
    outline: str = ""  # of its footprint: an SVG path in px, as the page has it
    joined_with: str = ""  # the cell of the same set that this one is a part of


@dataclass(frozen=True)
class Present:
    """A cell that decisions may be about."""

    name: str
    cells: str  # the identity of its cell set
    digest: str  # of its name and footprint
    status: str  # without decisions
    core: Core


@dataclass(frozen=True)
class Edited:
    """A cell of a file of the output that somebody edited. It is known by its name and footprint."""

    digest: str
    decision: Decision
    core: Core


@dataclass(frozen=True)
class Decisions:
    """The rows of a file. A later row on the same cell of the same cell set holds."""

    file: str = ""  # its name, for messages
    session: str = ""
    rows: Sequence[Decision] = ()
    problems: Sequence[str] = field(default=())  # sentences on rows that say nothing
    edited: Mapping[str, Sequence[Edited]] = field(default_factory=dict)  # by the name of the file
    earlier: Path | None = None  # folder of an earlier run's results: rows without outline may be about cells there
    held: dict[str, int] = field(default_factory=dict)  # how many cells got their status from which edited file
    present: dict[str, list[Present]] = field(default_factory=dict)  # cells that were looked at, by cell set

    def on(self, cells: Sequence[Present]) -> dict[str, Decision]:
        """Decisions on these very cells, of one or several cell sets, by the name of the cell. The last one counts."""
        for cell in cells:
            self.present.setdefault(cell.cells, []).append(cell)
        by_name = {(cell.cells, safe_cell(cell.name)): cell for cell in cells}
        by_name |= {(cell.cells, cell.name): cell for cell in cells}
        decided = {by_name[row.cells, row.cell].name: row for row in self.rows if (row.cells, row.cell) in by_name}
        by_digest = {cell.digest: cell for cell in cells}
        for cell, its in ((by_digest.get(one.digest), one.decision) for one in self._edited()):
            row = decided.get(cell.name) if cell else None
            if cell and its.status != (row.status if row else cell.status) and not (row and row.at > its.at):
                decided[cell.name] = its
                self.held[its.by] = self.held.get(its.by, 0) + 1
        return decided

    @property
    def digest(self) -> str:
        """Digest of the decisions, equal only if they would be applied alike."""
        rows = [[row.cells, row.cell, row.status, row.at, row.joined_with] for row in self.rows]
        edited = [[one.digest, one.decision.status, one.decision.at] for one in self._edited()]
        return hashlib.sha256(json.dumps([rows, edited]).encode()).hexdigest()

    def only(self) -> Decisions:
        """The same, for a question besides: what complaints are made of stays as it is."""
        return replace(self, present={}, held={})

    def _edited(self) -> list[Edited]:
        """Edited cell sets, in order of their times."""
        return sorted((one for cells in self.edited.values() for one in cells), key=lambda one: one.decision.at)

    def complaints(self, places: Sequence[tuple[Decision, Present, float]] | None = None) -> list[str]:
        """When all cell sets of the session were looked at: a sentence for each reason why rows are not applied.

        `places` is what `by_footprint` returns, where it is known.
        """
        places = self.by_footprint() if places is None else places
        said = [*self.problems]
        said += [f"{n} statuses count as they were {by}" for by, n in self.held.items()]
        for cell_set_id, present in self.present.items():
            known = {name for cell in present for name in (safe_cell(cell.name), cell.name)}
            missing = [row.cell for row in self.rows if row.cells == cell_set_id and row.cell not in known]
            if missing:
                said.append(f"{self.file} decides on {_named(missing)}, which its cell set does not have: not applied")
        for file, stale in self._stale().items():
            said.append(
                f"{file}: the decisions on {_named(one.cell for one in stale)} were NOT applied: they are about other "
                f"cells, because the present ones were computed again. {self._where_they_are(stale, places)}"
            )
        return said

    def _stale(self) -> dict[str, list[Decision]]:
        """Decisions that no cell is left for, by the file that they are in."""
        rows = [row for row in self.rows if row.cells not in self.present]
        stale = {self.file: rows} if rows else {}
        digests = {cell.digest for cells in self.present.values() for cell in cells}
        for file, cells in self.edited.items():
            gone = [one.decision for one in cells if one.digest not in digests]
            stale |= {file: gone} if gone else {}
        return stale

    def by_footprint(self) -> list[tuple[Decision, Present, float]]:
        """Decisions that no cell is left for, the present cell in the same place, and how much of both they share."""
        cores = {id(one.decision): one.core for cells in self.edited.values() for one in cells}
        stale = [row for rows in self._stale().values() for row in rows]
        cores |= self._earlier_cores([row for row in stale if not row.outline and id(row) not in cores])
        places = [(row, cores.get(id(row)) or core_of(row.outline)) for row in stale]
        present = [cell for cells in self.present.values() for cell in cells]
        places = [(row, core) for row, core in places if core]
        pairs = matches([core for _, core in places], [cell.core for cell in present])
        return [(places[i][0], present[j], shared) for i, j, shared in pairs]

    def _earlier_cores(self, rows: Sequence[Decision]) -> dict[int, Core]:
        """Where the cells of these rows were, by the rows' id(), if the results that they are about are still there."""
        cores: dict[int, Core] = {}
        for path in sorted(self.earlier.rglob("*.isxd")) if self.earlier and rows else ():
            try:
                cells = read_cell_set(path) if check(path).kind == "cell_set" else None
            except (Unusable, BadRecording):
                continue
            identity = cell_set_id(cells) if cells else ""
            mine = {row.cell: id(row) for row in rows if row.cells == identity}
            for name, image in zip(cells.names, cells.images) if mine else ():
                for text in {name, safe_cell(name)} & set(mine):
                    cores[mine[text]] = core(image)
        return cores

    def _where_they_are(self, stale: Sequence[Decision], places: Sequence[tuple[Decision, Present, float]]) -> str:
        moved = [(row, cell) for row, cell, _ in places if any(row is one for one in stale)]
        if not moved:
            return "Decide on the page again and save"
        said = _named(f"{row.cell} ({row.status}) where {cell.name} is now" for row, cell in moved)
        return (
            f"{len(moved)} of {len(stale)} have a cell in the same place: {said}. {self.session}{BY_FOOTPRINT} lists "
            f"them for the present cells: check each, then put it beside the recording as {self.session}{DECISIONS}"
        )

    def report(self, out: Path, warn: Callable[[str], None]) -> list[str]:
        """When all cell sets were looked at: warnings, and a table in `out`; returns its name, if there is one."""
        places = self.by_footprint()
        for sentence in self.complaints(places):
            warn(sentence)
        table = self._table(places)
        if not table:
            return []
        (out / f"{self.session}{BY_FOOTPRINT}").write_text(table, encoding="utf-8", newline="")
        return [f"{self.session}{BY_FOOTPRINT}"]

    def _table(self, places: Sequence[tuple[Decision, Present, float]]) -> str:
        """The same decisions on the cells that are in their places, as a file of decisions; "" if there are none."""
        rows = [
            (cell.name, row.status, cell.cells, row.by, row.at, f"was {row.cell}; {100 * shared:.0f}% shared", "", "")
            for row, cell, shared in places
        ]
        if not rows:
            return ""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\r\n")
        writer.writerow(COLUMNS)
        writer.writerows([safe_cell(value) for value in row] for row in rows)
        return text.getvalue()


def read(text: str, session: str, edited: Sequence[Path] = (), earlier: Path | None = None) -> Decisions | None:
    """What the file of a session and edited cell sets of its earlier results hold; None if there are neither."""
    file = f"{session}{DECISIONS}"
    if not text and not edited:
        return None
    try:
        decisions = parse(text, file) if text else Decisions(file, session)
    except Unusable as error:
        decisions = Decisions(file, session, problems=(f"no decision was applied: {error}",))
    problems, cells = [*decisions.problems], {}
    for path in edited:
        try:
            if check(path).kind == "cell_set":
                cells[path.name] = _edited_cells(path)
        except (Unusable, BadRecording) as error:
            problems.append(f"{path.name} was edited, and its statuses cannot be read: {error}")
    return replace(decisions, problems=tuple(problems), edited=cells, earlier=earlier)


def _edited_cells(path: Path) -> list[Edited]:
    """Raises Unusable."""
    cells = read_cell_set(path)
    at = datetime.fromtimestamp(path.stat().st_mtime, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    by = f"edited in {path.name}"
    edited = []
    for name, status, image in zip(cells.names, cells.statuses, cells.images):
        decision = Decision(name, status, "", by, at)
        edited.append(Edited(digest_of(name, image), decision, core(image)))
    return edited


def parse(text: str, file: str) -> Decisions:
    """The content of a file. Raises Unusable if it is no table of decisions."""
    try:
        table = csv_tables.read(text)
    except csv.Error as error:
        raise Unusable(f"{file} is not a readable table ({error}): save it again from the page") from None
    missing = [name for name in NEEDED if name not in table.columns]
    if missing:
        raise Unusable(
            f"{file} has no column {' and no column '.join(missing)}: its first line must be {','.join(COLUMNS[:6])}, "
            "as the page saves it"
        )
    rows: dict[tuple[str, str], Decision] = {}
    problems = []
    for number, cells in table.rows():
        values = {name: cells[name] for name in COLUMNS if name in cells}
        values = {name: text[: LONGEST_OUTLINE if name == "outline" else LONGEST] for name, text in values.items()}
        status = values["status"].strip().casefold()
        if status not in STATUSES:
            problems.append(
                f"{file}:{number}: {values['status'][:40]!r} is not a status: use one of {', '.join(STATUSES)}"
            )
            continue
        row = Decision(**{**values, "status": status, "cells": values["cells"].strip()})
        if row.joined_with and status != "rejected":
            problems.append(f"{file}:{number}: {row.cell[:80]} is joined with another cell, so it must be rejected")
            continue
        earlier = rows.pop((row.cells, row.cell), None)
        if earlier and earlier.status != status:
            problems.append(f"{file}:{number}: {row.cell[:80]} is decided twice: the later decision, {status}, counts")
        rows[row.cells, row.cell] = row
    return Decisions(file, file.removesuffix(".csv").removesuffix(".decisions"), tuple(rows.values()), tuple(problems))


class CellSetId:
    """The identity of a cell set: that of its names and footprints, whatever the statuses. Cells are added in order."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()

    def add(self, name: str, footprint: np.ndarray) -> None:
        """`footprint` has shape (rows, columns)."""
        for content in _bytes_of(name, footprint):
            self._digest.update(content)

    def __str__(self) -> str:
        return self._digest.hexdigest()[:16]


def cell_set_id(cells: CellSet) -> str:
    """Identity of a cell set: a digest of the names and footprints of all its cells."""
    identity = CellSetId()
    for name, image in zip(cells.names, cells.images):
        identity.add(name, image)
    return str(identity)


def digest_of(name: str, footprint: np.ndarray) -> str:
    """Digest of one cell. Two are equal only if name and footprint, shape (rows, columns), are equal."""
    digest = hashlib.sha256()
    for content in _bytes_of(name, footprint):
        digest.update(content)
    return digest.hexdigest()


def _bytes_of(name: str, footprint: np.ndarray) -> Iterator[bytes]:
    rows, columns = around(footprint)
    down, across = np.nonzero(footprint[rows, columns])
    pixels = ((down + rows.start) * footprint.shape[1] + across + columns.start).astype("<u4")
    yield f"{name}\0{footprint.shape}\0{pixels.size}\0".encode("utf-8", "surrogateescape")
    yield pixels.tobytes()
    yield footprint.ravel()[pixels].astype("<f4").tobytes()


def for_page(decided: Mapping[str, Decision]) -> list[dict[str, str]]:
    """Decisions in the form that the page's script reads."""
    return [
        {
            "cell": name,
            "status": row.status,
            "by": row.by,
            "at": row.at,
            "note": row.note,
            **({"joined_with": row.joined_with} if row.joined_with else {}),
        }
        for name, row in decided.items()
    ]


@dataclass(frozen=True)
class Verdict:
    """What holds for a cell since somebody has decided."""

    status: str
    by: str


def verdicts(decided: Sequence[Mapping[str, str]]) -> dict[str, Verdict]:
    """Verdicts by the name of the cell, from what the page's script reads."""
    return {row["cell"]: Verdict(row["status"], row["by"] or HAND) for row in decided}


def _named(cells: Iterable[str]) -> str:
    cells = [cell[:80] for cell in cells]
    more = f" and {len(cells) - MOST_NAMED} more" if len(cells) > MOST_NAMED else ""
    return ", ".join(cells[:MOST_NAMED]) + more
