"""Calcium transients in traces, by deconvolution: a step of this project's own, which IDPS does not have.

Each trace, its baseline removed, is explained by spikes that decay exponentially, by OASIS (oasis.py; Friedrich, Zhou
and Paninski 2017, PLoS Comput Biol 13, e1005423), with a decay that is the median over the cells and a penalty that
explains the trace to within its noise. Spikes in consecutive samples are one transient, which begins at the first of
them. One counts if its height exceeds THRESHOLD times the noise, and SHARE of the cell's highest one: what is smaller
is mostly left by other cells and by background.

Unlike event_detection's threshold in median absolute deviations, which grow with activity, the noise is that of high
frequencies, whatever the cell does.
"""

from __future__ import annotations

import numpy as np

from open_engine.cnmfe import extraction, oasis, updates
from open_engine.context import StepContext
from open_engine.files import cellsets
from open_engine.files.eventsets import Events, write_event_sets
from open_engine.steps.event_detection import filled
from recording.errors import Unusable

REFERENCES = ("friedrich2017",)

THRESHOLD = 3.5
SHARE = 0.15


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
    events = [within(each, cells.valid) for each in transients(traces, 1 / cells.period_s)]
    write_event_sets(output_event_set_files, cells, [cells.names[i] for i in chosen], events)


def transients(traces: np.ndarray, rate_hz: float) -> list[Events]:
    """The transients of each trace, (cells, samples) without gaps."""
    y = traces - updates.baseline(traces)
    noise = oasis.noise_level(y)
    decay = extraction.typical_decay(y, noise, rate_hz)
    spikes = oasis.denoise(y, np.full(len(y), decay), noise)[1]
    return [_joined(*each) for each in zip(spikes, THRESHOLD * noise)]


def within(events: Events, valid: np.ndarray) -> Events:
    """Those that begin in a sample that was recorded."""
    good = valid[events.samples]
    return Events(events.samples[good], events.amplitudes[good])


def _joined(spikes: np.ndarray, least: float) -> Events:
    """Runs of spikes whose sum exceeds `least`, and a share of the largest."""
    at = np.flatnonzero(spikes > 0)
    begins = np.flatnonzero(np.diff(at, prepend=-2) > 1)
    heights = np.add.reduceat(spikes[at], begins) if len(at) else np.zeros(0)
    large = heights > max(least, SHARE * heights.max(initial=0), 1e-12)
    return Events(at[begins][large], heights[large])
