"""The way from sessions to a `Following`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from following.atlas import Atlas, Chance, chart
from following.matching import Matched, match
from following.result import Following, Pair
from following.sessions import Session
from following.transforms import FEWEST, Frame, Transform, best_fit

LEAST = 0.05  # probability of the pairs that are reported
NO_CELLS = "it has no cells"
TOO_FEW = "too few of its cells could be on other days to tell whether it is of the same animal and field"
DOES_NOT_FIT = "its cells fit the other sessions no better than their mirror images: another animal, or another field"
FITS_WORSE = "its cells and image fit far worse than those of the other sessions: another animal, or another field"
ENOUGH = 5.0  # cells that other days should have


def follow(sessions: Sequence[Session]) -> Following:
    """Which cells of these sessions are the same, in one order or any other. Raises ValueError for fewer than two."""
    if len(sessions) < 2:
        raise ValueError("following needs two sessions or more")
    if not any(len(session.usable) for session in sessions):
        return _nothing(sessions)
    atlas = chart(sessions)
    matched = match(sessions, atlas)
    order = _Numbers(matched.groups)
    flags = {s: _why(one, atlas.chances[s]) for s, one in enumerate(sessions) if not atlas.on[s]}
    return Following(
        groups=order.groups,
        sure=tuple(np.where(groups < 0, np.nan, sure) for groups, sure in zip(matched.groups, matched.sure)),
        transforms=atlas.to_reference,
        reference=atlas.reference,
        flags=flags,
        pairs=tuple(_pairs(matched)),
        excess=tuple(chance.excess if chance else np.nan for chance in atlas.chances),
        residual=tuple(_residuals(sessions, atlas, matched)),
        diameter=atlas.diameter,
    )


def _why(session: Session, chance: Chance | None) -> str:
    if not len(session.usable) or chance is None:
        return NO_CELLS
    if chance.possible < ENOUGH:
        return TOO_FEW
    return FITS_WORSE if chance.belongs else DOES_NOT_FIT


class _Numbers:
    """Groups in the order in which the input has them, so that a later session does not change numbers."""

    def __init__(self, groups: Sequence[np.ndarray]) -> None:
        numbers: dict[object, int] = {}
        self.groups = tuple(
            np.array(
                [
                    numbers.setdefault((s, i) if label < 0 else int(label), len(numbers))
                    for i, label in enumerate(labels.tolist())
                ],
                int,
            )
            for s, labels in enumerate(groups)
        )


def _pairs(matched: Matched) -> list[Pair]:
    """A pair is of one cell if both belong to a group; if it is all of the group, that is one question, not two."""
    members: dict[int, list[tuple[int, int, float, bool]]] = defaultdict(list)
    for s, (groups, sure) in enumerate(zip(matched.groups, matched.sure)):
        for i in np.flatnonzero(groups >= 0):
            members[int(groups[i])].append((s, int(i), float(sure[i]), True))
    sizes = {group: len(those) for group, those in members.items()}
    for member in matched.others:
        members[member.group].append((member.session, member.cell, member.probability, False))
    best: dict[tuple[int, int, int, int], tuple[float, bool]] = {}
    for group, these in members.items():
        size = sizes.get(group, 0)
        for k, (s, i, p, own) in enumerate(these):
            for q, j, r, theirs in these[k + 1 :]:
                if s == q:
                    continue
                if own and theirs:
                    probability = min(p, r) if size == 2 else p * r
                else:
                    probability = (p if own and size > 1 else 1.0) * (r if theirs and size > 1 else 1.0)
                    probability *= (1.0 if own else p) * (1.0 if theirs else r)
                key = (s, i, q, j) if s < q else (q, j, s, i)
                before, kept = best.get(key, (0.0, False))
                best[key] = min(before + probability, 1.0), kept or (own and theirs)
    return [Pair(*key, probability, kept) for key, (probability, kept) in best.items() if probability >= LEAST or kept]


def _residuals(sessions: Sequence[Session], atlas: Atlas, matched: Matched) -> list[float]:
    """Distance of each session's cells from the mean place that the other sessions give them, px of the reference.

    Each is predicted from the session's other cells: a warp passes close to those that it was fitted to.
    """
    places = [
        atlas.transforms[s](session.centres) if atlas.on[s] else np.zeros((len(session.names), 2))
        for s, session in enumerate(sessions)
    ]
    known = [groups >= 0 for groups in matched.groups]
    labels = np.concatenate([groups[use] for groups, use in zip(matched.groups, known)])
    points = np.vstack([of_session[use] for of_session, use in zip(places, known)])
    size = labels.max(initial=-1) + 1
    count = np.bincount(labels, minlength=size)
    total = np.column_stack([np.bincount(labels, points[:, k], size) for k in (0, 1)])
    out = []
    for s, (groups, place, use) in enumerate(zip(matched.groups, places, known)):
        with_others = np.flatnonzero(use)[count[groups[use]] > 1]
        label = groups[with_others]
        targets = (total[label] - place[with_others]) / (count[label] - 1)[:, None]
        centres = sessions[s].centres[with_others]
        out.append(float(np.median(_misses(atlas.transforms[s], centres, targets))) if len(label) else np.nan)
    return out


def _misses(moved: Transform, points: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Distances of points from their targets, if each is predicted from the others by this kind of transform."""
    if moved.model not in FEWEST:
        return np.hypot(*(moved(points) - targets).T)
    return best_fit(moved.frame, points * moved.scale, targets, np.ones(len(points)), moved.model).predicted


def _nothing(sessions: Sequence[Session]) -> Following:
    nan = (np.nan,) * len(sessions)
    return Following(
        groups=_Numbers([np.full(len(session.names), -1) for session in sessions]).groups,
        sure=tuple(np.full(len(session.names), np.nan) for session in sessions),
        transforms=tuple(Transform(Frame(session.shape[1], session.shape[0])) for session in sessions),
        reference=0,
        flags=dict.fromkeys(range(len(sessions)), NO_CELLS),
        pairs=(),
        excess=nan,
        residual=nan,
        diameter=np.nan,
    )
