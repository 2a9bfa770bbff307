"""What in the output is the run's own: the names that it gives, and by what its reports and sentinels are told.

Who names, replaces or removes something in the output asks here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

LOGS, RECORDS, STAGING, KEPT, LOCK = "logs", ".records", ".staging", "kept", ".lock"
ANIMALS = "animals"  # results of animals, a folder each
OVERVIEW_NOTE = f"{RECORDS}/.overview"  # which overview is there; no input is hidden
REPORT = {  # and how each begins
    "index.html": b'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>Inscopix recordings</title>',
    "summary.csv": b"path,kind,status,reason,seconds,summary,",
}
RESERVED = frozenset({*REPORT, LOGS, ANIMALS})  # at the top of the output; no recording's results are called so
DEFAULT_SENTINEL = "done.marker"

_SHARD = re.compile(r"\.\d+-of-\d+$", re.ASCII)  # of a sentinel: done.marker.1-of-2
_HIDDEN = re.compile(r"\.lock-.*|\..*\.tmp", re.DOTALL)  # locks of shards, and what Folder.write has not finished
_SAYS = {"version": str, "finished": str, "recordings": int, "failed": int, "shard": str, "isx": dict}


def is_one_of(name: str, names: Iterable[str]) -> bool:
    """Whether a name is one of these, or that of a shard's own beside it, whatever the letters' case."""
    lower = name.casefold()
    return any(one.casefold() in (lower, _SHARD.sub("", lower)) for one in names)


def is_own(name: str) -> bool:
    """Whether the run gives something at the top of the output this name, the sentinel apart."""
    return is_one_of(name, (*RESERVED, RECORDS, STAGING, LOCK)) or _HIDDEN.fullmatch(name.casefold()) is not None


def sentinel_content(content: bytes) -> dict[str, Any] | None:
    """What a sentinel says, a shard's own too; None for any other file."""
    try:
        said = json.loads(content)
    except (ValueError, RecursionError):
        return None
    if isinstance(said, dict) and all(isinstance(said.get(key), kind) for key, kind in _SAYS.items()):
        return said
    return None
