"""Decisions by eye in what a recipe made: they reach the session's own cells and events, and the steps that come after.

No step that the cells and their events depend on is repeated.
"""

from __future__ import annotations

import functools
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from open_engine.files.cellsets import edit_footer, read_cell_set, status_numbers
from pipeline.inspect.candidates import Candidates, present_in
from pipeline.inspect.pieces import Piece
from pipeline.recipe import candidates
from pipeline.recipe.call import call_step, files_of
from pipeline.recipe.candidates import Curated
from pipeline.recipe.chain import PlannedStep, Stream, latest
from pipeline.recipe.one_step import files_read, step_context
from pipeline.recipe.page import Made
from pipeline.recipe.state import Run
from pipeline.recipe.store import Entry


def later(planned: Sequence[PlannedStep], kind: str) -> frozenset[int]:
    """Indices of the steps that run on cells as people have decided: those that read the session's cells, or their
    events, after these are made, and all that follow from them. `kind` is that of the recording."""
    cells = _sets_of_cells(planned, kind)
    events = [stream for stream in latest(planned) if stream.kind == "event_set"]
    indices: set[int] = set()
    for index, step in enumerate(planned):
        are_made = [one for one in events if any(_are_of(one, its, planned) and its.step < index for its in cells)]
        if any(one in cells or one in are_made or one.step in indices for one in step.read):
            indices.add(index)
    return frozenset(indices)


def sets_as_decided(this: Run) -> dict[Stream, list[Path]]:
    """The session's cells and their events as people have decided, for the steps that come later: copies, a file for
    each part, of those that differ from what the recipe made. Raises Unusable."""
    as_decided: dict[Stream, list[Path]] = {}
    decisions, folder = this.context.decisions, this.context.scratch / "decided"
    folder.mkdir()
    for stream in _sets_of_cells(this.planned, this.job.kind) if decisions else ():
        cells = this.files(stream)
        its = candidates.curated(_beside(this, stream), decisions, cells, lambda text: None)
        present = [*present_in(read_cell_set(cells)), *(its.candidates.present() if its.candidates else ())]
        statuses = {name: row.status for name, row in decisions.only().on(present).items()}
        if not statuses and not its.new:
            continue
        as_decided[stream] = [folder / file.name for file in cells]
        if its.new:
            its.write(cells, as_decided[stream])
            for events in _events_of(this, stream):
                as_decided[events] = [folder / name for name in this.names(events)]
                _add_events(this, stream, its, events, as_decided[events])
        for file, copy in zip(cells, as_decided[stream]):
            if not its.new:
                shutil.copyfile(file, copy)
            now = read_cell_set(copy)
            status = [statuses.get(name, status) for name, status in zip(now.names, now.statuses)]
            edit_footer(copy, CellStatuses=status_numbers(status))
    return as_decided


def _sets_of_cells(planned: Sequence[PlannedStep], kind: str) -> list[Stream]:
    """Those that a session ends with, which decisions are about."""
    cell_sets = [stream for stream in latest(planned) if stream.kind == "cell_set"]
    return cell_sets or [stream for stream in [Stream(-1, kind)] if kind == "cell_set"]


def _are_of(events: Stream, cells: Stream, planned: Sequence[PlannedStep]) -> bool:
    """Whether these events were found in those cells, whatever their statuses were."""
    read = [stream for stream in planned[events.step].read if stream.kind == "cell_set"]
    return len(read) == 1 and candidates.origin(read[0], planned) == candidates.origin(cells, planned)


def _events_of(this: Run, cells: Stream) -> list[Stream]:
    """The last events of these cells, found before somebody could decide on them."""
    events = [stream for stream in latest(this.planned) if stream.kind == "event_set"]
    return [stream for stream in events if _are_of(stream, cells, this.planned) and stream.step not in this.later]


def _beside(this: Run, cells: Stream) -> list[Path]:
    """Their candidates."""

    def entry_of(index: int) -> Entry | None:
        return this.store.entries.get(this.fingerprints[index])

    return candidates.beside(cells, this.planned, entry_of, this.files)


def honour_decisions(
    of_session: Mapping[str, Made],
    titles: Mapping[str, tuple[str, str]],
    whole: Mapping[Stream, Sequence[Piece]],
    this: Run,
    out: Path,
) -> dict[str, Sequence[Mapping[str, str]]]:
    """What was decided by eye becomes the status in the session's cell sets; those of the steps stay as they were.

    Returns it by the name of the file that the step made.
    """
    decided: dict[str, Sequence[Mapping[str, str]]] = {}
    parts = {of_parts(stream): this.names(stream) for stream in whole}
    for key, product in of_session.items():
        cells = product.summary.part.cells
        if cells and cells.decided and product.step >= 0:  # what was in the input stays as it is
            for name in parts.get(key, [key]):
                path = out / titles[name][0]
                copy = path.with_name(f".{path.name}.decided")
                shutil.copyfile(path, copy)
                edit_footer(copy, CellStatuses=status_numbers(cells.status[: cells.n_cells]))
                copy.replace(path)
                decided[name] = cells.decided
    return decided


def of_parts(stream: Stream) -> str:
    """What stands for the files of all parts among those of the session; no file has such a name."""
    return f"/{stream.chain}/{stream.kind}/{stream.label}"


def with_accepted(
    this: Run, titles: Mapping[str, tuple[str, str]], names: Sequence[str], out: Path
) -> dict[Stream, Candidates]:
    """For each cell set, the candidates that the step which found its cells dropped.

    Where somebody accepted some of it, the session's cell and event sets with them are written.
    """

    def tops(stream: Stream) -> list[Path]:
        return [out / titles[name][0] for name in this.names(stream)]

    looked_at: dict[Stream, Candidates] = {}
    last = [stream for stream in latest(this.planned) if set(this.names(stream)) <= set(names)]
    for stream in [one for one in last if one.kind == "cell_set"]:
        cells = this.files(stream)
        its = candidates.curated(_beside(this, stream), this.context.decisions, cells, this.context.warn)
        if its.candidates:
            looked_at[stream] = its.candidates
        if its.new:
            its.write(cells, tops(stream))
            for events in _events_of(this, stream):
                if events in last:
                    _add_events(this, stream, its, events, tops(events))
    return looked_at


def _add_events(this: Run, cells: Stream, its: Curated, events: Stream, out: Sequence[Path]) -> None:
    """Events of cells, with those of the cells that are new."""
    (read,) = [stream for stream in this.planned[events.step].read if stream.kind == "cell_set"]
    again = functools.partial(_again, this, events, read)
    scratch = this.context.scratch / f"events-{this.planned[events.step].step.number}"
    scratch.mkdir()
    candidates.add_events(this.files(cells), its, this.files(events), out, scratch, again)
    shutil.rmtree(scratch)


def _again(this: Run, events: Stream, cells: Stream, files: list[Path], folder: Path) -> list[Path]:
    """The events of other cell sets, found by the same step as it ran; paths, one a part. It has said before what it
    warns of."""
    step = this.planned[events.step]

    def read(stream: Stream) -> Sequence[Path]:
        return files if stream == cells else this.files(stream)

    entry = this.store.entries[this.fingerprints[events.step]]
    context = step_context(this, step, folder, read, lambda text: None, lambda done: None)
    call_step(step, files_of(step, files_read(step, read), this.names, folder, {}), context, entry.estimated)
    return [folder / name for name in this.names(events)]


def with_decisions(this: Run, titles: Mapping[str, tuple[str, str]], name: str) -> Path:
    """A product of a step, or the session's own cells and events, which were decided by eye."""
    decided = this.job.staging / titles[name][0] if name in titles and this.context.decisions else None
    is_of_cells = decided is not None and decided.name.endswith(("-cells.isxd", "-events.isxd"))
    return decided if decided and is_of_cells else this.store.staging / name
