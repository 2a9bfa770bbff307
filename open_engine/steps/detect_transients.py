"""Calcium transients in traces, by deconvolution: a step of this project's own, which IDPS does not have.

Each trace, its baseline removed, is explained by spikes that decay exponentially, by OASIS (oasis.py; Friedrich, Zhou
and Paninski 2017, PLoS Comput Biol 13, e1005423), with a decay that is the median over the cells and a penalty that
explains the trace to within its noise. Spikes in consecutive samples are one transient, which begins at the first of
them. One counts if its height exceeds 3.5 times the noise, and 0.15 of the cell's highest one: what is smaller
is mostly left by other cells and by background.

Unlike event_detection's threshold in median absolute deviations, which grow with activity, the noise is that of high
frequencies, whatever the cell does.
"""

from __future__ import annotations

import numpy as np

from open_engine.context import StepContext
from open_engine.files import cellsets
from open_engine.files.eventsets import Events, write_event_sets
from open_engine.transients import filled, find_transients
from recording.errors import Unusable

REFERENCES = ("friedrich2017",)


def detect_transients(
    input_cell_set_files: str | list[str], output_event_set_files: str | list[str], *, context: StepContext
) -> None:
    """Write the transients of all cells that are not rejected, one file a part: when each began, how high it rose.

    Raises Unusable if there are none.
    """
    cells = cellsets.read_cell_set(input_cell_set_files)
    chosen = cells.usable(accepted_cells_only=False)
    if not chosen:
        raise Unusable(f"no cell of {cells.parts[0].path.name} is accepted or undecided: accept some first")
    traces = np.array([filled(cells.traces[i], cells.valid) for i in chosen])
    events = [_within(transients, cells.valid) for transients in find_transients(traces, 1 / cells.period_s)]
    write_event_sets(output_event_set_files, cells, [cells.names[i] for i in chosen], events)


def _within(events: Events, valid: np.ndarray) -> Events:
    """Those that begin in a sample that was recorded."""
    good = valid[events.samples]
    return Events(events.samples[good], events.amplitudes[good])
