"""Finds the transform that takes a session to a map of cells, from several starts that the cells judge.

A start is a rotation and shift with a high cross-correlation of two pictures, sought by FFT on a coarse grid: of the
centres of cells, or of mean images, whose vessels show where one is. From there pairs are made softly and the transform
is fitted to them, in turns, while the distance that still counts shrinks (robust point matching: Chui and Rangarajan
2003, Computer Vision and Image Understanding 89:114). Cells that only one side has find no partner and do not pull.

How well a transform fits is the log of how much likelier it makes the cells' places than chance does, summed over
pairs. The distance of a pair is the one that the other pairs predict, so that a flexible transform gains nothing by
passing through wrong pairs. In a sparse field a distant pair still says much, in a dense one little.

Where both have a mean image, how alike these are adds to it: as much as as many independent Gaussian samples with that
correlation would. Their number follows from the spectra of the two images. Images are reduced to what is as fine as
vessels. Coarser texture is brighter, but it changes from day to day and would hide them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import numpy as np
from scipy import fft, ndimage
from scipy.spatial import cKDTree

from following.transforms import FEWEST, Fit, Frame, Transform, best_fit, rigid

LARGEST_ROTATION = 20.0  # degrees
ROTATION_STEP = 2.0
GRID = 96  # samples to which the longer side of a picture is reduced
STARTS = 3  # of each kind that are followed up
ANCHOR = 0.05  # mean weight of a part of an image, where a pair of cells has 1
PAYS = 1.0  # nats that a warp must gain
FIRST, LAST, SHRINK = 0.6, 0.1, 0.82  # reach of pairs in diameters: at first, in the end, factor a turn
SPREADS = (0.06, 0.1, 0.17, 0.28)  # diameters: standard deviations of places that are tried
FINEST, COARSEST = 0.1, 0.4  # diameters: standard deviations of the Gaussians between which images are looked at
COARSE = 2  # samples of a picture, of which one is compared
OVERFIT = 10.0  # nats by which a warp makes images alike that are not
TRUSTED = 0.8  # the highest probability that a cell of the map is there


@dataclass(frozen=True)
class Landmarks:
    """Cells of a session or a map."""

    points: np.ndarray  # (n, 2): x, y
    weights: np.ndarray  # (n,), 0 to 1: how likely a session has each
    picture: Picture | None = None  # of the field, with the point 0, 0 in its corner


@dataclass(frozen=True)
class Anchors:
    """Places of a session's image and where they are in the reference's; they hold a warp where there are no cells."""

    points: np.ndarray  # (n, 2)
    targets: np.ndarray
    weights: np.ndarray  # (n,), where a pair of cells has 1


@dataclass(frozen=True)
class Aligned:
    """A transform, and how well it fits, in nats; `spread` is the standard deviation of places in px."""

    transform: Transform
    score: float
    spread: float
    images: float = 0.0  # what the images add to the score
    anchors: Anchors | None = None  # what it was fitted to beside the cells


def align(
    session: Landmarks,
    atlas: Landmarks,
    frame: Frame,
    diameter: float,
    known: Sequence[Aligned] = (),
    search: bool = True,
    hold: bool = True,
) -> Aligned:
    """Best of those that are `known`, refined, and of what several starts lead to.

    If they are to `hold`, images refine those that are known, too, which takes time.
    """
    if not len(session.points) or not len(atlas.points):
        return Aligned(Transform(frame), 0.0, diameter)
    this = _Search(session, atlas, cKDTree(atlas.points), diameter)
    candidates = [aligned for one in known for aligned in this.near(one, hold)]
    if search:
        starts = this.starts(frame)
        if this.has_images:
            candidates += this.held(starts[-1])
        for start in this.best_two(starts):
            candidates += this.from_start(start)
    best = candidates[0]
    for candidate in candidates[1:]:  # the stiffer ones come first
        extra = PAYS if candidate.transform.model == "warp" else 0
        best = candidate if candidate.score > best.score + extra else best
    return best


def roughly(session: Landmarks, atlas: Landmarks, frame: Frame, diameter: float) -> Aligned:
    """The best rigid transform, for a first look."""
    if not len(session.points) or not len(atlas.points):
        return Aligned(Transform(frame), 0.0, diameter)
    this = _Search(session, atlas, cKDTree(atlas.points), diameter)
    rough = [this.judged(start, "rigid") for start in this.best_two(this.starts(frame))]
    return max(rough, key=lambda one: one.score)


def _alike(one: Transform, other: Transform, diameter: float) -> bool:
    corners = np.array([[0, 0], [1, 0], [0, 1], [1, 1]]) * [one.frame.width, one.frame.height]
    return bool(np.abs(one(corners) - other(corners)).max() < diameter / 2)


@dataclass(frozen=True)
class _Search:
    session: Landmarks
    atlas: Landmarks
    tree: cKDTree
    diameter: float

    @property
    def has_images(self) -> bool:
        mine, theirs = self.session.picture, self.atlas.picture
        return mine is not None and theirs is not None and mine.step == theirs.step

    def starts(self, frame: Frame) -> list[Transform]:
        """The last is the best of the images, if there are any."""
        transforms = [Transform(frame), *cell_starts(self.session, self.atlas, frame, self.diameter)]
        if self.has_images:
            transforms += image_starts(self.session.picture, self.atlas.picture, frame)[::-1]
        return transforms

    def best_two(self, starts: Sequence[Transform]) -> list[Transform]:
        """Those that fit best as rigid transforms, and differ."""
        rough = [self.soft(start, "rigid", FIRST, 0.3) for start in starts]
        kept: list[Transform] = []
        for i in np.argsort([-self.judged(transform, "rigid").score for transform in rough], kind="stable"):
            if len(kept) < 2 and not any(_alike(rough[i], other, self.diameter) for other in kept):
                kept.append(rough[i])
        return kept

    def from_start(self, start: Transform) -> list[Aligned]:
        """Complete alignments from a start: one by the models up to an affine transform, one by a warp."""
        ways = (("affine", 0.4, 0.3), ("affine", 0.35, LAST), ("warp", FIRST, LAST))
        return [self.judged(self.soft(start, richest, first, last), richest) for richest, first, last in ways]

    def held(self, start: Transform, reaches: Sequence[float] = (0.9, 0.4)) -> list[Aligned]:
        """Alignments by a warp of the image alone, and by one of image and cells. Reaches are in diameters."""
        warp, anchors = start, None
        for reach in reaches:
            of_image = image_anchors(self.session.picture, self.atlas.picture, warp, self.diameter, reach)
            if of_image is None:
                break
            anchors = of_image
            warp = best_fit(start.frame, anchors.points, anchors.targets, anchors.weights).transform
        if anchors is None:
            return []
        _, theirs, distances = self.pairs(warp)
        both = self.judged(self.soft(warp, "warp", 0.5, LAST, anchors), "warp", anchors)
        return [replace(self.scored(warp, distances, theirs), anchors=anchors), both]

    def near(self, known: Aligned, hold: bool) -> list[Aligned]:
        """Alignments that start at a known one and stay near it."""
        richest = "warp" if known.transform.model == "warp" else "affine"
        near = [self.judged(known.transform, "affine" if richest == "affine" else "warp", known.anchors)]
        for richest, first in (("affine", 0.3), ("warp", 0.4)):
            moved = self.soft(known.transform, richest, first, LAST, known.anchors)
            near.append(self.judged(moved, richest, known.anchors))
        if hold and self.has_images:
            near += self.held(known.transform, (0.4,))
        return near

    def pairs(self, moved: Transform) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return mutual_pairs(moved(self.session.points), self.atlas.points, self.tree, 0.7 * self.diameter)

    def judged(self, moved: Transform, richest: str, anchors: Anchors | None = None) -> Aligned:
        """Fitted once more, to pairs, and scored by what the others predict for each."""
        mine, theirs, distances = self.pairs(moved)
        if not len(mine):
            images = self.image_nats(moved)
            return Aligned(moved, images, self.diameter, images, anchors)
        weights = self.atlas.weights[theirs] / (1 + (distances / (0.2 * self.diameter)) ** 2)
        final = _fitted(moved.frame, self.session.points[mine], self.atlas.points[theirs], weights, richest, anchors)
        return replace(self.scored(final.transform, final.predicted[: len(mine)], theirs), anchors=anchors)

    def scored(self, moved: Transform, distances: np.ndarray, theirs: np.ndarray) -> Aligned:
        """`distances` are of pairs with the map's cells `theirs`."""
        density = len(self.atlas.points) / (moved.frame.width * moved.frame.height)
        odds = np.minimum(self.atlas.weights[theirs], TRUSTED)
        odds = odds / (1 - odds) / density
        spreads = [diameters * self.diameter for diameters in SPREADS]
        scores = [_nats(distances, odds, spread) for spread in spreads]
        best = int(np.argmax(scores))
        images = self.image_nats(moved)
        return Aligned(moved, scores[best] + images, spreads[best], images)

    @cached_property
    def n_samples(self) -> float:
        """How many independent samples vary as much in correlation as images like these two of different fields do."""
        one, other = (picture.small[::COARSE, ::COARSE] for picture in (self.session.picture, self.atlas.picture))
        shape = tuple(max(sides) for sides in zip(one.shape, other.shape))
        power, its = (np.abs(fft.fft2(image - image.mean(), shape)) ** 2 for image in (one, other))
        whole = float(power.sum() * its.sum() / max((power * its).sum(), 1e-30))
        return whole * one.size / np.prod(shape)

    def image_nats(self, moved: Transform) -> float:
        """How much likelier the images are than images of different fields."""
        if not self.has_images:
            return 0.0
        r, overlap = likeness(self.session.picture, self.atlas.picture, moved)
        nats = -0.5 * self.n_samples * overlap * float(np.log1p(-(min(max(r, 0.0), 0.99) ** 2)))
        return max(0.0, nats - OVERFIT) if moved.model == "warp" else nats

    def soft(
        self, start: Transform, richest: str, first: float, last: float, anchors: Anchors | None = None
    ) -> Transform:
        """Soft pairs and fits in turns, while the reach of a pair shrinks; reaches are in diameters."""
        moved, reach = start, first * self.diameter
        while reach > last * self.diameter:
            pairs = _soft_pairs(moved(self.session.points), self.atlas, self.tree, reach)
            if pairs is None:
                return moved
            weights, targets = pairs
            use = weights > 1e-3
            points = self.session.points[use]
            moved = _fitted(moved.frame, points, targets[use], weights[use], richest, anchors, fast=True).transform
            reach *= SHRINK
        return moved


def _fitted(
    frame: Frame,
    points: np.ndarray,
    targets: np.ndarray,
    weights: np.ndarray,
    richest: str,
    anchors: Anchors | None,
    fast: bool = False,
) -> Fit:
    if anchors is not None and richest == "warp":
        points, targets = np.vstack([points, anchors.points]), np.vstack([targets, anchors.targets])
        weights = np.r_[weights, anchors.weights]
    return best_fit(frame, points, targets, weights, richest, fast)


def _nats(distances: np.ndarray, odds: np.ndarray, spread: float) -> float:
    likely = np.exp(-0.5 * (distances / spread) ** 2) / (2 * np.pi * spread**2)
    return float(np.log1p(odds * likely).sum())


def mutual_pairs(
    points: np.ndarray, others: np.ndarray, tree: cKDTree, reach: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Indices of points that are each other's nearest, at most `reach` apart, and their distances."""
    distances, nearest = tree.query(points)
    _, back = cKDTree(points).query(others)
    mutual = (back[nearest] == np.arange(len(points))) & (distances <= reach)
    return np.flatnonzero(mutual), nearest[mutual], distances[mutual]


def _soft_pairs(
    points: np.ndarray, atlas: Landmarks, tree: cKDTree, reach: float
) -> tuple[np.ndarray, np.ndarray] | None:
    """For each point, how much it is paired, and with what place: shapes (n,) and (n, 2)."""
    near = cKDTree(points).sparse_distance_matrix(tree, 3 * reach, output_type="coo_matrix")
    if not near.nnz:
        return None
    i, j = near.row, near.col
    value = atlas.weights[j] * np.exp(-0.5 * (near.data / reach) ** 2)
    none = 0.05
    row, column = np.ones(len(points)), np.ones(len(atlas.points))
    for _ in range(4):  # towards one partner each, on both sides, or none
        row = 1 / (none + np.bincount(i, value * column[j], len(points)))
        column = 1 / (none + np.bincount(j, value * row[i], len(atlas.points)))
    share = value * row[i] * column[j]
    weights = np.bincount(i, share, len(points))
    with np.errstate(invalid="ignore", divide="ignore"):
        targets = np.column_stack([np.bincount(i, share * atlas.points[j, k], len(points)) / weights for k in (0, 1)])
    return np.where(np.isfinite(targets).all(axis=1), weights, 0), np.nan_to_num(targets)


# ---- starts


def cell_starts(session: Landmarks, atlas: Landmarks, frame: Frame, diameter: float) -> list[Transform]:
    """Rotations and shifts with the greatest cross-correlation of the centres of cells."""
    low = np.minimum(session.points.min(axis=0), atlas.points.min(axis=0))
    extent = np.ptp(np.vstack([session.points, atlas.points]), axis=0).max()
    step = max(extent / GRID, diameter / 6)
    side = fft.next_fast_len(int(np.ceil(2.3 * extent / step)) + 4, real=True)
    blur = 0.35 * diameter / step
    soft = np.exp(-((2 * np.pi * blur) ** 2) * (fft.fftfreq(side)[:, None] ** 2 + fft.rfftfreq(side)[None] ** 2))
    target = np.conj(_spectrum(atlas.points - low, atlas.weights, step, side)) * soft
    peaks = []
    for degrees in _angles():
        turned = rigid(frame, degrees, np.zeros(2))
        points = turned(session.points)
        seen = _spectrum(points - low, session.weights, step, side)
        peaks += [
            (height, rigid(frame, degrees, -shift * step))
            for height, shift in _peaks(fft.irfft2(seen * target, (side, side)), blur)
        ]
    peaks.sort(key=lambda peak: -peak[0])
    return [transform for _, transform in peaks[:STARTS]]


def _angles() -> np.ndarray:
    n = round(LARGEST_ROTATION / ROTATION_STEP)
    return np.arange(-n, n + 1) * ROTATION_STEP


def _spectrum(points: np.ndarray, weights: np.ndarray, step: float, side: int) -> np.ndarray:
    at = np.rint(points / step).astype(int) % side
    picture = np.zeros((side, side), np.float32)
    np.add.at(picture, (at[:, 1], at[:, 0]), weights)
    return fft.rfft2(picture)


def _peaks(correlation: np.ndarray, width: float) -> list[tuple[float, np.ndarray]]:
    """The highest two, with their shift (x, y) in samples."""
    side, highest = len(correlation), []
    for _ in range(2):
        row, column = np.unravel_index(correlation.argmax(), correlation.shape)
        shift = np.array([column, row])
        highest.append((float(correlation[row, column]), np.where(shift > side // 2, shift - side, shift)))
        reach = int(np.ceil(2 * width))
        rows, columns = (np.arange(at - reach, at + reach + 1) % side for at in (row, column))
        correlation[np.ix_(rows, columns)] = -np.inf
    return highest


class Picture:
    """A mean image, small and band-passed: vessels, not illumination nor noise."""

    def __init__(self, small: np.ndarray, step: float) -> None:
        self.small, self.step = small, step

    @classmethod
    def of(cls, image: np.ndarray, diameter: float) -> Picture:
        step = max(1.0, max(image.shape) / GRID)
        filled = np.nan_to_num(image.astype(np.float32), nan=0, posinf=0, neginf=0)
        light = ndimage.gaussian_filter(filled, 2.5 * diameter)
        even = filled / np.maximum(light, 0.05 * light.max() + 1e-12)
        fine, coarse = max(FINEST * diameter, 0.6 * step), max(COARSEST * diameter, 1.5 * step)
        band = ndimage.gaussian_filter(even, fine) - ndimage.gaussian_filter(even, coarse)
        rows, columns = (np.arange(0, n - 0.5, step) for n in image.shape)
        small = ndimage.map_coordinates(band, np.meshgrid(rows, columns, indexing="ij"), order=1)
        small = np.clip(small, -3 * small.std(), 3 * small.std())
        return cls(small - small.mean(), step)

    @property
    def centre(self) -> np.ndarray:
        """x, y in samples."""
        return (np.array(self.small.shape[::-1]) - 1) / 2

    def flipped(self, signs: np.ndarray) -> Picture:
        return Picture(self.small[:: signs[1], :: signs[0]], self.step)

    def turned(self, side: int) -> list[np.ndarray]:
        """Conjugate spectra of what it looks like to sessions that are turned, by angle."""
        if self._turned is None or self._turned[0] != side:
            spectra, centre = [], self.centre[::-1]
            for degrees in _angles():
                matrix = _rotation(degrees)[::-1, ::-1]  # rows before columns
                seen = ndimage.affine_transform(self.small, matrix, centre - matrix @ centre, order=1)
                spectra.append(np.conj(fft.rfft2(seen, (side, side))))
            self._turned = side, spectra
        return self._turned[1]

    _turned: tuple[int, list[np.ndarray]] | None = None


def image_starts(picture: Picture, other: Picture, frame: Frame) -> list[Transform]:
    """Rotations and shifts with the greatest cross-correlation of mean images of one scale."""
    side = fft.next_fast_len(sum(max(one.small.shape) for one in (picture, other)), real=True)
    spectrum, peaks = fft.rfft2(picture.small, (side, side)), []
    for degrees, turned in zip(_angles(), other.turned(side)):
        height, shift = _peaks(fft.irfft2(spectrum * turned, (side, side)), 2)[0]
        matrix = _rotation(degrees)
        moved = other.centre - matrix @ (other.centre + shift)
        peaks.append((height, Transform(frame, matrix, moved * other.step, None, "rigid")))
    peaks.sort(key=lambda peak: -peak[0])
    return [transform for _, transform in peaks[:2]]


def seen_through(moved: Transform, picture: Picture, other: Picture) -> tuple[np.ndarray, np.ndarray]:
    """A picture in the field of the other, and where it shows anything (0 or 1)."""
    at = _inverse_on_grid(moved, other.small.shape, other.step) / picture.step
    there = ((at >= 0) & (at <= np.array(picture.small.shape)[:, None, None] - 1)).all(axis=0)
    return ndimage.map_coordinates(picture.small, at, order=1, cval=0), there.astype(np.float32)


def _inverse_on_grid(moved: Transform, shape: tuple[int, int], step: float) -> np.ndarray:
    """y, x in the session of each sample of a picture; exact at every few, as transforms are smooth."""
    rows, columns = (np.linspace(0, n - 1, max(2, -(-n // 4))) for n in shape)
    y, x = np.meshgrid(rows, columns, indexing="ij")
    coarse = moved.inverse(step * np.column_stack([x.ravel(), y.ravel()]))[:, ::-1].T.reshape(2, *x.shape)
    places = np.meshgrid(*(np.linspace(0, m - 1, n) for m, n in zip(x.shape, shape)), indexing="ij")
    return np.array([ndimage.map_coordinates(coordinate, places, order=1) for coordinate in coarse])


def likeness(picture: Picture, other: Picture, moved: Transform) -> tuple[float, float]:
    """Pearson's correlation of two images of one scale where they overlap, and what part that is; 0 below a third."""
    rows, columns = (np.arange(0, n, COARSE) for n in picture.small.shape)
    y, x = (index.ravel() for index in np.meshgrid(rows, columns, indexing="ij"))
    at = moved(picture.step * np.column_stack([x, y]).astype(float)) / other.step
    inside = ((at >= 0) & (at <= np.array(other.small.shape[::-1]) - 1)).all(axis=1)
    if inside.sum() < len(at) / 3:
        return 0.0, 0.0
    there = ndimage.map_coordinates(other.small, at[inside].T[::-1], order=1)
    here = picture.small[y, x][inside]
    here, there = here - here.mean(), there - there.mean()
    return float(here @ there / max(np.sqrt((here @ here) * (there @ there)), 1e-12)), float(inside.mean())


def image_anchors(
    picture: Picture, other: Picture, start: Transform, diameter: float, farthest: float
) -> Anchors | None:
    """What brings each part of an image over the other's, from a start, by local cross-correlation.

    `farthest` is how many diameters from the start it is sought.

    A tissue's texture changes from day to day, so parts are large, and the cells decide whether this is any good.
    """
    step = picture.step
    rows, columns = other.small.shape
    seen, there = seen_through(start, picture, other)
    reach, sigma = max(2, round(farthest * diameter / step)), 1.1 * diameter / step
    places = [np.arange(round(sigma / 2), size, max(1, round(sigma))) for size in (rows, columns)]
    windows = [_windows(size, tuple(along.tolist()), sigma) for size, along in zip((rows, columns), places)]
    energy = ndimage.gaussian_filter(seen**2, sigma, mode="constant")
    energy = np.maximum(energy, 0.1 * energy.mean() + 1e-12)
    other_energy = ndimage.gaussian_filter(other.small**2, sigma, mode="constant")
    other_energy = np.maximum(other_energy, 0.1 * other_energy.mean() + 1e-12)[np.ix_(*places)]
    n = 2 * reach + 1
    local = np.empty((n, n, len(places[0]) * len(places[1])))
    for i, j in np.ndindex(n, n):
        moved, power = (np.roll(image, (reach - i, reach - j), (0, 1)) for image in (seen, energy))
        product = windows[0] @ (moved * other.small) @ windows[1].T
        local[i, j] = (product / np.sqrt(power[np.ix_(*places)] * other_energy)).ravel()
    at = np.arange(local.shape[2])
    i, j = np.unravel_index(local.reshape(n * n, -1).argmax(axis=0), (n, n))
    likeness = local[i, j, at]
    use = (i > 0) & (i < n - 1) & (j > 0) & (j < n - 1) & (likeness >= 0.3) & (there[np.ix_(*places)].ravel() > 0)
    i, j, at, likeness = i[use], j[use], at[use], likeness[use]
    row, column = (index.ravel()[use] for index in np.meshgrid(*places, indexing="ij"))
    dy = i - reach + _vertex(local[i - 1, j, at], likeness, local[i + 1, j, at])
    dx = j - reach + _vertex(local[i, j - 1, at], likeness, local[i, j + 1, at])
    points, targets = np.column_stack([column + dx, row + dy]), np.column_stack([column, row])
    if len(points) < FEWEST["warp"]:
        return None
    points, targets, weights = start.inverse(step * points), step * targets, likeness**2
    for _ in range(2):
        fit = best_fit(start.frame, points, targets, weights)
        keep = fit.predicted <= 3 * max(float(np.median(fit.predicted)), 0.1 * step)
        points, targets, weights = points[keep], targets[keep], weights[keep]
    return Anchors(points, targets, weights * ANCHOR / max(float(weights.mean()), 1e-9))


@lru_cache(maxsize=16)
def _windows(size: int, places: tuple[int, ...], sigma: float) -> np.ndarray:
    """(places, samples): the weights of a Gaussian filter at some places of a side."""
    return ndimage.gaussian_filter1d(np.eye(size), sigma, axis=1, mode="constant")[list(places)]


def _vertex(before: np.ndarray, greatest: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Where the parabola through three values peaks, from the middle one, the greatest; in samples."""
    bend = before - 2 * greatest + after
    return np.where(bend < 0, 0.5 * (before - after) / np.minimum(bend, -1e-30), 0.0)


def _rotation(degrees: float) -> np.ndarray:
    return rigid(Frame(0, 0), degrees, np.zeros(2)).matrix
