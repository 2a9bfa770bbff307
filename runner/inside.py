"""The output folder as others may have left it: no link is followed, nothing is waited for, nothing is read whole.

Whoever can write to the output may have put anything there: a link to somebody's data in the place of a folder, a FIFO
in that of a log. A path below it is taken by `reach` only.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from pathlib import Path, PurePosixPath

MAX_READ = 4 << 20  # bytes of a record or a sentinel; they need thousands


def reach(root: Path, relative: str) -> Path:
    """The path of something below the root, which need not exist. Raises OSError if a link is part of it."""
    path = root
    for part in PurePosixPath(relative).parts:
        if part in ("/", ".."):
            raise OSError(errno.EINVAL, "it leads out of the output", f"{root}/{relative}")
        path = path / part
        if path.is_symlink():
            raise OSError(errno.ELOOP, "it is a symbolic link, and links in the output are not followed", str(path))
    return path


def place(root: Path, relative: str) -> Path:
    """The path of a file that is to be replaced, whatever bears its name now. Raises OSError as `reach` does."""
    folder, _, name = relative.rpartition("/")
    return reach(root, folder) / name


def read(path: Path) -> bytes:
    """A small regular file. Raises OSError for anything else."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(fd, "rb") as file:  # noqa: PTH123 - a descriptor
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_READ:
            raise OSError(errno.EINVAL, "not a small regular file", str(path))
        return file.read(MAX_READ)


def create(path: Path) -> int:
    """A new file, open for writing: what had its name, a link or a FIFO perhaps, is gone. Raises OSError."""
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)


def append(path: Path, content: bytes) -> None:
    """To a regular file that is there. Raises OSError."""
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if stat.S_ISREG(os.fstat(fd).st_mode):
            os.write(fd, content)
    finally:
        os.close(fd)


def holds_only_files(folder: Path) -> bool:
    """Whether everything below a folder is a folder or a file with one name only."""
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            status = os.lstat(os.path.join(parent, name))  # noqa: PTH118
            if not stat.S_ISDIR(status.st_mode) and not (stat.S_ISREG(status.st_mode) and status.st_nlink == 1):
                return False
    return True
