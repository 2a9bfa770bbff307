"""From a planned step to the calls of its function: which files go into which parameter, by the step's contract."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from open_engine.context import StepContext
from pipeline.engines.protocol import Call
from pipeline.inspect import metadata
from pipeline.recipe.chain import PlannedStep
from pipeline.recipe.model import Step
from pipeline.recipe.steps import Makes, Takes


@dataclass(frozen=True)
class Files:
    """The files that a step reads, by parameter, and the names of its outputs."""

    read: Mapping[str, list[Any]]  # paths, or what stands for movies that are no files
    made: Sequence[tuple[Makes, list[str]]]
    folder: Path  # where it writes
    deferred: Mapping[str, Any]  # by name: what stands for movies that it need not write

    def target(self, name: str) -> Any:
        """What the step is given to write to."""
        return self.deferred.get(name) or str(self.folder / name)


def files_of(
    planned: PlannedStep,
    read: Mapping[str, list[Any]],
    names: Callable[..., list[str]],
    folder: Path,
    deferred: Mapping[str, Any],
) -> Files:
    """`names` gives the file names of a stream. Outputs that are split by a parameter alternate, part by part."""
    grouped: dict[int, tuple[Makes, list[list[str]]]] = {}
    for makes, stream in planned.outputs:
        grouped.setdefault(id(makes), (makes, []))[1].append(names(stream))
    made = [(makes, [name for part in zip(*names) for name in part]) for makes, names in grouped.values()]
    return Files(read, made, folder, deferred)


def call_step(planned: PlannedStep, files: Files, context: StepContext, estimated: Mapping[str, Any]) -> None:
    """Call the step's function, once for all parts or once for each, as its contract says.

    `estimated`: the values of the parameters that the recipe leaves to the movie.
    """
    step = planned.step
    first = next(iter(files.read.values()))
    n_calls = len(first) if step.contract.per_part else 1
    for part in range(n_calls):
        _call_once(planned, files, part, {**step.parameters, **estimated}, context)
        context.progress((part + 1) / n_calls)


def _call_once(
    planned: PlannedStep, files: Files, part: int, parameters: Mapping[str, Any], context: StepContext
) -> None:
    step, contract = planned.step, planned.step.contract
    inputs = {takes.parameter: _input(takes, files.read[takes.parameter], part) for takes, _ in planned.inputs}
    if contract.edits:
        inputs[contract.edits] = _copies(inputs[contract.edits], files, contract.edits, context.scratch)
    outputs: dict[str, Any] = {}
    folders: dict[str, Path] = {}
    returned = ""
    for makes, names in files.made:
        if makes.folder:
            folders[names[part]] = folder = context.scratch / f"folder-{len(folders)}"
            folder.mkdir(exist_ok=True)
            outputs[makes.parameter] = str(folder)
        elif makes.parameter is None:
            returned = names[part if contract.per_part else 0]
        elif makes.parameter != contract.edits:
            outputs[makes.parameter] = _output(makes, [files.target(name) for name in names], part, contract.per_part)
    answer = _carry_out(step, Call(inputs, outputs, {**parameters, **_fills(step, context)}, context))
    if returned:
        metadata.write(files.folder / returned, answer)
    for prefix, folder in folders.items():
        _collect(folder, files.folder, prefix)


def _carry_out(step: Step, call: Call) -> object:
    answer = step.bound.call(step.function, call)
    complaint = step.contract.complaint(answer)
    if complaint:
        call.context.warn(complaint)
    return answer


def _fills(step: Step, context: StepContext) -> dict[str, Any]:
    values = {"scratch": str(context.scratch), "threads": context.threads}
    return {parameter: values[what] for parameter, what in step.contract.fills.items()}


def _input(takes: Takes, files: list[Any], part: int) -> Any:
    given = [str(file) if isinstance(file, Path) else file for file in files]
    return given if takes.files == "list" else given[part if takes.files == "each" else 0]


def _output(makes: Makes, paths: list[Any], part: int, one_by_one: bool) -> Any:
    if one_by_one:
        return paths[part]
    return paths[0] if makes.once else paths


def _copies(originals: str | list[str], files: Files, parameter: str, scratch: Path) -> list[str]:
    """A function that changes its input in place gets copies: products, or files for the function alone."""
    names = next((names for makes, names in files.made if makes.parameter == parameter), None)
    copies = [files.folder / name for name in names] if names else [scratch / Path(path).name for path in originals]
    for original, copy in zip(originals, copies):
        shutil.copyfile(original, copy)
    return [str(copy) for copy in copies]


def _collect(folder: Path, target: Path, prefix: str) -> None:
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = "-".join(path.relative_to(folder).parts)
        shutil.move(str(path), target / f"{prefix}-{name}")
