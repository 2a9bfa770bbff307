"""A process that has imported what workers need, and forks one for each request. PID 1's side is runner.workers."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import socket
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from recording import process

MAX_REQUEST = 65536  # bytes; paths are at most 4096


def serve(fd: int, work: Callable[[int], int]) -> None:
    """The other side: fork for each request until PID 1 closes the socket.

    `work` is called in each fork with the file descriptor for events, and returns the exit code; standard input, output
    and error, the working folder and the limits are set by then.
    """
    supervisor = os.getppid()
    with socket.socket(fileno=fd) as connection:
        while True:
            request, fds, _, _ = socket.recv_fds(connection, MAX_REQUEST, 3)
            if not request:
                return
            worker = functools.partial(_worker, connection, supervisor, json.loads(request), fds, work)
            _fork_twice(worker, connection.send)
            for each in fds:
                os.close(each)


def _fork_twice(worker: Callable[[], int], tell: Callable[[bytes], object]) -> None:
    """A grandchild, whose parent ends at once, becomes a child of PID 1. It begins when PID 1 knows its pid, or never.

    `tell` takes the pid, or nothing where there is no process or memory to be had.
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
                _work_and_exit(worker, go_reader)
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
    request: dict[str, Any],
    fds: Sequence[int],
    work: Callable[[int], int],
) -> int:
    connection.close()  # else PID 1 would not see that the fork server ends
    stdin, log, events = fds
    for given, standard in ((stdin, 0), (log, 1), (log, 2)):
        os.dup2(given, standard)
    process.limit(request["address_space"])
    os.chdir(request["scratch"])
    return work(events) if os.getppid() == supervisor else 1


def _work_and_exit(worker: Callable[[], int], go: int) -> NoReturn:
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
