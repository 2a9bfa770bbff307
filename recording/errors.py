"""Why a recording gives no results. Each error holds one sentence for the user."""

from __future__ import annotations

import os
from pathlib import Path


class BadRecording(Exception):
    """This recording cannot be used; `reason` is a sentence for whoever recorded it."""

    def __init__(self, path: str | os.PathLike[str], reason: str) -> None:
        super().__init__(f"{os.fspath(path)}: {reason}")
        self.path = Path(path)
        self.reason = reason


class Unusable(Exception):
    """No results can be had; the message is one sentence that names the cause and the way out."""


class TooLittleMemory(Unusable):
    """No results can be had with the memory that there is; more of it would help."""


class ProcessKilled(TooLittleMemory):
    """A process that took part in the work was killed, most likely as memory ran out."""


def shown(value: object, most: int = 40) -> str:
    """A value that was read, in a message; cut if it is long."""
    text = repr(value)
    return text if len(text) <= most else f"{text[: most - 3]}..."
