"""Whether workers get on: what each, with its children, has computed, read and written, as the kernel counts it.

A step in native code may say nothing for hours, so silence alone means nothing. A process that waits for a lock, or for
a disk that does not answer, uses no processor either.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

EVERY = 10.0  # seconds between two looks
LEAST_SHARE = 0.005  # of a core; threads that only wake up now and then use less
_PARENT, _MAJOR_FAULTS, _CPU = 1, slice(9, 11), slice(11, 15)  # in /proc/<pid>/stat, behind the name; see proc(5)


@dataclass(frozen=True)
class Usage:
    """What a process and its children have used since they began."""

    cpu: float = 0.0  # seconds
    disk: int = 0  # bytes read and written, and pages that were fetched


@dataclass
class Activity:
    """How long a worker has been idle."""

    idle: float = 0.0  # seconds
    usage: Usage = Usage()

    def look(self, now: Usage, seconds: float) -> None:
        """Compare with the last look, so many seconds ago. If this process itself stood still, it cannot know more."""
        moved = abs(now.cpu - self.usage.cpu) >= LEAST_SHARE * seconds or now.disk != self.usage.disk
        self.idle = 0.0 if moved else self.idle + min(seconds, 2 * EVERY)
        self.usage = now


def usage(pids: Iterable[int], proc: Path = Path("/proc")) -> dict[int, Usage]:
    """What each process has used so far, its descendants included."""
    stats = {int(entry.name): fields for entry in proc.iterdir() if entry.name.isdigit() and (fields := _stat(entry))}
    parents = {pid: int(fields[_PARENT]) for pid, fields in stats.items()}
    used = dict.fromkeys(pids, Usage())
    for pid, fields in stats.items():
        owner = _first_of(pid, used, parents)
        if owner:
            cpu = sum(map(int, fields[_CPU])) / os.sysconf("SC_CLK_TCK")
            disk = sum(map(int, fields[_MAJOR_FAULTS])) + _disk_bytes(proc / str(pid))
            used[owner] = Usage(used[owner].cpu + cpu, used[owner].disk + disk)
    return used


def children(parent: int, proc: Path = Path("/proc")) -> list[int]:
    """The processes that this one is the parent of."""
    pids = [int(entry.name) for entry in proc.iterdir() if entry.name.isdigit()]
    return [pid for pid in pids if (fields := _stat(proc / str(pid))) and int(fields[_PARENT]) == parent]


def _first_of(pid: int, wanted: Iterable[int], parents: dict[int, int]) -> int:
    """The wanted process that this one is, or descends from; 0 if none."""
    for _ in range(len(parents)):
        if pid in wanted or pid == 0:
            return pid
        pid = parents.get(pid, 0)
    return 0


def _stat(process: Path) -> list[str]:
    try:
        return (process / "stat").read_text().rpartition(")")[2].split()
    except OSError:  # it has ended
        return []


def _disk_bytes(process: Path) -> int:
    try:
        lines = (process / "io").read_text().splitlines()
    except OSError:  # it has ended, or the kernel does not count
        return 0
    counts = dict(line.split(": ") for line in lines)
    return int(counts.get("read_bytes", 0)) + int(counts.get("write_bytes", 0))
