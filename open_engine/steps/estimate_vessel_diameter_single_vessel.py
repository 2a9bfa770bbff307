"""One measurement of a vessel's diameter, with all that led to it, to see why it is as it is.

The parametric one of estimate_vessel_diameter, for the mean of the frames from `start_frame` to `end_frame`, both
included. What is returned is public (docstring of isx.algo).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from open_engine.context import StepContext
from open_engine.files import frames
from open_engine.vessel_profiles import drawn_profile, fitted_lorentzian, px_per_step
from recording.errors import Unusable


def estimate_vessel_diameter_single_vessel(
    input_movie_file: str,
    line: Sequence[Sequence[int]],
    start_frame: int,
    end_frame: int,
    output_coordinates: bool = False,
    *,
    context: StepContext,
) -> tuple[Any, ...]:
    """The profile, the fit (amplitude, fwhm, peak_center), the estimate (length, center) and, if asked for, the pixels.

    Raises Unusable where the frames are not there or show no peak.
    """
    with frames.open_movie(input_movie_file) as movie:
        if not 0 <= start_frame <= end_frame < movie.n_frames:
            raise Unusable(f"frames {start_frame} to {end_frame} do not exist: the movie has {movie.n_frames}")
        line = np.asarray(line, int)
        drawn = drawn_profile(movie, line)
        seen = [movie.read(i, i + 1)[0] for i in range(start_frame, end_frame + 1) if movie.valid[i]]
        if not seen:
            raise Unusable(f"none of the frames {start_frame} to {end_frame} of {movie.path.name} was recorded")
    profile = np.mean([frame[drawn[..., 1], drawn[..., 0]].mean(axis=0, dtype=float) for frame in seen], axis=0)
    profile -= profile.min()
    if not profile.max() > 0:
        raise Unusable(
            f"the line {line.tolist()} shows no peak: draw it across a vessel that is brighter than the tissue"
        )
    amplitude, fwhm, centre = fitted_lorentzian(profile)
    scale = px_per_step(line, len(profile))
    fit = {"amplitude": amplitude, "fwhm": fwhm, "peak_center": centre}
    estimate = {"length": fwhm * scale, "center": centre * scale}
    return (profile, fit, estimate, drawn[1]) if output_coordinates else (profile, fit, estimate)
