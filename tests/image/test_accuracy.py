"""How well the image finds cells in recordings whose truth is known, and how well it registers them.

minisim makes them, in an environment of its own that pip fills (bench/minisim_movies.py). Floors are a little below
what was measured; `make bench` has larger recordings, and what others find in them.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from harness import PROJECT, PUBLIC, container

sys.path.insert(0, str(PROJECT / "bench"))
import minisim_movies

FOLDER = PROJECT / "build/minisim"
NAMES = ("small-7", "moving-7")  # at rest; moving, with vessels and bleaching
FLOORS = {
    "small-7": {"f1": 0.75, "precision": 0.9, "r": 0.94, "event_f1": 0.8},
    "moving-7": {"f1": 0.8, "precision": 0.9, "r": 0.95, "event_f1": 0.8},
}
WHOLE_WAY = {  # the recipe cells, given nothing: least F1 of the accepted cells, least F1 of events, most accepted
    "zhou-1": (0.9, 0.9, 41),
    "slow_busy-1": (0.9, 0.7, 38),
    "tonic-1": (0.85, 0.55, 40),
    "mixed-1": (0.93, 0.9, 36),
    "no_patches-1": (0, 0, 1),
    "no_waves-2": (0, 0, 1),
}


def measured(folder: Path, *options: str) -> dict:
    """What bench/accuracy.py says in the image."""
    folder.mkdir(parents=True, exist_ok=True)
    code = [f"{PROJECT / name}:/app/{name}:ro" for name in ("bench", "samples", "scripts")]
    mounts = [option for mount in (*code, f"{folder}:/made") for option in ("-v", mount)]
    of_image = ("--user", f"{os.getuid()}:{os.getgid()}", "-e", "PYTHONPATH=/app", *mounts)
    command = ("python", "/app/bench/accuracy.py", "/made", "--json", *options)
    return json.loads(container(*command, image=PUBLIC, options=of_image, check=True).stdout)


@pytest.fixture(scope="module")
def report(public) -> dict:
    try:
        minisim_movies.made(FOLDER, list(NAMES))
    except minisim_movies.NotHere as reason:
        pytest.skip(str(reason))
    return measured(FOLDER, "--alone", *NAMES)


@pytest.fixture(scope="module")
def whole_way(public) -> dict:
    return measured(PROJECT / "build/conditions", "--recipe", *WHOLE_WAY)


@pytest.mark.parametrize("name", WHOLE_WAY)
def test_the_whole_way_from_a_raw_movie_to_accepted_cells(whole_way, name):
    figures = whole_way[name]["methods"]["recipe"]
    f1, events, most = WHOLE_WAY[name]
    assert figures["f1"] >= f1
    assert figures.get("event_f1", 0) >= events
    assert figures["accepted"] <= most


@pytest.mark.parametrize("name", NAMES)
def test_cells_traces_and_events_are_found(report, name):
    methods = report[name]["methods"]
    for measure, floor in FLOORS[name].items():
        assert methods["open"][measure] >= floor, measure
    assert methods["open_estimated"]["f1"] >= FLOORS[name]["f1"], "with the diameter estimated"
    assert methods["recipe"]["f1"] >= FLOORS[name]["f1"], "the whole way"
    assert methods["recipe"]["event_f1"] >= 0.9


def test_a_field_at_rest_stays_as_it_is(report):
    assert report["small-7"]["motion_rms_px"] == 0


def test_motion_is_found(report):
    assert report["moving-7"]["motion_rms_px"] < 0.2
