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

from open_engine.bending import Bent
from open_engine.context import StepContext
from open_engine.files import frames
from open_engine.files.frames import Movie, Series, Source
from open_engine.files.whole import write_text
from open_engine.resampling import common_area, move_back
from open_engine.shifts import Search, band_of, estimate_bending, estimate_shifts, evenly
from recording.errors import Unusable

FRAME_BY_FRAME = True  # see pipeline/engines/open.py
REFERENCES = ("lucas1981", "keys1981")

LEAST_FIELD = 16  # px


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
        search = Search(band_of(band), max_translation, roi, global_registration_weight)
        shifts, search = estimate_shifts(series, reference, search, context, (0, 0.4))
        if at is not None:
            shifts[series.valid] -= shifts[at]
        np.clip(shifts, -max_translation, max_translation, out=shifts)
        _warn_of_limit(series, shifts, max_translation, context)
        bent = estimate_bending(series, shifts, search, context) if roi is None else None
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
        write_text(output_crop_rect_file, ",".join(str(edge) for edge in area) + "\n")


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
        raise Unusable(f"reference_segment_index {segment} does not exist: the series has {len(series.parts)} parts")
    first, end = series.bounds[segment]
    if index >= end - first:
        raise Unusable(f"reference_frame_index {index} does not exist: the movie has {end - first} frames")
    recorded = np.flatnonzero(series.valid)
    at = int(recorded[np.abs(recorded - (first + index)).argmin()])
    if at != first + index:
        context.warn(f"reference frame {index} was not recorded; the nearest recorded frame is used")
    return series.read(at, at + 1)[0], at


def _warn_of_limit(series: Series, shifts: np.ndarray, greatest: float, context: StepContext) -> None:
    far = int((np.abs(shifts[series.valid]) >= greatest).any(axis=1).sum())
    if far:
        context.warn(
            f"{far} frames have moved by max_translation ({greatest:g} px) or more: raise it if they "
            "really move that far"
        )


def _padding(series: Series) -> float:
    """The 5th percentile of ten frames spread over the series."""
    chosen = evenly(np.flatnonzero(series.valid), 10)
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


def _translations(part: Movie, shifts: np.ndarray) -> str:
    """The table of one movie: what moves each frame to the reference, and when the frame was taken."""
    rows = (f"{x:.6f},{y:.6f},{float(i * part.timing.period):.6f}\n" for i, (y, x) in enumerate(0 - shifts))
    return "translationX,translationY,time\n" + "".join(rows)
