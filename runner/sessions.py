"""Which recordings make one session, so that one NWB file holds them; and which files of metadata hold for it.

Recordings of one session lie in one folder, and their names tell: those that share a stem (a movie and its GPIO), and
those whose names add to it what Inscopix's software or a recipe adds to a product's (`mouse-PP-BP-MC-PCA-ICA.isxd`).
The one with the shortest name leads, and its results hold the file.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from native import loading
from recording.copies import Copies
from recording.job import Session
from recording.names import join
from runner import precheck
from runner.discover import Recording
from runner.endings import NO_OUTPUT, USAGE, Unwritable, UsageError

# Suffixes that steps of recipes add, numbered if repeated, and that acquisition gives to a movie's companions.
ADDED = re.compile(
    r"([-_](PP|BP|MC|DFF|TPC|INT|NAM|LR_movie|PCA-ICA|CNMFE|ED|SPK|DEN|AR|AC|ROI|BIN|CROP|TF|LR|MPR|VD|RBCV"
    r"|green|red|efocus_\d+|cell_map|\w+_image|gpio|imu|GPIO|IMU)(-\d+)?)+",
    re.ASCII,
)
FILES = ("nwb.yml", "nwb.yaml", "nwb.toml")  # the check answers YAML with a sentence
CHECK = (sys.executable, "-m", "pipeline.nwb", "--check")
CHECK_SECONDS = 300
MAX_METADATA = 1 << 20  # bytes


class BadMetadata(UsageError):
    """Files of NWB metadata hold mistakes; the message has a line for each."""

    what = "metadata"


@dataclass(frozen=True)
class Members:
    """The rest of an NWB file's contents, besides the recordings that a worker handles."""

    companions: tuple[Recording, ...]
    metadata: tuple[Path, ...]  # later ones override earlier ones

    copies: Path | None = None  # of these

    def for_job(self, root: Path) -> Session:
        paths = tuple((root / one.relative).absolute() for one in self.companions)
        return Session(paths, self.metadata, self.copies)


@dataclass
class Sessions:
    """The sessions among the recordings of a run."""

    root: Path
    copies: Path | None = None  # of the metadata
    leaders: dict[str, str] = field(default_factory=dict)  # by relative path: who leads its session
    members: dict[str, list[Recording]] = field(default_factory=dict)  # by leader, which is the first
    _listings: dict[str, frozenset[str]] = field(default_factory=dict)

    def leads(self, recording: Recording) -> bool:
        return self.leaders[recording.relative] == recording.relative

    def of(self, parts: Sequence[Recording], handled: Sequence[Recording]) -> Members:
        """Of the sessions that these parts lead, all but the recordings that are handled anyway."""
        everyone = [member for part in parts for member in self.members.get(part.relative, ())]
        others = tuple(member for member in everyone if member not in handled)
        return Members(others, tuple(self.metadata(parts[0])), self.copies)

    def metadata(self, recording: Recording) -> list[Path]:
        """nwb.toml of the input folder, of each folder on the way to the recording, and `<stem>.nwb.toml` beside it."""
        folders = recording.folder.split("/") if recording.folder else []
        found = []
        for depth in range(len(folders) + 1):
            folder = "/".join(folders[:depth])
            found += [self.root / join(folder, name) for name in FILES if name in self._listing(folder)]
        own = [f"{recording.stem}.{name}" for name in FILES]
        found += [self.root / join(recording.folder, name) for name in own if name in self._listing(recording.folder)]
        return [path.absolute() for path in found]

    def _listing(self, folder: str) -> frozenset[str]:
        if folder not in self._listings:
            names = (path.name for path in (self.root / folder).iterdir())
            self._listings[folder] = frozenset(name for name in names if name.endswith(FILES))
        return self._listings[folder]


def find(recordings: Iterable[Recording], root: Path, copies: Path | None = None) -> Sessions:
    found = Sessions(root, copies)
    by_stem: dict[tuple[str, str], list[Recording]] = {}
    for recording in recordings:
        by_stem.setdefault((recording.folder, recording.stem), []).append(recording)
    for recording in sorted((one for same in by_stem.values() for one in same), key=_rank):
        places = ((recording.folder, stem) for stem in _stems(recording.stem))
        first = min(next(by_stem[place] for place in places if place in by_stem), key=_rank).relative
        found.leaders[recording.relative] = first
        found.members.setdefault(first, []).append(recording)
    return found


def _rank(recording: Recording) -> tuple[object, ...]:
    """`.isxd` first, as only such a file is a movie."""
    return recording.folder, recording.stem, recording.suffix != ".isxd", recording.relative


def _stems(stem: str) -> list[str]:
    """The stems that this one may derive from, the shortest first, and itself."""
    cuts = [match.start() for match in re.finditer("[-_]", stem) if match.start()]
    return [*(stem[:cut] for cut in cuts if ADDED.fullmatch(stem, cut)), stem]


def facts(members: Members) -> list[object]:
    """The properties that decide the file: names, sizes and times of recordings, contents of metadata."""
    stamps = [[one.relative, one.size, one.mtime_ns] for one in members.companions]
    read = Copies(members.copies).read
    return [stamps, [[path.name, hashlib.sha256(read(path)).hexdigest()] for path in members.metadata]]


def check(files: Sequence[Path], copies: Path, tick: Callable[[], None]) -> None:
    """Before any data is touched, and copy them; PID 1 does not know TOML.

    Raises BadMetadata with every mistake, Unwritable.
    """
    if not files:
        return
    odd = [str(path) for path in files if not path.is_file() or path.stat().st_size > MAX_METADATA]
    if odd:  # nobody must wait for a FIFO
        raise BadMetadata("\n".join(f"{path}:1: is no file of at most {MAX_METADATA >> 20} MB" for path in odd))
    try:
        command = (*CHECK, "--copies", str(copies), *map(str, files))
        checker = loading.ask(command, CHECK_SECONDS, tick, precheck.memory())
    except subprocess.TimeoutExpired:
        raise BadMetadata(_unchecked(files, f"the check did not end within {CHECK_SECONDS} s")) from None
    if checker.returncode == USAGE:
        raise BadMetadata(checker.stderr.strip())
    if checker.returncode == NO_OUTPUT:
        raise Unwritable(checker.stderr.strip())
    if checker.returncode:
        raise BadMetadata(_unchecked(files, f"the check ended early: {loading.ending(checker.returncode)}"))


def _unchecked(files: Sequence[Path], why: str) -> str:
    return "\n".join(f"{path}:1: is not checked: {why}" for path in files)
