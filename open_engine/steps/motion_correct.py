"""Register the frames of a series to a reference, rigidly, and cut the field down to what all frames show.

1. **Estimate**, one pass: the shift of each frame against a template that stands where the tissue is in the reference
   frame; see registration.py. The reference only decides where the field comes to rest, as one frame is too noisy to
   compare all others with. With `global_registration_weight` w below 1, each frame's shift r_t against the frame before
   it is estimated as well, and the shifts s_t are those that minimise
   sum_t w |s_t - g_t|^2 + (1 - w) |s_t - s_(t-1) - r_t|^2, where g_t is the shift against the template.
2. **Is it motion?** Unless both halves of the field say the same, and what one says makes the other crisper, nothing
   has moved, and all shifts are exactly zero.
3. **Does it bend?** Where something has moved and no region of interest is given, a smooth displacement u is estimated
   on top of the shift, and used if both halves of the field say that there is one; see bending.py. This takes a pass.
4. **Apply**, one pass: out(p) = frame(p + s), by the cubic convolution of Keys (1981, IEEE Trans. ASSP 29, a = -1/2),
   and cropped to the pixels that every frame has, or padded to the input's size with the 5th percentile of ten frames
   spread over the series. A frame that has not moved is copied. Frames that bend are resampled at
   p + s + u(p), once, by cubic splines; translations then are those of the shift alone.

The band in which shifts are estimated never shows in the output. `low_bandpass_cutoff` and `high_bandpass_cutoff` are
those of spatial_filter, in cycles per pixel. isx.algo's defaults, 0.004 and 0.016, leave only detail of 60 px and more,
where light and neuropil outweigh the tissue's structure. With both at these values, or both "none", as for a movie that
is filtered already, the engine takes 0.047 to 0.125 (periods of 8 to 21 px), whatever the field's size: cells and their
edges are no larger in a large field. Any other value is used as given. Of a large field, only the part where most is to
be seen takes part in the estimate.

What files, parameters and switches mean is public (isx.algo). IDPS's cost function, sub-pixel treatment and rule for a
movie that stands still are not; these are the project's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import solveh_banded
from scipy.ndimage import gaussian_filter

from open_engine import bending, polygons, registration
from open_engine.bending import Bent
from open_engine.context import StepContext
from open_engine.files import frames
from open_engine.files.frames import Movie, Series, Source
from open_engine.files.whole import write_text
from open_engine.registration import Filter, Template
from recording.errors import Unusable

FRAME_BY_FRAME = True  # see pipeline/engines/open.py
REFERENCES = ("lucas1981", "keys1981")

VENDOR_BAND = (0.004, 0.016)
OWN_BAND = (0.047, 0.125)  # cycles per pixel
LEAST_FIELD = 16  # px
SAMPLE, SAMPLE_BYTES = 200, 32 << 20  # frames that make the template, and what their small copies may take
MOST_JERKS = 30  # frames that are looked at again
BENT_SAMPLE = 60  # frames that tell whether tissue bends
STRIP_PIXELS = 1 << 17  # of a frame that are resampled at a time, which stay in the processor's cache


def motion_correct(
    input_movie_files: Sequence[Source],
    output_movie_files: Sequence[Source],
    max_translation: int = 20,
    low_bandpass_cutoff: float | None = 0.004,
    high_bandpass_cutoff: float | None = 0.016,
    roi: Sequence[Sequence[int]] | None = None,
    reference_segment_index: int = 0,
    reference_frame_index: int = 0,
    reference_file_name: str = "",
    global_registration_weight: float = 1.0,
    output_translation_files: Sequence[str] | None = None,
    output_crop_rect_file: str | None = None,
    preserve_input_dimensions: bool = False,
    *,
    context: StepContext,
) -> None:
    """Move each frame to where a reference frame shows the tissue.

    input_movie_files, output_movie_files : the parts of a series, in order of start.
    max_translation : the largest motion looked for, px.
    low_bandpass_cutoff, high_bandpass_cutoff : cycles per pixel; the band in which frames are compared, never in the
        output. None for both: the engine's own band.
    roi : corners [x, y] of the region that is compared, px.
    reference_segment_index, reference_frame_index, reference_file_name : the reference: a frame of a part, or an image.
    global_registration_weight : 1 compares with the reference only; below, the previous frame has the rest.
    output_translation_files : tables of what moves each frame to the reference, px to the right and down; 0 for frames
        that were not recorded.
    output_crop_rect_file : x, y, width and height, px, of the field that is there in all frames.
    preserve_input_dimensions : pad the field instead of cropping it.

    Raises Unusable if the reference is not there or no field is left.
    """
    with frames.open_series(input_movie_files) as series:
        if min(series.shape) < LEAST_FIELD:
            rows, columns = series.shape
            raise Unusable(
                f"{series.parts[0].path.name}: {columns} x {rows} px are too few to register; leave motion_correct out"
            )
        if not series.valid.any():
            raise Unusable(f"{series.parts[0].path.name}: no frame was recorded, so there is nothing to register")
        reference, at = _reference(series, reference_file_name, reference_segment_index, reference_frame_index, context)
        band = (low_bandpass_cutoff, high_bandpass_cutoff)
        search = _Search(_band(band), max_translation, roi, global_registration_weight)
        shifts = estimate(series, reference, search, context, (0, 0.4))
        if at is not None:
            shifts[series.valid] -= shifts[at]
        np.clip(shifts, -max_translation, max_translation, out=shifts)
        _warn_of_limit(series, shifts, max_translation, context)
        bent = _bent(series, shifts, search, context) if roi is None else None
        area = common_area(series.shape, shifts[series.valid] if bent is None else bent.reach(shifts, series.valid))
        if min(area[2:]) < 1:
            raise Unusable(
                f"{series.parts[0].path.name}: frames have moved so far that no pixel is in all of them: lower "
                f"max_translation ({max_translation})"
            )
        fill = _padding(series) if preserve_input_dimensions else None
        for i, (part, target) in enumerate(zip(series.parts, output_movie_files)):
            first, end = series.bounds[i]
            span, table = frames.span_of(i, len(series.parts), (0.6, 1)), (output_translation_files or {i: None})[i]
            moved = _MovedBack(shifts[first:end], area, fill, bent and bent.part(first, end))
            _produce(target, part, moved, context, span, table)
    if output_crop_rect_file:
        write_text(output_crop_rect_file, ",".join(str(each) for each in area) + "\n")


# ---- what is registered, and to what


@dataclass(frozen=True)
class _Search:
    band: tuple[float | None, float | None]  # cycles per pixel
    greatest: float  # px
    roi: Sequence[Sequence[int]] | None
    weight: float  # of the template against the frame before


def _band(band: tuple[float | None, float | None]) -> tuple[float | None, float | None]:
    return OWN_BAND if band in (VENDOR_BAND, (None, None)) else band


def _reference(
    series: Series, name: str, segment: int, index: int, context: StepContext
) -> tuple[np.ndarray, int | None]:
    """The image, and its sample in the series if it is one."""
    if name:
        with frames.open_movie(name) as image:
            if image.shape != series.shape:
                (h, w), (rows, columns) = image.shape, series.shape
                raise Unusable(
                    f"reference_file_name: {image.path.name} has {w} x {h} px but the movie {columns} x {rows} px: "
                    "give a projection of a movie of the same size"
                )
            return image.read(0, 1)[0], None
    if segment >= len(series.parts):
        raise Unusable(f"reference_segment_index {segment} is not there: the series has {len(series.parts)} parts")
    first, end = series.bounds[segment]
    if index >= end - first:
        raise Unusable(f"reference_frame_index {index} is not there: the movie has {end - first} frames")
    recorded = np.flatnonzero(series.valid)
    at = int(recorded[np.abs(recorded - (first + index)).argmin()])
    if at != first + index:
        context.warn(f"reference frame {index} was not recorded; the nearest that was is the reference")
    return series.read(at, at + 1)[0], at


def _warn_of_limit(series: Series, shifts: np.ndarray, greatest: float, context: StepContext) -> None:
    far = int((np.abs(shifts[series.valid]) >= greatest).any(axis=1).sum())
    if far:
        context.warn(f"{far} frames have moved by max_translation ({greatest:g} px) or more: raise it if they have")


# ---- estimate


def estimate(
    series: Series, reference: np.ndarray, search: _Search, context: StepContext, span: tuple[float, float]
) -> np.ndarray:
    """How far the tissue is from where the reference shows it: (n_frames, 2), (y, x) in px; 0 if not recorded."""
    even = _evenly(np.flatnonzero(series.valid), SAMPLE)
    with frames.one_blas_thread():
        prepare, template, smalls = _compared(series, even, reference, search, context.threads)

    def work(start: int, stop: int) -> np.ndarray:
        return _registered(series, start, stop, prepare, template, search.weight < 1)

    found = np.concatenate(list(frames.each_block(frames.chunks(series, frames.BLOCK_MB), work, context, span)))
    recorded = series.valid
    shifts, left, right, steps = np.moveaxis(found[recorded], 1, 0)
    shifts = _filled(shifts)
    if search.weight < 1:
        shifts = combined(shifts, steps, search.weight)
    at = np.flatnonzero(recorded)
    far = _evenly(at[registration.far_frames(left, right)], MOST_JERKS)
    with frames.one_blas_thread():
        moved = registration.has_moved(
            left, right, smalls, np.searchsorted(at, even), template
        ) or registration.are_jerks(np.array([prepare(series.read(i, i + 1)[0]) for i in far]), template)
    in_px = np.zeros((series.n_frames, 2))
    in_px[recorded] = shifts * prepare.pitch if moved else np.median(shifts, axis=0) * prepare.pitch
    return in_px


def _compared(
    series: Series, even: np.ndarray, reference: np.ndarray, search: _Search, threads: int
) -> tuple[Filter, Template, np.ndarray]:
    """How frames are compared, with what, and the small copies of those at `even`."""
    pitch = registration.pitch_of(series.shape, search.band[1])

    def small(i: int) -> np.ndarray:
        return registration.binned_frame(series.read(i, i + 1)[0], pitch)

    def shown(i: int) -> np.ndarray:
        return prepare(series.read(i, i + 1)[0])

    some = _evenly(even, max(2, SAMPLE_BYTES * pitch**2 // (4 * series.shape[0] * series.shape[1])))
    binned = np.array(list(frames.in_order(small, some, threads)))
    mean = np.nan_to_num(binned, posinf=0, neginf=0).mean(axis=0)
    del binned
    prepare = registration.make_filter(mean, pitch, *search.band)
    weight = _weight(prepare, series.shape, search.roi)
    prepare = prepare.within(registration.window(prepare.band_passed(mean), weight, 4 * search.greatest / pitch))
    weight = _weight(prepare, series.shape, search.roi)
    smalls = np.array(list(frames.in_order(shown, even, threads)))
    template = registration.make_template(smalls, prepare(reference), weight, search.greatest / pitch, threads)
    return prepare, template, smalls


def _evenly(values: np.ndarray, n: int) -> np.ndarray:
    """At most n of the values, spread evenly."""
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
        weight *= gaussian_filter(polygons.contains(roi, *np.meshgrid(columns, rows)).astype(float), 2)
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
        found = registration.register(small, template)
        made[i, :3] = found.shift, found.left, found.right
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
    return solveh_banded(bands, side)


# ---- bending


def _bent(series: Series, shifts: np.ndarray, search: _Search, context: StepContext) -> Bent | None:
    """How the tissue bends in each frame, on top of its shift; None where it does not, or does not move at all."""
    if not shifts.any():
        return None
    pitch = registration.pitch_of(series.shape, search.band[1])
    basis = bending.cosines(series.shape, pitch)
    most = max(2, SAMPLE_BYTES * pitch**2 // (4 * series.shape[0] * series.shape[1]))
    even = _evenly(np.flatnonzero(series.valid), min(BENT_SAMPLE, most))
    with frames.one_blas_thread():

        def small(i: int) -> np.ndarray:
            return registration.binned_frame(series.read(i, i + 1)[0], pitch)

        binned = np.array(list(frames.in_order(small, even, context.threads)))
        mean = np.nan_to_num(binned, posinf=0, neginf=0).mean(axis=0)
        prepare = registration.make_filter(mean, pitch, *search.band)
        smalls = np.array(list(frames.in_order(prepare.band_passed, binned, context.threads)))
        found = bending.bends(smalls, shifts[even] / pitch, basis, pitch)
    if found is None:
        return None

    def work(start: int, stop: int) -> np.ndarray:
        made = np.zeros((stop - start, *found.size))
        for i, frame in zip(np.flatnonzero(series.valid[start:stop]), series.stored(start, stop)):
            small = prepare(frame.astype(np.float32, copy=False))
            made[i] = pitch * found.found(small, shifts[start + i] / pitch)
        return made

    blocks = frames.each_block(frames.chunks(series, frames.BLOCK_MB), work, context, (0.4, 0.6))
    weights = np.concatenate(list(blocks))
    weights[series.valid] -= np.median(weights[series.valid], axis=0)
    bent = Bent(weights, bending.cosines(series.shape))
    context.warn(f"the tissue bends, by {bent.rms(series.valid):.1f} px (root mean square): frames were bent back, too")
    return bent


# ---- apply


def common_area(shape: tuple[int, int], shifts: np.ndarray) -> tuple[int, int, int, int]:
    """x, y, width and height of the pixels that all frames have once moved back by `shifts`, (n, 2) as (y, x)."""
    low = np.ceil(np.maximum(0, -shifts.min(axis=0))).astype(int)
    high = np.array(shape) - np.ceil(np.maximum(0, shifts.max(axis=0))).astype(int)
    height, width = high - low
    return int(low[1]), int(low[0]), int(width), int(height)


def _padding(series: Series) -> float:
    """The 5th percentile of ten frames spread over the series."""
    chosen = _evenly(np.flatnonzero(series.valid), 10)
    values = np.concatenate([series.stored(i, i + 1) for i in chosen])
    finite = values[np.isfinite(values)]
    return float(np.percentile(finite, 5)) if finite.size else 0.0


def _produce(
    target: Source, part: Movie, moved: _MovedBack, context: StepContext, span: tuple[float, float], table: str | None
) -> None:
    (left, top), (rows, columns) = part.spacing.top_left, part.shape
    before = {"topLeft": {"x": int(left), "y": int(top)}, "width": columns, "height": rows}  # isxcore keeps whole µm
    extra = frames.with_idps(part.extra, pre_mc=before, mc_padding=moved.fill is not None)
    spacing = part.spacing.cropped(*moved.area) if moved.fill is None else part.spacing
    frames.produce(target, part, moved, context, span, spacing=spacing, extra=extra)
    if table:
        write_text(table, _translations(part, moved.shifts))


@dataclass(frozen=True)
class _MovedBack:
    """The samples of a movie whose tissue stands still."""

    shifts: np.ndarray  # (n_frames, 2), (y, x) in px
    area: tuple[int, int, int, int]  # x, y, width, height of what all frames have
    fill: float | None  # around that; None: the product has no more than that
    bent: Bent | None = None

    def __call__(self, movie: Movie, start: int, stop: int) -> np.ndarray:
        x, y, width, height = self.area
        shape = (height, width) if self.fill is None else movie.shape
        fill = frames.converted(np.array([self.fill or 0], np.float32), movie.dtype)[0]
        made = np.full((stop - start, *shape), fill, movie.dtype)
        inner = made if self.fill is None else made[:, y : y + height, x : x + width]
        recorded = np.flatnonzero(movie.valid[start:stop])
        for i, frame in zip(recorded, movie.stored(start, stop)):
            if self.bent is None:
                move_back(frame, self.shifts[start + i], self.area, inner[i])
            else:
                straight = self.bent.moved_back(frame, start + i, self.shifts[start + i], self.area)
                inner[i] = frames.converted(straight, movie.dtype)
        return made


def move_back(frame: np.ndarray, shift: np.ndarray, area: tuple[int, int, int, int], out: np.ndarray) -> None:
    """Fill `out`, (height, width), with frame(p + shift) for the pixels p of the area; all of them are in the frame."""
    x, y, width, height = area
    if not shift.any():
        out[...] = frame[y : y + height, x : x + width]
        return
    whole = np.floor(shift).astype(int)
    down, right = (_keys(float(t)) for t in shift - whole)
    padded = _padded(frame)
    top, left = y + int(whole[0]) + 1, x + int(whole[1]) + 1  # of the first of four taps
    across = padded.shape[1]
    n_rows = max(1, STRIP_PIXELS // across)
    for first in range(0, height, n_rows):  # rows end to end, which is several times as fast
        last = min(first + n_rows, height)
        taps = padded[top + first : top + last + 3].ravel()
        moved = _weighted(_weighted(taps, down, across), right, 1)[: (last - first) * across]
        out[first:last] = frames.converted(moved, out.dtype).reshape(-1, across)[:, left : left + width]


def _padded(frame: np.ndarray) -> np.ndarray:
    """As float32, with the pixels at the edges repeated twice on each side."""
    rows, columns = frame.shape
    padded = np.empty((rows + 4, columns + 4), np.float32)
    inner = padded[2:-2]
    inner[:, 2:-2] = frame
    inner[:, :2], inner[:, -2:] = inner[:, 2:3], inner[:, -3:-2]
    padded[:2], padded[-2:] = padded[2], padded[-3]
    return padded


def _keys(t: float) -> tuple[float, float, float, float]:
    """Weights of the samples at -1, 0, 1 and 2 for the value at t, 0 <= t < 1."""
    return (
        ((-0.5 * t + 1) * t - 0.5) * t,
        (1.5 * t - 2.5) * t * t + 1,
        ((-1.5 * t + 2) * t + 0.5) * t,
        (0.5 * t - 0.5) * t * t,
    )


def _weighted(flat: np.ndarray, weights: Sequence[float], step: int) -> np.ndarray:
    """sum over k of weights[k] flat[i + k step], for each i; of the same length, whose end means nothing."""
    n = len(flat) - 3 * step
    made, part = np.empty_like(flat), np.empty(n, np.float32)
    made[n:] = 0
    total = np.multiply(flat[step : step + n], weights[1], out=made[:n])
    for k in (0, 2, 3):
        if weights[k]:
            total += np.multiply(flat[k * step : k * step + n], weights[k], out=part)
    return made


def _translations(part: Movie, shifts: np.ndarray) -> str:
    """The table of one movie: what moves each frame to the reference, and when the frame was taken."""
    rows = (f"{x:.6f},{y:.6f},{float(i * part.timing.period):.6f}\n" for i, (y, x) in enumerate(0 - shifts))
    return "translationX,translationY,time\n" + "".join(rows)
