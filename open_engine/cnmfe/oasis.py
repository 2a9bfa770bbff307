"""Deconvolution of calcium traces with an autoregressive model of first order.

A trace y is modelled as c + noise, where c_t = g c_(t-1) + s_t and s_t >= 0: each spike s_t is followed by an
exponential decay. OASIS (Friedrich, Zhou and Paninski 2017, PLoS Comput Biol 13, e1005423) solves

    minimise 1/2 |y - c|^2 + penalty * sum(s)   subject to s >= 0

exactly: samples are gathered in pools that decay undisturbed, and two neighbouring pools that would need a negative
spike between them are merged. The order of the merges does not matter, as for every pool-adjacent-violators
algorithm, so here all violators of all cells are merged at once, and a few dozen array operations do what would
otherwise be a loop over samples.
"""

from __future__ import annotations

import numpy as np

FUDGE_FACTOR = 0.96  # autocovariances of few samples make decays look longer than they are
LAGS = 5
NOISE_RANGE = (0.25, 0.5)  # of the sampling rate: above what calcium does
_AVERAGES = {
    "mean": lambda power: power.mean(axis=-1),
    "median": lambda power: np.median(power, axis=-1) / np.log(2),  # of an exponential variable to its mean
    "logmexp": lambda power: np.exp(np.log(np.maximum(power, 1e-30)).mean(axis=-1) + np.euler_gamma),
}


def deconvolve(y: np.ndarray, g: np.ndarray, penalty: np.ndarray | float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Calcium c and spikes s of the traces y.

    Parameters: y (cells, samples), the baseline removed; g (cells,), the decay from one sample to the next, in (0, 1);
    penalty (cells,) or a number, in the units of y. Returns c and s, float64, each (cells, samples).
    """
    n_cells, n = y.shape
    g, penalty = np.broadcast_to(g, n_cells), np.broadcast_to(penalty, n_cells)
    value = y.astype(np.float64) - (penalty * (1 - g))[:, None]
    value[:, -1] -= penalty * g
    value = value.ravel()
    start = np.arange(n_cells * n)  # of each pool, in samples of all cells one after the other
    weight = np.ones(n_cells * n)
    log_g = np.repeat(np.log(g), n)
    starts_cell = np.zeros(n_cells * n, bool)
    starts_cell[::n] = True
    while True:
        decay = np.exp(log_g[:-1] * np.diff(start))
        head = starts_cell.copy()
        head[1:] |= value[1:] >= decay * value[:-1]
        if head.all():
            break
        heads = np.flatnonzero(head)
        since_head = np.exp(log_g * (start - start[heads][np.cumsum(head) - 1]))
        moment = np.add.reduceat(weight * since_head * value, heads)
        weight = np.add.reduceat(weight * since_head**2, heads)
        value, start, log_g, starts_cell = moment / weight, start[heads], log_g[heads], starts_cell[heads]
    length = np.diff(np.append(start, n_cells * n))
    age = np.arange(n_cells * n) - np.repeat(start, length)
    c = (np.repeat(np.maximum(value, 0), length) * np.exp(np.repeat(log_g, length) * age)).reshape(n_cells, n)
    s = c.copy()
    s[:, 1:] -= g[:, None] * c[:, :-1]
    s[np.arange(n_cells * n).reshape(n_cells, n) != np.repeat(start, length).reshape(n_cells, n)] = 0
    return c, s


def denoise(y: np.ndarray, g: np.ndarray, noise: np.ndarray, rounds: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """Calcium and spikes with the largest penalty that explains y to within its noise: |y - c|^2 <= noise^2 n.

    The penalty is found by bisection; calcium is then scaled to y by least squares, because the penalty shrinks it.
    """
    low, high = np.zeros(len(y)), 8.0 * noise
    allowed = noise**2 * y.shape[1]
    for _ in range(rounds):
        middle = (low + high) / 2
        c, _ = deconvolve(y, g, middle)
        fits = ((y - c) ** 2).sum(axis=1) <= allowed
        low, high = np.where(fits, middle, low), np.where(fits, high, middle)
    c, s = deconvolve(y, g, low)
    scale = np.maximum((y * c).sum(axis=1), 0) / np.maximum((c * c).sum(axis=1), 1e-30)
    return c * scale[:, None], s * scale[:, None]


def noise_level(y: np.ndarray, band: tuple[float, float] = NOISE_RANGE, average: str = "mean") -> np.ndarray:
    """Standard deviation of white noise in traces (..., samples), from the power in a band of the sampling rate."""
    n = y.shape[-1]
    frequency = np.fft.rfftfreq(n)
    chosen = (frequency > band[0]) & (frequency <= band[1])
    if not chosen.any():
        return y.std(axis=-1)
    power = np.abs(np.fft.rfft(y - y.mean(axis=-1, keepdims=True), axis=-1)[..., chosen]) ** 2 / n
    return np.sqrt(_AVERAGES[average](power))


def decay_per_sample(y: np.ndarray, noise: np.ndarray, lags: int = LAGS, fudge: float = FUDGE_FACTOR) -> np.ndarray:
    """g of each trace by least squares on its autocovariance, from which the noise is taken at lag 0."""
    n = y.shape[1]
    lags = max(1, min(lags, n - 2))
    y = y - y.mean(axis=1, keepdims=True)
    spectrum = np.abs(np.fft.rfft(y, 2 * n, axis=1)) ** 2
    covariance = np.fft.irfft(spectrum, axis=1)[:, : lags + 1] / n
    before, after = covariance[:, :-1].copy(), covariance[:, 1:]
    before[:, 0] -= noise**2
    g = (before * after).sum(axis=1) / np.maximum((before**2).sum(axis=1), 1e-30)
    return np.clip(g * fudge, 0.05, 0.99)
