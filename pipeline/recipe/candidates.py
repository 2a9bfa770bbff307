"""What the steps of a recipe looked at and did not take, and the cells that somebody made of it by eye.

A candidate that was accepted becomes a cell of the session's final cell set, and the step that finds events is carried
out for it; what the steps made stays as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from open_engine.files.cellsets import candidates_of, edit_footer, read_cell_set, status_numbers
from open_engine.files.eventsets import Events, names_of, write_event_sets
from open_engine.metrics import read_events
from pipeline.inspect import candidates
from pipeline.inspect.candidates import Candidates
from pipeline.inspect.decisions import Decisions
from pipeline.recipe.chain import PlannedStep, Stream
from pipeline.recipe.store import Entry
from recording.formats import read_footer


def beside(
    stream: Stream,
    planned: Sequence[PlannedStep],
    entry_of: Callable[[int], Entry | None],
    files_of: Callable[[Stream], list[Path]],
) -> list[Path]:
    """The candidates of a cell set, a file for each part.

    Empty if no step kept any, or a later one changed footprints or traces.
    """
    while stream.step >= 0:
        each, entry = planned[stream.step], entry_of(stream.step)
        found = [candidates_of(file) for file in files_of(stream)]
        if entry and {file.name for file in found} <= set(entry.extras):
            return found if all(file.is_file() for file in found) else []
        sets = [read for read in each.read if read.kind == "cell_set"]
        if not each.step.contract.edits or len(sets) != 1:
            return []
        (stream,) = sets
    return []


def take(found: Sequence[Path], decisions: Decisions | None, cells: Sequence[Path], out: Sequence[Path]) -> Candidates:
    """The candidates; if some were accepted by eye, cell sets with them are written to `out`. Raises Unusable."""
    read = candidates.read(found)
    chosen = read.accepted(decisions)
    return candidates.add(cells, read, chosen, out) if chosen else read


def add_events(
    cells: Sequence[Path],
    taken: Candidates,
    events: Sequence[Path],
    out: Sequence[Path],
    scratch: Path,
    again: Callable[[list[Path], Path], list[Path]],
) -> None:
    """Write event sets to `out`: `events` of `cells`, one a part, and those of the candidates that became cells.

    `again` finds the events of given cell sets in the way of the recipe; only those of the new cells are taken, so that
    what the recipe found stays as it is. Raises Unusable.
    """
    chosen = [i for i, name in enumerate(taken.cells.names) if name in taken.taken]
    together = [scratch / f"with-accepted-{file.name}" for file in cells]
    candidates.add(cells, taken, chosen, together)
    for file in together:  # as they were before anything was accepted or rejected
        edit_footer(file, CellStatuses=status_numbers(["undecided"] * len(read_footer(file)["CellNames"])))
    both = read_cell_set(together)
    new = dict(zip(both.names, read_events(again(together, scratch), both)))
    old = dict(zip(both.names, read_events(events, both)))
    names = names_of(events[0])
    names += [name for name in both.names if name in taken.taken]
    its = [(new if name in taken.taken else old)[name] for name in names]
    write_event_sets([str(path) for path in out], both, names, [Events(each.samples, each.amplitudes) for each in its])
