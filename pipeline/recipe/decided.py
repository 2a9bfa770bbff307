"""Decisions by eye in what a recipe made: they reach the session's own cells and events, and repeat no step."""

from __future__ import annotations

import functools
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from open_engine.files.cellsets import edit_footer, status_numbers
from pipeline.inspect import tables
from pipeline.inspect.candidates import Candidates
from pipeline.inspect.pieces import Piece
from pipeline.recipe import candidates
from pipeline.recipe.call import call_step, files_of
from pipeline.recipe.chain import Stream, latest
from pipeline.recipe.one_step import files_read, step_context
from pipeline.recipe.page import Made
from pipeline.recipe.state import Run
from pipeline.recipe.store import Entry
from pipeline.sessions.sets import SETS
from recording.errors import Unusable
from recording.names import STEPS


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
    for key, each in of_session.items():
        cells = each.summary.part.cells
        if cells and cells.decided and each.step >= 0:  # what was in the input stays as it is
            for name in parts.get(key, [key]):
                path = out / titles[name][0]
                copy = path.with_name(f".{path.name}.decided")
                shutil.copyfile(path, copy)
                edit_footer(copy, CellStatuses=status_numbers(cells.status[: cells.n_cells]))
                copy.replace(path)
                decided[name] = cells.decided
    return decided


def _inputs_as_decided(of_session: Mapping[str, Made], this: Run) -> dict[Stream, list[Path]]:
    """Copies of the cell sets that the recipe ran on, with the statuses that somebody gave their cells."""
    for each in of_session.values():
        cells = each.summary.part.cells
        if each.step < 0 and each.kind == "cell_set" and cells and cells.decided:
            folder = this.context.scratch / "decided"
            folder.mkdir()
            copies = [Path(shutil.copyfile(path, folder / path.name)) for path in this.inputs]
            for copy in copies:
                edit_footer(copy, CellStatuses=status_numbers(cells.status[: cells.n_cells]))
            return {Stream(-1, "cell_set"): copies}
    return {}


def of_parts(stream: Stream) -> str:
    """What stands for the files of all parts among those of the session; no file has such a name."""
    return f"/{stream.chain}/{stream.kind}/{stream.label}"


def with_accepted(
    this: Run, titles: Mapping[str, tuple[str, str]], names: Sequence[str], out: Path
) -> dict[Stream, Candidates]:
    """By cell set, what the step that found its cells did not take.

    Where somebody accepted some of it, the session's cell and event sets with them are written.
    """

    def entry_of(index: int) -> Entry | None:
        return this.store.entries.get(this.fingerprints[index])

    def tops(stream: Stream) -> list[Path]:
        return [out / titles[name][0] for name in this.names(stream)]

    def beside(stream: Stream) -> list[Path]:
        return candidates.beside(stream, this.planned, entry_of, this.files)

    def lineage(stream: Stream) -> Stream:
        return candidates.origin(stream, this.planned)

    found: dict[Stream, Candidates] = {}
    last = [stream for stream in latest(this.planned) if set(this.names(stream)) <= set(names)]
    for stream in [each for each in last if each.kind == "cell_set"]:
        cells, looked_at = this.files(stream), beside(stream)
        its = candidates.curated(looked_at, this.context.decisions, cells, this.context.warn)
        if its.candidates:
            found[stream] = its.candidates
        if not its.new:
            continue
        its.write(cells, tops(stream))
        for events in [each for each in last if each.kind == "event_set"]:
            made_by = this.planned[events.step]
            read = [each for each in made_by.read if each.kind == "cell_set"]
            if len(read) == 1 and lineage(read[0]) == lineage(stream):
                again = functools.partial(_again, this, events, read[0])
                scratch = this.context.scratch / f"events-{made_by.step.number}"
                scratch.mkdir()
                candidates.add_events(cells, its, this.files(events), tops(events), scratch, again)
                shutil.rmtree(scratch)
    return found


def _again(this: Run, events: Stream, cells: Stream, files: list[Path], folder: Path) -> list[Path]:
    """The events of other cell sets, found by the same step; paths, one a part."""
    _call_again(this, events.step, {cells: files}, folder)
    return [folder / name for name in this.names(events)]


def _call_again(this: Run, index: int, instead: Mapping[Stream, Sequence[Path]], folder: Path) -> None:
    """A step as it ran, with other files in place of some, into another folder. It has said before what it warns of."""
    each = this.planned[index]

    def files(stream: Stream) -> Sequence[Path]:
        return instead.get(stream) or this.files(stream)

    read = files_read(each, files)
    entry = this.store.entries[this.fingerprints[index]]
    context = step_context(this, each, folder, files, lambda text: None, lambda done: None)
    call_step(each, files_of(each, read, this.names, folder, {}), context, entry.estimated)


def results_again(
    of_session: Mapping[str, Made],
    titles: Mapping[str, tuple[str, str]],
    of_steps: Mapping[str, str],
    this: Run,
    out: Path,
) -> set[str]:
    """Results that depend on which cells are accepted are made again, from the session's own cells and events.

    Returns names at the top of those that the step cannot make of these cells: they are withdrawn, with a warning.
    """
    gone: set[str] = set()
    if not any(each.summary.part.cells and each.summary.part.cells.decided for each in of_session.values()):
        return gone
    tops = {
        stream: [out / titles[name][0] for name in this.names(stream)]
        for stream in latest(this.planned)
        if stream.kind in SETS and set(this.names(stream)) <= set(titles)
    }
    instead = {**tops, **_inputs_as_decided(of_session, this)}
    for index, each in enumerate(this.planned):
        made = [f"{name}-" for makes, stream in each.outputs if makes.result for name in this.names(stream)]
        results = {name: top for name, top in of_steps.items() if name.startswith(tuple(made))} if made else {}
        if not results or not instead.keys() & {*each.read}:
            continue
        print(f"{each.step.label}: again, on the cells as they were decided by eye", flush=True)  # noqa: T201
        scratch = this.context.scratch / f"again-{each.step.number}"
        scratch.mkdir()
        for top in results.values():
            (out / top).unlink()  # it may be a second name of what the step made
        try:
            _call_again(this, index, instead, scratch)
        except Unusable as error:
            this.context.warn(
                f"{each.step.label}: {error}; what it found before cells were decided by eye is in {STEPS}/"
            )
            gone |= {*results.values()}
        else:
            for name, top in results.items():
                tables.make_safe(scratch / name)
                shutil.copyfile(scratch / name, out / top)
        shutil.rmtree(scratch)
    return gone


def with_decisions(this: Run, titles: Mapping[str, tuple[str, str]], name: str) -> Path:
    """A product of a step, or the session's own cells and events, which were decided by eye."""
    decided = this.job.staging / titles[name][0] if name in titles and this.context.decisions else None
    is_of_cells = decided is not None and decided.name.endswith(("-cells.isxd", "-events.isxd"))
    return decided if decided and is_of_cells else this.store.staging / name
