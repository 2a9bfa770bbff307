"""A short film of a movie before and after motion correction, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from open_engine.files.movies import Movie, open_movie
from pipeline.inspect import export, figures
from pipeline.inspect.export import Encoder
from pipeline.pages.content import Film

MOST_FRAMES = 300
SHARE = 0.12  # of the movie's pixels are in the film at most, so that it costs less than a tenth of the steps
FEWEST_FRAMES = 40  # whatever they cost: it is little
RATE = 20  # pictures a second
SIDE = 320  # px, longest of a half
GAP = 4  # px between the halves
MOST_BYTES = 5_000_000
QUALITIES = 45, 30, 15, 5  # the next one is tried where a film exceeds that
SPEED = 10  # of the encoder, its highest
FOR_RANGE = 20  # pictures that the range of grey values is taken from


@dataclass(frozen=True)
class Pair:
    """A movie, and the same after motion correction, whose field of view may be smaller."""

    before: Movie
    after: Movie
    corner: tuple[int, int]  # row and column of the smaller field in the larger one

    @property
    def samples(self) -> np.ndarray:
        return np.flatnonzero(self.before.valid & self.after.valid)

    def frames(self, sample: int) -> tuple[np.ndarray, np.ndarray]:
        """Frames before and after, of the same field, float32."""
        (row, column), (rows, columns) = self.corner, self.after.shape
        before = self.before.stored(sample, sample + 1, (row, row + rows))[0, :, column : column + columns]
        return before.astype(np.float32), self.after.stored(sample, sample + 1)[0].astype(np.float32)


def write(before: Sequence[Path], after: Sequence[Path], out: Path, threads: int) -> Film | None:
    """Write the film of a movie, or of the parts of a series one after the other; None where they do not match.

    Every k-th sample is shown, RATE a second, at most MOST_FRAMES: motion is seen as it is, only sped up. The file has
    at most MOST_BYTES. Raises BadRecording.
    """
    with ExitStack() as stack:
        opened = [[stack.enter_context(open_movie(path)) for path in paths] for paths in (before, after)]
        pairs = [_pair(*both) for both in zip(*opened)]
        shown = [pair for pair in pairs if pair]
        if len(before) != len(after) or len(shown) < len(pairs) or len({pair.after.shape for pair in shown}) != 1:
            return None
        rows, columns = shown[0].after.shape
        zoom = min(1.0, SIDE / max(rows, columns))
        side = max(1, round(columns * zoom)), max(1, round(rows * zoom))  # width, height
        chosen, every = _chosen(shown, 2 * side[0] * side[1] / (rows * columns))
        if len(chosen) < 2:
            return None
        grey_range = _grey_range(chosen)
        shape = side[1], 2 * side[0] + GAP
        for quality in QUALITIES:
            pictures = (_side_by_side(pair.frames(sample), side, grey_range[0]) for pair, sample in chosen)
            clock = RATE * export.FRAME_UNITS
            data = export.film(pictures, len(chosen), shape, clock, grey_range, Encoder(threads, quality, SPEED))
            if len(data) <= MOST_BYTES:
                break
        else:
            return None
        out.write_bytes(data)
        faster = every * float(shown[0].after.timing.period) * RATE
        speed = "at its own speed" if f"{faster:.3g}" == "1" else f"{faster:.3g} times as fast as it was"
        caption = f"Before (left) and after motion correction, {speed}."
        if every > 1:
            caption = f"{caption[:-1]}: one sample of {every}."
        return Film(out.name, caption, (rows, columns), side, GAP)


def _pair(before: Movie, after: Movie) -> Pair | None:
    """None unless the second is of the same samples, and of the same or a smaller field of view."""
    from_corner = [
        (there - here) / size
        for here, there, size in zip(before.spacing.top_left, after.spacing.top_left, before.spacing.pixel)
        if size > 0
    ]
    if len(from_corner) < 2 or any(distance.denominator != 1 for distance in from_corner):
        return None
    column, row = map(int, from_corner)
    is_within = row >= 0 and column >= 0
    is_within &= row + after.shape[0] <= before.shape[0] and column + after.shape[1] <= before.shape[1]
    return Pair(before, after, (row, column)) if is_within and before.n_frames == after.n_frames else None


def _chosen(pairs: Sequence[Pair], area: float) -> tuple[list[tuple[Pair, int]], int]:
    """Evenly spread samples, and of how many each is one. `area` is that of a picture, in frames of the movie."""
    samples = [(pair, int(sample)) for pair in pairs for sample in pair.samples]
    by_cost = min(int(np.ceil(area / SHARE)), len(samples) // FEWEST_FRAMES)
    every = max(1, -(-len(samples) // MOST_FRAMES), by_cost)
    return samples[::every], every


def _grey_range(chosen: Sequence[tuple[Pair, int]]) -> tuple[float, float]:
    step = max(1, len(chosen) // FOR_RANGE)
    values = np.concatenate([frame[::2, ::2].ravel() for pair, i in chosen[::step] for frame in pair.frames(i)])
    _, low, high = figures.grey(values[np.newaxis])
    return low, high


def _side_by_side(frames: tuple[np.ndarray, np.ndarray], side: tuple[int, int], black: float) -> np.ndarray:
    """(height, 2 widths and the gap) of two frames, each reduced to `side` (width, height)."""
    halves = [np.asarray(Image.fromarray(np.nan_to_num(frame)).resize(side, Image.Resampling.BOX)) for frame in frames]
    return np.hstack([halves[0], np.full((side[1], GAP), black, np.float32), halves[1]])
