"""Which cells respond to events: a step of this project's own, which IDPS does not have.

Events are the TTL edges of a GPIO channel of the session, or the times in a table beside the recording. Traces, effects
and averages are in units of each trace's noise. The test is that of `open_engine.peri_event`, over the cells that are
not rejected.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from common.csv_cells import cell
from open_engine import metrics
from open_engine.context import StepContext
from open_engine.event_times import read_edges, read_times, timeline_of
from open_engine.files import cellsets
from open_engine.files.cellsets import CellSet
from open_engine.peri_event import NONE, SHUFFLES, Responses, Timeline, Trials, Window, responses, single_trials
from recording.errors import Unusable

REFERENCES = ("harris2020shift", "north2002", "benjamini1995")

FEW = 10  # events, below which a response of a few cells is easily missed
MANY = 2000  # events: rather a clock than a stimulus
EXAMPLES = 4
IN_NOISE, IN_EVENTS = "noise SD", "events/s"  # units of effects and averages
COLUMNS = ("cell", "n_events", "effect", "p", "q", "class")


def peri_event(
    input_cell_set_files: str | list[str],
    input_ttl_files: list[str],
    output_directory: str,
    channel: str = "",
    edge: str = "rise",
    events: str = "",
    window_s: Sequence[float] = (-2, 4),
    shuffles: int = SHUFFLES,
    input_event_set_files: str | list[str] | None = None,
    *,
    context: StepContext,
) -> None:
    """Write which cells respond to events, three tables for each kind of event.

    Parameters
    ----------
    input_cell_set_files : the cell set, a file for each part of the session.
    input_ttl_files : tables of pulses, with columns channel, onset_s and offset_s.
    output_directory : `<events>.csv` has a row a cell, `<events>-mean.csv` the average of each cell around events with
        its standard error, `<events>-trials.csv` single trials of the cells that respond most clearly.
    channel : of the pulses.
    edge : "rise" or "fall" of a pulse.
    events : instead of a channel, the name of a table beside the recording with a column time_s, in s from the start of
        the session. `<session>.<name>` is read in its place if it is there. If the table has a column session, its rows
        are those of the sessions that it names; if it has a column label, each label is tested by itself.
    window_s : begin and end of the window around an event, in s.
    shuffles : random shifts of the events.
    input_event_set_files : event sets of these cells, one a part: then it is their events in a sample, per second, that
        are averaged and tested, in place of the traces.

    Raises Unusable if no cell is left, the channel has no pulses or the table cannot be read.
    """
    cells = cellsets.read_cell_set(input_cell_set_files)
    chosen = cells.usable(accepted_cells_only=False)
    if not chosen:
        raise Unusable(f"no cell of {cells.parts[0].path.name} is accepted or undecided: accept some first")
    if events:
        trains = read_times(context.table(events), context.session)
    else:
        trains = {channel: read_edges(input_ttl_files, channel, edge)}
    timeline = timeline_of(cells, context.begins_s)
    names = [cells.names[i] for i in chosen]
    activity, scale, unit = cells.traces[chosen], None, IN_NOISE
    if input_event_set_files:
        activity, scale, unit = _rates(input_event_set_files, cells)[chosen], 1.0, IN_EVENTS
    out = Path(output_directory)
    stems = _stems(Path(events).stem if events else "", trains)
    for number, (label, times_s) in enumerate(trains.items()):
        tested = responses(activity, times_s, timeline, (window_s[0], window_s[1]), shuffles, scale)
        _warn_of(label or events, tested, len(times_s), shuffles, context)
        _write_cells(out / f"{stems[label]}.csv", names, tested)
        _write_means(out / f"{stems[label]}-mean.csv", names, tested, unit)
        window = Window.of((window_s[0], window_s[1]), timeline.period_s)
        _write_trials(out / f"{stems[label]}-trials.csv", names, activity, tested, timeline, window, unit)
        context.progress((number + 1) / len(trains))


def _rates(files: str | list[str], cells: CellSet) -> np.ndarray:
    """(cells, samples) events per second."""
    rates = np.zeros((cells.n_cells, len(cells.valid)))
    for row, its in zip(rates, metrics.read_events(files, cells)):
        np.add.at(row, its.samples, 1 / cells.period_s)
    return rates


def _stems(table: str, labels: Iterable[str]) -> dict[str, str]:
    """What the tables of each label are called: no two alike, and none a path."""
    stems: dict[str, str] = {}
    for label in labels:
        plain = re.sub(r"[/\\\x00-\x1f]", "_", "-".join(filter(None, (table, label))))[:80]
        number, free = 1, plain
        while free.casefold() in {stem.casefold() for stem in stems.values()}:
            number += 1
            free = f"{plain}-{number}"
        stems[label] = free
    return stems


# ---- what is said and written


def _warn_of(name: str, tested: Responses, n_events: int, shuffles: int, context: StepContext) -> None:
    trials, used = tested.trials, len(tested.trials.samples)
    if trials.left_out:
        reasons = [
            (trials.outside, "while nothing was recorded"),
            (trials.at_edges, "whose window leaves the recording"),
            (trials.at_gaps, "whose window has lost frames"),
        ]
        listed = ", ".join(f"{n} {reason}" for n, reason in reasons if n)
        context.warn(f"{name}: {trials.left_out} of {n_events} events are left out: {listed}")
    if used == 0:
        context.warn(f"{name}: no event can be used, so no cell is tested")
    elif used < FEW:
        context.warn(f"{name}: with {used} events, cells that respond are easily missed")
    elif used > MANY:
        context.warn(f"{name}: {used} events look like a clock, not like an experiment: is this the right channel?")
    n_tested = int(np.isfinite(tested.p).sum())
    least = math.ceil(n_tested / (0.05 * (shuffles + 1)))
    if least > 1:
        context.warn(
            f"{name}: of {n_tested} cells, fewer than {least} that respond cannot reach q < 0.05 with {shuffles} "
            "shuffles: raise shuffles"
        )
    if used and (unknown := int(np.isnan(tested.p).sum())):
        context.warn(f"{name}: {unknown} cells are not tested, as their traces have recorded samples without a number")


def _write_cells(path: Path, names: Sequence[str], tested: Responses) -> None:
    used = len(tested.trials.samples)
    columns = zip(names, tested.effect, tested.p, tested.q, tested.classes)
    _write(path, COLUMNS, ((cell(n), used, _text(e), _text(p), _text(q), c) for n, e, p, q, c in columns))


def _write_means(path: Path, names: Sequence[str], tested: Responses, unit: str) -> None:
    rows = (
        (cell(name), _text(at), _text(mean), _text(sem), unit)
        for name, means, sems in zip(names, tested.mean, tested.sem)
        for at, mean, sem in zip(tested.offsets_s, means, sems)
    )
    _write(path, ("cell", "time_s", "mean", "sem", "unit"), rows)


def _write_trials(
    path: Path,
    names: Sequence[str],
    traces: np.ndarray,
    tested: Responses,
    timeline: Timeline,
    window: Window,
    unit: str,
) -> None:
    """Single trials of the cells that respond most clearly, or come nearest to it."""
    trials = tested.trials
    begins = _times(trials, timeline)
    rows: list[tuple[str, ...]] = []
    for i in _examples(tested):
        scale = tested.noise[i] if tested.noise[i] > 0 else 1
        single = single_trials(traces[i].astype(float), trials.samples, window) / scale
        rows += [
            (cell(names[i]), _text(begin), _text(at), _text(value), unit)
            for begin, trial in zip(begins, single)
            for at, value in zip(tested.offsets_s, trial)
        ]
    _write(path, ("cell", "event_s", "time_s", "value", "unit"), rows)


def _examples(tested: Responses) -> list[int]:
    """Cells that respond first, then by p and by size of the effect; none if none was tested."""
    known = [i for i, p in enumerate(tested.p) if np.isfinite(p)]
    known.sort(key=lambda i: (tested.classes[i] == NONE, tested.p[i], -abs(tested.effect[i])))
    return known[:EXAMPLES]


def _times(trials: Trials, timeline: Timeline) -> np.ndarray:
    """Times of the events, in s from the session's start."""
    starts = np.array(timeline.starts_s)[trials.parts]
    return starts + (trials.samples - timeline.first[trials.parts]) * timeline.period_s


def _write(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])


def _text(value: float) -> str:
    """Six digits; empty for what is not known."""
    return f"{value:.6g}" if np.isfinite(value) else ""
