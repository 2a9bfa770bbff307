"""Whether a session can be trusted, in words, and what to look at next: the first thing that its page says.

Only what has a threshold with a source counts against a session (marks of quality.py), and what a step or a recording
warned of. Everything else is for eyes: the page says where to look.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pipeline.pages.content import Part

MOST_NAMED = 5


@dataclass(frozen=True)
class Trust:
    """A sentence, and what to look at next."""

    sentence: str
    checks: Sequence[str]
    is_doubtful: bool


def trust(parts: Sequence[Part], warnings: Sequence[str], failure: str) -> Trust:
    """Judge from everything that the page shows whether the session can be trusted."""
    marked = [(part, measure) for part in parts for measure in part.measures if measure.mark]
    marks = [f"{measure.label} ({part.name}): {measure.mark}" for part, measure in marked]
    against = [*marks, *_of_motion(parts)]
    checks = [*against[:MOST_NAMED], *_of_warnings(warnings), *_of_cells(parts)]
    if failure:
        return Trust("No: its recipe failed. This page shows the recording as it was recorded.", checks, True)
    if not any(_has_results(part) for part in parts):
        return Trust("Nothing could be measured here.", checks, True)
    empty = [part.name for part in parts if part.kind == "cell_set" and not part.record.get("n_accepted", 1)]
    if empty:
        return Trust(f"Not yet: no cell of {', '.join(empty)} is accepted.", checks, True)
    if against:
        things = "one thing speaks" if len(against) == 1 else f"{len(against)} things speak"
        return Trust(f"Look first: {things} against it.", checks, True)
    if warnings:
        return Trust("No measurement speaks against it; read the warnings.", checks, False)
    return Trust("No measurement speaks against it.", checks, False)


def _has_results(part: Part) -> bool:
    return bool(part.measures or part.cells or part.figures or part.film)


def _of_warnings(warnings: Sequence[str]) -> Iterator[str]:
    if warnings:
        yield "Read the warning below." if len(warnings) == 1 else f"Read the {len(warnings)} warnings below."


def _of_motion(parts: Sequence[Part]) -> Iterator[str]:
    """A correction that leaves the mean image less sharp has made things worse."""
    for part in parts:
        values = {measure.name: measure.value for measure in part.measures}
        before, after = values.get("crispness_before_per_px"), values.get("crispness_after_per_px")
        if before and after and after < before:
            yield f"{part.name}: the mean image is less crisp after it ({after:.3g}) than before ({before:.3g})"


def _of_cells(parts: Sequence[Part]) -> Iterator[str]:
    """What eyes should decide."""
    for part in parts:
        if not part.cells:
            continue
        undecided = sum(status == "undecided" for status in part.cells.status)
        if undecided:
            yield f"Decide on {undecided} undecided cell{'s' if undecided > 1 else ''} (A accepts, R rejects)."
        n = part.cells.n_candidates
        if n:
            yield f"{n} candidate{'s were' if n > 1 else ' was'} dropped (blue on the map): is one of them a cell?"
        if part.cells.n_cells > 1:
            yield "“Doubtful first” shows the cells that are worth a look first."
