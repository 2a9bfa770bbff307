"""Single images, and projections of movies."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from pynwb.base import Images
from pynwb.image import GrayscaleImage

from pipeline.nwb.session import Opened, SessionFile

CONTAINER = "SegmentationImages"  # roiextractors and neuroconv look for images there


def add(session: SessionFile, recording: Opened) -> None:
    add_images(session, {recording.source.path.stem: (recording.handle.get_data(), f"Image {recording.title}")})


def add_images(session: SessionFile, images: Mapping[str, tuple[np.ndarray, str]]) -> None:
    """Add images by name: pixels, shape (rows, columns), and a description. NWB orders the axes x, y."""
    if not images:
        return
    if CONTAINER not in session.ophys.data_interfaces:
        session.ophys.add(Images(name=CONTAINER, description="Projections of movies, and images made of them"))
    for name, (pixels, what) in images.items():
        image = GrayscaleImage(name=session.name(name), data=np.ascontiguousarray(pixels.T), description=what)
        session.ophys[CONTAINER].add_image(image)
