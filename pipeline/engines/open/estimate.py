"""How large cells are, where nobody says.

A matched filter has its highest peak-to-noise ratio where it has the size of what it looks for. So the movie is
filtered at many scales, and at each place where there are transients the scale of the highest ratio is taken (scale
selection: Lindeberg 1998, Int J Comput Vis 30, 79). The diameter is the median over the clearest places, as the width
of a footprint at half its peak, which is what cell_diameter means in this engine.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from pipeline.engines.open import background, extraction, oasis, patches, seeds
from pipeline.engines.open.frames import Series
from recording.errors import Unusable

SCALES = np.geomspace(4, 60, 11)  # diameters tried, px
FIELD = 192  # px: the middle of a larger field is enough
FRAMES = 600  # and so many frames, in stretches
STRETCH = 100
CLEAREST = 40  # places
CLEAR = 0.4  # of the clearest one's ratio: the rest may be flanks of others
APART = 8  # px between them
LEAST_PEAK = 7.0  # times the noise
HALF_WIDTH = 0.75  # of a footprint whose best scale is 1: 0.67 for a Gaussian, 0.85 for a disc


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
    decay = float(np.exp(-1 / (rate_hz * extraction.DECAY_S)))
    scales = SCALES[min(movie.shape[:2]) / 2 >= SCALES]
    ratios = np.stack([_peak_to_noise(movie, scale, decay) for scale in scales])
    best = ratios.max(axis=0)
    places = seeds.places(best, APART, LEAST_PEAK)[:CLEAREST]
    if len(places) == 0:
        return None
    clear = best[tuple(places.T)]
    places = places[clear >= CLEAR * clear[0]]
    at_places = ratios[:, places[:, 0], places[:, 1]]
    return float(HALF_WIDTH * np.median([_summit(np.log(scales), column) for column in at_places.T]))


def _peak_to_noise(movie: np.ndarray, scale: float, decay: float) -> np.ndarray:
    """Of each pixel over time, after the matched filter of that scale: (rows, columns)."""
    size = max(1, int(scale / 8))
    bins = background.grid(movie.shape[:2], size, scale)
    z, _ = seeds.matched(background.down(bins, movie), scale / size, decay)
    ratio = ndimage.maximum_filter(z.max(axis=2), 3)
    return np.kron(ratio, np.ones((size, size), np.float32))[: movie.shape[0], : movie.shape[1]]


def _summit(x: np.ndarray, y: np.ndarray) -> float:
    """exp of where a parabola through the highest value and its neighbours is highest."""
    i = int(np.clip(y.argmax(), 1, len(y) - 2))
    left, middle, right = y[i - 1 : i + 2]
    bend = left - 2 * middle + right
    offset = 0.0 if bend >= 0 else float(np.clip((left - right) / (2 * bend), -1, 1))
    return float(np.exp(x[i] + offset * (x[1] - x[0])))
