"""Who works on an output: `.lock`, and one more for each shard. And whether its user may."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time
from collections.abc import Callable, Iterator

from recording.names import join
from runner.endings import OutputInUse
from runner.output_folder import Folder
from runner.own import LOCK, LOGS, RECORDS, STAGING
from runner.shards import Shard

NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}


@contextlib.contextmanager
def locked(output: Folder, shard: Shard | None, warn: Callable[[str], None]) -> Iterator[None]:
    """Hold the output, or this shard of it, for as long as the block runs. Raises OutputInUse, OSError.

    Shards share the output's lock and each holds its own; a whole run or a gather step wants the output alone. The
    kernel lets go when the process ends, however it ends. A run that had nothing to do leaves no lock: if it is
    another user's, the folder's owner could not run here.
    """
    with contextlib.ExitStack() as stack:
        wanted = [(LOCK, fcntl.LOCK_SH if shard else fcntl.LOCK_EX)]
        if shard:
            wanted.append((f"{LOCK}-{shard.name}", fcntl.LOCK_EX))
        for name, how in wanted:
            fd = stack.enter_context(_opened(output, name))
            try:
                _flock(fd, how)
                while not _is_named(output, name, fd):  # the run that held it took it away
                    fd = stack.enter_context(_opened(output, name))
                    _flock(fd, how)
            except BlockingIOError:
                what = f"shard {shard} of {output.path}" if name != LOCK else str(output.path)
                raise OutputInUse(
                    f"another run is working on {what}: wait for it, stop it, or give this one another output folder"
                ) from None
            except OSError as error:
                if error.errno not in NO_LOCKS:
                    raise
                warn(f"{output.path} cannot be locked ({error.strerror}): make sure that no other run uses it")
        if not shard:
            stack.callback(_remove_unused, output)
        yield


@contextlib.contextmanager
def _opened(output: Folder, name: str) -> Iterator[int]:
    fd = _open_lock(output, name)
    try:
        yield fd
    finally:
        os.close(fd)


def _is_named(output: Folder, name: str, fd: int) -> bool:
    try:
        return os.path.samestat(output.status(name), os.fstat(fd))
    except FileNotFoundError:
        return False


def _remove_unused(output: Folder) -> None:
    """The lock that this run holds alone, if there are no results."""
    with contextlib.suppress(OSError):
        if RECORDS not in output.names():
            output.remove(LOCK)


def _flock(fd: int, how: int) -> None:
    """Raises BlockingIOError if another run holds it.

    A run that was killed just now may hold it for a moment, in a child that has not started its program yet.
    """
    for _ in range(50):
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(fd, how | fcntl.LOCK_NB)
            return
        time.sleep(0.02)
    fcntl.flock(fd, how | fcntl.LOCK_NB)


def _open_lock(output: Folder, name: str) -> int:
    """Usable by whoever may write to its folder, as runs may come from different users, and by nobody else.

    Who can open a file can lock it, even for reading only. Raises OSError.
    """
    try:  # a kernel may refuse to create what is there already in a folder such as /tmp
        fd = output.open(name, os.O_RDWR)
    except FileNotFoundError:
        fd = output.open(name, os.O_RDWR | os.O_CREAT, 0o600)
    folder = os.fstat(output.fd)
    for change in (
        lambda: os.fchown(fd, -1, folder.st_gid),
        lambda: os.fchmod(fd, 0o600 | (folder.st_mode & 0o022) * 3),  # w is 2, rw is 6
    ):
        with contextlib.suppress(OSError):  # another user's
            change()
    return fd


def check_own_folders(output: Folder) -> None:
    """Raise OSError if a folder of the run's own, made by another user, cannot be written: nothing could be done.

    A link is not followed: it is each recording's affair.
    """
    pending = [STAGING, RECORDS, LOGS]
    while pending:
        name = pending.pop()
        try:
            folder = output.folder(name)
        except PermissionError:
            raise
        except OSError:
            continue
        with folder:
            if not os.access(".", os.W_OK | os.X_OK, dir_fd=folder.fd):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder.path))
            if name != STAGING and os.fstat(folder.fd).st_uid != os.getuid():
                pending += [join(name, below) for below in folder.folders()]
