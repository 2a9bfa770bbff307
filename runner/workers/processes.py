"""Starting workers: as new processes, or as forks of one that has imported their common libraries.

Most small recordings take less time than importing NumPy, pandas and Matplotlib does. The native library is not
imported: it starts a thread, which a fork would not carry over.
"""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path

from protocol import process
from protocol.job import Fork

ANSWER_SECONDS = 100  # for the imports, from a cold and slow disk; less than the heartbeat allows
_SAID = 4096  # bytes of a log that hold its last line


def start(command: Sequence[str], stdin: int, log: int, events: int, scratch: str, address_space: int | None) -> int:
    """A new process with these file descriptors; its pid, for the caller to reap. Raises OSError."""
    try:
        started = subprocess.Popen(
            command,
            stdin=stdin,
            stdout=log,
            stderr=log,
            env={**process.environment(os.environ), "TMPDIR": scratch},
            cwd=scratch,
            pass_fds=(events,),
            start_new_session=True,
            preexec_fn=lambda: process.begin(address_space),  # noqa: PLW1509 - PID 1 has one thread
        )
    except subprocess.SubprocessError as error:
        raise OSError(str(error)) from error
    started.returncode = 0  # Popen must not wait for it
    return started.pid


class ForkServer:
    """PID 1's side. The forks become children of this process, as if it had started them itself."""

    def __init__(self, command: Sequence[str], scratch: Path) -> None:
        """Start the process in a folder of its own; it imports while this one goes on. Raises OSError."""
        scratch.mkdir(parents=True)
        process.adopt_orphans()
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.settimeout(ANSWER_SECONDS)
        # A fork cannot change the number of BLAS's threads any more.
        threads = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        # What libraries print is no event: it must not come between those of the run. A file without a name needs no
        # place that others can reach.
        self._log = os.fdopen(os.memfd_create("fork-server"), "rb")
        self.lost = ""  # why it ended by itself, if it did
        with theirs:
            self._process = subprocess.Popen(
                [*command, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=self._log,
                env={**process.environment(os.environ), **threads, "TMPDIR": str(scratch)},
                cwd=scratch,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
                preexec_fn=lambda: process.limit(None),  # noqa: PLW1509 - PID 1 has one thread
            )

    def start(self, stdin: int, log: int, events: int, scratch: str, address_space: int | None) -> int:
        """A fork with these file descriptors; its pid, for the caller to reap. 0 if there is none to be had."""
        request = Fork(Path(scratch), address_space).to_json()
        try:
            socket.send_fds(self._socket, [request], [stdin, log, events])
            return int(self._socket.recv(process.MAX_REQUEST) or 0)
        except OSError as error:  # it was killed, or does not answer
            if not self.lost:
                self._log.seek(-min(_SAID, self._log.seek(0, os.SEEK_END)), os.SEEK_END)
                said = self._log.read().decode(errors="replace")
                self.lost = said.strip().rpartition("\n")[2] or str(error)
            self.stop()
            return 0

    def stop(self) -> None:
        """Idempotent."""
        self._socket.close()
        self._process.kill()
        self._process.wait()
        self._log.close()
