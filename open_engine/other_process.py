"""Another process of this program that takes part in the work.

It is not a fork: with the native library loaded, a fork would hang. It ends with the thread that started it, and pays
no heed to Ctrl-C, which its parent does.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import IO

from common import APP
from recording.errors import ProcessKilled

PROGRAM = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)
from protocol import process
process.die_with_parent()
if os.getppid() != {parent}:
    sys.exit(1)
from {module} import {name}
{name}({arguments})
"""


def start(serve: Callable[..., None], *arguments: int, fds: Sequence[int] = ()) -> subprocess.Popen[bytes]:
    """Call `serve`, a function of a module, in a process of its own, which inherits these file descriptors.

    It reads from the parent's pipe by standard input and answers by `answers`. Raises OSError.
    """
    text = ", ".join(map(repr, arguments))
    program = PROGRAM.format(module=serve.__module__, name=serve.__name__, arguments=text, parent=os.getpid())
    return subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        pass_fds=fds,
        env={**os.environ, "PYTHONPATH": str(APP), "OPENBLAS_NUM_THREADS": "1"},
    )


def answers() -> IO[bytes]:
    """In that process: what its parent reads. What is printed goes to the log instead.

    Unlike `sys.stdout.buffer`, which has no buffer where Python runs unbuffered, it writes all that it is given even if
    a signal interrupts it.
    """
    stream = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return stream


def failure(returncode: int, part_of: str) -> Exception:
    """Why it gave no answer."""
    if returncode == -signal.SIGKILL:
        return ProcessKilled(
            f"a process that took part in {part_of} was killed, most likely as memory ran out: give the run more memory"
        )
    return RuntimeError(f"a process that took part in {part_of} ended with {returncode}")
