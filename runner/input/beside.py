"""What lies beside the recordings and decides results too: decisions by eye, tables, NWB metadata. Read once a run."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from recording.names import DECISIONS, join
from runner.input import decisions
from runner.input.metadata import MetadataFiles, check
from runner.input.relate import SESSIONS, Related
from runner.input.tables import Reader

NWB = "nwb.toml"
OF_FOLDERS = (SESSIONS, NWB)


@dataclass(frozen=True)
class Beside:
    """These files, as they were when the run began."""

    decisions: Mapping[tuple[str, str], str] = field(default_factory=dict)  # what they say, by folder and session
    tables: Mapping[Path, object] = field(default_factory=dict)  # stamps of those that the recipe reads
    metadata: MetadataFiles | None = None  # if sessions are to have NWB files
    unread: Sequence[str] = ()  # a sentence for each file that is called almost as one that is read

    def stamps(self, readers: Iterable[Reader]) -> list[object]:
        """What tells whether the tables of these have changed, come or gone."""
        return [self.tables.get(path, [path.name]) for reader in readers for path in (reader.own, reader.common)]


def read(root: Path, related: Related, tables: Sequence[str], copies: Path | None, tick: Callable[[], None]) -> Beside:
    """`tables` are the names that a recipe reads in each folder; without `copies`, no session gets an NWB file.

    Raises BadMetadata, Unwritable.
    """
    names, unread = _names(related), []
    metadata = MetadataFiles(root, copies) if copies else None
    if metadata and copies:
        check(sorted({path for folder in names for path in metadata.of(folder, names[folder])}), copies, tick)
    said: dict[tuple[str, str], str] = {}
    stamps: dict[Path, object] = {}
    for folder, called in names.items():
        listed = _listing(root / folder)
        there = frozenset(name.casefold() for name in listed)
        unread += [f"{join(folder, name)} is not read: {why}" for name, why in _almost(root / folder, listed, called)]
        for name in called:
            if f"{name}{DECISIONS}".casefold() in there:
                said[folder, name] = decisions.text_of(root, folder, name)
        for reader in (Reader(root / folder, name, table) for table in tables for name in called):
            for path in (reader.own, reader.common):
                if path.name.casefold() in there:
                    stamps[path] = _stamp(path)
    return Beside(said, stamps, metadata, unread)


def _almost(folder: Path, there: Iterable[str], called: Mapping[str, None]) -> Iterator[tuple[str, str]]:
    """Files whose names say that they are to be read, and why they are not."""
    for name in there:
        plain = name[:-4] if name.lower().endswith(".txt") else name  # which Windows hides
        ending = next((known for known in (DECISIONS, f".{NWB}") if plain[-len(known) :].lower() == known), "")
        is_of_folder = plain.lower() in OF_FOLDERS
        right = plain.lower() if is_of_folder else plain[: len(plain) - len(ending)] + ending
        if name.startswith(".") or not (ending or is_of_folder):
            continue
        if name != right:
            if right.endswith(NWB) or not os.path.lexists(folder / right):
                yield name, f"rename it to {right}"
        elif ending and right.removesuffix(ending) not in called:
            yield name, f"no session in its folder is called {right.removesuffix(ending)}"


def _names(related: Related) -> dict[str, dict[str, None]]:
    """What a session in each folder, or a recording there that is worked on by itself, may be called; in order."""
    by_folder: dict[str, dict[str, None]] = {}
    for recording in related.recordings.values():
        by_folder.setdefault(recording.folder, {}).update(dict.fromkeys((recording.stem, recording.name)))
    for session in related.study.sessions:
        called = (session.name, related.folders[session.parts[0]].rpartition("/")[2])
        for folder in {session.folder, *(related.recordings[path].folder for path in session.members)}:
            by_folder.setdefault(folder, {}).update(dict.fromkeys(called))
    return by_folder


def _listing(folder: Path) -> list[str]:
    with contextlib.suppress(OSError):
        return sorted(os.listdir(folder))  # noqa: PTH208
    return []


def _stamp(path: Path) -> object:
    """Size and time of change."""
    with contextlib.suppress(OSError):
        status = path.stat()
        return [path.name, status.st_size, status.st_mtime_ns]
    return [path.name]
