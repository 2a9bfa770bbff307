"""Large datasets: pynwb makes them empty, and their chunks are compressed on several threads afterwards.

HDF5 itself compresses on one thread, and pynwb wants what it writes in memory or asks for it piece by piece.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any

import h5py
import numpy as np
from hdmf.backends.hdf5 import H5DataIO
from hdmf.data_utils import AbstractDataChunkIterator
from isal import isal_zlib

from recording.errors import Unusable

DEFLATE = 1  # higher levels gain little on sensors' noise, and cost much; ISA-L's 3 is not the same on every processor


@dataclass(frozen=True)
class Fill:
    """The data for one dataset."""

    dataset: str  # its path in the file
    slabs: Callable[[], Iterator[np.ndarray]]  # along the first axis, each as long as a chunk; the last may be shorter


class _Empty(AbstractDataChunkIterator):
    """Nothing, of a shape: pynwb creates the dataset and asks for no data."""

    def __init__(self, shape: tuple[int, ...], dtype: Any) -> None:
        self.shape, self._dtype = shape, np.dtype(dtype)

    def __len__(self) -> int:
        return self.shape[0]

    def __iter__(self) -> _Empty:
        return self

    def __next__(self) -> Any:
        raise StopIteration

    def recommended_chunk_shape(self) -> None:
        return None

    def recommended_data_shape(self) -> tuple[int, ...]:
        return self.shape

    @property
    def dtype(self) -> np.dtype:
        return self._dtype

    @property
    def maxshape(self) -> tuple[int, ...]:
        return self.shape


def empty(shape: tuple[int, ...], dtype: Any, chunks: tuple[int, ...]) -> H5DataIO:
    """A dataset for pynwb, which `fill` fills later."""
    data = _Empty(shape, dtype)
    return H5DataIO(data=data, chunks=chunks, compression="gzip", compression_opts=DEFLATE, shuffle=True)


def fill(dataset: h5py.Dataset, slabs: Iterator[np.ndarray], threads: int, progress: Callable[[float], None]) -> None:
    """Write the slabs, in the memory of one of them and its compressed chunks. Raises Unusable if some are missing."""
    first, total = 0, dataset.shape[0]
    with ThreadPoolExecutor(threads) as pool:
        for slab in slabs:
            corners = list(product(*(range(0, size, step) for size, step in zip(slab.shape, dataset.chunks))))
            for corner, chunk in zip(corners, pool.map(partial(_chunk, slab, dataset.chunks), corners)):
                dataset.id.write_direct_chunk((first + corner[0], *corner[1:]), chunk)
            first += len(slab)
            progress(first / total)
    if first != total:
        raise Unusable(f"{dataset.name} has {first} of {total} entries: a recording changed while it was read")


def _chunk(slab: np.ndarray, shape: tuple[int, ...], corner: tuple[int, ...]) -> bytes:
    """One chunk as HDF5's filters shuffle and gzip make it; beyond the data's edge it holds zeros."""
    part = slab[tuple(slice(start, start + size) for start, size in zip(corner, shape))]
    chunk = np.zeros(shape, slab.dtype)
    chunk[tuple(slice(size) for size in part.shape)] = part
    shuffled = np.ascontiguousarray(chunk.reshape(-1).view(np.uint8).reshape(-1, slab.itemsize).T)
    return isal_zlib.compress(shuffled, DEFLATE)  # ten times as fast as zlib, which reads it
