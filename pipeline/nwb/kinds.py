"""The kinds of recording that NWB files take, a row each, in the order in which they enter a file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import isx

from pipeline.nwb import behavior, cells, events, images, movies, signals, vessels
from pipeline.nwb.session import Opened, SessionFile


@dataclass(frozen=True)
class Kind:
    """What is done with the recordings of one kind."""

    read: Callable[[str], Any]  # as isx opens it
    add: Callable[[SessionFile, Opened], object]  # to the file
    in_plane: bool = False  # whether it has an image of the tissue


IN_NWB = {  # cell sets before the event sets that refer to them
    "movie": Kind(isx.Movie.read, movies.add, in_plane=True),
    "behavior_movie": Kind(isx.Movie.read, behavior.add),
    "nvision": Kind(isx.Movie.read, behavior.add),
    "image": Kind(isx.Image.read, images.add, in_plane=True),
    "cell_set": Kind(isx.CellSet.read, cells.add, in_plane=True),
    "event_set": Kind(isx.EventSet.read, events.add),
    "vessel_set": Kind(isx.VesselSet.read, vessels.add, in_plane=True),
    "gpio": Kind(isx.GpioSet.read, signals.add),
    "imu": Kind(isx.GpioSet.read, signals.add),
}
