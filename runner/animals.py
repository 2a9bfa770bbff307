"""The stage after the recordings: each animal's cells, followed over its sessions by a worker of its own.

All that it knows of sessions is `WithCells`. Whoever decides what a session is makes those; the rest stays.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from common import APP
from native import loading
from protocol.job import ANIMAL, INSPECT, Job, Options
from recording.names import is_product, join, short
from runner import machine, precheck, results, sessions
from runner.discover import Recording
from runner.endings import writing
from runner.events import counted, duration
from runner.heartbeat import HANGS_AFTER
from runner.inside import Folder
from runner.own import ANIMALS
from runner.results import Record
from runner.state import RunState, code_digest, container_facts, software
from runner.supervise import Supervisor, Task, Verdict

ASK = (sys.executable, "-m", "pipeline.animals")
ASK_SECONDS = 120
SECONDS, SECONDS_A_SESSION = 600, 60
CELLS = "-cells.csv"  # what a product's table of cells ends in


@dataclass(frozen=True)
class WithCells:
    """A session that has cells."""

    results: str  # folder, relative to the output
    source: Path  # the cell set that was in the input, or `<stem>.json` of what a recipe made
    start: str  # as ISO 8601, or ""
    stated: str  # the animal, as the recordings say; "" if they do not
    metadata: tuple[Path, ...]  # files such as nwb.toml; later ones override earlier ones
    fingerprint: str  # equal as long as its results are


@dataclass(frozen=True)
class Followed:
    """What became of one animal."""

    animal: str
    sessions: tuple[str, ...]
    status: str  # "done" or "failed"
    reason: str = ""
    summary: str = ""
    results: str = ""
    products: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass
class _Stage:
    state: RunState
    staging: Folder
    software: dict[str, str]
    code: str
    found: list[Followed] = field(default_factory=list)


def stage(
    recordings: Sequence[Recording], records: Iterable[Record], state: RunState, staging: Folder
) -> list[Followed]:
    """What became of each animal that has two sessions with cells or more. Raises Stopped."""
    found = with_cells(recordings, records, state)
    return follow_all(found, state, staging, software(state.api), code_digest(APP))


def with_cells(recordings: Sequence[Recording], records: Iterable[Record], state: RunState) -> list[WithCells]:
    """From the records of recordings and series that are done; one for each folder of results."""
    by_path = {recording.relative: recording for recording in recordings}
    known = sessions.MetadataFiles(state.settings.input_dir)
    found: dict[str, WithCells] = {}
    for record in records:
        first = by_path.get(record.inputs[0])
        if record.status != "done" or not first or not any(name.endswith(CELLS) for name in record.products):
            continue
        stem = record.results.rpartition("/")[2]
        source = None if _made_cells(record) else _cell_set(record, state.settings.input_dir)
        content = results.digest([record.fingerprint, sorted(record.products.items())])
        found[record.results] = WithCells(
            record.results,
            (source or state.output.anywhere / record.results / f"{stem}.json").absolute(),
            record.start,
            record.animal,
            tuple(known.of(first.folder, [stem, first.stem])),
            content,
        )
    return sorted(found.values(), key=lambda each: (each.start, each.results))


def _cell_set(record: Record, folder: Path) -> Path | None:
    """The cell set of the input whose tables the session shows: that of the most steps, as its name tells."""
    sets = [path for path, info in record.infos.items() if isinstance(info, dict) and info.get("kind") == "cell_set"]
    return folder / max(sets, key=lambda path: (len(path), path)) if sets else None


def _made_cells(record: Record) -> bool:
    return any(name.endswith(f"{CELLS.removesuffix('.csv')}.isxd") for name in record.products)


def follow_all(
    found: Sequence[WithCells], state: RunState, staging: Folder, versions: dict[str, str], code: str
) -> list[Followed]:
    """Follow every animal that has two sessions or more. Raises Stopped."""
    if len(found) < 2:
        return []
    stage = _Stage(state, staging, versions, code)
    tasks = []
    for animal, these in sorted(_by_animal(found, state).items()):
        if len(these) < 2:
            continue
        task = _task_or_earlier(animal, these, stage)
        if task:
            tasks.append(task)
    if tasks:
        _carry_out(tasks, stage)
    return sorted(stage.found, key=lambda each: each.animal)


# ---- whose sessions


def _by_animal(those: Sequence[WithCells], state: RunState) -> dict[str, list[WithCells]]:
    files = sorted({path for each in those for path in each.metadata})
    subjects = _subjects(files, state)
    found: dict[str, list[WithCells]] = {}
    nameless = []
    for each in those:
        named = [subjects.get(str(path), "") for path in each.metadata]
        animal = next((name for name in reversed(named) if name), each.stated)
        if animal:
            found.setdefault(_folder_name(animal), []).append(each)
        else:
            nameless.append(each.results)
    if nameless:
        state.log(
            "no-animal",
            f"{counted(len(nameless), 'session')} with cells of an animal that nothing names: to follow cells over "
            'sessions, put an nwb.toml with [Subject] and subject_id = "..." into the folder of each animal',
            sessions=nameless[:20],
        )
    return found


def _subjects(files: Sequence[Path], state: RunState) -> dict[str, str]:
    """By path; PID 1 does not know TOML."""
    if not files:
        return {}
    try:
        answer = loading.ask((*ASK, *map(str, files)), ASK_SECONDS, state.tick, precheck.memory())
        found = json.loads(answer.stdout.strip().rpartition("\n")[2]) if answer.returncode == 0 else None
    except (subprocess.TimeoutExpired, ValueError):
        found = None
    if not isinstance(found, dict):
        state.log("no-animal", "metadata cannot be read: animals are as the recordings name them", "warning")
        return {}
    return {path: name for path, name in found.items() if isinstance(name, str)}


def _folder_name(animal: str) -> str:
    """A name that any file system takes; two animals never share one."""
    plain = re.sub(r"[^\w.-]+", "_", animal).strip("._")
    if plain != animal:
        plain = f"{plain}-{hashlib.sha256(animal.encode()).hexdigest()[:6]}"
    return short(plain)


# ---- the work


def _task_or_earlier(animal: str, those: Sequence[WithCells], stage: _Stage) -> Task | None:
    """None if an earlier run has done it, or if it cannot be written: that is on record then."""
    state, output = stage.state, stage.state.output
    place = Recording(f"{ANIMALS}/{animal}", name=animal, place=ANIMALS)
    names = tuple(each.results for each in those)
    content = [[each.results, each.start, each.fingerprint] for each in those]
    fingerprint = results.digest({"sessions": content, "software": stage.software, "code": stage.code})
    old = None if state.settings.force else results.read_record(output, place)
    if old and old.fingerprint == fingerprint and results.is_complete(output, old):
        stage.found.append(_followed(animal, names, old))
        return None
    try:
        log = output.create(place.log)
        folder = stage.staging.anywhere / f"{ANIMAL}-{animal}"
        with writing(output.path):
            for new in ("results", "scratch"):
                (folder / new).mkdir(parents=True)
    except OSError as error:
        reason = f"its results cannot be written: {error.strerror} ({error.filename})"
        _settle_failure(animal, names, place, reason, stage)
        return None
    job = Job(
        inputs=tuple(each.source for each in those),
        kind=ANIMAL,
        stem=animal,
        staging=folder / "results",
        scratch=folder / "scratch",
        recipe=INSPECT,
        options=Options(),
        results=output.anywhere.absolute(),
        provenance={
            "fingerprint": fingerprint,
            "sessions": [{"results": each.results, "start": each.start} for each in those],
            "software": dict(stage.software),
            "container": container_facts(),
        },
    )
    return Task(
        name=f"{ANIMALS}/{animal}",
        job=job,
        log=log,
        address_space=_address_space(state.settings.worker_memory),
        time_limit=state.settings.worker_timeout or SECONDS + SECONDS_A_SESSION * len(those),
        idle_limit=HANGS_AFTER if state.settings.worker_idle is None else state.settings.worker_idle or None,
        weight=1,
        owner=(animal, names, place, fingerprint),
    )


def _address_space(asked: int | None) -> int | None:
    return None if asked == 0 else (machine.memory_limit() if asked is None else asked) + (4 << 30)


def _carry_out(tasks: Sequence[Task], stage: _Stage) -> None:
    state, cores = stage.state, machine.cores()
    slots = min(len(tasks), state.settings.workers or machine.workers(cores, machine.memory_limit()))
    state.log("following", f"following the cells of {counted(len(tasks), 'animal')} over their sessions")
    supervisor = Supervisor(max(1, slots), cores, state.signals)
    supervisor.work_through(
        iter(tasks), len(tasks), lambda task, verdict: _settle(task, verdict, stage), lambda *_: state.heart.tick()
    )


def _settle(task: Task, verdict: Verdict, stage: _Stage) -> None:
    animal, names, place, fingerprint = task.owner
    staging = task.job.staging
    reason = "" if verdict.ok else verdict.reason
    if not reason:
        reason = _publish(animal, names, place, fingerprint, verdict, staging, stage)
    if reason:
        _settle_failure(animal, names, place, reason, stage)
    line = f"failed after {verdict.seconds} s: {reason}" if reason else f"done in {verdict.seconds} s"
    with contextlib.suppress(OSError):  # the disk is full: the run's own log has said it
        os.write(task.log, (line + "\n").encode("utf-8", "backslashreplace"))
    os.close(task.log)
    stage.staging.remove_tree(f"{ANIMAL}-{animal}")


def _publish(
    animal: str,
    names: tuple[str, ...],
    place: Recording,
    fingerprint: str,
    verdict: Verdict,
    staging: Path,
    stage: _Stage,
) -> str:
    """Returns why not, or nothing."""
    products = sorted(set(verdict.result.products))
    if f"{animal}.json" not in products:
        return f"its worker wrote no {animal}.json"
    for name in products:
        if not is_product(name) or not (staging / name).is_file() or (staging / name).is_symlink():
            return f"its worker lists {name}, but wrote no such file"
    record = Record(
        inputs=[place.relative],
        status="done",
        kind="cell_set",
        fingerprint=fingerprint,
        results=join(ANIMALS, animal),
        products={name: (staging / name).stat().st_size for name in products},
        summary=verdict.result.summary,
        warnings=verdict.warnings,
        seconds=verdict.seconds,
    )
    try:
        results.publish(stage.state.output, staging, [place], record, results.read_record(stage.state.output, place))
    except OSError as error:
        return f"its results cannot be written: {error.strerror or error} ({error.filename})"
    log = stage.state.log
    log("animal-done", f"{place.relative}: {record.summary} ({duration(verdict.seconds)})", path=place.relative)
    for warning in verdict.warnings:
        log("animal-warning", f"{place.relative}: {warning}", "warning", path=place.relative)
    stage.found.append(_followed(animal, names, record))
    return ""


def _settle_failure(animal: str, names: tuple[str, ...], place: Recording, reason: str, stage: _Stage) -> None:
    """Earlier results are kept: they are true of the sessions as they were then."""
    stage.state.log("animal-failed", f"{place.relative}: {reason}", "error", path=place.relative, reason=reason)
    stage.found.append(Followed(animal, names, "failed", reason))
    old = results.read_record(stage.state.output, place)
    if old:
        record = replace(old, fingerprint="")
        try:
            results.write_record(stage.state.output, [place], record)
        except OSError as error:
            stage.state.log("record-failed", f"{place.relative}: cannot be put on record: {error}", "warning")


def _followed(animal: str, sessions: tuple[str, ...], record: Record) -> Followed:
    products, warnings = tuple(record.products), tuple(record.warnings)
    return Followed(animal, sessions, "done", "", record.summary, record.results, products, warnings)
