"""For every process that this project starts: an environment, limits, an end with its parent."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
from collections.abc import Mapping

from recording import APP

PR_SET_PDEATHSIG = 1
MAX_REQUEST = 65536  # bytes, to the fork server; paths are at most 4096

_libc = ctypes.CDLL(None)


def environment(given: Mapping[str, str]) -> dict[str, str]:
    """A worker's environment: it finds its code, reads file names as UTF-8 and logs completely."""
    return {
        **given,
        "LC_ALL": "C.UTF-8",
        "PYTHONPATH": os.pathsep.join(filter(None, (str(APP), given.get("PYTHONPATH")))),
        "PYTHONUNBUFFERED": "1",
        "PYTHONFAULTHANDLER": "1",
    }


def die_with_parent() -> None:
    """The kernel kills this process when the one that it is a child of ends."""
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def limit(address_space: int | None) -> None:
    """In the worker, before it begins: dies with PID 1, is the first to go when memory runs out."""
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
