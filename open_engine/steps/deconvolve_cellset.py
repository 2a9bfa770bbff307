"""Spikes and denoised calcium from the traces of a cell set.

Each trace y, its baseline removed, is explained by an autoregressive model of first order with non-negative spikes, by
OASIS (oasis.py; Friedrich, Zhou and Paninski 2017). Noise is the power of the trace in `noise_range` of its spectrum,
where 0.5 is half the sampling rate; the decay follows from the autocovariance over `lags` samples and is multiplied by
`fudge_factor`; the penalty on spikes is the largest that explains the trace to within its noise. The baseline is the
median of the lower 80% of the trace.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from open_engine.cnmfe import oasis
from open_engine.cnmfe.updates import baseline
from open_engine.context import StepContext
from open_engine.files import cellsets
from open_engine.files.eventsets import Events, write_event_sets
from open_engine.transients import filled
from recording.errors import Unusable

REFERENCES = ("friedrich2017",)

CANNOT: dict[str, Callable[[Any], str]] = {
    "first_order_ar": lambda value: "" if value else _refused("first_order_ar", "false", "true"),
    "deconvolution_method": lambda value: "" if value == "oasis" else _refused("deconvolution_method", value, "oasis"),
}
FEWEST_SAMPLES = 20


def _refused(name: str, value: str, instead: str) -> str:
    return f"engine open does not offer deconvolve_cellset's {name} = {value}: remove it, or give {instead}"


def deconvolve_cellset(
    input_raw_cellset_files: str | list[str],
    output_denoised_cellset_files: str | list[str] | None = None,
    output_spike_eventset_files: str | list[str] | None = None,
    accepted_only: bool = False,
    spike_snr_threshold: float = 3.0,
    noise_range: tuple[float, float] = (0.25, 0.5),
    noise_method: str = "mean",
    first_order_ar: bool = True,
    lags: int = 5,
    fudge_factor: float = 0.96,
    deconvolution_method: str = "oasis",
    *,
    context: StepContext,
) -> None:
    """Write the denoised traces and the spikes of at least spike_snr_threshold times the noise; one file a part.

    Cells are those accepted, or all that are not rejected. Parameters as in isx.algo.deconvolve_cellset; noise_range in
    parts of the sampling rate. Where a trace holds no number, neither does the denoised one; a cell whose trace holds
    fewer than three is not among the spikes. Raises Unusable for AR(2), for "scs", and where there is nothing to do.
    """
    for name, value in (("first_order_ar", first_order_ar), ("deconvolution_method", deconvolution_method)):
        if reason := CANNOT[name](value):
            raise Unusable(reason)
    cells = cellsets.read_cell_set(input_raw_cellset_files)
    name = cells.parts[0].path.name
    chosen = cells.chosen(cells.usable(accepted_only))
    if not chosen.n_cells:
        raise Unusable(f"no cell of {name} is accepted{'' if accepted_only else ' or undecided'}: accept some first")
    if cells.valid.sum() < FEWEST_SAMPLES:
        raise Unusable(f"{name} has fewer than {FEWEST_SAMPLES} recorded samples: deconvolve longer recordings")
    unknown = chosen.without_values()
    if unknown:
        names = cellsets.listed(chosen.names[i] for i in unknown)
        context.warn(f"cells whose traces hold fewer than 3 numbers have no denoised traces and no spikes: {names}")
    seen = [i for i in range(chosen.n_cells) if i not in unknown]
    if not seen:
        raise Unusable(f"no trace of {name} that would be deconvolved holds 3 numbers")
    traces = np.stack([filled(trace, cells.valid) for trace in chosen.traces[seen]])
    traces -= baseline(traces)
    noise = oasis.noise_level(traces, tuple(noise_range), noise_method)
    decay = oasis.decay_per_sample(traces, noise, lags, fudge_factor)
    calcium, spikes = oasis.deconvolve(traces, decay, noise)
    context.progress(0.9)
    known = cells.valid & np.isfinite(chosen.traces[seen])
    if output_denoised_cellset_files:
        denoised = np.full(chosen.traces.shape, np.nan, np.float32)
        denoised[seen] = np.where(known, calcium, np.nan)
        cellsets.write_like(output_denoised_cellset_files, chosen, traces=denoised)
    if output_spike_eventset_files:
        events = [_spikes(s, spike_snr_threshold * sigma) for s, sigma in zip(np.where(known, spikes, 0), noise)]
        write_event_sets(output_spike_eventset_files, chosen, [chosen.names[i] for i in seen], events)


def _spikes(spikes: np.ndarray, least: float) -> Events:
    samples = np.flatnonzero((spikes >= least) & (spikes > 0))
    return Events(samples, spikes[samples])
