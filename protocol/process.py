"""For every process that this project starts: an environment, limits, an end with its parent."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
from collections.abc import Mapping

from common import APP
from common.alone import without_the_callers

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
RLIMIT_LOCKS = 10
MAX_REQUEST = 65536  # bytes, to the fork server; paths are at most 4096

_libc = ctypes.CDLL(None)


def environment(given: Mapping[str, str]) -> dict[str, str]:
    """A worker's environment: it finds its code, reads file names as UTF-8 and logs completely."""
    return {
        **without_the_callers(given),
        "LC_ALL": "C.UTF-8",
        "PYTHONPATH": str(APP),
        "PYTHONNOUSERSITE": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
        "PYTHONFAULTHANDLER": "1",
    }


def die_with_parent() -> None:
    """The kernel kills this process when the one that it is a child of ends."""
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def adopt_orphans() -> None:
    """Orphans among the descendants become children of this process, as they do of PID 1."""
    _libc.prctl(PR_SET_CHILD_SUBREAPER, 1)


def mark_descendants() -> None:
    """All that descends from this process can be told by its pid, whatever it does: see `mark_of`.

    The mark is a limit on file locks: processes inherit it, cannot raise it without a capability, and Linux has paid
    no heed to it since 2.4.25 (getrlimit(2), RLIMIT_LOCKS).
    """
    with contextlib.suppress(ValueError, OSError):  # a lower limit holds already
        resource.setrlimit(RLIMIT_LOCKS, (os.getpid(), os.getpid()))


def mark_of(pid: int) -> int | None:
    """The pid of the ancestor that called `mark_descendants`; less if the process has lowered its limit, and that of
    the calling process if it has no mark. None if it has ended, or is another user's.
    """
    try:
        return resource.prlimit(pid, RLIMIT_LOCKS)[1]
    except OSError:
        return None


def begin(address_space: int | None) -> None:
    """Prepare a worker process, before anything else."""
    mark_descendants()
    limit(address_space)


def limit(address_space: int | None) -> None:
    """Limit a worker before it starts: it dies with PID 1, and first if memory runs out."""
    die_with_parent()
    with contextlib.suppress(OSError):
        fd = os.open("/proc/self/oom_score_adj", os.O_WRONLY)
        os.write(fd, b"1000")
        os.close(fd)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if address_space:
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        limit = address_space if hard == resource.RLIM_INFINITY else min(address_space, hard)
        resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
