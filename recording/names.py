"""Names of files and folders that are made from a recording's."""

from __future__ import annotations

import hashlib
import os

MAX_NAME = 200  # bytes of a name, so that the longest product's name stays below the 255 that file systems allow
DECISIONS = ".decisions.csv"  # beside recordings, after the name of their session: decisions by eye
STEPS = "steps"  # in a folder of results: what the steps of a recipe made on the way


def short(name: str) -> str:
    """The name; if it is too long, its beginning and a hash of the whole."""
    raw = os.fsencode(name)
    if len(raw) <= MAX_NAME:
        return name
    return raw[: MAX_NAME - 9].decode("utf-8", "ignore") + "-" + hashlib.sha256(raw).hexdigest()[:8]


def is_product(name: str) -> bool:
    """Whether a folder of results may hold such a file: a visible name, in `steps/` perhaps; never a way out."""
    plain = name[len(STEPS) + 1 :] if name.startswith(f"{STEPS}/") else name
    return is_visible(plain)


def is_visible(name: str) -> bool:
    """Whether this is the name of one file or folder that is not hidden, as the run's own are."""
    return bool(name) and not name.startswith(".") and "/" not in name and "\0" not in name


def join(folder: str, name: str) -> str:
    return "/".join(filter(None, (folder, name)))


def set_apart(folder: str, ending: str) -> str:
    """The folder with each part that ends in `ending` lengthened by `_`: no file `<name><ending>` is in its way.

    Parts that end so already get one more: two folders never become one.
    """
    parts = folder.split("/")
    return "/".join(f"{part}_" if part.rstrip("_").casefold().endswith(ending) else part for part in parts)
