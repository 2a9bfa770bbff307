"""Which recipe to run. What is in it is checked by a worker process: PID 1 knows neither TOML nor isx."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from common import APP
from common.ownership import rights_forbid
from native import loading
from protocol.job import INSPECT, Malformed, RecipeFacts
from runner.endings import NO_API, NO_OUTPUT, NoApi, Unwritable, UsageError

CHECK = (sys.executable, "-m", "pipeline.recipe", "--check")
CHECK_SECONDS = 300  # it imports isx, perhaps from a slow disk


class BadRecipe(UsageError):
    """The recipe cannot be used; the message has a line for each mistake."""

    what = "recipe"


@dataclass(frozen=True)
class RecipeChoice:
    """The recipe of a run, which can be used."""

    path: str = INSPECT
    sha256: str = ""
    works_on_series: bool = False
    kinds: tuple[str, ...] = ()  # that it takes; recordings of other kinds are inspected
    nwb: bool = False  # each session gets an NWB file
    follow: bool = True  # cells are followed over the sessions of an animal
    beside: tuple[str, ...] = ()  # names of files that it reads in the folder of the recordings

    @property
    def name(self) -> str:
        return Path(self.path).name

    @property
    def is_inspect(self) -> bool:
        return self.path == INSPECT

    def takes(self, kind: str) -> bool:
        return self.is_inspect or kind in self.kinds


def load(name: str, engine: str, copies: Path, tick: Callable[[], None]) -> RecipeChoice:
    """A shipped recipe by name, or a TOML file by path, copied as `protocol.copies` does.

    Raises BadRecipe, NoApi, Unwritable.
    """
    if name == INSPECT:
        return RecipeChoice()
    path = locate(name)
    facts = check(path, engine, tick, (*CHECK, "--copies", str(copies)))
    return RecipeChoice(
        str(path), facts.sha256, facts.group == "series", facts.kinds, facts.nwb, facts.follow, facts.beside
    )


def shipped() -> dict[str, Path]:
    """The recipes in the image, by name."""
    return {path.stem: path for path in sorted((APP / "recipes").glob("*.toml"))}


def locate(name: str) -> Path:
    """Raises BadRecipe that lists the shipped recipes."""
    path = shipped().get(name) or Path(name).absolute()
    if not path.is_file():
        names = ", ".join([INSPECT, *shipped()])
        raise BadRecipe(f"no recipe {name!r}: it is neither a file nor a shipped recipe ({names})")
    if forbidden := rights_forbid(path):
        raise BadRecipe(f"the recipe cannot be read: {forbidden}")
    return path


def check(
    path: Path, engine: str, tick: Callable[[], None] = lambda: None, command: Sequence[str] = CHECK
) -> RecipeFacts:
    """The checker's answer: JSON in its last line of standard output, or complaints on standard error.

    `engine` computes the steps of a recipe that names none.

    Raises BadRecipe, NoApi.
    """
    try:
        checker = loading.ask((*command, str(path), engine), CHECK_SECONDS, tick)
    except subprocess.TimeoutExpired:
        raise BadRecipe(f"the check of the recipe {path} did not finish within {CHECK_SECONDS} s") from None
    text = checker.stderr.strip()
    if checker.returncode == NO_OUTPUT:
        raise Unwritable(text)
    if checker.returncode == NO_API:
        raise NoApi(loading.diagnosis(loading.find_api(), text.removeprefix("isx cannot be loaded: ")))
    if checker.returncode:
        raise BadRecipe(text or f"the recipe {path} cannot be checked: {loading.ending(checker.returncode)}")
    try:
        return RecipeFacts.from_json(checker.stdout.strip().rpartition("\n")[2])
    except Malformed as error:
        raise BadRecipe(f"the check of the recipe {path} gave an unreadable answer ({error})") from None
