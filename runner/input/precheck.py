"""The pre-check, asked of a process of its own: PID 1 reads and parses nothing of a recording.

A footer of a few megabytes can take gigabytes once it is parsed, and a disk can keep a reader waiting. That process
may take half of the memory and CHECK_SECONDS; PID 1 stays alive and can be stopped meanwhile.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from native import loading
from protocol import process
from protocol.findings import TOO_MUCH_MEMORY, from_json
from protocol.message import to_json
from recording.errors import BadRecording
from recording.findings import RecordingInfo
from runner import machine

COMMAND = (sys.executable, "-S", "-m", "protocol.precheck")
CHECK_SECONDS = 300.0  # for one recording; the most that is read of one takes a slow disk a third of that
LEAST_MEMORY, MOST_MEMORY = 256 << 20, 1 << 30  # bytes of address space
MAX_ANSWER = 4 << 20  # bytes; the names of ten thousand cells take a hundredth of that


def memory() -> int:
    """What a check may take, in bytes of address space."""
    return max(LEAST_MEMORY, min(MOST_MEMORY, machine.memory_limit() // 2))


class Checker:
    """The process starts when it is first needed, and again after it was lost to a recording."""

    def __init__(
        self, tick: Callable[[], None], command: Sequence[str] = COMMAND, seconds: float = CHECK_SECONDS
    ) -> None:
        self._tick, self._command, self._seconds = tick, command, seconds
        self._process: subprocess.Popen[bytes] | None = None

    def check(self, path: Path) -> RecordingInfo:
        """Raises BadRecording, and whatever `tick`, which is called each second, raises."""
        loss = ""
        for _ in range(2):  # the first may have been killed for the memory that others took
            line = self._line(path)
            if line.endswith(b"\n"):
                break
            loss = self._loss()
        else:
            raise BadRecording(path, loss)
        try:
            return from_json(path, line)
        except ValueError as error:
            self.stop()
            raise BadRecording(path, f"its pre-check gave an unreadable answer ({error})") from None

    def _line(self, path: Path) -> bytes:
        if not self._process:
            self._process = self._start()
        try:
            return self._ask(self._process, path)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> int:
        """Idempotent. Returns how the process ended."""
        if not self._process:
            return 0
        ended, self._process = self._process, None
        ended.kill()
        ended.communicate()
        return ended.returncode

    def _start(self) -> subprocess.Popen[bytes]:
        limit = memory()
        return subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=process.environment(os.environ),
            bufsize=0,
            start_new_session=True,
            preexec_fn=lambda: process.limit(limit),  # noqa: PLW1509 - PID 1 has one thread
        )

    def _ask(self, checker: subprocess.Popen[bytes], path: Path) -> bytes:
        """The answer with its newline; without one if the process ended before."""
        assert checker.stdin and checker.stdout
        deadline = time.monotonic() + self._seconds
        try:
            checker.stdin.write(to_json(path) + b"\n")
        except BrokenPipeError:
            return b""
        answer = bytearray()
        while not answer.endswith(b"\n"):
            if time.monotonic() > deadline:
                raise BadRecording(
                    path,
                    f"its check did not finish within {self._seconds:.0f} s: the disk is slow, or the file is damaged",
                )
            if not select.select([checker.stdout], [], [], 1)[0]:
                self._tick()
                continue
            part = os.read(checker.stdout.fileno(), 1 << 16)
            if not part:
                break
            answer += part
            if len(answer) > MAX_ANSWER:
                raise BadRecording(path, "lists more names than any recording has: it is damaged")
        return bytes(answer)

    def _loss(self) -> str:
        assert self._process
        try:
            returncode = self._process.wait(1)
        except subprocess.TimeoutExpired:
            returncode = -9
        self.stop()
        if returncode == -9:
            return TOO_MUCH_MEMORY
        return f"the process that checked it ended early: {loading.ending(returncode)}"
