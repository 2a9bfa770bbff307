"""The pictures of the MP4s that this project writes."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image


def pictures(path: Path) -> np.ndarray:
    """All of them, shape (n, rows, columns), 8 bits.

    Changed back to an AVIF sequence, of which the film is a copy but for some fields, Pillow can decode it.
    """
    film = bytearray(path.read_bytes())
    assert film[4:12] == b"ftypiso6"
    film[8:12], film[16:20] = b"avis", b"avis"
    at = film.index(b"hdlr", film.index(b"mdia"))
    assert film[at + 12 : at + 16] == b"vide"
    film[at + 12 : at + 16] = b"pict"
    film[film.index(b"free") : film.index(b"free") + 4] = b"meta"
    frames = []
    with Image.open(io.BytesIO(film)) as picture:
        for i in range(picture.n_frames):
            picture.seek(i)
            frames.append(np.asarray(picture.convert("L")))
    return np.stack(frames)
