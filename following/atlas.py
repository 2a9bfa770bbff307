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
        self.n_cells = np.array([len(session.usable) for session in sessions])
        largest = np.argsort(-self.n_cells, kind="stable")
        unit = sessions[largest[0]].pixel
        candidates = [int(s) for s in largest if self.n_cells[s] and sessions[s].pixel == unit]
        self.candidates = candidates[: CANDIDATES if len(sessions) > 2 else 1]
        self.scales = [session.pixel / unit for session in sessions]
        self.diameter = float(np.nanmedian([session.diameter * k for session, k in zip(sessions, self.scales)]))
        self.landmarks = [_landmarks(session, k, self.diameter) for session, k in zip(sessions, self.scales)]
        self.frames = [
            Frame(session.shape[1] * scale, session.shape[0] * scale) for session, scale in zip(sessions, self.scales)
        ]
        self.aligned = [Aligned(Transform(frame), 0.0, self.diameter) for frame in self.frames]
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
        on = tuple(of_session is not None for of_session in self.labels)
        labels = tuple(np.zeros(0, int) if of_session is None else of_session for of_session in self.labels)
        transforms = tuple(replace(aligned.transform, scale=scale) for aligned, scale in zip(self.aligned, self.scales))
        return Atlas(self.reference, transforms, self._to_reference(), on, tuple(self.chances), self.diameter, labels)

    def _to_reference(self) -> tuple[Transform, ...]:
        """Transforms from each day to the map, on which most days agree, and on to the reference, which is one day."""
        last = self.aligned[self.reference].transform
        transforms = []
        for s, (aligned, scale, mine) in enumerate(zip(self.aligned, self.scales, self.frames)):
            x, y = (np.linspace(0, side, GRID) for side in (mine.width, mine.height))
            here = np.array([(a, b) for b in y for a in x])
            there = last.inverse(aligned.transform(here))
            models = (fit(mine, here, there, np.ones(len(here)), model, LIMP).transform for model in FEWEST)
            joined = next(t for t in models if t.model == "warp" or np.abs(t(here) - there).max() < EXACT)
            transforms.append(replace(Transform(mine) if s == self.reference else joined, scale=scale))
        return tuple(transforms)

    # ---- the reference

    def _choose_reference(self) -> int:
        """That to which the others fit best."""
        self.to_candidates: dict[tuple[int, int], Aligned] = {}
        totals = []
        for candidate in self.candidates:
            target = self.landmarks[candidate]
            others = [s for s in range(len(self.sessions)) if s != candidate]
            fits = [roughly(self.landmarks[s], target, self.frames[s], self.diameter) for s in others]
            self.to_candidates.update({(s, candidate): its for s, its in zip(others, fits)})
            totals.append(sum(max(its.score, 0) for its in fits))
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
        on = [other for other in range(len(self.sessions)) if other != s and self.labels[other] is not None]
        labels = np.concatenate([self.labels[other] for other in on])
        points = np.vstack([self.aligned[other].transform(self.landmarks[other].points) for other in on])
        known, labels = np.unique(labels, return_inverse=True)
        count = np.bincount(labels)
        means = np.column_stack([np.bincount(labels, points[:, k]) / count for k in (0, 1)])
        self._known = known
        weights = np.maximum(count / len(on), LEAST_WEIGHT)
        return Landmarks(means, weights, self._mean_picture(s))

    def _mean_picture(self, s: int | None) -> Picture | None:
        """Mean picture of all mapped sessions but s, in the reference's field. A day's own texture averages out."""
        reference = self.landmarks[self.reference].picture
        seen = [pictures for q, pictures in self.seen.items() if q != s]
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
        if any(labels_of is not None for labels_of in self.labels):
            others = self._others(s)
            mine, theirs, _ = mutual_pairs(points, others.points, cKDTree(others.points), REACH * self.diameter)
            labels[mine] = self._known[theirs]
        self.labels[s] = labels
        self._see(s)

    def _next_label(self) -> int:
        return 1 + max((int(labels.max()) for labels in self.labels if labels is not None and len(labels)), default=-1)

    def _grow(self) -> None:
        """Best first; what does not fit yet may fit a map with more cells."""
        waiting = [s for s in range(len(self.sessions)) if s != self.reference and self.n_cells[s]]
        waiting.sort(key=lambda s: -self.to_candidates[s, self.reference].score / self.n_cells[s])
        while waiting:
            left = []
            for s in waiting:
                others = self._others(s)
                aligned = self._align(s, others, [self.to_candidates[s, self.reference]])
                self.chances[s] = self._chance(s, others, aligned)
                if self.chances[s].belongs:
                    self._place(s, aligned)
                else:
                    left.append(s)
            if len(left) == len(waiting):
                break
            waiting = left

    def _chance(self, s: int, others: Landmarks, aligned: Aligned) -> Chance:
        mirrored = [self._align(s, others, mirror=which) for which in range(3 if len(self.sessions) <= FEW else 1)]
        possible = float(np.sort(others.weights)[::-1][: self.n_cells[s]].sum())
        by_images = aligned.images - np.mean([mirror.images for mirror in mirrored])
        by_cells = aligned.score - np.mean([mirror.score for mirror in mirrored]) - by_images
        scores = tuple(mirror.score for mirror in mirrored)
        return Chance(aligned.score, scores, possible, float(by_cells) / possible, float(by_images))

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
            if len(on) > 1 and (gains[k] <= LEAST_SHARE * np.median(np.delete(gains, k, axis=0), axis=0)).all()
        ]

    def _fit(self) -> float:
        return sum(aligned.score for aligned, labels in zip(self.aligned, self.labels) if labels is not None)

    def _settle(self, search: bool = False) -> None:
        for s in range(len(self.sessions)):
            if self.labels[s] is None or sum(labels is not None for labels in self.labels) < 2:
                continue
            aligned = self._align(s, self._others(s), [self.aligned[s]], search)
            self._place(s, aligned)


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
