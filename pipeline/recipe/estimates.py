"""Values for parameters that a recipe leaves to the movie: `cell_diameter = "auto"`.

They are estimated by this project's own code from what the step reads, for any engine, and stand in the results.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from open_engine.cnmfe.estimate import estimate_cell_diameter
from open_engine.files import frames
from open_engine.files.frames import Series
from pipeline.recipe.rules import AUTO

RATE_HZ = 10.0  # suffices for calcium transients, which decay over some tenths of a second
DIAMETER_PX = 8.0  # of a cell after down-sampling; IDPS's own default for CNMF-E is 7


def _temporal_factor(movie: Series) -> int:
    """The largest whole factor that leaves RATE_HZ."""
    return max(1, int(movie.timing.rate_hz / RATE_HZ + 1e-6))


def _spatial_factor(movie: Series) -> int:
    """The whole factor that leaves cells of about DIAMETER_PX."""
    return max(1, round(estimate_cell_diameter(movie) / DIAMETER_PX))


def _cell_diameter(movie: Series) -> int:
    return max(1, round(estimate_cell_diameter(movie)))


ESTIMATES: Mapping[tuple[str, str], Callable[[Series], Any]] = {
    ("preprocess", "temporal_downsample_factor"): _temporal_factor,
    ("preprocess", "spatial_downsample_factor"): _spatial_factor,
    ("run_cnmfe", "cell_diameter"): _cell_diameter,
}


def wanted(parameters: Mapping[str, Any]) -> list[str]:
    """The parameters that are to be estimated."""
    return [name for name, value in parameters.items() if value == AUTO]


def estimate(step: str, parameters: Mapping[str, Any], movies: Sequence[str]) -> dict[str, Any]:
    """The values of those parameters of a step that are "auto", from the movies that it reads."""
    names = [name for name in wanted(parameters) if (step, name) in ESTIMATES]
    if not names:
        return {}
    with frames.open_series(movies) as series:
        return {name: ESTIMATES[step, name](series) for name in names}
