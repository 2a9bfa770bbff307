"""The cells of all days on one map, and what takes each day to it.

Each session is aligned to the map of the others, never to the day before it, whose error it would inherit; the map
lies in the field of the session to which most others fit best. A map of many days has nearly every cell, so that days
with few cells in common still fit.

Whether a session belongs on the map at all is told by its mirror images. They have the same number of cells, as
densely, and are of no field of the animal; they are aligned by the same search, and what they fit is chance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial import cKDTree

from following.alignment import Aligned, Landmarks, Picture, align, mutual_pairs, roughly, seen_through
from following.sessions import Session
from following.transforms import FEWEST, STIFFNESS, Frame, Transform, fit

CANDIDATES = 4  # sessions that may become the reference
ROUNDS = 10  # at most, of aligning each session to the map of the others; with more than a few sessions, 2
SETTLED = 0.01  # part by which a round must improve the fit, or it is the last
FEW = 12
REACH = 0.5  # diameters within which a cell is put on one of the map
LEAST_WEIGHT = 0.2  # of a cell of the map that few sessions have
GRID, EXACT = 12, 0.01  # places along a side at which transforms are joined; px that count as nothing
LIMP = (STIFFNESS[0] / 1000,)
LEAST_EXCESS = 2.5  # how much better than its mirror images a session must fit
LEAST_SHARE = 0.25  # of what others gain over their mirror images, in cells or in images


@dataclass(frozen=True)
class Chance:
    """How well a session fits, and how well its mirror images do, in cells."""

    score: float
    mirrored: tuple[float, ...]
    possible: float
    by_cells: float = 0.0  # nats over the mean of the mirror images, for each cell that may be found
    by_images: float = 0.0  # nats over the mean of the mirror images

    @property
    def excess(self) -> float:
        """0: no better than its mirror images. Scores by chance vary about as the root of their mean."""
        by_chance = float(np.mean(self.mirrored))
        return (self.score - by_chance) / np.sqrt(by_chance + 5)

    @property
    def belongs(self) -> bool:
        return self.excess >= LEAST_EXCESS


@dataclass(frozen=True)
class Atlas:
    """`transforms` take each session to the map, `to_reference` to the session in whose field the map lies.

    A session that is not `on` the map is left by itself.
    """

    reference: int
    transforms: tuple[Transform, ...]
    to_reference: tuple[Transform, ...]
    on: tuple[bool, ...]
    chances: tuple[Chance | None, ...]  # None of the reference, and of a session without cells
    diameter: float  # of cells, px of the reference
    labels: tuple[np.ndarray, ...]  # of each usable cell: its place on the map, a first guess of who is who


def chart(sessions: Sequence[Session]) -> Atlas:
    """Align all sessions. At least one must have cells."""
    return _Chart(sessions).done()


class _Chart:
    def __init__(self, sessions: Sequence[Session]) -> None:
        self.sessions = sessions
        self.n_cells = np.array([len(each.usable) for each in sessions])
        largest = np.argsort(-self.n_cells, kind="stable")
        unit = sessions[largest[0]].pixel
        candidates = [int(each) for each in largest if self.n_cells[each] and sessions[each].pixel == unit]
        self.candidates = candidates[: CANDIDATES if len(sessions) > 2 else 1]
        self.scales = [each.pixel / unit for each in sessions]
        self.diameter = float(np.nanmedian([each.diameter * k for each, k in zip(sessions, self.scales)]))
        self.landmarks = [_landmarks(each, k, self.diameter) for each, k in zip(sessions, self.scales)]
        self.frames = [
            Frame(each.shape[1] * scale, each.shape[0] * scale) for each, scale in zip(sessions, self.scales)
        ]
        self.aligned = [Aligned(Transform(each), 0.0, self.diameter) for each in self.frames]
        self.labels: list[np.ndarray | None] = [None] * len(sessions)
        self.chances: list[Chance | None] = [None] * len(sessions)
        self.seen: dict[int, tuple[np.ndarray, np.ndarray]] = {}  # mean images on the map, and where they are known

    def done(self) -> Atlas:
        self.reference = self._choose_reference()
        self._place(self.reference, self.aligned[self.reference])
        self._grow()
        few = len(self.sessions) <= FEW
        self._settle(search=few)
        self._leave_out()
        fit = self._fit()
        for _ in range(ROUNDS - 1 if few else 1):
            self._settle()
            before, fit = fit, self._fit()
            if fit <= (1 + SETTLED) * before:
                break
        on = tuple(each is not None for each in self.labels)
        labels = tuple(np.zeros(0, int) if each is None else each for each in self.labels)
        transforms = tuple(replace(each.transform, scale=scale) for each, scale in zip(self.aligned, self.scales))
        return Atlas(self.reference, transforms, self._to_reference(), on, tuple(self.chances), self.diameter, labels)

    def _to_reference(self) -> tuple[Transform, ...]:
        """Transforms from each day to the map, on which most days agree, and on to the reference, which is one day."""
        last = self.aligned[self.reference].transform
        found = []
        for s, (each, scale, mine) in enumerate(zip(self.aligned, self.scales, self.frames)):
            x, y = (np.linspace(0, side, GRID) for side in (mine.width, mine.height))
            here = np.array([(a, b) for b in y for a in x])
            there = last.inverse(each.transform(here))
            models = (fit(mine, here, there, np.ones(len(here)), model, LIMP).transform for model in FEWEST)
            joined = next(t for t in models if t.model == "warp" or np.abs(t(here) - there).max() < EXACT)
            found.append(replace(Transform(mine) if s == self.reference else joined, scale=scale))
        return tuple(found)

    # ---- the reference

    def _choose_reference(self) -> int:
        """That to which the others fit best."""
        self.to_candidates: dict[tuple[int, int], Aligned] = {}
        totals = []
        for candidate in self.candidates:
            target = self.landmarks[candidate]
            others = [s for s in range(len(self.sessions)) if s != candidate]
            found = [roughly(self.landmarks[s], target, self.frames[s], self.diameter) for s in others]
            self.to_candidates.update({(s, candidate): each for s, each in zip(others, found)})
            totals.append(sum(max(each.score, 0) for each in found))
        return self.candidates[int(np.argmax(totals))]

    def _align(
        self, s: int, atlas: Landmarks, known: Sequence[Aligned] = (), search: bool = True, mirror: int | None = None
    ) -> Aligned:
        mine = self.landmarks[s]
        if mirror is not None:
            mine = _mirrored(mine, self.frames[s], mirror)
        return align(mine, atlas, self.frames[s], self.diameter, known, search, len(self.sessions) <= FEW)

    # ---- the map

    def _others(self, s: int | None) -> Landmarks:
        """The map without session s."""
        on = [each for each in range(len(self.sessions)) if each != s and self.labels[each] is not None]
        labels = np.concatenate([self.labels[each] for each in on])
        points = np.vstack([self.aligned[each].transform(self.landmarks[each].points) for each in on])
        known, labels = np.unique(labels, return_inverse=True)
        count = np.bincount(labels)
        means = np.column_stack([np.bincount(labels, points[:, k]) / count for k in (0, 1)])
        self._known = known
        weights = np.maximum(count / len(on), LEAST_WEIGHT)
        return Landmarks(means, weights, self._mean_picture(s))

    def _mean_picture(self, s: int | None) -> Picture | None:
        """Mean picture of all mapped sessions but s, in the reference's field. A day's own texture averages out."""
        reference = self.landmarks[self.reference].picture
        seen = [each for q, each in self.seen.items() if q != s]
        if reference is None or not seen:
            return None
        total, count = (np.sum(parts, axis=0) for parts in zip(*seen))
        return Picture(total / np.maximum(count, 1), reference.step)

    def _see(self, s: int) -> None:
        mine, reference = self.landmarks[s].picture, self.landmarks[self.reference].picture
        if mine is not None and reference is not None and mine.step == reference.step:
            self.seen[s] = seen_through(self.aligned[s].transform, mine, reference)

    def _place(self, s: int, aligned: Aligned) -> None:
        """Put a session on the map: each cell on one that is there, or as a new one."""
        self.aligned[s] = aligned
        points = aligned.transform(self.landmarks[s].points)
        labels = self._next_label() + np.arange(len(points))
        self.labels[s] = None
        if any(each is not None for each in self.labels):
            others = self._others(s)
            mine, theirs, _ = mutual_pairs(points, others.points, cKDTree(others.points), REACH * self.diameter)
            labels[mine] = self._known[theirs]
        self.labels[s] = labels
        self._see(s)

    def _next_label(self) -> int:
        return 1 + max((int(each.max()) for each in self.labels if each is not None and len(each)), default=-1)

    def _grow(self) -> None:
        """Best first; what does not fit yet may fit a map with more cells."""
        waiting = [s for s in range(len(self.sessions)) if s != self.reference and self.n_cells[s]]
        waiting.sort(key=lambda s: -self.to_candidates[s, self.reference].score / self.n_cells[s])
        while waiting:
            left = []
            for s in waiting:
                others = self._others(s)
                found = self._align(s, others, [self.to_candidates[s, self.reference]])
                self.chances[s] = self._chance(s, others, found)
                if self.chances[s].belongs:
                    self._place(s, found)
                else:
                    left.append(s)
            if len(left) == len(waiting):
                break
            waiting = left

    def _chance(self, s: int, others: Landmarks, found: Aligned) -> Chance:
        mirrored = [self._align(s, others, mirror=each) for each in range(3 if len(self.sessions) <= FEW else 1)]
        possible = float(np.sort(others.weights)[::-1][: self.n_cells[s]].sum())
        by_images = found.images - np.mean([each.images for each in mirrored])
        by_cells = found.score - np.mean([each.score for each in mirrored]) - by_images
        scores = tuple(each.score for each in mirrored)
        return Chance(found.score, scores, possible, float(by_cells) / possible, float(by_images))

    def _leave_out(self) -> None:
        """Sessions that fit much worse than the others do, by their cells and by their images.

        Chance alone makes a long vessel fit another one. Those in doubt are compared with the whole map first.
        """
        for s in self._worse_than_others():
            others = self._others(s)
            self.chances[s] = self._chance(s, others, self._align(s, others, [self.aligned[s]], search=False))
        for s in self._worse_than_others():
            self.labels[s] = None
            self.seen.pop(s, None)

    def _worse_than_others(self) -> list[int]:
        on = [s for s, labels in enumerate(self.labels) if labels is not None and self.chances[s]]
        gains = np.array([(self.chances[s].by_cells, self.chances[s].by_images) for s in on]).reshape(-1, 2)
        return [
            s
            for k, s in enumerate(on)
            if len(on) > 1 and (gains[k] < LEAST_SHARE * np.median(np.delete(gains, k, axis=0), axis=0)).all()
        ]

    def _fit(self) -> float:
        return sum(each.score for each, labels in zip(self.aligned, self.labels) if labels is not None)

    def _settle(self, search: bool = False) -> None:
        for s in range(len(self.sessions)):
            if self.labels[s] is None or sum(each is not None for each in self.labels) < 2:
                continue
            found = self._align(s, self._others(s), [self.aligned[s]], search)
            self._place(s, found)


MIRRORS = (np.array([-1, 1]), np.array([1, -1]), np.array([-1, -1]))  # the last is half a turn, beyond any search


def _mirrored(landmarks: Landmarks, frame: Frame, which: int) -> Landmarks:
    signs = MIRRORS[which]
    points = frame.centre + signs * (landmarks.points - frame.centre)
    return Landmarks(points, landmarks.weights, landmarks.picture and landmarks.picture.flipped(signs))


def _landmarks(session: Session, scale: float, diameter: float) -> Landmarks:
    points = session.centres[session.usable] * scale
    comparable = session.image is not None and scale == 1
    picture = Picture.of(session.image, diameter) if comparable and min(session.image.shape) > 1 else None
    return Landmarks(points, np.ones(len(points)), picture)
