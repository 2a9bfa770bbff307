from __future__ import annotations

import array
import contextlib
import fcntl
import io
import json
import os
import signal
import subprocess
import sys
import termios
import time
from dataclasses import fields
from pathlib import Path
from typing import IO

import numpy as np
import pytest

from open_engine import other_process, statistics
from recording.errors import ProcessKilled, TooLittleMemory
from samples import recordings
from tests.launch import ROOT

PATIENCE = 30  # s


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_an_answer_is_whole_even_if_a_signal_comes_between(
    tmp_path: Path, unbuffered: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As workers run: with Python unbuffered, a write that is interrupted writes what a pipe holds and no more."""
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    data = np.random.default_rng(0).integers(0, 4096, (40, 100, 128)).astype(np.uint16)
    path = recordings.movie_from(tmp_path / "movie.isxd", data)
    with other_process.start(statistics._serve) as other:
        other.stdin.write(json.dumps({"path": str(path), "first": 0, "last": 100 * 128}).encode())
        other.stdin.close()
        wait_until_full(other.stdout)
        for number in (signal.SIGSTOP, signal.SIGCONT):
            os.kill(other.pid, number)
            time.sleep(0.05)
        answer = io.BytesIO(other.stdout.read())
    arrays = {field.name: np.load(answer) for field in fields(statistics._Part)}
    np.testing.assert_array_equal(arrays["max"], data.max(axis=0).ravel())
    assert not answer.read()


def wait_until_full(pipe: IO[bytes]) -> None:
    held, until = array.array("i", [0]), time.monotonic() + PATIENCE
    while held[0] < 1 << 16 and time.monotonic() < until:
        time.sleep(0.01)
        fcntl.ioctl(pipe, termios.FIONREAD, held)
    time.sleep(0.05)
    assert held[0] == 1 << 16


@pytest.mark.parametrize(
    ("number", "error", "message"),
    [
        (signal.SIGKILL, ProcessKilled, "a process that took part in the work was killed, most likely as memory ran"),
        (signal.SIGSEGV, RuntimeError, "a process that took part in the work ended with -11"),
    ],
)
def test_says_how_it_ended(number: int, error: type[Exception], message: str) -> None:
    with other_process.start(time.sleep, PATIENCE) as other:
        os.kill(other.pid, number)
    why = other_process.failure(other.returncode, "the work")
    assert type(why) is error
    assert message in str(why)
    assert issubclass(ProcessKilled, TooLittleMemory)


STARTS = """
import time
from open_engine import other_process
print(other_process.start(time.sleep, 30).pid, flush=True)
time.sleep(30)
"""


@pytest.mark.parametrize("later", [0, 0.3])  # before it has begun, and after
def test_it_ends_with_its_parent(later: float) -> None:
    with subprocess.Popen([sys.executable, "-c", STARTS], cwd=ROOT, stdout=subprocess.PIPE) as parent:
        other = int(parent.stdout.readline())
        time.sleep(later)
        parent.kill()
    until = time.monotonic() + 10
    while runs(other) and time.monotonic() < until:
        time.sleep(0.02)
    assert not runs(other)


def runs(pid: int) -> bool:
    """A zombie does not; nobody may look after it here."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False
