"""TIFF files for ImageJ, MATLAB and Python, with the size of a pixel in µm."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

LARGEST = 3 << 30  # bytes of pixels; well below 4 GiB, the limit of a TIFF's offsets


def write(path: Path, image: np.ndarray, pixel_um: tuple[float, float]) -> None:
    """Write an image (rows, columns) as float32; `pixel_um` is the width and height of a pixel."""
    _write(
        path,
        image.astype(np.float32, copy=False),
        imagej=True,
        resolution=_per_um(pixel_um),
        metadata={"axes": "YX", "unit": "um"},
    )


def write_pages(
    path: Path,
    pages: Iterator[np.ndarray],
    shape: tuple[int, int, int],
    dtype: Any,
    pixel_um: tuple[float, float],
    compression: str | None = None,
    threads: int = 1,
    **imagej: Any,
) -> None:
    """Write a stack of `shape` (pages, rows, columns) page by page, so that only one for each thread is in memory.

    `imagej` holds axes and other properties for ImageJ. A stack of more than 3 GiB becomes a BigTIFF without these,
    with the resolution in pixels per cm; ImageJ opens it through Bio-Formats.
    """
    common = {"shape": shape, "dtype": np.dtype(dtype), "compression": compression, "maxworkers": threads}
    if math.prod(shape) * np.dtype(dtype).itemsize <= LARGEST:
        metadata = {"unit": "um", **imagej}
        _write(path, pages, imagej=True, resolution=_per_um(pixel_um), metadata=metadata, **common)
    else:
        per_cm = tuple(1e4 * density for density in _per_um(pixel_um))
        _write(path, pages, bigtiff=True, resolution=per_cm, resolutionunit="CENTIMETER", metadata=None, **common)


def _write(path: Path, pages: np.ndarray | Iterator[np.ndarray], **options: Any) -> None:
    """Give tifffile an open file: it would look up the real path of a name, in folders that others may have swapped."""
    with path.open("wb") as file:
        tifffile.imwrite(file, pages, **options)


def _per_um(pixel_um: tuple[float, float]) -> tuple[float, float]:
    """Resolution in TIFF's terms, pixels per µm; 1 if the size of a pixel is unknown."""
    return tuple(1 / um if um > 0 else 1.0 for um in pixel_um)
