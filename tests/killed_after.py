"""PID 1 of a run that comes to a sudden end right after one of its changes to files.

Usage: killed_after.py K COUNT APP ARGUMENT...: runs bootstrap.py of the folder APP. Right after the K-th change that
PID 1 makes to names or files, the process ends as by SIGKILL: no handler runs, and the kernel takes its children with
it. With K = 0 it comes to its end, and writes how many changes there were into the file COUNT. Standard library only.
"""

from __future__ import annotations

import os
import shutil  # noqa: F401  looks at the functions of os when it is imported
import sys
from pathlib import Path
from typing import Any

CHANGES = ("rename", "replace", "link", "symlink", "unlink", "mkdir", "rmdir", "open")
TO_WRITE = os.O_WRONLY | os.O_RDWR | os.O_CREAT
KILLED = 137
n_changes = 0


def counted(name: str, last: int) -> Any:
    """The function of os, which ends the process after the last change. Where it fails, nothing has changed."""
    real = getattr(os, name)

    def change(*arguments: Any, **named: Any) -> Any:
        global n_changes
        result = real(*arguments, **named)
        if name != "open" or arguments[1] & TO_WRITE:
            n_changes += 1
            if n_changes == last:
                os._exit(KILLED)  # as PID 1 of a container, it cannot kill itself
        return result

    return change


def main(last: int, count: Path, app: str, arguments: list[str]) -> int:
    sys.path[0] = app
    import bootstrap

    for name in CHANGES:
        setattr(os, name, counted(name, last))
    code = bootstrap.main(arguments)
    if not last:
        count.write_text(str(n_changes))
    return code


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], sys.argv[4:]))
