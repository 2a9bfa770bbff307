"""Following the cells of each animal: tasks for its workers, and what became of them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from common import APP
from protocol.job import ANIMAL, INSPECT, Job, Options
from protocol.overview import Followed
from recording.names import join
from runner import machine
from runner.animals import in_sessions
from runner.animals.sessions import WithCells, by_animal, with_cells
from runner.endings import why_unwritten, writing
from runner.events import counted, duration
from runner.output.publish import BadProducts, checked_products, publish
from runner.output.settle import note_in_log
from runner.output_folder import Folder
from runner.own import ANIMALS
from runner.recordings import Recording
from runner.records import Record, digest, is_complete, read_record, write_record
from runner.state import RunState, code_digest, container_facts, software
from runner.workers.jobs import address_space, idle_limit
from runner.workers.supervise import Supervisor, Task, Verdict

SECONDS, SECONDS_A_SESSION = 600, 60


def followed(
    recordings: Sequence[Recording], records: Sequence[Record], state: RunState, staging: Folder
) -> list[Followed]:
    """What became of each animal that has two sessions with cells or more, by name. Raises Stopped."""
    sessions = with_cells(recordings, records, state)
    if len(sessions) < 2:
        return []
    stage = _Stage(state, staging, software(state.api), code_digest(APP))
    animals = [_Animal(name, those) for name, those in sorted(by_animal(sessions, state).items()) if len(those) > 1]
    tasks = list(filter(None, map(stage.task_or_earlier, animals)))
    if tasks:
        stage.carry_out(tasks)
    return sorted(stage.done, key=lambda outcome: outcome.animal)


@dataclass(frozen=True)
class _Animal:
    name: str
    sessions: Sequence[WithCells]

    @property
    def place(self) -> Recording:
        """Where its results, its record and its log go."""
        return in_sessions.place_of(self.name)

    @property
    def folders(self) -> tuple[str, ...]:
        """Folders of the results of its sessions."""
        return tuple(session.results for session in self.sessions)

    def followed(self, record: Record) -> Followed:
        return Followed(
            self.name,
            self.folders,
            "done",
            summary=record.summary,
            results=record.results,
            products=tuple(record.products),
            warnings=tuple(record.warnings),
            fingerprint=record.fingerprint,
        )


@dataclass
class _Stage:
    state: RunState
    staging: Folder
    software: dict[str, str]
    code: str
    done: list[Followed] = field(default_factory=list)

    def task_or_earlier(self, animal: _Animal) -> Task | None:
        """None if an earlier run has done it, or if it cannot be written: that is on record then."""
        old = None if self.state.settings.force else read_record(self.state.output, animal.place)
        if old and old.fingerprint == self._fingerprint(animal) and is_complete(self.state.output, old):
            self.done.append(replace(animal.followed(old), is_earlier=True))
            return None
        try:
            return self._task(animal)
        except OSError as error:
            self._settle_failure(animal, why_unwritten(error))
            return None

    def _fingerprint(self, animal: _Animal) -> str:
        content = [[session.results, session.start, session.fingerprint] for session in animal.sessions]
        return digest({"sessions": content, "software": self.software, "code": self.code})

    def _task(self, animal: _Animal) -> Task:
        """Raises Unwritable, OSError."""
        output, settings = self.state.output, self.state.settings
        log = output.create(animal.place.log)
        folder = self.staging.anywhere / f"{ANIMAL}-{animal.name}"
        with writing(output.path):
            for new in ("results", "scratch"):
                (folder / new).mkdir(parents=True)
        job = Job(
            inputs=tuple(session.source for session in animal.sessions),
            kind=ANIMAL,
            stem=animal.name,
            staging=folder / "results",
            scratch=folder / "scratch",
            recipe=INSPECT,
            options=Options(),
            results=output.anywhere.absolute(),
            provenance={
                "fingerprint": self._fingerprint(animal),
                "sessions": [{"results": s.results, "start": s.start, "table": s.table} for s in animal.sessions],
                "software": dict(self.software),
                "container": container_facts(),
            },
        )
        return Task(
            name=animal.place.relative,
            job=job,
            log=log,
            address_space=address_space(settings),
            time_limit=settings.worker_timeout or SECONDS + SECONDS_A_SESSION * len(animal.sessions),
            idle_limit=idle_limit(settings),
            weight=1,
            owner=animal,
        )

    def carry_out(self, tasks: Sequence[Task]) -> None:
        """Raises Stopped."""
        state, cores = self.state, machine.cores()
        slots = min(len(tasks), state.settings.workers or machine.workers(cores, machine.memory_limit()))
        state.log("following", f"following the cells of {counted(len(tasks), 'animal')} across their sessions")
        supervisor = Supervisor(max(1, slots), cores, state.signals)
        supervisor.work_through(iter(tasks), len(tasks), self._settle, lambda *_: state.heart.tick())

    def _settle(self, task: Task, verdict: Verdict) -> None:
        animal: _Animal = task.owner
        if verdict.ok and (problem := self._publish(animal, task.job, verdict)):
            verdict = replace(verdict, ok=False, reason=problem)
        if not verdict.ok:
            self._settle_failure(animal, verdict.reason)
        note_in_log(task.log, verdict)
        os.close(task.log)
        self.staging.remove_tree(f"{ANIMAL}-{animal.name}")

    def _publish(self, animal: _Animal, job: Job, verdict: Verdict) -> str:
        """Returns why not, or nothing."""
        output, place, log = self.state.output, animal.place, self.state.log
        try:
            record = Record(
                inputs=[place.relative],
                status="done",
                kind="cell_set",
                fingerprint=job.provenance["fingerprint"],
                results=join(ANIMALS, animal.name),
                sessions=[*animal.folders],
                products=checked_products(verdict.result.products, job.staging, animal.name),
                summary=verdict.result.summary,
                warnings=verdict.warnings,
                seconds=verdict.seconds,
            )
            publish(output, job.staging, [place], record, read_record(output, place))
        except BadProducts as error:
            return str(error)
        except OSError as error:
            return why_unwritten(error)
        log("animal-done", f"{place.relative}: {record.summary} ({duration(verdict.seconds)})", path=place.relative)
        for warning in verdict.warnings:
            log("animal-warning", f"{place.relative}: {warning}", "warning", path=place.relative)
        self.done.append(animal.followed(record))
        return ""

    def _settle_failure(self, animal: _Animal, reason: str) -> None:
        """Earlier results are kept: they are true of the sessions as they were then."""
        state, place = self.state, animal.place
        state.log("animal-failed", f"{place.relative}: {reason}", "error", path=place.relative, reason=reason)
        self.done.append(Followed(animal.name, animal.folders, "failed", reason))
        old = read_record(state.output, place)
        if old:
            try:
                write_record(state.output, [place], replace(old, fingerprint=""))
            except OSError as error:
                state.log(
                    "record-failed",
                    f"{place.relative}: its record cannot be written: {error.strerror or error}",
                    "warning",
                )
