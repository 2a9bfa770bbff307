"""The files that decide results besides the recordings: a recipe, the Python files of its steps, NWB metadata.

A run reads each of them once. Its checks copy what they read into the staging folder; fingerprints and workers read
the copies, under the originals' names. Whoever edits such a file during a run changes the next one.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

_LISTING = ".python-files"  # of a folder, among the copies of its files


class NotCopied(Exception):
    """The copies cannot be written; the message says why."""


@dataclass(frozen=True)
class Copies:
    """Reads files by the originals' paths: the originals where there is no folder of copies."""

    folder: Path | None = None
    making: bool = False  # what is not copied yet is read from the original and copied

    def read(self, path: Path, most: int = -1) -> bytes:
        """The content, or its first `most` bytes. Raises OSError, NotCopied."""
        if not self.folder:
            return _content(path, most)
        copy = self._place(path.parent) / path.name
        if self.making and not copy.exists():
            self._write(copy, _content(path, most))
        return copy.read_bytes()

    def python_files(self, folder: Path) -> list[Path]:
        """Those that code in this folder can import: the modules and packages in it. Raises NotCopied."""
        if not self.folder:
            return _python_files(folder)
        listing = self._place(folder) / _LISTING
        if self.making and not listing.exists():
            readable = [path for path in _python_files(folder) if self._is_readable(path)]
            names = [path.relative_to(folder).as_posix() for path in readable]
            self._write(listing, json.dumps(names, ensure_ascii=True).encode())
        return [folder / name for name in json.loads(listing.read_bytes())]

    def _is_readable(self, path: Path) -> bool:
        try:
            self.read(path)
        except OSError:
            return False
        return True

    def _place(self, folder: Path) -> Path:
        """The folder of the copies of a folder's files. Not by its name, which may be as long as a path can be."""
        assert self.folder
        return self.folder / hashlib.sha256(os.fsencode(folder)).hexdigest()

    def _write(self, copy: Path, content: bytes) -> None:
        try:
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(content)
        except OSError as error:
            raise NotCopied(f"{copy.name} cannot be copied to the output's disk: {error.strerror}") from error


ORIGINALS = Copies()


def _content(path: Path, most: int) -> bytes:
    with path.open("rb") as file:
        return file.read(most)


def _python_files(folder: Path) -> list[Path]:
    """`*.py` here, and in the packages here: folders that hold an `__init__.py`."""
    files, seen = [], set()
    for parent, folders, names in os.walk(folder, followlinks=True):
        if (identity := os.path.realpath(parent)) in seen:  # a link to a folder above
            folders.clear()
            continue
        seen.add(identity)
        folders[:] = [name for name in folders if Path(parent, name, "__init__.py").is_file()]
        files += [Path(parent, name) for name in names if name.endswith(".py")]
    return sorted(files)
