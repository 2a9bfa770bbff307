"""What is at the top of a session's results: the last product of each kind, and results that steps wrote."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.recipe.chain import Stream, latest
from pipeline.recipe.state import Run
from pipeline.recipe.steps import FILE
from recording.kinds import KINDS
from recording.names import short


def titles(this: Run) -> dict[str, tuple[str, str]]:
    """For the last product of each kind, by file name: its name at the top, and the prefix of its results' names.

    Cells, events and the movie have no results of equal names; other kinds add theirs.
    """
    by_file = {}
    last = latest(this.planned)
    for stream in last:
        several = sum(other.kind == stream.kind for other in last) > 1
        plane = this.planned[stream.step].step.plane
        label = f"-{plane or stream.label or stream.chain.lstrip('-')}" if several else ""
        stems = [this.stem] if stream.once or len(this.inputs) == 1 else [short(path.stem) for path in this.inputs]
        for name, stem in zip(this.names(stream), stems):
            title = f"{stem}{label}" + ("" if KINDS[stream.kind].is_plain else f"-{KINDS[stream.kind].called}")
            by_file[name] = f"{stem}{label}-{KINDS[stream.kind].called}{stream.extension}", title
    return by_file


def results_of_steps(this: Run, names: Sequence[str]) -> dict[str, str]:
    """Names at the top of the files that are results of the session. No two steps may have one name."""
    tops: dict[str, str] = {}
    for planned_step in this.planned:
        for makes, stream in planned_step.outputs:
            if not makes.result:
                continue
            (begin,) = this.names(stream)
            top = "-".join(filter(None, (this.stem, planned_step.step.plane, makes.suffix)))
            its = {name: f"{top}-{name.removeprefix(begin + '-')}" for name in names if name.startswith(f"{begin}-")}
            its = {name: shown for name, shown in its.items() if name in _products_of(this, stream)}
            clash = set(its.values()) & set(tops.values())
            tops |= {
                name: shown.replace(top, f"{top}-{planned_step.step.number}", 1) if clash else shown
                for name, shown in its.items()
            }
    return tops


def _products_of(this: Run, stream: Stream) -> dict[str, Any]:
    """What it made of the cells as people have decided; none if it could not."""
    entry = this.store.entries.get(this.fingerprints[stream.step])
    return entry.products if entry and not entry.refused else {}


def second_name(file: Path, name: Path, kind: str = FILE) -> None:
    """People edit cell sets, in place: those get a copy, so that what the step made stays as it was."""
    if kind == "cell_set":
        shutil.copyfile(file, name)
        return
    try:
        os.link(file, name)
    except OSError:  # a disk without hard links
        shutil.copyfile(file, name)
