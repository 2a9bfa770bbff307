"""What the steps of a recipe looked at and did not take, and the cells that somebody made of it by eye.

A candidate that was accepted becomes a cell of the session's final cell set, and the step that finds events is carried
out for it; what the steps made stays as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from open_engine.files.cellsets import candidates_of, read_cell_set
from open_engine.files.eventsets import Events, names_of, write_event_sets
from open_engine.metrics import read_events
from pipeline.inspect import candidates
from pipeline.inspect.candidates import Candidates
from pipeline.inspect.decisions import Decisions
from pipeline.recipe.chain import PlannedStep, Stream
from pipeline.recipe.store import Entry


@dataclass(frozen=True)
class Origin:
    """Where the cells of a cell set were found, and the candidates beside them: files, one for each part."""

    cells: list[Path]
    candidates: list[Path]


def origin(
    stream: Stream,
    planned: Sequence[PlannedStep],
    entry_of: Callable[[int], Entry | None],
    files_of: Callable[[Stream], list[Path]],
) -> Origin | None:
    """None if no step kept candidates of this cell set, or a later one changed footprints or traces."""
    while stream.step >= 0:
        each, entry = planned[stream.step], entry_of(stream.step)
        files = files_of(stream)
        beside = [candidates_of(file) for file in files]
        if entry and {file.name for file in beside} <= set(entry.extras):
            return Origin(files, beside)
        sets = [read for read in each.read if read.kind == "cell_set"]
        if not each.step.contract.edits or len(sets) != 1:
            return None
        (stream,) = sets
    return None


def take(found: Origin, decisions: Decisions | None, cells: Sequence[Path], out: Sequence[Path]) -> Candidates:
    """The candidates; if some were accepted by eye, cell sets with them are written to `out`. Raises Unusable."""
    read = candidates.read(found.candidates)
    chosen = read.accepted(decisions)
    return candidates.add(cells, read, chosen, out) if chosen else read


def add_events(
    found: Origin,
    taken: Candidates,
    events: Sequence[Path],
    out: Sequence[Path],
    scratch: Path,
    again: Callable[[list[Path], Path], list[Path]],
) -> None:
    """Write event sets to `out`: `events`, one a part, and those of the candidates that became cells.

    `again` finds the events of given cell sets in the way of the recipe; only those of the new cells are taken, so that
    what the recipe found stays as it is. Raises Unusable.
    """
    chosen = [i for i, name in enumerate(taken.cells.names) if name in taken.taken]
    together = [scratch / file.name for file in found.cells]
    candidates.add(found.cells, taken, chosen, together, "undecided")
    cells = read_cell_set(together)
    new = dict(zip(cells.names, read_events(again(together, scratch), cells)))
    old = dict(zip(cells.names, read_events(events, cells)))
    names = names_of(events[0])
    names += [name for name in cells.names if name in taken.taken]
    its = [(new if name in taken.taken else old)[name] for name in names]
    write_event_sets([str(path) for path in out], cells, names, [Events(each.samples, each.amplitudes) for each in its])
