"""Whether footprints have the shape of cells.

Light that is 1 to 3 diameters wide, such as waves of neuropil, a bright edge or a patch out of focus, is found as
pieces that are larger than a cell, or bent. Compactness tells them (metrics.py). IDPS's "# Comps" does not: one stray
pixel above half of the peak is a second component, and noise leaves many.

How large a cell may be depends on the movie. Where all cells are in focus they are alike, and what is half as wide
again is something else. Where tissue scatters the light of deeper cells, they look up to twice as wide, with every size
between, and are dimmer in proportion. So where larger cells are dimmer, what is larger than the diameter allows is
still a cell's if it is neither larger nor dimmer than the other cells of this movie suggest.

A movie without cells may hold patches out of focus that are hardly wider than the diameter taken for it. Of cells, most
are no wider; of such patches, few are. So where few footprints are clearly as compact as a cell, this is asked of all.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from open_engine.cnmfe.gate import diameter_of_disc, elongation
from open_engine.metrics import compactness
from open_engine.robust import noise_sd

LEAST_COMPACT = 0.8
LEAST_COMPACT_OF_ROUND = 0.77  # a large cell is round; a piece of something larger seldom is
LEAST_COMPACT_OF_FEW = 0.9  # with so few that nothing says how large cells are: those not wider than taken
FEW = 8  # cells
SOME = 16  # cells: as many are believed even if the diameter is wrong
ROUND = 1.25  # length over width
ON_BORDER = 0.21  # diameters from it: the centre of what is seen of a cell of which half is
MANY = 50  # cells: fewer do not say how they differ
SPREAD_LIGHT = -1.75  # slope of log brightness over log size: -2 where light is spread and none is lost
ENOUGH = 500  # of them to draw a line through
LARGER = 2.5  # standard deviations of the logarithms of sizes, beyond which it is not one of them
DIMMER = 2.0  # likewise, of brightness about that line
LONGEST_OF_LARGE = 1.8  # length over width: light that is scattered is rounder than its source
RAGGED = 1.75  # widths across what holds most of a footprint; 1.1 for a Gaussian, more where noise is part of it


@dataclass(frozen=True)
class Shape:
    """What is measured of a footprint."""

    compactness: float
    elongation: float  # length over width, above half of the peak
    width: float  # px, of a disc as large as the part above half of the peak
    radius: float  # px around the centre, within which LEAST_COMPACT of the square is
    to_border: float  # px from the centre to the border of the field, negative outside


EMPTY = Shape(0, 1, 0, 0, 0)


def is_cell(footprint: np.ndarray, diameter: float) -> bool:
    """Whether a footprint (rows, columns) alone is compact, and its cell's centre in the field."""
    return not _doubt(shape(footprint, diameter), diameter)


def doubts(footprints: Iterable[np.ndarray], brightness: np.ndarray, diameter: float) -> list[str]:
    """Why each footprint (rows, columns) of a movie is no cell's, in words; "" if it may be one's.

    brightness: at each one's peak when it is most active, (footprints,), in any unit. diameter: px.
    """
    shapes = [shape(footprint, diameter) for footprint in footprints]
    by_shape = [_doubt(its, diameter) for its in shapes]
    passes = np.array([not doubt for doubt in by_shape], bool)
    strictly = [_doubt(its, diameter, LEAST_COMPACT_OF_FEW) for its in shapes]
    if strictly.count("") < FEW and passes.sum() < SOME:
        return strictly
    if passes.sum() < MANY:
        return by_shape
    radii = np.log([max(its.radius, 1e-3) for its in shapes])
    light = np.log(np.maximum(brightness, 1e-30))
    blurred = np.array([_may_be_blurred(its, diameter) for its in shapes])
    return ["" if like else doubt for like, doubt in zip(_like_the_cells(passes, blurred, radii, light), by_shape)]


def shape(footprint: np.ndarray, diameter: float) -> Shape:
    """The shape of a footprint (rows, columns); diameter, px, is that of cells."""
    lit = np.argwhere(footprint > 0)
    if not len(lit):
        return EMPTY
    first, end = lit.min(axis=0), lit.max(axis=0) + 1
    part = footprint[first[0] : end[0], first[1] : end[1]]
    y, x = (lit - first).T
    power = part[y, x].astype(np.float64) ** 2
    centre = np.array([np.average(y, weights=power), np.average(x, weights=power)])
    away = np.hypot(y - centre[0], x - centre[1])
    order = np.argsort(away, kind="stable")
    share = np.cumsum(power[order]) / power.sum()
    at = centre + first + 0.5
    return Shape(
        compactness=compactness(part, diameter),
        elongation=elongation(part),
        width=diameter_of_disc(part),
        radius=float(np.interp(LEAST_COMPACT, share, away[order])),
        to_border=float(min(*at, *(np.array(footprint.shape) - at))),
    )


def _doubt(seen: Shape, diameter: float, least_compact: float = 0) -> str:
    """least_compact: of it, where more is asked for than of others."""
    if seen is EMPTY:
        return "its footprint is empty"
    if not _in_field(seen, diameter):
        return "on the border of the field, its centre outside"
    least = max(least_compact, LEAST_COMPACT_OF_ROUND if seen.elongation < ROUND else LEAST_COMPACT)
    if seen.compactness > least:
        return ""
    return f"not compact: {100 * seen.compactness:.0f}% of its light is near its centre, less than {100 * least:.0f}%"


def _may_be_blurred(seen: Shape, diameter: float) -> bool:
    """Whether a footprint may be that of a cell whose light is scattered: smooth, and not long."""
    smooth = 2 * seen.radius < RAGGED * seen.width
    return smooth and seen.elongation < LONGEST_OF_LARGE and _in_field(seen, diameter)


def _in_field(seen: Shape, diameter: float) -> bool:
    return seen.to_border >= ON_BORDER * diameter


def _like_the_cells(cells: np.ndarray, others: np.ndarray, radii: np.ndarray, light: np.ndarray) -> np.ndarray:
    """Which footprints are cells or neither larger nor, for their size, dimmer than these are, (footprints,).

    cells: which are known to be; others: which may be. radii, light: logarithms. What is like the cells is one too, and
    counts when it is asked again what they are like. Only cells are where the larger are not dimmer in proportion.
    """
    if _slope(radii, light, cells) > SPREAD_LIGHT:
        return cells
    while True:
        largest = radii[cells].mean() + LARGER * radii[cells].std()
        without_size = light - _slope(radii, light, cells) * radii
        usual = without_size[cells]
        dimmest = np.median(usual) - DIMMER * min(usual.std(), noise_sd(usual))
        more = cells | (others & (radii <= largest) & (without_size >= dimmest))
        if (more == cells).all():
            return cells
        cells = more


def _slope(radii: np.ndarray, light: np.ndarray, cells: np.ndarray) -> float:
    """Of the line of Theil (1950) and Sen (1968) through the cells, which single patches among them do not tilt."""
    some = np.flatnonzero(cells)
    some = some[:: max(1, len(some) // ENOUGH)]
    run, rise = (np.subtract.outer(values[some], values[some]) for values in (radii, light))
    return float(np.median(rise[run > 0] / run[run > 0]))
