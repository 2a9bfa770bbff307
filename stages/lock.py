#!/usr/bin/env python3
"""Writes the lock for the Python of the base; runs in a stage of the Dockerfile.

    lock.py LOCKS LOCK

LOCKS is a folder with a lock for each Python that has one, `python3.11.txt`, and for some of them one with NumPy 1,
`python3.11-numpy1.txt`, which NUMPY=1 asks for. PYTHON_PACKAGES adds to it: `name==version --hash=sha256:...`, with
every hash of that release that may be taken, as a lock does; more of them follow after a space. Standard library only.
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


def pythons(locks: Path, numpy: str = "") -> list[str]:
    """The versions of Python that have a lock, the oldest first."""
    names = (re.fullmatch(rf"python(\d+\.\d+){numpy}\.txt", path.name) for path in locks.iterdir())
    return sorted((name[1] for name in names if name), key=lambda version: [*map(int, version.split("."))])


def choose(locks: Path, python: str, numpy: str) -> Path:
    """The lock for a version of Python, such as 3.11.2, with NumPy 1 if `numpy` is "1". Raises Mistake."""
    if numpy not in ("", "1"):
        only = "there is only 1, for a product that needs NumPy before 2"
        raise Mistake(f"NUMPY={numpy}: {only}. For a current NumPy, leave it out")
    minor = ".".join(python.split(".")[:2])
    if minor not in pythons(locks):
        raise Mistake(f"BASE_IMAGE has Python {python}: take one with {_or(pythons(locks))}, such as Debian 12")
    suffix = "-numpy1" if numpy else ""
    if minor not in pythons(locks, suffix):
        has = _or(pythons(locks, suffix))
        raise Mistake(
            f"NumPy 1 does not exist for Python {minor}: leave NUMPY out, or take a BASE_IMAGE with Python {has}"
        )
    return locks / f"python{minor}{suffix}.txt"


def _or(names: list[str]) -> str:
    return " or ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def requirements(text: str) -> dict[str, list[str]]:
    """Hashes by `name==version`. Raises Mistake."""
    hashes_of: dict[str, list[str]] = {}
    for word in text.replace("\\", " ").split():
        if PINNED.fullmatch(word):
            hashes_of[word] = []
        elif HASH.fullmatch(word) and hashes_of:
            hashes_of[list(hashes_of)[-1]].append(word)
        else:
            raise Mistake(f"PYTHON_PACKAGES: {word!r} is neither name==version nor its hash: {FORM}")
    bare = [word for word, hashes in hashes_of.items() if not hashes]
    if bare:
        raise Mistake(f"PYTHON_PACKAGES: {', '.join(bare)} has no hash: {FORM}")
    return hashes_of


def normalised(requirement: str) -> str:
    return re.sub("[-_.]+", "-", requirement.partition("==")[0]).lower()


def with_packages(lock: str, text: str) -> str:
    """A lock with more packages. Raises Mistake."""
    wanted = requirements(text)
    locked = {normalised(line) for line in lock.splitlines() if PINNED.match(line)}
    twice = [word for word in wanted if normalised(word) in locked]
    if twice:
        raise Mistake(f"PYTHON_PACKAGES: {', '.join(twice)}: the image has that package, of a version of its own")
    return lock + "".join(" \\\n    ".join([word, *hashes]) + "\n" for word, hashes in wanted.items())


def main(locks: Path, lock: Path) -> int:
    get = os.environ.get
    try:
        chosen = choose(locks, sys.version.split()[0], get("NUMPY", ""))
        lock.write_text(with_packages(chosen.read_text(), get("PYTHON_PACKAGES", "")))
    except Mistake as mistake:
        print(f"\nERROR: {mistake}.\n", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
