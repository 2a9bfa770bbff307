"""A step of your own for a recipe: how much each pixel of a movie goes along with those around it.

Cells stand out in this image, whatever their brightness: their pixels rise and fall together, noise does not.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import isx
import numpy as np
from scipy import ndimage


def local_correlation(
    inputs: list[Path], outputs: list[Path], context: Any, radius: int = 1, background: float = 8.0
) -> None:
    """Write, for each movie, an image of the mean correlation of each pixel with its neighbours, -1 to 1.

    `radius` in px: 1 takes the 8 nearest. What all tissue shares is taken away first: of each frame, its Gaussian blur
    of `background` px, which should be about the diameter of a cell. Follows Smith and Häusser (2010), Nature
    Neuroscience 13, 1144-1149. Frames are read twice and never held, so that a movie of any length fits into memory.
    """
    for number, (source, target) in enumerate(zip(inputs, outputs)):
        movie = isx.Movie.read(str(source))  # keep it: its timing and spacing end with it
        mean, std = _statistics(movie, background)
        if not std.any():
            context.warn(f"{source.name} does not change: its correlations are 0")
        window = np.ones((2 * radius + 1, 2 * radius + 1), np.float32)
        window[radius, radius] = 0
        n_neighbours = ndimage.convolve(np.ones_like(mean), window, mode="constant")
        image = np.zeros_like(mean)
        n_frames = 0
        for n_frames, frame in enumerate(_frames(movie, background), 1):
            score = np.divide(frame - mean, std, out=np.zeros_like(mean), where=std > 0)
            image += score * ndimage.convolve(score, window, mode="constant") / n_neighbours
            context.progress((number + n_frames / movie.timing.num_samples) / len(inputs))
        isx.Image.write(str(target), movie.spacing, np.float32, (image / max(n_frames, 1)).astype(np.float32))


def _frames(movie: isx.Movie, background: float) -> Iterator[np.ndarray]:
    """Frames as (rows, columns) float64, without the dropped, cropped and blank ones: those read as zeros."""
    for index in movie.timing.get_valid_samples():
        frame = movie.get_frame_data(int(index)).astype(np.float64)
        yield frame - ndimage.gaussian_filter(frame, background)


def _statistics(movie: isx.Movie, background: float) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each pixel over time (Welford's method)."""
    mean = np.zeros(movie.spacing.num_pixels)
    squares = np.zeros_like(mean)
    n_frames = 0
    for n_frames, frame in enumerate(_frames(movie, background), 1):
        distance = frame - mean
        mean += distance / n_frames
        squares += distance * (frame - mean)
    return mean, np.sqrt(squares / max(n_frames, 1))
