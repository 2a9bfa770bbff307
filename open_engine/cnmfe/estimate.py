"""How large cells are, where nobody says.

Places where transients stand out from the noise are found as for seeds (seeds.py), first at a size that is small for a
cell and then at the one measured so. At each of the clearest, the frames in which it is brightest are averaged, less
those just before them: an image of what was active. The diameter is that of a disc as large as the part above half of
the image's peak, which is what cell_diameter means in this engine; the result is the median over places.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from open_engine.cnmfe import background, extraction, oasis, patches, seeds
from open_engine.files.frames import Series
from recording.errors import Unusable

FIRST_GUESS = 8.0  # px
PASSES = 2
FIELD = 192  # px: the middle of a larger field is enough
FRAMES = 800  # and so many frames, in stretches
STRETCH = 100
CLEAREST = 40  # places
LEAST_PEAK = 8.0  # times the noise
BRIGHTEST = 8  # frames of a place
BEFORE_S = 1.0  # from a frame to the one it is compared with
REACH = 3  # diameters from a place to the edge of its image
BLUR = 1.0  # px, sigma, of the image


def estimate_cell_diameter(movie: Series) -> float:
    """In px. Raises Unusable if no transients stand out from the noise."""
    shape = movie.shape
    starts = [max(0, (length - FIELD) // 2) for length in shape]
    spans = [(start, min(length, start + FIELD)) for start, length in zip(starts, shape)]
    tile = patches.Tile(*spans, *spans)
    recorded = np.flatnonzero(movie.valid)
    pieces = np.array_split(recorded, max(1, min(FRAMES, len(recorded)) // STRETCH))
    frames = np.concatenate([_frames(movie, tile, piece[:STRETCH]) for piece in pieces])
    found = diameter_of(np.ascontiguousarray(np.moveaxis(frames, 0, 2)), movie.timing.rate_hz)
    if found is None:
        name = movie.parts[0].path.name
        raise Unusable(f"no cells found in {name}: nothing stands out from the noise, so give cell_diameter")
    return found


def _frames(movie: Series, tile: patches.Tile, wanted: np.ndarray) -> np.ndarray:
    """Those of these samples that are recorded."""
    start, stop = int(wanted[0]), int(wanted[-1]) + 1
    return movie.read(start, stop)[movie.valid[start:stop], slice(*tile.rows), slice(*tile.columns)]


def diameter_of(movie: np.ndarray, rate_hz: float) -> float | None:
    """Of a movie (rows, columns, frames), float32, which is overwritten; None where no transients stand out."""
    np.nan_to_num(movie, copy=False, nan=0, posinf=0, neginf=0)
    movie -= movie.mean(axis=2, keepdims=True)
    noise = np.stack([oasis.noise_level(row) for row in movie]).astype(np.float32)
    noise[noise <= 1e-6 * np.median(noise)] = np.inf
    movie /= noise[:, :, None]
    diameter: float | None = FIRST_GUESS
    for _ in range(PASSES):
        if diameter is None or min(movie.shape[:2]) < 2 * diameter:
            return None
        diameter = _measured(movie, diameter, rate_hz)
    return diameter


def _measured(movie: np.ndarray, guess: float, rate_hz: float) -> float | None:
    """The median diameter at the places that a filter for cells of the guessed diameter finds."""
    bins = background.grid(movie.shape[:2], max(1, int(guess / 4)), guess)
    z, _ = seeds.matched(background.down(bins, movie), guess / bins.size, np.exp(-1 / (rate_hz * extraction.DECAY_S)))
    places = seeds.places(z.max(axis=2), guess / bins.size, LEAST_PEAK)[:CLEAREST]
    before = max(1, round(BEFORE_S * rate_hz))
    widths = [_width(movie, bins.size, place, z[tuple(place)], before, int(REACH * guess)) for place in places]
    return float(np.median(widths)) if widths else None


def _width(movie: np.ndarray, size: int, place: np.ndarray, z: np.ndarray, before: int, reach: int) -> float:
    frames = np.argsort(-z[before:], kind="stable")[:BRIGHTEST] + before
    at = ((place + 0.5) * size).astype(int)
    low = np.maximum(at - reach, 0)
    field = movie[low[0] : at[0] + reach + 1, low[1] : at[1] + reach + 1]
    image = ndimage.gaussian_filter((field[:, :, frames] - field[:, :, frames - before]).mean(axis=2), BLUR)
    here = tuple(slice(max(0, k - size), k + size + 1) for k in at - low)
    peak = image[here].max()
    labels, _ = ndimage.label(image > peak / 2)
    inside = labels == labels[here].max(initial=0)
    return float(np.sqrt(max(1.0, 4 * inside.sum() / np.pi - (2.355 * BLUR) ** 2)))
