"""What comes out of following: who is who, how sure that is, and which sessions do not belong."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from following.transforms import Transform

DOUBTFUL = (0.05, 0.95)  # probabilities between which a pair is listed for somebody to look at


@dataclass(frozen=True)
class Pair:
    """Two cells of different sessions, given by their places in the input, and how likely they are one cell."""

    session: int
    cell: int
    other_session: int
    other_cell: int
    probability: float
    kept: bool  # whether they are in one group

    @property
    def doubtful(self) -> bool:
        return DOUBTFUL[0] <= self.probability < DOUBTFUL[1]


@dataclass(frozen=True)
class Following:
    """Sessions and cells are in the order of the input.

    A cell of a session that does not belong, or with an empty footprint, is alone in a group of its own.
    """

    groups: tuple[np.ndarray, ...]  # of each session (cells,): the animal's cell, from 0 without gaps
    sure: tuple[np.ndarray, ...]  # (cells,): the probability that each belongs there; NaN if it was not compared
    transforms: tuple[Transform, ...]  # of each session, to the reference
    reference: int  # a session
    flags: dict[int, str]  # sessions that were left by themselves, and why
    pairs: tuple[Pair, ...]  # of sessions that belong: all with a probability of at least 0.05
    excess: tuple[float, ...]  # how much better each session fits than its mirror images (>= 2.5); NaN: not compared
    residual: tuple[float, ...]  # of each session: median distance of its cells from where other days have them, px
    diameter: float  # median of the cells, px of the reference

    @property
    def n_groups(self) -> int:
        return 1 + max((int(groups.max()) for groups in self.groups if len(groups)), default=-1)

    @property
    def presence(self) -> np.ndarray:
        """(groups, sessions) bool."""
        there = np.zeros((self.n_groups, len(self.groups)), bool)
        for session, groups in enumerate(self.groups):
            there[groups, session] = True
        return there

    @property
    def misfit(self) -> float:
        """How well the days fit, in one number: median of `residual` in diameters; NaN if nothing was compared."""
        known = [px for px in self.residual if np.isfinite(px)]
        return float(np.median(known)) / self.diameter if known else np.nan

    @property
    def doubtful(self) -> list[Pair]:
        """The least sure first."""
        return sorted((pair for pair in self.pairs if pair.doubtful), key=lambda pair: abs(pair.probability - 0.5))
