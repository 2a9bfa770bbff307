"""The state that all parts of a run share, and the conditions that decide its results."""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from common import APP, NAME, version
from native import elf, loading
from protocol.job import Options
from runner import recipe, records
from runner.events import Log
from runner.heartbeat import Heart
from runner.output_folder import Folder
from runner.recordings import Recording
from runner.settings import Settings
from runner.signals import Signals

SOURCE_SUFFIXES = (".py", ".html", ".css", ".js", ".bib")
WORKERS_CODE = ("common", "recording", "protocol", "study", "following", "open_engine", "pipeline")


@dataclass(frozen=True)
class RunState:
    """Settings, output, log and signs of life of a run."""

    settings: Settings
    output: Folder
    sentinel_folder: Folder
    log: Log
    heart: Heart
    signals: Signals
    api: loading.Api

    def tick(self) -> None:
        """Show a sign of life; every loop calls this. Raises Stopped."""
        self.heart.tick()
        self.signals.check()


@dataclass(frozen=True)
class Conditions:
    """Everything beside the input that decides the results."""

    recipe: recipe.RecipeChoice
    options: Options
    software: Mapping[str, str]
    code: str  # digest of the pipeline

    @property
    def nwb(self) -> bool:
        """Whether each session gets an NWB file."""
        return self.options.nwb or self.options.nwb_movie or self.recipe.nwb

    def fingerprint(
        self, recordings: Sequence[Recording], used: recipe.RecipeChoice, session: Sequence[object] = ()
    ) -> str:
        """Digest of all that decides the results: recordings, recipe, the rest of their session, options, software."""
        others = self._others(used)
        return records.fingerprint(recordings, {**others, "session": session} if session else others)

    @property
    def digest(self) -> str:
        """Digest that is equal for runs that would make the same results from the same recordings."""
        return records.digest(self._others(self.recipe))

    def _others(self, used: recipe.RecipeChoice) -> dict[str, object]:
        content = used.sha256 or used.path
        return {"recipe": content, "options": asdict(self.options), "software": self.software, "code": self.code}


def conditions(state: RunState, copies: Path) -> Conditions:
    """Raises BadRecipe, NoApi, Unwritable."""
    chosen = recipe.load(state.settings.recipe, state.settings.options.engine, copies, state.tick)
    return Conditions(chosen, state.settings.options, software(state.api), code_digest(APP))


def software(api: loading.Api) -> dict[str, str]:
    """Versions of everything that has a part in the results."""
    versions = {
        NAME: version(),
        "isx": f"{api.version} ({api.source})",
        "Python": platform.python_version(),
        "glibc": elf.system_glibc(),
        **{name: number for name, number in loading.dependencies().items() if name != "isx"},
    }
    return {**versions, "isx sha256": api.sha256} if api.sha256 else versions


def code_digest(folder: Path) -> str:
    """Digest of every source file that workers run, so that a change of code counts as a change of software."""
    digest = hashlib.sha256()
    for part in WORKERS_CODE:
        for parent, folders, files in os.walk(folder / part):  # Path.rglob takes several times as long
            folders.sort()
            for name in sorted(name for name in files if name.endswith(SOURCE_SUFFIXES)):
                path = Path(parent, name)
                digest.update(f"{path.relative_to(folder)}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()


def container_facts() -> dict[str, str]:
    """Which image this is, if its environment says so."""
    get = os.environ.get
    sif = get("APPTAINER_CONTAINER") or get("SINGULARITY_CONTAINER")
    facts = {
        "Type": "apptainer" if sif else "docker",
        "Tag": get("CONTAINER_TAG") or (Path(sif).name if sif else ""),
        "URI": get("CONTAINER_DIGEST") or "",
    }
    return {key: value for key, value in facts.items() if value} if facts["Tag"] or facts["URI"] else {}
