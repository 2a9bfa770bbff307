"""Processes that a worker leaves behind: whatever left its process group, they end when it has ended.

Orphans become children of PID 1, and so may processes of other workers or of `docker exec`. Each worker therefore
carries a mark (`protocol.process.mark_descendants`), which its descendants inherit and cannot take off.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

from protocol.process import is_marked_by
from runner.workers import activity

SECONDS = 5.0  # for processes to end that were killed; one that waits for a disk cannot


def end_strays(worker: int) -> int:
    """Kill what descends from this worker, which has ended; returns how many processes that were."""
    deadline, killed = time.monotonic() + SECONDS, set()
    while strays := [pid for pid in _children() if is_marked_by(pid, worker)]:
        for pid in strays:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
            killed.add(pid)
        while strays and time.monotonic() < deadline:  # their own children become this process's when they have ended
            strays = [pid for pid in strays if not _reaped(pid)]
            if strays:
                time.sleep(0.002)
        if time.monotonic() > deadline:
            break
    return len(killed)


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
