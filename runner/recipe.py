"""Which recipe to run. What is in it is checked by a worker process: PID 1 knows neither TOML nor isx."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recording import APP, process

INSPECT = "inspect"  # built in: results for every kind, nothing to choose
CHECK = (sys.executable, "-m", "pipeline.recipe", "--check")


NO_ISX = 69  # the checker's exit code where the recipe is not to blame


class BadRecipe(Exception):
    """The recipe cannot be used; the message says why."""


class NoIsx(Exception):
    """A recipe cannot be checked because isx cannot be imported."""


@dataclass(frozen=True)
class Recipe:
    """A recipe that can be used."""

    path: str  # or INSPECT
    sha256: str = ""
    works_on_series: bool = False
    kinds: tuple[str, ...] = ()  # that it takes; recordings of other kinds are inspected

    def takes(self, kind: str) -> bool:
        return self.path == INSPECT or kind in self.kinds


def load(name: str) -> Recipe:
    """A shipped recipe by name, or a TOML file by path. Raises BadRecipe, NoIsx."""
    if name == INSPECT:
        return Recipe(INSPECT)
    path = locate(name)
    facts = check(path)
    return Recipe(
        str(path),
        str(facts.get("sha256") or hashlib.sha256(path.read_bytes()).hexdigest()),  # of its Python steps as well
        facts.get("group") == "series",
        tuple(facts.get("kinds") or ()),
    )


def locate(name: str) -> Path:
    """Raises BadRecipe that lists the shipped recipes."""
    shipped = {path.stem: path for path in sorted((APP / "recipes").glob("*.toml"))}
    path = shipped.get(name) or Path(name).absolute()
    if not path.is_file():
        names = ", ".join([INSPECT, *shipped])
        raise BadRecipe(f"no recipe {name!r}: neither a file nor one of those shipped ({names})")
    if not os.access(path, os.R_OK):
        raise BadRecipe(f"the recipe {path} cannot be read by uid {os.getuid()}")
    return path


def check(path: Path, command: Sequence[str] = CHECK) -> dict[str, Any]:
    """What the checker says of a recipe: JSON on standard output, or why not on standard error.

    Raises BadRecipe, NoIsx.
    """
    result = subprocess.run(
        [*command, str(path)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        env=process.environment(os.environ),
        check=False,
    )
    if result.returncode == NO_ISX:
        raise NoIsx(result.stderr.strip())
    if result.returncode != 0:
        raise BadRecipe(result.stderr.strip() or f"the recipe {path} cannot be used")
    try:
        facts = json.loads(result.stdout.strip().splitlines()[-1])
        return facts if isinstance(facts, dict) else {}
    except (ValueError, IndexError):
        return {}
