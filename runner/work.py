"""From recordings to rows of the report: what is done already, what cannot be, and the work on the rest."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from recording.errors import BadRecording
from recording.formats import RecordingInfo, check
from recording.job import Job, Options
from runner import machine, native, recipe, results, series, supervise, workers
from runner.discover import Recording
from runner.events import Log, duration
from runner.heartbeat import Heart
from runner.report import Row
from runner.results import Record
from runner.settings import Settings
from runner.supervise import Signals, Task, Verdict

LIBRARIES = 4 << 30  # bytes of address space for libraries and threads' stacks, most of it never touched
INSPECT_SECONDS, INSPECT_RATE = 600, 10_000_000  # a slow disk gives more bytes a second than this
RECIPE_SECONDS = 24 * 3600
WORKERS_CODE = ("recording", "pipeline")
SYNC_RATE = 5_000_000  # bytes a second at which a very slow disk takes results in


class IsxBroken(Exception):
    """Workers fail because isx cannot be imported; the message is the diagnosis."""


class _BadProducts(Exception):
    """A worker did not leave what it says."""


@dataclass(frozen=True)
class Conditions:
    """What else, beside the input, decides the results."""

    recipe: recipe.Recipe
    options: Options
    software: Mapping[str, str]
    code: str  # digest of the pipeline

    def recipe_for(self, kind: str) -> recipe.Recipe:
        """The recipe, or inspect for a kind that it does not take."""
        return self.recipe if self.recipe.takes(kind) else recipe.Recipe(recipe.INSPECT)

    def fingerprint(self, recordings: Sequence[Recording], kind: str) -> str:
        """Of recordings of this kind and all else that decides the results."""
        return results.fingerprint(recordings, self._others(self.recipe_for(kind)))

    @property
    def digest(self) -> str:
        """Equal for runs that would make the same results of the same recordings."""
        return results.digest(self._others(self.recipe))

    def _others(self, used: recipe.Recipe) -> dict[str, object]:
        content = used.sha256 or used.path
        return {"recipe": content, "options": asdict(self.options), "software": self.software, "code": self.code}


@dataclass(frozen=True)
class Unit:
    """What one worker handles: a recording, or the parts of a series."""

    recordings: tuple[Recording, ...]
    kind: str
    fingerprint: str
    results: str  # folder, relative to the output
    warnings: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        return sum(recording.size for recording in self.recordings)

    @property
    def name(self) -> str:
        first, *rest = self.recordings
        return first.relative + (f" and {len(rest)} more" if rest else "")


@dataclass
class Context:
    """What all steps of a run share."""

    settings: Settings
    conditions: Conditions
    container: Mapping[str, str]
    log: Log
    heart: Heart
    signals: Signals
    staging: Path
    api: native.Api
    fork_server: workers.ForkServer | None = None
    records: dict[str, Record] = field(default_factory=dict)  # by relative path: what this run knows of each
    infos: dict[str, RecordingInfo] = field(default_factory=dict)
    n_unchanged: int = 0

    def tick(self) -> None:
        self.heart.tick()
        self.signals.check()


def handle(recordings: Sequence[Recording], context: Context) -> list[Row]:
    """Bring every recording to an end, good or bad. Raises Stopped and IsxBroken."""
    try:
        todo = _look_at(recordings, context)
        units = _units(recordings, todo, context)
        if units:
            _work(units, context)
    finally:
        if context.fork_server:
            context.fork_server.stop()
    return rows(recordings, context.records, context.infos)


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


def code_digest(folder: Path) -> str:
    """Of every source that workers run: a change of code is a change of software."""
    sources = sorted(path for part in WORKERS_CODE for path in (folder / part).rglob("*.py"))
    return results.digest({path.relative_to(folder).as_posix(): path.read_text("utf-8") for path in sources})


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


def _look_at(recordings: Sequence[Recording], context: Context) -> list[Recording]:
    """Sort out what is done already and what cannot be read; returns the rest. Every sound one has its info then."""
    settings, todo = context.settings, []
    for recording in recordings:
        context.tick()
        path = settings.input / recording.relative
        if recording.problem:
            _fail([recording], recording.problem, context)
            continue
        old = None if settings.force else results.read_record(settings.output, recording)
        if old and _is_current(old, [recording], context):
            info = results.info_from_record(path, old)
            if info:
                context.infos[recording.relative] = info
            context.records[recording.relative] = old
            context.n_unchanged += 1
            continue
        try:
            _check_name(path)
            context.infos[recording.relative] = check(path)
        except BadRecording as error:
            _fail([recording], unchanged_input(recording, path) or error.reason, context)
            continue
        todo.append(recording)
        _warm_up(context.infos[recording.relative].kind, context)
    return todo


def _warm_up(kind: str, context: Context) -> None:
    """Let the imports begin while the rest of the recordings is looked at."""
    if not context.fork_server and _may_fork(context.conditions.recipe_for(kind)):
        with contextlib.suppress(OSError):  # then each worker imports for itself
            context.fork_server = workers.ForkServer(supervise.FORK_SERVER_COMMAND, context.staging / "fork-server")


def _may_fork(used: recipe.Recipe) -> bool:
    """Steps of recipes may want BLAS's threads, and take long enough not to mind the imports."""
    return used.path == recipe.INSPECT


def _is_current(record: Record, recordings: Sequence[Recording], context: Context) -> bool:
    expected = context.conditions.fingerprint(recordings, record.kind)
    return record.fingerprint == expected and results.is_complete(context.settings.output, record)


def _check_name(path: Path) -> None:
    try:
        str(path).encode("utf-8")
    except UnicodeEncodeError:
        raise BadRecording(path, "its name is not valid UTF-8, which the library needs: rename it") from None


def _units(recordings: Sequence[Recording], todo: Sequence[Recording], context: Context) -> list[Unit]:
    """The largest first, so that none is left alone at the end."""
    units = [_unit([recording], context) for recording in todo]
    if context.conditions.recipe.works_on_series:
        units = _units_of_series(recordings, todo, context)
    return sorted(units, key=lambda unit: (-unit.size, unit.name))


def _units_of_series(recordings: Sequence[Recording], todo: Sequence[Recording], context: Context) -> list[Unit]:
    taken = [recording for recording in todo if context.conditions.recipe.takes(context.infos[recording.relative].kind)]
    found = series.find_series(taken, context.infos)
    in_series = {part.relative for parts in found for part in parts}
    siblings = {member.relative: names for names in series.name_groups(recordings) for member in names}
    units = [_unit([recording], context) for recording in todo if recording.relative not in in_series]
    for parts in found:
        old = None if context.settings.force else results.read_record(context.settings.output, parts[0])
        if old and _is_current(old, parts, context):
            context.records.update((part.relative, old) for part in parts)
            context.n_unchanged += len(parts)
            continue
        failed = [context.records.get(sibling.relative) for sibling in siblings[parts[0].relative]]
        units.append(
            _unit(parts, context, [f"{one.inputs[0]} is left out of the series: {one.reason}" for one in failed if one])
        )
    return units


def _unit(group: Sequence[Recording], context: Context, warnings: Sequence[str] = ()) -> Unit:
    first = group[0]
    kind = context.infos[first.relative].kind
    return Unit(
        tuple(group),
        kind,
        context.conditions.fingerprint(group, kind),
        first.results + ("-series" if len(group) > 1 else ""),
        tuple(warnings),
    )


# ---- the work


def _work(units: Sequence[Unit], context: Context) -> None:
    settings = context.settings
    cores = machine.cores()
    slots = settings.workers or machine.workers(cores, machine.memory_limit())
    total = sum(unit.size for unit in units) or 1
    began = time.monotonic()
    done_bytes = 0
    import_works = False

    def tasks() -> Iterator[Task]:
        for number, unit in enumerate(units):
            yield _task(unit, context.staging / str(number), context)

    def on_verdict(task: Task, verdict: Verdict) -> None:
        nonlocal done_bytes, import_works
        done_bytes += task.weight
        if not verdict.ok and not import_works:
            error = native.import_error()
            if error:
                raise IsxBroken(native.diagnosis(context.api, error))
            import_works = True
        _settle(task, verdict, context)

    def on_beat(n_done: int, bytes_under_way: float) -> None:
        context.heart.tick()
        fraction = min(1.0, (done_bytes + bytes_under_way) / total)
        elapsed = time.monotonic() - began
        left = elapsed * (1 - fraction) / fraction if fraction > 0.01 and elapsed > 1 else None
        context.log.progress(fraction, n_done, len(units), left)

    supervise.supervise(
        tasks(),
        len(units),
        slots=slots,
        cores=cores,
        signals=context.signals,
        on_verdict=on_verdict,
        on_beat=on_beat,
        fork_server=context.fork_server,
    )


def _task(unit: Unit, folder: Path, context: Context) -> Task:
    settings, conditions = context.settings, context.conditions
    used = conditions.recipe_for(unit.kind)
    staging, scratch = folder / "results", folder / "scratch"
    if used.path != recipe.INSPECT and not settings.force:
        staging = results.kept_steps(settings.output, unit.results)
    for new in (staging, scratch):
        new.mkdir(parents=True, exist_ok=True)
    job = Job(
        inputs=tuple((settings.input / recording.relative).absolute() for recording in unit.recordings),
        kind=unit.kind,
        stem=unit.results.rpartition("/")[2],
        staging=staging.absolute(),
        scratch=scratch.absolute(),
        results=None if settings.force else (settings.output / unit.results).absolute(),
        recipe=used.path,
        options=conditions.options,
        provenance={
            "fingerprint": unit.fingerprint,
            "inputs": [recording.relative for recording in unit.recordings],
            "recipe": Path(used.path).name,
            "recipe_sha256": used.sha256,
            "options": asdict(conditions.options),
            "software": dict(conditions.software),
            "container": dict(context.container),
        },
    )
    return Task(
        name=unit.name,
        job=job,
        log=settings.output / unit.recordings[0].log,
        address_space=_address_space(settings.worker_memory, unit.size),
        time_limit=_time_limit(settings.worker_timeout, unit.size, used.path),
        weight=unit.size,
        may_fork=_may_fork(used),
        owner=unit,
    )


def _address_space(asked: int | None, size: int) -> int | None:
    """Inputs are mapped into memory, perhaps by two libraries, so their size comes on top."""
    if asked == 0:
        return None
    return (machine.memory_limit() + LIBRARIES if asked is None else asked) + 2 * size


def _time_limit(asked: float | None, size: int, recipe_path: str) -> float | None:
    if asked is not None:
        return asked or None
    return INSPECT_SECONDS + size / INSPECT_RATE if recipe_path == recipe.INSPECT else RECIPE_SECONDS


def _settle(task: Task, verdict: Verdict, context: Context) -> None:
    """Publish what a worker made, or say why there is nothing."""
    unit: Unit = task.owner
    settings = context.settings
    folder = task.job.staging
    verdict.warnings = [*unit.warnings, *verdict.warnings]
    problems = [unchanged_input(recording, settings.input / recording.relative) for recording in unit.recordings]
    problem = next(filter(None, problems), "")
    if problem:
        verdict.ok, verdict.reason = False, problem
    if verdict.ok:
        try:
            record = _record(unit, verdict, folder, context)
            old = results.read_record(settings.output, unit.recordings[0])
            context.heart.beat(within=120 + sum(record.products.values()) / SYNC_RATE)
            results.publish(settings.output, folder, unit.recordings, record, old)
            results.forget_kept_steps(settings.output, unit.results)
        except _BadProducts as error:
            verdict.ok, verdict.reason = False, str(error)
        except OSError as error:
            verdict.ok = False
            verdict.reason = f"its results cannot be written: {error.strerror or error} ({error.filename})"
        else:
            context.records.update((recording.relative, record) for recording in unit.recordings)
            message = f"{unit.name}: {record.summary or 'done'} ({duration(verdict.seconds)})"
            fields = {"path": unit.name, "kind": unit.kind, "seconds": verdict.seconds}
            context.log("recording-done", message, **fields)
            for warning in verdict.warnings:
                context.log("recording-warning", f"{unit.name}: {warning}", "warning", path=unit.name)
    if not verdict.ok:
        _fail(unit.recordings, verdict.reason, context, unit.kind, verdict)
    _note_in_log(task.log, verdict)
    results.remove_tree(task.job.scratch.parent)


def _record(unit: Unit, verdict: Verdict, staging: Path, context: Context) -> Record:
    """Raises _BadProducts where the worker did not leave what it says."""
    first = unit.recordings[0]
    names = sorted(set(verdict.result.products))
    last = unit.results.rpartition("/")[2] + ".json"
    if last not in names:
        raise _BadProducts(f"its worker wrote no {last}")
    for name in names:
        if "/" in name or not (staging / name).is_file() or (staging / name).is_symlink():
            raise _BadProducts(f"its worker lists {name}, but wrote no such file")
    info = context.infos[first.relative]
    return Record(
        inputs=[recording.relative for recording in unit.recordings],
        status="done",
        kind=unit.kind,
        fingerprint=unit.fingerprint,
        results=unit.results,
        products={name: (staging / name).stat().st_size for name in names},
        summary=verdict.result.summary,
        thumbnail=verdict.result.thumbnail,
        warnings=verdict.warnings,
        seconds=verdict.seconds,
        info=results.info_to_json(info),
        stamps={recording.relative: [recording.size, recording.mtime_ns] for recording in unit.recordings},
    )


def _fail(
    recordings: Sequence[Recording], reason: str, context: Context, kind: str = "", verdict: Verdict | None = None
) -> None:
    """Put a failure on record. What an earlier run left is kept: it is still true of what was there then."""
    output = context.settings.output
    old = results.read_record(output, recordings[0])
    record = Record(
        inputs=[recording.relative for recording in recordings],
        status="failed",
        kind=kind,
        reason=reason,
        results=old.results if old else "",
        products=old.products if old else {},
        warnings=verdict.warnings if verdict else [],
        seconds=verdict.seconds if verdict else 0.0,
    )
    for recording in recordings:
        context.records[recording.relative] = record
        message = f"{recording.relative}: {reason}"
        context.log("recording-failed", message, "error", path=recording.relative, kind=kind, reason=reason)
    try:
        results.write_record(output, recordings, record)
    except OSError as error:
        context.log("record-failed", f"{recordings[0].relative}: cannot be put on record: {error}", "warning")


def _note_in_log(log: Path, verdict: Verdict) -> None:
    line = f"done in {verdict.seconds} s" if verdict.ok else f"failed after {verdict.seconds} s: {verdict.reason}"
    try:
        with log.open("ab") as file:
            file.write((line + "\n").encode("utf-8", "backslashreplace"))
    except OSError:  # the disk is full: the run's own log has said it
        return


def _row(recording: Recording, record: Record, first: str = "", part: int = 0, parts: int = 0) -> Row:
    done = record.status == "done"
    return Row(
        path=recording.relative,
        kind=record.kind,
        status="done" if done else "failed",
        reason=record.reason,
        seconds=record.seconds,
        summary=record.summary,
        thumbnail=record.thumbnail,
        warnings=record.warnings,
        results=record.results if done else "",
        products=tuple(record.products) if done else (),
        log=recording.log if record.seconds else "",
        series=first,
        part=part,
        parts=parts,
    )
