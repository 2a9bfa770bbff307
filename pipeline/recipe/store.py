"""Finished steps of a recipe, and the index (`.steps.json`) that vouches for their products."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import stat
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from protocol.message import Message, read
from recording.names import STEPS

INDEX = ".steps.json"


@dataclass
class Entry(Message):
    """A finished step, as the index and the results' JSON have it."""

    step: str
    fingerprint: str
    engine: str
    function: str
    parameters: dict[str, Any]
    inputs: dict[str, list[str]]  # file names, by parameter or kind
    products: dict[str, list[int]]  # by file name: size in bytes and time stamp in ns
    extras: list[str] = field(default_factory=list)  # those of the products that only the function knew of
    seconds: float = 0.0
    software: dict[str, Any] = field(default_factory=dict)
    references: list[str] = field(default_factory=list)  # keys of pipeline/pages/references.bib
    estimated: dict[str, Any] = field(default_factory=dict)  # the values of parameters that are "auto"
    warnings: list[str] = field(default_factory=list)  # that it gave
    refused: bool = False  # cells as people have decided: it ran on those of the recipe


class Store:
    """Finished steps: in the folder `steps` of staging, and in that of the results of an earlier run."""

    def __init__(self, staging: Path, results: Path | None, stem: str) -> None:
        self.staging, self.published = staging / STEPS, results / STEPS if results else None
        self.staging.mkdir(exist_ok=True)
        self.record = results / f"{stem}.json" if results else None  # of the earlier run
        earlier = _entries(self.record) if self.record else ()
        self.entries = {entry.fingerprint: entry for entry in [*earlier, *_entries(self.staging / INDEX)]}

    def tidy(self, wanted: set[str]) -> None:
        """Remove from staging what no step of the present recipe vouches for."""
        self.entries = {key: entry for key, entry in self.entries.items() if key in wanted}
        vouched = {name for entry in self.entries.values() for name in entry.products}
        for path in list(self.staging.iterdir()):
            if path.name not in vouched | {INDEX}:
                _remove(path)
        for path in list(self.staging.parent.iterdir()):
            if path != self.staging:
                _remove(path)
        self._write()

    def find(self, entry: Entry, name: str) -> Path | None:
        """A product, if it is as it was when its step had finished."""
        if name not in entry.products:
            return None
        self._bring_in(name)
        for folder in (self.staging, self.published):
            if folder and stamp(folder / name, follow=False) == entry.products[name]:
                return folder / name
        return None

    def _bring_in(self, name: str) -> None:
        """A second name in staging, where no other user can put anything else in its place before it is read."""
        if self.published and not (self.staging / name).exists():
            with contextlib.suppress(OSError):  # a disk without hard links, or another user's file
                os.link(self.published / name, self.staging / name, follow_symlinks=False)

    def add(self, entry: Entry, folder: Path) -> None:
        """Take over what a step has written to `folder`, whole or not at all."""
        files = sorted(path for path in folder.iterdir() if path.is_file())
        for path in files:
            with path.open("rb") as file:
                os.fsync(file.fileno())
        entry.products = {path.name: stamp(path) or [] for path in files}
        names = set(entry.products)
        self.entries = {key: other for key, other in self.entries.items() if not names & set(other.products)}
        self._write()
        for path in files:
            path.replace(self.staging / path.name)
        self.entries[entry.fingerprint] = entry
        self._write()

    def drop(self, names: Sequence[str]) -> None:
        """Products that no step needs any more; what was published is left to the supervisor."""
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                (self.staging / name).unlink()

    def gather(self, names: Sequence[str]) -> None:
        """Bring products of an earlier run back to staging, to be published with the new ones."""
        outside = [name for name in names if not (self.staging / name).exists()]
        if outside and self.published and self.record:
            with contextlib.suppress(FileNotFoundError):  # the results are not whole without what follows
                self.record.unlink()
            for name in outside:
                (self.published / name).replace(self.staging / name)

    def _write(self) -> None:
        temporary = self.staging / f"{INDEX}.tmp"
        with temporary.open("w", encoding="utf-8") as file:
            json.dump([asdict(entry) for entry in self.entries.values()], file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self.staging / INDEX)


def _entries(path: Path) -> Iterator[Entry]:
    try:
        content = json.loads(path.read_bytes())
        for entry in content if isinstance(content, list) else content.get("steps", []):
            yield read(Entry, entry)
    except (OSError, ValueError, TypeError, AttributeError):  # missing, or of another kind
        return


def stamp(path: Path, follow: bool = True) -> list[int] | None:
    """Size in bytes and time stamp in ns of a regular file. A link among products is somebody else's: not to follow."""
    try:
        status = path.stat() if follow else path.lstat()
    except OSError:
        return None
    return [status.st_size, status.st_mtime_ns] if stat.S_ISREG(status.st_mode) else None


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()
