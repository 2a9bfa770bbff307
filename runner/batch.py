"""The sessions of a run, from what is known of them to the rows of the report: what is done already, and the rest.

What one worker handles is a unit: a session, or what is left of it where a recipe works on each part, or colour, by
itself. Units are formed from all sessions, whatever was done earlier: the results do not depend on history.
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

from native import loading
from protocol.job import INSPECT, Job, Member
from protocol.job import Session as JobSession
from recording.kinds import KINDS
from recording.names import is_product, short
from runner import decisions, edits, machine, results, sessions, supervise, tables, workers
from runner.discover import Recording
from runner.endings import NoApi, writing
from runner.events import duration
from runner.heartbeat import HANGS_AFTER, WITHIN, Pulse
from runner.inside import Folder
from runner.recipe import RecipeChoice
from runner.relate import Related, unchanged_input
from runner.report import Row
from runner.results import Record
from runner.sessions import MetadataFiles
from runner.state import Conditions, RunState, container_facts
from runner.supervise import Supervisor, Task, Verdict
from study import names
from study.clock import clock_of
from study.relations import Session

LIBRARIES = 4 << 30  # bytes of address space for libraries and threads' stacks, most of it never touched
INSPECT_SECONDS, INSPECT_RATE = 600, 10_000_000  # a slow disk gives more bytes a second than this
RECIPE_SECONDS = 24 * 3600
MANY = 20  # names in a message
SYNC_RATE = 5_000_000  # bytes a second at which a very slow disk takes results in


OF_SESSION = tuple(ending for kind in ("cell_set", "event_set") for ending in KINDS[kind].results)


class _BadProducts(Exception):
    """A worker lists products that it did not write."""


@dataclass(frozen=True)
class Unit:
    """The inputs of one worker: the parts of a recording, and what else of their session it inspects."""

    parts: tuple[Recording, ...]
    others: tuple[Recording, ...]
    neighbours: tuple[Recording, ...]  # in the NWB file too, though other workers make their results
    kind: str
    fingerprint: str
    results: str  # folder, relative to the output
    session: JobSession
    recipe: RecipeChoice
    warnings: tuple[str, ...] = ()
    tables: tuple[tables.Reader, ...] = ()  # that its recipe reads beside the recordings
    failure: str = ""  # of the recipe: it is inspected so that there is something to see
    log: int | None = None  # file descriptor of a log to go on with
    edited: tuple[str, ...] = ()  # files among earlier results that somebody edited

    @property
    def recordings(self) -> tuple[Recording, ...]:
        """Whose results its worker makes."""
        return self.parts + self.others

    @property
    def inputs(self) -> tuple[Recording, ...]:
        """All that its worker reads."""
        return self.recordings + self.neighbours

    @property
    def size(self) -> int:
        return sum(recording.size for recording in self.inputs)

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


@dataclass
class Batch:
    """The sessions that a run handles, and what has become of each recording so far."""

    state: RunState
    conditions: Conditions
    staging: Folder
    related: Related
    owners: dict[str, str]  # of results: by folder, the recording that they are of (the first part of a session)
    metadata: MetadataFiles | None = None  # if sessions are to have NWB files
    fork_server: workers.ForkServer | None = None
    records: dict[str, Record] = field(default_factory=dict)  # by relative path: as this run knows them
    n_unchanged: int = 0
    n_out_of_memory: int = 0  # recordings that failed, and would not have with more of it
    import_works: bool = False  # known once a worker has failed


def handle(sessions: Sequence[Session], broken: Sequence[Recording], batch: Batch) -> list[Row]:
    """Bring every recording to an end, good or bad. Raises Stopped, NoApi, Unwritable."""
    for recording in broken:
        _fail([recording], batch.related.problems[recording.relative], batch)
    _report_products(sessions, batch)
    try:
        every = [unit for session in sessions for unit in _units(session, batch)]
        for sentence in tables.shared(each for unit in every for each in unit.tables):
            batch.state.log("shared-table", sentence, "warning")
        units = _unfinished(every, batch)
        if units:
            _carry_out(units, batch)
    finally:
        if batch.fork_server:
            batch.fork_server.stop()
            if batch.fork_server.lost:
                reason = f"the process that forks workers ended ({batch.fork_server.lost}): each worker started alone"
                batch.state.log("fork-server-lost", f"{reason}, which takes a second more", "warning")
    handled = [path for session in sessions for path in session.members] + [one.relative for one in broken]
    return rows([batch.related.recordings[path] for path in sorted(handled)], batch.records)


def rows(recordings: Sequence[Recording], records: Mapping[str, Record]) -> list[Row]:
    """One row a recording, in their order."""
    return [_row(recording, records[recording.relative]) for recording in recordings]


# ---- before the work


def _warm_up(kind: str, batch: Batch) -> None:
    """Let the imports begin before the first worker is wanted."""
    if not batch.fork_server and _may_fork(batch.conditions.recipe_for(kind)):
        command = (*supervise.FORK_SERVER_COMMAND, *(["--nwb"] if batch.metadata else []))
        with contextlib.suppress(OSError):  # then each worker imports for itself
            batch.fork_server = workers.ForkServer(command, batch.staging.anywhere / "fork-server")


def _may_fork(used: RecipeChoice) -> bool:
    """Steps of recipes may want BLAS's threads, and take long enough not to mind the imports."""
    return used.is_inspect


def _units(session: Session, batch: Batch) -> list[Unit]:
    """One for the whole session; more where a recipe works on each part, colour or plane by itself."""
    wanted = batch.conditions.recipe
    groups = [] if wanted.is_inspect else _groups(session, batch)
    if not groups:
        return [_unit(session, session.members, session.parts, RecipeChoice(), batch)]
    if not wanted.works_on_series:
        groups = [(path,) for group in groups for path in group]
    lead, *rest = groups
    elsewhere = {path for group in rest for path in group}
    mine = [path for path in session.members if path not in elsewhere]
    return [
        _unit(session, mine, lead, wanted, batch),
        *(_unit(session, group, group, wanted, batch) for group in rest),
    ]


def _groups(session: Session, batch: Batch) -> list[tuple[str, ...]]:
    """What the recipe runs on: the parts, not what was made of them.

    Colours and planes that an interleaved recording was split into are run on in its place; products are where the
    recipe takes none of the parts, and what was recorded beside these where it takes no product either.
    """
    infos, takes = batch.related.infos, batch.conditions.recipe.takes
    streams = [stream for stream in session.streams if takes(infos[stream[0]].kind)]
    split = [
        path for path in session.products if takes(infos[path].kind) and _is_interleaved(_root(path, batch), batch)
    ]
    whole = [stream for stream in streams if not (split and _is_interleaved(stream[0], batch))]
    products = split or ([] if streams else [path for path in session.products if takes(infos[path].kind)])
    series: dict[object, list[str]] = {}
    for path in products:
        label = path.removeprefix(_root(path, batch).rpartition(".")[0])
        series.setdefault((label, infos[path].series_key), []).append(path)
    beside = [] if streams or products else [path for path in session.companions if takes(infos[path].kind)]
    for path in beside:
        series.setdefault((infos[path].kind, infos[path].series_key), []).append(path)
    order = {path: number for number, path in enumerate(session.parts)}
    return [
        *whole,
        *(tuple(sorted(paths, key=lambda path: order.get(_root(path, batch), -1))) for paths in series.values()),
    ]


def _is_interleaved(path: str, batch: Batch) -> bool:
    origin = batch.related.infos[path].origin
    return origin.n_colours > 1 or len(origin.planes) > 1


def _report_products(sessions: Sequence[Session], batch: Batch) -> None:
    """Those that the recipe takes and is not run on."""
    takes, infos = batch.conditions.recipe.takes, batch.related.infos
    if batch.conditions.recipe.is_inspect:
        return
    found = []
    for session in sessions:
        run_on = {path for group in _groups(session, batch) for path in group}
        found += [path for path in session.products if takes(infos[path].kind) and path not in run_on]
    if found:
        made = batch.related.study.made
        named = [f"{path} (from {made[path].parent.file}, by {made[path].reason})" for path in found[:MANY]]
        more = f" and {len(found) - MANY} more" if len(found) > MANY else ""
        message = (
            f"inspected only, as the recipe runs on what {'it was' if len(found) == 1 else 'they were'} made from: "
            f"{', '.join(named)}{more}"
        )
        made_from = {path: made[path].parent.path for path in found}
        batch.state.log("products", message, products=made_from)


def _root(path: str, batch: Batch) -> str:
    """What a product was made from in the end."""
    made_from = batch.related.study.made_from
    while path in made_from:
        path = made_from[path]
    return path


def _unit(
    session: Session, paths: Sequence[str], parts: Sequence[str], used: RecipeChoice, batch: Batch, folder: str = ""
) -> Unit:
    """Of these recordings of a session; results go to the session's folder if they are all, or lead the others."""
    related, leads = batch.related, session.parts[0] in paths or len(parts) < len(paths)
    mine = [*parts, *(path for path in paths if path not in parts)]
    nwb = batch.metadata is not None and leads
    beside = [path for path in session.members if path not in mine] if nwb else []
    folder = folder or (related.folders[session.parts[0]] if leads else related.own[parts[0]])
    described = _describe(session, mine, beside, len(parts), folder, batch)
    everyone = [related.recordings[path] for path in (*mine, *beside)]
    kind = related.infos[parts[0]].kind
    place = batch.state.settings.input_dir / session.folder
    read = [tables.Reader(place, described.name, name) for name in used.beside]
    metadata = sessions.facts(described.metadata, described.copies) if nwb else []
    facts = [_facts(described), *tables.stamps(read), *metadata]
    edited = _edited(everyone[0], folder, batch)
    facts += [edited] if edited else []
    n, m = len(parts), len(mine)
    return Unit(
        tuple(everyone[:n]),
        tuple(everyone[n:m]),
        tuple(everyone[m:]),
        kind,
        batch.conditions.fingerprint(everyone, used, facts),
        folder,
        described,
        used,
        tuple(_left_out(session, batch)) if leads else (),
        tuple(read),
        edited=tuple(name for name, _, _ in edited),
    )


def _edited(first: Recording, folder: str, batch: Batch) -> list[tuple[str, int, int]]:
    """What somebody edited among the results of earlier runs; it is kept under another name, and said aloud."""
    output = batch.state.output
    record = results.read_record(output, first)
    try:
        found = edits.keep(output, record) if record else {}
    except OSError as error:
        batch.state.log("edited", f"edited results cannot be kept: {error}", "warning")
        found = {}
    for old, new in found.items():
        message = f"{old} is not what the run wrote: somebody edited it. It is kept as {new}"
        what = "; statuses in it hold as decisions by eye" if old.endswith("-cells.isxd") else ""
        batch.state.log("edited", message + what, "warning", path=first.relative, kept=new)
    return edits.kept(output, folder)


def _describe(
    session: Session, mine: Sequence[str], beside: Sequence[str], n_parts: int, folder: str, batch: Batch
) -> JobSession:
    related, root = batch.related, batch.state.settings.input_dir
    clock = clock_of(session, related.infos, related.study.made_from)
    name = folder.rpartition("/")[2]
    stems = _stems(mine, n_parts, name, batch)
    members = tuple(
        Member(
            path=(root / path).absolute(),
            kind=related.infos[path].kind,
            stem=stems.get(path, ""),
            offset_us=clock.places[path].offset_us,
            placed_by=clock.places[path].by,
            part=max(0, session.parts.index(origin) if (origin := _root(path, batch)) in session.parts else 0),
            is_made=path in session.products,
            only_for_nwb=path in beside,
        )
        for path in (*mine, *beside)
    )
    metadata = batch.metadata.of(session.folder, [session.name, *_file_stems(session.parts)]) if batch.metadata else []
    several = len(session.members) > 1
    return JobSession(
        name=name,
        members=members,
        start=clock.start,
        animal=session.animal,
        reasons=(*session.reasons, *([clock.sentence()] if several else [])),
        nwb=batch.metadata is not None and (session.parts[0] in mine or n_parts < len(mine)),
        metadata=tuple(metadata),
        copies=batch.metadata.copies if batch.metadata else None,
        decisions=decisions.text_of(root, session.folder, name),
    )


def _stems(paths: Sequence[str], n_parts: int, session: str, batch: Batch) -> dict[str, str]:
    """What the results of each are called: like the recording, if no two files of one name come of it."""
    used = {(session.casefold(), ending) for ending in OF_SESSION}
    stems = {}
    for number, path in enumerate(paths):
        recording, results = batch.related.recordings[path], KINDS[batch.related.infos[path].kind].results
        wanted = [session] if n_parts == 1 and number == 0 else [short(recording.stem), short(recording.file)]
        free = (
            stem for stem in wanted if not any((stem.casefold(), ending) in used for ending in results) or number == 0
        )
        stems[path] = next(free, f"{wanted[-1]}-{number}")
        used |= {(stems[path].casefold(), ending) for ending in results}
    return stems


def _file_stems(paths: Sequence[str]) -> list[str]:
    return [path.rpartition("/")[2].rpartition(".")[0] for path in paths]


def _facts(session: JobSession) -> object:
    """What of a session decides its results, beside the recordings' own stamps."""
    return [
        [session.name, session.animal, session.start.isoformat() if session.start else "", list(session.reasons)],
        [[one.path.name, one.stem, one.offset_us, one.part, one.is_made, one.only_for_nwb] for one in session.members],
        *([session.decisions] if session.decisions else []),
    ]


def _left_out(session: Session, batch: Batch) -> list[str]:
    """Recordings that cannot be read and would belong to it, as far as their names tell."""
    parts = [batch.related.recordings[path].stem for path in session.parts]
    numbers = [names.numbering(stem) for stem in parts]
    bases = {each.base for each in numbers if each and (each.is_acquisitions or len(parts) > 1)}
    stems = [*parts, *(each.whole for each in numbers if each and len(parts) > 1)]
    found = []
    for path, problem in batch.related.problems.items():
        other = batch.related.recordings[path]
        theirs = names.numbering(other.stem)
        is_part = theirs is not None and theirs.base in bases
        if other.folder == session.folder and (is_part or any(names.begin_alike(other.stem, stem) for stem in stems)):
            found.append(f"{path} is left out of the session: {problem}")
    return found


def _split(unit: Unit, batch: Batch) -> list[Unit]:
    """Of a session whose worker died: its parts, and each other recording, by itself. One must not cost the others."""
    found = []
    for recordings in [unit.parts, *([one] for one in unit.others)]:
        paths = tuple(one.relative for one in recordings)
        alone = Session(unit.session.name, recordings[0].folder, (paths,), animal=unit.session.animal)
        is_lead = recordings is unit.parts
        used, folder = (unit.recipe, unit.results) if is_lead else (RecipeChoice(), batch.related.own[paths[0]])
        found.append(_unit(alone, paths, paths, used, batch, folder))
    return found


def _unfinished(units: Sequence[Unit], batch: Batch) -> list[Unit]:
    """Those that an earlier run has not done."""
    todo = []
    for unit in units:
        batch.state.tick()
        old = _current_record(unit, batch)
        if old:
            batch.records.update((recording.relative, old) for recording in unit.recordings)
            batch.n_unchanged += len(unit.recordings)
        else:
            todo.append(unit)
    return todo


def _current_record(unit: Unit, batch: Batch) -> Record | None:
    """The record of an earlier run that would do the same, if its results are still there."""
    output = batch.state.output
    record = None if batch.state.settings.force else results.read_record(output, unit.recordings[0])
    if record and record.fingerprint == unit.fingerprint:
        whole = set(record.inputs) == {recording.relative for recording in unit.recordings}
        return record if whole and results.is_complete(output, record) else None
    return None


# ---- the work


def _carry_out(units: Sequence[Unit], batch: Batch) -> None:
    """The largest first, so that none is left alone at the end."""
    units = sorted(units, key=lambda unit: (-unit.size, unit.name))
    state, settings = batch.state, batch.state.settings
    for unit in units:
        _warm_up(unit.kind, batch)
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
        if unit.edited:
            place.edited = output.folder(unit.results)
    except OSError:
        place.close()
        raise
    job = Job(
        inputs=tuple((settings.input_dir / recording.relative).absolute() for recording in unit.parts),
        kind=unit.kind,
        stem=unit.results.rpartition("/")[2],
        staging=place.staging,
        scratch=place.scratch,
        results=place.earlier.anywhere if place.earlier else None,
        recipe=used.path,
        copies=None if used.is_inspect else batch.staging.anywhere / "copies",
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
    """Publish the results, or put the failure on record; returns what is to be done instead."""
    place: Workplace = task.owner
    unit = place.unit
    verdict.reason = place.as_seen(verdict.reason)
    verdict.warnings = list(dict.fromkeys([*unit.warnings, *map(place.as_seen, verdict.warnings)]))
    folder = batch.state.settings.input_dir
    changes = [unchanged_input(recording, folder / recording.relative) for recording in unit.inputs]
    problem = next(filter(None, changes), "")
    died = not verdict.ok and not problem and verdict.died and bool(unit.others)
    instead = not verdict.ok and not problem and not died and not unit.recipe.is_inspect
    if verdict.ok and not problem:
        problem = _publish(unit, verdict, place, batch)
    if problem:
        verdict.ok, verdict.reason = False, problem
    if died:
        said = f"{unit.name}: failed as a session, so that each is tried by itself: {verdict.reason}"
        batch.state.log("session-failed", said, "warning", path=unit.name, reason=verdict.reason)
    elif not verdict.ok and unit.failure:
        message = f"{unit.name}: it could not be inspected either: {verdict.reason}"
        batch.state.log("recording-warning", message, "warning", path=unit.name)
    elif not verdict.ok:
        batch.n_out_of_memory += len(unit.recordings) if verdict.out_of_memory and not problem else 0
        _fail(unit.recordings, verdict.reason, batch, unit.kind, verdict)
    _note_in_log(place.log, verdict)
    units = _split(unit, batch) if died else _to_inspect(place, verdict, batch) if instead else []
    place.close()
    batch.staging.remove_tree(place.name)
    return units


def _to_inspect(place: Workplace, verdict: Verdict, batch: Batch) -> list[Unit]:
    """The recordings of a unit whose recipe failed: what is wrong with them may be seen there.

    Results that a recipe made earlier stay as they are: they may have taken days.
    """
    unit = place.unit
    record = results.read_record(batch.state.output, unit.recordings[0])
    by_recipe = record is not None and bool(record.results) and record.recipe != INSPECT
    if record and by_recipe and results.are_there(batch.state.output, record):
        return []
    return [
        replace(
            unit,
            recipe=RecipeChoice(),
            fingerprint=f"{unit.fingerprint} inspected",
            warnings=tuple(verdict.warnings),
            failure=verdict.reason,
            log=os.dup(place.log),
        )
    ]


def _publish(unit: Unit, verdict: Verdict, place: Workplace, batch: Batch) -> str:
    """Returns why not, or nothing."""
    state, output, staging = batch.state, batch.state.output, place.staging
    failed = _failed(unit, verdict, batch)
    sound = [recording for recording in unit.recordings if recording.relative not in failed]
    try:
        record = _record(unit, sound, verdict, staging, batch)
        old = results.read_record(output, unit.recordings[0])
        if theirs := results.foreign(output, record, old):
            return f"its results cannot be written: {theirs} is there already, and from no run; move it away"
        _withdraw_results_elsewhere(unit, batch)
        state.heart.beat(within=120 + sum(record.products.values()) / SYNC_RATE)
        results.publish(output, staging, sound, record, old)
        for recording in unit.recordings if not unit.failure else ():
            for folder in {unit.results, batch.related.own[recording.relative]}:
                results.forget_kept_steps(output, folder)
    except _BadProducts as error:
        return str(error)
    except OSError as error:
        return f"its results cannot be written: {error.strerror or error} ({error.filename})"
    batch.records.update((recording.relative, record) for recording in sound)
    for path, reason in failed.items():
        _fail([batch.related.recordings[path]], reason, batch, batch.related.infos[path].kind)
    if unit.failure:
        _done_after_all(unit, record, batch)
        state.log("recording-inspected", f"{unit.name}: inspected, as its recipe failed", path=unit.name)
        return ""
    message = f"{unit.name}: {record.summary or 'done'} ({duration(verdict.seconds)})"
    state.log("recording-done", message, path=unit.name, kind=unit.kind, seconds=verdict.seconds)
    for warning in verdict.warnings:
        state.log("recording-warning", f"{unit.name}: {warning}", "warning", path=unit.name)
    for sentence in verdict.advice:
        state.log("recording-advice", f"{unit.name}: {sentence}", path=unit.name)
    return ""


def _done_after_all(unit: Unit, record: Record, batch: Batch) -> None:
    """What was recorded beside parts whose recipe failed is as it would be without a recipe."""
    for recording in unit.others:
        if batch.records[recording.relative] is record:
            theirs = replace(record, inputs=[recording.relative], status="done", reason="", inspected=False, parts=0)
            results.write_record(batch.state.output, [recording], theirs)
            batch.records[recording.relative] = theirs


def _failed(unit: Unit, verdict: Verdict, batch: Batch) -> dict[str, str]:
    """Recordings of the session that the worker could not use, and why: the others have their results."""
    root = batch.state.settings.input_dir
    by_path = {str((root / recording.relative).absolute()): recording.relative for recording in unit.recordings[1:]}
    return {by_path[path]: reason for path, reason in verdict.result.failed.items() if path in by_path}


def _withdraw_results_elsewhere(unit: Unit, batch: Batch) -> None:
    """A recording that joins or leaves a session moves: its old results go, unless others have taken their place."""
    output, owners = batch.state.output, batch.owners
    for recording in unit.recordings:
        old = results.read_record(output, recording)
        if old and old.results not in ("", unit.results):
            owner = owners.get(old.results, recording.relative)
            if owner in [part.relative for part in unit.recordings]:
                results.withdraw(output, old)


def _record(unit: Unit, recordings: Sequence[Recording], verdict: Verdict, staging: Path, batch: Batch) -> Record:
    """Raises _BadProducts."""
    names = sorted(set(verdict.result.products))
    last = unit.results.rpartition("/")[2] + ".json"
    if last not in names:
        raise _BadProducts(f"its worker wrote no {last}")
    for name in names:
        if not is_product(name) or not (staging / name).is_file() or (staging / name).is_symlink():
            raise _BadProducts(f"its worker lists {name}, but wrote no such file")
    return Record(
        inputs=[recording.relative for recording in recordings],
        status="failed" if unit.failure else "done",
        reason=unit.failure,
        kind=unit.kind,
        recipe=unit.recipe.name,
        inspected=bool(unit.failure),
        fingerprint=unit.fingerprint,
        results=unit.results,
        products={name: (staging / name).stat().st_size for name in names},
        prints={name: edits.print_of(staging / name) for name in names if name.endswith(edits.EDITABLE)},
        summary=verdict.result.summary,
        thumbnail=verdict.result.thumbnail,
        warnings=verdict.warnings,
        advice=verdict.advice,
        seconds=verdict.seconds + (batch.records[recordings[0].relative].seconds if unit.failure else 0.0),
        parts=sum(recording in recordings for recording in unit.parts),
        animal=unit.session.animal,
        start=unit.session.start.isoformat() if unit.session.start else "",
        code=batch.conditions.code,
        infos={recording.relative: batch.related.infos[recording.relative].facts for recording in recordings},
        stamps={recording.relative: [recording.size, recording.mtime_ns] for recording in recordings},
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
        prints=old.prints if old and old.status != "publishing" else {},
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


def _row(recording: Recording, record: Record) -> Row:
    done, first = record.status == "done", record.inputs[0]
    shown = done or record.inspected
    several = len(record.inputs) > 1
    number = record.inputs.index(recording.relative) + 1
    found = record.infos.get(recording.relative)
    return Row(
        path=recording.relative,
        kind=str(found["kind"]) if isinstance(found, dict) and found.get("kind") in KINDS else record.kind,
        status="done" if done else "failed",
        reason=record.reason,
        seconds=record.seconds,
        summary=record.summary,
        thumbnail=record.thumbnail,
        warnings=record.warnings,
        advice=record.advice,
        results=record.results if shown else "",
        products=tuple(record.products) if shown else (),
        log=replace(recording, relative=first).log if record.seconds else "",
        session=first if several else "",
        part=number if number <= record.parts and record.parts > 1 else 0,
        parts=record.parts if several else 0,
        animal=record.animal,
        start=record.start,
    )
