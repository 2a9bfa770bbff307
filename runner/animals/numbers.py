"""The numbers of an animal's cells, `animal_cell`, in the results of its sessions.

A session is published before its animal is followed, so these files change after they are on record: its table of cells
gets a column, and its NWB file keeps room for the numbers. The record says whose numbers are in them. While they are
written it says nobody's, and holds both sizes of the table: if that is cut short anywhere, the session counts as done,
and the next run writes the numbers again. Without numbers the files are what the session's worker wrote, to the byte.
"""

from __future__ import annotations

import contextlib
import csv
import io
import os
import shutil
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import BinaryIO

from protocol.job import NOBODY, digest
from recording.names import join
from runner.output_folder import Folder
from runner.recordings import Recording
from runner.records import CELLS, Record, table_of_cells, write_record

COLUMN = "animal_cell"
NUMBERED = ("session", "cell", COLUMN)
MOST = 256 << 20  # bytes of a table
PIECE = 1 << 20  # bytes that are copied at a time


class Unreadable(ValueError):
    """A table of the run's own is not as it was written."""


def of_sessions(output: Folder, folder: str) -> dict[str, dict[str, int]]:
    """Numbers by session and cell, from the table of the animal in this folder. Raises Unreadable, OSError."""
    rows = _rows(_read(output, join(folder, f"{folder.rpartition('/')[2]}{CELLS}")))
    of_session: dict[str, dict[str, int]] = {}
    try:
        head = rows[0]
        session, cell, number = (head.index(name) for name in NUMBERED)
        for row in rows[1:]:
            of_session.setdefault(row[session], {})[row[cell]] = int(row[number])
    except (ValueError, IndexError):
        raise Unreadable(
            f"{folder}: its table of cells was changed: {', '.join(NUMBERED)} are not in each row"
        ) from None
    return of_session


def is_up_to_date(record: Record, animal: str, mark: str) -> bool:
    """Whether a session holds the numbers of this animal, of following that `mark` stands for; "": those of none."""
    return (record.followed, record.numbers) == (animal, mark) and bool(animal or not record.sizes)


def write(
    output: Folder,
    records: Sequence[tuple[Record, Sequence[Recording]]],
    numbers: Mapping[str, int],
    animal: str = "",
    mark: str = "",
) -> None:
    """Bring a session's files to these numbers, and no others. `records` are all that tell of it, with their inputs.

    Raises Unreadable, OSError.
    """
    lead = records[0][0]
    table, folder = table_of_cells(lead), lead.results
    old = _read(output, join(folder, table))
    new, names = with_numbers(old, numbers)

    copies = [(record, recording) for record, recordings in records for recording in recordings]

    def note(those: Iterable[tuple[Record, Recording]], **known: object) -> None:
        for record, recording in those:
            write_record(output, [recording], replace(record, **known))

    note(copies, numbers="", sizes={table: sorted({len(old), len(new)})})
    if new != old:
        output.write(join(folder, table), new)
    its = next((room for room in lead.rooms if room.cells == digest(names)), None)
    for room in lead.rooms:
        values = [numbers.get(name, NOBODY) for name in names] if room is its else [NOBODY] * room.n
        _fill(output, join(folder, room.file), room.offset, struct.pack(f"<{room.n}i", *values))
    grown = {} if len(new) == lead.products[table] else {table: [len(new)]}
    note(reversed(copies), followed=animal, numbers=mark, sizes=grown)  # the first one, which is asked, is the last


def with_numbers(table: bytes, numbers: Mapping[str, int]) -> tuple[bytes, list[str]]:
    """A table of cells with these numbers in its last column, or without it if there are none; and the cells' names.

    Raises Unreadable.
    """
    rows = _rows(table)
    if not rows or "name" not in rows[0]:
        raise Unreadable("a table of cells has no names")
    name, width = rows[0].index("name"), len(rows[0]) - (rows[0][-1] == COLUMN)
    if any(len(row) < width for row in rows):
        raise Unreadable("a table of cells has rows of different lengths")
    names = [row[name] for row in rows[1:]]
    rows = [row[:width] for row in rows]
    if any(cell in numbers for cell in names):
        rows = [[*rows[0], COLUMN], *([*row, str(numbers.get(row[name], ""))] for row in rows[1:])]
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode("utf-8", "surrogateescape"), names


def _rows(table: bytes) -> list[list[str]]:
    """Raises Unreadable."""
    try:
        return list(csv.reader(io.StringIO(table.decode("utf-8", "surrogateescape"), newline="")))
    except csv.Error as error:
        raise Unreadable(f"a table of cells cannot be read: {error}") from None


def _read(output: Folder, relative: str) -> bytes:
    with open(output.open(relative, os.O_RDONLY), "rb") as file:  # noqa: PTH123 - a descriptor
        content = file.read(MOST + 1)
    if len(content) > MOST:
        raise Unreadable(f"{relative} is larger than {MOST} bytes")
    return content


def _fill(output: Folder, relative: str, offset: int, content: bytes) -> None:
    """Put bytes into a file that keeps room for them: in place, as it may hold a movie.

    A copy takes its place if it is another user's, or has a second name, under which it must not change.
    """
    with contextlib.suppress(PermissionError), open(output.open(relative, os.O_RDWR), "r+b") as file:  # noqa: PTH123
        if os.fstat(file.fileno()).st_nlink == 1:
            _put(file, offset, content)
            return
    with open(output.open(relative, os.O_RDONLY), "rb") as file, output.replacing(relative) as copy:  # noqa: PTH123
        _copy(file, copy, offset)
        copy.write(content)
        file.seek(len(content), os.SEEK_CUR)
        shutil.copyfileobj(file, copy, PIECE)


def _copy(file: BinaryIO, copy: BinaryIO, n: int) -> None:
    for begin in range(0, n, PIECE):
        copy.write(file.read(min(PIECE, n - begin)))


def _put(file: io.BufferedRandom, offset: int, content: bytes) -> None:
    file.seek(offset)
    if file.read(len(content)) == content:
        return
    file.seek(offset)
    file.write(content)
    file.flush()
    os.fsync(file.fileno())
