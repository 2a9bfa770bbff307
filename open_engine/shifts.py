"""How far the tissue of each frame lies from where a reference shows it: shifts, and bending on top of them.

registration.py compares one frame with a template, bending.py tells displacements; this takes a series through both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import scipy

from open_engine import bending, polygons, registration
from open_engine.bending import Bent
from open_engine.context import StepContext
from open_engine.files import frames
from open_engine.files.frames import Series
from open_engine.registration import Filter, Template
from recording.errors import Unusable

VENDOR_BAND = (0.004, 0.016)
OWN_BAND = (0.047, 0.125)  # cycles per pixel
DIM_BAND = (0.02, 0.125)  # where that shows too little: larger structures stand out more, but those of neuropil do too
DIM = 0.1  # px: the expected error of shifts from which the second band is tried
DIM_AGREEMENT = 0.25  # of the halves of the field, where noise is that strong
SPECTRUM_BLUR = 40  # parts of a spectrum: the sigma over which its power is averaged
SAMPLE, SAMPLE_BYTES = 200, 32 << 20  # frames that make the template, and what their small copies may take
MOST_JERKS = 30  # frames that are looked at again
TISSUE_BLUR = 2  # samples, sigma, of the borders of what stands still
PATTERN_ROUNDS, PATTERN_CHANGE = 8, 0.01  # of telling a sensor's pattern from the tissue; samples, then they end
BENT_SAMPLE = 60  # frames that tell whether tissue bends


@dataclass(frozen=True)
class Search:
    band: tuple[float | None, float | None]  # cycles per pixel
    greatest: float  # px
    roi: Sequence[Sequence[int]] | None
    weight: float  # of the template against the frame before


def band_of(band: tuple[float | None, float | None]) -> tuple[float | None, float | None]:
    return OWN_BAND if band in (VENDOR_BAND, (None, None)) else band


def estimate_shifts(
    series: Series, reference: np.ndarray, search: Search, context: StepContext, span: tuple[float, float]
) -> tuple[np.ndarray, Search]:
    """How far the tissue is from where the reference shows it: (n_frames, 2), (y, x) in px; 0 if not recorded.

    The search that is returned has the band in which it was seen best.
    """
    even = evenly(np.flatnonzero(series.valid), SAMPLE)
    with frames.one_blas_thread():
        prepare, template, smalls = _compared(series, even, reference, search, context.threads)
        if search.band == OWN_BAND and template.error * prepare.pitch > DIM:
            lower = replace(search, band=DIM_BAND)
            others = _compared(series, even, reference, lower, context.threads)
            if others[1].error * others[0].pitch < template.error * prepare.pitch:
                search, (prepare, template, smalls) = lower, others
            del others

    def work(start: int, stop: int) -> np.ndarray:
        return _registered(series, start, stop, prepare, template, search.weight < 1)

    measured = np.concatenate(list(frames.each_block(frames.chunks(series, frames.BLOCK_MB), work, context, span)))
    recorded = series.valid
    shifts, left, right, steps = np.moveaxis(measured[recorded], 1, 0)
    shifts = _filled(shifts)
    dim = template.error * prepare.pitch > DIM
    if dim:
        shifts = steadied(shifts, template.error)
    if search.weight < 1:
        shifts = combined(shifts, steps, search.weight)
    at = np.flatnonzero(recorded)
    far = evenly(at[registration.far_frames(left, right)], MOST_JERKS)
    with frames.one_blas_thread():
        agreement = DIM_AGREEMENT if dim else registration.AGREEMENT
        moved = registration.has_moved(
            left, right, smalls, np.searchsorted(at, even), template, agreement
        ) or registration.are_jerks(np.array([prepare(series.read(i, i + 1)[0]) for i in far]), template)
    in_px = np.zeros((series.n_frames, 2))
    in_px[recorded] = shifts * prepare.pitch if moved else np.median(shifts, axis=0) * prepare.pitch
    return in_px, search


def estimate_bending(series: Series, shifts: np.ndarray, search: Search, context: StepContext) -> Bent | None:
    """How the tissue bends in each frame, on top of its shift; None where it does not, or does not move at all."""
    if not shifts.any():
        return None
    pitch = registration.pitch_of(series.shape, search.band[1])
    basis = bending.cosines(series.shape, pitch)
    most = max(2, SAMPLE_BYTES * pitch**2 // (4 * series.shape[0] * series.shape[1]))
    even = evenly(np.flatnonzero(series.valid), min(BENT_SAMPLE, most))
    with frames.one_blas_thread():
        binned, mean = _binned(series, even, pitch, context.threads)
        prepare = registration.make_filter(mean, pitch, *search.band)
        smalls = np.array(list(frames.in_order(prepare.band_passed, binned, context.threads)))
        still = registration.standing_still(smalls, _weight(prepare, series.shape, None))
        bends = bending.bends(smalls, shifts[even] / pitch, basis, pitch, still, context.threads)
    if bends is None:
        return None

    def work(start: int, stop: int) -> np.ndarray:
        made = np.zeros((stop - start, *bends.size))
        for i, frame in zip(np.flatnonzero(series.valid[start:stop]), series.stored(start, stop)):
            small = prepare(frame.astype(np.float32, copy=False))
            made[i] = pitch * bends.coefficients(small, shifts[start + i] / pitch)
        return made

    blocks = frames.each_block(frames.chunks(series, frames.BLOCK_MB), work, context, (0.4, 0.6))
    weights = np.concatenate(list(blocks))
    weights[series.valid] -= np.median(weights[series.valid], axis=0)
    bent = Bent(weights, bending.cosines(series.shape))
    context.warn(
        f"the tissue bends, by {bent.rms(series.valid):.1f} px (root mean square): the frames "
        "were corrected for it, too"
    )
    return bent


def _binned(series: Series, at: Sequence[int], pitch: int, threads: int) -> tuple[np.ndarray, np.ndarray]:
    """Small copies of the frames at these samples, shape (n, rows, columns), and their mean."""

    def small(i: int) -> np.ndarray:
        return registration.binned_frame(series.read(i, i + 1)[0], pitch)

    binned = np.array(list(frames.in_order(small, at, threads)))
    return binned, np.nan_to_num(binned, posinf=0, neginf=0).mean(axis=0)


def _compared(
    series: Series, even: np.ndarray, reference: np.ndarray, search: Search, threads: int
) -> tuple[Filter, Template, np.ndarray]:
    """How frames are compared, with what, and the small copies of those at `even`."""
    pitch = registration.pitch_of(series.shape, search.band[1])

    def shown(i: int) -> np.ndarray:
        return prepare(series.read(i, i + 1)[0])

    some = evenly(even, max(2, SAMPLE_BYTES * pitch**2 // (4 * series.shape[0] * series.shape[1])))
    binned, mean = _binned(series, some, pitch, threads)
    prepare = registration.make_filter(mean, pitch, *search.band)
    weight = _weight(prepare, series.shape, search.roi)
    smalls = np.array(list(frames.in_order(prepare.band_passed, binned, threads)))
    del binned
    still = registration.standing_still(smalls, weight)
    tissue = (
        np.ones(weight.shape) if still is None else scipy.ndimage.gaussian_filter((~still).astype(float), TISSUE_BLUR)
    )
    part = registration.bounds(tissue > 0.5)
    window = registration.window(prepare.band_passed(mean)[part], (weight * tissue)[part], 4 * search.greatest / pitch)
    place = tuple(slice(a.start + b.start, a.start + b.stop) for a, b in zip(part, window))
    if smalls[0][place].shape != smalls[0].shape or len(some) < len(even):
        prepare = prepare.within(place)
        del smalls
        smalls = np.array(list(frames.in_order(shown, even, threads)))
    tissue = tissue[place].astype(np.float32)
    weight = _weight(prepare, series.shape, search.roi) * tissue
    tissue = 1.0 if still is None else tissue > 0.5

    def compared(prepare: Filter, smalls: np.ndarray) -> Template:
        return registration.make_template(smalls, prepare(reference), weight, search.greatest / pitch, threads, tissue)

    template, pattern = compared(prepare, smalls), None
    moves = template.error * pitch < DIM and registration.halves_agree(smalls, template)  # else noise could pass for it
    for _ in range(PATTERN_ROUNDS if moves and still is None else 0):
        before, known = template.shifts, pattern
        pattern = registration.standing_pattern(smalls, template, known)
        if pattern is None:
            break
        prepare = replace(prepare, standing=pattern)
        smalls -= pattern if known is None else pattern - known
        template = compared(prepare, smalls)
        if np.abs(template.shifts - before).mean() < PATTERN_CHANGE:
            break
    return prepare, template, smalls


def evenly(values: np.ndarray, n: int) -> np.ndarray:
    """At most n of the values, evenly spread."""
    return values if len(values) <= n else values[np.linspace(0, len(values) - 1, n).astype(int)]


def _weight(prepare: Filter, shape: tuple[int, int], roi: Sequence[Sequence[int]] | None) -> np.ndarray:
    """What takes part in the estimate, 0 to 1: the region of interest, falling off towards the edges of the field."""
    tapers = []
    for n in prepare.even.shape:
        from_edge = np.minimum(np.arange(n), np.arange(n)[::-1]) + 0.5
        tapers.append(np.sin(np.pi / 2 * np.clip(from_edge / (0.08 * n), 0, 1)) ** 2)
    weight = np.outer(*tapers)
    if roi is not None:
        if len(roi) < 3:
            raise Unusable(f"roi has {len(roi)} corners: give three or more, each [x, y]")
        rows, columns = (
            (first + np.arange(n) + 0.5) * prepare.pitch - 0.5 for first, n in zip(prepare.corner, weight.shape)
        )
        weight *= scipy.ndimage.gaussian_filter(polygons.contains(roi, *np.meshgrid(columns, rows)).astype(float), 2)
    if weight.max() < 0.5 or (weight > 0.5).sum() < registration.LEAST_SIDE:
        raise Unusable(f"roi lies outside the field, which is {shape[1]} x {shape[0]} px, or is too small to register")
    return weight.astype(np.float32)


def _registered(
    series: Series, start: int, stop: int, prepare: Filter, template: Template, with_step: bool
) -> np.ndarray:
    """For each sample the shift, that of the left and of the right half, and the step from the recorded frame before.

    Shape (stop - start, 4, 2), in samples of the small copy; NaN where there is none.
    """
    made = np.full((stop - start, 4, 2), np.nan)
    before = None
    earlier = np.flatnonzero(series.valid[:start])
    if with_step and len(earlier):
        before = template.spectrum_of(prepare(series.read(earlier[-1], earlier[-1] + 1)[0]))
    rows, columns = prepare.place
    shown = series.stored(start, stop, rows)[:, :, slice(*columns)].astype(np.float32, copy=False)
    for i, part in zip(np.flatnonzero(series.valid[start:stop]), shown):
        small = prepare.of_place(part)
        fit = registration.register(small, template)
        made[i, :3] = fit.shift, fit.left, fit.right
        if with_step:
            spectrum = template.spectrum_of(small)
            if before is not None:
                made[i, 3] = registration.peak(spectrum, template, before)
            before = spectrum
    return made


def _filled(shifts: np.ndarray) -> np.ndarray:
    """(n, 2), with a straight line through what could not be estimated; 0 where nothing could."""
    known = np.isfinite(shifts).all(axis=1)
    if known.all() or not known.any():
        return np.nan_to_num(shifts)
    at = np.arange(len(shifts))
    return np.column_stack([np.interp(at, at[known], axis[known]) for axis in shifts.T])


def steadied(shifts: np.ndarray, error: float) -> np.ndarray:
    """Shifts (n, 2) through a Wiener filter over time: what varies no more than noise of this standard deviation goes.

    The frequencies at which the tissue moves keep nearly all that they have.
    """
    middle = np.median(shifts, axis=0)
    there_and_back = np.concatenate([shifts, shifts[::-1]]) - middle
    spectrum = scipy.fft.rfft(there_and_back, axis=0)
    power = np.abs(spectrum) ** 2 / len(there_and_back)
    power = scipy.ndimage.gaussian_filter1d(power, max(2, len(power) / SPECTRUM_BLUR), axis=0)
    gain = np.maximum(1 - error**2 / np.maximum(power, 1e-30), 0)
    return middle + scipy.fft.irfft(gain * spectrum, len(there_and_back), axis=0)[: len(shifts)]


def combined(shifts: np.ndarray, steps: np.ndarray, weight: float) -> np.ndarray:
    """The shifts that fit best those against the template and, with 1 - weight, the steps between frames. (n, 2)."""
    steps = np.nan_to_num(steps)
    steps[0] = 0
    diagonal = np.full(len(shifts), weight + 2 * (1 - weight))
    diagonal[[0, -1]] -= 1 - weight
    if len(shifts) == 1:
        return shifts
    side = weight * shifts + (1 - weight) * (steps - np.vstack([steps[1:], np.zeros((1, 2))]))
    bands = np.vstack([np.full(len(shifts), -(1 - weight)), diagonal])
    return scipy.linalg.solveh_banded(bands, side)
