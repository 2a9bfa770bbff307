"""What the step that found a session's cells looked at and did not take: for the page, and to be accepted by eye."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from common.csv_cells import cell as safe_cell
from open_engine.files.cellsets import SCALES, CellSet, read_cell_set, reasons_of, scales_of, with_reasons, write_like
from open_engine.merging import joined_trace
from pipeline.inspect.decisions import Decisions, Present, cell_set_id, digest_of
from pipeline.inspect.footprints import core
from recording.errors import Unusable

STATUS = "candidate"  # on the page, until somebody decides


@dataclass(frozen=True)
class Candidates:
    """Those of one cell set, and which of them its file has since they were accepted by eye."""

    cells: CellSet  # over all parts of the session
    taken: frozenset[str] = frozenset()

    @cached_property
    def cell_set_id(self) -> str:
        return cell_set_id(self.cells)

    @property
    def reasons(self) -> list[str]:
        return reasons_of(self.cells.footer)

    @property
    def left(self) -> list[int]:
        """Indices of those that are no cells."""
        return [i for i, name in enumerate(self.cells.names) if name not in self.taken]

    def present(self) -> list[Present]:
        """What decisions may be about."""
        pairs = zip(self.cells.names, self.cells.images)
        return [Present(name, self.cell_set_id, digest_of(name, image), STATUS, core(image)) for name, image in pairs]

    def accepted(self, decisions: Decisions | None) -> list[int]:
        """Indices of those that somebody accepted."""
        decided = decisions.only().on(self.present()) if decisions else {}
        return [i for i, name in enumerate(self.cells.names) if name in decided and decided[name].status == "accepted"]

    def pieces(self) -> list[np.ndarray]:
        """Traces of each part of the session, (candidates, samples)."""
        return [self.cells.traces[:, part.start : part.stop] for part in self.cells.parts]


def read(files: Sequence[Path]) -> Candidates:
    """A file for each part. Raises Unusable."""
    return Candidates(read_cell_set(files))


def present_in(cells: CellSet) -> list[Present]:
    """What decisions may be about, of a cell set as the recipe made it."""
    identity = cell_set_id(cells)
    as_made = zip(cells.names, cells.statuses, cells.images)
    return [Present(name, identity, digest_of(name, image), status, core(image)) for name, status, image in as_made]


def joins(cells: CellSet, candidates: Candidates | None, decisions: Decisions | None) -> dict[str, list[str]]:
    """For each cell by name, the cells that somebody joined with it.

    Whom a cell was joined with may have been joined with another one in its turn.
    """
    if not decisions or not any(row.joined_with for row in decisions.rows):
        return {}
    present = [*present_in(cells), *(candidates.present() if candidates else ())]
    decided = decisions.only().on(present)
    known = {safe: cell.name for cell in present for safe in (cell.name, safe_cell(cell.name))}
    into = {name: known[row.joined_with] for name, row in decided.items() if row.joined_with in known}
    by_kept: dict[str, list[str]] = {}
    for name in into:
        kept, seen = name, {name}
        while kept in into and into[kept] not in seen:
            kept = into[kept]
            seen.add(kept)
        if kept != name and kept not in into:
            by_kept.setdefault(kept, []).append(name)
    return by_kept


def add(
    files: Sequence[Path],
    candidates: Candidates | None,
    chosen: Sequence[int],
    joined: Mapping[str, Sequence[str]],
    out: Sequence[Path],
) -> None:
    """Write the cells of `files`, one a part, with those candidates that were chosen, accepted, and joined traces.

    Cells that were joined with another one stay in the set; who reads statuses leaves them out, as they are rejected.
    Raises Unusable if the candidates are of another series, or nothing is known of the traces that are to be joined.
    """
    cells = read_cell_set(files)
    new = candidates.cells.chosen(chosen) if candidates else cells.chosen([])
    names, images = [*cells.names, *new.names], [*cells.images, *new.images]
    traces = np.concatenate([cells.traces, new.traces])
    scales = _scales(cells, candidates, chosen)
    for kept, others in joined.items():
        which = [names.index(name) for name in (kept, *others) if name in names]
        if names.count(kept) != 1 or len(which) < 2:
            continue
        if not scales:
            raise Unusable("its cells cannot be joined: no step has noted the scale of their traces, as run_cnmfe does")
        traces[which[0]] = joined_trace(*([values[i] for i in which] for values in (images, traces, scales)))
    write_like(
        out,
        cells,
        images=images,
        traces=traces,
        names=names,
        statuses=[*cells.statuses, *["accepted"] * new.n_cells],
        **with_reasons([*reasons_of(cells.footer), *[""] * new.n_cells]),
        **({SCALES: scales} if scales else {}),
    )


def _scales(cells: CellSet, candidates: Candidates | None, chosen: Sequence[int]) -> list[float] | None:
    """Scales of the traces: first the cells', then the chosen candidates'. None if any of them is unknown."""
    own = scales_of(cells.footer)
    theirs = scales_of(candidates.cells.footer) if candidates and chosen else []
    return None if own is None or theirs is None else [*own, *(theirs[i] for i in chosen)]
