"""Unfinished results, on the output's file system so that a rename suffices.

- `.staging/<run>/` is closed to other users, and gone when the run ends;
- `.staging/kept/<results>/` holds the finished steps of a recipe that did not come to its end, for the next run.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable, Iterator

from recording.names import join, short
from runner.output_folder import EVERYBODY, ONLY_MINE, Folder
from runner.own import KEPT, STAGING
from runner.shards import Shard


@contextlib.contextmanager
def staging_of(output: Folder, shard: Shard | None) -> Iterator[Folder]:
    """A folder of this run's own, closed to other users, in which a small file has been written for proof.

    The lock must be held. Raises OSError. The folder is removed at the end. Leftovers of a killed run go first.
    """
    _clean_staging(output, shard)
    name = f"{shard.name if shard else 'all'}.{os.getpid()}.{time.time_ns()}"
    with output.folder(STAGING, EVERYBODY) as parent, parent.folder(name, ONLY_MINE) as folder:
        try:
            folder.write("proof", bytes(4096))
            folder.remove("proof")
            yield folder
        finally:
            folder.empty()
            parent.remove_if_empty(name)
            if not shard:
                remove_empty_staging(output)


def _clean_staging(output: Folder, shard: Shard | None) -> None:
    """Remove leftovers of a killed run: all, or those of the same shard."""
    with contextlib.suppress(FileNotFoundError), output.folder(STAGING) as folder:
        for name in folder.names():
            if name != KEPT and (shard is None or name.startswith(f"{shard.name}.")):
                folder.remove_tree(name)


def remove_empty_staging(output: Folder) -> None:
    """Remove empty staging folders. Only without shards: one may just be making a folder in an empty one."""
    for parent in (f"{STAGING}/{KEPT}", STAGING, ""):
        with contextlib.suppress(OSError):
            for name in output.names(parent) if parent else [STAGING]:
                output.remove_if_empty(join(parent, name))


def kept_steps(output: Folder, results: str, staging: Folder) -> Folder | None:
    """Where a recipe's finished steps outlast a run that did not come to its end; never one such folder in another.

    None if others could write to it, or made it: what is in it would not be this user's own.
    """
    try:
        with output.folder(f"{STAGING}/{KEPT}", EVERYBODY) as parent:
            folder = parent.folder(_kept_name(results), ONLY_MINE)
    except OSError:
        return None
    status, mine = os.fstat(folder.fd), os.fstat(staging.fd)
    if status.st_uid == mine.st_uid and not status.st_mode & 0o022 & ~mine.st_mode:  # some disks have no permissions
        return folder
    folder.close()
    return None


def _kept_name(results: str) -> str:
    return short(results.replace("%", "%25").replace("/", "%2F"))


def forget_kept_steps(output: Folder, results: Iterable[str]) -> None:
    """They are published, or no longer wanted."""
    with contextlib.suppress(OSError), output.folder(f"{STAGING}/{KEPT}") as parent:
        for name in {*parent.names()} & {*map(_kept_name, results)}:
            parent.remove_tree(name)
