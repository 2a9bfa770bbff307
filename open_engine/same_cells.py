"""Who is who over sessions that lie in one field, as the step longitudinal_registration matches them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from open_engine.alignment import cut_footprints
from open_engine.overlap import best_pairs, cross_correlations


@dataclass(frozen=True)
class Match:
    """A cell of a session as one of the cells known over all sessions."""

    known: int
    session: int
    cell: int
    correlation: float  # with the footprint that it matched; 1 where it is the first


def match_cells(footprints: Sequence[np.ndarray], cells: Sequence[Sequence[int]], least: float) -> list[Match]:
    """Who is who, in the order of known cells, then sessions.

    `footprints` has those of one session each, in one field; `cells` their indices in the session.
    """
    known: list[list[np.ndarray]] = []  # the footprints so far of each known cell
    matches: list[Match] = []
    for session, images in enumerate(footprints):
        cut = cut_footprints(images)
        scores = _highest(known, cut)
        pairs = {j: (i, float(scores[i, j])) for i, j in best_pairs(scores, least)}
        for j, image in enumerate(cut):
            who, score = pairs.get(j, (len(known), 1.0))
            if who == len(known):
                known.append([])
            known[who].append(image)
            matches.append(Match(who, session, cells[session][j], score))
    return sorted(matches, key=lambda match: (match.known, match.session))


def _highest(known: list[list[np.ndarray]], images: np.ndarray) -> np.ndarray:
    """Highest correlation of each image with any footprint of each known cell, shape (known, images)."""
    if not known or not len(images):
        return np.zeros((len(known), len(images)))
    starts = np.cumsum([0, *map(len, known[:-1])])
    everything = np.stack([image for of_cell in known for image in of_cell])
    return np.maximum.reduceat(cross_correlations(everything, images), starts, axis=0)
