"""Remove ranges of frames from a movie.

Frames that are removed keep their place in time: they become `cropped` in the product's timing, so that the rest stays
aligned with other recordings. Those at the start are cut off altogether and the movie starts later, unless
`keep_start_time`. Pixels are not touched. Exact by the public definition.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from open_engine.binning import runs
from open_engine.context import StepContext
from open_engine.files import frames
from open_engine.files.frames import Movie, Source, Timing
from recording.errors import Unusable

FRAME_BY_FRAME = True  # see pipeline/engines/open.py


def trim_movie(
    input_movie_file: Source,
    output_movie_file: Source,
    crop_segments: Sequence[Sequence[int]],
    keep_start_time: bool = False,
    *,
    context: StepContext,
) -> None:
    """Remove segments of a movie; the timing lists them as cropped.

    crop_segments : pairs of first and last frame, from 0, both removed.
    keep_start_time : whether the start stays although the first frames go.

    Raises Unusable if a segment is not there or no frame is left.
    """
    with frames.open_movie(input_movie_file) as movie:
        gone = np.zeros(movie.n_frames, bool)
        for first, last in crop_segments:
            if not 0 <= first <= last < movie.n_frames:
                raise Unusable(
                    f"{movie.path.name} has frames 0 to {movie.n_frames - 1}, so crop_segments "
                    f"[{first}, {last}] cannot be removed"
                )
            gone[first : last + 1] = True
        kept = np.flatnonzero(~gone)
        if len(kept) == 0:
            raise Unusable(f"crop_segments removes all {movie.n_frames} frames of {movie.path.name}: leave some")
        begin = 0 if keep_start_time else int(kept[0])
        timing = _trimmed(movie.timing, gone, begin)
        frames.produce(output_movie_file, movie, _Kept(begin, timing.valid), context, timing=timing)


@dataclass(frozen=True)
class _Kept:
    """The samples of a movie from one on; those that are not recorded are zeros."""

    begin: int
    valid: np.ndarray  # for each of the samples that are left

    def __call__(self, movie: Movie, start: int, stop: int) -> np.ndarray:
        block = np.zeros((stop - start, *movie.shape), movie.dtype)
        kept_here = self.valid[start:stop]
        recorded = movie.valid[self.begin + start : self.begin + stop]
        block[kept_here] = movie.stored(self.begin + start, self.begin + stop)[kept_here[recorded]]
        return block


def _trimmed(timing: Timing, gone: np.ndarray, begin: int) -> Timing:
    cropped = gone.copy()
    for first, last in timing.cropped:
        cropped[first : last + 1] = True
    return replace(
        timing,
        n_samples=timing.n_samples - begin,
        start=timing.start + begin * timing.period,
        dropped=tuple(i - begin for i in timing.dropped if i >= begin and not cropped[i]),
        blank=tuple(i - begin for i in timing.blank if i >= begin and not cropped[i]),
        cropped=runs(np.flatnonzero(cropped[begin:]).tolist()),
    )
