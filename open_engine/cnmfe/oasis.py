"""Deconvolution of calcium traces with an autoregressive model of first order.

A trace y is modelled as c + noise, where c_t = g c_(t-1) + s_t and s_t >= 0: each spike s_t is followed by an
exponential decay. OASIS (Friedrich, Zhou and Paninski 2017, PLoS Comput Biol 13, e1005423) solves

    minimise 1/2 |y - c|^2 + penalty * sum(s)   subject to s >= 0

exactly: samples are gathered in pools that decay undisturbed, and two neighbouring pools that would need a negative
spike between them are merged. With z_t = g^-t c_t that is isotonic regression, as they note, which SciPy computes. It
is applied to stretches, since g^-t grows without bound; what is left to merge between two of them is merged here, and
the order of merges does not matter. Pools only merge as the penalty grows, so that a search for the penalty goes on
from the pools of the greatest one that is known to fit.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.optimize import isotonic_regression

FUDGE_FACTOR = 0.96  # autocovariances of few samples make decays look longer than they are
LAGS = 5
NOISE_RANGE = (0.25, 0.5)  # of the sampling rate: above what calcium does
STRETCH = 230.0  # -t log g, up to which g^-t and its square are far from overflow
_AVERAGES = {
    "mean": lambda power: power.mean(axis=-1),
    "median": lambda power: np.median(power, axis=-1) / np.log(2),  # of an exponential variable to its mean
    "logmexp": lambda power: np.exp(np.log(np.maximum(power, 1e-30)).mean(axis=-1) + np.euler_gamma),
}


@dataclass(frozen=True)
class _Pools:
    """The pools of one trace y: runs of samples that decay by g from one to the next, from the value at the first."""

    log_g: float
    bounds: np.ndarray  # (pools + 1,) first sample of each; the number of samples
    moment: np.ndarray  # (pools,) sum of y g^age over its samples; age 0 is its first

    @cached_property
    def ends(self) -> np.ndarray:
        """What has become of 1 when the next pool begins."""
        return np.exp(self.log_g * (self.bounds[1:] - self.bounds[:-1]))

    @cached_property
    def weight(self) -> np.ndarray:
        """Sum of g^(2 age)."""
        return (1 - self.ends**2) / (1 - np.exp(2 * self.log_g))

    @cached_property
    def pull(self) -> np.ndarray:
        """What a penalty of 1 takes from the moment."""
        pull = 1 - self.ends
        pull[-1] = 1
        return pull

    def values(self, penalty: float) -> np.ndarray:
        return (self.moment - penalty * self.pull) / self.weight

    def merged(self, penalty: float) -> _Pools:
        """Pools merged until no spike between two of them is negative."""
        cuts, value = self._cuts, self.values(penalty)
        heads = [self._heads(value, *cut) for cut in zip(cuts, cuts[1:])]
        pools = self._joined(heads[0] if len(heads) == 1 else np.concatenate(heads))
        while len(heads) > 1:
            value = pools.values(penalty)
            falls = value[1:] < pools.ends[:-1] * value[:-1]
            if not falls.any():
                break
            pools = pools._joined(np.append(0, 1 + np.flatnonzero(~falls)))
        return pools

    @property
    def _cuts(self) -> list[int]:
        """Where stretches begin and end, in pools."""
        n = int(self.bounds[-2] * -self.log_g / STRETCH)
        between = np.searchsorted(self.bounds, np.arange(1, n + 1) * (STRETCH / -self.log_g)).tolist() if n else []
        return sorted({0, *between, len(self.moment)})

    def _heads(self, value: np.ndarray, first: int, end: int) -> np.ndarray:
        """The pools of a stretch that others are merged into if it is taken by itself."""
        decay = np.exp(self.log_g * (self.bounds[first:end] - self.bounds[first]))
        fit = isotonic_regression(value[first:end] / decay, weights=self.weight[first:end] * decay**2)
        return first + fit.blocks[:-1]

    def _joined(self, heads: np.ndarray) -> _Pools:
        """Pools in which each one that is not a head is merged into the head before it."""
        bounds = np.append(self.bounds[heads], self.bounds[-1])
        begins = np.repeat(bounds[:-1], np.diff(np.append(heads, len(self.moment))))
        moment = np.add.reduceat(self.moment * np.exp(self.log_g * (self.bounds[:-1] - begins)), heads)
        return _Pools(self.log_g, bounds, moment)

    def calcium(self, value: np.ndarray) -> np.ndarray:
        """The trace that has these values, none negative, where pools begin."""
        length = np.diff(self.bounds)
        age = np.arange(self.bounds[-1]) - np.repeat(self.bounds[:-1], length)
        return np.repeat(value, length) * np.exp(self.log_g * age)

    def spikes(self, value: np.ndarray) -> np.ndarray:
        spikes = np.zeros(self.bounds[-1])
        spikes[self.bounds[:-1]] = value
        spikes[self.bounds[1:-1]] -= self.ends[:-1] * value[:-1]
        return spikes


def _samples(y: np.ndarray, g: float) -> _Pools:
    """A pool for each."""
    return _Pools(float(np.log(g)), np.arange(len(y) + 1), y.astype(np.float64))


def denoise(y: np.ndarray, g: np.ndarray, noise: np.ndarray, rounds: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """Calcium and spikes with the largest penalty that explains y to within its noise: |y - c|^2 <= noise^2 n.

    The penalty is found by bisection; calcium is then scaled to y by least squares, because the penalty shrinks it.
    """
    c, s = np.empty(y.shape), np.empty(y.shape)
    for i, (trace, decay, its) in enumerate(zip(y, *(np.broadcast_to(per_trace, len(y)) for per_trace in (g, noise)))):
        pools, value = _denoised(trace, decay, its, rounds)
        value *= max(0, value @ pools.moment) / max(value**2 @ pools.weight, 1e-30)
        c[i], s[i] = pools.calcium(value), pools.spikes(value)
    return c, s


def _denoised(y: np.ndarray, g: float, noise: float, rounds: int) -> tuple[_Pools, np.ndarray]:
    """The pools of one trace and the calcium where they begin."""
    pools = _samples(y, g)
    low, high, allowed = 0.0, 8.0 * noise, noise**2 * len(y)
    power = pools.moment @ pools.moment
    pools = pools.merged(low)
    for _ in range(rounds):
        middle = (low + high) / 2
        merged = pools.merged(middle)
        value = np.maximum(merged.values(middle), 0)
        if power - 2 * value @ merged.moment + value**2 @ merged.weight <= allowed:
            low, pools = middle, merged
        else:
            high = middle
    return pools, np.maximum(pools.values(low), 0)


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
