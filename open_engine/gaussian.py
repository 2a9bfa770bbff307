"""Band-passes of frames: one discrete Gaussian less another, with the edges mirrored.

The discrete Gaussian of variance t (Lindeberg 1990, IEEE Trans. Pattern Anal. Mach. Intell. 12:234) is the kernel
exp(-t) I_n(t), with the modified Bessel functions I_n; its transfer function is exp(t (cos 2 pi v - 1)) at the
frequency v, in cycles per pixel. Where it is wide it is a Gaussian; where it is narrow it stays a kernel of a few
pixels, which a Gaussian that is cut off at the highest frequency is not. A cut-off f stands for the variance that lets
half the amplitude through at f: t = ln 2 / (1 - cos 2 pi f), which is (0.187 / f px)^2 for small f. Above half a cycle
per pixel, the highest frequency there is, t falls with the square of f.

A narrow kernel is applied as it is, cut off where it falls below a thousandth of its centre. A wide one lets few
components of the cosine transform (DCT II) pass, which is what mirrored edges have for a Fourier transform: the frame
is projected on these, to single precision. Both are several times as fast as to transform whole frames.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import scipy

CUT_OFF = 1e-3  # of a kernel, relative to its centre
NEGLIGIBLE = 1e-6  # of the amplitude: what a component lets pass
STRIP_PIXELS = 1 << 17  # of a frame that are worked on together, so that they stay in the processor's cache


class BandPass:
    """high * frame - low * frame, for frames of one size; both are cut-offs in cycles per pixel.

    Without `high` the frame itself is the first term, without `low` its mean is the second. `keep_mean` adds the mean.
    """

    def __init__(self, shape: tuple[int, int], low: float | None, high: float | None, keep_mean: bool = False) -> None:
        self.shape, self.keep_mean = shape, keep_mean
        self.high: _LowPass = _low_pass(shape, high) if high else _Whole()
        self.low: _LowPass = _low_pass(shape, low) if low else _Mean()
        self.rows = max(1, STRIP_PIXELS // shape[1])

    def __call__(self, frame: np.ndarray) -> np.ndarray:
        """Filter one frame, (rows, columns); float32. Values that are not finite count as the mean of the others."""
        made = np.empty(self.shape, np.float32)
        for rows, strip in self.strips(frame):
            made[rows] = strip
        return made

    def strips(self, frame: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
        """The same some rows at a time; the caller may change what it is given."""
        padded = _Padded(_finite(frame), max(self.high.reach, self.low.reach))
        high, low = self.high.prepared(padded), self.low.prepared(padded)
        mean = padded.frame.mean() if self.keep_mean else None
        for start in range(0, self.shape[0], self.rows):
            rows = slice(start, min(start + self.rows, self.shape[0]))
            strip = np.subtract(self.high.strip(high, rows), self.low.strip(low, rows))
            if mean is not None:
                strip += mean
            yield rows, strip


def low_passed(frame: np.ndarray, cut_off: float) -> np.ndarray:
    """One frame, (rows, columns); float32."""
    low = _low_pass(frame.shape, cut_off)
    padded = _Padded(_finite(frame), low.reach)
    return low.strip(low.prepared(padded), slice(0, len(frame)))


def variance(cut_off: float) -> float:
    """Variance of the discrete Gaussian that lets half the amplitude through at this frequency, in px^2."""
    below = min(cut_off, 0.5)
    return float(np.log(2) / (1 - np.cos(2 * np.pi * below)) * (below / cut_off) ** 2)


def _finite(frame: np.ndarray) -> np.ndarray:
    if frame.dtype.kind != "f" or (finite := np.isfinite(frame)).all():
        return frame
    return np.where(finite, frame, frame[finite].mean() if finite.any() else np.float32(0))


class _Padded:
    """A frame as float32 with its edges mirrored, `reach` pixels far."""

    def __init__(self, frame: np.ndarray, reach: int) -> None:
        rows, columns = frame.shape
        self.reach, self.all = reach, np.empty((rows + 2 * reach, columns + 2 * reach), np.float32)
        self.frame = self.all[reach : reach + rows, reach : reach + columns]
        self.frame[...] = frame
        if reach:
            self.all[:, :reach] = self.all[:, 2 * reach - 1 : reach - 1 : -1]
            self.all[:, -reach:] = self.all[:, -reach - 1 : -2 * reach - 1 : -1]
            self.all[:reach] = self.all[2 * reach - 1 : reach - 1 : -1]
            self.all[-reach:] = self.all[-reach - 1 : -2 * reach - 1 : -1]


class _LowPass(Protocol):
    """Makes strips of a smooth frame, of what `prepared` does once a frame."""

    reach: int  # px, around a pixel that it depends on

    def prepared(self, frame: _Padded) -> object: ...

    def strip(self, ready: object, rows: slice) -> np.ndarray: ...


class _Whole:
    """Lets all pass."""

    reach = 0

    def prepared(self, frame: _Padded) -> np.ndarray:
        return frame.frame

    def strip(self, ready: np.ndarray, rows: slice) -> np.ndarray:
        return ready[rows]


class _Mean:
    """Lets the mean of the frame pass."""

    reach = 0

    def prepared(self, frame: _Padded) -> np.ndarray:
        return frame.frame.mean(keepdims=True)

    def strip(self, ready: np.ndarray, rows: slice) -> np.ndarray:
        return ready


@dataclass(frozen=True)
class _Wide:
    """A Gaussian by the few components of the cosine transform that it lets pass, each by the root of what passes."""

    down: np.ndarray  # (components, rows) float32
    across: np.ndarray  # (components, columns)
    reach: int = 0

    def prepared(self, frame: _Padded) -> np.ndarray:
        return ((self.down @ frame.frame) @ self.across.T) @ self.across

    def strip(self, ready: np.ndarray, rows: slice) -> np.ndarray:
        return self.down[:, rows].T @ ready


@dataclass(frozen=True)
class _Narrow:
    """A Gaussian by its kernel."""

    kernel: np.ndarray  # float32: its centre and one side

    @property
    def reach(self) -> int:
        return len(self.kernel) - 1

    def prepared(self, frame: _Padded) -> _Padded:
        return frame

    def strip(self, ready: _Padded, rows: slice) -> np.ndarray:
        """Rows are worked on end to end, which is several times as fast; what mixes two of them is left out."""
        spare, (height, width) = ready.reach - self.reach, (rows.stop - rows.start, ready.all.shape[1])
        around = ready.all[rows.start + spare : rows.stop + spare + 2 * self.reach]
        made = self._along(self._along(around.ravel(), width), 1)
        return made[: height * width].reshape(height, width)[:, spare : width - spare - 2 * self.reach]

    def _along(self, flat: np.ndarray, step: int) -> np.ndarray:
        """Filter along an axis whose neighbours lie `step` values apart. The values at the end are invalid."""
        n, middle = len(flat) - 2 * self.reach * step, self.reach * step
        made, pair = np.empty_like(flat), np.empty(n, np.float32)
        made[n:] = 0
        total = np.multiply(flat[middle : middle + n], self.kernel[0], out=made[:n])
        for k, weight in enumerate(self.kernel[1:], 1):
            first, second = middle - k * step, middle + k * step
            np.add(flat[first : first + n], flat[second : second + n], out=pair)
            pair *= weight
            total += pair
        return made


def _low_pass(shape: tuple[int, int], cut_off: float) -> _LowPass:
    """The cheaper of the two ways."""
    t = variance(cut_off)
    n = np.arange(int(6 * np.sqrt(t)) + 6)
    kernel = scipy.special.ive(n, t)
    kernel = kernel[kernel >= CUT_OFF * kernel[0]]
    passed = [np.exp(t * (np.cos(np.pi * np.arange(n) / n) - 1)) for n in shape]
    counted = [int(np.count_nonzero(gain > NEGLIGIBLE)) for gain in passed]
    products = 4 * counted[0] * (1 + counted[1] / shape[0])  # a pixel, of which 14 take as long as one sum of arrays
    if products < 14 * 6 * len(kernel) or len(kernel) > min(shape):
        roots = [np.sqrt(gain[:n, np.newaxis]) * _cosines(len(gain), n) for gain, n in zip(passed, counted)]
        return _Wide(*(root.astype(np.float32) for root in roots))
    return _Narrow((kernel / (2 * kernel.sum() - kernel[0])).astype(np.float32))


def _cosines(n: int, components: int) -> np.ndarray:
    """The first components of the orthonormal cosine transform of n pixels, one a row; float64."""
    rows = np.sqrt(2 / n) * np.cos(np.pi / n * np.outer(np.arange(components), np.arange(n) + 0.5))
    rows[0] /= np.sqrt(2)
    return rows
