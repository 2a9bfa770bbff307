"""Starting workers: as new processes, or as forks of one that has imported what every worker needs.

Most small recordings take less time than importing NumPy, pandas and Matplotlib does. The native library is not among
what is imported: it starts a thread, which a fork would not carry over.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from runner import APP

ANSWER_SECONDS = 120  # for the imports, from a disk that is cold and slow
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
MAX_REQUEST = 65536  # bytes; paths are at most 4096

_libc = ctypes.CDLL(None)


def environment(given: Mapping[str, str]) -> dict[str, str]:
    """What a worker needs beyond the image's own: to find its code, UTF-8 for file names, a log that is complete."""
    return {
        **given,
        "LC_ALL": "C.UTF-8",
        "PYTHONPATH": os.pathsep.join(filter(None, (str(APP), given.get("PYTHONPATH")))),
        "PYTHONUNBUFFERED": "1",
        "PYTHONFAULTHANDLER": "1",
    }


def start(command: Sequence[str], stdin: int, log: int, events: int, scratch: str, address_space: int | None) -> int:
    """A new process with these file descriptors; its pid, for the caller to reap. Raises OSError."""
    try:
        process = subprocess.Popen(
            command,
            stdin=stdin,
            stdout=log,
            stderr=log,
            env={**environment(os.environ), "TMPDIR": scratch},
            cwd=scratch,
            pass_fds=(events,),
            start_new_session=True,
            preexec_fn=lambda: _limit(address_space),  # noqa: PLW1509 - PID 1 has one thread
        )
    except subprocess.SubprocessError as error:
        raise OSError(str(error)) from error
    process.returncode = 0  # Popen must not wait for it
    return process.pid


def die_with_parent() -> None:
    """The kernel kills this process when the one that it is a child of ends."""
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _limit(address_space: int | None) -> None:
    """In the worker, before it begins: dies with PID 1, is the first to go when memory runs out."""
    die_with_parent()
    with contextlib.suppress(OSError):
        fd = os.open("/proc/self/oom_score_adj", os.O_WRONLY)
        os.write(fd, b"1000")
        os.close(fd)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if address_space:
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        limit = address_space if hard == resource.RLIM_INFINITY else min(address_space, hard)
        resource.setrlimit(resource.RLIMIT_AS, (limit, hard))


class ForkServer:
    """PID 1's side. The forks become children of this process, as if it had started them itself."""

    def __init__(self, command: Sequence[str], scratch: Path) -> None:
        """Start the process in a folder of its own; it imports while this one goes on. Raises OSError."""
        scratch.mkdir(parents=True)
        _libc.prctl(PR_SET_CHILD_SUBREAPER, 1)  # for where this is not PID 1
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.settimeout(ANSWER_SECONDS)
        # A fork cannot change the number of BLAS's threads any more.
        threads = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        with theirs:
            self._process = subprocess.Popen(
                [*command, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                env={**environment(os.environ), **threads, "TMPDIR": str(scratch)},
                cwd=scratch,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
                preexec_fn=lambda: _limit(None),  # noqa: PLW1509 - PID 1 has one thread
            )

    def start(self, stdin: int, log: int, events: int, scratch: str, address_space: int | None) -> int:
        """A fork with these file descriptors; its pid, for the caller to reap. 0 where there is none to be had."""
        request = json.dumps({"scratch": scratch, "address_space": address_space})
        try:
            socket.send_fds(self._socket, [request.encode()], [stdin, log, events])
            return int(self._socket.recv(MAX_REQUEST) or 0)
        except OSError:  # it was killed, or does not answer
            self.stop()
            return 0

    def stop(self) -> None:
        """Idempotent."""
        self._socket.close()
        self._process.kill()
        self._process.wait()


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
    _limit(request["address_space"])
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
