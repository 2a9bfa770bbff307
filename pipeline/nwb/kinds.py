"""The kinds of recording that NWB files take, a row each, in the order in which they enter a file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pipeline.nwb import behavior, cells, events, images, movies, signals, vessels
from pipeline.nwb.session import Opened, SessionFile


@dataclass(frozen=True)
class Kind:
    """What is done with the recordings of one kind."""

    add: Callable[[SessionFile, Opened], object]  # to the file
    in_plane: bool = False  # whether it has an image of the tissue


IN_NWB = {  # cell sets before the event sets that refer to them
    "movie": Kind(movies.add, in_plane=True),
    "behavior_movie": Kind(behavior.add),
    "nvision": Kind(behavior.add),
    "image": Kind(images.add, in_plane=True),
    "cell_set": Kind(cells.add, in_plane=True),
    "event_set": Kind(events.add),
    "vessel_set": Kind(vessels.add, in_plane=True),
    "gpio": Kind(signals.add),
    "imu": Kind(signals.add),
}
