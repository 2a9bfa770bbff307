"""A sign of life that a health check in the same container can read, and nothing to clean up.

The heart is a file in memory that PID 1 holds open: it needs no writable folder, works for any user, and is gone when
the process is. Others of the same user find it as `/proc/<pid>/fd/<n>`.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path

NAME = "isx-heartbeat"
WITHIN = 120.0  # seconds until the next beat must have come; the loop beats every second
SIZE = 200  # bytes; always written whole, so that a reader never sees half of two


@dataclass(frozen=True)
class Beat:
    """The last sign of life of a run."""

    pid: int
    age: float  # seconds
    within: float  # seconds from one beat to the next


class Heart:
    """Beats while the run is alive."""

    def __init__(self) -> None:
        self._fd = os.memfd_create(NAME)
        self._last = 0.0
        self.beat()

    def beat(self, within: float = WITHIN) -> None:
        """Say that the next beat comes within so many seconds."""
        self._last = time.monotonic()
        os.pwrite(self._fd, json.dumps({"beat": self._last, "within": within}).ljust(SIZE).encode(), 0)

    def tick(self) -> None:
        """Beat, but not more often than each second: for loops that go round quickly."""
        if time.monotonic() - self._last >= 1:
            self.beat()


def find(pids: list[int], proc: Path = Path("/proc")) -> Beat | None:
    """The heartbeat of the first of these processes that has one."""
    for pid in pids:
        try:
            for fd in (proc / str(pid) / "fd").iterdir():
                if os.readlink(fd).startswith(f"/memfd:{NAME}"):  # noqa: PTH115
                    beat = json.loads(fd.read_bytes())
                    return Beat(pid, time.monotonic() - beat["beat"], beat["within"])
        except (OSError, ValueError, KeyError):  # ended meanwhile, or another user's
            continue
    return None


def candidates(proc: Path = Path("/proc")) -> list[int]:
    """PID 1, and its children for a container that runs with an init process."""
    return [1, *sorted(int(entry.name) for entry in proc.iterdir() if entry.name.isdigit() and _parent(entry) == 1)]


def _parent(process: Path) -> int:
    try:
        return int((process / "stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, ValueError, IndexError):
        return 0
