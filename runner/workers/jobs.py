"""From a unit to the task of its worker: a place to write, the job, limits."""

from __future__ import annotations

import contextlib
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from protocol.job import Job
from runner import machine
from runner.endings import writing
from runner.heartbeat import HANGS_AFTER
from runner.output_folder import Folder
from runner.recipe import RecipeChoice
from runner.settings import Settings
from runner.staging import kept_steps
from runner.state import Conditions, RunState, container_facts
from runner.work.unit import Unit
from runner.workers.supervise import Task

LIBRARIES = 4 << 30  # bytes of address space for libraries and threads' stacks, most of it never touched
INSPECT_SECONDS, INSPECT_RATE = 600, 10_000_000  # a slow disk gives more bytes a second than this
RECIPE_SECONDS = 24 * 3600


@dataclass
class Workplace:
    """Where the worker of a unit writes: folders that nobody else can write to, whatever happens to the output."""

    unit: Unit
    log: int  # file descriptor
    name: str  # of its folder in the staging folder
    folder: Path
    kept: Folder | None = None  # finished steps of a run that was cut short
    earlier: Folder | None = None  # results of an earlier run
    edited: Folder | None = None  # the same, for the sake of files in it that somebody edited

    @property
    def staging(self) -> Path:
        return self.kept.anywhere if self.kept else self.folder / "results"

    @property
    def scratch(self) -> Path:
        return self.folder / "scratch"

    def as_seen(self, text: str) -> str:
        """A sentence of a worker with the names of files alone: its own paths say nothing to others."""
        for folder in (self.staging, self.scratch):
            text = text.replace(f"{folder}/", "")
        return text

    def close(self) -> None:
        os.close(self.log)
        for folder in filter(None, (self.kept, self.earlier, self.edited)):
            folder.close()


def task_of(unit: Unit, name: str, conditions: Conditions, staging: Folder, state: RunState) -> Task:
    """Its owner is the Workplace. Raises Unwritable; OSError if a link stands where its results or its log belong."""
    settings, used = state.settings, unit.recipe
    place = _workplace(unit, name, staging, state)
    job = Job(
        inputs=tuple((settings.input_dir / recording.relative).absolute() for recording in unit.parts),
        kind=unit.kind,
        stem=unit.results.rpartition("/")[2],
        staging=place.staging,
        scratch=place.scratch,
        results=place.earlier.anywhere if place.earlier else None,
        recipe=used.path,
        copies=None if used.is_inspect else staging.anywhere / "copies",
        options=conditions.options,
        edited=tuple(place.edited.anywhere / name for name in unit.edited) if place.edited else (),
        failure=unit.failure,
        session=unit.session,
        provenance={
            "fingerprint": unit.fingerprint,
            "inputs": [recording.relative for recording in unit.recordings],
            "recipe": used.name,
            "recipe_sha256": used.sha256,
            "options": asdict(conditions.options),
            "software": dict(conditions.software),
            "container": container_facts(),
        },
    )
    return Task(
        name=unit.name,
        job=job,
        log=place.log,
        address_space=address_space(settings, unit.size),
        time_limit=_time_limit(settings, unit.size, used),
        idle_limit=idle_limit(settings),
        weight=0 if unit.failure or unit.is_retried else unit.size,
        may_fork=may_fork(used),
        is_alone=unit.is_retried,
        owner=place,
    )


def _workplace(unit: Unit, name: str, staging: Folder, state: RunState) -> Workplace:
    output = state.output
    log = output.create(unit.recordings[0].log) if unit.log is None else unit.log
    place = Workplace(unit, log, name, staging.anywhere / name)
    try:
        with writing(output.path):
            for new in (place.staging, place.scratch):
                new.mkdir(parents=True)
        if not unit.recipe.is_inspect and not state.settings.force:
            place.kept = kept_steps(output, unit.results, staging)
            with contextlib.suppress(FileNotFoundError):
                place.earlier = output.folder(unit.results)
        if unit.edited:
            place.edited = output.folder(unit.results)
    except OSError:
        place.close()
        raise
    return place


def may_fork(used: RecipeChoice) -> bool:
    """Steps of recipes may want BLAS's threads, and take long enough not to mind the imports."""
    return used.is_inspect


def address_space(settings: Settings, size: int = 0) -> int | None:
    """Limit of address space, in bytes. Two libraries may map the inputs into memory, so their size comes on top."""
    asked = settings.worker_memory
    if asked == 0:
        return None
    return (machine.memory_limit() + LIBRARIES if asked is None else asked) + 2 * size


def idle_limit(settings: Settings) -> float | None:
    """Limit of idle time, in seconds."""
    return HANGS_AFTER if settings.worker_idle is None else settings.worker_idle or None


def _time_limit(settings: Settings, size: int, used: RecipeChoice) -> float | None:
    asked = settings.worker_timeout
    if asked is not None:
        return asked or None
    return INSPECT_SECONDS + size / INSPECT_RATE if used.is_inspect else RECIPE_SECONDS
