"""What every step of the open engine writes movies with; movies.py reads them.

What a movie carries besides its pixels goes on into every product: timing with its dropped, cropped and blank frames,
spacing, and `extraProperties`, in which the acquisition software and IDPS keep what they know (`idps.pre_mc`,
`idps.mc_padding`, animal, microscope, session).
"""

from __future__ import annotations

import copy
import json
import os
import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from open_engine.context import StepContext
from open_engine.files.movies import (
    BLOCK_MB,
    Deferred,
    Movie,
    Plan,
    Series,
    Source,
    Spacing,
    Timing,
    chunks,
    cuts,
    in_order,
    one_blas_thread,
    open_movie,
    open_series,
)
from open_engine.files.whole import complete

__all__ = [  # with the reader's names, so that a step needs one module for files
    "BLOCK_MB",
    "Deferred",
    "Movie",
    "Series",
    "Source",
    "Spacing",
    "Timing",
    "chunks",
    "converted",
    "cuts",
    "each_block",
    "in_order",
    "one_blas_thread",
    "open_movie",
    "open_series",
    "produce",
    "span_of",
    "subtract",
    "with_idps",
    "write_image",
    "write_movie",
]

DATA_TYPES = {"uint16": 0, "float32": 1, "uint8": 2}
CONVERTED = 1 << 15  # values

Made = TypeVar("Made")


def each_block(
    blocks: Iterable[tuple[int, int]],
    work: Callable[[int, int], Made],
    context: StepContext,
    span: tuple[float, float] = (0, 1),
) -> Iterator[Made]:
    """`work(start, stop)` for each block in order, on all cores that the step may use.

    Reports progress on the way, from the first of `span` to the second.
    """
    blocks, (low, high) = list(blocks), span
    with one_blas_thread():
        results = in_order(lambda block: work(*block), blocks, context.threads)
        for i, made in enumerate(results, 1):
            yield made
            context.progress(low + (high - low) * i / len(blocks))


def span_of(i: int, n: int, of: tuple[float, float] = (0, 1)) -> tuple[float, float]:
    """The span of progress that the i-th of n equal tasks takes."""
    low, high = of
    return low + (high - low) * i / n, low + (high - low) * (i + 1) / n


def produce(
    target: Source,
    movie: Movie,
    compute: Callable[[Movie, int, int], np.ndarray],
    context: StepContext,
    span: tuple[float, float] = (0, 1),
    **changed: Any,
) -> None:
    """Make a movie from another one, a block of frames at a time, on all cores that the step may use.

    `compute(movie, start, stop)` returns these samples of the new movie, in its data type. `changed` are those of
    dtype, timing, spacing and extra (properties) in which it differs from the old one. Where the target is `Deferred`,
    it is told how and nothing is computed now.
    """
    plan = replace(Plan(movie.origin, compute, movie.dtype, movie.timing, movie.spacing, movie.extra), **changed)
    if isinstance(target, Deferred):
        target.plan = plan
        return
    blocks = cuts(plan.timing.n_samples, (plan.spacing.rows, plan.spacing.columns))
    made = each_block(blocks, lambda start, stop: compute(movie, start, stop), context, span)
    write_movie(target, None, made, plan.dtype, plan.timing, plan.spacing, plan.extra)


def write_movie(
    path: str | os.PathLike[str],
    like: Movie | Series | None,
    frames: Iterable[np.ndarray],
    dtype: Any = "float32",
    timing: Timing | None = None,
    spacing: Spacing | None = None,
    extra: dict[str, Any] | None = None,
) -> None:
    """Write a movie that isx opens; `like` gives timing, spacing and extra properties where one of them is not given.

    `frames` are blocks of shape (n, rows, columns) that hold every sample in order; those that `timing` calls invalid
    take no room in the file. Integer movies get rounded values, cut off at the type's limits; what is not a number
    becomes 0. The file has its name only once it is complete.
    """
    path, dtype = Path(path), np.dtype(dtype)
    timing, spacing = timing or like.timing, spacing or like.spacing
    footer = {
        "type": 0 if timing.n_samples > 1 else 4,
        "dataType": DATA_TYPES[dtype.name],
        "fileVersion": 1,
        "hasFrameHeaderFooter": False,
        "producer": {"name": "open engine"},
        "extraProperties": (like.extra if extra is None else extra) or None,
        "timingInfo": timing.as_json(),
        "spacingInfo": spacing.as_json(),
    }
    with complete(path) as partial, partial.open("wb", buffering=0) as raw:
        file = _Writer(raw)
        valid, position = timing.valid, 0
        for block in frames:
            if block.shape[1:] != (spacing.rows, spacing.columns):
                raise ValueError(f"frames of {block.shape[1:]} for a movie of {spacing.rows} x {spacing.columns}")
            recorded = valid[position : position + len(block)]
            position += len(block)
            stored = block if recorded.all() else block[recorded]
            file.write(np.ascontiguousarray(converted(stored, dtype)).data.cast("B") if stored.size else b"")
        if position != timing.n_samples:
            raise ValueError(f"{position} frames for a movie of {timing.n_samples}")
        text = json.dumps(footer, sort_keys=True).encode()
        file.write(text + b"\0" + struct.pack("<Q", len(text)))


def write_image(path: str | os.PathLike[str], like: Movie | Series, image: np.ndarray) -> None:
    """Write one frame, float32, with the start, period, spacing and extra properties of a movie."""
    timing = replace(like.timing, n_samples=1, dropped=(), cropped=(), blank=())
    write_movie(path, like, [image[np.newaxis]], timing=timing)


def converted(frames: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Frames as `dtype`. Integers are rounded, cut off at the limits of the type, and 0 where there is no number."""
    if dtype.kind == "f" or frames.dtype == dtype:
        return frames.astype(dtype, copy=False)
    made = np.empty(frames.shape, dtype)
    source, target = np.ascontiguousarray(frames).reshape(-1), made.reshape(-1)
    highest = np.iinfo(dtype).max
    for start in range(0, source.size, CONVERTED):  # a stretch at a time, which stays in the processor's cache
        stretch = np.rint(source[start : start + CONVERTED])
        if not (stretch.min() >= 0 and stretch.max() <= highest):  # also where something is not a number
            np.fmax(stretch, 0, out=stretch)  # unlike maximum, it takes the number where the other is none
            np.minimum(stretch, highest, out=stretch)
        target[start : start + CONVERTED] = stretch
    return made


def subtract(path: str | os.PathLike[str], by: float, threads: int = 1) -> None:
    """Subtract a value from all recorded pixels of a movie, in its file. Integers wrap around, as they are added."""
    with open_movie(path) as movie, Path(path).open("r+b", buffering=0) as file:
        less = movie.dtype.type(by) if movie.dtype.kind == "f" else np.array(round(by)).astype(movie.dtype)

        def work(cut: tuple[int, int]) -> None:
            stored = movie.stored(*cut)
            stored -= less
            os.pwrite(file.fileno(), stored.data.cast("B"), movie.frames.offset_of(cut[0]))

        for _ in in_order(work, chunks(movie, BLOCK_MB), threads):
            pass


def with_idps(extra: dict[str, Any], **properties: Any) -> dict[str, Any]:
    """A copy of a movie's extra properties in which IDPS's own have these values."""
    extra = copy.deepcopy(extra)
    extra["idps"] = {**extra.get("idps", {}), **properties}
    return extra


class _Writer:
    """A raw file whose `write` writes everything: the system writes at most 2 GiB at once."""

    def __init__(self, file: Any) -> None:
        self.file = file

    def write(self, data: bytes | memoryview) -> None:
        data = memoryview(data)
        while len(data):
            data = data[self.file.write(data) :]
