"""Whether the output outlives the container."""

from __future__ import annotations

import os
from pathlib import Path

from common import APP
from runner.endings import Unwritable
from runner.own import DEFAULT_SENTINEL

IMAGE_APP = Path("/app")  # where the code lies in the image
MOUNTS = Path("/proc/self/mountinfo")


def refuse_container_layer(output: Path) -> None:
    """Raise Unwritable if the results would go into the container's own layer, which vanishes with it.

    Only in the image: elsewhere the root is a disk like any other.
    """
    if _in_the_container(output):
        raise Unwritable(
            f"nothing is mounted at {output}, and results inside the container are lost with it: add "
            f'`-v "$PWD/output:{output}"`, or mount a volume there; OUTPUT_IN_CONTAINER=1 if you copy them out'
        )


def refuse_sentinel_in_container(sentinel: Path, output: Path) -> None:
    """Raise Unwritable if the sentinel would vanish with the container: whoever waits for it would wait for ever."""
    if _in_the_container(sentinel.parent):
        raise Unwritable(
            f"nothing is mounted at {sentinel.parent.absolute()}, and a sentinel inside the container is lost with it: "
            f"set EXPECTED_OUTPUT_FILE to a place in the output, such as {output / DEFAULT_SENTINEL}, or mount a "
            "folder for it; OUTPUT_IN_CONTAINER=1 if you copy it out"
        )


def _in_the_container(place: Path) -> bool:
    return APP == IMAGE_APP and mount_point_of(place) == Path("/")


def mount_point_of(path: Path) -> Path | None:
    """The mount that a path lies on, present or not; None if the kernel does not say."""
    try:
        lines = MOUNTS.read_text(errors="surrogateescape").splitlines()
    except OSError:
        return None
    points = {Path(_unescaped(line.split()[4])) for line in lines}
    place = Path(os.path.realpath(path))
    return next((folder for folder in (place, *place.parents) if folder in points), None)


def _unescaped(name: str) -> str:
    """Decode a mount point from proc(5), which writes space, tab, newline and backslash in octal."""
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        name = name.replace(code, character)
    return name
