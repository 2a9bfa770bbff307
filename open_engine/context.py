"""What a computation gets besides its files."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path


def _new_folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="isx-"))


@dataclass
class StepContext:
    """Where to compute, with how much, and whom to tell. The defaults are those of a notebook."""

    scratch: Path = field(default_factory=_new_folder)  # a folder for temporary files
    threads: int = 1  # how many cores may be used
    warn: Callable[[str], None] = warnings.warn  # takes a sentence for the report
    progress: Callable[[float], None] = lambda fraction: None  # takes the fraction done, 0 to 1
    beside: Path = field(default_factory=Path.cwd)  # the folder of the recordings, for tables that belong to them
    begins_s: Mapping[str, float] = field(default_factory=dict)  # of input files, by path, on the session's clock
    session: str = ""  # its name, which tables that belong to it alone begin with

    def table(self, name: str) -> Path:
        return table_beside(self.beside, self.session, name)


def table_beside(folder: Path, session: str, name: str) -> Path:
    """`<session>.<name>` if it is there, else the table that the sessions in the folder share."""
    own = folder / f"{session}.{name}"
    return own if own.is_file() else folder / name
