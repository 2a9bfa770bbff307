"""One image of a movie: the parts of a series as one."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import numpy as np

from open_engine.context import StepContext
from open_engine.files import frames
from open_engine.files.frames import Series
from open_engine.statistics import MovieStatistics, movie_statistics
from recording.errors import Unusable


def projected(series: Series, stat_type: str, context: StepContext, span: tuple[float, float] = (0, 1)) -> np.ndarray:
    """The image, (rows, columns): float64 for mean and standard deviation, else the movie's own type."""
    recorded = [part for part in series.parts if part.valid.any()]
    if not recorded:
        raise Unusable(f"{series.parts[0].path.name}: no frame was recorded, so there is nothing to project")
    statistics = []
    for i, part in enumerate(recorded):
        low, high = frames.span_of(i, len(recorded), span)

        def progress(fraction: float, low: float = low, high: float = high) -> None:
            context.progress(low + (high - low) * fraction)

        statistics.append(movie_statistics(part, context.threads, progress))
    if stat_type in ("min", "max"):
        images = [getattr(part, stat_type) for part in statistics]
        return reduce(np.minimum if stat_type == "min" else np.maximum, images)
    mean, std = merged(statistics)
    return mean if stat_type == "mean" else std


@np.errstate(invalid="ignore", over="ignore")  # what is not finite stays so
def merged(parts: Sequence[MovieStatistics]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation over the frames of all parts."""
    n = np.array([len(part.frame_mean) for part in parts], float)[:, np.newaxis, np.newaxis]
    means, stds = (np.array([getattr(part, name) for part in parts]) for name in ("mean", "std"))
    mean = (n * means).sum(axis=0) / n.sum()
    return mean, np.sqrt((n * (stds**2 + (means - mean) ** 2)).sum(axis=0) / n.sum())
