"""Files of NWB metadata: which hold for a session, and whether they can be used."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from native import loading
from protocol.copies import Copies
from recording.names import join
from runner.endings import NO_OUTPUT, USAGE, Unwritable, UsageError
from runner.input import precheck

FILES = ("nwb.yml", "nwb.yaml", "nwb.toml")  # the check answers YAML with a sentence
CHECK = (sys.executable, "-m", "pipeline.nwb", "--check")
CHECK_SECONDS = 300
MAX_METADATA = 1 << 20  # bytes


class BadMetadata(UsageError):
    """Files of NWB metadata hold mistakes; the message has a line for each."""

    what = "metadata"


@dataclass
class MetadataFiles:
    """Those beside the recordings of a run."""

    root: Path
    copies: Path | None = None  # of them, as they were when the run began
    _listings: dict[str, frozenset[str]] = field(default_factory=dict)

    def of(self, folder: str, names: Iterable[str]) -> list[Path]:
        """nwb.toml of the input folder, of each folder on the way to the recordings, and `<name>.nwb.toml` beside them.

        Later ones override earlier ones.
        """
        folders = folder.split("/") if folder else []
        files = []
        for depth in range(len(folders) + 1):
            place = "/".join(folders[:depth])
            files += [self.root / join(place, name) for name in FILES if name in self._listing(place)]
        for own in dict.fromkeys(names):
            files += [
                self.root / join(folder, f"{own}.{name}") for name in FILES if f"{own}.{name}" in self._listing(folder)
            ]
        return [path.absolute() for path in files]

    def _listing(self, folder: str) -> frozenset[str]:
        if folder not in self._listings:
            names = (path.name for path in (self.root / folder).iterdir())
            self._listings[folder] = frozenset(name for name in names if name.endswith(FILES))
        return self._listings[folder]


def facts(metadata: Sequence[Path], copies: Path | None) -> list[object]:
    """What of them decides an NWB file: their names and contents."""
    read = Copies(copies).read
    return [[path.name, hashlib.sha256(read(path)).hexdigest()] for path in metadata]


def check(files: Sequence[Path], copies: Path, tick: Callable[[], None]) -> None:
    """Check the files before any data is touched, and copy them, in a process of its own: PID 1 does not read TOML.

    Raises BadMetadata with every mistake, Unwritable.
    """
    if not files:
        return
    odd = [str(path) for path in files if not path.is_file() or path.stat().st_size > MAX_METADATA]
    if odd:  # nobody must wait for a FIFO
        raise BadMetadata("\n".join(f"{path}:1: is not a file of at most {MAX_METADATA >> 20} MB" for path in odd))
    try:
        command = (*CHECK, "--copies", str(copies), *map(str, files))
        checker = loading.ask(command, CHECK_SECONDS, tick, precheck.memory())
    except subprocess.TimeoutExpired:
        raise BadMetadata(_unchecked(files, f"the check did not finish within {CHECK_SECONDS} s")) from None
    if checker.returncode == USAGE:
        raise BadMetadata(checker.stderr.strip())
    if checker.returncode == NO_OUTPUT:
        raise Unwritable(checker.stderr.strip())
    if checker.returncode:
        raise BadMetadata(_unchecked(files, f"the check ended early: {loading.ending(checker.returncode)}"))


def _unchecked(files: Sequence[Path], why: str) -> str:
    return "\n".join(f"{path}:1: cannot be checked: {why}" for path in files)
