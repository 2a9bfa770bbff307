"""How large cells are, where nobody says.

Places where transients stand out from the noise are looked for at several sizes, each with a filter for cells of that
size, as for seeds (seeds.py). The frames in which a place is brightest are averaged, less those a second before: an
image of what was active. Its peak is measured from the light around it, so that background that lit up with it does not
count. The diameter is that of a disc as large as the part above half of the peak, which is what cell_diameter means in
this engine. What is not about as wide as the filter expects is dropped; a place that several filters find belongs to
the one in which it stands out most. The result is the median over places, each with the weight of its power over that
of the noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import scipy

from open_engine.binning import binned
from open_engine.cnmfe import extraction, oasis, seeds
from open_engine.files.frames import Series, in_order, one_blas_thread
from open_engine.robust import median, noise_sd

SIZES = (4.5, 6.0, 8.0, 11.0, 15.0, 20.0, 27.0, 36.0)  # px, of the filters
FIELD = 192  # px: the middle of a larger field is enough
FRAMES = 500  # and so many frames, in stretches over the recording
STRETCH = 50
RATE_HZ = 10.0  # faster recordings are averaged to about this
CLEAREST = 60  # places of each size
LEAST_PEAK = 8.0  # times the noise
SAMPLED = 200  # frames from which noise is measured
APART = 0.6  # least distance of two places, in diameters
BRIGHTEST = 8  # frames of a place
BEFORE_S = 1.0  # from a frame to the one it is compared with
RING = 1.1, 1.8  # in diameters from a place: where the light around it is measured
BLUR = 1.0  # px, sigma, of the image
FITS = 0.6, 1.5  # of a filter's size
LONGEST = 1.8  # length over width: a front of light is longer
WIDER = 2, 4  # px of a bin, where more of the field is looked at
TOO_FEW = 3  # places to tell anything, unless one is clear
CLEAR = 16.0  # times the noise
FEWEST = 5  # places: with fewer, the median may be that of what is no cell
DISAGREE = 2.0  # ratio of the quartiles of widths
USUAL = 7.0  # px, where nothing stands out: IDPS's default


@dataclass(frozen=True)
class Diameter:
    """A diameter of cells, px; `doubt` says why it may be wrong, or is empty."""

    px: float
    doubt: str = ""
    few: bool = field(default=False, compare=False)  # because there is little to measure


@dataclass(frozen=True)
class Place:
    """Where transients are, and in which filter they stand out most."""

    at: tuple[int, int]
    size: float  # px, of the filter
    height: float  # times the noise
    width: float  # px, as measured

    @property
    def fits(self) -> bool:
        return FITS[0] * self.size < self.width < FITS[1] * self.size


def estimate_cell_diameter(movie: Series, threads: int = 1) -> Diameter:
    """The diameter of a movie's cells. The result says if nothing stands out or widths disagree: no error.

    Where few places stand out, more of the field is looked at, in bins: large cells are few in a small part of it.
    """
    first = _within(movie, 1, threads)
    if not first.few:
        return first
    wider = (_within(movie, bins, threads) for bins in WIDER if max(movie.shape) > FIELD * bins // 2)
    return next((diameter for diameter in wider if not diameter.few), first)


def _within(movie: Series, bins: int, threads: int) -> Diameter:
    """The diameter in the middle of the field, as much of it as FIELD bins of bins x bins px have."""
    reach = FIELD * bins
    middle = tuple(slice(max(0, (n - reach) // 2), max(0, (n - reach) // 2) + reach) for n in movie.shape)
    together = max(1, int(movie.timing.rate_hz / RATE_HZ + 1e-6))
    recorded = np.flatnonzero(movie.valid)
    n_stretches = max(1, min(FRAMES * together, len(recorded)) // (STRETCH * together))
    stretches = [piece[: STRETCH * together] for piece in np.array_split(recorded, n_stretches)]
    read = [_averaged(_frames(movie, middle, piece, bins), together) for piece in stretches if len(piece)]
    lengths = [len(piece) for piece in read]
    stack = np.ascontiguousarray(np.moveaxis(np.concatenate(read), 0, 2)) if read else np.zeros((*movie.shape, 0))
    with one_blas_thread():
        return diameter_of(stack, movie.timing.rate_hz / together, lengths, threads, bins)


def _frames(movie: Series, part: tuple[slice, ...], wanted: np.ndarray, bins: int) -> np.ndarray:
    """Those of these samples that are recorded, and of them a part of the field, in bins of bins x bins px."""
    start, stop = int(wanted[0]), int(wanted[-1]) + 1
    rows = movie.stored(start, stop, (part[0].start, min(part[0].stop, movie.shape[0])))
    here = rows[:, :, part[1]].astype(np.float32)
    if bins == 1:
        return here
    return binned(here, np.ones(len(here), bool), 1, bins)


def _averaged(frames: np.ndarray, n: int) -> np.ndarray:
    """Means of n frames each; a rest is left out."""
    whole = len(frames) // n * n
    return frames[:whole].reshape(-1, n, *frames.shape[1:]).mean(axis=1, dtype=np.float32)


def diameter_of(
    movie: np.ndarray, rate_hz: float, stretches: Sequence[int] = (), threads: int = 1, bins: int = 1
) -> Diameter:
    """The diameter of the cells of a movie (rows, columns, frames), float32, which is overwritten.

    stretches: lengths of the pieces that it consists of, where it does not run on. bins: px of the recording in each
    pixel of the movie, across and down.
    """
    before = max(1, round(BEFORE_S * rate_hz))
    if movie.shape[2] <= before or min(movie.shape[:2]) < 2 * SIZES[0]:
        return Diameter(USUAL, "the movie is too small or too short to tell")
    np.nan_to_num(movie, copy=False, nan=0, posinf=0, neginf=0)
    for row in movie:
        row -= row.mean(axis=1, keepdims=True)
    noise = np.stack([oasis.noise_level(row) for row in movie]).astype(np.float32)
    noise[noise <= 1e-6 * np.median(noise)] = np.inf
    for row, its_noise in zip(movie, noise):
        row /= its_noise[:, None]
    usable = np.concatenate([np.arange(n) >= before for n in stretches or (movie.shape[2],)])
    decay = np.exp(-1 / (rate_hz * extraction.DECAY_S))
    decayed = np.empty_like(movie)
    for row, its_own in zip(decayed, movie):
        row[:] = seeds.with_decay(its_own, decay)
    sizes = [size for size in SIZES if min(movie.shape[:2]) >= 3 * size]

    def places(size: float) -> list[Place]:
        return _places(movie, decayed, size, usable, before)

    standing_out = [place for of_size in in_order(places, sizes, threads) for place in of_size]
    cells = _once([place for place in standing_out if place.fits])
    if len(cells) < TOO_FEW:
        clear = [place.width for place in cells if place.height >= CLEAR]
        if not clear:
            return Diameter(USUAL, "nothing as large as a cell stands out from the noise", few=True)
        return Diameter(bins * clear[0], f"only {_places_in_words(len(clear))} out from the noise", few=True)
    widths, heights = (np.array(column) for column in zip(*((place.width, place.height) for place in cells)))
    lower, middle, upper = (bins * part for part in _weighted_quantiles(widths, heights**2, (0.25, 0.5, 0.75)))
    if len(cells) < FEWEST:
        return Diameter(middle, f"only {_places_in_words(len(cells))} out from the noise", few=True)
    if upper > DISAGREE * lower:
        return Diameter(middle, f"what stands out from the noise differs in size, from {lower:.1f} to {upper:.1f} px")
    return Diameter(middle)


def _places_in_words(n: int) -> str:
    return "1 place stands" if n == 1 else f"{n} places stand"


def _places(movie: np.ndarray, decayed: np.ndarray, size: float, usable: np.ndarray, before: int) -> list[Place]:
    """Where the movie, filtered for cells of this size, stands out; the clearest, not cut by the border."""
    bin_size = max(1, int(size / 4))
    z = seeds.in_space(_binned(decayed, bin_size), size / bin_size)
    sample = z[:, :, :: max(1, z.shape[2] // SAMPLED)]
    middle = median(sample, axis=2, keepdims=True)
    spread = noise_sd(sample, axis=2, around=middle)
    spread = np.clip(spread, 1e-6, max(1e-6, seeds.BUSY * float(np.median(spread))))
    z[:, :, ~usable] = -np.inf
    height = (z.max(axis=2) - middle[:, :, 0]) / spread
    clear = []
    for place in seeds.places(height, APART * size / bin_size, LEAST_PEAK)[:CLEAREST]:
        at = ((place + 0.5) * bin_size).astype(int)
        if (at < size / 2).any() or (at >= np.array(movie.shape[:2]) - size / 2).any():
            continue
        frames = np.argsort(-z[tuple(place)], kind="stable")[: min(BRIGHTEST, np.count_nonzero(usable))]
        width = _width(movie, at, size, frames, before)
        clear.append(Place((int(at[0]), int(at[1])), size, float(height[tuple(place)]), width))
    return clear


def _binned(movie: np.ndarray, n: int) -> np.ndarray:
    """Means of n x n pixels; what is left at the far edges is left out."""
    if n == 1:
        return movie
    h, w = (length // n for length in movie.shape[:2])
    return movie[: h * n, : w * n].reshape(h, n, w, n, -1).mean(axis=(1, 3))


def _width(movie: np.ndarray, at: np.ndarray, size: float, frames: np.ndarray, before: int) -> float:
    """Width of what is active at a place in these frames, px; 0 if it is no brighter than its surround, or long."""
    reach = int(RING[1] * size) + 4
    low = np.maximum(at - reach, 0)
    field = movie[low[0] : at[0] + reach + 1, low[1] : at[1] + reach + 1]
    image = scipy.ndimage.gaussian_filter((field[:, :, frames] - field[:, :, frames - before]).mean(axis=2), BLUR)
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    away = np.hypot(y - (at - low)[0], x - (at - low)[1])
    image = image - np.median(image[(away > RING[0] * size) & (away < RING[1] * size + 1)])
    peak = np.unravel_index(np.where(away <= size / 3, image, -np.inf).argmax(), image.shape)
    if image[peak] <= 0:
        return 0.0
    labels, _ = scipy.ndimage.label(image > image[peak] / 2)
    bright = np.argwhere(labels == labels[peak])
    spread = np.linalg.eigvalsh(np.cov(bright.T) + np.eye(2) / 12) if len(bright) > 2 else np.ones(2)
    if spread[1] > LONGEST**2 * spread[0]:
        return 0.0
    return float(np.sqrt(max(1.0, 4 * len(bright) / np.pi - (2.355 * BLUR) ** 2)))


def _once(places: list[Place]) -> list[Place]:
    """The place that stands out most of those that are one."""
    kept: list[Place] = []
    for place in sorted(places, key=lambda candidate: -candidate.height):
        y, x = place.at
        if all(np.hypot(y - k.at[0], x - k.at[1]) > APART * max(place.size, k.size) for k in kept):
            kept.append(place)
    return kept


def _weighted_quantiles(values: np.ndarray, weights: np.ndarray, parts: Sequence[float]) -> list[float]:
    order = np.argsort(values, kind="stable")
    below = np.cumsum(weights[order])
    return [float(values[order][np.searchsorted(below, part * below[-1])]) for part in parts]
