"""The recordings of a run, from the pre-check to the rows of the report: what is done already, and the rest.

A recording, or a series, that one worker handles is a unit. Units are formed from all recordings, whatever was done
earlier: the results do not depend on history.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from native import loading
from recording.errors import BadRecording
from recording.findings import RecordingInfo
from recording.job import INSPECT, Job
from recording.names import is_product
from runner import machine, precheck, results, series, sessions, supervise, workers
from runner.discover import SERIES, Recording
from runner.endings import NoApi, writing
from runner.events import duration
from runner.heartbeat import HANGS_AFTER, WITHIN, Pulse
from runner.inside import Folder
from runner.recipe import RecipeChoice
from runner.report import Row
from runner.results import Record
from runner.sessions import Members, Sessions
from runner.state import Conditions, RunState, container_facts
from runner.supervise import Supervisor, Task, Verdict

if TYPE_CHECKING:
    from study.products import Made

LIBRARIES = 4 << 30  # bytes of address space for libraries and threads' stacks, most of it never touched
INSPECT_SECONDS, INSPECT_RATE = 600, 10_000_000  # a slow disk gives more bytes a second than this
RECIPE_SECONDS = 24 * 3600
MANY = 20  # names in a message
SYNC_RATE = 5_000_000  # bytes a second at which a very slow disk takes results in


class _BadProducts(Exception):
    """A worker lists products that it did not write."""


@dataclass(frozen=True)
class Unit:
    """The inputs of one worker: a recording, or the parts of a series."""

    recordings: tuple[Recording, ...]
    kind: str
    fingerprint: str
    results: str  # folder, relative to the output
    recipe: RecipeChoice
    warnings: tuple[str, ...] = ()
    failure: str = ""  # of the recipe: it is inspected so that there is something to see
    log: int | None = None  # file descriptor of a log to go on with
    session: Members | None = None  # if it is to have an NWB file

    @property
    def size(self) -> int:
        return sum(recording.size for recording in self.inputs)

    @property
    def inputs(self) -> tuple[Recording, ...]:
        """All that its worker reads."""
        return self.recordings + (self.session.companions if self.session else ())

    @property
    def name(self) -> str:
        first, *rest = self.recordings
        return first.relative + (f" and {len(rest)} more" if rest else "")


@dataclass
class Workplace:
    """Where the worker of a unit writes: folders that nobody else can write to, whatever happens to the output."""

    unit: Unit
    log: int  # file descriptor
    name: str  # of its folder in the staging folder
    folder: Path
    kept: Folder | None = None  # finished steps of a run that was cut short
    earlier: Folder | None = None  # results of an earlier run

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
        for folder in filter(None, (self.kept, self.earlier)):
            folder.close()


@dataclass
class Batch:
    """All recordings of a run, and what has become of each so far."""

    state: RunState
    conditions: Conditions
    staging: Folder
    owners: dict[str, str]  # of results: by folder, the recording that they are of (the first of a series)
    sessions: Sessions | None = None  # if they are to have NWB files
    fork_server: workers.ForkServer | None = None
    records: dict[str, Record] = field(default_factory=dict)  # by relative path: as this run knows them
    infos: dict[str, RecordingInfo] = field(default_factory=dict)
    parts: dict[str, list[Recording]] = field(default_factory=dict)  # by relative path: named as parts of one recording
    others: Sequence[Recording] = ()  # of the input, which other shards handle
    products: dict[str, Made] = field(default_factory=dict)  # by relative path: made from others that the recipe takes
    current: dict[str, Record] = field(default_factory=dict)  # of recordings that an earlier run did by themselves
    n_unchanged: int = 0
    n_out_of_memory: int = 0  # recordings that failed, and would not have with more of it
    import_works: bool = False  # known once a worker has failed


def handle(recordings: Sequence[Recording], batch: Batch) -> list[Row]:
    """Bring every recording to an end, good or bad. Raises Stopped, NoApi, Unwritable."""
    if batch.sessions:
        named = [group for group in series.name_groups(recordings) if all(map(series.is_named_part, group))]
        batch.parts = {part.relative: group for group in named for part in group}
    try:
        sound = _look_at(recordings, batch)
        units = _unfinished(_units(recordings, sound, batch), batch)
        if units:
            _carry_out(units, batch)
    finally:
        if batch.fork_server:
            batch.fork_server.stop()
            if batch.fork_server.lost:
                reason = f"the process that forks workers ended ({batch.fork_server.lost}): each worker started alone"
                batch.state.log("fork-server-lost", f"{reason}, which takes a second more", "warning")
    return rows(recordings, batch.records, batch.infos)


def rows(
    recordings: Sequence[Recording], records: Mapping[str, Record], infos: Mapping[str, RecordingInfo]
) -> list[Row]:
    """One row a recording, in their order, with the series that they belong to."""
    found = [[part.relative for part in parts] for parts in series.find_series(recordings, infos)]
    found += [record.inputs for record in records.values() if len(record.inputs) > 1]  # worked on as a series
    parts = {path: (paths[0], number, len(paths)) for paths in found for number, path in enumerate(paths, 1)}
    return [
        _row(recording, records[recording.relative], *parts.get(recording.relative, ())) for recording in recordings
    ]


def unchanged_input(recording: Recording, path: Path) -> str:
    """ "" if the input is as it was when the run began, else what happened to it."""
    try:
        now = path.stat()
    except OSError as error:
        return f"it vanished while it was worked on ({error.strerror}); put it back and run again"
    if (now.st_size, now.st_mtime_ns) != (recording.size, recording.mtime_ns):
        return "it changed while it was worked on; run again when nothing writes to it any more"
    return ""


# ---- before the work


def _look_at(recordings: Sequence[Recording], batch: Batch) -> list[Recording]:
    """Those that can be read, of which `batch.infos` knows then; the others are put on record."""
    checker = precheck.Checker(batch.state.tick)
    try:
        sound = [recording for recording in recordings if _is_sound(recording, checker, batch)]
        if not batch.conditions.recipe.is_inspect:
            from runner.products import made_from_others  # a run that only inspects starts sooner without

            elsewhere = _infos_elsewhere(sound, checker, batch)
            batch.products = made_from_others({**batch.infos, **elsewhere}, batch.conditions.recipe.takes)
    finally:
        checker.stop()
    _report_products(sound, batch)
    return sound


def _infos_elsewhere(mine: Sequence[Recording], checker: precheck.Checker, batch: Batch) -> dict[str, RecordingInfo]:
    """Of recordings of other shards that some of these may be made from, by their names."""
    stems: dict[str, list[str]] = {}
    for recording in mine:
        stems.setdefault(recording.folder, []).append(recording.stem)
    found = {}
    for other in batch.others:
        if any(stem != other.stem and stem.startswith(other.stem) for stem in stems.get(other.folder, ())):
            batch.state.tick()
            with contextlib.suppress(BadRecording):  # its own shard says so
                found[other.relative] = checker.check(batch.state.settings.input_dir / other.relative)
    return found


def _report_products(recordings: Sequence[Recording], batch: Batch) -> None:
    found = [batch.products[one.relative] for one in recordings if one.relative in batch.products]
    if found:
        named = [f"{made.product.path} (from {made.parent.file}, by {made.reason})" for made in found[:MANY]]
        more = f" and {len(found) - MANY} more" if len(found) > MANY else ""
        message = (
            f"inspected only, as the recipe runs on what {'it was' if len(found) == 1 else 'they were'} made from: "
            f"{', '.join(named)}{more}"
        )
        made_from = {made.product.path: made.parent.path for made in found}
        batch.state.log("products", message, products=made_from)


def _recipe_of(recording: Recording, batch: Batch) -> RecipeChoice:
    """The recipe; inspect for a kind that it does not take, and for products of what it runs on."""
    if recording.relative in batch.products:
        return RecipeChoice()
    return batch.conditions.recipe_for(batch.infos[recording.relative].kind)


def _is_sound(recording: Recording, checker: precheck.Checker, batch: Batch) -> bool:
    batch.state.tick()
    path = batch.state.settings.input_dir / recording.relative
    if recording.problem:
        _fail([recording], recording.problem, batch)
        return False
    old = _current_record([recording], batch)
    info = results.info_from_record(path, old) if old else None
    try:
        if not info:
            _check_name(path)
            info = checker.check(path)
    except BadRecording as error:
        _fail([recording], unchanged_input(recording, path) or error.reason, batch)
        return False
    batch.infos[recording.relative] = info
    if old:
        batch.current[recording.relative] = old
    else:
        _warm_up(info.kind, batch)
    return True


def _warm_up(kind: str, batch: Batch) -> None:
    """Let the imports begin while the rest of the recordings is looked at."""
    if not batch.fork_server and _may_fork(batch.conditions.recipe_for(kind)):
        command = (*supervise.FORK_SERVER_COMMAND, *(["--nwb"] if batch.sessions else []))
        with contextlib.suppress(OSError):  # then each worker imports for itself
            batch.fork_server = workers.ForkServer(command, batch.staging.anywhere / "fork-server")


def _may_fork(used: RecipeChoice) -> bool:
    """Steps of recipes may want BLAS's threads, and take long enough not to mind the imports."""
    return used.is_inspect


def _current_record(recordings: Sequence[Recording], batch: Batch) -> Record | None:
    """The record of an earlier run that would do the same, if its results are still there."""
    output = batch.state.output
    record = None if batch.state.settings.force else results.read_record(output, recordings[0])
    if record is None or not results.is_complete(output, record):
        return None
    possible = (batch.conditions.recipe_for(record.kind), RecipeChoice())  # which one, the other recordings decide
    return record if record.fingerprint in [_fingerprint(recordings, used, batch) for used in possible] else None


def _fingerprint(recordings: Sequence[Recording], used: RecipeChoice, batch: Batch) -> str:
    """Names alone decide what may belong to a session, so that it can be told before any file is opened."""
    if not batch.sessions or not batch.sessions.leads(recordings[0]):
        return batch.conditions.fingerprint(recordings, used)
    candidates = recordings if len(recordings) > 1 else batch.parts.get(recordings[0].relative, recordings)
    members = batch.sessions.of(candidates, recordings)
    return batch.conditions.fingerprint(recordings, used, sessions.facts(members))


def _check_name(path: Path) -> None:
    try:
        str(path).encode("utf-8")
    except UnicodeEncodeError:
        raise BadRecording(path, "its name is not valid UTF-8, which the library needs: rename it") from None


def _units(recordings: Sequence[Recording], sound: Sequence[Recording], batch: Batch) -> list[Unit]:
    """The largest first, so that none is left alone at the end."""
    wanted = batch.conditions.recipe
    taken = [recording for recording in sound if not _recipe_of(recording, batch).is_inspect]
    found = series.find_series(taken, batch.infos) if wanted.works_on_series else []
    in_series = {part.relative for parts in found for part in parts}
    units = [_unit([recording], batch) for recording in sound if recording.relative not in in_series]
    if batch.sessions:
        units = [_with_session(unit, sound, batch) for unit in units]
    siblings = {member.relative: names for names in series.name_groups(recordings) for member in names}
    for parts in found:
        failed = [batch.records.get(sibling.relative) for sibling in siblings[parts[0].relative]]
        left_out = [f"{one.inputs[0]} is left out of the series: {one.reason}" for one in failed if one]
        units.append(_unit(parts, batch, left_out))
        if batch.sessions:
            units[-1] = replace(units[-1], session=batch.sessions.of(parts, parts))
        batch.owners[units[-1].results] = parts[0].relative
    return sorted(units, key=lambda unit: (-unit.size, unit.name))


def _with_session(unit: Unit, sound: Sequence[Recording], batch: Batch) -> Unit:
    """A recording leads its session, unless another one does. Parts that are inspected share the first one's file."""
    assert batch.sessions
    (recording,) = unit.recordings
    if not batch.sessions.leads(recording):
        return unit
    parts = [recording]
    if unit.recipe.is_inspect and recording.relative in batch.parts:
        named = [part for part in batch.parts[recording.relative] if part in sound and batch.sessions.leads(part)]
        parts = next((each for each in series.find_series(named, batch.infos) if recording in each), parts)
    return replace(unit, session=batch.sessions.of(parts, unit.recordings)) if parts[0] == recording else unit


def _unfinished(units: Sequence[Unit], batch: Batch) -> list[Unit]:
    """Those that an earlier run has not done; the others are put on record."""
    todo = []
    for unit in units:
        batch.state.tick()
        alone = unit.recordings[0].relative if len(unit.recordings) == 1 else ""
        old = batch.current.get(alone) if alone else _current_record(unit.recordings, batch)
        if old and old.fingerprint == unit.fingerprint:
            batch.records.update((recording.relative, old) for recording in unit.recordings)
            batch.n_unchanged += len(unit.recordings)
        else:
            todo.append(unit)
    return todo


def _unit(group: Sequence[Recording], batch: Batch, warnings: Sequence[str] = ()) -> Unit:
    first = group[0]
    kind = batch.infos[first.relative].kind
    used = _recipe_of(first, batch)
    return Unit(
        tuple(group),
        kind,
        _fingerprint(group, used, batch),
        first.results + (SERIES if len(group) > 1 else ""),
        used,
        tuple(warnings),
    )


# ---- the work


def _carry_out(units: Sequence[Unit], batch: Batch) -> None:
    state, settings = batch.state, batch.state.settings
    cores = machine.cores()
    slots = settings.workers or machine.workers(cores, machine.memory_limit())
    limit = machine.process_limit()
    while limit and not settings.workers and slots > 1 and machine.processes_needed(slots, cores) > limit:
        slots -= 1
    if not settings.workers:
        slots = min(slots, max(1, (machine.raise_file_limit() - machine.files_needed(0)) // 6))
    total = sum(unit.size for unit in units) or 1
    began = time.monotonic()
    done_bytes = 0

    tasks = _Tasks(units, batch)

    def on_verdict(task: Task, verdict: Verdict) -> None:
        nonlocal done_bytes
        done_bytes += task.weight
        if not verdict.ok:
            _blame_the_api(batch)
        tasks.todo.extend(_settle(task, verdict, batch))

    def on_beat(n_done: int, bytes_under_way: float) -> None:
        state.heart.workers = [_pulse(task, idle) for task, idle in supervisor.under_way]
        state.heart.tick()
        fraction = min(1.0, (done_bytes + bytes_under_way) / total)
        elapsed = time.monotonic() - began
        left = elapsed * (1 - fraction) / fraction if fraction > 0.01 and elapsed > 1 else None
        state.log.progress(fraction, n_done, len(units), left)

    supervisor = Supervisor(slots, cores, state.signals, fork_server=batch.fork_server)
    supervisor.work_through(tasks, len(units), on_verdict, on_beat)
    state.heart.workers = []


class _Tasks(Iterator[Task]):
    """A task for each unit, and for those that come up meanwhile."""

    def __init__(self, units: Iterable[Unit], batch: Batch) -> None:
        self.todo, self.batch, self.numbers = deque(units), batch, count()

    def __next__(self) -> Task:
        while self.todo:
            task = _task_or_failure(self.todo.popleft(), str(next(self.numbers)), self.batch)
            if task:
                return task
        raise StopIteration


def _pulse(task: Task, idle: float) -> Pulse:
    """A worker that is stopped at its limit has a while to end: it cannot while it waits for a disk."""
    return Pulse(task.name, idle, task.idle_limit + WITHIN if task.idle_limit else HANGS_AFTER)


def _blame_the_api(batch: Batch) -> None:
    """After the first failure: is it isx that cannot be imported? Raises NoApi."""
    if not batch.import_works:
        error = loading.import_error(batch.state.tick)
        if error:
            raise NoApi(loading.diagnosis(batch.state.api, error))
        batch.import_works = True


def _task_or_failure(unit: Unit, name: str, batch: Batch) -> Task | None:
    """None if a link stands where its results or its log belong; that is on record then."""
    try:
        return _task(unit, name, batch)
    except OSError as error:
        reason = f"its results cannot be written: {error.strerror} ({error.filename})"
        _fail(unit.recordings, unit.failure or reason, batch, unit.kind)
        return None


def _task(unit: Unit, name: str, batch: Batch) -> Task:
    """Raises Unwritable, OSError."""
    settings, output, conditions = batch.state.settings, batch.state.output, batch.conditions
    used = unit.recipe
    log = output.create(unit.recordings[0].log) if unit.log is None else unit.log
    place = Workplace(unit, log, name, batch.staging.anywhere / name)
    try:
        with writing(output.path):
            for new in (place.staging, place.scratch):
                new.mkdir(parents=True)
        if not used.is_inspect and not settings.force:
            place.kept = results.kept_steps(output, unit.results, batch.staging)
            with contextlib.suppress(FileNotFoundError):
                place.earlier = output.folder(unit.results)
    except OSError:
        place.close()
        raise
    job = Job(
        inputs=tuple((settings.input_dir / recording.relative).absolute() for recording in unit.recordings),
        kind=unit.kind,
        stem=unit.results.rpartition("/")[2],
        staging=place.staging,
        scratch=place.scratch,
        results=place.earlier.anywhere if place.earlier else None,
        recipe=used.path,
        copies=None if used.is_inspect else batch.staging.anywhere / "copies",
        options=conditions.options,
        failure=unit.failure,
        session=unit.session.for_job(settings.input_dir) if unit.session else None,
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
        address_space=_address_space(settings.worker_memory, unit.size),
        time_limit=_time_limit(settings.worker_timeout, unit.size, used),
        idle_limit=HANGS_AFTER if settings.worker_idle is None else settings.worker_idle or None,
        weight=0 if unit.failure else unit.size,
        may_fork=_may_fork(used),
        owner=place,
    )


def _address_space(asked: int | None, size: int) -> int | None:
    """Inputs are mapped into memory, perhaps by two libraries, so their size comes on top."""
    if asked == 0:
        return None
    return (machine.memory_limit() + LIBRARIES if asked is None else asked) + 2 * size


def _time_limit(asked: float | None, size: int, used: RecipeChoice) -> float | None:
    if asked is not None:
        return asked or None
    return INSPECT_SECONDS + size / INSPECT_RATE if used.is_inspect else RECIPE_SECONDS


def _settle(task: Task, verdict: Verdict, batch: Batch) -> list[Unit]:
    """Publish the results, or put the failure on record; returns what is to be inspected instead."""
    place: Workplace = task.owner
    unit = place.unit
    verdict.reason = place.as_seen(verdict.reason)
    verdict.warnings = [*unit.warnings, *map(place.as_seen, verdict.warnings)]
    folder = batch.state.settings.input_dir
    changes = [unchanged_input(recording, folder / recording.relative) for recording in unit.inputs]
    problem = next(filter(None, changes), "")
    instead = not verdict.ok and not problem and not unit.recipe.is_inspect
    if verdict.ok and not problem:
        problem = _publish(unit, verdict, place.staging, batch)
    if problem:
        verdict.ok, verdict.reason = False, problem
    if not verdict.ok and unit.failure:
        message = f"{unit.name}: it could not be inspected either: {verdict.reason}"
        batch.state.log("recording-warning", message, "warning", path=unit.name)
    elif not verdict.ok:
        batch.n_out_of_memory += len(unit.recordings) if verdict.out_of_memory and not problem else 0
        _fail(unit.recordings, verdict.reason, batch, unit.kind, verdict)
    _note_in_log(place.log, verdict)
    units = _to_inspect(place, verdict, batch) if instead else []
    place.close()
    batch.staging.remove_tree(place.name)
    return units


def _to_inspect(place: Workplace, verdict: Verdict, batch: Batch) -> list[Unit]:
    """The recordings of a unit whose recipe failed: what is wrong with them may be seen there.

    Results that a recipe made earlier stay as they are: they may have taken days.
    """
    unit, units = place.unit, []
    for number, recording in enumerate(unit.recordings):
        record = results.read_record(batch.state.output, recording)
        by_recipe = record is not None and bool(record.results) and record.recipe != INSPECT
        if record and by_recipe and results.are_there(batch.state.output, record):
            continue
        session = batch.sessions.of(unit.recordings, [recording]) if unit.session and number == 0 else None
        facts = sessions.facts(session) if session else ()
        one = Unit(
            (recording,),
            batch.infos[recording.relative].kind,
            batch.conditions.fingerprint([recording], RecipeChoice(), facts),
            recording.results,
            RecipeChoice(),
            tuple(verdict.warnings),
            verdict.reason,
            os.dup(place.log) if number == 0 else None,
            session,
        )
        units.append(one)
    return units


def _publish(unit: Unit, verdict: Verdict, staging: Path, batch: Batch) -> str:
    """Returns why not, or nothing."""
    state, output = batch.state, batch.state.output
    try:
        record = _record(unit, verdict, staging, batch)
        old = results.read_record(output, unit.recordings[0])
        if theirs := results.foreign(output, record, old):
            return f"its results cannot be written: {theirs} is there already, and from no run; move it away"
        _withdraw_results_elsewhere(unit, batch)
        state.heart.beat(within=120 + sum(record.products.values()) / SYNC_RATE)
        results.publish(output, staging, unit.recordings, record, old)
        for recording in unit.recordings if not unit.failure else ():
            for folder in (recording.results, recording.results + SERIES):
                results.forget_kept_steps(output, folder)
    except _BadProducts as error:
        return str(error)
    except OSError as error:
        return f"its results cannot be written: {error.strerror or error} ({error.filename})"
    batch.records.update((recording.relative, record) for recording in unit.recordings)
    if unit.failure:
        state.log("recording-inspected", f"{unit.name}: inspected, as its recipe failed", path=unit.name)
        return ""
    message = f"{unit.name}: {record.summary or 'done'} ({duration(verdict.seconds)})"
    state.log("recording-done", message, path=unit.name, kind=unit.kind, seconds=verdict.seconds)
    for warning in verdict.warnings:
        state.log("recording-warning", f"{unit.name}: {warning}", "warning", path=unit.name)
    return ""


def _withdraw_results_elsewhere(unit: Unit, batch: Batch) -> None:
    """A recording that joins or leaves a series moves: its old results go, unless others have taken their place."""
    output = batch.state.output
    for recording in unit.recordings:
        old = results.read_record(output, recording)
        if old and old.results not in ("", unit.results):
            owner = batch.owners.get(old.results, recording.relative)
            if owner in [part.relative for part in unit.recordings]:
                results.withdraw(output, old)


def _record(unit: Unit, verdict: Verdict, staging: Path, batch: Batch) -> Record:
    """Raises _BadProducts."""
    first = unit.recordings[0]
    names = sorted(set(verdict.result.products))
    last = unit.results.rpartition("/")[2] + ".json"
    if last not in names:
        raise _BadProducts(f"its worker wrote no {last}")
    for name in names:
        if not is_product(name) or not (staging / name).is_file() or (staging / name).is_symlink():
            raise _BadProducts(f"its worker lists {name}, but wrote no such file")
    info = batch.infos[first.relative]
    return Record(
        inputs=[recording.relative for recording in unit.recordings],
        status="failed" if unit.failure else "done",
        reason=unit.failure,
        kind=unit.kind,
        recipe=unit.recipe.name,
        inspected=bool(unit.failure),
        fingerprint=unit.fingerprint,
        results=unit.results,
        products={name: (staging / name).stat().st_size for name in names},
        summary=verdict.result.summary,
        thumbnail=verdict.result.thumbnail,
        warnings=verdict.warnings,
        seconds=verdict.seconds + (batch.records[first.relative].seconds if unit.failure else 0.0),
        info=info.facts,
        stamps={recording.relative: [recording.size, recording.mtime_ns] for recording in unit.recordings},
    )


def _fail(
    recordings: Sequence[Recording], reason: str, batch: Batch, kind: str = "", verdict: Verdict | None = None
) -> None:
    """Put a failure on record. Earlier results are kept: they are true of the input as it was then."""
    output = batch.state.output
    old = results.read_record(output, recordings[0])
    record = Record(
        inputs=[recording.relative for recording in recordings],
        status="failed",
        kind=kind,
        reason=reason,
        results=old.results if old else "",
        products=old.products if old else {},
        recipe=old.recipe if old else "",
        warnings=verdict.warnings if verdict else [],
        seconds=verdict.seconds if verdict else 0.0,
    )
    for recording in recordings:
        batch.records[recording.relative] = record
        message = f"{recording.relative}: {reason}"
        batch.state.log("recording-failed", message, "error", path=recording.relative, kind=kind, reason=reason)
    try:
        results.write_record(output, recordings, record)
    except OSError as error:
        batch.state.log("record-failed", f"{recordings[0].relative}: cannot be put on record: {error}", "warning")


def _note_in_log(log: int, verdict: Verdict) -> None:
    line = f"done in {verdict.seconds} s" if verdict.ok else f"failed after {verdict.seconds} s: {verdict.reason}"
    with contextlib.suppress(OSError):  # the disk is full: the run's own log has said it
        os.write(log, (line + "\n").encode("utf-8", "backslashreplace"))


def _row(recording: Recording, record: Record, first: str = "", part: int = 0, parts: int = 0) -> Row:
    done = record.status == "done"
    shown = done or record.inspected
    return Row(
        path=recording.relative,
        kind=record.kind,
        status="done" if done else "failed",
        reason=record.reason,
        seconds=record.seconds,
        summary=record.summary,
        thumbnail=record.thumbnail,
        warnings=record.warnings,
        results=record.results if shown else "",
        products=tuple(record.products) if shown else (),
        log=recording.log if record.seconds else "",
        series=first,
        part=part,
        parts=parts,
    )
