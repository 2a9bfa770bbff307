"""A worker opens each recording once: it parses it, reads its packets, converts it and has isx open it once for all."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from samples import recordings
from tests.launch import ROOT

COUNTING = """
import json, sys
from collections import Counter

import isx
import numpy as np

from recording.formats import file

read, counts = {name: getattr(isx, name).read for name in sys.argv[2].split()}, Counter()
loads, fromfile, convert = json.loads, np.fromfile, isx.export_gpio_to_isxd


def counted_loads(text, **options):
    if "parse_constant" in options:  # of recordings
        counts["parsed " + text[:40] + " of " + str(len(text))] += 1
    return loads(text, **options)


def counted_fromfile(path, *arguments, **options):
    counts[f"packets of {path.name}"] += 1
    return fromfile(path, *arguments, **options)


def counted_convert(path, folder):
    counts[f"converted {path}"] += 1
    return convert(path, folder)


def counting(name):
    def opened(path):
        counts[f"isx.{name} of {path.rpartition('/')[2]}"] += 1
        return read[name](path)
    return opened


json.loads, np.fromfile, isx.export_gpio_to_isxd = counted_loads, counted_fromfile, counted_convert
file.SETTLED_NS = -1  # what was written a moment ago may be remembered, too
for name in read:
    getattr(isx, name).read = staticmethod(counting(name))

from pipeline.__main__ import main

code = main()
json.loads = loads
print(json.dumps(counts), file=open(sys.argv[1], "w"))
sys.exit(code)
"""
CLASSES = "Movie Image CellSet EventSet VesselSet GpioSet"


def counts(tmp_path: Path, members: list[tuple[Path, str]], recipe: str = "inspect", **options: bool) -> dict[str, int]:
    """How often a worker did each thing."""
    staging, scratch = tmp_path / "staging", tmp_path / "scratch"
    staging.mkdir()
    scratch.mkdir()
    reader, writer = os.pipe()
    described = [{"path": str(path), "kind": kind, "stem": path.stem} for path, kind in members]
    job: dict[str, Any] = {
        "inputs": [str(members[0][0])],
        "kind": members[0][1],
        "stem": "s",
        "staging": str(staging),
        "scratch": str(scratch),
        "recipe": recipe,
        "options": options,
        "provenance": {"fingerprint": "f", "software": {}},
        "session": {"name": "s", "members": described, "nwb": options.get("nwb", False)},
        "events_fd": writer,
    }
    done = subprocess.run(
        [sys.executable, "-c", COUNTING, str(tmp_path / "counts"), CLASSES],
        input=json.dumps(job).encode(),
        capture_output=True,
        pass_fds=[writer],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    os.close(writer)
    with os.fdopen(reader) as events:
        assert done.returncode == 0, events.read() + done.stderr.decode()
    assert (staging / "s.nwb").exists() == options.get("nwb", False)
    return json.loads((tmp_path / "counts").read_text())


@pytest.mark.parametrize("nwb", [False, True])
def test_of_a_session(tmp_path: Path, nwb: bool) -> None:
    made = [
        (recordings.movie(tmp_path / "s.isxd", n=40), "movie"),
        (recordings.cell_set(tmp_path / "s-CNMFE.isxd"), "cell_set"),
        (recordings.event_set(tmp_path / "s-CNMFE-ED.isxd"), "event_set"),
        (recordings.vessel_set(tmp_path / "s-VD.isxd"), "vessel_set"),
        (recordings.gpio(tmp_path / "s.gpio"), "gpio"),
        (recordings.behavior_movie(tmp_path / "s.isxb"), "behavior_movie"),
    ]
    counted = counts(tmp_path, made, nwb=nwb, nwb_movie=nwb)
    assert {what: n for what, n in counted.items() if n > 1} == {}
    assert sum(what.startswith("isx.") for what in counted) == len(made)
    assert {what for what in counted if what.startswith(("packets", "converted"))} == {
        "packets of s-CNMFE-ED.isxd",
        "packets of s_gpio.isxd",
        f"converted {tmp_path / 's.gpio'}",
    }
    assert sum(what.startswith("parsed") for what in counted) >= len(made), "each states something"


def test_of_what_a_step_reads_of_the_session(tmp_path: Path) -> None:
    """The pulses that a step tests are those of the table, and of the NWB file."""
    recipe = tmp_path / "r.toml"
    recipe.write_text(
        'version = 1\nengine = "open"\n[[step]]\nuse = "peri_event"\nchannel = "GPIO-1"\nwindow_s = [-0.2, 0.3]\n'
    )
    made = [
        (recordings.cell_set(tmp_path / "s.isxd"), "cell_set"),
        (recordings.gpio(tmp_path / "s.gpio"), "gpio"),
    ]
    counted = counts(tmp_path, made, str(recipe), nwb=True)
    assert {what: n for what, n in counted.items() if n > 1} == {}
    assert {what for what in counted if not what.startswith("parsed")} == {
        f"converted {tmp_path / 's.gpio'}",
        "packets of s_gpio.isxd",
        "isx.CellSet of s.isxd",
        "isx.GpioSet of s_gpio.isxd",
    }
