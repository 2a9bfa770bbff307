"""How tissue bends from frame to frame: a smooth displacement on top of the rigid shift.

A frame f shows a template T that has moved by s and bent by u: f(p + s + u(p)) = T(p). The displacement u is a sum of
cosines along both axes, half a period of which is no shorter than 50 px. Its coefficients are found by Gauss-Newton
steps (Lucas and Kanade 1981, IJCAI 674) on the small copies of registration.py, over all pixels at once, with
differences clipped as there, and with a prior that keeps displacements small that the noise does not tell from none.

Noise and activity bend a still movie too. `bends` therefore asks, as registration.has_moved does for shifts, two
halves of the field, here the fields of a chessboard: bending counts if both say the same, each by itself, and what one
says makes the other crisper.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import scipy

from open_engine.files.frames import in_order
from open_engine.robust import noise_sd

HALF_PERIOD, MOST = 50.0, 8  # px, of the shortest cosine; cosines an axis
SPREAD = 1.0  # px: standard deviation of the prior of slow cosines
CORRELATED = 4.0  # samples that share their noise, as the band-pass leaves it
STEPS = 4
CLIP = 2.0  # robust standard deviations
BORDER = 6  # samples at the edges that are not compared
BLOCK = 4  # samples, over which no cosine changes much
SQUARE = 12  # samples: side of the chessboard's fields
AGREEMENT = 0.5  # correlation of what both halves say
LEAST = 0.2  # px, root mean square of what both halves say: less is not worth resampling for
ROUNDS = 3  # of averaging and bending the frames that make the template


@dataclass(frozen=True)
class Cosines:
    """The displacements that are possible, at the samples of a small copy or at the pixels of a frame."""

    rows: np.ndarray  # (rows, m)
    columns: np.ndarray  # (columns, k)

    def displacement(self, weights: np.ndarray) -> np.ndarray:
        """The displacement that coefficients (2, m, k) describe: (2, rows, columns), down and right, px."""
        return self.rows @ weights @ self.columns.T

    def products(self, images: np.ndarray) -> np.ndarray:
        """Products of images (n, rows, columns) with each cosine: (n, m, k)."""
        return self.rows.T @ images @ self.columns


def cosines(shape: Sequence[int], pitch: int = 1) -> Cosines:
    """The cosines of a field of rows x columns px, at the centres of bins of `pitch` px."""
    made = []
    for n in shape:
        at = (np.arange(n // pitch) + 0.5) * pitch / n
        order = np.arange(1 + min(MOST, int(n / HALF_PERIOD)))
        made.append(np.cos(np.pi * at[:, None] * order).astype(np.float32))
    return Cosines(*made)


@dataclass(frozen=True)
class Bent:
    """How the tissue bends in each frame of a movie."""

    weights: np.ndarray  # (n_frames, 2, m, k) of the cosines, px
    basis: Cosines  # at the pixels

    def part(self, first: int, end: int) -> Bent:
        return replace(self, weights=self.weights[first:end])

    def rms(self, valid: np.ndarray) -> float:
        """Root mean square of the displacement in the valid frames, px."""
        few = replace(self.basis, rows=self.basis.rows[::SQUARE], columns=self.basis.columns[::SQUARE])
        return float(np.sqrt(np.mean([(few.displacement(frame) ** 2).mean() for frame in self.weights[valid]])))

    def reach(self, shifts: np.ndarray, valid: np.ndarray) -> np.ndarray:
        """The least and the greatest way that the edges of the field have moved, down and right: (2, 2) px."""
        rows, columns = (
            replace(self.basis, **{name: getattr(self.basis, name)[[0, -1]]}) for name in ("rows", "columns")
        )
        low, high = np.empty((2, len(shifts), 2))
        for i, (shift, weights) in enumerate(zip(shifts, self.weights)):
            down, right = rows.displacement(weights)[0], columns.displacement(weights)[1].T
            low[i] = shift + np.array([down[0].min(), right[0].min()])
            high[i] = shift + np.array([down[1].max(), right[1].max()])
        return np.array([low[valid].min(axis=0), high[valid].max(axis=0)])

    def moved_back(
        self, frame: np.ndarray, number: int, shift: np.ndarray, area: tuple[int, int, int, int]
    ) -> np.ndarray:
        """The part of a frame (rows, columns), x, y, width and height, as if it had not moved; by cubic splines."""
        x, y, width, height = area
        part = replace(self.basis, rows=self.basis.rows[y : y + height], columns=self.basis.columns[x : x + width])
        frame = frame.astype(np.float32, copy=False)
        if not (finite := np.isfinite(frame)).all():  # it would spread
            frame = np.where(finite, frame, frame[finite].mean() if finite.any() else np.float32(0))
        return moved_back(frame, shift, part.displacement(self.weights[number]), (y, x), order=3)


@dataclass(frozen=True)
class Bending:
    """A template, and what finds how a frame bends against it; lengths in samples."""

    template: np.ndarray  # (rows, columns) float32
    weight: np.ndarray  # (rows, columns) float32: what takes part
    basis: Cosines
    pitch: int
    noise: float  # standard deviation of frames less the template
    slopes: np.ndarray  # (2, rows, columns), of the template
    solve: np.ndarray  # (2mk, 2mk): from products with slopes to coefficients

    def coefficients(self, small: np.ndarray, shift: np.ndarray) -> np.ndarray:
        """Coefficients (2, m, k) in samples for a small copy whose rigid shift is known."""
        weights = np.zeros(self.size)
        power = float((self.template**2 * self.weight).sum())
        for _ in range(STEPS):
            seen = moved_back(small, shift, self.basis.displacement(weights))
            gain = float((seen * self.template * self.weight).sum()) / power if power else 0.0
            if not gain > 0:
                return np.zeros(self.size)
            difference = np.clip(self.template - seen / gain, -CLIP * self.noise, CLIP * self.noise) * self.weight
            products = self.basis.products(self.slopes * difference).astype(float)
            weights = weights + (self.solve @ (products - self._prior * weights).ravel()).reshape(self.size)
        return weights

    def of_frames(self, smalls: np.ndarray, shifts: np.ndarray, threads: int) -> np.ndarray:
        """Coefficients (n, 2, m, k) for small copies (n, rows, columns) whose shifts (n, 2) are known."""
        return np.array([*in_order(lambda frame: self.coefficients(*frame), zip(smalls, shifts), threads)])

    @property
    def size(self) -> tuple[int, int, int]:
        return 2, self.basis.rows.shape[1], self.basis.columns.shape[1]

    @property
    def _prior(self) -> np.ndarray:
        return prior(self.basis, self.pitch, self.noise)


def prior(basis: Cosines, pitch: int, noise: float) -> np.ndarray:
    """What is added to the squares of slopes: the noise over the variance of each coefficient, (m, k)."""
    order = np.arange(basis.rows.shape[1])[:, None] ** 2 + np.arange(basis.columns.shape[1]) ** 2
    return CORRELATED * noise**2 * (1 + order) / (SPREAD / pitch) ** 2


def bending(template: np.ndarray, weight: np.ndarray, basis: Cosines, pitch: int, noise: float) -> Bending:
    slopes = np.array(np.gradient(template), np.float32)
    down, across = (_block_means(profiles) for profiles in (basis.rows, basis.columns))
    fields = np.einsum("im,jk->ijmk", down, across).reshape(len(down) * len(across), -1).astype(float)
    n = fields.shape[1]
    squares = np.empty((2, n, 2, n))
    for i, j in ((0, 0), (0, 1), (1, 1)):
        product = _block_sums(slopes[i] * slopes[j] * weight).reshape(-1, 1)
        squares[i, :, j] = squares[j, :, i] = fields.T @ (product * fields)
    squares = squares.reshape(2 * n, 2 * n)
    added = np.tile(prior(basis, pitch, noise).ravel(), 2)
    solve = np.linalg.inv(squares + np.diag(added + 1e-9 * squares.max() + 1e-30))
    return Bending(template, weight, basis, pitch, noise, slopes, solve)


def _block_sums(image: np.ndarray) -> np.ndarray:
    rows, columns = (np.arange(0, n, BLOCK) for n in image.shape)
    return np.add.reduceat(np.add.reduceat(image, rows, axis=0), columns, axis=1)


def _block_means(along: np.ndarray) -> np.ndarray:
    first = np.arange(0, len(along), BLOCK)
    return np.add.reduceat(along, first, axis=0) / np.diff(np.append(first, len(along)))[:, None]


def moved_back(
    image: np.ndarray, shift: np.ndarray, displacement: np.ndarray, corner: tuple[int, int] = (0, 0), order: int = 1
) -> np.ndarray:
    """image(p + shift + displacement(p)), float32, by splines of this order.

    For the pixels p that `displacement`, (2, rows, columns), is given for; the first of them is `corner`.
    """
    rows, columns = np.ogrid[: displacement.shape[1], : displacement.shape[2]]
    rows, columns = rows + (corner[0] + shift[0]), columns + (corner[1] + shift[1])
    at = np.stack([rows + displacement[0], columns + displacement[1]])
    return scipy.ndimage.map_coordinates(image, at, output=np.float32, order=order, mode="nearest")


def inside(shape: tuple[int, int], shifts: np.ndarray) -> np.ndarray:
    """The samples that are compared, (rows, columns) float32: those that all frames have, but for the most distant."""
    weight = np.zeros(shape, np.float32)
    far = np.minimum(np.ceil(np.quantile(np.abs(shifts), 0.95, axis=0)) + BORDER, np.array(shape) // 6).astype(int)
    weight[far[0] : shape[0] - far[0], far[1] : shape[1] - far[1]] = 1
    return weight


def bends(
    smalls: np.ndarray,
    shifts: np.ndarray,
    basis: Cosines,
    pitch: int,
    still: np.ndarray | None = None,
    threads: int = 1,
) -> Bending | None:
    """What finds how frames bend, or None where nothing does; small copies (n, rows, columns), their shifts (n, 2).

    still: where what does not move with the tissue prevails, (rows, columns) of bool.
    """
    weight = inside(smalls.shape[1:], shifts)
    if still is not None:
        weight[still] = 0
    no_bend = np.zeros((len(smalls), 2, basis.rows.shape[1], basis.columns.shape[1]))
    rigid = _averaged(smalls, shifts, no_bend, weight, basis, pitch)
    row, column = np.ogrid[: smalls.shape[1], : smalls.shape[2]]
    white = ((row // SQUARE + column // SQUARE) % 2).astype(np.float32)
    halves = [weight * white, weight * (1 - white)]
    alone = [bending(rigid.template, half, basis, pitch, rigid.noise) for half in halves]
    said = [half.of_frames(smalls, shifts, threads) for half in alone]
    said = [weights - np.median(weights, axis=0) for weights in said]
    if not _agree(said, basis, pitch) or not _crisper(smalls, shifts, said, halves, basis, weight):
        return None
    made = rigid
    for _ in range(ROUNDS):
        weights = made.of_frames(smalls, shifts, threads)
        made = _averaged(smalls, shifts, weights - np.median(weights, axis=0), weight, basis, pitch)
    return made


def _averaged(
    smalls: np.ndarray, shifts: np.ndarray, weights: np.ndarray, weight: np.ndarray, basis: Cosines, pitch: int
) -> Bending:
    """Against the mean of small copies that are moved back."""
    total = np.zeros(smalls.shape[1:])
    for small, shift, its in zip(smalls, shifts, weights):
        total += moved_back(small, shift, basis.displacement(its))
    mean = (total / len(smalls)).astype(np.float32)
    some = np.linspace(0, len(smalls) - 1, min(20, len(smalls))).astype(int)
    rest = [moved_back(smalls[i], shifts[i], basis.displacement(weights[i])) - mean for i in some]
    noise = float(noise_sd(np.array(rest)[:, weight > 0], around=0))
    return bending(mean, weight, basis, pitch, max(noise, 1e-12))


def _agree(said: list[np.ndarray], basis: Cosines, pitch: int) -> bool:
    """Whether both halves bend alike, and enough; a shift of the whole is no bending."""
    few = replace(basis, rows=basis.rows[::SQUARE], columns=basis.columns[::SQUARE])
    fields = [np.array([few.displacement(weights) for weights in half]) for half in said]
    one, other = (field - field.mean(axis=(2, 3), keepdims=True) for field in fields)
    both = float((one * other).mean())
    r = both / max(float(np.sqrt((one**2).mean() * (other**2).mean())), 1e-30)
    return r > AGREEMENT and both > (LEAST / pitch) ** 2


def _crisper(
    smalls: np.ndarray,
    shifts: np.ndarray,
    said: list[np.ndarray],
    halves: list[np.ndarray],
    basis: Cosines,
    weight: np.ndarray,
) -> bool:
    still = _crispness(smalls, shifts, 0 * said[0], basis)
    by_white, by_black = (_crispness(smalls, shifts, weights, basis) for weights in said)
    white, black = halves
    return bool((by_white * black + by_black * white).sum() > (still * weight).sum())


def _crispness(smalls: np.ndarray, shifts: np.ndarray, weights: np.ndarray, basis: Cosines) -> np.ndarray:
    """Product of the gradients of two means, of every other frame each: noise, which they do not share, is no detail.

    Shape (rows, columns).
    """
    means = []
    for first in (0, 1):
        some = range(first, len(smalls), 2)
        means.append(np.mean([moved_back(smalls[i], shifts[i], basis.displacement(weights[i])) for i in some], axis=0))
    return np.prod([np.gradient(mean) for mean in means], axis=0).sum(axis=0)
