"""What an engine's steps are given, and how they refuse."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


class Unusable(Exception):
    """No results can be had; the message is one sentence that names the cause and the way out."""


@dataclass(frozen=True)
class StepContext:
    """What a step is given besides its files."""

    scratch: Path  # a folder for temporary files, emptied afterwards
    threads: int  # how many cores it may use
    warn: Callable[[str], None]  # takes a sentence for the report
    progress: Callable[[float], None]  # takes the fraction done, 0 to 1
