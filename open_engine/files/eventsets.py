"""Writes event sets: for each cell of a series, when its events were and how large."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import isx
import numpy as np

from open_engine.files.cellsets import CellSet, as_list, edit_footer
from open_engine.files.whole import complete
from recording import formats


@dataclass(frozen=True)
class Events:
    """The events of one cell, in order."""

    samples: np.ndarray  # indices among the samples of all parts
    amplitudes: np.ndarray


def write_event_sets(
    paths: str | Sequence[str], cells: CellSet, names: Sequence[str], events: Sequence[Events]
) -> None:
    """One file for each part of `cells`, with that part's timing and extra properties.

    Offsets are microseconds since the part's first sample, as isx counts them. A file appears under its name when it
    is complete.
    """
    for path, part in zip(as_list(paths), cells.parts):
        source = isx.CellSet.read(str(part.path))  # its timing is only sound as long as it lives
        timing = source.timing
        period_us = timing.period.to_usecs()
        with complete(path) as partial:
            out = isx.EventSet.write(str(partial), timing, list(names))
            for i, of_cell in enumerate(events):
                here = (of_cell.samples >= part.start) & (of_cell.samples < part.stop)
                offsets = (of_cell.samples[here] - part.start) * period_us
                out.set_cell_data(i, offsets.astype(np.uint64), of_cell.amplitudes[here].astype(np.float32))
            out.flush()
            del out
            _carry_on(partial, formats.extra_properties(part.footer))


def names_of(path: Path) -> list[str]:
    """Names of the cells of an event set, in its order."""
    event_set = isx.EventSet.read(str(path))
    return [event_set.get_cell_name(i) for i in range(event_set.num_cells)]


def _carry_on(path: Path, extra: dict | None) -> None:
    if extra:
        edit_footer(path, extraProperties=extra)
