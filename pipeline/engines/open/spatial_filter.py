"""Band-pass each frame of a movie in space.

    out = G_high * frame - G_low * frame (+ the frame's mean, if `retain_mean`)

where G_f * is a Gaussian low-pass that lets half the amplitude through at the cut-off f, in cycles per pixel: its
transfer function is 2^-(v/f)^2 at the frequency v, so that its standard deviation is sqrt(ln 2 / 2) / (pi f) px.
Without a high cut-off the frame itself stands for the first term. Without a low one the frame's mean stands for the
second, as IDPS subtracts it in any case. Frames are mirrored at their edges.

Both Gaussians are one factor on the frame's cosine transform (DCT II), which is what a frame mirrored at its edges has
for a Fourier transform: nothing is cut off or approximated.

`subtract_global_minimum` then subtracts the least value of all movies of the series, so that no value is negative and
integer movies can stay integer: values are rounded, then the least of these is subtracted. Without it, integer movies
become float32 unless they keep their mean.

That the filter is the difference of two Gaussians, and what the switches do, is public (IDPS guide, "Spatial filter");
how IDPS relates the cut-off to a standard deviation is not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from scipy.fft import dctn, idctn

from pipeline.engines.open import frames
from pipeline.engines.open.frames import Movie
from pipeline.engines.protocol import StepContext


def spatial_filter(
    input_movie_files: Sequence[str],
    output_movie_files: Sequence[str],
    low_cutoff: float | None = 0.005,
    high_cutoff: float | None = 0.5,
    retain_mean: bool = False,
    subtract_global_minimum: bool = True,
    *,
    context: StepContext,
) -> None:
    """See the module. Cut-offs are in cycles per pixel."""
    targets = [Path(each) for each in output_movie_files]
    unfinished = [each.with_name(f".{each.stem}-unfinished.isxd") for each in targets]
    try:
        with frames.open_series(input_movie_files) as series:
            transfer = transfer_function(series.shape, low_cutoff, high_cutoff, retain_mean)
            least = np.inf
            for i, (part, path) in enumerate(zip(series.parts, unfinished)):
                stays_integer = subtract_global_minimum or retain_mean
                dtype = part.dtype if stays_integer else np.dtype(np.float32)
                span = frames.share(i, len(series.parts))
                filtered = _Filtered(part, transfer, dtype, wraps=subtract_global_minimum)
                frames.write_movie(path, part, filtered.blocks(context, span), dtype)
                least = min(least, filtered.least)
        for path, target in zip(unfinished, targets):
            if subtract_global_minimum and np.isfinite(least):
                frames.lower(path, least)
            path.replace(target)
    finally:
        for path in unfinished:
            path.unlink(missing_ok=True)


def transfer_function(
    shape: tuple[int, int], low: float | None, high: float | None, keep_mean: bool = False
) -> np.ndarray:
    """The factor on the cosine transform of a frame, shape (rows, columns), float32; 1 or 0 for its mean."""
    v_squared = sum(np.ix_(*((np.arange(n) / (2 * n)) ** 2 for n in shape)))
    passed = np.exp2(-v_squared / high**2) if high else np.ones(shape)
    if low:
        passed -= np.exp2(-v_squared / low**2)
    passed[0, 0] = keep_mean
    return passed.astype(np.float32)


def band_passed(frame: np.ndarray, transfer: np.ndarray) -> np.ndarray:
    """One frame, (rows, columns) float32. Values that are not finite count as the mean of the others."""
    finite = np.isfinite(frame)
    if not finite.all():
        frame = np.where(finite, frame, frame[finite].mean() if finite.any() else np.float32(0))
    spectrum = dctn(frame)
    spectrum *= transfer
    return idctn(spectrum, overwrite_x=True)


class _Filtered:
    """The filtered frames of a movie, and, once all of them have been made, their least value."""

    def __init__(self, movie: Movie, transfer: np.ndarray, dtype: np.dtype, wraps: bool) -> None:
        self.movie, self.transfer, self.dtype, self.wraps = movie, transfer, dtype, wraps
        self.least = np.inf

    def blocks(self, context: StepContext, span: tuple[float, float]) -> Iterator[np.ndarray]:
        cuts = frames.chunks(self.movie, frames.BLOCK_MB)
        for block, least in frames.each_block(cuts, self._block, context, span):
            self.least = min(self.least, least)
            yield block

    def _block(self, start: int, stop: int) -> tuple[np.ndarray, float]:
        block, least = self.movie.read(start, stop), np.inf
        for frame, recorded in zip(block, self.movie.valid[start:stop]):
            if recorded:
                frame[...] = band_passed(frame, self.transfer)
                least = min(least, float(frame.min()))
        if not (self.wraps and self.dtype.kind == "u"):
            return frames.converted(block, self.dtype), least
        # Negative values wrap around; once the least is subtracted they are what they should be.
        return np.rint(block).astype(np.int32).astype(self.dtype), float(np.rint(least))
