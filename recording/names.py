"""Names of files and folders that are made from a recording's."""

from __future__ import annotations

import hashlib
import os

MAX_NAME = 200  # bytes of a name, so that the longest product's name stays below the 255 that file systems allow


def short(name: str) -> str:
    """The name; if it is too long, its beginning and a hash of the whole."""
    raw = os.fsencode(name)
    if len(raw) <= MAX_NAME:
        return name
    return raw[: MAX_NAME - 9].decode("utf-8", "ignore") + "-" + hashlib.sha256(raw).hexdigest()[:8]


def join(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name
