"""PID 1 of a run that comes to a sudden end before one of its changes to files.

Usage: killed_at.py K COUNT APP ARGUMENT...: runs bootstrap.py of the folder APP. Before the K-th change that PID 1
makes to names or files, the process ends, as by SIGKILL: no handler runs, and the kernel takes its children with it.
With K = 0 it comes to its end, and writes how many changes there were into the file COUNT. Standard library only.
"""

from __future__ import annotations

import os
import shutil  # noqa: F401  looks at the functions of os when it is imported
import sys
from pathlib import Path
from typing import Any

CHANGES = ("rename", "replace", "unlink", "mkdir", "rmdir", "fsync", "ftruncate", "utime")
KILLED = 137

last, count, app = int(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])
done = 0


def counted(name: str) -> Any:
    real = getattr(os, name)

    def change(*arguments: Any, **named: Any) -> Any:
        if name != "open" or arguments[1] & (os.O_CREAT | os.O_WRONLY | os.O_RDWR):
            come_to_an_end()
        return real(*arguments, **named)

    return change


def come_to_an_end() -> None:
    global done
    done += 1
    if done == last:
        os._exit(KILLED)  # as PID 1 of a container, it cannot kill itself


if __name__ == "__main__":
    sys.path[0] = str(app)
    import bootstrap

    for each in (*CHANGES, "open"):
        setattr(os, each, counted(each))
    code = bootstrap.main(sys.argv[4:])
    if not last:
        count.write_text(str(done))
    sys.exit(code)
