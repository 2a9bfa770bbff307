"""The share of the machine that this process may use, by affinity and cgroups (v1 and v2)."""

from __future__ import annotations

import math
import os
import resource
from collections.abc import Iterator
from pathlib import Path

from common.text import text_of

FILES = 1024  # open at a time; the usual limit
NO_LIMIT = 1 << 60  # cgroup v1 says "no limit" with a number near 2**63
MEMORY_PER_WORKER = 400 << 20  # a worker that has imported isx, with room for its chunks


def cores(root: Path = Path("/")) -> int:
    """Cores that this process may use: its affinity, cut by the CPU quota (rounded up)."""
    available = len(os.sched_getaffinity(0))
    for quota in _cpu_quotas(root):
        available = min(available, max(1, math.ceil(quota)))
    return available


def memory_limit(root: Path = Path("/")) -> int:
    """Bytes that this process and its children may use: the smallest cgroup limit, else the machine's memory."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([physical, *_memory_limits(root)])


def workers(cores: int, memory: int) -> int:
    """How many recordings to handle at a time: one a core, fewer if memory is short."""
    return max(1, min(cores, memory // MEMORY_PER_WORKER))


def process_limit(root: Path = Path("/")) -> int | None:
    """How many processes and threads there may be here at a time; None if there is no limit."""
    texts = [text_of(folder / "pids.max").strip() for folder, _ in _cgroups("pids", root)]
    limits = [int(text) for text in texts if text.isdigit()]
    of_user, _ = resource.getrlimit(resource.RLIMIT_NPROC)
    if os.getuid() != 0 and of_user != resource.RLIM_INFINITY:  # ulimit -u, which does not hold for root
        limits.append(of_user)
    return min(limits, default=None)


def processes_needed(workers: int, cores: int) -> int:
    """Most processes at a time: PID 1 and its helpers, workers with the library's threads, and one thread per core."""
    return 8 + 3 * workers + cores


def raise_file_limit() -> int:
    """Let this process and its children have as many open files as they may; returns how many that is."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES if hard == resource.RLIM_INFINITY else min(hard, FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return max(wanted, FILES if soft == resource.RLIM_INFINITY else soft)


def files_needed(workers: int) -> int:
    """Most open files: PID 1 holds logs, pipes and folders of each worker; a worker's libraries need the rest."""
    return 64 + 6 * workers


def oom_kills(root: Path = Path("/")) -> int:
    """How many processes the kernel has killed here because the memory limit was reached."""
    counts = [0]
    for folder, is_v2 in _cgroups("memory", root):
        text = text_of(folder / ("memory.events" if is_v2 else "memory.oom_control"))
        counts += [int(line.split()[1]) for line in text.splitlines() if line.startswith("oom_kill ")]
    return max(counts)


def _cpu_quotas(root: Path) -> Iterator[float]:
    for folder, is_v2 in _cgroups("cpu", root):
        if is_v2:
            quota, _, period = text_of(folder / "cpu.max").strip().partition(" ")
        else:
            quota, period = text_of(folder / "cpu.cfs_quota_us").strip(), text_of(folder / "cpu.cfs_period_us").strip()
        if quota.isdigit() and period.isdigit() and int(period) > 0:  # "max" and -1 mean none
            yield int(quota) / int(period)


def _memory_limits(root: Path) -> Iterator[int]:
    for folder, is_v2 in _cgroups("memory", root):
        text = text_of(folder / ("memory.max" if is_v2 else "memory.limit_in_bytes")).strip()
        if text.isdigit() and int(text) < NO_LIMIT:
            yield int(text)


def _cgroups(controller: str, root: Path) -> Iterator[tuple[Path, bool]]:
    """This process's control groups, each with its ancestors, and whether it is version 2.

    In a container the path may be the host's, of which only the top is mounted: then just that top exists.
    """
    top = root / "sys/fs/cgroup"
    for line in text_of(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers:
            mounts = [top, top / "unified"]
        elif controller in controllers.split(","):
            mounts = [top / controllers, top / controller]
        else:
            continue
        parts = [part for part in path.split("/") if part not in ("", "..")]
        for mount in mounts:
            for depth in range(len(parts), -1, -1):
                folder = mount.joinpath(*parts[:depth])
                if folder.is_dir():
                    yield folder, not controllers
