"""Small one-photon recordings, each with one thing that is hard: conditions.py FOLDER [NAME-SEED ...]

The second family of simulations beside minisim's, with NumPy and SciPy alone; it shares nothing with
samples/simulate.py. Each recording is FOLDER/NAME-SEED.npz, as minisim_movies.py describes it, here with `true_shift`,
no diameter of one value where cells differ (0), and `counted` for cells that fire and have 60% of their light in the
field. Names that begin with "no_" hold no cells at all.

The tissue is a bright, uneven background with dark vessels and cells whose bodies are rounded ellipses with a halo. It
moves as a whole and, where `bend` is not 0, differently in different places. Photons are counted.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage

LIGHT = 1000.0  # photons a pixel and frame, of tissue at rest
INSIDE = 0.6  # least share of a cell's light in the field
MARGIN = 14


@dataclass(frozen=True)
class Condition:
    """What a recording is like; lengths in px, times in s."""

    size: int = 128
    frames: int = 600
    rate_hz: float = 10.0
    cells: int = 40
    diameters: tuple[float, float] = (7.0, 8.5)  # width at half of the peak: smallest and largest
    flash: tuple[float, float] = (70.0, 260.0)  # photons at the peak, of one spike
    bursts_hz: tuple[float, float] = (0.04, 0.15)
    decay_s: float = 0.6
    rise_s: float = 0.06
    tonic: float = 0.0  # share of the cells that fire all the time
    motion: float = 1.5  # standard deviation
    bend: float = 0.0  # root mean square of what the motion differs by from place to place
    neuropil: float = 12.0  # photons, standard deviation
    waves: float = 0.0  # photons; bright fronts that travel through the field
    patches: float = 0.0  # photons; out-of-focus light, 1 to 3 diameters wide
    edge: float = 0.0  # photons; a bright border that comes and goes
    vessels: float = 0.0  # photons; a vessel that pulses
    light: float = 1.0  # less of it is more noise
    later_light: float = 1.0  # in the second half, times that
    apart: float = 0.8  # least distance of cells, in diameters
    gaussian: bool = False  # cells and background as in Zhou et al. 2018
    noise: float = 0.0  # photons, besides that of counting
    drift: float = 0.0  # by how many px the focus blurs in the end
    lens: float = 0.0  # radius of the lens that is seen in the field, in sides of the field; 0: more than is seen
    dust: int = 0  # specks on the sensor's window
    haze: float = 0.0  # even light from elsewhere, in units of the tissue's
    margin: int = MARGIN  # px, of tissue around the field
    travel: float = 0.0  # px, by which the field ends up elsewhere
    jumps: float = 0.0  # px, of rare knocks against the head, which are over within some frames
    leaps: int = 0  # of the focus: frames that are blurred by 3 px, three at a time
    turn: float = 0.0  # degrees, standard deviation
    pattern: float = 0.0  # standard deviation of the gain of single pixels
    shadow: float = 0.0  # share of the field from which no light comes
    padded: float | None = None  # corrected before, up to so many px, and padded with this program's zeros


CONDITIONS = {
    "base": Condition(),
    "few": Condition(cells=5),
    "large": Condition(cells=14, size=160, diameters=(17, 22)),
    "mixed": Condition(diameters=(5, 14)),
    "short": Condition(frames=200),
    "dim": Condition(light=0.25),
    "two_lights": Condition(later_light=0.5),
    "bend1": Condition(bend=1.0),
    "bend2": Condition(bend=2.0),
    "slow": Condition(decay_s=1.8, rise_s=0.2),
    "busy": Condition(bursts_hz=(0.3, 0.8)),
    "slow_busy": Condition(decay_s=1.8, rise_s=0.2, bursts_hz=(0.2, 0.5)),
    "fast20": Condition(rate_hz=20, decay_s=0.15, rise_s=0.01, frames=900),
    "fast50": Condition(rate_hz=50, decay_s=0.15, rise_s=0.01, frames=1500, size=96, cells=22),
    "tonic": Condition(tonic=0.5),
    "waves": Condition(waves=90),
    "patches": Condition(patches=130),
    "edge": Condition(edge=300),
    "focus": Condition(drift=3.0),
    "lens": Condition(lens=0.46, size=150),
    "dust": Condition(dust=12),
    "dark": Condition(light=0.02, haze=2.0, flash=(400.0, 1500.0)),
    "padded": Condition(padded=0.3),
    "shadow": Condition(shadow=0.5),
    "pattern": Condition(pattern=0.04),
    "jumps": Condition(jumps=18, margin=34),
    "leaps": Condition(leaps=6),
    "travels": Condition(travel=25, margin=34),
    "turns": Condition(turn=0.4),
    "all": Condition(waves=60, patches=90, edge=200, vessels=80),
    "mixed_all": Condition(diameters=(5, 11), waves=60, patches=90, edge=200, vessels=80),
    "zhou": Condition(gaussian=True, diameters=(7, 7.1), motion=0, neuropil=150, bursts_hz=(0.08, 0.12)),
    "zhou_noisy": Condition(gaussian=True, diameters=(7, 7.1), motion=0, neuropil=150, noise=90),
    "no_noise": Condition(cells=0),
    "no_waves": Condition(cells=0, waves=90),
    "no_patches": Condition(cells=0, patches=130),
    "no_edge": Condition(cells=0, edge=300),
    "no_vessels": Condition(cells=0, vessels=80),
    "no_all": Condition(cells=0, waves=60, patches=90, edge=200, vessels=80),
}


def simulate(what: Condition, seed: int) -> dict[str, np.ndarray]:
    """The arrays of a recording, as the file holds them."""
    rng = np.random.default_rng(seed)
    side = what.size + 2 * what.margin
    diameters = rng.uniform(*what.diameters, what.cells)
    centres = _centres(rng, side, what, diameters)
    bodies = np.array([_body(rng, side, at, d, what.gaussian) for at, d in zip(centres, diameters)])
    bodies = bodies.reshape(-1, side, side)
    spikes = _spikes(rng, what)[: len(bodies)]
    calcium = np.array([_calcium(rng, of_cell, what) for of_cell in spikes]).reshape(len(bodies), what.frames)
    still, others, courses = _tissue(rng, side, what)
    peaks = rng.uniform(*what.flash, len(bodies))[:, None]
    images = np.concatenate([bodies, others]).reshape(-1, side * side).astype(np.float32)
    weights = np.concatenate([0.4 * peaks + peaks * calcium, courses]).astype(np.float32)
    shifts, bending = _motion(rng, what)
    light = _illumination(rng, what.size)
    seen_through = _microscope(rng, what)
    light = light * seen_through
    gains, blurred, turns = _gains(rng, what), _blurred(rng, what), _turns(rng, what)
    movie = np.empty((what.frames, what.size, what.size), np.uint16)
    for t in range(what.frames):
        seen = still + (weights[:, t] @ images).reshape(side, side)
        if what.drift:
            seen = ndimage.gaussian_filter(seen, 0.1 + what.drift * t / what.frames)
        if blurred[t]:
            seen = ndimage.gaussian_filter(seen, blurred[t])
        brightness = what.light * (what.later_light if 2 * t >= what.frames else 1)
        seen = _moved(seen, shifts[t], bending[t] if what.bend else None, what, turns[t])
        seen = brightness * light * (seen + what.haze * LIGHT)
        counted = gains * rng.poisson(np.maximum(seen, 0)) + rng.normal(100, 3 + what.noise, seen.shape)
        movie[t] = np.clip(np.rint(counted), 0, 65535)
    if what.padded is not None:
        shifts = _corrected_before(rng, movie, shifts, what.padded)
    inner = slice(what.margin, what.margin + what.size)
    A = peaks[:, :, None] * bodies[:, inner, inner] * light if len(bodies) else np.zeros((0, what.size, what.size))
    in_field = bodies[:, inner, inner] * (seen_through > 0.5)
    inside = in_field.sum(axis=(1, 2)) / np.maximum(bodies.sum(axis=(1, 2)), 1e-9)
    return {
        "movie": movie,
        "A": A.astype(np.float32),
        "C": calcium.astype(np.float32),
        "S": spikes.astype(np.float32),
        "counted": (inside > INSIDE) & spikes.any(axis=1),
        "shifts": shifts,
        "inside": inside,
        "rate_hz": np.array(what.rate_hz),
        "diameter": np.array(float(np.median(diameters)) if len(diameters) else 0.0),
    }


def _centres(rng: np.random.Generator, side: int, what: Condition, diameters: np.ndarray) -> list[np.ndarray]:
    margin = what.margin
    places: list[np.ndarray] = []
    tries = 0
    while len(places) < what.cells:
        tries += 1
        at = rng.uniform(margin - 2, side - margin + 2, 2)
        near = [np.hypot(*(at - other)) / d for other, d in zip(places, diameters)]
        if min(near, default=9) > what.apart * (1 - tries / 20000):
            places.append(at)
    return places


def _body(rng: np.random.Generator, side: int, at: np.ndarray, diameter: float, gaussian: bool) -> np.ndarray:
    """Peak 1; the part above half of it has the area of a disc of this diameter."""
    y, x = np.mgrid[:side, :side] - at[:, None, None]
    turn, ratio, power = rng.uniform(0, np.pi), rng.uniform(1, 1.35), 2.0 if gaussian else rng.uniform(2, 3.5)
    ratio = 1.0 if gaussian else ratio
    u, v = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    r = np.hypot(u / np.sqrt(ratio), v * np.sqrt(ratio)) / (diameter / 2)
    dent = 0.0 if gaussian else rng.uniform(0, 0.1)
    r *= 1 + dent * np.cos(3 * np.arctan2(v, u) + rng.uniform(0, 6))
    body = np.exp(-np.log(2) * r**power)
    if not gaussian:
        body = 0.88 * body + 0.12 * np.exp(-(r**2) / 6)  # light scattered on its way
    return (body / body.max()).astype(np.float32)


def _spikes(rng: np.random.Generator, what: Condition) -> np.ndarray:
    """(cells, frames): bursts of 1 to 4 spikes, or a rate that never rests."""
    shape = what.cells, what.frames
    rates = rng.uniform(*what.bursts_hz, (what.cells, 1))
    spikes = (rng.random(shape) < rates / what.rate_hz) * rng.integers(1, 5, shape)
    fires = np.arange(what.cells) < round(what.tonic * what.cells)
    always = rng.poisson(2.5 / what.rate_hz, shape)
    return np.where(fires[:, None], always, spikes)


def _calcium(rng: np.random.Generator, spikes: np.ndarray, what: Condition) -> np.ndarray:
    decay = what.decay_s * rng.uniform(0.75, 1.3)
    t = np.arange(round(6 * decay * what.rate_hz) + 2) / what.rate_hz
    kernel = np.exp(-t / decay) * (1 - np.exp(-(t + 0.5 / what.rate_hz) / what.rise_s))
    return np.convolve(spikes, kernel / kernel.max())[: len(spikes)]


def _tissue(rng: np.random.Generator, side: int, what: Condition) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What does not change, (side, side); images of what does (n, side, side), and how (n, frames), in photons."""
    middle = float(np.mean(what.diameters))
    dark, pulsing = _vessels(rng, side, middle), _vessels(rng, side, middle, 1)
    rough = 0.15 * _smooth(rng, side, 1.5 * middle) + 0.03 * _smooth(rng, side, 0.25 * middle)
    still = LIGHT * (1 + rough) * (1 - 0.5 * dark)
    images, courses = [], []
    times = np.arange(what.frames) / what.rate_hz

    def slow(seconds: float) -> np.ndarray:
        course = ndimage.gaussian_filter1d(rng.normal(size=what.frames + 200), seconds * what.rate_hz)[100:-100]
        return (course - course.mean()) / course.std()

    for _ in range(8):
        width = rng.uniform(2.5, 5) * middle
        images.append(_blob(rng, side, width) if what.gaussian else np.maximum(_smooth(rng, side, width / 2), 0))
        courses.append(what.neuropil * (1 + slow(rng.uniform(0.3, 2))))
    if what.waves:
        y, x = np.mgrid[:side, :side]
        for _ in range(6):  # a front, in pieces that light up one after the other
            turn, start, speed = rng.uniform(0, 2 * np.pi), rng.uniform(0, times[-1]), rng.uniform(15, 50)
            along = x * np.cos(turn) + y * np.sin(turn)
            rough = np.maximum(1 + 0.5 * _smooth(rng, side, middle), 0)
            for place in np.arange(along.min(), along.max(), middle):
                images.append(rough * np.exp(-(((along - place) / middle) ** 2)))
                since = times - start - (place - along.min()) / speed
                courses.append(what.waves * np.where(since > 0, since / 0.3 * np.exp(1 - since / 0.3), 0))
    if what.patches:
        for _ in range(16):
            images.append(_blob(rng, side, middle * rng.uniform(1.2, 3)))
            bursts = rng.random(what.frames) < rng.uniform(0.03, 0.12) / what.rate_hz
            courses.append(what.patches * rng.uniform(0.5, 1.3) * _calcium(rng, bursts, what))
    if what.edge:
        y, x = np.mgrid[:side, :side]
        images.append(
            np.exp(-np.abs(x - what.margin - rng.uniform(2, 10)) / 4) * np.maximum(1 + 0.3 * _smooth(rng, side, 9), 0)
        )
        courses.append(what.edge * (1 + 0.5 * slow(0.5)))
    if what.vessels:
        images.append(pulsing)
        courses.append(what.vessels * (np.sin(2 * np.pi * 1.7 * times) + slow(1.0)))
    return still, np.array(images), np.array(courses)


def _smooth(rng: np.random.Generator, side: int, sigma: float) -> np.ndarray:
    image = ndimage.gaussian_filter(rng.normal(size=(side, side)), sigma, mode="wrap")
    return (image - image.mean()) / image.std()


def _blob(rng: np.random.Generator, side: int, width: float) -> np.ndarray:
    """Round, `width` wide at half of its peak."""
    y, x = np.mgrid[:side, :side] - rng.uniform(0, side, 2)[:, None, None]
    return np.exp(-np.log(2) * (x**2 + y**2) / (width / 2) ** 2)


def _vessels(rng: np.random.Generator, side: int, diameter: float, n: int = 4) -> np.ndarray:
    """0 to 1, along lines that wander."""
    image = np.zeros((side, side))
    for _ in range(n):
        at, turn, width = rng.uniform(0, side, 2), rng.uniform(0, 2 * np.pi), diameter * rng.uniform(0.2, 0.45)
        line = np.zeros((side, side))
        for _ in range(2 * side):
            turn += rng.normal(0, 0.06)
            at = at + np.array([np.sin(turn), np.cos(turn)])
            if (at >= 0).all() and (at < side - 1).all():
                line[tuple(np.rint(at).astype(int))] = 1
        line = ndimage.gaussian_filter(line, width)
        image = np.maximum(image, line / max(line.max(), 1e-9))
    return image


def _motion(rng: np.random.Generator, what: Condition) -> tuple[np.ndarray, np.ndarray]:
    """The whole field's shifts (frames, 2), and what they differ by at 3 x 3 places (frames, 2, 3, 3), px."""

    def path(*shape: int) -> np.ndarray:
        steps = rng.normal(size=(what.frames, *shape))
        made = ndimage.gaussian_filter1d(steps, 0.25 * what.rate_hz, axis=0)
        return made / made.std()

    shifts, bending = what.motion * path(2), path(2, 3, 3)
    bending -= bending.mean(axis=(2, 3), keepdims=True)
    shifts = shifts - shifts[0]
    if what.travel:
        shifts += np.outer(np.linspace(0, 1, what.frames), what.travel * _direction(rng))
    if what.jumps:
        for at in rng.choice(np.arange(20, what.frames - 20), max(4, what.frames // 75), replace=False):
            size = what.jumps * rng.uniform(0.6, 1.4)
            shifts[at : at + 4] += np.outer([0.5, 1, 0.8, 0.3], size * _direction(rng))
    most = what.margin - 4
    return np.clip(shifts, -most, most), what.bend * bending / bending.std()


def _direction(rng: np.random.Generator) -> np.ndarray:
    angle = rng.uniform(0, 2 * np.pi)
    return np.array([np.sin(angle), np.cos(angle)])


def _turns(rng: np.random.Generator, what: Condition) -> np.ndarray:
    """By how many degrees the tissue is turned, (frames,)."""
    if not what.turn:
        return np.zeros(what.frames)
    course = ndimage.gaussian_filter1d(rng.normal(size=what.frames), 0.25 * what.rate_hz)
    return what.turn * (course - course[0]) / course.std()


def _blurred(rng: np.random.Generator, what: Condition) -> np.ndarray:
    """By how many px frames are blurred for a moment, (frames,)."""
    by = np.zeros(what.frames)
    for at in rng.integers(5, what.frames - 5, what.leaps):
        by[at : at + 3] = 3
    return by


def _gains(rng: np.random.Generator, what: Condition) -> np.ndarray:
    """Of the pixels, which differ in a sensor, (size, size)."""
    return rng.normal(1, what.pattern, (what.size, what.size)) if what.pattern else np.ones((what.size, what.size))


def _corrected_before(rng: np.random.Generator, movie: np.ndarray, shifts: np.ndarray, wrong: float) -> np.ndarray:
    """Moves the frames back by whole px, in place, with zeros where nothing was seen; the shifts that are left."""
    back = np.rint(shifts + rng.normal(0, wrong, shifts.shape)).astype(int)
    for frame, (down, right) in zip(movie, back):
        moved = ndimage.shift(frame, (-down, -right), order=0)
        frame[...] = moved
    return shifts - back


def _moved(
    seen: np.ndarray, shift: np.ndarray, bending: np.ndarray | None, what: Condition, degrees: float
) -> np.ndarray:
    """The field's part of the tissue once it has moved down and to the right, and turned."""
    size, margin = what.size, what.margin
    if bending is None and not shift.any() and not degrees:
        return seen[margin : margin + size, margin : margin + size]
    y, x = np.mgrid[:size, :size] + float(margin)
    if degrees:
        middle, (sin, cos) = (len(seen) - 1) / 2, (np.sin(np.deg2rad(degrees)), np.cos(np.deg2rad(degrees)))
        y, x = y - middle, x - middle
        y, x = middle + cos * y - sin * x, middle + sin * y + cos * x
    dy, dx = shift[0], shift[1]
    if bending is not None:
        at = np.mgrid[:size, :size] * 2 / (size - 1)
        dy, dx = (d + ndimage.map_coordinates(bend, at, order=2, mode="nearest") for d, bend in zip(shift, bending))
    return ndimage.map_coordinates(seen, [y - dy, x - dx], order=3, mode="nearest", prefilter=True)


def _illumination(rng: np.random.Generator, size: int) -> np.ndarray:
    y, x = np.mgrid[:size, :size] / size - rng.uniform(0.4, 0.6, 2)[:, None, None]
    return 0.6 + 0.6 * np.exp(-(x**2 + y**2) / 0.3)


def _microscope(rng: np.random.Generator, what: Condition) -> np.ndarray:
    """What a lens and dust leave of the light, 0 to 1, (size, size): it does not move with the tissue."""
    y, x = np.mgrid[: what.size, : what.size].astype(float)
    seen = np.ones((what.size, what.size))
    if what.shadow:
        seen /= 1 + np.exp((what.shadow * what.size - x + 6 * np.sin(y / 20)) / 3)
    if what.lens:
        away = np.hypot(y - what.size / 2, x - what.size / 2)
        seen /= 1 + np.exp((away - what.lens * what.size) / 1.5)
    for _ in range(what.dust):
        row, column = rng.uniform(0, what.size, 2)
        seen *= 1 - rng.uniform(0.15, 0.4) * np.exp(
            -((y - row) ** 2 + (x - column) ** 2) / (2 * rng.uniform(2, 4) ** 2)
        )
    return seen


def made(folder: Path, names: list[str]) -> list[Path]:
    """The recordings NAME-SEED, each made unless it is there."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        path = folder / f"{name}.npz"
        if not path.exists():
            kind, _, seed = name.partition("-")
            unfinished = path.with_suffix(".part.npz")
            np.savez(unfinished, **simulate(CONDITIONS[kind], int(seed)))
            unfinished.rename(path)
    return [folder / f"{name}.npz" for name in names]


if __name__ == "__main__":
    made(Path(sys.argv[1]), sys.argv[2:] or [f"{kind}-1" for kind in CONDITIONS])
