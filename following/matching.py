"""Who is who: groups of cells, at most one of a session in each, and how sure each membership is.

A cell is compared with a group by two numbers: the distance of its centre from the mean of the group's, and the mean
cosine of its footprint and theirs, all without the group's own cell of that session. Both are modelled from the study
itself, as CellReg does (Sheintuch et al. 2017, Cell Reports 21:1102), by mixtures of Gaussians: different cells are
neighbours within a session, which cannot be one, and sessions laid on the map at a wrong place; the same cells are what
is left over, found by expectation maximisation.

That gives each cell and group by themselves. Cells of a session then compete for groups and groups for cells: the
probabilities that follow are those of all one-to-one assignments together, by belief propagation (Williams and Lau
2014, IEEE Transactions on Aerospace and Electronic Systems 50:2942). As those of a cell and those of a group each sum
to at most 1, more than one half is never given twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.spatial import cKDTree

from following.atlas import Atlas
from following.sessions import Session
from following.transforms import Transform

SAMPLES = 10  # of the common grid, to a cell's diameter; fewer if it has fewer pixels
REACH = 1.2  # diameters within which a cell and a group are compared
PASSES = 4
KEPT = 0.5  # the probability above which a match is kept
SAME_TRACE = 0.75  # correlation of neighbours that may be one cell, found twice: no example of different ones
DISPLACED = 8  # wrong places that a session is laid on the map at, for examples of different cells
STRENGTH = 40  # how many such examples count at most, beside neighbours
TAIL = 0.05  # of different cells that look like none of the examples
SAME_TAIL = 0.005  # of same cells that look like no other same ones: cut, merged with a neighbour, or not well aligned


@dataclass(frozen=True)
class Member:
    """A cell of a session as one of a group's, or as one that it might have been."""

    session: int
    cell: int
    group: int
    probability: float


@dataclass(frozen=True)
class Matched:
    """`groups` has that of each cell by session, -1 where it takes part in none; `sure` how sure that is.

    `others` are memberships that were not kept, with a probability of at least 0.05.
    """

    groups: tuple[np.ndarray, ...]
    sure: tuple[np.ndarray, ...]
    others: tuple[Member, ...]


def match(sessions: Sequence[Session], atlas: Atlas) -> Matched:
    """Sessions that are not on the map take no part: their cells are in no group."""
    return _Matching(sessions, atlas).done()


@dataclass
class _Candidates:
    """Pairs of a cell (its place among the usable ones) and a group, and what is known of each pair."""

    cell: np.ndarray
    group: np.ndarray
    features: np.ndarray  # (pairs, 2): distance in diameters, logit of the cosine
    presence: np.ndarray  # part of the other sessions that have the group
    taken: np.ndarray  # whether another cell of the session is in the group


class _Matching:
    def __init__(self, sessions: Sequence[Session], atlas: Atlas) -> None:
        self.sessions, self.atlas = sessions, atlas
        self.on = [s for s in range(len(sessions)) if atlas.on[s]]
        self.labels = {s: atlas.labels[s].copy() for s in self.on}
        coarsest = max(atlas.transforms[s].scale for s in self.on)  # a finer grid than the pixels would have holes
        self.unit = max(atlas.diameter / SAMPLES, coarsest)
        placed = {s: _Placed(sessions[s], atlas.transforms[s], self.unit) for s in self.on}
        low = np.min([those.low for those in placed.values()], axis=0)
        high = np.max([those.high for those in placed.values()], axis=0)
        self.points = {s: those.points for s, those in placed.items()}
        self.images = {s: those.on_grid(low, high) for s, those in placed.items()}
        self.within = {s: images @ images.T for s, images in self.images.items()}
        self.width = next(iter(placed.values())).width
        self.model: _Model | None = None

    def done(self) -> Matched:
        for _ in range(PASSES):
            self._tidy()
            self._learn()
            self._merge()
            for s in self.on:
                self._reassign(s)
        self._tidy()
        self._learn()
        self._merge()
        self._tidy()
        for s in self.on:  # what merging put into a group stays only if it is likely there
            self._reassign(s)
        self._tidy()
        return self._result()

    # ---- groups as sums over their members

    def _tidy(self) -> None:
        """Labels from 0, and the sums of every group."""
        everything = np.concatenate([self.labels[s] for s in self.on])
        _, everything = np.unique(everything, return_inverse=True)
        for s, part in zip(self.on, np.split(everything, np.cumsum([len(self.labels[s]) for s in self.on])[:-1])):
            self.labels[s] = part
        self.n_groups = int(everything.max(initial=-1)) + 1
        self._sum()

    def _sum(self) -> None:
        room = self.n_groups + sum(map(len, self.labels.values()))  # for cells that leave their group
        self.count, self.place = np.zeros(room, int), np.zeros((room, 2))
        rows, labels = sparse.vstack([self.images[s] for s in self.on], format="csr"), []
        for s in self.on:
            np.add.at(self.count, self.labels[s], 1)
            np.add.at(self.place, self.labels[s], self.points[s])
            labels.append(self.labels[s])
        self.total = (rows.T @ _membership(np.concatenate(labels), room)).tocsr()

    def _without(self, s: int) -> tuple[np.ndarray, np.ndarray]:
        """Members and mean place of each group without session s; the place is NaN if none is left."""
        count, place = self.count.copy(), self.place.copy()
        np.subtract.at(count, self.labels[s], 1)
        np.subtract.at(place, self.labels[s], self.points[s])
        with np.errstate(invalid="ignore", divide="ignore"):
            return count, np.where(count[:, None] > 0, place / count[:, None], np.nan)

    def _candidates(self, s: int, displaced: np.ndarray | None = None) -> _Candidates:
        count, place = self._without(s)
        alive = np.flatnonzero(count > 0)
        points = self.points[s] if displaced is None else self.points[s] + displaced
        near = cKDTree(points).sparse_distance_matrix(
            cKDTree(place[alive]), REACH * self.atlas.diameter, output_type="coo_matrix"
        )
        cell, group = near.row.astype(int), alive[near.col]
        cosine = self._cosines(s, cell, group, count, displaced)
        distance = near.data / self.atlas.diameter / np.sqrt((1 + 1 / count[group]) / 2)
        own = np.full(len(self.count), -1)
        own[self.labels[s]] = np.arange(len(self.labels[s]))
        taken = (own[group] >= 0) & (own[group] != cell)
        presence = (count[group] + 0.5) / (len(self.on) - 1 + 1)
        return _Candidates(cell, group, np.column_stack([distance, _logit(cosine)]), presence, taken)

    def _cosines(
        self, s: int, cell: np.ndarray, group: np.ndarray, count: np.ndarray, displaced: np.ndarray | None
    ) -> np.ndarray:
        """Mean cosine of a cell's footprint and those of the group's other members."""
        if not len(cell):
            return np.zeros(0)
        images = self.images[s] if displaced is None else self._shifted(s, displaced)
        sums = (images @ self.total).tocsr()
        sums_of_pairs = np.asarray(sums[cell, group]).ravel()
        within = self.within[s] if displaced is None else images @ self.images[s].T
        mine = (within @ _membership(self.labels[s], len(self.count))).tocsr()
        return np.clip((sums_of_pairs - np.asarray(mine[cell, group]).ravel()) / count[group], 0, 1)

    def _shifted(self, s: int, displaced: np.ndarray) -> sparse.csr_array:
        """Footprints moved by whole samples of the grid."""
        step = np.rint(displaced / self.unit).astype(int)
        images = self.images[s].copy()
        images.indices = (images.indices + step[1] * self.width + step[0]) % images.shape[1]
        images.has_sorted_indices = False
        return images

    # ---- the model

    def _learn(self) -> None:
        everything, apart, displaced = [], [], []
        rng = np.random.default_rng(0)
        for s in self.on:
            candidates = self._candidates(s)
            everything.append(candidates)
            apart.append(candidates.features[candidates.taken & self._may_differ(s, candidates)])
            for _ in range(max(1, DISPLACED // len(self.on))):
                angle, far = rng.uniform(0, 2 * np.pi), rng.uniform(1.5, 4) * self.atlas.diameter
                shift = np.rint(far * np.array([np.cos(angle), np.sin(angle)]) / self.unit) * self.unit
                displaced.append(self._candidates(s, shift).features)
        features = np.vstack([of_session.features for of_session in everything])
        presence = np.concatenate([of_session.presence for of_session in everything])
        self.model = _Model.learned(features, presence, np.vstack(apart), np.vstack(displaced))

    def _may_differ(self, s: int, candidates: _Candidates) -> np.ndarray:
        """Leaves out neighbours whose traces say that they are one cell, found twice."""
        traces = self.sessions[s].traces
        if traces is None or not len(candidates.cell):
            return np.ones(len(candidates.cell), bool)
        own = np.full(len(self.count), -1)
        own[self.labels[s]] = np.arange(len(self.labels[s]))
        traces = np.nan_to_num(traces[self.sessions[s].usable])
        traces = traces - traces.mean(axis=1, keepdims=True)
        traces /= np.maximum(np.linalg.norm(traces, axis=1, keepdims=True), 1e-12)
        other = own[candidates.group]
        return (other < 0) | (np.einsum("ij,ij->i", traces[candidates.cell], traces[other]) < SAME_TRACE)

    # ---- changes of groups

    def _merge(self) -> None:
        """Groups that share no session and lie as one cell's would, the likeliest first."""
        alive = np.flatnonzero(self.count > 0)
        place = self.place[alive] / self.count[alive, None]
        pairs = cKDTree(place).query_pairs(0.7 * self.atlas.diameter, output_type="ndarray")
        if not len(pairs):
            return
        one, other = alive[pairs[:, 0]], alive[pairs[:, 1]]
        total = self.total.T.tocsr()
        sums = total[one].multiply(total[other]).sum(axis=1)
        cosine = np.asarray(sums).ravel() / (self.count[one] * self.count[other])
        distance = np.hypot(*(place[pairs[:, 0]] - place[pairs[:, 1]]).T) / self.atlas.diameter
        distance /= np.sqrt((1 / self.count[one] + 1 / self.count[other]) / 2)
        together = (self.count[one] + self.count[other]) / len(self.on)
        odds = self.model.odds(np.column_stack([distance, _logit(cosine)]), np.minimum(together, 0.9))
        sessions: dict[int, set[int]] = {}
        for s in self.on:
            for label in self.labels[s]:
                sessions.setdefault(int(label), set()).add(s)
        into: dict[int, int] = {}
        for k in np.argsort(-odds):
            if odds[k] <= 1:
                break
            a, b = (_root(into, int(label_of)) for label_of in (one[k], other[k]))
            if a != b and not sessions[a] & sessions[b]:
                into[b] = a
                sessions[a] |= sessions.pop(b)
        for s in self.on:
            self.labels[s] = np.array([_root(into, int(label)) for label in self.labels[s]], int)
        self._sum()

    def _reassign(self, s: int) -> None:
        candidates = self._candidates(s)
        probability = self._probabilities(s, candidates)
        new = self.n_groups + np.arange(len(self.labels[s]))
        alone = self._without(s)[0][self.labels[s]] == 0
        new[alone] = self.labels[s][alone]  # its own group stays its own
        kept = probability > KEPT
        new[candidates.cell[kept]] = candidates.group[kept]
        self.n_groups += len(new)
        self._move(s, new)

    def _move(self, s: int, new: np.ndarray) -> None:
        if self.n_groups > len(self.count):
            extra = self.n_groups - len(self.count)
            self.count = np.r_[self.count, np.zeros(extra, int)]
            self.place = np.vstack([self.place, np.zeros((extra, 2))])
            self.total.resize(self.total.shape[0], len(self.count))
        changed = np.flatnonzero(new != self.labels[s])
        if not len(changed):
            return
        old = self.labels[s]
        np.subtract.at(self.count, old[changed], 1)
        np.subtract.at(self.place, old[changed], self.points[s][changed])
        np.add.at(self.count, new[changed], 1)
        np.add.at(self.place, new[changed], self.points[s][changed])
        rows, room = self.images[s][changed], len(self.count)
        self.total = self.total + rows.T @ (_membership(new[changed], room) - _membership(old[changed], room))
        self.labels[s] = new

    def _probabilities(self, s: int, candidates: _Candidates) -> np.ndarray:
        odds = self.model.odds(candidates.features, candidates.presence)
        return one_to_one(candidates.cell, candidates.group, odds, len(self.labels[s]), len(self.count))

    # ---- what comes out

    def _result(self) -> Matched:
        groups = [np.full(len(session.names), -1) for session in self.sessions]
        sure = [np.zeros(len(session.names)) for session in self.sessions]
        others = []
        for s in self.on:
            candidates, usable = self._candidates(s), self.sessions[s].usable
            probability = self._probabilities(s, candidates)
            mine = self.labels[s][candidates.cell] == candidates.group
            some = np.bincount(candidates.cell, probability, len(usable))
            shared = self._without(s)[0][self.labels[s]] > 0
            in_group = np.bincount(candidates.cell[mine], probability[mine], len(usable))
            groups[s][usable] = self.labels[s]
            sure[s][usable] = np.where(shared, in_group, 1 - np.minimum(some, 1))
            for k in np.flatnonzero(~mine & (probability >= 0.05)):
                cell, group = int(usable[candidates.cell[k]]), int(candidates.group[k])
                others.append(Member(s, cell, group, float(probability[k])))
        return Matched(tuple(groups), tuple(sure), tuple(others))


def one_to_one(cell: np.ndarray, group: np.ndarray, odds: np.ndarray, n_cells: int, n_groups: int) -> np.ndarray:
    """The probability of each pair, if a cell is in at most one group and a group has at most one cell.

    `odds` are those of each pair by itself, against none.
    """
    odds = np.minimum(odds, 1e9)
    to_cell = np.ones(len(odds))
    for _ in range(30):
        given = odds * to_cell
        to_group = odds / (1 + np.maximum(np.bincount(cell, given, n_cells)[cell] - given, 0))
        before, to_cell = to_cell, 1 / (1 + np.maximum(np.bincount(group, to_group, n_groups)[group] - to_group, 0))
        if np.abs(to_cell - before).max(initial=0) < 1e-6:
            break
    given = odds * to_cell
    return given / (1 + np.bincount(cell, given, n_cells)[cell])


class _Placed:
    """A session's cells on the map: places in px of the reference, footprints as points with weights."""

    def __init__(self, session: Session, transform: Transform, unit: float) -> None:
        self.unit = unit
        rows = session.cut[session.usable]
        centres = session.centres[session.usable]
        self.points = transform(centres)
        right, below = np.array([0.5, 0]), np.array([0, 0.5])
        across = transform(centres + right) - transform(centres - right)
        down = transform(centres + below) - transform(centres - below)
        self.cell = np.repeat(np.arange(rows.shape[0]), np.diff(rows.indptr))
        y, x = np.divmod(rows.indices, session.shape[1])
        dx, dy = x - centres[self.cell, 0], y - centres[self.cell, 1]
        places = self.points[self.cell] + across[self.cell] * dx[:, None] + down[self.cell] * dy[:, None]
        self.places, self.values = (places / unit).astype(np.float32), rows.data
        empty = not len(self.places)
        self.low = np.zeros(2) if empty else self.places.min(axis=0)
        self.high = np.zeros(2) if empty else self.places.max(axis=0)

    def on_grid(self, low: np.ndarray, high: np.ndarray) -> sparse.csr_array:
        """Shared out among the four nearest samples; (cells, samples), of length 1."""
        edge = (
            4 * SAMPLES + 2
        )  # so that a session laid at a wrong place does not leave the grid at one side for another
        width, height = (np.ceil(high - low).astype(int) + 2 * edge).tolist()
        at = self.places - low + edge
        corner = np.floor(at).astype(int)
        part = at - corner
        indices, values = [], []
        for i, j in ((0, 0), (1, 0), (0, 1), (1, 1)):
            weight = np.abs(1 - i - part[:, 0]) * np.abs(1 - j - part[:, 1])
            indices.append((corner[:, 1] + j) * width + corner[:, 0] + i)
            values.append(self.values * weight)
        cells = np.tile(self.cell, 4)
        shape = (len(self.points), width * height)
        image = sparse.coo_array((np.concatenate(values), (cells, np.concatenate(indices))), shape).tocsr()
        norms = np.sqrt(image.multiply(image).sum(axis=1))
        image.data /= np.repeat(np.asarray(norms).ravel(), np.diff(image.indptr))
        self.width = width
        return image.astype(np.float32)


class _Model:
    """The two densities, and how many pairs are of the same cell."""

    def __init__(self, same: _Density, other: _Density, bounds: np.ndarray, bias: float) -> None:
        self.same, self.other, self.bounds, self.bias = same, other, bounds, bias

    @classmethod
    def learned(cls, features: np.ndarray, presence: np.ndarray, apart: np.ndarray, displaced: np.ndarray) -> _Model:
        rng = np.random.default_rng(0)
        n = min(len(displaced), max(STRENGTH, len(apart) // 4))
        examples = np.vstack([apart, displaced[rng.permutation(len(displaced))[:n]]])
        other = _Density.of(examples, np.ones(len(examples)), 3)
        near = (features[:, 0] < 0.35) & (features[:, 1] > _logit(np.array(0.4)))
        likely = np.where(near, 0.9, 0.02)
        prior = np.log(presence / (1 - presence))
        bias = 0.0
        for _ in range(25):
            same = _Density.of(features, likely, 2, prior=SAME)
            ratio = _ratio(same, other, features)
            for _ in range(5):
                likely = 1 / (1 + np.exp(-np.clip(ratio + prior + bias, -30, 30)))
                share = 1 / (1 + np.exp(-(prior + bias)))
                bias += np.log(max(likely.sum(), 1e-3) / max(share.sum(), 1e-3))
        bounds = same.core()
        return cls(same, other, bounds, bias)

    def odds(self, features: np.ndarray, presence: np.ndarray) -> np.ndarray:
        """That a pair is of the same cell, by itself."""
        clipped = np.column_stack(
            [np.maximum(features[:, 0], self.bounds[0]), np.minimum(features[:, 1], self.bounds[1])]
        )
        ratio = _ratio(self.same, self.other, clipped)
        return np.exp(np.clip(ratio + np.log(presence / (1 - presence)) + self.bias, -30, 20))


def _ratio(same: _Density, other: _Density, features: np.ndarray) -> np.ndarray:
    """The log of the densities' ratio; same cells, and different ones, may be anywhere, if rarely."""
    return _with_tail(same, features, SAME_TAIL) - _with_tail(other, features, TAIL)


def _with_tail(density: _Density, features: np.ndarray, tail: float) -> np.ndarray:
    anywhere = np.log(tail / (1.5 * REACH * 2 * LOGIT))
    return np.logaddexp(density.log(features) + np.log(1 - tail), anywhere)


WIDEST, LEAST_ALIKE = 0.3, 0.4  # bounds of the means of same cells: diameters, logit
MOST_SPREAD = np.array([0.15, 1.0])  # and of their standard deviations
SAME = (np.array([0.1, 1.6]), np.diag([0.06**2, 0.8**2]), 3.0)  # before anything is known: mean, spread, examples


@dataclass(frozen=True)
class _Density:
    """A mixture of Gaussians, fitted to weighted examples."""

    shares: np.ndarray
    means: np.ndarray
    covariances: np.ndarray

    @classmethod
    def of(cls, examples: np.ndarray, weights: np.ndarray, parts: int, prior: tuple | None = None) -> _Density:
        if prior is not None:
            mean, spread, strength = prior
            offsets = np.sqrt(2) * np.linalg.cholesky(spread).T
            examples = np.vstack([examples, mean + offsets, mean - offsets])
            weights = np.r_[weights, np.full(4, strength / 4)]
        use = weights > 1e-4
        examples, weights = examples[use].T.copy(), weights[use]
        order = np.argsort(examples[0])
        below = np.cumsum(weights[order]) / weights.sum()
        start = np.minimum((below * parts).astype(int), parts - 1)
        share = np.zeros((parts, len(weights)))
        share[start, order] = 1
        floor = np.diag([0.02**2, 0.2**2])
        for _ in range(20):
            held = share * weights
            mass = held.sum(axis=1) + 1e-9
            means = held @ examples.T / mass[:, None]
            covariances = np.empty((parts, 2, 2))
            for k in range(parts):
                rest = examples - means[k][:, None]
                covariances[k] = (held[k] * rest) @ rest.T / mass[k] + floor
            if prior is not None:
                means = np.column_stack([np.minimum(means[:, 0], WIDEST), np.maximum(means[:, 1], LEAST_ALIKE)])
                deviations = np.sqrt(np.einsum("kii->ki", covariances))
                shrunk = np.minimum(1, MOST_SPREAD / deviations)
                covariances *= shrunk[:, :, None] * shrunk[:, None, :]
            density = cls(mass / mass.sum(), means, covariances)
            logs = density._logs(examples)
            share = np.exp(logs - logs.max(axis=0))
            share /= share.sum(axis=0)
        return density

    def _logs(self, points: np.ndarray) -> np.ndarray:
        """Of each part at points (2, n): (parts, n)."""
        out = np.empty((len(self.means), points.shape[1]))
        for k, (share, mean, covariance) in enumerate(zip(self.shares, self.means, self.covariances)):
            x, y = points - mean[:, None]
            (xx, xy), (_, yy) = np.linalg.inv(covariance)
            scale = np.log(share + 1e-12) - 0.5 * np.log(np.linalg.det(covariance)) - np.log(2 * np.pi)
            out[k] = scale - 0.5 * (xx * x * x + 2 * xy * x * y + yy * y * y)
        return out

    def log(self, points: np.ndarray) -> np.ndarray:
        """At points (n, 2)."""
        return np.logaddexp.reduce(self._logs(points.T), axis=0)

    def core(self) -> np.ndarray:
        """The distance below which, and the likeness above which, a pair counts as good as any."""
        return self.means[int(np.argmin(self.means[:, 0]))]


LOGIT = 4.0  # the largest, of cosines near 0 and 1


def _logit(cosine: np.ndarray) -> np.ndarray:
    edge = np.exp(-LOGIT)
    inside = np.clip(cosine, edge, 1 - edge)
    return np.log(inside / (1 - inside))


def _membership(labels: np.ndarray, n_groups: int) -> sparse.csr_array:
    ones = np.ones(len(labels), np.float32)
    return sparse.csr_array((ones, (np.arange(len(labels)), labels)), (len(labels), n_groups))


def _root(into: dict[int, int], label: int) -> int:
    while label in into:
        label = into[label]
    return label
