"""How a run ends: the exit codes, the errors that end one, and what the last log line and the sentinel say."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common import ownership
from common.ownership import FULL, NO_SPACE
from runner.output_folder import Folder

DONE, SOME_FAILED, USAGE, NO_INPUT, NO_API, INTERNAL, NO_OUTPUT, IN_USE = 0, 1, 64, 66, 69, 70, 73, 75
OUT_OF_MEMORY = 71  # EX_OSERR: the system has not what is needed


@dataclass
class Ending:
    """How the run ended."""

    code: int
    message: str
    facts: dict[str, Any] = field(default_factory=dict)  # counts, for the log and the sentinel
    sentinel: tuple[Folder, str] | None = None  # its folder and name; written if the code is DONE


class RunError(Exception):
    """The run cannot go on; the message says why and what to do."""

    code = INTERNAL


class UsageError(RunError):
    """The caller asked for something that makes no sense; the message says what would."""

    code = USAGE


class NoInput(RunError):
    code = NO_INPUT


class NoApi(RunError):
    """isx cannot be loaded; the message is the diagnosis."""

    code = NO_API


class Unwritable(RunError):
    code = NO_OUTPUT


class OutputInUse(RunError):
    """Another run works on this output."""

    code = IN_USE


@contextlib.contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Turn OSErrors of a block into Unwritable: the folder cannot be written."""
    try:
        yield
    except OSError as error:
        raise Unwritable(explain_unwritable(folder, error)) from error


def explain_unwritable(folder: Path, error: OSError) -> str:
    """Why nothing can be written there, and the way out."""
    place = Path(os.fsdecode(error.filename)) if error.filename else folder
    if error.errno in FULL:
        return f"no space is left in {folder}: free some and run again"
    if error.errno == errno.EROFS:
        return f"{folder} is mounted read-only: mount the output without ':ro'"
    if error.errno not in (errno.EACCES, errno.EPERM):
        return f"{place} cannot be written: {error.strerror or error}"
    place = _in_the_way(place)
    owner, uid = place.lstat(), os.getuid()
    if owner.st_uid == uid:
        return f"{place} belongs to this user (uid {uid}) but is not writable for it: chmod u+rwx"
    return f"{place} is not writable for uid {uid}: {ownership.way_out(owner)}"


def why_unwritten(error: OSError) -> str:
    """Why the results of a recording or an animal are not in the output."""
    if error.errno in FULL:
        return NO_SPACE
    where = f" ({error.filename})" if error.filename else ""
    return f"its results cannot be written: {error.strerror or error}{where}"


def _in_the_way(place: Path) -> Path:
    """The folder whose rights do not suffice; a file of somebody else's, if its folder's do."""
    for folder in (place, *place.parents):
        is_folder = os.path.isdir(folder)  # noqa: PTH112 - the Path's raises
        if is_folder and not os.access(folder, os.W_OK | os.X_OK):
            return folder
        if is_folder:
            break
    return place if os.path.lexists(place) else folder
