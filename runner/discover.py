"""Which recordings there are, and what their results are called."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path, PurePosixPath

from recording.formats import SUFFIXES
from recording.names import join, short

LOGS = "logs"
SERIES = "-series"  # added to the name of the first part, for the results of a series
RESERVED = frozenset({"index.html", "summary.csv", "dataset_description.json"})
TICK_EVERY = 1000  # entries


@dataclass(frozen=True)
class Recording:
    """A file that looks like a recording, as the file system shows it."""

    relative: str  # to the input folder, with /
    size: int = 0  # bytes
    mtime_ns: int = 0
    problem: str = ""  # why it cannot even be looked at
    name: str = ""  # of its results, unique in their folder

    @property
    def folder(self) -> str:
        """The folder that it lies in, relative to the input folder; "" at the top."""
        return self.relative.rpartition("/")[0]

    @property
    def stem(self) -> str:
        return PurePosixPath(self.relative).stem

    @property
    def suffix(self) -> str:
        return PurePosixPath(self.relative).suffix.lower()

    @property
    def results(self) -> str:
        """Where its results go, relative to the output folder."""
        return join(self.folder, self.name)

    @property
    def log(self) -> str:
        """Its worker's log, relative to the output folder."""
        return join(join(LOGS, self.folder), short(self.relative.rpartition("/")[2]) + ".log")


@dataclass
class Discovery:
    """What lies in the input folder."""

    recordings: list[Recording] = field(default_factory=list)  # in order of their paths
    unreadable: list[tuple[str, str]] = field(default_factory=list)  # folders, and why
    others: Counter[str] = field(default_factory=Counter)  # how many files of other types, by suffix


def discover(
    root: Path,
    output: Path | None = None,
    taken: frozenset[str] = RESERVED,
    tick: Callable[[], None] = lambda: None,
) -> Discovery:
    """Walk the input folder once, without recursion: one listing a folder, one stat a recording.

    Hidden files and folders are skipped, macOS's `._` files among them, and so is an output folder inside the input.
    A folder is entered once, whatever links lead there: real folders first, so that a link never takes their place.
    """
    found = Discovery()
    seen: set[tuple[int, int]] = set()
    if output is not None and output.exists():
        seen.add(_identity(output.stat()))
    links: list[str] = []
    _walk(root, [""], seen, links, found, tick)
    while links:
        pending, links = sorted(links), []
        for link in pending:
            _walk(root, [link], seen, links, found, tick)
    found.recordings.sort(key=lambda recording: recording.relative)
    found.unreadable.sort()
    found.recordings = name_results(found.recordings, taken)
    return found


def name_results(recordings: Sequence[Recording], taken: frozenset[str] = RESERVED) -> list[Recording]:
    """Give the results of each recording a name that nothing else in their folder has, whatever the letters' case.

    The name is the file's stem. If a folder holds several recordings of one stem, `.isxd` keeps it and the others
    are called by their whole file name: `a.isxd` gives `a`, `a.gpio` then gives `a.gpio`. So are those whose stem is
    the name of a report, or of a series that another recording may begin (`b-series` beside `b`). A name of more than
    MAX_NAME bytes is cut and gets a hash of the whole.
    """
    used = {("", name.casefold()) for name in taken}
    used |= {(one.folder, f"{name}{SERIES}".casefold()) for one in recordings for name in _first_names(one)}
    names: dict[str, str] = {}
    for recording in sorted(recordings, key=lambda one: (one.folder, one.suffix != ".isxd", one.relative)):
        folder = recording.folder
        name = next(name for name in _possible_names(recording) if (folder, name.casefold()) not in used)
        used.add((folder, name.casefold()))
        names[recording.relative] = name
    files = frozenset(name.casefold() for name in taken - {LOGS})
    return [
        replace(recording, name=names[recording.relative], problem=recording.problem or _clash(recording, files))
        for recording in recordings
    ]


def _clash(recording: Recording, files: frozenset[str]) -> str:
    """Whether its results would go into a folder where the run puts one of its files."""
    top, _, rest = recording.relative.partition("/")
    if rest and top.casefold() in files:
        return f"its folder has the name of the run's own {top}: rename the folder"
    return ""


def _walk(
    root: Path,
    pending: list[str],
    seen: set[tuple[int, int]],
    links: list[str],
    found: Discovery,
    tick: Callable[[], None],
) -> None:
    while pending:
        folder = pending.pop()
        tick()
        path = f"{root}/{folder}"
        try:
            identity = _identity(os.stat(path))  # noqa: PTH116 - a Path each for a million entries is slow
            if identity in seen:
                continue
            seen.add(identity)
            with os.scandir(path) as entries:
                for number, entry in enumerate(entries, 1):
                    if number % TICK_EVERY == 0:
                        tick()
                    _look_at(entry, join(folder, entry.name), pending, links, found)
        except OSError as error:
            found.unreadable.append((folder or ".", f"the folder cannot be listed: {error.strerror}"))


def _look_at(entry: os.DirEntry[str], relative: str, pending: list[str], links: list[str], found: Discovery) -> None:
    if entry.name.startswith("."):
        return
    is_recording = entry.name.lower().endswith(SUFFIXES)
    try:
        if entry.is_dir():
            (links if entry.is_symlink() else pending).append(relative)
        elif not is_recording:
            found.others[os.path.splitext(entry.name)[1].lower()] += 1  # noqa: PTH122
        else:
            status = entry.stat()
            size = status.st_size if stat.S_ISREG(status.st_mode) else 0
            found.recordings.append(Recording(relative, size, status.st_mtime_ns))
    except OSError as error:
        if is_recording:
            reason = f"cannot be looked at: {error.strerror}"
            if entry.is_symlink():
                reason = f"a symbolic link that leads nowhere ({error.strerror}): what it points to must be mounted too"
            found.recordings.append(Recording(relative, problem=reason))


def _identity(status: os.stat_result) -> tuple[int, int]:
    return (status.st_dev, status.st_ino)


def _possible_names(recording: Recording) -> Iterator[str]:
    names = _first_names(recording)
    yield from names
    for number in count(2):
        yield f"{names[1]}-{number}"


def _first_names(recording: Recording) -> tuple[str, str]:
    return short(recording.stem), short(recording.relative.rpartition("/")[2])
