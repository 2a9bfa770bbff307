"""Runs a recipe over one recording, or over the parts of a series.

Finished steps survive: their products lie in the staging folder, which the supervisor keeps until it has published
them, beside an index (`.steps.json`) that vouches for each. A step is done again only if what it depends on changed:
its function and parameters, its inputs, or the software. What the index does not vouch for is removed at the start.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from open_engine.files.movies import one_blas_thread
from pipeline.engines.protocol import Defers
from pipeline.inspect import consistency
from pipeline.inspect.context import Context
from pipeline.recipe import companions
from pipeline.recipe.chain import Stream, kept, plan, room
from pipeline.recipe.decided import later, sets_as_decided
from pipeline.recipe.interleaved import untangled
from pipeline.recipe.one_step import estimated_from_recording, run_step
from pipeline.recipe.read import complaints, read
from pipeline.recipe.results import results
from pipeline.recipe.state import Run, part_of_progress, software
from pipeline.recipe.steps import FILE
from pipeline.recipe.store import Entry, Store, stamp
from protocol.copies import Copies
from protocol.job import Job, Result
from recording.errors import TooLittleMemory, Unusable
from recording.formats import check
from recording.kinds import Shape

RULES = 3  # counted up when the runner comes to call a function, or to note what it did, in another way
LONGEST_NAME = 235  # bytes; file systems allow 255, and inspect results add to the names of products
SPARE = 1.05  # for the inspect results of the products


# ---- the run


def run(job: Job, context: Context) -> Result:
    """Do a job. Raises Unusable, BadRecording."""
    recipe = read(Path(job.recipe), job.options.engine, Copies(job.copies))
    why_not = complaints(recipe)
    if job.copies and recipe.sha256 != job.provenance["recipe_sha256"]:
        why_not.append(f"the recipe {recipe.path} changed during the run: run again")
    if why_not:
        raise Unusable("; ".join(why_not))
    if job.kind not in recipe.kinds:
        raise Unusable(f"the recipe {recipe.path.name} takes {' or '.join(recipe.kinds)} recordings, not {job.kind}")
    recipe = untangled(recipe, job.kind, job.inputs)
    planned, _ = plan(recipe.steps, job.kind)
    store = Store(job.staging, job.results, job.stem)
    remembering, warnings = context.remembering()
    keep = kept(planned, recipe.keep)
    this = Run(recipe, planned, keep, [*job.inputs], job.stem, store, remembering, warnings, job)
    _check_names(this)
    _check_number(this)
    for planned_step in planned:
        companions.check(planned_step, job, this.context)
    this.later = later(planned, job.kind)
    this.fingerprints = _fingerprints(this)
    store.tidy(set(this.fingerprints))
    todo = _unfinished(this)
    this.deferred = _deferred(this, todo, this.keep)
    _check_room(this, todo)
    _check_frames(this, job.kind)
    n_run = 0
    for index, fingerprint in enumerate(this.fingerprints):
        if index in todo:
            _run_step(this, index, part_of_progress(context.progress, n_run, len(todo) + 1))
            _drop_used(this, [other for other in todo if other > index])
            n_run += 1
        elif fingerprint in store.entries:  # finished earlier, perhaps under another name and number
            step, entry = planned[index].step, store.entries[fingerprint]
            entry.step = step.name
            for warning in entry.warnings:
                this.context.warn(f"{step.label}: {warning}")
    with one_blas_thread():
        return results(this, part_of_progress(context.progress, len(todo), len(todo) + 1))


def _run_step(this: Run, index: int, progress: Callable[[float], None]) -> None:
    """What people have decided on cells costs no session its results: a step that cannot be carried out on them, such
    as on none at all, is on those of the recipe. Raises Unusable."""
    if index in this.later and this.decided is None:
        this.decided = sets_as_decided(this)
    try:
        run_step(this, index, progress)
    except TooLittleMemory:
        raise
    except Unusable as error:
        if not this.reads_decided(index):
            raise
        run_step(this, index, progress, str(error).removeprefix(this.planned[index].step.label).lstrip(": "))


def _check_names(this: Run) -> None:
    """Refuse names that are too long before hours of work, not after. Raises Unusable."""
    names = [name for step in this.planned for stream in step.made for name in this.names(stream)]
    longest = max(names, key=lambda name: len(os.fsencode(name)))
    if len(os.fsencode(longest)) > LONGEST_NAME:
        raise Unusable(f"a product would be called {longest}, which is too long: shorten the recording's name")


def _check_number(this: Run) -> None:
    """A step that compares recordings would find one to be like itself. Raises Unusable."""
    for step in (planned_step.step for planned_step in this.planned):
        if len(this.inputs) < step.contract.at_least:
            raise Unusable(
                f"step {step.number} ({step.name}) compares at least {step.contract.at_least} "
                f"recordings, and there is only {this.inputs[0].name}: recordings that belong together lie in one "
                "folder, have names that differ only by a number, and are equal in size and rate"
            )


def _fingerprints(this: Run) -> list[str]:
    """One for each step: equal only if its products would be."""
    recording = [[path.name, *(stamp(path) or [])] for path in this.inputs]
    fingerprints: list[str] = []
    decided = this.context.decisions
    for index, planned_step in enumerate(this.planned):
        content = {
            "rules": RULES,
            "engine": planned_step.step.bound.name,
            "function": planned_step.step.function,
            "parameters": planned_step.step.parameters,
            "inputs": [
                [takes.parameter, stream.label, recording if stream.step < 0 else fingerprints[stream.step]]
                for takes, streams in planned_step.inputs
                for stream in streams
            ],
            "outputs": [name for stream in planned_step.made for name in this.names(stream)],
            "software": software(planned_step.step, this.context),
            **companions.facts(planned_step, this.job),
            **({"decided": decided.digest} if decided and index in this.later else {}),
        }
        fingerprints.append(hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest())
    return fingerprints


def _unfinished(this: Run) -> set[int]:
    """Indices of the steps to run: their products are missing, and are kept or needed by another one to run."""
    todo: set[int] = set()
    needed = set(this.keep)
    for index in reversed(range(len(this.planned))):
        wanted = [stream for stream in this.planned[index].made if stream in needed]
        is_wanted = bool(wanted) or not this.planned[index].made
        whole = _is_whole(this, this.store.entries.get(this.fingerprints[index]), wanted)
        if is_wanted and not whole:
            todo.add(index)
            needed |= set(this.planned[index].read)
    return todo


def _deferred(this: Run, todo: set[int], keep: set[Stream]) -> dict[str, Any]:
    """Movies that no file is made of: nobody keeps them, and their engine can compute them as later steps read them."""
    movies: dict[str, Any] = {}
    for index in todo:
        step = this.planned[index].step
        engine = step.bound
        for stream in this.planned[index].made:
            readers = [later.step for later in this.planned if stream in later.read]
            theirs = all(reader.bound is engine for reader in readers)
            if stream.kind == "movie" and stream not in keep and theirs and isinstance(engine, Defers):
                functions = [reader.function for reader in readers]
                movies |= {name: engine.defer(name, step.function, functions) for name in this.names(stream)}
    return {name: movie for name, movie in movies.items() if movie is not None}


def _is_whole(this: Run, entry: Entry | None, wanted: Sequence[Stream]) -> bool:
    """Whether the store has all of a finished step that is wanted. Files count only if the step wrote them."""
    if entry is None:
        return False
    names = [name for stream in wanted for name in this.names(stream) if stream.kind != FILE or name in entry.products]
    return all(this.store.find(entry, name) for name in [*names, *entry.extras])


def _check_frames(this: Run, kind: str) -> None:
    """What inspection would say of movies whose bytes are not those of their frames."""
    for path in this.inputs if kind == "movie" else ():
        recording = this.context.open(path, kind)
        consistency.frames(recording, lambda text, path=path: this.context.warn(f"{path.name}: {text}"))


def _check_room(this: Run, todo: set[int]) -> None:
    """Refuse a disk that is too small before the first step, not after hours. Raises Unusable."""
    infos = [check(path) for path in this.inputs]
    cells = max(len(info.names) for info in infos)
    shape = Shape(sum(info.n_samples for info in infos), infos[0].width * infos[0].height, *([cells] if cells else []))
    made = {stream for index in todo for stream in this.planned[index].made}

    def takes(keep: set[Stream], estimated: Mapping[int, Mapping[str, Any]]) -> int:
        deferred = _deferred(this, todo, keep).keys()
        files = {stream for stream in made if not deferred & this.names(stream)}
        return round(SPARE * room(this.planned, shape, files, keep, estimated))

    disk = os.statvfs(this.store.staging)
    free = disk.f_bavail * disk.f_frsize
    if takes(this.keep, {}) <= free:
        return
    estimated = estimated_from_recording(this, todo)  # which takes a while, so only where it decides
    needed = takes(this.keep, estimated)
    if needed <= free:
        return
    advice = "free some"
    if this.recipe.keep == "all":
        less = takes(kept(this.planned, "last"), estimated)
        advice += f', or write keep = "last" in the recipe, which takes {_gigabytes(less)}'
    raise Unusable(
        f"the products of the recipe take about {_gigabytes(needed)} and {_gigabytes(free)} are free on the output's "
        f"disk: {advice}"
    )


def _gigabytes(n_bytes: int) -> str:
    return f"{n_bytes / 1e9:.3g} GB"


def _drop_used(this: Run, later: Sequence[int]) -> None:
    still = {stream for index in later for stream in this.planned[index].read} | this.keep
    gone = [stream for step in this.planned for stream in step.made if stream not in still]
    this.store.drop([name for stream in gone for name in this.names(stream)])
