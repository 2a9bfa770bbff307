"""Events in traces: rises that stand out (`find_events`), and spikes that explain them (`find_transients`)."""

from __future__ import annotations

import numpy as np
import scipy

from common.normal import MAD_TO_SD
from open_engine.cnmfe import extraction, oasis, updates
from open_engine.files.eventsets import Events

THRESHOLD = 3.5  # noise levels that a transient is higher than
SHARE = 0.15  # of the cell's highest one, likewise


def filled(trace: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """The trace as float64, what was not recorded or is not a number interpolated; zeros if nothing is left."""
    known = np.flatnonzero(valid & np.isfinite(trace))
    if len(known) == 0:
        return np.zeros(len(trace))
    return np.interp(np.arange(len(trace)), known, trace[known].astype(np.float64))


def find_events(
    trace: np.ndarray,
    period_s: float,
    threshold: float = 5,
    tau: float = 0.2,
    reference: str = "beginning",
    ignore_negative: bool = True,
    valid: np.ndarray | None = None,
) -> Events:
    """Events of one trace, (samples,) without gaps; those whose peak is not `valid` are left out."""
    recorded = trace if valid is None else trace[valid]
    middle = np.median(recorded) if len(recorded) else 0.0
    mad = np.median(np.abs(recorded - middle)) if len(recorded) else 0.0
    samples, amplitudes = [], []
    peaks = scipy.signal.find_peaks(trace, prominence=max(threshold * mad, 1e-12))[0] if len(trace) > 2 else []
    for peak in peaks:
        begin = _rise_begins(trace, int(peak), MAD_TO_SD * mad)
        height = trace[peak] - trace[begin]
        half = (trace[peak] + trace[begin]) / 2
        wrong_way = ignore_negative and half < middle
        if height < threshold * mad or wrong_way or not _lasts(trace, int(peak), height, tau / period_s):
            continue
        if valid is not None and not valid[peak]:
            continue
        at = {"beginning": begin, "maximum": peak, "mid_rise": begin + int(np.argmax(trace[begin : peak + 1] >= half))}
        samples.append(int(at[reference]))
        amplitudes.append(float(height))
    return Events(np.array(samples, np.int64), np.array(amplitudes))


def find_transients(traces: np.ndarray, rate_hz: float) -> list[Events]:
    """The transients of each trace, (cells, samples) without gaps."""
    y = traces - updates.baseline(traces)
    noise = oasis.noise_level(y)
    decay = extraction.typical_decay(y, noise, rate_hz)
    spikes = oasis.deconvolve(y, np.full(len(y), decay), noise)[1]
    return [_joined(its, level) for its, level in zip(spikes, THRESHOLD * noise)]


def _rise_begins(trace: np.ndarray, peak: int, noise: float) -> int:
    lowest = peak
    for t in range(peak - 1, -1, -1):
        if trace[t] < trace[lowest]:
            lowest = t
        elif trace[t] > trace[lowest] + noise:
            break
    low_enough = trace[lowest] + min(3 * noise, (trace[peak] - trace[lowest]) / 2)  # the lowest is below the mean
    in_noise = np.flatnonzero(trace[lowest:peak] <= low_enough)
    return lowest + int(in_noise[-1]) if len(in_noise) else lowest


def _lasts(trace: np.ndarray, peak: int, height: float, tau_samples: float) -> bool:
    """Whether the mean of the samples within tau after the peak is at least that of the model's decay."""
    d = np.arange(1, max(1, round(tau_samples)) + 1)
    d = d[peak + d < len(trace)]
    if len(d) == 0:
        return True
    foot = trace[peak] - height
    return float(np.mean(trace[peak + d] - foot)) >= height * float(np.mean(np.exp(-d / tau_samples)))


def _joined(spikes: np.ndarray, least: float) -> Events:
    """Runs of spikes whose sum exceeds `least`, and a share of the largest."""
    at = np.flatnonzero(spikes > 0)
    begins = np.flatnonzero(np.diff(at, prepend=-2) > 1)
    heights = np.add.reduceat(spikes[at], begins) if len(at) else np.zeros(0)
    large = heights > max(least, SHARE * heights.max(initial=0), 1e-12)
    return Events(at[begins][large], heights[large])
