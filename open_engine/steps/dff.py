"""Relative change of fluorescence, (F - F0) / F0, where F0 is the pixel's mean or minimum over the whole series.

Only recorded frames count. Where F0 is 0 the result is 0, as for a pixel that is always dark. The result is float32.
Exact by the public definition (IDPS guide, "DF/F"); what IDPS does where F0 is 0 is not public.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from open_engine.context import StepContext
from open_engine.files import frames
from open_engine.files.frames import Movie, Source
from open_engine.projections import projected

FRAME_BY_FRAME = True  # see pipeline/engines/open.py


def dff(
    input_movie_files: Sequence[Source],
    output_movie_files: Sequence[Source],
    f0_type: str = "mean",
    *,
    context: StepContext,
) -> None:
    """Relative change of brightness of each pixel: (F - F0) / F0, as float32.

    input_movie_files, output_movie_files : the parts of a series, in order of start.
    f0_type : F0 of a pixel, over the recorded frames of all parts: "mean" or "min". Where F0 is 0, so is the result.

    Raises Unusable if no frame was recorded.
    """
    with frames.open_series(input_movie_files) as series:
        f0 = projected(series, f0_type, context, (0, 0.4)).astype(np.float64)
        dark = f0 == 0
        inverse = np.where(dark, 0, 1 / np.where(dark, 1, f0))
        change = _Change(f0.astype(np.float32), inverse.astype(np.float32))
        for i, (part, target) in enumerate(zip(series.parts, output_movie_files)):
            span = frames.span_of(i, len(series.parts), (0.4, 1))
            frames.produce(target, part, change, context, span, dtype=np.dtype(np.float32))


@dataclass(frozen=True)
class _Change:
    f0: np.ndarray  # (rows, columns) float32
    inverse: np.ndarray  # 1 / F0

    @np.errstate(invalid="ignore", over="ignore")  # what is not finite stays so
    def __call__(self, movie: Movie, start: int, stop: int) -> np.ndarray:
        made = np.empty((stop - start, *movie.shape), np.float32)
        for out, frame in zip(made, movie.samples(start, stop)):
            out[...] = frame
            out -= self.f0
            out *= self.inverse
        return made
