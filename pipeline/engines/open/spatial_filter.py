"""Band-pass each frame of a movie in space.

    out = G_high * frame - G_low * frame (+ the frame's mean, if `retain_mean`)

where G_f * is a Gaussian low-pass that lets half the amplitude through at the cut-off f, in cycles per pixel: its
transfer function is 2^-(v/f)^2 at the frequency v, so that its standard deviation is sqrt(ln 2 / 2) / (pi f) px.
Without a high cut-off the frame itself stands for the first term. Without a low one the frame's mean stands for the
second, as IDPS subtracts it in any case. Frames are mirrored at their edges.

Both Gaussians are one factor on the frame's cosine transform (DCT II), which is what a frame mirrored at its edges has
for a Fourier transform: nothing is cut off or approximated.

`subtract_global_minimum` then subtracts the least value of all movies of the series, so that no value is negative and
integer movies can stay integer. Without it, integer movies become float32 unless they keep their mean.

That the filter is the difference of two Gaussians, and what the switches do, is public (IDPS guide, "Spatial filter");
how IDPS relates the cut-off to a standard deviation is not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from scipy.fft import dctn, idctn

from pipeline.engines.open import frames
from pipeline.engines.open.frames import Movie, Series
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
    with frames.open_series(input_movie_files) as series:
        transfer = transfer_function(series.shape, low_cutoff, high_cutoff)
        if retain_mean:
            transfer[0, 0] = 1
        least, begun = 0.0, 0.0
        if subtract_global_minimum:
            least, begun = _least(series, transfer, context), 0.5
        stays_integer = subtract_global_minimum or retain_mean
        for i, (part, target) in enumerate(zip(series.parts, output_movie_files)):
            dtype = part.dtype if stays_integer else np.dtype(np.float32)
            span = frames.share(i, len(series.parts), (begun, 1))
            frames.write_movie(target, part, _filtered(part, transfer, least, dtype, context, span), dtype)


def transfer_function(shape: tuple[int, int], low: float | None, high: float | None) -> np.ndarray:
    """The factor on the cosine transform of a frame, shape (rows, columns), float32; 0 for its mean."""
    v_squared = sum(np.ix_(*((np.arange(n) / (2 * n)) ** 2 for n in shape)))
    passed = np.exp2(-v_squared / high**2) if high else np.ones(shape)
    if low:
        passed -= np.exp2(-v_squared / low**2)
    passed[0, 0] = 0
    return passed.astype(np.float32)


def band_passed(frame: np.ndarray, transfer: np.ndarray) -> np.ndarray:
    """One frame, (rows, columns) float32. Values that are not finite count as the mean of the others."""
    finite = np.isfinite(frame)
    if not finite.all():
        frame = np.where(finite, frame, frame[finite].mean() if finite.any() else np.float32(0))
    spectrum = dctn(frame)
    spectrum *= transfer
    return idctn(spectrum, overwrite_x=True)


def _least(series: Series, transfer: np.ndarray, context: StepContext) -> float:
    """The least value of all filtered frames; 0 where none was recorded."""

    def work(start: int, stop: int) -> float:
        recorded = series.stored(start, stop).astype(np.float32, copy=False)
        return min((float(band_passed(frame, transfer).min()) for frame in recorded), default=np.inf)

    blocks = frames.chunks(series, frames.BLOCK_MB)
    least = min(frames.each_block(blocks, work, context, (0, 0.5)), default=np.inf)
    return least if np.isfinite(least) else 0.0


def _filtered(
    part: Movie, transfer: np.ndarray, least: float, dtype: np.dtype, context: StepContext, span: tuple[float, float]
) -> Iterator[np.ndarray]:
    def work(start: int, stop: int) -> np.ndarray:
        block = part.read(start, stop)
        for frame, recorded in zip(block, part.valid[start:stop]):
            if recorded:
                np.subtract(band_passed(frame, transfer), least, out=frame)
        return frames.converted(block, dtype)

    return frames.each_block(frames.chunks(part, frames.BLOCK_MB), work, context, span)
