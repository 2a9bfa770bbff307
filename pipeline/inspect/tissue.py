"""The tissue behind the outlines on the page's map: images of the movie in which the cells were found."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

from open_engine.files.movies import open_frames
from pipeline.inspect import figures
from pipeline.pages.cells import Background
from recording import formats

SAMPLED = 300  # frames that the local correlation looks at, of all movies together
LONGEST = 800  # px of a picture on the page
JPEG_QUALITY = 85


@dataclass(frozen=True)
class Inspected:
    """A movie, and what the paths of the results of its inspection begin with, if it was inspected."""

    movie: Path
    beside: Path | None


def backgrounds(parts: Sequence[Inspected], shape: tuple[int, int], diameter: float) -> list[Background]:
    """Local correlation, mean and maximum of a movie, or of the parts of a series; [] where there is none to show.

    Parameters
    ----------
    parts : the movie, or its parts in order; none may have another field of view than the cells.
    shape : rows and columns of the cells' field of view.
    diameter : of a usual cell, px.

    Raises BadRecording.
    """
    most = max(1, SAMPLED // max(1, len(parts)))
    both = [_images(part, most) for part in parts]
    if not parts or any(image is None or image.shape != shape for images in both for image in images):
        return []
    averages, peaks = zip(*both)
    window = round(3 * diameter) | 1
    correlation, n = local_correlation([part.movie for part in parts], shape, window)
    weights = [formats.movie_layout(part.movie).n_stored for part in parts]
    some = "all frames" if all(part.beside for part in parts) else f"at most {SAMPLED} frames"
    of = f"of {some} of {parts[0].movie.name}" + (f" and {len(parts) - 1} more" if len(parts) > 1 else "")
    shown = [
        Background("mean", of, jpeg(np.average(averages, axis=0, weights=weights))),
        Background("maximum", of, jpeg(np.max(peaks, axis=0))),
    ]
    if n > 2:
        meaning = f"Pearson's r of a pixel and those beside it, mean; {n} frames, each less its mean over {window} px"
        shown.insert(0, Background("local correlation", meaning, jpeg(correlation)))
    return shown


def local_correlation(movies: Sequence[Path], shape: tuple[int, int], window: int) -> tuple[np.ndarray, int]:
    """Mean correlation of each pixel with the four beside it, over some frames, and how many frames these are.

    What lights up together with its neighbours is bright: cells are, and are told from what is merely bright (Smith and
    Häusser 2010, Nature Neuroscience 13:1144). From each frame its mean over `window` px is taken first, as in
    one-photon movies the light of the whole tissue would make every pixel follow its neighbours (Zhou et al. 2018,
    eLife 7:e28728, which takes a Gaussian).

    Raises BadRecording.
    """
    from scipy import ndimage  # here, as it takes a quarter of the time that inspecting a small recording does

    sums = np.zeros((4, *shape))  # of x, x², and of x times the pixel to the right and below
    n = 0
    for movie in movies:
        for values in _sampled(movie, max(1, SAMPLED // len(movies))):
            values -= ndimage.uniform_filter(values, window)
            sums[0] += values
            sums[1] += values * values
            sums[2, :, :-1] += values[:, :-1] * values[:, 1:]
            sums[3, :-1] += values[:-1] * values[1:]
            n += 1
    mean = sums[0] / max(1, n)
    variance = np.maximum(sums[1] / max(1, n) - mean**2, 0)
    total, count = np.zeros(shape), np.zeros(shape)
    for products, here, there in (
        (sums[2], np.s_[:, :-1], np.s_[:, 1:]),
        (sums[3], np.s_[:-1], np.s_[1:]),
    ):
        scale = np.sqrt(variance[here] * variance[there])
        covariance = products[here] / max(1, n) - mean[here] * mean[there]
        r = np.divide(covariance, scale, out=np.zeros_like(scale), where=scale > 0)
        for side in (here, there):
            total[side] += r
            count[side] += 1
    return total / np.maximum(count, 1), n


def _sampled(movie: Path, most: int) -> Iterator[np.ndarray]:
    """At most so many frames (rows, columns), evenly spread, float32."""
    with open_frames(movie) as source:
        frame = np.empty((1, source.layout.rows, source.layout.columns), source.dtype)
        n_stored = source.layout.n_stored
        for i in np.unique(np.linspace(0, n_stored - 1, min(most, n_stored)).astype(int)):
            yield np.nan_to_num(source.read_into(frame, int(i))[0].astype(np.float32), posinf=0, neginf=0)


def _images(part: Inspected, most: int) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Mean and maximum; of at most so many frames, if the movie was not inspected."""
    if part.beside:
        return _image(part, "mean"), _image(part, "max")
    mean = peak = None
    for n, values in enumerate(_sampled(part.movie, most), 1):
        mean = values if mean is None else mean + (values - mean) / n
        peak = values if peak is None else np.maximum(peak, values)
    return mean, peak


def _image(part: Inspected, name: str) -> np.ndarray | None:
    path = Path(f"{part.beside}-{name}.tif")
    return np.nan_to_num(tifffile.imread(path).astype(np.float32)) if path.is_file() else None


def jpeg(image: np.ndarray) -> bytes:
    """Encode an image of shape (rows, columns) as a grey JPEG, scaled down if a side exceeds LONGEST px."""
    picture = figures.grey(image)[0]
    picture.thumbnail((LONGEST, LONGEST), Image.Resampling.BOX)
    data = io.BytesIO()
    picture.save(data, "JPEG", quality=JPEG_QUALITY)
    return data.getvalue()
