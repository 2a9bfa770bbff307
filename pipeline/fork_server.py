"""Fork server: imports the workers' packages once, forks a worker for each request. runner.workers is PID 1's side."""

from __future__ import annotations

import contextlib
import functools
import os
import socket
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import NoReturn

from protocol import process
from protocol.job import Fork


def serve(fd: int, do_job: Callable[[int], int]) -> None:
    """Fork a worker for each request until PID 1 closes the socket.

    Each fork calls `do_job` with the file descriptor for events; it returns the exit code. Standard input, output and
    error, the working folder and the limits are set by then.
    """
    supervisor = os.getppid()
    with socket.socket(fileno=fd) as connection:
        while True:
            request, fds, _, _ = socket.recv_fds(connection, process.MAX_REQUEST, 3)
            if not request:
                return
            worker = functools.partial(_worker, connection, supervisor, Fork.from_json(request), fds, do_job)
            _fork_twice(worker, connection.send)
            for inherited in fds:
                os.close(inherited)


def _fork_twice(worker: Callable[[], int], tell: Callable[[bytes], object]) -> None:
    """Run `worker` in a grandchild. Its parent exits at once, so PID 1 adopts it.

    The worker waits until `tell` has passed its pid to PID 1; if that fails, it never starts. If there is no process or
    memory left for it, `tell` gets no bytes.
    """
    pid_reader, pid_writer = os.pipe()
    go_reader, go_writer = os.pipe()
    parent = -1
    with contextlib.suppress(OSError):
        parent = os.fork()
    if parent == 0:
        with contextlib.suppress(OSError):
            pid = os.fork()
            if pid == 0:
                os.close(pid_writer)
                os.close(go_writer)
                _run_and_exit(worker, go_reader)
            os.setpgid(pid, pid)
            os.write(pid_writer, str(pid).encode())
        os._exit(0)
    os.close(pid_writer)
    os.close(go_reader)
    try:
        if parent > 0:
            os.waitpid(parent, 0)
        pid = os.read(pid_reader, 32)
        tell(pid)
        if pid:
            with contextlib.suppress(BrokenPipeError):  # it was killed meanwhile: PID 1 will see
                os.write(go_writer, b"!")
    finally:
        os.close(pid_reader)
        os.close(go_writer)


def _worker(
    connection: socket.socket,
    supervisor: int,
    request: Fork,
    fds: Sequence[int],
    do_job: Callable[[int], int],
) -> int:
    connection.close()  # else PID 1 would not see that the fork server ends
    stdin, log, events = fds
    for given, standard in ((stdin, 0), (log, 1), (log, 2)):
        os.dup2(given, standard)
    process.begin(request.address_space)
    os.chdir(request.scratch)
    return do_job(events) if os.getppid() == supervisor else 1


def _run_and_exit(worker: Callable[[], int], go: int) -> NoReturn:
    code = 1
    try:
        if os.read(go, 1):
            code = worker()
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
