"""Opens recording after recording with isx alone and reads all of it, for tests; stops where one ends the process.

Usage: python read_all.py SECONDS RECORDING... ; one line of JSON a recording: name, and reason or null.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ["LC_ALL"] = "C.UTF-8"

import isx

from recording import formats

READERS = {
    0: isx.Movie,
    1: isx.CellSet,
    3: isx.GpioSet,
    4: isx.Image,
    5: isx.EventSet,
    7: isx.GpioSet,
    8: isx.VesselSet,
}


def read(path: Path, scratch: Path) -> int:
    """How many samples, pixels or events there are."""
    if path.suffix in (".gpio", ".imu"):
        with tempfile.TemporaryDirectory(dir=scratch) as folder:
            isx.export_gpio_to_isxd(str(path), folder)
            (made,) = Path(folder).iterdir()
            return sum(_parts(isx.GpioSet, made))
    reader = isx.Movie if path.suffix == ".isxb" else READERS[formats.read_footer(path)["type"]]
    return sum(_parts(reader, path))


def _parts(reader: Any, path: Path) -> Iterator[int]:
    source = reader.read(str(path))
    if reader is isx.Image:
        yield source.get_data().size
    elif reader is isx.Movie:
        yield from (source.get_frame_data(i).size for i in range(source.timing.num_samples))
    elif reader is isx.CellSet:
        yield from (
            source.get_cell_image_data(i).size + len(source.get_cell_trace_data(i)) for i in range(source.num_cells)
        )
        yield 1  # one without cells is sound
    elif reader is isx.VesselSet:
        yield from (
            source.get_vessel_image_data(i).size + len(source.get_vessel_trace_data(i))
            for i in range(source.num_vessels)
        )
    elif reader is isx.EventSet:
        yield from (len(source.get_cell_data(i)[0]) for i in range(source.num_cells))
    else:
        yield from (len(source.get_channel_data(i)[0]) for i in range(source.num_channels))


def main() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    report = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # the library writes to standard output
    with tempfile.TemporaryDirectory() as scratch:
        for path in map(Path, sys.argv[2:]):
            signal.alarm(int(sys.argv[1]))  # ends the process: a library that hangs cannot be interrupted otherwise
            try:
                told = None if read(path, Path(scratch)) else "there is nothing in it"
            except Exception as error:
                told = str(error) or repr(error)
            signal.alarm(0)
            print(json.dumps({"name": path.name, "reason": told}), file=report)


if __name__ == "__main__":
    main()
