"""What the step that found a session's cells looked at and did not take: for the page, and to be accepted by eye."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from open_engine.files.cellsets import CellSet, read_cell_set, reasons_of, with_reasons, write_like
from pipeline.inspect.decisions import CellSetId, Decisions, Present, digest_of
from pipeline.inspect.footprints import core

STATUS = "candidate"  # on the page, until somebody decides


@dataclass(frozen=True)
class Candidates:
    """Those of one cell set, and which of them its file has since they were accepted by eye."""

    cells: CellSet  # over all parts of the session
    taken: frozenset[str] = frozenset()

    @cached_property
    def cell_set_id(self) -> str:
        identity = CellSetId()
        for name, image in zip(self.cells.names, self.cells.images):
            identity.add(name, image)
        return str(identity)

    @property
    def reasons(self) -> list[str]:
        return reasons_of(self.cells.footer)

    @property
    def left(self) -> list[int]:
        """Indices of those that are no cells."""
        return [i for i, name in enumerate(self.cells.names) if name not in self.taken]

    def present(self) -> list[Present]:
        """What decisions may be about."""
        found = zip(self.cells.names, self.cells.images)
        return [Present(name, self.cell_set_id, digest_of(name, image), STATUS, core(image)) for name, image in found]

    def accepted(self, decisions: Decisions | None) -> list[int]:
        """Indices of those that somebody accepted."""
        found = replace(decisions, present={}, held={}).on(self.present()) if decisions else {}
        return [i for i, name in enumerate(self.cells.names) if name in found and found[name].status == "accepted"]

    def pieces(self) -> list[np.ndarray]:
        """Traces of each part of the session, (candidates, samples)."""
        return [self.cells.traces[:, part.start : part.stop] for part in self.cells.parts]


def read(files: Sequence[Path]) -> Candidates:
    """A file for each part. Raises Unusable."""
    return Candidates(read_cell_set(files))


def add(files: Sequence[Path], candidates: Candidates, chosen: Sequence[int], out: Sequence[Path]) -> Candidates:
    """Write the cells of `files`, one a part, and those that were chosen, accepted; returns what is left.

    Raises Unusable if they are of another series.
    """
    cells, new = read_cell_set(files), candidates.cells.chosen(chosen)
    write_like(
        out,
        cells,
        images=[*cells.images, *new.images],
        traces=np.concatenate([cells.traces, new.traces]),
        names=[*cells.names, *new.names],
        statuses=[*cells.statuses, *["accepted"] * new.n_cells],
        **with_reasons([*reasons_of(cells.footer), *[""] * new.n_cells]),
    )
    return replace(candidates, taken=frozenset(new.names))
