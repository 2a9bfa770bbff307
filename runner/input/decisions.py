"""Decisions by eye that lie beside a session's recordings; workers read what they say."""

from __future__ import annotations

from pathlib import Path

from common import csv_tables
from recording.names import DECISIONS, join

MOST = 4 << 20  # bytes; a row has a hundred


def text_of(root: Path, folder: str, session: str) -> str:
    """What `<session>.decisions.csv` in this folder of the input holds; empty if there is none.

    Read once and passed on as text, so that a run cannot mix two versions. Spreadsheets save in other encodings too.
    """
    path = root / join(folder, session + DECISIONS)
    try:
        if not path.is_file():  # nobody must wait for a FIFO
            return ""
        with path.open("rb") as file:
            content = file.read(MOST)
    except OSError:
        return ""
    return csv_tables.text_of(content)
