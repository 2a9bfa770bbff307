"""What takes points of one session's field to another's: an affine transform and, where it pays, a smooth warp.

The warp is a thin plate spline (Bookstein 1989, IEEE Transactions on Pattern Analysis and Machine Intelligence 11:567)
with knots on a grid, fitted by least squares with a penalty on its bending energy (Wahba 1990, Spline Models for
Observational Data). How stiff it is, and whether there is one at all, is decided by how well each pair of points is
predicted from the others; that needs no fit without the pair, as all of these are linear smoothers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np

KNOTS = 6  # along the longer side of the field
STIFFNESS = tuple(10.0 ** np.arange(-1.5, 3.6, 0.5))  # of the penalty on bending, relative
FEWEST = {"shift": 1, "rigid": 3, "affine": 8, "warp": 14}  # pairs that each model asks for
GAIN = 0.9  # what a richer model must bring the error of prediction down to


@dataclass(frozen=True)
class Frame:
    """The field in which a warp has its knots."""

    width: float
    height: float

    @property
    def centre(self) -> np.ndarray:
        return np.array([self.width, self.height]) / 2

    @property
    def scale(self) -> float:
        return max(self.width, self.height) / 2


@dataclass(frozen=True)
class Transform:
    """Takes x, y of a session to x, y of the reference, px."""

    frame: Frame
    matrix: np.ndarray = field(default_factory=lambda: np.eye(2))  # (2, 2)
    shift: np.ndarray = field(default_factory=lambda: np.zeros(2))  # (2,)
    warp: np.ndarray | None = None  # (basis, 2)
    model: str = "identity"  # or "shift", "rigid", "affine", "warp"
    scale: float = 1.0  # of the session's pixels, in those of the reference; comes first

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """Points (n, 2)."""
        points = points * self.scale
        moved = points @ self.matrix.T + self.shift
        return moved if self.warp is None else moved + _basis(points, self.frame) @ self.warp

    def inverse(self, points: np.ndarray, steps: int = 12) -> np.ndarray:
        """Where in the session points of the reference are, by fixed-point iteration."""
        back = np.linalg.inv(self.matrix)
        places = (points - self.shift) @ back.T
        for _ in range(steps if self.warp is not None else 0):
            places = places - (replace(self, scale=1)(places) - points) @ back.T
        return places / self.scale

    @property
    def affine(self) -> np.ndarray:
        """(2, 3), without the warp."""
        return np.column_stack([self.matrix * self.scale, self.shift])


def rigid(frame: Frame, degrees: float, shift: np.ndarray) -> Transform:
    """A rotation about the centre of the field, then a shift."""
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    matrix = np.array([[c, -s], [s, c]])
    return Transform(frame, matrix, frame.centre - matrix @ frame.centre + shift, None, "rigid")


@dataclass(frozen=True)
class Fit:
    """A transform fitted to pairs, and the distance that each pair has if it is predicted from the others, px."""

    transform: Transform
    predicted: np.ndarray


def best_fit(
    frame: Frame,
    points: np.ndarray,
    targets: np.ndarray,
    weights: np.ndarray,
    richest: str = "warp",
    fast: bool = False,
) -> Fit:
    """The simplest model of those up to `richest` that predicts pairs nearly as well as the best one does.

    If it is to be `fast`, a warp has few stiffnesses to choose from.
    """
    count = weights.sum() ** 2 / max((weights**2).sum(), 1e-30) if len(weights) else 0
    order = list(FEWEST)[: list(FEWEST).index(richest) + 1]
    allowed = [model for model in order if count >= FEWEST[model]]
    if not allowed:
        return Fit(Transform(frame), np.hypot(*(points - targets).T))
    best: tuple[float, Fit] | None = None
    for model in allowed:
        candidate = fit(frame, points, targets, weights, model, STIFFNESS[1::3] if fast else STIFFNESS)
        error = _typical(candidate.predicted, weights)
        if best is None or error < GAIN * best[0] or model == "rigid":
            best = error, candidate
    assert best is not None
    return best[1]


def fit(
    frame: Frame,
    points: np.ndarray,
    targets: np.ndarray,
    weights: np.ndarray,
    model: str,
    stiffnesses: Sequence[float] = STIFFNESS,
) -> Fit:
    """One model, by weighted least squares; a warp's stiffness by the error of prediction."""
    if model == "shift":
        moved = targets - points
        shift = np.average(moved, axis=0, weights=weights)
        left_out = np.maximum(1 - weights / weights.sum(), 0.1)
        transform = Transform(frame, np.eye(2), shift, None, model)
        return Fit(transform, np.hypot(*(moved - shift).T) / left_out)
    if model == "rigid":
        return _rigid_fit(frame, points, targets, weights)
    design = np.column_stack([points, np.ones(len(points))])
    if model == "affine":
        return next(_linear_fits(frame, design, targets, weights, (1.0,)))
    design = np.hstack([design, _basis(points, frame)])
    return min(
        _linear_fits(frame, design, targets, weights, stiffnesses), key=lambda one: _typical(one.predicted, weights)
    )


def _rigid_fit(frame: Frame, points: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> Fit:
    """Kabsch 1976, Acta Crystallographica A 32:922."""
    share = weights / weights.sum()
    centre, other = share @ points, share @ targets
    left, _, right = np.linalg.svd((targets - other).T @ ((points - centre) * share[:, None]))
    matrix = left @ np.diag([1, np.linalg.det(left @ right)]) @ right
    transform = Transform(frame, matrix, other - matrix @ centre, None, "rigid")
    spread = share @ ((points - centre) ** 2).sum(axis=1)
    leverage = share * (1 + 0.5 * ((points - centre) ** 2).sum(axis=1) / max(spread, 1e-9))
    return Fit(transform, np.hypot(*(targets - transform(points)).T) / np.maximum(1 - leverage, 0.1))


def _linear_fits(
    frame: Frame, design: np.ndarray, targets: np.ndarray, weights: np.ndarray, stiffnesses: Sequence[float]
) -> Iterator[Fit]:
    """One for each stiffness. `design` is (points, 3 + basis): x, y, 1, and a warp's values if there is one."""
    weighted = design * weights[:, None]
    square, product = weighted.T @ design, weighted.T @ targets
    for stiffness in stiffnesses:
        penalty = np.r_[np.full(3, 1e-9), np.full(design.shape[1] - 3, stiffness)]
        inverse = np.linalg.inv(square + np.diag(penalty))
        coefficients = inverse @ product
        leverage = np.einsum("ij,ij->i", design @ inverse, weighted)
        rest = np.hypot(*(targets - design @ coefficients).T)
        warp = coefficients[3:] if design.shape[1] > 3 else None
        transform = Transform(frame, coefficients[:2].T, coefficients[2], warp, "affine" if warp is None else "warp")
        yield Fit(transform, rest / np.maximum(1 - leverage, 0.1))


def _typical(distances: np.ndarray, weights: np.ndarray) -> float:
    """Root mean square, without the tail that wrong pairs make."""
    order = np.argsort(distances)
    below = np.cumsum(weights[order])
    clip = distances[order][np.searchsorted(below, 0.8 * below[-1])]
    return float(np.sqrt(np.average(np.minimum(distances, clip) ** 2, weights=weights))) + 0.05


def _basis(points: np.ndarray, frame: Frame) -> np.ndarray:
    """Values (points, basis) of the warps that have a bending energy of one and are orthogonal in it."""
    knots, mix = _knots(frame)
    return _kernel((points - frame.centre) / frame.scale, knots) @ mix


@lru_cache(maxsize=256)
def _knots(frame: Frame) -> tuple[np.ndarray, np.ndarray]:
    sides = np.array([frame.width, frame.height]) / max(frame.width, frame.height)
    grids = [np.linspace(-side, side, max(3, round(KNOTS * side))) for side in sides]
    knots = np.array([(x, y) for y in grids[1] for x in grids[0]])
    plane = np.column_stack([knots, np.ones(len(knots))])
    free = np.linalg.svd(plane.T)[2][3:].T  # weights that make no affine transform
    energy, turn = np.linalg.eigh(free.T @ _kernel(knots, knots) @ free)
    return knots, free @ turn / np.sqrt(np.maximum(energy, 1e-9 * energy.max()))


def _kernel(points: np.ndarray, knots: np.ndarray) -> np.ndarray:
    square = np.subtract.outer(points[:, 0], knots[:, 0]) ** 2
    square += np.subtract.outer(points[:, 1], knots[:, 1]) ** 2
    return 0.5 * square * np.log(np.maximum(square, 1e-12))
