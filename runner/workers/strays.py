"""Processes that a worker leaves behind: whatever left its process group, they end when it has ended.

Orphans become children of PID 1, and so may processes of other workers or of `docker exec`. Each worker therefore
carries a mark (`protocol.process.mark_descendants`), which its descendants inherit and cannot take off: what is marked,
and not by a worker that is at work, has been left behind.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Collection
from pathlib import Path

from protocol.process import mark_of
from runner.workers import activity

SECONDS = 5.0  # for processes to end that were killed; one that waits for a disk cannot


def end_strays(at_work: Collection[int]) -> int:
    """Kill what descends from workers that have ended; returns how many processes could not be ended.

    `at_work` are the pids of the workers that have not.
    """
    deadline, others = time.monotonic() + SECONDS, {None, mark_of(os.getpid()), *at_work}
    while (strays := [pid for pid in _children() if mark_of(pid) not in others]) and time.monotonic() < deadline:
        for pid in strays:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        while strays and time.monotonic() < deadline:  # their own children become this process's when they have ended
            strays = [pid for pid in strays if not _reaped(pid)]
            if strays:
                time.sleep(0.002)
    return len(strays)


def _children() -> list[int]:
    """The kernel's own list, or by looking at every process where it keeps none."""
    pid = os.getpid()
    with contextlib.suppress(OSError):
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return activity.children(pid)


def _reaped(pid: int) -> bool:
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return True
