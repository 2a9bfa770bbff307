"""A recipe as it was read: its steps, each bound to the engine that carries it out, and all that is wrong with it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.engines.protocol import Engine
from pipeline.recipe.steps import Contract
from protocol.copies import ORIGINALS, Copies

INPUT = "input"  # `from = "input"` is the recording itself


@dataclass(frozen=True)
class Problem:
    """A mistake in a recipe."""

    line: int
    message: str


@dataclass
class Step:
    """One step, as the recipe has it and as the runner needs it."""

    number: int  # from 1
    line: int
    name: str
    function: str  # as its engine calls it
    contract: Contract
    engine: Engine | None = None  # None: no engine in this image offers it
    wanted: str = "auto"  # the engine that the recipe or the run asks for
    parameters: dict[str, Any] = field(default_factory=dict)  # as given; None for "none"
    defaults: dict[str, Any] = field(default_factory=dict)
    sources: tuple[str, ...] = ()  # `from`
    lines: dict[str, int] = field(default_factory=dict)
    plane: str = ""  # the focal plane that it works on, if the recording has several

    @property
    def label(self) -> str:
        """The step's name and number, for messages."""
        return f"step {self.number} ({self.name})"

    @property
    def values(self) -> dict[str, Any]:
        """Every parameter's value, given or not."""
        return {**self.defaults, **self.parameters}

    @property
    def bound(self) -> Engine:
        """The engine; a recipe that can be used has one for each step."""
        assert self.engine is not None
        return self.engine

    @property
    def files_beside(self) -> tuple[str, ...]:
        """Names of files that it reads in the folder of the recordings."""
        return tuple(filter(None, (self.values.get(name) for name in self.contract.beside)))

    def line_of(self, key: str) -> int:
        return self.lines.get(key, self.line)


@dataclass
class Recipe:
    """A recipe that was read, with all that is wrong with it."""

    path: Path
    group: str = "file"
    keep: str = "all"
    nwb: bool = False  # whether every run writes an NWB file
    follow: bool = True  # whether cells are followed over the sessions of an animal
    engine: str = "auto"
    steps: list[Step] = field(default_factory=list)
    kinds: tuple[str, ...] = ()  # of the recordings that it takes
    problems: list[Problem] = field(default_factory=list)
    text: str = ""
    copies: Copies = ORIGINALS  # of the recipe and the Python files, if they are to be read from such
    sha256: str = ""  # of the recipe and of every Python file that it names

    @property
    def licensed(self) -> list[str]:
        """The steps that no engine in this image offers."""
        return list(
            dict.fromkeys(step.function for step in self.steps if step.engine is None and step.wanted == "auto")
        )

    @property
    def messages(self) -> list[str]:
        """FILE:LINE: message, in order of lines."""
        in_order = sorted(self.problems, key=lambda problem: problem.line)
        return [f"{self.path}:{problem.line}: {problem.message}" for problem in in_order]
