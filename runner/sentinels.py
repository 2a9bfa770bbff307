"""The sentinel of a run, and those of its shards: found, and removed before anything can fail."""

from __future__ import annotations

import os
import re
from pathlib import Path

from runner.endings import Unwritable, explain_unwritable
from runner.inside import EVERYBODY, Folder, hold
from runner.shards import Shard


def of_shard(sentinel: str, shard: Shard) -> str:
    """The name of a shard's own sentinel: done.marker.2-of-8."""
    return f"{sentinel}.{shard.name}"


def of_shards(folder: Folder, sentinel: str) -> list[tuple[str, int]]:
    """The shards' sentinels that exist, each with its count."""
    pattern = re.compile(re.escape(sentinel) + r"\.\d+-of-(\d+)", re.ASCII)
    try:
        names = folder.names()
    except OSError:
        return []
    return [(name, int(match[1])) for name in names if (match := pattern.fullmatch(name))]


def folder_of(sentinel: Path, output: Folder) -> Folder:
    """The folder that it belongs in, made if it is missing. Below the output, no link leads there. Raises OSError."""
    try:
        relative = sentinel.parent.absolute().relative_to(output.path.absolute())
    except ValueError:
        sentinel.parent.mkdir(parents=True, exist_ok=True)
        return hold(sentinel.parent)
    return output.folder("/".join(relative.parts), EVERYBODY)


def remove_stale(folder: Folder, sentinel: str, shard: Shard | None, gathering: bool) -> None:
    """A sentinel of an earlier run must not speak for this one. Raises Unwritable."""
    remove(folder, sentinel)
    if gathering:
        return
    for name, count in of_shards(folder, sentinel):
        if shard is None or count != shard.count or name == of_shard(sentinel, shard):
            remove(folder, name)


def remove_unopened(sentinel: Path, shard: Shard | None = None, gathering: bool = True) -> None:
    """The same for a run that ends before it has opened the output. Raises Unwritable."""
    try:
        folder = hold(sentinel.parent)
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise Unwritable(explain_unwritable(sentinel.parent, error)) from error
    with folder:
        remove_stale(folder, sentinel.name, shard, gathering)


def remove(folder: Folder, sentinel: str) -> None:
    """Raises Unwritable if it stays."""
    path = folder.path / sentinel
    try:
        folder.remove(sentinel)
    except IsADirectoryError:
        raise Unwritable(f"the sentinel {path} is a folder: set EXPECTED_OUTPUT_FILE to a file") from None
    except OSError as error:
        # A read-only file system refuses whether or not there is one.
        what = "the sentinel of an earlier run cannot be removed: " if os.path.lexists(path) else ""
        raise Unwritable(what + explain_unwritable(folder.path, error)) from error
