"""Decisions by eye that lie beside a session's recordings; workers read what they say."""

from __future__ import annotations

import os
from pathlib import Path

from common import csv_tables
from common.ownership import why_unread
from recording.names import DECISIONS, join
from runner.endings import UsageError

MOST = 4 << 20  # bytes; a row has a hundred


def text_of(root: Path, folder: str, session: str) -> str:
    """What `<session>.decisions.csv` in this folder of the input holds; empty if there is none.

    Read once and passed on as text, so that a run cannot mix two versions. Spreadsheets save in other encodings too.
    Raises UsageError if it cannot be read: without it, results would count as done that are not what somebody decided.
    """
    path = root / join(folder, session + DECISIONS)
    if not os.path.lexists(path):
        return ""
    try:
        if not path.is_file() or path.stat().st_size > MOST:  # nobody must wait for a FIFO
            raise UsageError(f"{path.absolute()}: is not a file of at most {MOST >> 20} MB")
        with path.open("rb") as file:
            return csv_tables.text_of(file.read(MOST))
    except OSError as error:
        raise UsageError(f"{path.absolute()}: cannot be read: {why_unread(path.absolute(), error)}") from None
