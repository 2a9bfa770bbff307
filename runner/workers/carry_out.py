"""Carrying units out: the largest first, a worker each, as many at once as the machine has room for."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import count

from runner import machine
from runner.endings import why_unwritten
from runner.events import Log
from runner.heartbeat import HANGS_AFTER, WITHIN, Pulse
from runner.output_folder import Folder
from runner.settings import Settings
from runner.state import Conditions, RunState
from runner.work.unit import Unit
from runner.workers.jobs import Workplace, may_fork, task_of
from runner.workers.processes import ForkServer
from runner.workers.supervise import FORK_SERVER_COMMAND, Supervisor, Task, Verdict

Settle = Callable[[Workplace, Verdict], Sequence[Unit]]
Refuse = Callable[[Unit, str], None]


@contextlib.contextmanager
def fork_server_for(units: Iterable[Unit], nwb: bool, staging: Folder, log: Log) -> Iterator[ForkServer | None]:
    """The fork server for the units' workers, if any may be forked. It imports before the first worker is needed."""
    server = None
    if any(may_fork(unit.recipe) for unit in units):
        with contextlib.suppress(OSError):  # then each worker imports for itself
            command = (*FORK_SERVER_COMMAND, *(["--nwb"] if nwb else []))
            server = ForkServer(command, staging.anywhere / "fork-server")
    try:
        yield server
    finally:
        if server:
            server.stop()
            if server.lost:
                reason = f"the process that forks workers ended ({server.lost}): each worker started alone"
                log("fork-server-lost", f"{reason}, which takes a second more", "warning")


def carry_out(
    units: Sequence[Unit],
    conditions: Conditions,
    staging: Folder,
    state: RunState,
    fork_server: ForkServer | None,
    settle: Settle,
    refuse: Refuse,
) -> None:
    """`settle` is told how each worker ended and returns what is to be done instead; `refuse`, what got none and why.

    Raises Stopped, Unwritable, and what these raise.
    """
    if not units:
        return
    units = sorted(units, key=lambda unit: (-unit.size, unit.name))  # so that none is left alone at the end
    tasks = _Tasks(units, conditions, staging, state, refuse)
    cores = machine.cores()
    supervisor = Supervisor(_slots(state.settings, cores), cores, state.signals, fork_server=fork_server)
    progress = _Progress(supervisor, state, units)

    def on_verdict(task: Task, verdict: Verdict) -> None:
        progress.done_bytes += task.weight
        tasks.todo.extend(settle(task.owner, verdict))

    supervisor.work_through(tasks, len(units), on_verdict, progress.show)
    state.heart.workers = []


def _slots(settings: Settings, cores: int) -> int:
    """How many workers at once: as asked for, or as cores, memory, processes and open files allow."""
    if settings.workers:
        return settings.workers
    slots, limit = machine.workers(cores, machine.memory_limit()), machine.process_limit()
    while limit and slots > 1 and machine.processes_needed(slots, cores) > limit:
        slots -= 1
    return min(slots, max(1, (machine.raise_file_limit() - machine.files_needed(0)) // 6))


class _Tasks(Iterator[Task]):
    """A task for each unit, and for those that come up meanwhile."""

    def __init__(
        self, units: Iterable[Unit], conditions: Conditions, staging: Folder, state: RunState, refuse: Refuse
    ) -> None:
        self.todo, self.numbers = deque(units), count()
        self.conditions, self.staging, self.state, self.refuse = conditions, staging, state, refuse

    def __next__(self) -> Task:
        while self.todo:
            unit, name = self.todo.popleft(), str(next(self.numbers))
            try:
                return task_of(unit, name, self.conditions, self.staging, self.state)
            except OSError as error:
                self.refuse(unit, why_unwritten(error))
        raise StopIteration


class _Progress:
    """Shows how far the work is: in the log, and in the heartbeat."""

    def __init__(self, supervisor: Supervisor, state: RunState, units: Sequence[Unit]) -> None:
        self.supervisor, self.state, self.n_units = supervisor, state, len(units)
        self.total = sum(unit.size for unit in units) or 1
        self.began = time.monotonic()
        self.done_bytes = 0

    def show(self, n_done: int, bytes_under_way: float) -> None:
        state = self.state
        state.heart.workers = [_pulse(task, idle) for task, idle in self.supervisor.under_way]
        state.heart.tick()
        fraction = min(1.0, (self.done_bytes + bytes_under_way) / self.total)
        elapsed = time.monotonic() - self.began
        left = elapsed * (1 - fraction) / fraction if fraction > 0.01 and elapsed > 1 else None
        state.log.progress(fraction, n_done, self.n_units, left)


def _pulse(task: Task, idle: float) -> Pulse:
    """A worker that is stopped at its limit has a while to end: it cannot while it waits for a disk."""
    return Pulse(task.name, idle, task.idle_limit + WITHIN if task.idle_limit else HANGS_AFTER)
