"""Calcium events in traces: sudden rises that decay slowly.

IDPS describes an event as a monotonic rise that is followed by an exponential decay, a(t + d) = a(t) exp(-d / tau), and
that is larger than a number of median absolute deviations (MAD) of the trace; its search is not public. Here an event
is a local maximum that

- rises by at least threshold x MAD from where its rise begins, and falls as far again on the way to any higher one
  (topographic prominence);
- decays no faster than exp(-d / tau): for tau after the peak the trace is on average at least as high as that;
- has the middle of its rise above the trace's median, if negative transients are ignored.

Going back from the peak, the trace falls until it turns up again by more than the noise, 1.48 MAD. The rise begins at
the last sample that is within three times the noise of the lowest one there, and below half of the rise. Amplitudes are
the height of the rise.
"""

from __future__ import annotations

import numpy as np

from open_engine.context import StepContext
from open_engine.files import cellsets
from open_engine.files.eventsets import write_event_sets
from open_engine.transients import filled, find_events
from recording.errors import Unusable


def event_detection(
    input_cell_set_files: str | list[str],
    output_event_set_files: str | list[str],
    threshold: float = 5,
    tau: float = 0.2,
    event_time_ref: str = "beginning",
    ignore_negative_transients: bool = True,
    accepted_cells_only: bool = False,
    *,
    context: StepContext,
) -> None:
    """Write the events of all cells that are not rejected, or of the accepted ones; one file a part.

    A cell whose trace holds fewer than 3 numbers is left out: without a row, nobody takes it for a silent one.
    Raises Unusable if no cell is left, as no event set is without one.

    Parameters as in isx.algo.event_detection: threshold in MADs, tau in s, event_time_ref "beginning" and "maximum" of
    the rise, or "mid_rise", the first sample in its upper half.
    """
    cells = cellsets.read_cell_set(input_cell_set_files)
    chosen = cells.usable(accepted_cells_only)
    name = cells.parts[0].path.name
    if not chosen:
        raise Unusable(
            f"no cell of {name} is accepted{'' if accepted_cells_only else ' or undecided'}: accept some first"
        )
    unknown = [i for i in chosen if i in cells.without_values()]
    if unknown:
        names = cellsets.listed(cells.names[i] for i in unknown)
        context.warn(f"cells whose traces hold fewer than 3 numbers are not in the event set: {names}")
    chosen = [i for i in chosen if i not in unknown]
    if not chosen:
        raise Unusable(f"no trace of {name} in which events would be sought holds 3 numbers")
    events = []
    for done, i in enumerate(chosen, 1):
        trace, known = filled(cells.traces[i], cells.valid), cells.valid & np.isfinite(cells.traces[i])
        events.append(
            find_events(trace, cells.period_s, threshold, tau, event_time_ref, ignore_negative_transients, known)
        )
        context.progress(done / len(chosen))
    write_event_sets(output_event_set_files, cells, [cells.names[i] for i in chosen], events)
