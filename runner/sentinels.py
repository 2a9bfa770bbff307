"""The sentinel of a run, and those of its shards: found, and removed before anything can fail."""

from __future__ import annotations

import os
import re
from pathlib import Path

from runner.endings import Unwritable, explain_unwritable
from runner.shards import Shard


def of_shard(sentinel: Path, shard: Shard) -> Path:
    """A shard's own sentinel: done.marker.2-of-8."""
    return sentinel.with_name(f"{sentinel.name}.{shard.name}")


def of_shards(sentinel: Path) -> list[tuple[Path, int]]:
    """The shards' sentinels that exist, each with its count."""
    pattern = re.compile(re.escape(sentinel.name) + r"\.\d+-of-(\d+)", re.ASCII)
    try:
        files = sorted(sentinel.parent.iterdir())
    except OSError:
        return []
    return [(file, int(match[1])) for file in files if (match := pattern.fullmatch(file.name))]


def remove_stale(sentinel: Path, shard: Shard | None, gathering: bool) -> None:
    """A sentinel of an earlier run must not speak for this one. Raises Unwritable."""
    remove(sentinel)
    if gathering:
        return
    for file, count in of_shards(sentinel):
        if shard is None or count != shard.count or file == of_shard(sentinel, shard):
            remove(file)


def remove(sentinel: Path) -> None:
    """Raises Unwritable if it stays."""
    try:
        sentinel.unlink()
    except (FileNotFoundError, NotADirectoryError):
        return
    except IsADirectoryError:
        raise Unwritable(f"the sentinel {sentinel} is a folder: set EXPECTED_OUTPUT_FILE to a file") from None
    except OSError as error:
        # A read-only file system refuses whether or not there is one.
        what = "the sentinel of an earlier run cannot be removed: " if os.path.lexists(sentinel) else ""
        raise Unwritable(what + explain_unwritable(sentinel.parent, error)) from error
