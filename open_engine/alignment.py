"""Aligns the field of one session to that of another by their cells.

First the rotation (to 15 degrees) and the shift with the greatest cross-correlation of two maps is sought by FFT on a
coarse grid; a map has every footprint up to 1, the largest on top, blurred. From there, and from no motion at all,
centres of cells are paired (each the other's nearest) and the transform fitted to the pairs by least squares, in turns,
while pairs that lie too far apart are left out (iterative closest points: Besl and McKay, 1992, IEEE Transactions on
Pattern Analysis and Machine Intelligence 14:239; trimmed). So cells that only one session has do not pull. Fewer than 3
pairs determine a shift, fewer than 10 a rotation with it, more an affine transform.

A transform is a 2 x 3 matrix that takes x, y of the reference to x, y of the other field, in px:
x' = a00 x + a01 y + t0, y' = a10 x + a11 y + t1.
"""

from __future__ import annotations

import math

import numpy as np
import scipy

IDENTITY = np.array([[1.0, 0, 0], [0, 1, 0]])
LARGEST_ROTATION = 15.0  # degrees
ROTATION_STEP = 1.5
COARSE = 256  # px, to which the longer side of a map is reduced for the search
TURNS = 40  # of pairing and fitting, at most
SNAP = 0.05  # px
CUT = 0.2  # of its maximum, below which a footprint counts as 0: those of PCA-ICA have a faint background


def cut_footprints(images: np.ndarray) -> np.ndarray:
    """Each up to 1, 0 below `CUT`; shape (cells, rows, columns), float32."""
    cut = np.zeros(images.shape, np.float32)
    for i, image in enumerate(images):
        positive = np.maximum(np.nan_to_num(image, nan=0, posinf=0, neginf=0), 0)
        peak = positive.max(initial=0)
        if peak > 0:
            cut[i] = np.where(positive >= CUT * peak, positive / peak, 0)
    return cut


def align(reference: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The transform from a reference to another session, the identity if one has no cells.

    Both as `cut_footprints` leaves them.
    """
    centres = [centres_of(footprints) for footprints in (reference, other)]
    if not all(map(len, centres)):
        return IDENTITY.copy()
    areas = np.concatenate([(footprints >= 0.5).sum(axis=(1, 2)) for footprints in (reference, other)])
    diameter = 2 * math.sqrt(np.median(areas[areas > 0]) / math.pi)
    angle = LARGEST_ROTATION if min(map(len, centres)) >= 3 else 0.0
    starts = [_coarse(reference.max(axis=0), other.max(axis=0), angle), IDENTITY]
    fits = [_fitted_to_pairs(*centres, start, diameter) for start in starts]
    closeness = [_closeness(*centres, fit, diameter) for fit in fits]
    return _snapped(fits[int(np.argmax(closeness))], reference.shape[1:])


def _snapped(transform: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """A shift by whole pixels instead, where that moves no corner by more than `SNAP`: it needs no interpolation."""
    whole = np.column_stack([np.eye(2), np.rint(transform[:, 2]) + 0.0])  # which makes 0 of -0
    corners = np.array([[0, 0], [shape[1], 0], [0, shape[0]], [shape[1], shape[0]]], float)
    near = np.abs(apply(transform, corners) - apply(whole, corners)).max() <= SNAP
    return whole if near else transform


def centres_of(footprints: np.ndarray) -> np.ndarray:
    """Centres of mass, shape (cells, 2): x, y, of those footprints that are not empty."""
    full = [scipy.ndimage.center_of_mass(footprint)[::-1] for footprint in footprints if footprint.any()]
    return np.array(full).reshape(-1, 2)


def warped(
    image: np.ndarray, transform: np.ndarray, shape: tuple[int, int], corner: tuple[int, int] = (0, 0)
) -> np.ndarray:
    """An image of another session as seen from the reference, bilinear; 0 where it does not reach.

    `shape` and `corner` (x, y) are those of the part of the reference's field that is wanted.
    """
    matrix, offset = transform[::-1, 1::-1], transform[::-1, 2]  # rows before columns
    start = matrix @ np.array(corner[::-1]) + offset
    if np.array_equal(matrix, np.eye(2)) and np.array_equal(start, np.rint(start)):
        return _moved(image, start.astype(int), shape)
    filled = np.nan_to_num(image, nan=0, posinf=0, neginf=0)
    return scipy.ndimage.affine_transform(filled, matrix, start, shape, order=1, mode="grid-constant", cval=0)


def reached(transform: np.ndarray, shape: tuple[int, int], other_shape: tuple[int, int]) -> np.ndarray:
    """Where in the reference's field (rows, columns) the other one reaches; bool."""
    row, column = np.mgrid[: shape[0], : shape[1]].astype(float)
    x = transform[0, 0] * column + transform[0, 1] * row + transform[0, 2]
    y = transform[1, 0] * column + transform[1, 1] * row + transform[1, 2]
    slack = 1e-6
    return (x >= -slack) & (y >= -slack) & (x <= other_shape[1] - 1 + slack) & (y <= other_shape[0] - 1 + slack)


def rectangle_within(mask: np.ndarray) -> tuple[int, int, int, int] | None:
    """A large rectangle that lies in a mask: x, y, width, height. None if there is none.

    From the whole field, the side with the largest part outside is moved inwards by 1 px until nothing is outside.
    """
    top, left, bottom, right = 0, 0, mask.shape[0], mask.shape[1]
    while top < bottom and left < right:
        part = mask[top:bottom, left:right]
        outside = [1 - side.mean() for side in (part[0], part[-1], part[:, 0], part[:, -1])]
        if max(outside) == 0 and part.all():
            return left, top, right - left, bottom - top
        side = int(np.argmax(outside))
        top, bottom, left, right = top + (side == 0), bottom - (side == 1), left + (side == 2), right - (side == 3)
    return None


def _moved(image: np.ndarray, start: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Shifted by whole pixels: to the bit."""
    out = np.zeros(shape, image.dtype)
    here = [slice(max(0, -first), min(n, size - first)) for first, n, size in zip(start, shape, image.shape)]
    there = [slice(window.start + first, window.stop + first) for window, first in zip(here, start)]
    if all(window.start < window.stop for window in here):
        out[tuple(here)] = image[tuple(there)]
    return out


def _coarse(reference: np.ndarray, other: np.ndarray, largest: float) -> np.ndarray:
    """Rotation about the reference's centre and shift with the greatest cross-correlation."""
    step = max(1, math.ceil(max(*reference.shape, *other.shape) / COARSE))
    small = [scipy.ndimage.gaussian_filter(image, 2.0 * step)[::step, ::step] for image in (reference, other)]
    small = [image - image.mean() for image in small]
    sizes = [scipy.fft.next_fast_len(a + b) for a, b in zip(*(image.shape for image in small))]
    spectrum = scipy.fft.rfft2(small[1], sizes)
    n = round(largest / ROTATION_STEP)
    best, transform = -np.inf, IDENTITY
    for angle in np.arange(-n, n + 1) * ROTATION_STEP:
        turn = _rotation(angle, small[0].shape)
        seen = warped(small[0], _inverse(turn), small[0].shape)  # the reference as the other session would show it
        correlation = scipy.fft.irfft2(spectrum * np.conj(scipy.fft.rfft2(seen, sizes)), sizes)
        peak = correlation.max()
        if peak > best:
            row, column = np.unravel_index(correlation.argmax(), correlation.shape)
            shift = [k - size if k > size // 2 else k for k, size in ((column, sizes[1]), (row, sizes[0]))]
            best, transform = peak, turn + np.array([[0, 0, shift[0]], [0, 0, shift[1]]])
    full = transform.copy()
    full[:, 2] *= step
    return full


def _rotation(angle: float, shape: tuple[int, int]) -> np.ndarray:
    """About the centre of a field."""
    c, s = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    matrix = np.array([[c, -s], [s, c]])
    centre = np.array([shape[1] - 1, shape[0] - 1]) / 2
    return np.column_stack([matrix, centre - matrix @ centre])


def _inverse(transform: np.ndarray) -> np.ndarray:
    matrix = np.linalg.inv(transform[:, :2])
    return np.column_stack([matrix, -matrix @ transform[:, 2]])


def _fitted_to_pairs(points: np.ndarray, others: np.ndarray, start: np.ndarray, diameter: float) -> np.ndarray:
    transform, radius = start, 1.5 * diameter
    before = None
    for _ in range(TURNS):
        mine, theirs, distances = _pairs(points, others, transform, radius)
        if not len(mine):
            return transform
        transform = _fitted(points[mine], others[theirs])
        now = (mine.tolist(), theirs.tolist(), radius)
        if now == before:
            break
        before = now
        radius = min(radius, max(0.5 * diameter, 4.5 * float(np.median(distances))))
    return transform


def _pairs(
    points: np.ndarray, others: np.ndarray, transform: np.ndarray, radius: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Indices of points that are each other's nearest, at most `radius` apart, and their distances."""
    seen = apply(transform, points)
    distances, nearest = scipy.spatial.cKDTree(others).query(seen)
    _, back = scipy.spatial.cKDTree(seen).query(others)
    mutual = (back[nearest] == np.arange(len(points))) & (distances <= radius)
    return np.flatnonzero(mutual), nearest[mutual], distances[mutual]


def _fitted(points: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The transform that takes points to others, by least squares, as rich as their number allows."""
    centre, other_centre = points.mean(axis=0), others.mean(axis=0)
    if len(points) < 3:
        matrix = np.eye(2)
    elif len(points) < 10:  # Kabsch, 1976, Acta Crystallographica A 32:922
        left, _, right = np.linalg.svd((others - other_centre).T @ (points - centre))
        matrix = left @ np.diag([1, np.linalg.det(left @ right)]) @ right
    else:
        matrix = np.linalg.lstsq(points - centre, others - other_centre, rcond=None)[0].T
    return np.column_stack([matrix, other_centre - matrix @ centre])


def _closeness(points: np.ndarray, others: np.ndarray, transform: np.ndarray, diameter: float) -> float:
    """How well all pairs fit together: each counts 1 where it fits exactly, next to nothing from half a diameter on."""
    distances = _pairs(points, others, transform, diameter)[2]
    return float(np.exp(-0.5 * (distances / (diameter / 5)) ** 2).sum())


def apply(transform: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Points (n, 2), x and y, of the reference in the other field."""
    return points @ transform[:, :2].T + transform[:, 2]
