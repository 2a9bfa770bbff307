"""TIFF files that ImageJ, MATLAB and Python open as they are, in µm."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import tifffile


def write(path: Path, image: np.ndarray, pixel_um: tuple[float, float], labels: Sequence[str] = ()) -> None:
    """Write an image (rows, columns) or a stack (pages, rows, columns) as float32.

    `pixel_um` is the width and height of a pixel; `labels` name the pages in ImageJ.
    """
    metadata = {"axes": "ZYX"[-image.ndim :], "unit": "um"}
    if labels:
        metadata["Labels"] = list(labels)
    tifffile.imwrite(
        path,
        image.astype(np.float32, copy=False),
        imagej=True,
        resolution=per_um(pixel_um),
        metadata=metadata,
    )


def write_pages(
    path: Path,
    pages: Iterator[np.ndarray],
    shape: tuple[int, int, int],
    pixel_um: tuple[float, float],
    labels: Sequence[str] = (),
) -> None:
    """Write a stack of `shape` (pages, rows, columns) page by page, so that only one is in memory; compressed."""
    tifffile.imwrite(
        path,
        (page.astype(np.float32, copy=False) for page in pages),
        shape=shape,
        dtype=np.float32,
        imagej=True,
        compression="zlib",
        resolution=per_um(pixel_um),
        metadata={"axes": "ZYX", "unit": "um", "Labels": list(labels)},
    )


def per_um(pixel_um: tuple[float, float]) -> tuple[float, float]:
    """Pixels a µm, as TIFF states resolution; 1 where a pixel's size is not known."""
    return tuple(1 / um if um > 0 else 1.0 for um in pixel_um)
