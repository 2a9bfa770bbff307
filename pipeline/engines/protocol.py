"""The protocol between a recipe and whoever carries its steps out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol


@dataclass(frozen=True)
class StepContext:
    """Everything that a step gets besides its files."""

    scratch: Path  # a folder for temporary files, emptied afterwards
    threads: int  # how many cores it may use
    warn: Callable[[str], None]  # takes a sentence for the report
    progress: Callable[[float], None]  # takes the fraction done, 0 to 1


@dataclass(frozen=True)
class Call:
    """One call of a step's function: the paths of its files, by parameter, and the values that the recipe gives."""

    inputs: Mapping[str, str | list[str]]
    outputs: Mapping[str, str | list[str]]
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

    def source_line(self, step: str, error: BaseException) -> str:
        """Where in a file of the user's own an error arose, or ""."""
