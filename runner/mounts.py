"""Whether the output outlives the container."""

from __future__ import annotations

import os
from pathlib import Path

from common import APP
from runner.endings import Unwritable

IMAGE_APP = Path("/app")  # where the code lies in the image
MOUNTS = Path("/proc/self/mountinfo")


def refuse_container_layer(output: Path) -> None:
    """Raise Unwritable if the results would go into the container's own layer, which vanishes with it.

    Only in the image: elsewhere the root is a disk like any other.
    """
    if APP == IMAGE_APP and mount_point_of(output) == Path("/"):
        raise Unwritable(
            f"nothing is mounted at {output}, and results inside the container are lost with it: add "
            f'`-v "$PWD/output:{output}"`, or mount a volume there; OUTPUT_IN_CONTAINER=1 if you copy them out'
        )


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
