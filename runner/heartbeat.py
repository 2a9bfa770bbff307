"""A sign of life that a health check in the same container can read, and nothing to clean up.

The heart is a file in memory that PID 1 holds open: it needs no writable folder, works for any user, and is gone when
the process is. Others of the same user find it as `/proc/<pid>/fd/<n>`.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

NAME = "isx-heartbeat"
WITHIN = 120.0  # seconds until the next beat must have come; the loop beats every second
SIZE = 16384  # bytes; always written whole
MOST_SHOWN, LONGEST_NAME = 8, 200  # workers, and characters of each one's name: they fit in SIZE
HANGS_AFTER = 1800.0  # seconds in which a worker gets nowhere


@dataclass(frozen=True)
class Pulse:
    """The last sign of life of one worker."""

    name: str  # of what it works on
    idle: float  # seconds in which it got nowhere
    allowed: float  # seconds of that before it counts as hung


@dataclass(frozen=True)
class Beat:
    """The last sign of life of a run."""

    pid: int
    age: float  # seconds
    within: float  # seconds from one beat to the next
    workers: tuple[Pulse, ...] = ()  # the most idle first

    @property
    def hung(self) -> list[Pulse]:
        """Workers that a run could not stop by itself, or was told not to."""
        return [pulse for pulse in self.workers if pulse.idle > pulse.allowed]


class Heart:
    """Beats while the run is alive."""

    def __init__(self) -> None:
        self._fd = os.memfd_create(NAME)
        self._last = 0.0
        self.workers: Sequence[Pulse] = ()
        self.beat()

    def beat(self, within: float = WITHIN) -> None:
        """Say that the next beat comes within so many seconds."""
        self._last = time.monotonic()
        shown = sorted(self.workers, key=lambda pulse: -pulse.idle)[:MOST_SHOWN]
        workers = [{**asdict(pulse), "name": pulse.name[:LONGEST_NAME]} for pulse in shown]
        content = {"beat": self._last, "within": within, "workers": workers}
        os.pwrite(self._fd, json.dumps(content).ljust(SIZE).encode(), 0)

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
                    beat = _read(fd)
                    workers = tuple(Pulse(**pulse) for pulse in beat["workers"])
                    return Beat(pid, time.monotonic() - beat["beat"], beat["within"], workers)
        except (OSError, ValueError, KeyError):  # ended meanwhile, or another user's
            continue
    return None


def _read(heart: Path) -> dict[str, Any]:
    """Read the heartbeat, again if a beat came in between. Raises OSError, ValueError."""
    try:
        return json.loads(heart.read_bytes())
    except ValueError:
        return json.loads(heart.read_bytes())


def candidates(proc: Path = Path("/proc")) -> list[int]:
    """PID 1, and its children for a container that runs with an init process."""
    return [1, *sorted(int(entry.name) for entry in proc.iterdir() if entry.name.isdigit() and _parent(entry) == 1)]


def _parent(process: Path) -> int:
    try:
        return int((process / "stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, ValueError, IndexError):
        return 0
