#!/usr/bin/env python3
"""Adds to a lock what PYTHON_PACKAGES asks for; runs in a stage of the Dockerfile.

    python_packages.py LOCK

PYTHON_PACKAGES holds `name==version --hash=sha256:...`, with every hash of that release that may be taken, as a lock
does; more of them follow after a space. Standard library only.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

PINNED = re.compile(r"([A-Za-z0-9][\w.-]*)==[\w.!+-]+", re.ASCII)
HASH = re.compile("--hash=sha256:[0-9a-f]{64}")
FORM = "write each as name==version --hash=sha256:<digest>"


class Mistake(Exception):
    """The message says what to correct."""


def requirements(text: str) -> dict[str, list[str]]:
    """Hashes by `name==version`. Raises Mistake."""
    found: dict[str, list[str]] = {}
    for word in text.replace("\\", " ").split():
        if PINNED.fullmatch(word):
            found[word] = []
        elif HASH.fullmatch(word) and found:
            found[list(found)[-1]].append(word)
        else:
            raise Mistake(f"{word!r} is neither name==version nor its hash: {FORM}")
    bare = [word for word, hashes in found.items() if not hashes]
    if bare:
        raise Mistake(f"{', '.join(bare)} has no hash: {FORM}")
    return found


def normalised(requirement: str) -> str:
    return re.sub("[-_.]+", "-", requirement.partition("==")[0]).lower()


def add(lock: Path, text: str) -> None:
    """Raises Mistake."""
    wanted = requirements(text)
    locked = {normalised(line) for line in lock.read_text().splitlines() if PINNED.match(line)}
    twice = [word for word in wanted if normalised(word) in locked]
    if twice:
        raise Mistake(f"{', '.join(twice)}: the image has that package, of a version of its own")
    lines = [" \\\n    ".join([word, *hashes]) + "\n" for word, hashes in wanted.items()]
    with lock.open("a") as file:
        file.write("".join(lines))


def main(lock: Path) -> int:
    try:
        add(lock, os.environ.get("PYTHON_PACKAGES", ""))
    except Mistake as mistake:
        print(f"\nERROR: PYTHON_PACKAGES: {mistake}.\n", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
