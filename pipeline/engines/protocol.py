"""The protocol between a recipe and the engines that compute its steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from open_engine.context import StepContext


@dataclass(frozen=True)
class Call:
    """One call of a step's function: the paths of its files, by parameter, and the values that the recipe gives."""

    inputs: Mapping[str, Any]  # a path or a list of them; what `defer` returned may stand in a path's place
    outputs: Mapping[str, Any]
    parameters: Mapping[str, Any]
    context: StepContext


class Engine(Protocol):
    """Carries steps out. To add one: a module in this folder, and its instance in `pipeline.engines.ENGINES`."""

    name: str  # in recipes, fingerprints, logs and results
    title: str  # for people: what may not be mistaken for something else

    def offers(self, step: str) -> bool:
        """Whether it can carry this step out in this image."""

    def objection(self, step: str, parameter: str, value: object) -> str:
        """Why it cannot honour a parameter that the step's contract allows, or ""."""

    def call(self, step: str, call: Call) -> object:
        """Carry the step out; returns what the function returns. Raises Unusable with a reason for the user."""

    def versions(self, step: str, software: Mapping[str, str]) -> dict[str, Any]:
        """The software that the step's products depend on; `software` is all that the run knows of."""

    def references(self, step: str) -> Sequence[str]:
        """What the step's computation was published as: keys of pipeline/pages/references.bib."""

    def source_line(self, step: str, error: BaseException) -> str:
        """Where in a file of the user's own an error arose, or ""."""


@runtime_checkable
class Defers(Protocol):
    """An engine that can compute a movie whenever a later step reads it, so that no file is written."""

    def defer(self, name: str, step: str, readers: Sequence[str]) -> Any:
        """What stands for a movie of this name, in place of its path, if `step` makes it and only `readers` read it.

        It has the attribute `name`. None if the movie has to be a file.
        """
