"""Band-pass each frame of a movie in space.

    out = G_high * frame - G_low * frame (+ the frame's mean, if `retain_mean`)

where G_f * is a Gaussian low-pass that lets half the amplitude through at the cut-off f, in cycles per pixel; see
gaussian.py. Without a high cut-off the frame itself stands for the first term. Without a low one the frame's mean
stands for the second, as IDPS subtracts it in any case. Frames are mirrored at their edges.

`subtract_global_minimum` then subtracts the least value of all movies of the series, so that no value is negative and
integer movies can stay integer: values are rounded, then the least of these is subtracted. Without it, integer movies
become float32 unless they keep their mean.

That the filter is the difference of two Gaussians, and what the switches do, is public (IDPS guide, "Spatial filter");
how IDPS relates the cut-off to a standard deviation is not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from open_engine.context import StepContext
from open_engine.files import frames
from open_engine.files.frames import Deferred, Movie, Series, Source
from open_engine.gaussian import BandPass

FRAME_BY_FRAME = True  # see pipeline/engines/open.py


def spatial_filter(
    input_movie_files: Sequence[Source],
    output_movie_files: Sequence[Source],
    low_cutoff: float | None = 0.005,
    high_cutoff: float | None = 0.5,
    retain_mean: bool = False,
    subtract_global_minimum: bool = True,
    *,
    context: StepContext,
) -> None:
    """Band-pass each frame: a Gaussian of the high cut-off less one of the low cut-off.

    input_movie_files, output_movie_files : the parts of a series, in order of start.
    low_cutoff, high_cutoff : cycles per pixel, at which half the amplitude passes; None leaves that blur out.
    retain_mean : whether a frame keeps its mean.
    subtract_global_minimum : whether the least value of all parts becomes 0; integer movies need it.
    """
    with frames.open_series(input_movie_files) as series:
        band = BandPass(series.shape, low_cutoff, high_cutoff, retain_mean)
        deferred = any(isinstance(target, Deferred) for target in output_movie_files)
        if subtract_global_minimum and not deferred:
            _write_and_lower(series, [Path(target) for target in output_movie_files], band, context)
            return
        less = _least(series, band, context) if subtract_global_minimum else None
        for i, (part, target) in enumerate(zip(series.parts, output_movie_files)):
            dtype = part.dtype if subtract_global_minimum or retain_mean else np.dtype(np.float32)
            span = frames.span_of(i, len(series.parts))
            frames.produce(target, part, _Filtered(band, dtype, less), context, span, dtype=dtype)


def _write_and_lower(series: Series, targets: Sequence[Path], band: BandPass, context: StepContext) -> None:
    """One pass that filters and finds the least value, and one over the products that subtracts it."""
    unfinished = [target.with_name(f".{target.stem}-unfinished.isxd") for target in targets]
    least = np.inf

    def blocks(part: Movie, span: tuple[float, float]) -> Iterator[np.ndarray]:
        nonlocal least
        filtered = _Filtered(band, part.dtype, 0)
        for block, of_block in frames.each_block(
            frames.chunks(part, frames.BLOCK_MB), lambda *cut: filtered.with_least(part, *cut), context, span
        ):
            least = min(least, of_block)
            yield block

    try:
        for i, (part, path) in enumerate(zip(series.parts, unfinished)):
            frames.write_movie(path, part, blocks(part, frames.span_of(i, len(targets), (0, 0.9))), part.dtype)
        for path, target in zip(unfinished, targets):
            if np.isfinite(least):
                frames.subtract(path, least, context.threads)
            path.replace(target)
    finally:
        for path in unfinished:
            path.unlink(missing_ok=True)


def _least(series: Series, band: BandPass, context: StepContext) -> float:
    """The least value of all recorded frames once they are filtered."""
    filtered = _Filtered(band, np.dtype(np.float32), None)
    least = np.inf
    for i, part in enumerate(series.parts):
        cuts, span = frames.chunks(part, frames.BLOCK_MB), frames.span_of(i, len(series.parts))
        of_blocks = frames.each_block(cuts, lambda *cut, part=part: filtered.with_least(part, *cut)[1], context, span)
        least = min(least, *of_blocks)
    return least if np.isfinite(least) else 0


@dataclass(frozen=True)
class _Filtered:
    """The filtered samples of a movie.

    Where something is subtracted, values that are negative in an integer movie wrap around: once their least is
    subtracted they are what they should be.
    """

    band: BandPass
    dtype: np.dtype
    less: float | None  # what is subtracted

    def __call__(self, movie: Movie, start: int, stop: int) -> np.ndarray:
        return self.with_least(movie, start, stop)[0]

    def with_least(self, movie: Movie, start: int, stop: int) -> tuple[np.ndarray, float]:
        """And the least value of the recorded ones, before anything is subtracted; infinite if there are none."""
        made, least = np.zeros((stop - start, *movie.shape), self.dtype), np.inf
        samples = movie.samples(start, stop)
        for out, frame, recorded in zip(made, samples, movie.valid[start:stop]):
            if not recorded:
                continue
            for rows, strip in self.band.strips(frame):
                least = min(least, float(strip.min()))
                self._store(strip, out[rows])
        return made, least

    def _store(self, strip: np.ndarray, out: np.ndarray) -> None:
        if self.dtype.kind == "f":
            np.subtract(strip, np.float32(self.less or 0), out=out)
        elif self.less is None:
            out[...] = frames.converted(strip, self.dtype)
        else:
            whole = np.rint(strip, out=strip).astype(np.int32)
            np.subtract(whole, round(self.less), out=out, casting="unsafe")
