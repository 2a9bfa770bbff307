"""Swaps folders of an output for links and back, as fast as it can: somebody who may write to it while a run does.

Usage: swapper.py OUTPUT OUTSIDE. Does what another user can do who may write to the output folder and to the folders of
results in it, but not to a folder that is closed to others. Prepares OUTSIDE so that a run that followed the links
would find every folder that it wants. Ends when its standard input does; prints how many links it has put there.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import sys
from pathlib import Path

NAMES = (".staging", ".records", "logs", "sub", "a", "m0", "m1", "m2", "m3")


def main() -> None:
    output, outside = map(Path, sys.argv[1:])
    swaps = 0
    while not select.select([sys.stdin], [], [], 0)[0]:
        for name in NAMES:
            for place in (output / name, *_inner(output / name)):
                with contextlib.suppress(OSError):
                    swaps += _swap(place, outside)
    print(swaps)


def _inner(folder: Path) -> list[Path]:
    """What the same user finds in the folders of results, one level down; not in a folder that is closed to others."""
    try:
        return [path for path in folder.iterdir() if path.is_dir() and not path.is_symlink()]
    except OSError:
        return []


def _swap(place: Path, outside: Path) -> int:
    if not place.is_dir() or place.is_symlink():
        return 0
    away = place.with_name(f"{place.name}.away")
    place.rename(away)
    try:
        _prepare(away, outside)
        place.symlink_to(outside)
        with contextlib.suppress(OSError):
            os.sched_yield()
        place.unlink()
    finally:
        if not place.exists():
            away.rename(place)
        else:  # the run has made another one meanwhile
            shutil.rmtree(away, ignore_errors=True)
    return 1


def _prepare(folder: Path, outside: Path) -> None:
    """The folders that a run would look for."""
    for name in (".", *(path.name for path in folder.iterdir() if path.is_dir())):
        for inner in ("", *(f"{number}/{part}" for number in range(4) for part in ("results", "scratch"))):
            (outside / name / inner).mkdir(parents=True, exist_ok=True)


if __name__ == "__main__":
    main()
