"""What the steps of a recipe looked at and did not take, and the cells that somebody made of it by eye.

A candidate that was accepted becomes a cell of the session's final cell set, and the step that finds events is carried
out for it; what the steps made stays as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from open_engine.files.cellsets import candidates_of, edit_footer, read_cell_set, scales_of, status_numbers
from open_engine.files.eventsets import Events, names_of, write_event_sets
from open_engine.metrics import read_events
from pipeline.inspect import candidates
from pipeline.inspect.candidates import Candidates
from pipeline.inspect.decisions import Decisions
from pipeline.recipe.chain import PlannedStep, Stream
from pipeline.recipe.store import Entry
from recording.formats import read_footer


def origin(stream: Stream, planned: Sequence[PlannedStep]) -> Stream:
    """The cell set in which the cells of this one were found: steps between them changed nothing but statuses."""
    while stream.step >= 0 and planned[stream.step].step.contract.edits:
        sets = [read for read in planned[stream.step].read if read.kind == "cell_set"]
        if len(sets) != 1:
            break
        (stream,) = sets
    return stream


def beside(
    stream: Stream,
    planned: Sequence[PlannedStep],
    entry_of: Callable[[int], Entry | None],
    files_of: Callable[[Stream], list[Path]],
) -> list[Path]:
    """The candidates of a cell set, a file for each part.

    Empty if no step kept any, or a later one changed footprints or traces.
    """
    first = origin(stream, planned)
    entry = entry_of(first.step) if first.step >= 0 else None
    files = [candidates_of(file) for file in files_of(first)] if entry else []
    is_whole = entry and {file.name for file in files} <= set(entry.extras) and all(file.is_file() for file in files)
    return files if is_whole else []


NO_SCALES = "no step has noted the scale of the traces, as run_cnmfe of the open engine does"


@dataclass(frozen=True)
class Curated:
    """What became of a cell set since people looked at it."""

    candidates: Candidates | None  # that its step did not take
    joined: Mapping[str, Sequence[str]]  # by the name of a cell, those that are parts of it

    @property
    def new(self) -> frozenset[str]:
        """Names of the cells whose traces are not those of the recipe."""
        return frozenset(self.joined) | (self.candidates.taken if self.candidates else frozenset())

    def write(self, cells: Sequence[Path], out: Sequence[Path]) -> None:
        """Cell sets with all of it, one a part. Raises Unusable."""
        names = self.candidates.cells.names if self.candidates else ()
        chosen = [i for i, name in enumerate(names) if name in self.candidates.taken]
        candidates.add(cells, self.candidates, chosen, self.joined, out)


def curated(
    files: Sequence[Path], decisions: Decisions | None, cells: Sequence[Path], warn: Callable[[str], None]
) -> Curated:
    """Cells by decisions on those of `cells` and the candidates of `found`, a file for each part. Raises Unusable."""
    read = candidates.read(files) if files else None
    if read:
        chosen = read.accepted(decisions)
        read = replace(read, taken=frozenset(read.cells.names[i] for i in chosen))
    joined = candidates.joins(read_cell_set(cells), read, decisions) if decisions else {}
    if joined and scales_of(read_footer(cells[0])) is None:
        warn(f"{', '.join(joined)} keep their traces, though cells were joined with them: {NO_SCALES}")
        joined = {}
    return Curated(read, joined)


def add_events(
    cells: Sequence[Path],
    its: Curated,
    events: Sequence[Path],
    out: Sequence[Path],
    scratch: Path,
    again: Callable[[list[Path], Path], list[Path]],
) -> None:
    """Write event sets to `out`: `events` of `cells`, one a part, and those of the cells that are new.

    `again` finds the events of given cell sets in the way of the recipe; only those of the new cells are taken, so that
    what the recipe found stays as it is. Raises Unusable.
    """
    together = [scratch / f"curated-{file.name}" for file in cells]
    its.write(cells, together)
    for file in together:  # as they were before anything was accepted or rejected
        edit_footer(file, CellStatuses=status_numbers(["undecided"] * len(read_footer(file)["CellNames"])))
    both = read_cell_set(together)
    new = dict(zip(both.names, read_events(again(together, scratch), both)))
    old = dict(zip(both.names, read_events(events, both)))
    names = names_of(events[0])
    names += [name for name in both.names if name in its.new and name not in names]
    chosen = [(new if name in its.new else old)[name] for name in names]
    write_event_sets(
        [str(path) for path in out], both, names, [Events(of_cell.samples, of_cell.amplitudes) for of_cell in chosen]
    )
