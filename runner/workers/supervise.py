"""One process for each recording, watched: its time, its memory, its end."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from common.ownership import NO_SPACE
from native.loading import ending
from protocol import process
from protocol.job import Advice, At, Caution, Failure, Job, Malformed, Progress, Result, event_from_json
from runner import machine
from runner.signals import Signals
from runner.workers import processes
from runner.workers.activity import EVERY, Activity, usage
from runner.workers.processes import ForkServer
from runner.workers.strays import end_strays

COMMAND = (sys.executable, "-m", "pipeline")
FORK_SERVER_COMMAND = (*COMMAND, "--fork-server")
MAX_LINE = 16 << 20  # bytes of one event; a thumbnail needs a few thousand
BEAT = 1.0  # seconds
NEARLY_FULL = 1 << 20  # bytes left on a disk that count as full
BROKEN = "its worker broke the protocol"


@dataclass
class Task:
    """One call of a worker."""

    name: str  # for messages
    job: Job  # threads and events_fd are filled in when it starts
    log: int  # file descriptor
    address_space: int | None  # bytes
    time_limit: float | None  # seconds
    weight: int  # bytes of input, for the estimate of the time left
    idle_limit: float | None = None  # seconds in which the worker gets nowhere
    may_fork: bool = False  # does without threads of BLAS
    is_alone: bool = False  # no other runs beside it
    owner: Any = None  # for the caller, given back with the verdict


@dataclass
class Verdict:
    """How it went."""

    ok: bool
    reason: str = ""
    result: Result = field(default_factory=lambda: Result(()))
    warnings: list[str] = field(default_factory=list)
    advice: list[str] = field(default_factory=list)
    seconds: float = 0.0
    out_of_memory: bool = False  # with more it might have gone well
    died: bool = False  # without a word of why
    at: Path | None = None  # the recording that it was looking at then


@dataclass
class _Worker:
    task: Task
    pid: int
    events: int  # file descriptor
    started: float
    oom_kills: int
    log_before: int  # bytes: an earlier worker may have written to its log
    returncode: int = 0
    buffer: bytearray = field(default_factory=bytearray)
    fraction: float = 0.0
    result: Result | None = None
    failure: str = ""  # the reason, as far as the worker has said or shown it
    out_of_memory: bool = False
    at: Path | None = None
    activity: Activity = field(default_factory=Activity)
    warnings: list[str] = field(default_factory=list)
    advice: list[str] = field(default_factory=list)


@dataclass
class Supervisor:
    """Works through tasks, at most `slots` at once.

    Tasks that may be forked are forked by the fork server while there is one, else they start with the command.
    """

    slots: int
    cores: int
    signals: Signals
    command: Sequence[str] = COMMAND
    fork_server: ForkServer | None = None
    _running: list[_Worker] = field(default_factory=list)
    _waiting: Task | None = None  # until it can run alone
    _looked: float = field(default_factory=time.monotonic)
    _selector: selectors.BaseSelector = field(default_factory=selectors.DefaultSelector)

    def work_through(
        self,
        tasks: Iterator[Task],
        n_tasks: int,
        on_verdict: Callable[[Task, Verdict], None],
        on_beat: Callable[[int, float], None],
    ) -> None:
        """Run all tasks until each has a verdict. Raises Stopped.

        `on_beat` is called at least once a second with the number of verdicts and the bytes done of tasks under way.
        """
        n_started = n_done = 0
        process.adopt_orphans()  # in case this is not PID 1
        self._selector.register(self.signals.wakeup, selectors.EVENT_READ)
        try:
            while True:
                while (task := self._next(tasks)) is not None:
                    left = max(1, n_tasks - n_started + len(self._running))  # more may come up
                    threads = max(1, self.cores // min(self.slots, left))
                    n_started += 1
                    try:
                        self._start(task, threads)
                    except OSError as error:
                        n_done += 1
                        on_verdict(task, Verdict(False, f"its worker cannot be started: {error.strerror or error}"))
                if not self._running:
                    return
                self._listen()
                self.signals.check()
                self._enforce_limits()
                for worker in self._ended():
                    n_done += 1
                    on_verdict(worker.task, _verdict(worker))
                on_beat(n_done, sum(worker.fraction * worker.task.weight for worker in self._running))
        finally:
            self._stop()

    def _next(self, tasks: Iterator[Task]) -> Task | None:
        """A task that may start now: one that is to run alone waits until nothing else runs."""
        if len(self._running) >= self.slots or any(worker.task.is_alone for worker in self._running):
            return None
        task, self._waiting = self._waiting or next(tasks, None), None
        if task and task.is_alone and self._running:
            self._waiting, task = task, None
        return task

    def _start(self, task: Task, threads: int) -> None:
        """Raises OSError."""
        reader, writer = os.pipe()
        os.set_blocking(reader, False)
        job = replace(task.job, threads=threads, events_fd=writer)
        log_before = os.fstat(task.log).st_size
        try:
            with contextlib.ExitStack() as stack:
                stack.callback(os.close, writer)
                job_file = stack.enter_context(_as_file(job.to_json()))
                given = (job_file, task.log, writer, str(job.scratch), task.address_space)
                pid = self.fork_server.start(*given) if self.fork_server and task.may_fork else 0
                pid = pid or processes.start(self.command, *given)
        except OSError:
            os.close(reader)
            raise
        worker = _Worker(task, pid, reader, time.monotonic(), machine.oom_kills(), log_before)
        self._running.append(worker)
        self._selector.register(reader, selectors.EVENT_READ, worker)

    def _listen(self) -> None:
        """Wait for events or a signal, but no longer than a beat."""
        for key, _ in self._selector.select(BEAT):
            if key.data is None:
                self.signals.drain()
            elif not _read_events(key.data):
                self._selector.unregister(key.fd)

    @property
    def under_way(self) -> list[tuple[Task, float]]:
        """Each task that a worker is at, and for how many seconds that one has been idle."""
        return [(worker.task, worker.activity.idle) for worker in self._running]

    def _enforce_limits(self) -> None:
        now = time.monotonic()
        if now - self._looked >= EVERY:
            used = usage([worker.pid for worker in self._running])
            for worker in self._running:
                worker.activity.look(used[worker.pid], now - self._looked)
            self._looked = now
        for worker in self._running:
            reason = _past_its_limits(worker, now)
            if reason:
                worker.failure = reason
                _kill(worker)

    def _ended(self) -> Iterator[_Worker]:
        """Workers that have ended, with all that they have said."""
        ended = _reap()
        for worker in [worker for worker in self._running if worker.pid in ended]:
            self._running.remove(worker)
            worker.returncode = ended[worker.pid]
            _read_events(worker)
            with contextlib.suppress(KeyError):
                self._selector.unregister(worker.events)
            _kill(worker)  # and all that is left of its process group
            if left := end_strays([other.pid for other in self._running]):
                worker.warnings.append(f"it left {left} processes behind that could not be ended")
            os.close(worker.events)
            yield worker

    def _stop(self) -> None:
        for worker in self._running:
            _kill(worker)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(worker.pid, 0)
            os.close(worker.events)
        end_strays(())
        self._selector.close()


@contextlib.contextmanager
def _as_file(content: bytes) -> Iterator[int]:
    """A job may be longer than a pipe holds: a file in memory never blocks."""
    fd = os.memfd_create("job")
    try:
        os.write(fd, content)
        os.lseek(fd, 0, os.SEEK_SET)
        yield fd
    finally:
        os.close(fd)


def _read_events(worker: _Worker) -> bool:
    """Take in the events so far; False at their end."""
    while True:
        try:
            chunk = os.read(worker.events, 1 << 20)
        except BlockingIOError:
            return True
        if not chunk:
            return False
        worker.buffer += chunk
        if b"\n" in chunk:
            *lines, worker.buffer = worker.buffer.split(b"\n")
            for line in lines:
                _take_event(worker, line)
        if len(worker.buffer) > MAX_LINE:
            worker.failure, worker.buffer = f"{BROKEN}: it sent an event that does not end", bytearray()
            _kill(worker)


def _take_event(worker: _Worker, line: bytearray) -> None:
    try:
        event = event_from_json(line)
    except Malformed as error:
        worker.failure = worker.failure or f"{BROKEN}: it sent an event that cannot be read ({error})"
        return
    worker.activity.idle = 0.0
    if isinstance(event, Progress):
        worker.fraction = min(1.0, max(0.0, event.done))
    elif isinstance(event, Caution):
        worker.warnings.append(event.message)
    elif isinstance(event, Advice):
        worker.advice.append(event.message)
    elif isinstance(event, At):
        worker.at = event.path
    elif isinstance(event, Failure):
        worker.failure, worker.out_of_memory = event.reason, event.out_of_memory
    elif isinstance(event, Result):
        worker.result = event


def _past_its_limits(worker: _Worker, now: float) -> str:
    """Which one, or "" if none."""
    limit, idle = worker.task.time_limit, worker.task.idle_limit
    if limit and now - worker.started > limit:
        return f"not finished after {limit:.0f} s and stopped: raise WORKER_TIMEOUT if it only needs longer"
    if idle and worker.activity.idle > idle:
        return (
            f"its worker hung and was stopped: it did not compute, read or write anything for {idle:.0f} s; "
            "raise WORKER_IDLE if it waits for something"
        )
    return ""


def _reap() -> dict[int, int]:
    """Every child that has ended, with its return code as Popen gives it: PID 1 inherits orphans too."""
    ended = {}
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            ended[pid] = os.waitstatus_to_exitcode(status)
    return ended


def _kill(worker: _Worker) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(worker.pid, signal.SIGKILL)


def _verdict(worker: _Worker) -> Verdict:
    failure = worker.failure
    if not failure and (worker.result is None or worker.returncode != 0):
        failure, worker.out_of_memory = _cause_of_death(worker)
    seconds = round(time.monotonic() - worker.started, 3)
    result = worker.result if worker.result and not failure else Result(())
    died = bool(failure) and not worker.failure
    starved, at = worker.out_of_memory, worker.at if died else None
    return Verdict(not failure, failure, result, worker.warnings, worker.advice, seconds, starved, died, at)


def _cause_of_death(worker: _Worker) -> tuple[str, bool]:
    """What it was, and whether more memory would help."""
    code = worker.returncode
    if code == -signal.SIGKILL and machine.oom_kills() > worker.oom_kills:
        limit = machine.memory_limit() >> 20
        return f"out of memory: the container's {limit} MB are not enough; give it more, or lower WORKERS", True
    with contextlib.suppress(OSError):
        disk = os.fstatvfs(worker.task.log)
        if disk.f_bavail * disk.f_frsize < NEARLY_FULL:
            return NO_SPACE, False
    death = f"its worker ended with {ending(code)}" if code else "its worker ended without a result"
    last_words = last_line(worker.task.log, worker.log_before)
    starved = code == -signal.SIGKILL or "std::bad_alloc" in last_words
    advice = " (most likely the file is damaged)" if code < 0 else ""
    if starved:
        advice = " (most likely out of memory: give the run more, or lower WORKERS)"
    return f"{death}{advice}" + (f"; its last output: {last_words}" if last_words else ""), starved


def last_line(log: int, since: int = 0) -> str:
    """The last line of a log that is not empty, among those after its first `since` bytes; "" if there is none."""
    try:
        text = os.pread(log, 4096, max(since, os.fstat(log).st_size - 4096)).decode("utf-8", "replace")
    except OSError:
        return ""
    lines = text.partition("Fatal Python error")[0].strip().splitlines()  # faulthandler's own words say no more
    return lines[-1].strip()[:300] if lines else ""
