"""The step `peri_event` by itself: events from tables, parts on one clock, what it warns of."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from open_engine.context import StepContext
from open_engine.event_times import WANTED, read_times, timeline_of
from open_engine.files.cellsets import read_cell_set, write_cell_set
from open_engine.steps.peri_event import _stems, peri_event
from recording import formats
from recording.errors import Unusable
from samples import recordings

N, CELLS = 400, 5
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def cells(tmp_path: Path) -> list[str]:
    """Two parts of 40 s that begin 60 s apart; in the second, frames 100 to 102 are lost; the last cell is rejected."""
    traces = np.random.default_rng(0).normal(size=(CELLS, 2 * N)).astype(np.float32)
    movies = [
        recordings.movie(
            tmp_path / f"m{i}.isxd", N, 5, 6, period_ms=100, start_ms=recordings.START_MS + 60_000 * i, dropped=lost
        )
        for i, lost in enumerate(([], [100, 101, 102]))
    ]
    paths = [str(tmp_path / f"cells{i}.isxd") for i in range(2)]
    statuses = ["accepted"] * 2 + ["undecided"] * (CELLS - 3) + ["rejected"]
    images = np.ones((CELLS, 5, 6), np.float32)
    write_cell_set(paths, [formats.read_footer(movie) for movie in movies], images, traces, statuses=statuses)
    return paths


def pulses(path: Path, *rows: tuple[str, str, str]) -> str:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("channel", "onset_s", "offset_s"), *rows])
    return str(path)


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_it_says_which_events_it_left_out(cells, tmp_path):
    said: list[str] = []
    times = [1, 10, 20, 50, 65, 70.1, 75, 85, 99]
    ttl = pulses(tmp_path / "a-ttl.csv", *[("GPIO-1", f"{at}", f"{at + 0.2}") for at in times], ("GPIO-1", "", "3"))
    peri_event(cells, [ttl], str(tmp_path), "GPIO-1", context=StepContext(tmp_path, warn=said.append))
    assert said == [
        "GPIO-1: 4 of 9 events are left out: 1 while nothing was recorded, 2 whose window leaves the recording, "
        "1 whose window has lost frames",
        "GPIO-1: with 5 events, cells that respond are easily missed",
    ]
    rows = table(tmp_path / "GPIO-1.csv")
    assert [row["cell"] for row in rows] == ["C0", "C1", "C2", "C3"], "without the rejected"
    assert {row["n_events"] for row in rows} == {"5"}
    trials = table(tmp_path / "GPIO-1-trials.csv")
    assert sorted({float(row["event_s"]) for row in trials}) == pytest.approx([10, 20, 65, 75, 85])


def test_the_end_of_a_pulse(cells, tmp_path):
    ttl = pulses(tmp_path / "a-ttl.csv", ("GPIO-1", "10", "14"), ("GPIO-1", "39", ""))
    peri_event(cells, [ttl], str(tmp_path), "GPIO-1", "fall", context=StepContext(tmp_path, warn=lambda text: None))
    assert {row["event_s"] for row in table(tmp_path / "GPIO-1-trials.csv")} == {"14"}


def test_no_event_can_be_used(cells, tmp_path):
    said: list[str] = []
    ttl = pulses(tmp_path / "a-ttl.csv", ("GPIO-1", "0.5", "1"))
    peri_event(cells, [ttl], str(tmp_path), "GPIO-1", context=StepContext(tmp_path, warn=said.append))
    assert said[-1] == "GPIO-1: no event can be used, so no cell is tested"
    for row in table(tmp_path / "GPIO-1.csv"):
        assert (row["n_events"], row["effect"], row["p"], row["q"], row["class"]) == ("0", "", "", "", "none")


def test_too_few_shuffles_for_so_many_cells(cells, tmp_path):
    said: list[str] = []
    ttl = pulses(tmp_path / "a-ttl.csv", *[("GPIO-1", f"{at}", "") for at in range(4, 34)])
    context = StepContext(tmp_path, warn=said.append)
    peri_event(cells, [ttl], str(tmp_path), "GPIO-1", shuffles=30, context=context)
    assert said == [
        "GPIO-1: of 4 cells, fewer than 3 that respond cannot reach q < 0.05 with 30 shuffles: raise shuffles"
    ]


def test_the_clock_of_the_session(cells):
    """As it is given, else as the files state."""
    read = read_cell_set(cells)
    assert timeline_of(read, {}).starts_s == pytest.approx((0, 60))
    assert timeline_of(read, {cells[0]: 1.5, cells[1]: 61.25}).starts_s == (1.5, 61.25)


@pytest.mark.parametrize(
    ("ttl", "said"),
    [
        ([("GPIO-2", "1", "2")], "channel GPIO-1 has no rising edges: choose one of those that have, GPIO-2"),
        ([], "channel GPIO-1 has no rising edges: no channel of the session has any"),
        (None, "the session has no GPIO recording, so nothing is known of GPIO-1: give events = a table"),
    ],
)
def test_channels_without_edges(cells, tmp_path, ttl, said):
    tables = [] if ttl is None else [pulses(tmp_path / "a-ttl.csv", *ttl)]
    with pytest.raises(Unusable) as error:
        peri_event(cells, tables, str(tmp_path), "GPIO-1", context=StepContext(tmp_path))
    assert str(error.value) == said
    assert not list(tmp_path.glob("GPIO-1*"))


def test_too_many_events(cells, tmp_path):
    """Rather the frames of a camera than stimuli: no event is left out, and a sentence names the channel."""
    said: list[str] = []
    ttl = pulses(tmp_path / "a-ttl.csv", *[("GPIO-1", f"{3 + i * 0.01:.2f}", "") for i in range(3000)])
    peri_event(cells, [ttl], str(tmp_path), "GPIO-1", shuffles=99, context=StepContext(tmp_path, warn=said.append))
    assert said == [
        "GPIO-1: 3000 events look like a clock, not like an experiment: is this the right channel?",
    ]


ON_CORES = """
import os, sys
os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: int(sys.argv[1])])
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[name] = sys.argv[1]
from pathlib import Path
from open_engine.context import StepContext
from open_engine.steps.peri_event import peri_event
out = Path(sys.argv[2])
context = StepContext(out, threads=int(sys.argv[1]), warn=lambda text: None)
peri_event(sys.argv[4:], [sys.argv[3]], str(out), "GPIO-1", context=context)
"""


def test_the_same_bytes_on_any_number_of_cores(cells, tmp_path):
    ttl = pulses(tmp_path / "a-ttl.csv", *[("GPIO-1", f"{at}", "") for at in (4.2, 9, 17.3, 22, 31, 65, 71.9, 84, 91)])
    trees = []
    for n in (1, len(os.sched_getaffinity(0))):
        out = tmp_path / f"cores-{len(trees)}"
        out.mkdir()
        subprocess.run([sys.executable, "-c", ON_CORES, str(n), out, ttl, *cells], check=True, cwd=ROOT)
        trees.append({path.name: path.read_bytes() for path in out.iterdir()})
    assert sorted(trees[0]) == ["GPIO-1-mean.csv", "GPIO-1-trials.csv", "GPIO-1.csv"]
    assert trees[0] == trees[1]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("time_s\n2\n1\n", {"": [1, 2]}),
        ("\ufefftime_s,label\r\n1,go\r\n2,stop\r\n3, go \r\n", {"go": [1, 3], "stop": [2]}),
        ("label,time_s\n,1\ngo,2e0\n", {"": [1], "go": [2]}),
        # As spreadsheets save tables in other countries.
        ("time_s;label\r\n1,5;go\r\n2;stop\r\n;;\r\n1234,5;go\r\n", {"go": [1.5, 1234.5], "stop": [2]}),
        ("sep=;\ntime_s;label\n1,250;go\n", {"go": [1.25]}),
        ("Time_s\tLabel \n1.5\tgo\n", {"go": [1.5]}),
        ('time_s\n"5,2"\n"1,234"\n', {"": [1.234, 5.2]}),
        ("session,label,time_s\nday1,go,1\nday2,go,2\n day1 ,stop,3\nday2,,soon\n", {"go": [1], "stop": [3]}),
    ],
)
def test_tables_of_events(tmp_path, content, expected):
    (tmp_path / "a.csv").write_bytes(content.encode())
    read = read_times(tmp_path / "a.csv", "day1")
    assert {label: times.tolist() for label, times in read.items()} == expected


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            b"",
            "a.csv has no column time_s: " + WANTED,
        ),
        (
            b"time_s\n\n",
            "a.csv has no rows: " + WANTED,
        ),
        (
            b"time_ms,label\n1,go\n",
            "a.csv has no column time_s, but time_ms, label: " + WANTED,
        ),
        (b"time_s\n1\nsoon\n", "a.csv:3: time_s is 'soon', not a number of seconds"),
        (b"time_s\nnan\n", "a.csv:2: time_s is 'nan', not a number of seconds"),
        (b"sep=,\nlabel,time_s\ngo\n", "a.csv:3: time_s is '', not a number of seconds"),
        (b'time_s\n"1,234"\n', "a.csv:2: time_s is '1,234', not a number of seconds"),
        (b"time_s,session\n1,day2\n2,\n", "a.csv has no row of session day1: its column session names day2"),
        (b"PK\x03\x04\xff\xfe", "a.csv is not a readable table: save it as CSV, in UTF-8"),
    ],
)
def test_tables_that_cannot_be_read(tmp_path, content, said):
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(Unusable) as error:
        read_times(tmp_path / "a.csv", "day1")
    assert str(error.value) == said


def test_labels_that_are_no_file_names():
    stems = _stems("trials", ["go", "GO", "left/right", "", "../up"])
    assert stems == {
        "go": "trials-go",
        "GO": "trials-GO-2",
        "left/right": "trials-left_right",
        "": "trials",
        "../up": "trials-.._up",
    }
