"""One step of a recipe: called, its products checked and put into the store."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

from open_engine.context import StepContext
from pipeline.inspect import tables
from pipeline.recipe import companions, estimates
from pipeline.recipe.call import call_step, files_of
from pipeline.recipe.chain import PlannedStep, Stream
from pipeline.recipe.model import Step
from pipeline.recipe.state import Run, offset_us, software
from pipeline.recipe.steps import FILE
from pipeline.recipe.store import Entry
from recording.errors import BadRecording, Unusable
from recording.formats import check
from recording.kinds import KINDS
from recording.names import STEPS

UNFINISHED = ".unfinished"  # what a step writes lies here until it is whole


def run_step(this: Run, index: int, progress: Callable[[float], None], refused: str = "") -> None:
    """`refused`: why it cannot be carried out on the cells as people have decided; it is on those of the recipe."""
    planned = this.planned[index]
    step, engine = planned.step, planned.step.bound
    folder, scratch = this.store.staging / UNFINISHED, this.context.scratch / f"step-{step.number}"
    for new in (folder, scratch):
        shutil.rmtree(new, ignore_errors=True)  # of an attempt on other cells
        new.mkdir(parents=True)
    label = step.label
    files = this.files if refused else this.files_for(index)
    by_eye = ", on the cells as they were decided by eye" if this.reads_decided(index) and not refused else ""
    print(f"{label} begins{by_eye}", flush=True)  # noqa: T201 - standard output is the log
    began = time.monotonic()
    read = files_read(planned, files)
    warnings: list[str] = []

    def warn(text: str) -> None:
        for private in (this.store.staging, this.context.scratch):  # of this run alone
            text = text.replace(f"{private}/", "")
        warnings.append(text)
        this.context.warn(f"{label}: {text}")

    if refused:
        warn(f"{refused}; {STEPS}/ has what it makes of the cells as the recipe left them")
    context = step_context(this, planned, scratch, files, warn, progress)
    try:
        estimated = _estimated(this, planned, context.warn)
        call_step(planned, files_of(planned, read, this.names, folder, this.deferred), context, estimated)
        _replace_links(folder)
        _check_products(this, planned, folder)
        if engine.name != "python":  # what a lab's own function writes is its own affair
            for table in folder.glob("*.csv"):
                tables.make_safe(table)
    except BadRecording as error:
        raise Unusable(f"{label} left an unusable {error.path.name}: {error.reason}") from error
    except Unusable as error:
        raise type(error)(f"{label}: {error}") from error
    except MemoryError:
        raise
    except (Exception, SystemExit, KeyboardInterrupt) as error:
        raise Unusable(f"{label} failed: {_why(error, step)}") from error
    expected = {name for stream in planned.made for name in this.names(stream)}
    for path in sorted(path for path in folder.iterdir() if not path.is_file()):
        context.warn(f"{path.name}, which it made beside its products, is not a file and was not kept")
    entry = Entry(
        step.name,
        this.fingerprints[index],
        engine.name,
        step.function,
        step.parameters,
        {parameter: [file.name for file in files] for parameter, files in read.items()},
        {},
        extras=sorted(path.name for path in folder.iterdir() if path.is_file() and path.name not in expected),
        seconds=round(time.monotonic() - began, 3),
        software=software(step, this.context),
        references=list(engine.references(step.function)),
        estimated=estimated,
        warnings=warnings,
        refused=bool(refused),
    )
    this.store.add(entry, folder)
    shutil.rmtree(folder)
    shutil.rmtree(scratch)
    for name, value in estimated.items():
        print(f"{label}: {name} was estimated as {value}")  # noqa: T201
    print(f"{label} took {entry.seconds} s ({engine.title})", flush=True)  # noqa: T201


def files_read(planned: PlannedStep, files: Callable[[Stream], Sequence[Any]]) -> dict[str, list[Any]]:
    """Files that a step reads, by parameter. `files` returns those of a stream."""
    inputs = planned.inputs
    return {takes.parameter: [file for stream in streams for file in files(stream)] for takes, streams in inputs}


def step_context(
    this: Run,
    planned: PlannedStep,
    scratch: Path,
    files: Callable[[Stream], Sequence[Path]],
    warn: Callable[[str], None],
    progress: Callable[[float], None],
) -> StepContext:
    """What a step is given besides its files, which are those of `files`."""
    begins_us = companions.begins_us(this.job.session) if companions.has(planned) else {}
    if begins_us:
        for stream in planned.read:
            if stream.step >= 0:
                offsets = [offset_us(this, stream, name) for name in this.names(stream)]
            else:
                offsets = [begins_us.get(str(file), 0) for file in this.files(stream)]
            begins_us |= dict(zip(map(str, files(stream)), offsets))
    begins_s = {path: offset / 1e6 for path, offset in begins_us.items()}
    beside, session = this.inputs[0].parent, this.job.session.name
    return StepContext(scratch, this.context.threads, warn, progress, beside, begins_s, session)


def estimated_from_recording(this: Run, todo: Collection[int]) -> dict[int, dict[str, Any]]:
    """What steps that read the recording itself leave to it, by their index; the steps need not look again."""
    first = [index for index in todo if all(stream.step < 0 for stream in this.planned[index].read)]
    return {index: _estimated(this, this.planned[index], lambda text: None) for index in first}


def _estimated(this: Run, planned: PlannedStep, warn: Callable[[str], None]) -> dict[str, Any]:
    """The values of the step's parameters that the recipe leaves to the movie."""
    step, stream = planned.step, next(iter(planned.read), None)
    if stream is None or not estimates.wanted(step.parameters):
        return {}
    files = this.files(stream)
    factor = _down_sampled(this, stream)
    measured, factor = (files, 1.0) if factor is None else (this.inputs, factor)
    movie = estimates.Movie(files, measured, factor, warn, this.context.threads, this.diameters)
    return estimates.estimate(step.function, step.parameters, movie)


def _down_sampled(this: Run, stream: Stream) -> float | None:
    """Factor of down-sampling since the recording. None if the size of cells may have changed otherwise."""
    factor = 1.0
    while stream.step >= 0:
        made_by = this.planned[stream.step]
        if made_by.step.function not in estimates.KEEP_SIZE:
            return None
        entry = this.store.entries[this.fingerprints[stream.step]]
        factor *= {**entry.parameters, **entry.estimated}.get(estimates.DOWN_SAMPLING, 1)
        stream = made_by.read[0]
    return factor


def _replace_links(folder: Path) -> None:
    """Files take the place of links, whose targets may be gone when somebody looks at the results."""
    for link in [path for path in folder.iterdir() if path.is_symlink() and path.is_file()]:
        copy = link.with_name(f"{link.name}.copy")
        shutil.copyfile(link, copy)
        copy.replace(link)


def _check_products(this: Run, planned: PlannedStep, folder: Path) -> None:
    """A step that went wrong without saying so is found here, not by the next one."""
    for makes, stream in planned.outputs:
        if makes.kind == FILE and not makes.required:
            continue
        for name in this.names(stream):
            if name in this.deferred:
                continue
            if not (folder / name).is_file():
                raise Unusable(f"it ended without an error, but wrote no {name}")
            if makes.kind == FILE:
                continue
            kind = check(folder / name).kind
            if kind != makes.kind and not (makes.kind == "image" and kind == "movie"):
                raise Unusable(f"it should write {KINDS[makes.kind].a}, but {name} is {KINDS[kind].a}")


def _why(error: BaseException, step: Step) -> str:
    """The error's text; then, for whoever wrote the step, its kind and, for a step in Python, where in its own file."""
    text = str(error).strip()
    if text.startswith("Error calling C library function"):
        return text.splitlines()[-1]
    if isinstance(error, OSError) and error.strerror:
        text = f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    place = step.bound.source_line(step.function, error)
    kind = type(error).__name__ + (f" in {place}" if place else "")
    return f"{text} ({kind})" if text else kind
