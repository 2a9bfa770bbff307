"""Fill in frames that were dropped or are blank, from the recorded frames on either side.

A run of such frames, of at most `max_consecutive_invalid_frames`, that has a recorded frame on either side is filled
with the straight line between these two, pixel by pixel, at each frame's own time. Longer runs, runs at either end and
cropped frames stay as they are. What was filled in counts as recorded in the product; the numbers of these frames are
kept in its property `idps.interpolatedFrames`, as IDPS keeps them (isxcore, isxMetadata.h).

The parameters are public; that the interpolation is linear is this project's choice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from open_engine.binning import runs
from open_engine.context import StepContext
from open_engine.files import frames
from open_engine.files.frames import Movie, Source

FRAME_BY_FRAME = True  # see pipeline/engines/open.py


def interpolate_movie(
    input_movie_files: Sequence[Source],
    output_interpolated_movie_files: Sequence[Source],
    interpolate_dropped: bool = True,
    interpolate_blank: bool = True,
    max_consecutive_invalid_frames: int = 1,
    *,
    context: StepContext,
) -> None:
    """Fill in short runs of frames that were dropped or are blank.

    input_movie_files, output_interpolated_movie_files : the parts of a series, in order of start.
    interpolate_dropped, interpolate_blank : which frames to fill in.
    max_consecutive_invalid_frames : the longest run that is filled in.
    """
    for i, (source, target) in enumerate(zip(input_movie_files, output_interpolated_movie_files)):
        with frames.open_movie(source) as movie:
            wanted = {
                *(movie.timing.dropped if interpolate_dropped else ()),
                *(movie.timing.blank if interpolate_blank else ()),
            }
            gaps = _gaps(movie.valid, wanted, max_consecutive_invalid_frames)
            filled = {at: gap for gap in gaps for at in range(gap[0], gap[1] + 1)}
            timing = replace(
                movie.timing,
                dropped=tuple(frame for frame in movie.timing.dropped if frame not in filled),
                blank=tuple(frame for frame in movie.timing.blank if frame not in filled),
            )
            extra = frames.with_idps(movie.extra, interpolatedFrames=sorted(filled)) if filled else movie.extra
            span = frames.span_of(i, len(input_movie_files))
            frames.produce(target, movie, _Filled(filled), context, span, timing=timing, extra=extra)


@dataclass(frozen=True)
class _Filled:
    """The samples of a movie with its gaps filled."""

    gaps: dict[int, tuple[int, int]]  # of each sample that is filled in: the first and the last of its gap

    def __call__(self, movie: Movie, start: int, stop: int) -> np.ndarray:
        block = movie.samples(start, stop)
        for at in range(start, stop):
            if at in self.gaps:
                block[at - start] = frames.converted(_between(movie, self.gaps[at], at), movie.dtype)
        return block


def _gaps(valid: np.ndarray, wanted: set[int], longest: int) -> list[tuple[int, int]]:
    """First and last of each run to fill: all of it is wanted, and there is a recorded frame on either side."""
    return [
        (first, last)
        for first, last in runs(np.flatnonzero(~valid).tolist())
        if first > 0 and last < len(valid) - 1 and last - first < longest and wanted.issuperset(range(first, last + 1))
    ]


def _between(movie: Movie, gap: tuple[int, int], at: int) -> np.ndarray:
    before, after = gap[0] - 1, gap[1] + 1
    later = (at - before) / (after - before)
    return (1 - later) * movie.read(before, before + 1)[0] + later * movie.read(after, after + 1)[0]
