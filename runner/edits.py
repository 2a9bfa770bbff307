"""Files of the results that somebody has edited since a run wrote them, in place, as Inscopix's software does.

They are kept under another name before anything is written: nobody's work is lost. Statuses in cell sets among them are
decisions by eye, which workers read.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import stat
from datetime import datetime, timezone
from pathlib import Path
from typing import BinaryIO

from recording.names import STEPS, join
from runner.output_folder import Folder
from runner.records import Record

EDITABLE = ".isxd"
KEPT = re.compile(r".+\.edited-\d{4}-\d\d-\d\d(-\d+)?\.isxd")
MOST = 64 << 20  # bytes of a footer that are looked at


def print_of(path: Path) -> list[object]:
    """Time stamp in ns of a file that a run wrote, and a digest of its footer. A record may hold several such pairs."""
    with path.open("rb") as file:
        return [os.fstat(file.fileno()).st_mtime_ns, _digest(file)]


def of_either(old: Record | None, new: Record) -> dict[str, list[object]]:
    """Prints of what two runs wrote: while the later one publishes, a file may be that of either."""
    before = old.prints if old and old.results == new.results else {}
    return {name: [*new.prints.get(name, ()), *before.get(name, ())] for name in (*before, *new.prints)}


def _digest(file: BinaryIO) -> str:
    """SHA-256 of what follows the data: the last 8 bytes are its length."""
    size = os.fstat(file.fileno()).st_size
    file.seek(max(0, size - 8))
    length = int.from_bytes(file.read(8), "little")
    file.seek(max(0, size - 9 - min(length, MOST)))
    return hashlib.sha256(file.read(MOST)).hexdigest()


def keep(output: Folder, record: Record) -> dict[str, str]:
    """Give files that are not what the run of this record wrote another name; returns the names, old and new.

    Raises OSError.
    """
    new_names: dict[str, str] = {}
    with contextlib.suppress(FileNotFoundError), output.folder(record.results) as folder:
        for name, written in record.prints.items():
            with contextlib.suppress(FileNotFoundError):
                if _is_edited(folder, name, written):
                    new_names[name] = _free_name(folder, name)
                    folder.rename(name, new_names[name])
    return {join(record.results, old): join(record.results, new) for old, new in new_names.items()}


def _is_edited(folder: Folder, name: str, written: list[object]) -> bool:
    status = folder.status(name)
    if not stat.S_ISREG(status.st_mode) or status.st_mtime_ns in written:
        return False  # a copy of the output has other time stamps, and the same content
    with open(folder.open(name, os.O_RDONLY), "rb") as file:  # noqa: PTH123 - a descriptor
        return _digest(file) not in written


def _free_name(folder: Folder, name: str) -> str:
    above, _, file = name.rpartition("/")
    day = datetime.fromtimestamp(folder.status(name).st_mtime, timezone.utc).date().isoformat()
    taken, number = set(folder.names(above)), 1
    wanted = f"{file.removesuffix(EDITABLE)}.edited-{day}{EDITABLE}"
    while wanted in taken:
        number += 1
        wanted = f"{file.removesuffix(EDITABLE)}.edited-{day}-{number}{EDITABLE}"
    return join(above, wanted)


def kept(output: Folder, results: str) -> list[tuple[str, int, int]]:
    """Edited files kept in a folder of results: names, sizes and time stamps in ns."""
    files = []
    with contextlib.suppress(OSError), output.folder(results) as folder:
        for above in ("", STEPS):
            with contextlib.suppress(OSError):
                for name in filter(KEPT.fullmatch, folder.names(above)):
                    status = folder.status(join(above, name))
                    if stat.S_ISREG(status.st_mode):
                        files.append((join(above, name), status.st_size, status.st_mtime_ns))
    return files
