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

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import scipy

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

    powers: np.ndarray  # (samples + 1,) of g, from 1 on
    bounds: np.ndarray  # (pools + 1,) first sample of each; the number of samples
    moment: np.ndarray  # (pools,) sum of y g^age over its samples; age 0 is its first

    @cached_property
    def ends(self) -> np.ndarray:
        """What has become of 1 when the next pool begins."""
        return self.powers[self.bounds[1:] - self.bounds[:-1]]

    @cached_property
    def weight(self) -> np.ndarray:
        """Sum of g^(2 age)."""
        return (1 - self.ends**2) / (1 - self.powers[1] ** 2)

    @cached_property
    def pull(self) -> np.ndarray:
        """What a penalty of 1 takes from the moment."""
        pull = 1 - self.ends
        pull[-1] = 1
        return pull

    @cached_property
    def _cuts(self) -> list[int]:
        """Where stretches begin and end, in pools."""
        longest = max(1, int(STRETCH / -math.log(self.powers[1])))
        if self.bounds[-2] < longest:
            return [0, len(self.moment)]
        between = np.searchsorted(self.bounds, np.arange(longest, self.bounds[-2] + 1, longest)).tolist()
        return sorted({0, *between, len(self.moment)})

    @cached_property
    def _decay(self) -> np.ndarray:
        """What has become of 1 at the start of a stretch when each pool begins."""
        starts, cuts = self.bounds[:-1], self._cuts
        return self.powers[starts if len(cuts) == 2 else starts - np.repeat(starts[cuts[:-1]], np.diff(cuts))]

    @cached_property
    def _decayed_weight(self) -> np.ndarray:
        return self.weight * self._decay**2

    def values(self, penalty: float) -> np.ndarray:
        return (self.moment - penalty * self.pull) / self.weight

    def fitted(self, penalty: float) -> tuple[np.ndarray, np.ndarray]:
        """Merge pools until no spike between two of them is negative.

        Returns indices of the pools that others are merged into, themselves included, and the calcium with which each
        of these pools, merged or not, begins then.
        """
        rates, cuts, weights = self.values(penalty) / self._decay, self._cuts, self._decayed_weight
        if len(cuts) == 2:
            fit = scipy.optimize.isotonic_regression(rates, weights=weights)
            return fit.blocks[:-1], fit.x * self._decay
        fits = [scipy.optimize.isotonic_regression(rates[a:b], weights=weights[a:b]) for a, b in zip(cuts, cuts[1:])]
        heads = np.concatenate([first + fit.blocks[:-1] for first, fit in zip(cuts, fits)])
        merged = self.joined(heads)
        value = merged.values(penalty)
        while (falls := value[1:] < merged.ends[:-1] * value[:-1]).any():
            kept = np.append(0, 1 + np.flatnonzero(~falls))
            heads, merged = heads[kept], merged.joined(kept)
            value = merged.values(penalty)
        sizes = np.diff(heads, append=len(self.moment))
        return heads, np.repeat(value, sizes) * self.powers[self.bounds[:-1] - np.repeat(self.bounds[heads], sizes)]

    def joined(self, heads: np.ndarray) -> _Pools:
        """Pools in which each one that is not a head is merged into the head before it."""
        starts = self.bounds[:-1]
        begins = np.zeros_like(starts)
        begins[heads] = starts[heads]
        np.maximum.accumulate(begins, out=begins)
        moment = np.add.reduceat(self.moment * self.powers[starts - begins], heads)
        return _Pools(self.powers, np.append(starts[heads], self.bounds[-1]), moment)

    def calcium(self, value: np.ndarray) -> np.ndarray:
        """The trace that has these values where pools begin."""
        length = self.bounds[1:] - self.bounds[:-1]
        age = np.arange(self.bounds[-1]) - np.repeat(self.bounds[:-1], length)
        return np.repeat(value, length) * self.powers[age]

    def spikes(self, value: np.ndarray) -> np.ndarray:
        spikes = np.zeros(self.bounds[-1])
        spikes[self.bounds[:-1]] = value
        spikes[self.bounds[1:-1]] -= self.ends[:-1] * value[:-1]
        return spikes


WITHOUT_MOMENTS = tuple(name for name, value in vars(_Pools).items() if isinstance(value, cached_property))


@lru_cache(maxsize=4)
def _powers(g: float, n: int) -> np.ndarray:
    powers = np.exp(np.log(g) * np.arange(n + 1))
    powers.flags.writeable = False
    return powers


@lru_cache(maxsize=4)
def _of_one(g: float, n: int) -> dict[str, Any]:
    """All that pools of one sample each are but for the samples."""
    pools = _Pools(_powers(g, n), np.arange(n + 1), np.zeros(n))
    return {"powers": pools.powers, "bounds": pools.bounds, **{name: getattr(pools, name) for name in WITHOUT_MOMENTS}}


def _samples(y: np.ndarray, g: float) -> _Pools:
    """A pool for each."""
    known = _of_one(float(g), len(y))
    made = _Pools(known["powers"], known["bounds"], y.astype(np.float64))
    vars(made).update(known)
    return made


def denoise(y: np.ndarray, g: np.ndarray | float, noise: np.ndarray, rounds: int = 5) -> np.ndarray:
    """Calcium with the largest penalty that explains y to within its noise: |y - c|^2 <= noise^2 n.

    The penalty is found by bisection; calcium is then scaled to y by least squares, because the penalty shrinks it.
    """
    c = np.empty(y.shape)
    for row, (pools, value) in zip(c, _denoised(y, g, noise, rounds)):
        row[:] = pools.calcium(value)
    return c


def deconvolve(
    y: np.ndarray, g: np.ndarray | float, noise: np.ndarray, rounds: int = 5
) -> tuple[np.ndarray, np.ndarray]:
    """The same calcium, and its spikes."""
    c, s = np.empty((2, *y.shape))
    for i, (pools, value) in enumerate(_denoised(y, g, noise, rounds)):
        c[i], s[i] = pools.calcium(value), pools.spikes(value)
    return c, s


def _denoised(
    y: np.ndarray, g: np.ndarray | float, noise: np.ndarray, rounds: int
) -> Iterator[tuple[_Pools, np.ndarray]]:
    """The pools of each trace and the calcium where they begin."""
    for trace, decay, its_noise in zip(y, np.broadcast_to(g, len(y)), np.broadcast_to(noise, len(y))):
        pools, value = _within_noise(_samples(trace, decay), its_noise**2 * len(trace), 8.0 * its_noise, rounds)
        yield pools, value * (max(0, value @ pools.moment) / max(value**2 @ pools.weight, 1e-30))


def _within_noise(samples: _Pools, allowed: float, greatest: float, rounds: int) -> tuple[_Pools, np.ndarray]:
    """Pools and their values, none negative, for the largest penalty, up to `greatest`, that leaves what is allowed.

    Pools only merge as the penalty grows, so that those without one stand for the samples.
    """
    power = samples.moment @ samples.moment
    pools = samples.joined(samples.fitted(0.0)[0])
    low, high = 0.0, greatest
    heads, value = np.arange(len(pools.moment)), np.maximum(pools.values(0.0), 0)
    for _ in range(rounds):
        middle = (low + high) / 2
        its_heads, its_value = pools.fitted(middle)
        its_value = np.maximum(its_value, 0)
        if power - 2 * its_value @ pools.moment + its_value**2 @ pools.weight <= allowed:
            low, heads, value = middle, its_heads, its_value
        else:
            high = middle
    return pools.joined(heads), value[heads]


def noise_level(y: np.ndarray, band: tuple[float, float] = NOISE_RANGE, average: str = "mean") -> np.ndarray:
    """Standard deviation of white noise in traces (..., samples), from the power in a band of the sampling rate."""
    n = y.shape[-1]
    frequency = np.fft.rfftfreq(n)
    chosen = (frequency > band[0]) & (frequency <= band[1])
    if not chosen.any():
        return y.std(axis=-1)
    spectrum = np.fft.rfft(y - y.mean(axis=-1, keepdims=True), axis=-1)[..., chosen]
    return np.sqrt(_AVERAGES[average]((spectrum.real**2 + spectrum.imag**2) / n))


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
