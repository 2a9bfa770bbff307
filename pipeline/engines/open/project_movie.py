"""One image of a series of movies: each pixel's mean, least, greatest value or standard deviation over time.

Only recorded frames count. The standard deviation is that of the population (divided by n), computed block by block
about the block's own mean and merged in float64 with the pairwise update of Chan, Golub and LeVeque (1983, The American
Statistician 37), so that it loses nothing to cancellation. Exact by the public definition.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial, reduce

import numpy as np

from pipeline.engines.open import frames
from pipeline.engines.open.frames import Series
from pipeline.engines.protocol import StepContext
from recording.errors import Unusable

BLOCK_MB = 4  # several arrays of this size, some of them float64, are alive in each thread


def project_movie(
    input_movie_files: Sequence[str], output_image_file: str, stat_type: str = "mean", *, context: StepContext
) -> None:
    """See the module. Raises Unusable where no frame was recorded."""
    with frames.open_series(input_movie_files) as series:
        frames.write_image(output_image_file, series, projected(series, stat_type, context).astype(np.float32))


def projected(series: Series, stat_type: str, context: StepContext, span: tuple[float, float] = (0, 1)) -> np.ndarray:
    """The image, (rows, columns): float64 for mean and standard deviation, else the movie's own type."""
    if not series.valid.any():
        raise Unusable(f"{series.parts[0].path.name}: no frame was recorded, so there is nothing to project")
    of_block, merged = {
        "mean": (_sum, np.add),
        "min": (partial(np.min, axis=0), np.minimum),
        "max": (partial(np.max, axis=0), np.maximum),
        "standard_deviation": (_moments, _merged),
    }[stat_type]

    def work(start: int, stop: int) -> np.ndarray | tuple[int, np.ndarray, np.ndarray] | None:
        recorded = series.stored(start, stop)
        return of_block(recorded) if len(recorded) else None

    found = frames.each_block(frames.chunks(series, BLOCK_MB), work, context, span)
    whole = reduce(merged, (each for each in found if each is not None))
    if stat_type == "mean":
        return whole / np.count_nonzero(series.valid)
    return np.sqrt(whole[2] / whole[0]) if stat_type == "standard_deviation" else whole


def _sum(block: np.ndarray) -> np.ndarray:
    return block.sum(axis=0, dtype=np.float64)


def _moments(block: np.ndarray) -> tuple[int, np.ndarray, np.ndarray]:
    """Number, mean and sum of squared distances from it. A block has few frames, so that float32 sums lose nothing."""
    n = len(block)
    near = block.sum(axis=0, dtype=np.float32) / np.float32(n)
    away = block - near
    rest = away.sum(axis=0).astype(np.float64)
    squares = np.einsum("tyx,tyx->yx", away, away).astype(np.float64)
    return n, near + rest / n, squares - rest**2 / n


def _merged(
    a: tuple[int, np.ndarray, np.ndarray], b: tuple[int, np.ndarray, np.ndarray]
) -> tuple[int, np.ndarray, np.ndarray]:
    (n_a, mean_a, squares_a), (n_b, mean_b, squares_b) = a, b
    n, apart = n_a + n_b, mean_b - mean_a
    return n, mean_a + apart * (n_b / n), squares_a + squares_b + apart**2 * (n_a * n_b / n)
