"""A recipe at work on one recording or series: its steps, files and finished products."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from pipeline.engines.open import code_digest
from pipeline.inspect.context import Context
from pipeline.recipe import companions, estimates
from pipeline.recipe.chain import COMPANIONS, PULSES, PlannedStep, Stream
from pipeline.recipe.model import Recipe, Step
from pipeline.recipe.store import Entry, Store
from protocol.job import Job
from recording.formats import check
from recording.names import short


@dataclass
class Run:
    """One recipe on one recording or series."""

    recipe: Recipe
    planned: list[PlannedStep]
    keep: set[Stream]
    inputs: list[Path]
    stem: str
    store: Store
    context: Context
    warnings: list[str]  # all that the context was given
    job: Job
    fingerprints: list[str] = field(default_factory=list)
    later: frozenset[int] = frozenset()  # indices of the steps that run on cells as people have decided (decided.py)
    decided: dict[Stream, list[Path]] | None = None  # what these read instead, once it is made
    deferred: dict[str, Any] = field(default_factory=dict)  # by name: what stands for movies that are no files
    diameters: dict[tuple[str, ...], Any] = field(default_factory=dict)  # of cells, by the files that show them

    def names(self, stream: Stream) -> list[str]:
        return stream.names(self.stem, [short(path.stem) for path in self.inputs])

    def files(self, stream: Stream) -> list[Any]:
        """The paths of a product, or what stands for them; its step must be finished."""
        if stream.step == COMPANIONS and stream.label != PULSES:
            return [one.path for one in companions.of_kind(stream.kind, self.job.session, self.inputs)]
        if stream.step == COMPANIONS:
            return companions.tables_of_pulses(stream.kind, self.job.session, self.inputs, self.context)
        if stream.step < 0:
            return self.inputs
        entry, staging = self.store.entries[self.fingerprints[stream.step]], self.store.staging
        return [
            self.deferred.get(name) or self.store.find(entry, name) or staging / name for name in self.names(stream)
        ]

    def files_for(self, index: int) -> Callable[[Stream], list[Any]]:
        """The files of a stream as the step of this index reads them."""
        decided = self.decided or {}
        return lambda stream: decided[stream] if index in self.later and stream in decided else self.files(stream)

    def reads_decided(self, index: int) -> bool:
        return index in self.later and any(stream in (self.decided or {}) for stream in self.planned[index].read)

    def entries_done(self) -> list[Entry]:
        """Entries of the steps done, in order. With `keep = "last"` some may not have been needed."""
        entries = map(self.store.entries.get, self.fingerprints)
        return [entry for entry in entries if entry is not None]


def software(step: Step, context: Context) -> dict[str, Any]:
    """The versions that a step's products depend on, besides its inputs."""
    software = step.bound.versions(step.function, context.provenance.get("software", {}))
    return {**software, "estimates": code_digest()} if estimates.wanted(step.parameters) else software


def part_of_progress(progress: Callable[[float], None], number: int, total: int) -> Callable[[float], None]:
    return lambda fraction: progress((number + min(max(fraction, 0.0), 1.0)) / total)


def offset_us(this: Run, stream: Stream, name: str) -> int:
    """The start of a product, from the session's: as much later than its part's as it states."""
    names = this.names(stream)
    path = this.inputs[names.index(name) if len(names) == len(this.inputs) else 0]
    begins_us = this.job.session.member(path).offset_us if this.job.session.members else 0
    if stream.step < 0:
        return begins_us
    part, product = check(path), check(this.store.staging / name)
    if part.start and product.start and product.kind != "image":
        later = (product.start - part.start) // timedelta(microseconds=1)
        begins_us += later if 0 <= later < 1e6 * part.n_samples * part.period_s else 0
    return begins_us
