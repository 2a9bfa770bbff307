"""One-photon recordings whose truth is known, made with NumPy alone.

`recording` builds a field of tissue from what a miniscope sees: cell bodies in and out of focus with their halo of
scattered light, dendrites, neuropil that follows the population, blood vessels that absorb, uneven light, bleaching, a
brain that moves, and a sensor that counts photons. `write` saves it as `.isxd`. `python samples/simulate.py FOLDER`
makes the movie of the demonstration.

The model, for each frame t at the sensor's pixel p (all in expected photons):

    light(p, t) = L(p) b(t) S_t[ V (B + sum_i A_i (r_i + c_i(t)) + sum_j D_j d_j(t) + sum_k N_k n_k(t)) ](p)

with the light L that falls on the pixel, bleaching b, the shift S_t by shifts[t], the vessels' transmission V, the even
background B, footprints A with resting light r and calcium c, dendrites D and neuropil N. The sensor reads Poisson
counts of it, times a gain, plus normal read noise and a black level, as 12 bits. The shift is a phase factor on the
Fourier transform, which is exact as everything in the tissue is blurred by at least the optics.
"""

from __future__ import annotations

import json
import struct
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

START_S = 1_700_000_000
BLACK_LEVEL = 60  # counts
GAIN = 0.6  # counts a photon
READ_NOISE = 3.0  # counts
OPTICS_PX = 0.8  # standard deviation of the blur that all tissue has
BACKGROUND = 500.0  # photons a pixel and frame, of tissue without cells


@dataclass(frozen=True)
class Recording:
    """A movie and what is in it."""

    movie: np.ndarray  # (n, rows, columns) uint16
    footprints: np.ndarray  # (cells, rows, columns) float32: counts a unit of its trace, at shift 0
    traces: np.ndarray  # (cells, n) float32: calcium; a lone spike peaks at 1
    spikes: np.ndarray  # (cells, n) int16
    inside: np.ndarray  # (cells,) float64: the share of its light that falls into the field, 0 to 1
    shifts: np.ndarray  # (n, 2) float64: how far the tissue has moved down and to the right, px
    rate_hz: float
    diameter_px: float
    pixel_um: float


def recording(
    seed: int = 0,
    seconds: float = 40,
    shape: tuple[int, int] = (160, 200),
    n_cells: int = 80,
    diameter_px: float = 12,
    motion_px: float = 1.2,
    brightness: float = 1,
    rate_hz: float = 10,
    endless: bool = False,
) -> Recording:
    """Make a recording. `motion_px` is the standard deviation of the motion on each axis; 0 is a field at rest.

    `brightness` scales all light: less of it is more noise. `endless`: the tissue goes on at one edge as it began at
    the opposite one, under even light, so that the movie repeated side by side is a larger field that moves as one.
    """
    rng = np.random.default_rng(seed)
    n = round(seconds * rate_hz)
    shifts = _motion(rng, n, rate_hz, motion_px)
    margin = 0 if endless else int(np.ceil(np.abs(shifts).max())) + round(2 * diameter_px)
    canvas = _Canvas(shape[0] + 2 * margin, shape[1] + 2 * margin, endless)

    centres = _apart(rng, canvas, n_cells, diameter_px, margin)
    bodies = np.array([_cell_body(rng, canvas, centre, diameter_px) for centre in centres])
    spikes = _spikes(rng, len(bodies), n, rate_hz)
    traces = np.array([_calcium(rng, of_cell, rate_hz) for of_cell in spikes])
    resting = rng.uniform(0.1, 0.5, len(bodies))
    population = _smooth_in_time(traces.mean(axis=0), 0.3 * rate_hz)
    diffuse, diffuse_traces = _diffuse(rng, canvas, population, n, rate_hz, diameter_px)
    vessels = _vessels(rng, canvas, diameter_px)
    even = BACKGROUND * (1 + 0.08 * canvas.noise(rng, diameter_px))

    inside = (slice(margin, margin + shape[0]), slice(margin, margin + shape[1]))
    light = brightness * (np.ones(shape) if endless else _illumination(rng, shape))
    bleaching = 0.8 + 0.2 * np.exp(-np.arange(n) / (0.5 * n))
    spectra = np.fft.rfft2(vessels * np.concatenate([[even], bodies, diffuse]))
    weights = np.concatenate([np.ones((1, n)), resting[:, np.newaxis] + traces, diffuse_traces])
    movie = np.empty((n, *shape), np.uint16)
    for t in range(n):
        spectrum = np.tensordot(weights[:, t], spectra, 1) * canvas.moved(shifts[t])
        seen = light * bleaching[t] * np.fft.irfft2(spectrum, canvas.shape)[inside]
        counts = GAIN * rng.poisson(np.maximum(seen, 0)) + rng.normal(BLACK_LEVEL, READ_NOISE, shape)
        movie[t] = np.clip(np.rint(counts), 0, 4095)
    footprints = (GAIN * light * (vessels * bodies)[:, inside[0], inside[1]]).astype(np.float32)
    share = bodies[:, inside[0], inside[1]].sum(axis=(1, 2)) / bodies.sum(axis=(1, 2))
    return Recording(movie, footprints, traces.astype(np.float32), spikes, share, shifts, rate_hz, diameter_px, 2.0)


class _Canvas:
    """The tissue, larger than the field by a margin unless it is endless; of smooth things drawn on a grid."""

    def __init__(self, rows: int, columns: int, endless: bool = False) -> None:
        self.shape = (rows, columns)
        self.endless = endless
        self.y, self.x = np.mgrid[:rows, :columns].astype(float)
        self.fy, self.fx = np.fft.fftfreq(rows)[:, np.newaxis], np.fft.rfftfreq(columns)

    def from_place(self, place: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
        """How far each pixel is below a place and to the right of it; the shorter way where the tissue is endless."""
        away = self.y - place[0], self.x - place[1]
        return tuple(d - n * np.rint(d / n) for d, n in zip(away, self.shape)) if self.endless else away

    def blurred(self, image: np.ndarray, sigma: float) -> np.ndarray:
        """By a Gaussian, in px."""
        response = np.exp(-2 * (np.pi * sigma) ** 2 * (self.fy**2 + self.fx**2))
        return np.fft.irfft2(np.fft.rfft2(image) * response, self.shape)

    def noise(self, rng: np.random.Generator, sigma: float) -> np.ndarray:
        """Smooth noise of mean 0 and standard deviation 1."""
        image = self.blurred(rng.normal(size=self.shape), sigma)
        return (image - image.mean()) / image.std()

    def moved(self, shift: np.ndarray) -> np.ndarray:
        """What moves an image down and to the right, as a factor on its spectrum."""
        return np.exp(-2j * np.pi * (self.fy * shift[0] + self.fx * shift[1]))

    def line(self, rng: np.random.Generator, start: np.ndarray, angle: float, width: float, bend: float) -> np.ndarray:
        """A line that wanders through the field and grows thinner, as it would be without optics. 0 to 1."""
        image, place = np.zeros(self.shape), np.array(start, float)
        while width > 0.5 and all(-5 < position < size + 5 for position, size in zip(place, self.shape)):
            y, x = (int(np.clip(position, 0, size - 1)) for position, size in zip(place, self.shape))
            reach = int(width) + 3
            near = (slice(max(0, y - reach), y + reach + 1), slice(max(0, x - reach), x + reach + 1))
            away = np.hypot(self.y[near] - place[0], self.x[near] - place[1])
            image[near] = np.maximum(image[near], np.clip(width / 2 + 0.5 - away, 0, 1))
            angle += rng.normal(0, bend)
            place += np.array([np.sin(angle), np.cos(angle)])
            width *= 0.998
        return image


def _apart(
    rng: np.random.Generator, canvas: _Canvas, n: int, diameter: float, margin: int
) -> list[tuple[float, float]]:
    """Up to n places, mostly inside the field, none nearer to another than 0.8 diameters."""
    low = 0 if canvas.endless else margin - diameter / 2
    places: list[tuple[float, float]] = []
    for _ in range(100 * n):
        y, x = (rng.uniform(low, size - low) for size in canvas.shape)
        if len(places) < n and all(np.hypot(y - v, x - u) > 0.8 * diameter for v, u in places):
            places.append((y, x))
    return places


def _cell_body(rng: np.random.Generator, canvas: _Canvas, centre: tuple[float, float], diameter: float) -> np.ndarray:
    """An uneven outline around a dimmer nucleus, blurred by its depth, with a halo of scattered light. Photons."""
    y, x = canvas.from_place(centre)
    radius, angle = np.hypot(y, x), np.arctan2(y, x)
    outline = rng.normal(0.5, 0.05) * diameter * np.ones_like(angle)
    for k, spread in ((1, 0.05), (2, 0.12), (3, 0.06)):
        outline *= 1 + rng.normal(0, spread) * np.cos(k * angle + rng.uniform(0, 2 * np.pi))
    body = _inside((outline - radius) / 0.5)
    body *= 1 - rng.uniform(0.2, 0.6) * _inside((0.55 * outline - radius) / 0.6)
    depth = rng.uniform(0, 1)
    sharp = canvas.blurred(body, OPTICS_PX + 0.12 * diameter * depth)
    halo = canvas.blurred(body, 1.5 * diameter)
    share = 0.25 + 0.25 * depth  # of the light, scattered on its way
    peak = 0.35 * BACKGROUND * rng.uniform(0.4, 1.2) * (1 - 0.5 * depth)
    return peak * ((1 - share) * sharp / sharp.max() + share * halo / sharp.max())


def _inside(depth: np.ndarray) -> np.ndarray:
    """1 well inside an outline, 0 well outside, and smooth between."""
    return (1 + np.tanh(depth / 2)) / 2


def _spikes(rng: np.random.Generator, n_cells: int, n: int, rate_hz: float) -> np.ndarray:
    """Bursts: their number is Poisson, at rates that differ between cells, and so is the number of spikes in each."""
    per_frame = rng.gamma(3, 0.12 / 3, (n_cells, 1)) / rate_hz
    bursts = rng.random((n_cells, n)) < per_frame
    bursts[np.arange(n_cells), rng.integers(n // 10, n - n // 10, n_cells)] = True  # none is silent throughout
    return (bursts * (1 + rng.poisson(1.5, (n_cells, n)))).astype(np.int16)


def _calcium(rng: np.random.Generator, spikes: np.ndarray, rate_hz: float) -> np.ndarray:
    """Spikes through a rise and a decay of their own."""
    rise, decay = rng.uniform(0.04, 0.12), rng.uniform(0.4, 0.9)
    time = np.arange(round(8 * decay * rate_hz)) / rate_hz
    kernel = np.exp(-time / decay) - np.exp(-(time + 1 / rate_hz) / rise)
    return np.convolve(spikes, kernel / kernel.max())[: len(spikes)]


def _smooth_in_time(trace: np.ndarray, sigma: float) -> np.ndarray:
    reach = int(4 * sigma) + 1
    kernel = np.exp(-(np.arange(-reach, reach + 1) ** 2) / (2 * sigma**2))
    return np.convolve(trace, kernel / kernel.sum(), "same")[: len(trace)]


def _diffuse(
    rng: np.random.Generator, canvas: _Canvas, population: np.ndarray, n: int, rate_hz: float, diameter: float
) -> tuple[np.ndarray, np.ndarray]:
    """Dendrites and neuropil: images in photons, and what they do over time; both follow the population in part."""
    images, traces = [], []
    for _ in range(14):
        start = np.array([rng.uniform(0, size) for size in canvas.shape])
        line = canvas.line(rng, start, rng.uniform(0, 2 * np.pi), rng.uniform(1, 2.2), 0.08)
        images.append(0.12 * BACKGROUND * canvas.blurred(line, OPTICS_PX + rng.uniform(0.2, 1.5)))
        traces.append(0.5 + _calcium(rng, _spikes(rng, 1, n, rate_hz)[0], rate_hz))
    for scale in (2, 2, 3, 3, 5, 8):
        image = canvas.noise(rng, scale * diameter)
        images.append(0.05 * BACKGROUND * np.maximum(image + 1, 0))
        own = _smooth_in_time(rng.normal(size=n), rng.uniform(0.2, 1.5) * rate_hz)
        together = (population - population.mean()) / (population.std() or 1)
        traces.append(1 + 0.5 * own / (own.std() or 1) + 0.5 * together)
    return np.array(images), np.maximum(traces, 0)


def _vessels(rng: np.random.Generator, canvas: _Canvas, diameter: float) -> np.ndarray:
    """The share of the light that passes: a trunk across the field, and branches that leave it."""
    shadow = np.zeros(canvas.shape)
    start, angle = np.array([rng.uniform(0.15, 0.85) * canvas.shape[0], 0]), rng.uniform(-0.3, 0.3)
    trunk = canvas.line(rng, start, angle, 0.9 * diameter, 0.02)
    shadow = np.maximum(shadow, trunk)
    along = np.argwhere(trunk > 0.9)
    for _ in range(5):
        start = along[rng.integers(len(along))]
        side = angle + rng.choice([-1, 1]) * rng.uniform(0.5, 1.2)
        shadow = np.maximum(shadow, canvas.line(rng, start, side, rng.uniform(0.25, 0.5) * diameter, 0.04))
    return 1 - 0.55 * canvas.blurred(shadow, 0.12 * diameter)


def _illumination(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Brightest near the centre; it belongs to the microscope and does not move with the brain."""
    y, x = np.mgrid[: shape[0], : shape[1]].astype(float)
    centre = [size * rng.uniform(0.4, 0.6) for size in shape]
    away = ((y - centre[0]) / shape[0]) ** 2 + ((x - centre[1]) / shape[1]) ** 2
    return 0.4 + 0.8 * np.exp(-away / (2 * 0.35**2))


def _motion(rng: np.random.Generator, n: int, rate_hz: float, spread: float) -> np.ndarray:
    """Slow drift, tremor, and now and then a jerk that springs back. The first frame is at rest."""
    if spread == 0:
        return np.zeros((n, 2))
    shifts = np.empty((n, 2))
    for axis in range(2):
        jerks = (rng.random(n) < 0.3 / rate_hz) * rng.normal(0, 1, n)
        spring = np.exp(-np.arange(round(2 * rate_hz)) / (0.3 * rate_hz))
        drift = _smooth_in_time(rng.normal(size=n), 3 * rate_hz)
        path = np.convolve(jerks, spring)[:n] + 0.3 * drift / drift.std() + 0.1 * rng.normal(size=n)
        shifts[:, axis] = spread * path / path.std()
    return shifts - shifts[0]


def write(folder: Path, name: str, made: Recording, n_parts: int = 1) -> list[Path]:
    """Save as `.isxd`, in parts of one series if `n_parts` exceeds 1: `name-part1.isxd` and so on."""
    cuts = [len(made.movie) * i // n_parts for i in range(n_parts + 1)]
    paths = []
    for i, (start, stop) in enumerate(zip(cuts, cuts[1:])):
        path = folder / (f"{name}.isxd" if n_parts == 1 else f"{name}-part{i + 1}.isxd")
        text = json.dumps(_footer(made, start, stop)).encode()
        with path.open("wb") as file:
            file.write(made.movie[start:stop].astype("<u2").tobytes())
            file.write(text + b"\0" + struct.pack("<Q", len(text)))
        paths.append(path)
    return paths


def _footer(made: Recording, start: int, stop: int) -> dict[str, Any]:
    def both(num: int, den: int = 1) -> dict[str, Any]:
        return {axis: {"num": num, "den": den} for axis in "xy"}

    period_ms = round(1000 / made.rate_hz)
    rows, columns = made.movie.shape[1:]
    began = {"secsSinceEpoch": {"num": START_S * 1000 + start * period_ms, "den": 1000}, "utcOffset": 0}
    return {
        "type": 0 if stop - start > 1 else 4,
        "dataType": 0,
        "fileVersion": 1,
        "hasFrameHeaderFooter": False,
        "producer": {"name": "synthetic"},
        "extraProperties": None,
        "timingInfo": {
            "numTimes": stop - start,
            "period": {"num": period_ms, "den": 1000},
            "start": began,
            "dropped": [],
            "cropped": [],
            "blank": [],
        },
        "spacingInfo": {
            "numPixels": {"x": columns, "y": rows},
            "pixelSize": both(round(1000 * made.pixel_um), 1000),
            "topLeft": both(0),
        },
    }


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    made = recording()
    (path,) = write(target, "simulated", made)
    truth = path.with_name("simulated-truth.npz")
    kept = ("footprints", "traces", "spikes", "inside", "shifts")
    np.savez_compressed(truth, **{name: getattr(made, name) for name in kept})
    print(f"{path}: {len(made.movie)} frames with {len(made.traces)} cells; what is in it: {truth}")
