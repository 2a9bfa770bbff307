"""A recording of the input, as the file system shows it, and where what is made of it goes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath

from recording.names import join, set_apart, short
from runner.own import LOGS


@dataclass(frozen=True)
class Recording:
    """A file that looks like a recording, as the file system shows it."""

    relative: str  # to the input folder, with /
    size: int = 0  # bytes
    mtime_ns: int = 0
    problem: str = ""  # why it cannot even be looked at
    name: str = ""  # of its results, unique in their folder
    place: str = ""  # the folder of that folder, relative to the output; nearly always as in the input

    @property
    def folder(self) -> str:
        """The folder that it lies in, relative to the input folder; "" at the top."""
        return self.relative.rpartition("/")[0]

    @property
    def file(self) -> str:
        return self.relative.rpartition("/")[2]

    @property
    def stem(self) -> str:
        return PurePosixPath(self.relative).stem

    @property
    def suffix(self) -> str:
        return PurePosixPath(self.relative).suffix.lower()

    @property
    def results(self) -> str:
        """Where its results go, relative to the output folder."""
        return join(self.place, self.name)

    @property
    def log(self) -> str:
        """Its worker's log, relative to the output folder."""
        return self.noted_in(LOGS, ".log")

    def noted_in(self, top: str, ending: str) -> str:
        """A file about it in one of the run's own folders, relative to the output: `logs/day1/a.isxd.log`."""
        return join(top, join(set_apart(self.folder, ending), short(self.file) + ending))
