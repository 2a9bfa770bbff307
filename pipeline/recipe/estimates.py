"""Values for parameters that a recipe leaves to the movie: `cell_diameter = "auto"`.

They are estimated by this project's own code, for any engine, and stand in the results. The size of cells is estimated
once, from the recording, and follows from there through the steps that keep it or scale it; a step that reads what
another kind of step has made of the recording has it estimated from that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from open_engine.cnmfe.estimate import Diameter, estimate_cell_diameter
from open_engine.files import frames
from pipeline.recipe.rules import AUTO

RATE_HZ = 10.0  # suffices for calcium transients, which decay over some tenths of a second
DIAMETER_PX = 8.0  # of a cell after down-sampling; IDPS's own default for CNMF-E is 7
KEEP_SIZE = ("preprocess", "motion_correct", "spatial_filter", "trim_movie", "interpolate_movie")
DOWN_SAMPLING = "spatial_downsample_factor"


@dataclass
class Movie:
    """What a step reads, and the movie whose cells are measured for it."""

    files: Sequence[Any]
    measured: Sequence[Any]  # the recording, or the files themselves
    factor: float  # by which the recording was down-sampled since
    warn: Callable[[str], None]
    threads: int = 1
    known: dict[tuple[str, ...], Diameter] = field(default_factory=dict)  # by the names of files

    def rate_hz(self) -> float:
        with frames.open_series(self.files) as series:
            return series.timing.rate_hz

    def diameter(self) -> Diameter:
        names = tuple(map(str, self.measured))
        if names not in self.known:
            with frames.open_series(self.measured) as series:
                self.known[names] = estimate_cell_diameter(series, self.threads)
        return self.known[names]


def _temporal_factor(movie: Movie) -> int:
    """The largest whole factor that leaves RATE_HZ."""
    return max(1, int(movie.rate_hz() / RATE_HZ + 1e-6))


def _spatial_factor(movie: Movie) -> int:
    """The whole factor that leaves cells of about DIAMETER_PX; 1 if their size is in doubt."""
    diameter = movie.diameter()
    return 1 if diameter.doubt else max(1, round(diameter.px / movie.factor / DIAMETER_PX))


def _cell_diameter(movie: Movie) -> int:
    diameter = movie.diameter()
    px = max(1, round(diameter.px / movie.factor))
    if diameter.doubt:
        doubt = f"the size of cells is in doubt, because {diameter.doubt}"
        movie.warn(f"{doubt}: {px} px is used; set cell_diameter if you know it")
    return px


ESTIMATES: Mapping[tuple[str, str], Callable[[Movie], Any]] = {
    ("preprocess", "temporal_downsample_factor"): _temporal_factor,
    ("preprocess", DOWN_SAMPLING): _spatial_factor,
    ("run_cnmfe", "cell_diameter"): _cell_diameter,
}


def wanted(parameters: Mapping[str, Any]) -> list[str]:
    """The parameters that are to be estimated."""
    return [name for name, value in parameters.items() if value == AUTO]


def estimate(step: str, parameters: Mapping[str, Any], movie: Movie) -> dict[str, Any]:
    """The values of those parameters of a step that are "auto", from the movie that it reads."""
    names = [name for name in wanted(parameters) if (step, name) in ESTIMATES]
    return {name: ESTIMATES[step, name](movie) for name in names}
