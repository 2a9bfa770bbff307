"""The movie itself in formats that other programs open: TIFF, and MP4 for browsers."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from open_engine.files.movies import StoredFrames
from pipeline.inspect import mp4, tiff
from recording.errors import Unusable
from recording.formats import MovieLayout

FRAME_UNITS = 1000  # of the MP4's clock, a frame
BLACK_FREE, BLACK_RATIO = 4 << 30, 100  # bytes of frames that are not stored, and their ratio to those that are


@dataclass(frozen=True)
class Encoder:
    """Settings of the AV1 encoder."""

    threads: int
    quality: int = 60  # 0 to 100
    speed: int = 8  # 0 to 10: the higher, the less it looks for a better picture


@dataclass(frozen=True)
class Source:
    """A movie to export."""

    frames: StoredFrames
    period_s: float

    @property
    def layout(self) -> MovieLayout:
        return self.frames.layout


def frames(source: Source) -> Iterator[np.ndarray]:
    """Yield the frame (rows, columns) of every sample; an invalid one is all zeros."""
    shape, number = (1, source.layout.rows, source.layout.columns), 0
    for is_valid in source.frames.valid:
        frame = np.zeros(shape, source.frames.dtype)
        if is_valid:
            source.frames.read_into(frame, number)
            number += 1
        yield frame[0]


def refuse_mostly_black(layout: MovieLayout) -> None:
    """Frames that are not stored take room in other formats. Raises Unusable if that is out of all proportion."""
    frame = layout.rows * layout.columns * np.dtype(layout.dtype).itemsize
    black = (layout.n_samples - layout.n_stored) * frame
    if black > BLACK_FREE and black > BLACK_RATIO * layout.n_stored * frame:
        raise Unusable(
            f"{layout.n_samples - layout.n_stored} of its {layout.n_samples} frames are not stored, and would take "
            f"{black / 1e9:.3g} GB in another format: it is damaged; if not, run without MOVIE_TIFF, "
            "MOVIE_MP4, NWB_MOVIE"
        )


def to_tiff(source: Source, out: Path, pixel_um: tuple[float, float], progress: Callable[[float], None]) -> None:
    """One page for each sample, in the movie's data type. Invalid ones are black: page i is row i of -frames.csv."""
    layout = source.layout
    refuse_mostly_black(layout)
    tiff.write_pages(
        out,
        _told(frames(source), layout.n_samples, progress),
        (layout.n_samples, layout.rows, layout.columns),
        layout.dtype,
        pixel_um,
        axes="TYX",
        finterval=source.period_s,
        fps=1 / source.period_s,
    )


def to_mp4(
    source: Source, out: Path, grey_range: tuple[float, float], threads: int, progress: Callable[[float], None]
) -> None:
    """AV1 in MP4, which browsers play since 2021. `grey_range` holds the values shown as black and as white.

    Pillow's wheels hold an AV1 encoder, for AVIF image sequences. AVIF stores a sequence as MP4 stores a film. Only the
    brand, the kind of the track and the clock differ; this function changes them. The library's own export is MPEG-4
    Part 2, which browsers do not play.
    """
    refuse_mostly_black(source.layout)
    n_samples, clock = source.layout.n_samples, round(FRAME_UNITS / source.period_s)
    if not 0 < clock < 1 << 32:
        rate = 1 / source.period_s
        raise Unusable(
            f"an MP4 cannot have {rate:.3g} frames a second: the recording's rate is damaged; run without MOVIE_MP4"
        )
    shape = source.layout.rows, source.layout.columns
    out.write_bytes(
        film(_told(frames(source), n_samples, progress), n_samples, shape, clock, grey_range, Encoder(threads))
    )


def film(
    pictures: Iterator[np.ndarray],
    n: int,
    shape: tuple[int, int],
    clock: int,
    grey_range: tuple[float, float],
    encoder: Encoder,
) -> bytearray:
    """The content of an MP4 of `n` pictures (rows, columns), clock / FRAME_UNITS of them a second; see `to_mp4`."""
    pixels = (grey(picture, grey_range) for picture in pictures)
    return _as_film(avif(pixels, n, shape, encoder), n, clock)


def avif(pictures: Iterator[Image.Image], n: int, shape: tuple[int, int], encoder: Encoder) -> memoryview:
    """An AVIF sequence of `n` pictures (RGB) of shape (rows, columns); of two if there is only one."""
    data = io.BytesIO()
    _Film(pictures, n, shape).save(
        data,
        "AVIF",
        save_all=True,
        duration=FRAME_UNITS,
        quality=encoder.quality,
        speed=encoder.speed,
        subsampling="4:2:0",
        range="limited",
        max_threads=encoder.threads,
    )
    return data.getbuffer()


def grey(values: np.ndarray, grey_range: tuple[float, float]) -> Image.Image:
    """`values` (rows, columns) as a picture; those of `grey_range` are black and white."""
    black, white = grey_range
    scaled = np.clip((values - np.float32(black)) * (255 / max(white - black, 1e-9)), 0, 255)
    return Image.fromarray(np.nan_to_num(scaled).astype(np.uint8)).convert("RGB")


class _Film(Image.Image):
    """An animation for Pillow that makes each frame when Pillow seeks it."""

    def __init__(self, source: Iterator[Image.Image], n: int, shape: tuple[int, int]) -> None:
        super().__init__()
        self.source = source
        self.is_animated, self.n_frames = True, max(2, n)
        self.at = -1
        self._mode, self._size = "RGB", shape[::-1]
        self.seek(0)

    def tell(self) -> int:
        return self.at

    def seek(self, frame: int) -> None:
        if frame <= self.at:  # Pillow goes back to the first frame at the end
            return
        if frame >= self.n_frames:
            raise EOFError(frame)
        self.at = frame
        picture = next(self.source, None)
        if picture is not None:
            self.im = picture.im


def _told(pages: Iterator[np.ndarray], n: int, progress: Callable[[float], None]) -> Iterator[np.ndarray]:
    for i, page in enumerate(pages):
        yield page
        progress((i + 1) / n)


def _as_film(data: memoryview, n_frames: int, clock: int) -> bytearray:
    """Turn an AVIF sequence into MP4: brands, track kind, clock and duration of a film; no creation times.

    `clock` is in units per second (ISO/IEC 14496-12). The boxes must have version 1, which libavif writes.
    """
    film = bytearray(data)
    duration = n_frames * FRAME_UNITS
    for kind, start, end in mp4.boxes(film, 0, len(film)):
        if kind == b"ftyp":
            n_brands = (end - start) // 4 - 2
            brands = (b"iso6", b"av01", b"mp41")
            film[start:end] = b"iso6" + bytes(4) + b"".join(brands[i % 3] for i in range(n_brands))
        elif kind in (b"mvhd", b"mdhd"):
            _expect_version_1(film, start)
            struct.pack_into(">QQIQ", film, start + 4, 0, 0, clock, duration)
        elif kind == b"tkhd":
            _expect_version_1(film, start)
            track = film[start + 20 : start + 28]
            struct.pack_into(">QQ8sQ", film, start + 4, 0, 0, bytes(track), duration)
        elif kind == b"elst":
            _expect_version_1(film, start)
            struct.pack_into(">IIQ", film, start, 1 << 24, 1, duration)  # flag off: played once
        elif kind == b"meta":  # the first frame as a picture, which some players would show instead
            film[start - 4 : start] = b"free"
        elif kind == b"hdlr":
            film[start + 8 : start + 12] = b"vide"
    return film


def _expect_version_1(film: bytearray, start: int) -> None:
    if film[start] != 1:
        raise ValueError("Pillow writes AVIF in another version than expected")
