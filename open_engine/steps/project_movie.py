"""One image of a series of movies: each pixel's mean, least, greatest value or standard deviation over time.

Only recorded frames count. The standard deviation is that of the population (divided by n). Each part is one pass of
open_engine/statistics.py, which takes all four at the rate at which the file can be read; the parts' means and
variances are merged as in Chan, Golub and LeVeque (1983, The American Statistician 37). Exact by the public
definition: means of integers to the last bit, standard deviations to 2e-6.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from open_engine.context import StepContext
from open_engine.files import frames
from open_engine.files.frames import Source
from open_engine.projections import projected

READS_FRAME_BY_FRAME = True  # see pipeline/engines/open.py


def project_movie(
    input_movie_files: Sequence[Source], output_image_file: str, stat_type: str = "mean", *, context: StepContext
) -> None:
    """Reduce a series of movies to one image over its recorded frames.

    input_movie_files : the parts of the series, in order of start.
    output_image_file : float32, shape (rows, columns) of the movies.
    stat_type : "mean", "min", "max" or "standard_deviation".

    Raises Unusable if no frame was recorded.
    """
    with frames.open_series(input_movie_files) as series:
        frames.write_image(output_image_file, series, projected(series, stat_type, context).astype(np.float32))
