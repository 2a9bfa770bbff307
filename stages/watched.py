"""Run a program of the vendor's: for no longer than it may, with its last words, and to the end of all that it starts.

Nobody answers its questions: standard input is at its end, and it has no terminal. Standard library only.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PR_SET_CHILD_SUBREAPER = 36
BLOCK = 1 << 16  # bytes
WAIT = 0.05  # seconds between two looks
SECONDS = 5  # for processes to end that were killed
LONGEST = 300  # characters of a line that is quoted
MOST_LINES = 10


@dataclass(frozen=True)
class Ended:
    """How a program ended: its exit code, less than 0 for a signal, None if it took too long; and its last words."""

    code: int | None
    said: str

    @property
    def how(self) -> str:
        """In words."""
        if self.code is None or self.code >= 0:
            return f"exit code {self.code}"
        with contextlib.suppress(ValueError):
            return f"signal {signal.Signals(-self.code).name}"
        return f"signal {-self.code}"

    @property
    def quoted(self) -> str:
        """The last lines, for the end of a message; of one that is too long, its end."""
        lines = [line for line in self.said.strip().splitlines() if line.strip()][-MOST_LINES:]
        return "".join(f"\n{line if len(line) <= LONGEST else '...' + line[-LONGEST:]}" for line in lines)


def run(command: Sequence[str | Path], seconds: float, most: int, **how: Any) -> Ended:
    """Run it for at most these seconds, and keep the last `most` bytes of its output.

    Its own end counts, not that of its output, which may be held by what it left in the background. All that it
    started ends with it, wherever it went: it could change the files that are looked at next.
    """
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)  # orphans become children of this process
    others, reader, writer = children(), *os.pipe()
    with os.fdopen(reader, "rb", buffering=0):
        os.set_blocking(reader, False)
        try:
            pipes = {"stdin": subprocess.DEVNULL, "stdout": writer, "stderr": subprocess.STDOUT}
            process = subprocess.Popen(command, start_new_session=True, **pipes, **how)
        finally:
            os.close(writer)
        output = _Tail(reader, most)
        try:
            _watch(process, output, time.monotonic() + seconds)
            code = process.poll()
        finally:
            process.kill()
            process.wait()
            _end_all(others)
        output.read()
        return Ended(code, output.text())


@dataclass
class _Tail:
    """The last bytes that come from a pipe."""

    reader: int
    most: int
    kept: bytes = b""
    is_cut: bool = False
    is_open: bool = True

    def read(self) -> None:
        """What is there now, but no more than a process can write while this is read."""
        blocks = [self.kept]
        for _ in range(max(1, self.most // BLOCK)):
            try:
                block = os.read(self.reader, BLOCK)
            except BlockingIOError:
                break
            blocks.append(block)
            if not block:
                self.is_open = False
                break
        everything = b"".join(blocks)
        self.is_cut = self.is_cut or len(everything) > self.most
        self.kept = everything[-self.most :]

    def text(self) -> str:
        """Without a first line that is cut, unless there is no other."""
        text = self.kept.decode(errors="replace")
        return text.partition("\n")[2] or text if self.is_cut else text


def _watch(process: subprocess.Popen[bytes], output: _Tail, deadline: float) -> None:
    """Until it ends, or for as long as it may."""
    while process.poll() is None and (left := deadline - time.monotonic()) > 0:
        if output.is_open:
            if select.select([output.reader], [], [], min(left, WAIT))[0]:
                output.read()
        else:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(left)


def children() -> set[int]:
    lists = [task.read_text() for task in Path("/proc/self/task").glob("*/children")]
    return {int(pid) for text in lists for pid in text.split()}


def _end_all(others: set[int]) -> None:
    """Kill all children but these, and theirs, which become this process's when their parents have ended."""
    deadline = time.monotonic() + SECONDS
    while (left := children() - others) and time.monotonic() < deadline:
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        time.sleep(0.001)
