"""What the overview shows: finished sessions in order, with the numbers that their quality tables hold."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator

from protocol.overview import Entry, Row
from runner.output_folder import Folder


def entries(rows: Iterable[Row]) -> list[Entry]:
    """Finished sessions in natural order: by animal, a folder before its subfolders."""
    by_session: dict[str, Entry] = {}
    for row in sorted((row for row in rows if row.status == "done"), key=_natural):
        by_session.setdefault(row.session or row.path, Entry([])).rows.append(row)
    for entry in by_session.values():
        entry.rows.sort(key=lambda row: (row.path != row.session, not row.part, row.part, row.path))
    return list(by_session.values())


def _natural(row: Row) -> tuple[object, ...]:
    """a2 before a10; of a session, its first part decides."""
    folder, _, name = (row.session or row.path).rpartition("/")
    place = [_numbers(part) for part in folder.split("/")] if folder else []
    return not row.animal, _numbers(row.animal), place, _numbers(name), row.part


def _numbers(text: str) -> list[tuple[int, int, str]]:
    parts = re.split(r"(\d+)", text.casefold())
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts if part]


def read_measures(output: Folder, entry: Entry) -> Iterator[str]:
    """Take what tells sessions apart from the tables that workers wrote; a table that is not there says nothing.

    Of a measure that each part has, the worst counts; what was recorded beside the parts has measures of its own.

    Yields a table that is there and cannot be read: somebody changed it.
    """
    row, beside = entry.first, {row_beside.path.rpartition("/")[2] for row_beside in entry.beside}
    name = f"{row.results}/{row.results.rpartition('/')[2]}-quality.csv"
    try:
        reader = csv.DictReader(io.StringIO(output.read(name).decode(), newline=""))
        lines = list(reader)
        if not {"recording", "measure", "value", "mark"} <= {*(reader.fieldnames or ())}:
            raise KeyError(name)
        for line in lines:
            if line["recording"] not in beside:
                known, _ = entry.measures.get(line["measure"], ("", ""))
                worst = max(known, line["value"], key=_size)
                entry.measures[line["measure"]] = worst, str(line.get("unit") or "")
        entry.n_marked = sum(bool(line["mark"]) for line in lines)
    except FileNotFoundError:
        return
    except (OSError, KeyError, TypeError, UnicodeError, csv.Error):
        entry.measures.clear()
        yield name


def _size(value: str) -> float:
    try:
        return abs(float(value))
    except ValueError:
        return -1.0
