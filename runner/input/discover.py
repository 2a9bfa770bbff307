"""Which recordings there are, and what their results are called."""

from __future__ import annotations

import errno
import os
import re
import stat
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path

from common.ownership import why_unread
from recording.kinds import SUFFIXES, why_left_out
from recording.names import STEPS, join, short
from runner.own import RESERVED, is_one_of
from runner.recordings import Recording

TICK_EVERY = 1000  # entries
# What operating and storage systems keep in a disk's or share's folders: deleted files, snapshots, thumbnails.
SYSTEM_FOLDERS = frozenset(
    {
        *("lost+found", "$recycle.bin", "recycler", "recycled", "system volume information", "found.000"),
        *("#recycle", "#snapshot", "@eadir", "@tmp"),  # Synology
        *("@recycle", "@recently-snapshot", ".@__thumb"),  # QNAP
        *(".snapshot", "~snapshot", ".snapshots", ".zfs", ".ckpt"),  # NetApp, Isilon, btrfs, ZFS, Celerra
        *("recycle bin", "trashbox", ".recycle", ".recycle.bin", "network trash folder", "temporary items"),
        *(".trashes", ".trash", ".spotlight-v100", ".fseventsd", ".documentrevisions-v100", ".temporaryitems"),
    }
)
_TRASH = re.compile(r"\.trash-\d+", re.ASCII)  # of a user, by uid
NOT_THERE = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}  # of a link that leads nowhere


@dataclass
class Discovery:
    """The contents of the input folder."""

    recordings: list[Recording] = field(default_factory=list)  # in order of their paths
    unreadable: list[tuple[str, str]] = field(default_factory=list)  # folders, and why
    others: Counter[str] = field(default_factory=Counter)  # how many files of other types, by suffix
    left_out: list[tuple[str, str]] = field(default_factory=list)  # recordings of a form that cannot be read, and why
    system: Counter[str] = field(default_factory=Counter)  # folders of operating and storage systems, by name


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
    discovery = Discovery()
    seen: set[tuple[int, int]] = set()
    if output is not None and output.exists():
        seen.add(_identity(output.stat()))
    links: list[str] = []
    _walk(root, [""], seen, links, discovery, tick)
    while links:
        pending, links = sorted(links), []
        for link in pending:
            _walk(root, [link], seen, links, discovery, tick)
    discovery.recordings.sort(key=lambda recording: recording.relative)
    discovery.unreadable.sort()
    discovery.left_out.sort()
    discovery.recordings = name_results(discovery.recordings, taken)
    return discovery


def name_results(recordings: Sequence[Recording], taken: frozenset[str] = RESERVED) -> list[Recording]:
    """Give the results of each recording a name that nothing else in their folder has, whatever the letters' case.

    The name is the file's stem. If a folder holds several recordings of one stem, `.isxd` keeps it and the others
    are called by their whole file name: `a.isxd` gives `a`, `a.gpio` then gives `a.gpio`. So are those whose stem is
    the name of a report, or of a folder that holds recordings which a product could hide (`c` beside `c/c.json.isxd`).
    A name of more than MAX_NAME bytes is cut and gets a hash of the whole. A folder at the top that has the name of a
    report gets `_` added.
    """
    names: dict[str, str] = {}
    places = {folder: _place(folder, taken) for folder in {recording.folder for recording in recordings}}
    used: set[tuple[str, str]] = set()
    for recording in sorted(recordings, key=_order):
        place = places[recording.folder]
        name = next(
            name
            for name in _possible_names(recording)
            if (_folded(place), _folded(name)) not in used and (place or not is_one_of(name, taken))
        )
        names[recording.relative] = name
        used.add((_folded(place), _folded(name)))
        used |= _in_the_way(join(place, name))
    return [
        replace(recording, name=names[recording.relative], place=places[recording.folder]) for recording in recordings
    ]


def _order(recording: Recording) -> tuple[object, ...]:
    """The deepest first, as their folders' names stand; `.isxd` first of one stem."""
    return -recording.relative.count("/"), recording.folder, recording.suffix != ".isxd", recording.relative


def _place(folder: str, taken: frozenset[str]) -> str:
    """Where a folder's results go: beside the run's own files, if it has the name of one of them."""
    top, slash, rest = folder.partition("/")
    return f"{top}_{slash}{rest}" if is_one_of(top.rstrip("_"), taken) else folder


def _in_the_way(results: str) -> set[tuple[str, str]]:
    """Folders of results in which a product could have the name of a folder on the way to these results.

    `a/a.json/` is such a one: the results of `a.isxd` must not go to `a/`, where they have a file of that name.
    """
    parts = results.split("/")
    ambiguous = set()
    for i, (outer, inner) in enumerate(zip(parts, parts[1:])):
        if inner == STEPS or inner.casefold().startswith((f"{outer}-".casefold(), f"{outer}.".casefold())):
            ambiguous.add((_folded("/".join(parts[:i])), _folded(outer)))
    return ambiguous


def _folded(name: str) -> str:
    """The same for names that some disks take for one: those that differ in case, or in how accents are composed."""
    return unicodedata.normalize("NFC", name).casefold()


def _walk(
    root: Path,
    pending: list[str],
    seen: set[tuple[int, int]],
    links: list[str],
    discovery: Discovery,
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
                    _look_at(entry, join(folder, entry.name), pending, links, discovery)
        except OSError as error:
            why = f"the folder cannot be listed: {why_unread(Path(path), error)}"
            discovery.unreadable.append((folder or ".", why))


def _look_at(
    entry: os.DirEntry[str], relative: str, pending: list[str], links: list[str], discovery: Discovery
) -> None:
    lower = entry.name.lower()
    is_system = lower in SYSTEM_FOLDERS or _TRASH.fullmatch(lower) is not None
    if lower.startswith(".") and not is_system:
        return
    is_recording = lower.endswith(SUFFIXES)
    try:
        if is_system and entry.is_dir():
            discovery.system[entry.name] += 1
        elif lower.startswith("."):
            return
        elif entry.is_dir():
            (links if entry.is_symlink() else pending).append(relative)
        elif reason := why_left_out(entry.name):
            discovery.left_out.append((relative, reason))
        elif not is_recording:
            discovery.others[os.path.splitext(entry.name)[1].lower()] += 1  # noqa: PTH122
        else:
            status = entry.stat()
            size = status.st_size if stat.S_ISREG(status.st_mode) else 0
            discovery.recordings.append(Recording(relative, size, status.st_mtime_ns))
    except OSError as error:
        if is_recording:
            reason = f"cannot be examined: {why_unread(Path(entry.path), error)}"
            if error.errno in NOT_THERE and entry.is_symlink():
                reason = f"a broken symbolic link ({error.strerror}): mount its target, too"
            discovery.recordings.append(Recording(relative, problem=reason))
        elif error.errno not in NOT_THERE:  # it may be a folder
            discovery.unreadable.append((relative, f"it cannot be examined: {why_unread(Path(entry.path), error)}"))


def _identity(status: os.stat_result) -> tuple[int, int]:
    return (status.st_dev, status.st_ino)


def _possible_names(recording: Recording) -> Iterator[str]:
    yield short(recording.stem)
    whole = short(recording.file)
    yield whole
    for number in count(2):
        yield f"{whole}-{number}"
