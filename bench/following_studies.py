"""Studies with known identities: the footprints of one animal's cells, session by session.

A day differs by rotation, shift, a smooth warp, focus, the tissue's texture and by which cells are silent. What a cell
finder does to footprints is in it too: of the active cells some are missed, cut, mixed with a neighbour or merged with
a weaker one; some footprints are no cells. Centres jitter. `CONDITIONS` names the studies; the order of the sessions is
random. Nothing is taken from what is measured (`following/`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage, sparse

DIAMETER = 12.0  # px
MARGIN = 48  # px of tissue around the field, which other days show
CUT = 0.1  # of the peak, below which a footprint ends
INSIDE = 0.5  # of its light that a cell must have in the field


@dataclass(frozen=True)
class Condition:
    sessions: int = 5
    cells: int = 55  # in the field
    size: int = 200  # px
    rotation: float = 2.0  # degrees, at most
    shift: float = 9.0  # px, at most in x and y
    warp: float = 0.0  # px, standard deviation
    silent: float = 0.2
    texture: float = 0.12
    missed: float = 0.08
    false: float = 0.06
    cropped: float = 0.10
    contaminated: float = 0.12
    merged: float = 0.03
    jitter: float = 0.4  # px
    strangers: int = 0  # sessions that are another animal's


EASY = Condition()
HARD = replace(EASY, sessions=8, rotation=5.0, warp=3.0, silent=0.4)
CONDITIONS = {
    "easy": EASY,
    "dense": replace(EASY, cells=110),
    "sparse": replace(EASY, cells=15),
    "hard": HARD,
    "dense-hard": replace(HARD, cells=110),
    "sparse-hard": replace(HARD, cells=15),
    "hard, new texture": replace(HARD, texture=0.3),
    "sparse-hard, new texture": replace(HARD, cells=15, texture=0.3),
    "big": replace(EASY, shift=35.0, rotation=10.0),
    "wrong animal": replace(EASY, strangers=1),
    "wrong animal hard": replace(HARD, strangers=1),
    "wrong animal sparse": replace(EASY, cells=15, strangers=1),
    "many": replace(EASY, sessions=60, cells=800, size=760, silent=0.3),
}


@dataclass(frozen=True)
class Day:
    """One session, as a cell finder might leave it, with the truth."""

    name: str
    footprints: sparse.csr_array  # (cells, rows x columns), peak about 1
    shape: tuple[int, int]
    names: tuple[str, ...]
    image: np.ndarray  # (rows, columns), the mean image
    truth: np.ndarray  # (cells,): the cell that it is; below 0, each another: no cell, or another animal's
    stranger: bool
    at: np.ndarray  # (2, rows, columns): row and column of the tissue that each pixel shows


Linked = set[tuple[tuple[int, int], tuple[int, int]]]  # pairs of cells, each (session, cell)


def linked(labels: Sequence[Iterable[int]]) -> Linked:
    """Cells of different sessions that have one label; -1 is none."""
    members: dict[int, list[tuple[int, int]]] = {}
    for s, of_day in enumerate(labels):
        for i, label in enumerate(of_day):
            if label != -1:
                members.setdefault(int(label), []).append((s, i))
    return {(a, b) for group in members.values() for k, a in enumerate(group) for b in group[k + 1 :] if a[0] != b[0]}


def recall_and_precision(days: Sequence[Day], paired: Linked) -> tuple[float, float]:
    """Recall and precision of the pairs of cells across sessions. A pair that includes a false cell counts as wrong."""
    true = linked([day.truth for day in days])
    return len(true & paired) / max(len(true), 1), len(true & paired) / max(len(paired), 1)


@dataclass(frozen=True)
class _Tissue:
    centres: np.ndarray  # (cells, 2) row, column
    shapes: np.ndarray  # (cells, 3): half axes in px, angle
    glow: np.ndarray  # (rows, columns)


def study(condition: Condition, seed: int) -> list[Day]:
    """The sessions of a study, in a random order. Every day is turned, shifted and warped by itself."""
    rng = np.random.default_rng(seed)
    tissue, other = (_tissue(rng, condition) for _ in range(2))
    days = [
        _day(
            rng,
            condition,
            other if number < condition.strangers else tissue,
            number < condition.strangers,
        )
        for number in range(condition.sessions)
    ]
    order = rng.permutation(len(days))
    return [replace(days[i], name=f"s{place:02d}") for place, i in enumerate(order)]


def _tissue(rng: np.random.Generator, condition: Condition) -> _Tissue:
    side = condition.size + 2 * MARGIN
    n = round(condition.cells * side**2 / condition.size**2)
    centres = np.zeros((0, 2))
    while len(centres) < n:
        new = rng.uniform(0, side, 2)
        if not len(centres) or np.hypot(*(centres - new).T).min() > 0.8 * DIAMETER:
            centres = np.vstack([centres, new])
    axes = DIAMETER * rng.uniform((0.36, 0.34, 0), (0.5, 0.46, np.pi / DIAMETER), (n, 3))
    return _Tissue(centres, axes, (1 + 0.12 * _smooth(rng, (side, side), 12)) * _vessels(rng, side))


def _smooth(rng: np.random.Generator, shape: tuple[int, int], sigma: float) -> np.ndarray:
    noise = ndimage.gaussian_filter(rng.normal(size=shape), sigma)
    return noise / noise.std()


def _vessels(rng: np.random.Generator, side: int) -> np.ndarray:
    dark = np.zeros((side, side))
    for _ in range(round(7 * side / 280)):
        place, direction, width = rng.uniform(0, side, 2), rng.uniform(0, 2 * np.pi), rng.uniform(1.5, 4)
        for _ in range(2 * side):
            direction += rng.normal(0, 0.08)
            place += np.array([np.sin(direction), np.cos(direction)])
            i, j = np.rint(place).astype(int)
            if 0 <= i < side and 0 <= j < side:
                dark[i, j] = max(dark[i, j], width)
    return 1 - 0.45 * np.clip(ndimage.gaussian_filter(dark, 2.0) * 2.2, 0, 1)


def _seen_at(rng: np.random.Generator, condition: Condition) -> np.ndarray:
    """Row and column of the tissue that each pixel of today's field shows, (2, rows, columns)."""
    size = condition.size
    angle = np.deg2rad(rng.uniform(-1, 1) * condition.rotation)
    shift = rng.uniform(-condition.shift, condition.shift, 2)
    middle = (size - 1) / 2
    y, x = np.mgrid[:size, :size] - middle
    at = np.array([np.cos(angle) * y - np.sin(angle) * x - shift[0], np.sin(angle) * y + np.cos(angle) * x - shift[1]])
    if condition.warp:
        at += condition.warp * np.array([_smooth(rng, (size, size), 45) for _ in range(2)])
    return at + middle + MARGIN


def _day(rng: np.random.Generator, condition: Condition, tissue: _Tissue, stranger: bool) -> Day:
    size, at = condition.size, _seen_at(rng, condition)
    blur = rng.uniform(0, 1.2)
    active = np.flatnonzero(rng.random(len(tissue.centres)) >= condition.silent)
    images, places, truth = [], [], []
    for cell in active:
        image, inside = _drawn(tissue, cell, at, rng.normal(0, condition.jitter, 2), blur)
        if inside >= INSIDE and rng.random() >= condition.missed:
            images.append(image)
            places.append(tissue.centres[cell])
            truth.append(-2 - int(cell) if stranger else int(cell))
    images, truth = _as_found(rng, condition, images, np.array(places).reshape(-1, 2), truth)
    for _ in range(rng.binomial(len(images), condition.false)):
        images.append(_blob(rng, size, blur))
        truth.append(-1_000_000 - int(rng.integers(1_000_000)))
    order = rng.permutation(len(images))
    rows = sparse.csr_array(np.array([images[i].ravel() for i in order]).reshape(len(order), -1).astype(np.float32))
    glow = ndimage.map_coordinates(tissue.glow, at, order=1, mode="reflect")
    active_light = np.zeros((size, size)) if not images else 0.25 * np.sum(images, axis=0)
    image = glow * (1 + condition.texture * _smooth(rng, (size, size), 8)) + active_light
    image = rng.uniform(0.8, 1.2) * ndimage.gaussian_filter(image, blur) * _light(size)
    names = tuple(f"C{i:03d}" for i in range(len(order)))
    return Day("", rows, (size, size), names, image.astype(np.float32), np.array(truth)[order], stranger, at)


def _light(size: int) -> np.ndarray:
    y, x = np.mgrid[:size, :size] - size / 2
    return 1 - 0.45 * (x**2 + y**2) / (size**2 / 2)


def _drawn(
    tissue: _Tissue, cell: int, at: np.ndarray, jitter: np.ndarray, blur: float
) -> tuple[sparse.csr_array | np.ndarray, float]:
    """The image of a cell, and how much of its light is in the field."""
    centre = tissue.centres[cell] + jitter
    a, b, angle = tissue.shapes[cell]
    image = np.zeros(at.shape[1:], np.float32)
    near = _near(at, centre)
    if not len(near[0]):
        return image, 0.0
    y, x = at[0][near] - centre[0], at[1][near] - centre[1]
    u, v = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    image[near] = np.exp(-(((u / a) ** 2 + (v / b) ** 2) ** 1.4))
    whole = np.pi * a * b * 0.886  # the integral, by Gamma(1 + 1 / 1.4)
    box = tuple(slice(max(0, along.min() - 3), along.max() + 4) for along in near)
    seen = ndimage.gaussian_filter(image[box], blur)
    image[box] = _cut(seen)
    return image, float(seen.sum()) / whole


def _near(at: np.ndarray, centre: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the pixels that show what is around a place of the tissue; sought first in every 8th."""
    far = np.abs(at[:, ::8, ::8] - centre[:, None, None]).max(axis=0)
    rows, columns = (index * 8 for index in np.nonzero(far < 2 * DIAMETER + 16))
    if not len(rows):
        return rows, columns
    low = np.maximum([rows.min() - 8, columns.min() - 8], 0)
    window = at[:, low[0] : rows.max() + 9, low[1] : columns.max() + 9]
    there = np.nonzero(np.abs(window - centre[:, None, None]).max(axis=0) < 2 * DIAMETER)
    return there[0] + low[0], there[1] + low[1]


def _cut(image: np.ndarray) -> np.ndarray:
    return np.where(image >= CUT * image.max(), image, 0)


def _as_found(
    rng: np.random.Generator, condition: Condition, images: list[np.ndarray], places: np.ndarray, truth: list[int]
) -> tuple[list[np.ndarray], list[int]]:
    """Some are cut, mixed with a neighbour, or merged with it (and the neighbour is not found)."""
    seen, gone = list(images), set()
    for i in range(len(images)):
        if i in gone:
            continue
        apart = np.hypot(*(places - places[i]).T)
        apart[i] = np.inf
        neighbour = int(apart.argmin())
        close = apart[neighbour] < 1.8 * DIAMETER and neighbour not in gone
        what = rng.random()
        if what < condition.cropped:
            seen[i] = _cropped(rng, images[i])
        elif what < condition.cropped + condition.contaminated and close:
            seen[i] = images[i] + rng.uniform(0.2, 0.6) * images[neighbour]
        elif what > 1 - condition.merged and close:
            seen[i] = images[i] + rng.uniform(0.4, 0.9) * images[neighbour]
            gone.add(neighbour)
    keep = [i for i in range(len(images)) if i not in gone]
    return [seen[i] for i in keep], [truth[i] for i in keep]


def _cropped(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Without what lies beyond a line, which is up to a third of a diameter from the centre."""
    rows, columns = np.nonzero(image)
    weight = image[rows, columns]
    angle, offset = rng.uniform(0, 2 * np.pi), rng.uniform(0.1, 0.33) * DIAMETER
    along = (rows - np.average(rows, weights=weight)) * np.sin(angle)
    along += (columns - np.average(columns, weights=weight)) * np.cos(angle)
    out = image.copy()
    out[rows[along > offset], columns[along > offset]] = 0
    return out


def _blob(rng: np.random.Generator, size: int, blur: float) -> np.ndarray:
    y, x = np.mgrid[:size, :size]
    cy, cx = rng.uniform(0, size, 2)
    a, b, angle = DIAMETER * rng.uniform(0.25, 0.7), DIAMETER * rng.uniform(0.25, 0.5), rng.uniform(0, np.pi)
    u = (x - cx) * np.cos(angle) + (y - cy) * np.sin(angle)
    v = (y - cy) * np.cos(angle) - (x - cx) * np.sin(angle)
    return _cut(ndimage.gaussian_filter(np.exp(-(((u / a) ** 2 + (v / b) ** 2) ** 1.4)), blur).astype(np.float32))
