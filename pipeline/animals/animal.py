"""An animal whose cells were followed: its days, and what was found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from following import Following
from pipeline.animals.read import Cells


@dataclass(frozen=True)
class Day:
    """A session in the order of time, with what became of it."""

    cells: Cells
    start: str
    note: str  # "" if it was followed


@dataclass(frozen=True)
class Animal:
    name: str
    days: Sequence[Day]
    following: Following
    left: Sequence[tuple[str, str]]  # sessions that could not be read, and why

    @property
    def numbers(self) -> np.ndarray:
        """Groups that are followed, those on most days first; cells of days that were left by themselves are not."""
        used = [s for s in range(len(self.days)) if s not in self.following.flags]
        count = self.following.presence[:, used].sum(axis=1)
        order = np.lexsort((np.arange(len(count)), -count))
        return order[count[order] > 0]
