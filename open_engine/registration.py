"""Where the tissue is in each frame: rigid registration to a template, to a fraction of a pixel.

A frame f shows a template T that has moved by s: f(p) = T(p - s). It is found in two steps, both on a small copy of the
frame that holds just the band of spatial frequencies that tells most (`Filter`):

1. The peak of the cross-correlation of frame and template over all shifts up to the greatest one allowed, computed with
   Fourier transforms; values are clipped at 2 robust standard deviations, so that a few bright cells do not decide.
2. Gauss-Newton steps on the squared difference (Lucas and Kanade 1981, IJCAI 674), with the frame's brightness as a
   third unknown, over the pixels that frame and template share. Differences are clipped at 2 robust standard
   deviations, which is Huber's M-estimator (1964, Ann. Math. Stat. 35): a transient that the template does not have
   counts little.

The template is the mean of up to 200 frames spread over the recording, aligned to each other by the same two steps in
turn. A single frame, however chosen, has too much noise to be one.

What belongs to the microscope and stands still is left out: see `standing_still`.

Clips and the left and right half of the field are there for the question that comes first: has anything moved at all?
Noise and transients move the estimate too. See `has_moved`.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field, replace
from functools import cached_property, partial

import numpy as np
import scipy

from open_engine.binning import binned
from open_engine.files.frames import in_order
from open_engine.gaussian import BandPass, low_passed
from open_engine.quadratic import peak_within
from open_engine.robust import noise_sd

CLIP = 2.0  # robust standard deviations
SUBPIXEL = 4  # templates a pixel and axis that are kept ready, so that a step starts within 1/8 of a pixel
STEPS = 2
ROUNDS = 3  # of averaging and registering the frames that make the template
BORDER, WIDE_BORDER = 2, 6  # samples at the edges that are not compared: the former in small fields
LEAST_SIDE, SIDE = 32, 100  # samples
WINDOW = 128  # samples: the side of what is compared of a large field
JERK = 6.0  # robust standard deviations
AGREEMENT = 0.4  # correlation of what both halves of the field say, each by itself
STATIC = 2.0  # times the tissue's power of gradients, from which structure that stands still prevails
STATIC_BLUR = 4.0  # samples, sigma, over which powers are compared
STATIC_RIM = 1  # samples around it that are left out, too
PATTERN_SHARE = 0.2  # of the tissue's power of gradients: a pattern of the sensor that has less does not mislead
PATTERN_KNOWN = 0.05  # share of the pattern that motion tells from the tissue: of less, nothing is known
PATTERN_DAMPING = 0.1
STATIC_SHARE = 0.02, 0.9  # of the field: less does not mislead, and of more nothing tells that the rest is tissue
STATIC_FRAMES = 10  # of fewer, shifts tell nothing of single pixels
ERROR_SAMPLE = 50  # frames that tell how much shifts vary for noise
CLIPPED_BY = 40  # frames that tell where values are clipped
STATIC_AGREEMENT = 0.6  # of the halves of the rest: where they disagree, nothing is known to move


@dataclass(frozen=True)
class Filter:
    """What a frame goes through before it is compared.

    Pixels are averaged in bins. The frame is divided by the smooth part of the mean frame, as light and vignette belong
    to the microscope and do not move, and band-passed as in spatial_filter.
    """

    pitch: int  # pixels from one sample to the next
    even: np.ndarray  # (rows, columns) of the small copy, float32: one over the smooth light
    cut_offs: tuple[float | None, float | None]  # cycles per sample
    corner: tuple[int, int] = (0, 0)  # row and column of the frame's first sample that the small copy has
    standing: np.ndarray | None = None  # (rows, columns) float32, of band-passed frames: the sensor's own pattern

    def __call__(self, frame: np.ndarray) -> np.ndarray:
        """The small copy, float32. Values that are not finite count as the mean of the others."""
        rows, columns = self.place
        return self.of_place(frame[slice(*rows), slice(*columns)])

    def of_place(self, part: np.ndarray) -> np.ndarray:
        """The same from the part of a frame that the small copy shows; float32."""
        return self.band_passed(binned_frame(part, self.pitch))

    @cached_property
    def band(self) -> BandPass:
        return BandPass(self.even.shape, *self.cut_offs)

    @property
    def place(self) -> list[tuple[int, int]]:
        """First row of the frame that the small copy shows, and the one after the last; the same for columns."""
        return [(first * self.pitch, (first + n) * self.pitch) for first, n in zip(self.corner, self.even.shape)]

    def within(self, window: tuple[slice, slice]) -> Filter:
        """The filter for this part of the small copy alone."""
        return replace(self, even=self.even[window], corner=tuple(side.start for side in window))

    def band_passed(self, binned: np.ndarray) -> np.ndarray:
        """The same of a frame whose pixels are averaged already."""
        passed = self.band(binned * self.even)
        return passed if self.standing is None else passed - self.standing


def pitch_of(shape: tuple[int, int], high: float | None) -> int:
    """How many pixels, across and down, go into one bin.

    As many as the band allows: four samples to the shortest period at half amplitude. Without an upper limit to the
    band, as many as leave 100 samples to the shorter side.
    """
    wanted = int(0.25 / high) if high else min(shape) // SIDE
    return max(1, min(wanted, min(shape) // LEAST_SIDE))


def make_filter(mean: np.ndarray, pitch: int, low: float | None, high: float | None) -> Filter:
    """The filter for frames with this mean, shape (rows, columns) in bins. Cut-offs are in cycles per pixel."""
    smooth = low_passed(mean, 1.2 / min(mean.shape))
    even = 1 / np.maximum(smooth, 0.1 * smooth.max()) if smooth.max() > 0 else np.ones(mean.shape)
    low, high = (cut_off * pitch if cut_off else cut_off for cut_off in (low, high))
    return Filter(pitch, even.astype(np.float32), (low, high))


def window(mean: np.ndarray, weight: np.ndarray, least: float) -> tuple[slice, slice]:
    """The part of a small copy that is compared: all of a small field, and of a large one where most is to be seen.

    `mean` is the small copy of the mean frame and `weight`, 0 to 1, what takes part, both (rows, columns). `least` is
    the side that the search needs, in samples. A rigid shift of a large field is known from a part of it.
    """
    sides = [min(n, int(max(WINDOW, least))) for n in mean.shape]
    detail = np.clip(np.abs(mean), 0, CLIP * noise_sd(mean, around=0)) ** 2 * weight
    total = np.pad(detail.astype(float), ((1, 0), (1, 0))).cumsum(axis=0).cumsum(axis=1)
    rows, columns = sides
    seen = total[rows:, columns:] - total[:-rows, columns:] - total[rows:, :-columns] + total[:-rows, :-columns]
    first = np.unravel_index(seen.argmax(), seen.shape)
    return tuple(slice(int(start), int(start) + n) for start, n in zip(first, sides))


def standing_still(smalls: np.ndarray, weight: np.ndarray) -> np.ndarray | None:
    """Where structure prevails that does not move with the tissue, (rows, columns) of bool; None if there is little.

    Edges of a lens, of padding or of a saturated vessel, and dust, belong to the microscope. They are often stronger
    than the tissue, and would hold the registration where they are. `smalls`, (n, rows, columns), are small copies of
    frames; `weight`, 0 to 1, is what takes part.

    A first-order step tells how each frame has moved, up to a factor that what stands still lowers. How each pixel
    varies with that is the gradient of what moves, up to the same factor; the gradient of the mean is that of both. The
    frames are taken in two groups, whose noise is independent.
    """
    with np.errstate(over="ignore"):
        squares = np.square(np.abs(smalls).max()) * smalls.size
    if len(smalls) < STATIC_FRAMES or not np.isfinite(squares):  # damaged values may be beyond all sums
        return None
    takes_part = weight > 0.5
    mean = smalls.mean(axis=0)
    slopes = np.stack(np.gradient(mean))
    seen = smalls - mean
    for values in (seen, robust := slopes.copy()):
        most = CLIP * noise_sd(values[:: max(1, len(values) // CLIPPED_BY)], around=0)
        np.clip(values, -most, most, out=values)
    moved = _first_step(seen, robust, takes_part)
    moving = []
    for some in (np.s_[::2], np.s_[1::2]):
        its_shifts = moved[some] - moved[some].mean(axis=0)
        products = np.linalg.pinv(its_shifts.T @ its_shifts) @ its_shifts.T @ seen[some].reshape(len(its_shifts), -1)
        moving.append(-products.reshape(slopes.shape))
    inside = slopes * takes_part
    power = (moving[0] * moving[1]).sum(axis=0) * takes_part
    total = float(power.sum())
    if total <= 0:
        return None
    factor = float((inside * (moving[0] + moving[1])).sum()) / 2 / total
    of_tissue = factor**2 * power
    of_rest = (inside * (slopes - factor * (moving[0] + moving[1]))).sum(axis=0) + of_tissue
    of_tissue, of_rest = scipy.ndimage.gaussian_filter([of_tissue, of_rest], (0, STATIC_BLUR, STATIC_BLUR))
    still = takes_part & (of_rest > STATIC * np.maximum(of_tissue, 0))
    least, most = STATIC_SHARE
    rest = takes_part & ~still
    if not least * takes_part.sum() < still.sum() < most * takes_part.sum():
        return None
    across = np.cumsum(((robust**2).sum(axis=0) * rest).sum(axis=0))
    left = np.arange(len(across)) < np.searchsorted(across, across[-1] / 2)
    halves = [_first_step(seen, robust, rest & half) for half in (left, ~left)]
    agree = _agreement(*(half - np.median(half, axis=0) for half in halves)) > STATIC_AGREEMENT
    return scipy.ndimage.binary_dilation(still, iterations=STATIC_RIM) if agree else None


def standing_pattern(smalls: np.ndarray, template: Template, before: np.ndarray | None) -> np.ndarray | None:
    """What stands still in all of the field while the tissue moves, (rows, columns) float32; None if that is little.

    Pixels of a sensor differ, everywhere and all the time. `smalls`, (n, rows, columns), are the small copies that the
    template is made of, less the pattern that was known `before`. With the template T and the pattern S, the spectrum
    of copy t is T e_t + S, where e_t is the factor of its shift; T and S are those of least squares. S is nearly
    unknown at frequencies at which all e_t are alike, and is damped there. The copies are taken in two groups, whose
    noise is independent, to tell its power.
    """
    y, x = _frequencies(template.weight.shape)
    left_out = 0.0 if before is None else scipy.fft.rfft2(before)
    patterns, seen, known = [], [], 0.0
    for first in (0, 1):
        its_smalls, its_shifts = smalls[first::2], template.shifts[first::2]
        where_seen, at_rest, moved = 0.0, 0.0, 0.0
        for small, shift in zip(its_smalls, its_shifts):
            factor, spectrum = _moving(shift, y, x), scipy.fft.rfft2(small) + left_out
            where_seen = where_seen + spectrum / len(its_smalls)
            at_rest = at_rest + spectrum * factor.conj() / len(its_smalls)
            moved = moved + factor / len(its_smalls)
        known = 1 - np.abs(moved) ** 2
        patterns.append((where_seen - moved * at_rest) / (known + PATTERN_DAMPING))
        seen.append((at_rest - moved.conj() * where_seen) / (known + PATTERN_DAMPING))
    images = [scipy.fft.irfft2(spectrum, template.weight.shape) for spectrum in patterns + seen]
    spectra = [scipy.fft.rfft2(image * template.weight) for image in images]
    still, moving = (
        float(((one * other.conj()).real * known**2 * (y**2 + x**2)).sum()) for one, other in (spectra[:2], spectra[2:])
    )
    if known.mean() < PATTERN_KNOWN or still < PATTERN_SHARE * moving:
        return None
    return ((images[0] + images[1]) / 2).astype(np.float32)


def _first_step(seen: np.ndarray, slopes: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """The shifts that explain frames less their mean, (n, rows, columns), best to first order: (n, 2)."""
    slopes = (slopes * inside).reshape(2, -1)
    return -seen.reshape(len(seen), -1) @ slopes.T @ np.linalg.pinv(slopes @ slopes.T)


def bounds(inside: np.ndarray) -> tuple[slice, slice]:
    """The least part of an image, (rows, columns), that has all of what is inside."""
    rows, columns = (np.flatnonzero(inside.any(axis=1 - axis)) for axis in (0, 1))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def binned_frame(frame: np.ndarray, factor: int) -> np.ndarray:
    """Means of bins of factor x factor pixels; rows and columns that fill no bin are left out."""
    rows, columns = (n // factor * factor for n in frame.shape)
    return binned(frame[np.newaxis, :rows, :columns], np.ones(1, bool), 1, factor)[0]


@dataclass(frozen=True)
class Template:
    """What frames are compared with, and all that can be prepared for it. Shapes are those of small copies."""

    weight: np.ndarray  # (rows, columns) float32, 0 to 1: what takes part in the correlation
    clip: float  # of values, in the correlation
    reach: tuple[int, int]  # the greatest shift, in samples
    spectrum: np.ndarray | None = None
    ready: np.ndarray | None = None  # (SUBPIXEL, SUBPIXEL, 3, rows, columns): d/dy, d/dx and the template, at fractions
    residual_clip: float = np.inf
    squares: dict[tuple[int, ...], np.ndarray] = field(default_factory=dict)  # see `_squares`
    tissue: np.ndarray | float = 1.0  # (rows, columns), 0 where what stands still prevails
    alternate: np.ndarray | None = None  # (2, rows, columns): the means of every other frame that it is made of
    error: float = np.inf  # samples, standard deviation of a shift: see `_expected_error`
    shifts: np.ndarray | None = None  # (n, 2) of the small copies that it is made of
    middle: int = 0  # the first column of the right half: both halves show as much

    @property
    def size(self) -> tuple[int, int]:
        """That spectra are computed at: zeros around the field make Fourier transforms of any field quick."""
        rows, columns = (scipy.fft.next_fast_len(n, real=True) for n in self.weight.shape)
        return rows, columns

    def spectrum_of(self, small: np.ndarray) -> np.ndarray:
        return scipy.fft.rfft2(np.clip(small, -self.clip, self.clip) * self.weight, self.size)


@dataclass(frozen=True)
class FrameShift:
    """The shift of a frame in samples, (y, x), from the whole field and from its left and right half. NaN: none."""

    shift: np.ndarray
    left: np.ndarray
    right: np.ndarray


NOTHING = FrameShift(*np.full((3, 2), np.nan))


def register(small: np.ndarray, template: Template) -> FrameShift:
    """Where the template is in the small copy of a frame."""
    if not small.any():
        return NOTHING
    coarse = peak(template.spectrum_of(small), template)
    fit = _refined(small, coarse, template)
    far = np.abs(fit.shift - coarse).max() > 1.5  # steps went astray, as they start within a fraction of a sample
    return fit if np.isfinite(fit.shift).all() and not far else FrameShift(coarse, *np.full((2, 2), np.nan))


def peak(spectrum: np.ndarray, template: Template, other: np.ndarray | None = None) -> np.ndarray:
    """The shift at which a frame's spectrum correlates best with the template's (or another's), (y, x) in samples.

    Between samples the peak is that of the quadratic through the 3 x 3 values around the greatest.
    """
    against = template.spectrum if other is None else other
    rows, columns = (np.arange(-reach - 1, reach + 2) for reach in template.reach)
    surface = scipy.fft.irfft2(spectrum * np.conj(against), template.size)[rows[:, np.newaxis], columns]
    row, column = np.unravel_index(surface[1:-1, 1:-1].argmax(), [n - 2 for n in surface.shape])
    whole = np.array([row - template.reach[0], column - template.reach[1]])
    return whole + peak_within(surface[row : row + 3, column : column + 3])


def _refined(small: np.ndarray, start: np.ndarray, template: Template) -> FrameShift:
    """Gauss-Newton steps from a shift that is nearly right."""
    shifts, gain = start[np.newaxis], 0.0
    for step in range(STEPS):
        quantised = [round(float(shift) * SUBPIXEL) for shift in shifts[0]]
        whole = [(fine + SUBPIXEL // 2) // SUBPIXEL for fine in quantised]
        fraction = [
            n * SUBPIXEL - fine for n, fine in zip(whole, quantised)
        ]  # seen(p + whole) is template(p + fraction)
        inside = _shared(small.shape, whole)
        seen = small[tuple(slice(shared.start + n, shared.stop + n) for shared, n in zip(inside, whole))]
        if min(seen.shape) < 4:
            return NOTHING
        basis = template.ready[fraction[0], fraction[1]][:, inside[0], inside[1]]
        edges = (edge for shared in inside for edge in (shared.start, shared.stop))
        middle = min(max(template.middle - inside[1].start, 1), basis.shape[2] - 1)
        squares = _squares(template, (*fraction, *edges), basis, middle)
        energy = squares[0, 2, 2]
        gain = gain or (float(np.einsum("ij,ij", seen, basis[2])) / energy if energy else 0)
        if not gain > 0:
            return NOTHING
        difference = np.subtract(seen, np.multiply(basis[2], np.float32(gain)))
        np.clip(difference, -gain * template.residual_clip, gain * template.residual_clip, out=difference)
        unknowns = _least_squares(squares, basis, difference, middle, halves=step == STEPS - 1)
        shifts = np.array(quantised) / SUBPIXEL - unknowns[:, :2] / gain
        gain += unknowns[0, 2]
        if not np.abs(shifts[0] - start).max() < 2:  # also where it is not a number
            return NOTHING
    return FrameShift(*shifts)


def _refined_pair(pair: tuple[np.ndarray, np.ndarray], template: Template) -> FrameShift:
    return _refined(*pair, template)


def _squares(template: Template, place: tuple[int, ...], basis: np.ndarray, middle: int) -> np.ndarray:
    """The products of three images, (3, rows, columns), over the whole, its left and its right half: (3, 3, 3).

    They depend on the place in the template alone, and few places come up again and again.
    """
    if place not in template.squares:
        parts = [part.reshape(3, -1) for part in (basis[:, :, :middle], basis[:, :, middle:])]
        left, right = (np.array(part @ part.T, float) for part in parts)
        template.squares[place] = np.array([left + right, left, right])
    return template.squares[place]


def _least_squares(squares: np.ndarray, basis: np.ndarray, seen: np.ndarray, middle: int, halves: bool) -> np.ndarray:
    """The weights of three images, (3, rows, columns), that explain best what is seen.

    Shape (1, 3), for the whole field, or (3, 3), for the whole, its left and its right half.
    """
    left = np.einsum("kij,ij->k", basis[:, :, :middle], seen[:, :middle])
    right = np.einsum("kij,ij->k", basis[:, :, middle:], seen[:, middle:])
    products = np.array([left + right, left, right] if halves else [left + right], float)
    squares = squares[: len(products)].copy()
    squares[:, _DIAGONAL, _DIAGONAL] += 1e-6 * squares.max(axis=(1, 2))[:, np.newaxis] + 1e-30
    return np.linalg.solve(squares, products[:, :, np.newaxis])[:, :, 0]


_DIAGONAL = np.arange(3)


def _shared(shape: tuple[int, int], whole: list[int]) -> list[slice]:
    """The pixels p of the template for which p + whole is in the frame, less a border.

    The band-pass mirrors the field at its edges, so that motion looks smaller there than it is.
    """
    borders = [min(max(size // 16, BORDER), WIDE_BORDER) for size in shape]
    return [slice(max(0, -n) + b, max(b, min(size, size - n) - b)) for n, size, b in zip(whole, shape, borders)]


def make_template(
    smalls: np.ndarray,
    reference: np.ndarray,
    weight: np.ndarray,
    greatest: float,
    threads: int = 1,
    tissue: np.ndarray | float = 1.0,
) -> Template:
    """The mean of small copies, (n, rows, columns), at the place where the tissue is in the `reference`.

    `weight` says what takes part, 0 to 1; `greatest` is the greatest shift in samples; for `tissue` see Template.
    """
    reach = tuple(int(min(np.ceil(greatest), n // 2 - 2)) for n in weight.shape)
    middle = weight.shape[1] // 2
    template = Template(weight, CLIP * noise_sd(smalls, around=0), reach, tissue=tissue, middle=middle)
    spectra = [template.spectrum_of(small) for small in smalls]
    spectrum, y, x = spectra[len(spectra) // 2], *_frequencies(template.size)
    for _ in range(ROUNDS):
        shifts = list(in_order(partial(peak, template=template, other=spectrum), spectra, threads))
        spectrum = np.mean([seen * _moving(-shift, y, x) for seen, shift in zip(spectra, shifts)], axis=0)
    del spectra
    shifts = np.array(shifts) - np.median(shifts, axis=0)
    for _ in range(ROUNDS):
        template = _prepared(template, smalls, shifts)
        refined = in_order(partial(_refined_pair, template=template), zip(smalls, shifts), threads)
        fits = [fit.shift for fit in refined]
        shifts = np.where(np.isfinite(fits), fits, shifts)
    shifts = shifts - np.nan_to_num(register(reference, template).shift)
    template = _prepared(template, smalls, shifts)
    alternate = np.array([mean_moved_back(smalls[i::2], shifts[i::2]) for i in (0, 1)])
    error = _expected_error(template, smalls, shifts, alternate)
    its = {"alternate": alternate, "shifts": shifts, "error": error, "middle": _middle(alternate, weight)}
    return replace(template, **its, squares={})


def _middle(alternate: np.ndarray, weight: np.ndarray) -> int:
    """The first column of the right half of a field whose halves show as much, as a part of it may be dark.

    What is seen is the product of the gradients of two means, whose noise is independent.
    """
    one, other = (np.array(np.gradient(mean)) for mean in alternate)
    across = np.maximum(((one * other).sum(axis=0) * weight).sum(axis=0), 0).cumsum()
    return int(np.clip(np.searchsorted(across, across[-1] / 2), 1, len(across) - 1))


def _expected_error(template: Template, smalls: np.ndarray, shifts: np.ndarray, alternate: np.ndarray) -> float:
    """The standard deviation of shifts that noise and activity cause, in samples: one number for both axes.

    A shift is the product of a frame with the template's slopes over the power of these. What frames have besides the
    template decides how the product varies; the power is that which the means of every other frame share, which leaves
    out their noise.
    """
    y, x = _frequencies(template.weight.shape)
    some = np.linspace(0, len(smalls) - 1, min(ERROR_SAMPLE, len(smalls))).astype(int)
    mean = template.ready[0, 0, 2]
    rest = (scipy.fft.rfft2((_moved(smalls[i], -shifts[i], y, x) - mean) * template.weight) for i in some)
    noise = sum(np.abs(spectrum) ** 2 for spectrum in rest) / len(some)
    one, other = (scipy.fft.rfft2(image * template.weight) for image in alternate)
    twice = np.where((x == 0) | (x == 0.5), 1, 2) / template.weight.size  # rfft2 has half of the frequencies
    shared = (one * np.conj(other)).real * twice
    seen = np.abs(one + other) ** 2 / 4 * noise * twice / template.weight.size
    variances = [
        (frequency**2 * seen).sum() / max((frequency**2 * shared).sum(), 1e-30) ** 2 / (2 * np.pi) ** 2
        for frequency in (y, x)
    ]
    return float(np.sqrt(np.mean(variances)))


def _prepared(template: Template, smalls: np.ndarray, shifts: np.ndarray) -> Template:
    """The template with the mean of small copies that have moved by `shifts`, and all that follows from it."""
    mean = mean_moved_back(smalls, shifts)
    some = np.linspace(0, len(smalls) - 1, min(20, len(smalls))).astype(int)
    y, x = _frequencies(mean.shape)
    spread = noise_sd(np.array([_moved(smalls[i], -shifts[i], y, x) - mean for i in some]), around=0)
    at = {f: _spline_moved(mean, *f) for f in itertools.product(range(-2, SUBPIXEL), repeat=2)}
    ready = np.empty((SUBPIXEL, SUBPIXEL, 3, *mean.shape), np.float32)
    for fy, fx in itertools.product(range(-1, SUBPIXEL - 1), repeat=2):  # -1 is kept in the last place
        down, right = at[fy + 1, fx] - at[fy - 1, fx], at[fy, fx + 1] - at[fy, fx - 1]
        ready[fy, fx] = (SUBPIXEL / 2 * down, SUBPIXEL / 2 * right, at[fy, fx])
    ready *= template.weight > 0.5
    spectrum = scipy.fft.rfft2(mean * template.weight, template.size)
    return replace(template, spectrum=spectrum, ready=ready, residual_clip=CLIP * spread, squares={})


def _spline_moved(image: np.ndarray, down: int, right: int) -> np.ndarray:
    """image(p + (down, right) / SUBPIXEL), by cubic splines: they do not ring at the edges as Fourier's do."""
    return scipy.ndimage.shift(image, (-down / SUBPIXEL, -right / SUBPIXEL), order=3, mode="mirror")


def mean_moved_back(smalls: np.ndarray, shifts: np.ndarray) -> np.ndarray:
    """The mean of small copies whose tissue has moved by `shifts`, each moved back; 0 where fewer than half reach."""
    total, count = np.zeros(smalls.shape[1:]), np.zeros(smalls.shape[1:])
    y, x = _frequencies(total.shape)
    for small, shift in zip(smalls, shifts):
        reached = tuple(
            slice(max(0, int(np.ceil(-s))), n - max(0, int(np.ceil(s)))) for s, n in zip(shift, total.shape)
        )
        total[reached] += _moved(small, -shift, y, x)[reached]
        count[reached] += 1
    return np.where(2 * count >= len(smalls), total / np.maximum(count, 1), 0).astype(np.float32)


def _frequencies(shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    return scipy.fft.fftfreq(shape[0])[:, np.newaxis], scipy.fft.rfftfreq(shape[1])


def _moving(shift: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """The factor on a spectrum that moves its image by `shift`."""
    return np.exp(-2j * np.pi * shift[0] * y).astype(np.complex64) * np.exp(-2j * np.pi * shift[1] * x).astype(
        np.complex64
    )


def _moved(image: np.ndarray, shift: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    return scipy.fft.irfft2(scipy.fft.rfft2(image) * _moving(shift, y, x), image.shape)


def has_moved(
    left: np.ndarray,
    right: np.ndarray,
    smalls: np.ndarray,
    at: np.ndarray,
    template: Template,
    agreement: float = AGREEMENT,
) -> bool:
    """Whether shifts are motion rather than noise or activity, by what the halves of the field say of each other.

    `left` and `right` are the shifts of each half as `register` finds them, (n, 2), for all frames; `smalls`, (m, rows,
    columns), are the small copies of those frames that `at` names. Something has moved if the shifts that both halves
    show, by `both_halves`, correlate by more than `agreement`, and each half becomes crisper when its frames are moved
    back by the shifts of the *other* half, which knows nothing of its noise and its cells. Crispness is the sum over
    the half of the product of two means' gradients, of every other frame each: noise, which these do not share, does
    not count, and neither does that resampling blurs it. Jerks that are too rare to tell in the means: see `are_jerks`.
    """
    left, right = (half - np.nanmedian(half, axis=0) if np.isfinite(half).any() else half for half in (left, right))
    known = np.isfinite(left + right).all(axis=1)
    if known[at].sum() < 2 or _agreement(*both_halves(smalls[known[at]], template, known[at])) < agreement:
        return False
    smalls, at = smalls[known[at]], at[known[at]]
    left, right = left[at], right[at]
    rows, columns = smalls.shape[1:]
    y, x = np.minimum(np.ceil(np.abs([left, right]).max(axis=(0, 1))).astype(int) + BORDER, (rows // 4, columns // 4))
    inside = np.s_[:, y : rows - y, x : columns - x]
    still, by_left, by_right = (
        (_gradients(smalls, shifts).prod(axis=0) * template.tissue)[inside].sum(axis=0)
        for shifts in (0 * left, left, right)
    )
    middle = max(template.middle - x, 1)
    return bool(by_right[:, :middle].sum() + by_left[:, middle:].sum() > still.sum())


def both_halves(
    smalls: np.ndarray, template: Template, known: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """What the left and the right half say of the small copies that the template is made of, each less its median.

    Each copy is compared with the mean of those that were averaged apart from it: against a mean that it is part of,
    both halves find their own noise where the whole has put it, and agree. `known` names copies of the sample.
    """
    number = np.arange(len(smalls)) if known is None else np.flatnonzero(known)
    left, right = np.empty((2, len(smalls), 2))
    for i, image in enumerate(template.alternate[::-1]):
        its = number % 2 == i
        left[its], right[its] = apart(smalls[its], template, image)
    return left - np.median(left, axis=0), right - np.median(right, axis=0)


def halves_agree(smalls: np.ndarray, template: Template) -> bool:
    """Whether the small copies that the template is made of show motion, by both halves of the field."""
    return len(smalls) >= STATIC_FRAMES and _agreement(*both_halves(smalls, template)) > AGREEMENT


def _agreement(a: np.ndarray, b: np.ndarray) -> float:
    """Correlation about zero."""
    return float((a * b).sum() / max(np.sqrt((a**2).sum() * (b**2).sum()), 1e-30))


def _gradients(smalls: np.ndarray, shifts: np.ndarray) -> np.ndarray:
    """Gradients of the mean of every other frame, each moved back; shape (2 means, 2 axes, rows, columns)."""
    return np.array([np.gradient(mean_moved_back(smalls[i::2], shifts[i::2])) for i in (0, 1)])


def far_frames(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Indices of the frames in which both halves of the field have moved by more than a sample and stand out."""
    known = np.isfinite(left + right).all(axis=1)
    if not known.any():
        return np.zeros(0, int)
    left, right = (half - np.median(half[known], axis=0) for half in (left, right))
    least = max(1.0, JERK * noise_sd(np.concatenate([left[known], right[known]]), around=0))
    return np.flatnonzero(known & (np.hypot(*left.T) > least) & (np.hypot(*right.T) > least))


def are_jerks(smalls: np.ndarray, template: Template) -> bool:
    """Whether frames that seem to have moved far have: in three or more, and in most, both halves say the same."""
    if len(smalls) < 3:
        return False
    left, right = apart(smalls, template)
    same = np.abs(left - right).max(axis=1) < 1
    return bool(same.sum() >= 3 and same.mean() > 0.5)


def apart(smalls: np.ndarray, template: Template, image: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """The shifts of small copies by the left half of the field alone and by the right half alone, each (n, 2).

    Those of `register` are not independent: both halves start from the shift that the whole field suggests. They are
    compared with `image`, by default that of the template.
    """
    columns = np.arange(template.weight.shape[1])
    image = template.ready[0, 0, 2] if image is None else image
    halves = []
    for half in (columns < template.middle, columns >= template.middle):
        part = replace(template, weight=template.weight * half)
        spectrum = scipy.fft.rfft2(image * part.weight, template.size)
        halves.append(np.array([peak(part.spectrum_of(small), part, spectrum) for small in smalls]))
    return halves[0], halves[1]
