"""Cells by principal and independent component analysis.

Method: Mukamel, Nimmerjahn and Schnitzer, 2009, Automated analysis of cellular signals from large-scale calcium imaging
data, Neuron 63:747. The movie, dF/F, is reduced to its strongest principal components (pca.py), which are whitened, and
then rotated so that the sum over components of

    (1 - mu) skewness of the image + mu skewness of the trace

is greatest, where mu is `ica_temporal_weight`: cells are sparse in space, their transients in time. The rotation W is
found by the fixed-point iteration w <- s + |s| w / 2 with s = (1 - mu) mean(u (w.u)^2) + mu mean(v (w.v)^2) and
symmetric orthogonalisation after each step (FastICA with a quadratic non-linearity: Hyvarinen and Oja, 2000, Neural
Networks 13:411; u are the whitened images over pixels, v the whitened traces over frames). The added half step along
w keeps it from oscillating where components are mere noise (Kolda and Mayo, 2011, SIAM Journal on Matrix Analysis
32:1095). It ends when no row of W turns by more than 1 - |cos| = `convergence_threshold`.

How it is applied, as IDPS describes its `unmix_type`:

- spatial: images are W times the whitened images, so they are uncorrelated; traces are the movie projected on them.
- temporal: traces are W times the whitened traces, so they are uncorrelated; images are the movie projected on them.
- both: images and traces are both uncorrelated, and no longer a decomposition of the movie.

Sign and scale: each component is image times trace. The sign is the one that makes the image's skewness positive.
Images have mean 0 and variance 1 over the field, as those of IDPS have. Traces have mean 0 and state dF/F at the
brightest pixel of the image; the scale of IDPS's traces is not public.

Number and order: all principal components are rotated, and the `num_ics` whose traces are most skewed are kept, in
falling order: calcium rises fast and seldom, what is left of noise and vessels does not.
"""

from __future__ import annotations

import math

import numpy as np
from threadpoolctl import threadpool_limits

from open_engine.blobs import count_cells
from open_engine.context import StepContext
from open_engine.files import cellsets
from open_engine.files.frames import Series, chunks, open_series
from open_engine.ica import rotation, unmixed
from open_engine.pca import centred, principal_components
from recording.errors import Unusable

REFERENCES = ("mukamel2009", "hyvarinen2000")

NOTED = {"method": "pca-ica", "type": "analog", "units": "dF over F"}
PCS_PER_IC = 1.2  # where the number of ICs is estimated, as in IDPS


def pca_ica(
    input_movie_files: str | list[str],
    output_cell_set_files: str | list[str],
    num_pcs: int,
    num_ics: int = 120,
    unmix_type: str = "spatial",
    ica_temporal_weight: float = 0,
    max_iterations: int = 100,
    convergence_threshold: float = 1e-5,
    block_size: int = 1000,
    auto_estimate_num_ics: bool = False,
    average_cell_diameter: int = 13,
    *,
    context: StepContext,
) -> bool:
    """Write one cell set over all movies of a series, a file a movie; return whether ICA converged.

    Movies are expected as dF/F (step `dff`). Parameters as in `isx.algo.pca_ica`; `block_size` is the most frames
    that are held in memory at a time, fewer where they would exceed 128 MB. With `auto_estimate_num_ics`, the number
    of cells that `estimate_num_ics` counts in the maximum projection replaces `num_ics`, and 1.2 times that
    `num_pcs`.

    Raises Unusable if no two frames were recorded or nothing changes in them.
    """
    with open_series(cellsets.as_list(input_movie_files)) as series, threadpool_limits(1):
        if series.valid.sum() < 2:
            raise Unusable(f"{series.parts[0].path.name} has fewer than two recorded frames: PCA-ICA needs a movie")
        noted: dict[str, object] = {}
        if auto_estimate_num_ics:
            num_ics = _estimated(series, average_cell_diameter)
            num_pcs = math.ceil(PCS_PER_IC * num_ics)
            noted = {"pcaica": {"estimated": {"num_ics": num_ics}}}
        movie = centred(series, block_size)
        components = principal_components(movie, num_pcs, context.threads, lambda part: context.progress(0.7 * part))
        n_pcs = len(components.strengths)
        if n_pcs == 0:
            raise Unusable(f"{series.parts[0].path.name} does not change from frame to frame: PCA-ICA finds no cells")
        if n_pcs < num_pcs:
            context.warn(f"the movie has {n_pcs} principal components, not {num_pcs}: PCA-ICA used these")
        unmixing, converged = rotation(
            components,
            ica_temporal_weight,
            max_iterations,
            convergence_threshold,
            context.threads,
            lambda part: context.progress(0.7 + 0.25 * part),
        )
        if not converged:
            context.warn(
                f"ICA did not converge within max_iterations = {max_iterations}: raise it, or ask for fewer components"
            )
        images, traces = unmixed(components, unmixing, unmix_type, num_ics)
        everywhere = np.full((len(traces), series.n_frames), np.nan, np.float32)
        everywhere[:, series.valid] = traces
        cellsets.write_cell_set(
            output_cell_set_files,
            [cellsets.footer_like(part, **noted) for part in series.parts],
            images.reshape(-1, *series.shape),
            everywhere,
            noted=NOTED,
        )
    return converged


def _estimated(series: Series, diameter: float) -> int:
    """Cells in the maximum projection."""
    highest = np.full(series.shape, -np.inf, np.float32)
    for start, stop in chunks(series):
        frames = series.read(start, stop)[series.valid[start:stop]]
        if len(frames):
            np.fmax(highest, np.fmax.reduce(frames, axis=0), out=highest)
    n = count_cells(highest, diameter / 3, diameter * 5 / 3)
    if n == 0:
        raise Unusable(
            f"no cell of {diameter} px was seen in the maximum projection of {series.parts[0].path.name}: "
            "check average_cell_diameter, or set auto_estimate_num_ics = false and give num_ics"
        )
    return n
