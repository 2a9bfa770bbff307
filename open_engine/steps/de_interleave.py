"""Take apart a recording that went round several focal planes, one frame each, in turn.

The k-th of n planes gets the frames k, k + n, k + 2n and so on, at n times the period, starting k periods later. The
frame's place in the recording decides, so that dropped frames do not put planes out of step. The plane's focus is kept
in the product's property `idps.efocus`, as IDPS keeps it (isxcore, isxMetadata.h). Pixels are not touched.

The order of files and of focus values is public (isx.algo). IDPS can check each frame's own focus in its header; the
open engine goes by the order of the frames alone.
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


def de_interleave(
    input_movie_files: Sequence[Source],
    output_movie_files: Sequence[Source],
    in_efocus_values: Sequence[int],
    *,
    context: StepContext,
) -> None:
    """Separate a movie whose planes alternate from frame to frame.

    input_movie_files : the parts of a series, in order of start.
    output_movie_files : for each input, one for each plane, in the order of `in_efocus_values`.
    in_efocus_values : the focus of each plane, um, in the order of the frames.

    Raises Unusable if a movie has fewer frames than planes.
    """
    n_planes = len(in_efocus_values)
    for i, source in enumerate(input_movie_files):
        with frames.open_movie(source) as movie:
            if movie.n_frames < n_planes:
                raise Unusable(f"{movie.path.name} has {movie.n_frames} frames, too few for {n_planes} planes")
            for k, focus in enumerate(in_efocus_values):
                target = output_movie_files[i * n_planes + k]
                span = frames.span_of(i * n_planes + k, len(output_movie_files))
                timing, extra = (
                    _plane_timing(movie.timing, k, n_planes),
                    frames.with_idps(movie.extra, efocus=int(focus)),
                )
                plane = _Plane(k, n_planes)
                frames.produce(target, movie, plane, context, span, timing=timing, extra=extra)


@dataclass(frozen=True)
class _Plane:
    """Every n-th sample of a movie from the k-th on."""

    k: int
    n: int

    def __call__(self, movie: Movie, start: int, stop: int) -> np.ndarray:
        return np.concatenate(
            [movie.samples(at, at + 1) for at in range(self.k + start * self.n, self.k + stop * self.n, self.n)]
        )


def _plane_timing(timing: Timing, k: int, n_planes: int) -> Timing:
    """The timing of every n-th sample from the k-th on."""
    kept = range(k, timing.n_samples, n_planes)
    cropped = np.zeros(timing.n_samples, bool)
    for first, last in timing.cropped:
        cropped[first : last + 1] = True
    return replace(
        timing,
        n_samples=len(kept),
        period=timing.period * n_planes,
        start=timing.start + k * timing.period,
        dropped=tuple((i - k) // n_planes for i in timing.dropped if i in kept),
        blank=tuple((i - k) // n_planes for i in timing.blank if i in kept),
        cropped=runs(np.flatnonzero(cropped[k::n_planes]).tolist()),
    )
