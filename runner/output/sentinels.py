"""The sentinel of a run, and those of its shards: found, and removed before anything can fail.

Only sentinels are ever removed or replaced. Whatever else has the name of one stays, to the byte.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from runner import own, places
from runner.endings import Unwritable, UsageError, explain_unwritable
from runner.output_folder import EVERYBODY, Folder, hold
from runner.shards import MOST, Shard


def of_shard(sentinel: str, shard: Shard) -> str:
    """The name of a shard's own sentinel: done.marker.2-of-8."""
    return f"{sentinel}.{shard.name}"


def of_shards(folder: Folder, sentinel: str) -> dict[Shard, dict[str, Any]]:
    """The shards that have a sentinel, and what it says. A file that only has the name of one is none."""
    pattern = re.compile(re.escape(sentinel) + r"\.([1-9]\d{0,5})-of-([1-9]\d{0,5})", re.ASCII)
    try:
        matches = [match for name in folder.names() if (match := pattern.fullmatch(name))]
    except OSError:
        return {}
    contents = {}
    for match in matches:
        shard = Shard(int(match[1]), int(match[2]))
        if shard.index <= shard.count <= MOST and (content := _read(folder, match[0])):
            contents[shard] = content
    return {shard: content for shard, content in contents.items() if content["shard"] == str(shard)}


def folder_of(sentinel: Path, output: Folder, make: int | None = EVERYBODY) -> Folder:
    """The folder that it belongs in, made if it is missing. Below the output, no link leads there. Raises OSError."""
    relative = places.below(sentinel.parent, output.path)
    if relative is not None:
        return output.folder(relative, make)
    if make is not None:
        sentinel.parent.mkdir(parents=True, exist_ok=True)
    return hold(sentinel.parent)


def refuse_foreign(folder: Folder, name: str) -> None:
    """Raise UsageError if something stands there that is not a sentinel, Unwritable if nobody may know."""
    what = _foreign(folder, name)
    if what:
        path = folder.path / name
        raise UsageError(
            f"{path} is {what} and was not changed: move it away, or set EXPECTED_OUTPUT_FILE, the name of a marker "
            "that the run writes, to another name"
        )


def refuse_foreign_unopened(sentinel: Path, output: Path, shard: Shard | None = None) -> None:
    """The same for a run that has not opened its output yet."""
    with _as_it_is(sentinel, output) as folder:
        if folder:
            refuse_foreign(folder, sentinel.name)
            if shard:
                refuse_foreign(folder, of_shard(sentinel.name, shard))


def remove_stale(folder: Folder, sentinel: str, shard: Shard | None, gathering: bool) -> None:
    """A sentinel of an earlier run must not speak for this one. Raises UsageError, Unwritable."""
    _remove(folder, sentinel)
    if gathering:
        return
    if shard:
        _remove(folder, of_shard(sentinel, shard))
    for other in of_shards(folder, sentinel):
        if shard is None or other.count != shard.count:
            _remove(folder, of_shard(sentinel, other))


def remove_unopened(sentinel: Path, output: Path, shard: Shard | None = None, gathering: bool = True) -> None:
    """The same for a run that ends before it has opened the output."""
    with _as_it_is(sentinel, output) as folder:
        if folder:
            remove_stale(folder, sentinel.name, shard, gathering)


@contextmanager
def _as_it_is(sentinel: Path, output: Path) -> Iterator[Folder | None]:
    """The sentinel's folder, with nothing made for it; None if it is not there. Raises Unwritable."""
    try:
        try:
            top = hold(output)
        except (FileNotFoundError, NotADirectoryError):
            folder = hold(sentinel.parent)
        else:
            with top:
                folder = folder_of(sentinel, top, make=None)
    except (FileNotFoundError, NotADirectoryError):
        folder = None
    except OSError as error:
        raise Unwritable(explain_unwritable(sentinel.parent, error)) from error
    try:
        yield folder
    finally:
        if folder:
            folder.close()


def _foreign(folder: Folder, name: str) -> str:
    """What stands there, if it is no sentinel; "" if it is one, or nothing is there. Raises Unwritable."""
    try:
        mode = folder.status(name).st_mode
        if not stat.S_ISREG(mode):
            kinds = {stat.S_IFDIR: "a folder", stat.S_IFLNK: "a symbolic link"}
            return kinds.get(stat.S_IFMT(mode), "not a regular file")
        return "" if own.sentinel_content(folder.read(name)) else "not a sentinel of an earlier run"
    except FileNotFoundError:
        return ""
    except OSError as error:
        if error.errno in (errno.EFBIG, errno.EINVAL, errno.ELOOP):
            return "not a sentinel of an earlier run"
        raise Unwritable(explain_unwritable(folder.path, error)) from error


def _read(folder: Folder, name: str) -> dict[str, Any] | None:
    try:
        return own.sentinel_content(folder.read(name))
    except OSError:
        return None


def _remove(folder: Folder, name: str) -> None:
    """Raises UsageError if it is no sentinel, Unwritable if it stays."""
    refuse_foreign(folder, name)
    path = folder.path / name
    try:
        folder.remove(name)
    except OSError as error:
        # A read-only file system refuses whether or not there is one.
        what = "the sentinel of an earlier run cannot be removed: " if os.path.lexists(path) else ""
        raise Unwritable(what + explain_unwritable(folder.path, error)) from error
