"""Activity around events, at the end of the whole way: what a lab has in its folder and on its page."""

from __future__ import annotations

import csv
import json
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
from pynwb import NWBHDF5IO

from open_engine.files.cellsets import edit_footer, read_cell_set, write_cell_set
from recording import formats
from samples import recordings
from tests.launch import run

N, RATE_HZ, GAP_S = 900, 10, 30
RESPONDING = 6
HEAD = 'version = 1\nengine = "open"\n[[step]]\nuse = "peri_event"\n'


def gpio(path: Path, onsets_s: dict[int, np.ndarray], end_s: float) -> None:
    """A pulse of 0.2 s at each time, by channel (0 is GPIO-1), as the acquisition box writes it."""
    changes = [(0.0, channel, 0) for channel in onsets_s] + [(end_s, channel, 0) for channel in onsets_s]
    for channel, onsets in onsets_s.items():
        changes += [change for at in onsets for change in ((at, channel, 60_000), (at + 0.2, channel, 0))]
    packets = []
    for at, channel, value in sorted(changes):
        tsc = 5_000_000 + round(at * 1e6)
        payload = struct.pack("<IIII", tsc >> 32, tsc & 0xFFFFFFFF, len(packets), value)
        packets.append(struct.pack("<IIII", 0xAA55, 0x4003 + channel, len(packets), 4) + payload)
    start = struct.pack("<QQiIQ", recordings.START_MS, 1000, recordings.UTC_OFFSET, 32, len(packets))
    path.write_bytes(start + b"".join(packets))


@pytest.fixture
def session(input: Path, tmp_path: Path) -> dict[str, np.ndarray]:
    """A cell set and GPIO beside it: six cells of twenty respond to GPIO-1, the last one, which does, is rejected."""
    rng = np.random.default_rng(4)
    events = np.sort(rng.choice(np.arange(40, N - 50, 10), 30, replace=False))
    traces = rng.normal(size=(20, N)).astype(np.float32)
    for event in events:
        traces[:RESPONDING, event : event + 12] += 5
        traces[-1, event : event + 12] += 5
    movie = recordings.movie(tmp_path / "movie.isxd", N, 6, 7, period_ms=1000 // RATE_HZ)
    footprints = np.zeros((20, 6, 7), np.float32)
    footprints.reshape(20, -1)[np.arange(20), np.arange(20)] = 1
    statuses = ["accepted"] * 19 + ["rejected"]
    write_cell_set(str(input / "m1.isxd"), [formats.read_footer(movie)], footprints, traces, statuses=statuses)
    times = {"GPIO-1": events / RATE_HZ, "GPIO-2": np.sort(rng.uniform(5, 80, 25))}
    gpio(input / "m1.gpio", {0: times["GPIO-1"], 1: times["GPIO-2"]}, N / RATE_HZ)
    return times


def recipe(tmp_path: Path, *steps: str) -> str:
    path = tmp_path / "peri.toml"
    first, *rest = steps
    path.write_text(HEAD + first + "".join(f'\n[[step]]\nuse = "peri_event"\n{step}' for step in rest))
    return str(path)


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_channels_of_the_session(session, input, output, tmp_path):
    used = recipe(tmp_path, 'channel = "GPIO-1"', 'channel = "GPIO-2"', 'channel = "GPIO-1"\nedge = "fall"')
    before = {path.name: path.read_bytes() for path in input.iterdir()}
    done = run(input, output, "--recipe", used)
    assert done.code == 0, done.stderr
    assert {path.name: path.read_bytes() for path in input.iterdir()} == before
    results = output / "m1"
    rows = table(results / "m1-peri-GPIO-1.csv")
    assert list(rows[0]) == ["cell", "n_events", "effect", "p", "q", "class"]
    assert [row["class"] for row in rows] == ["up"] * RESPONDING + ["none"] * (19 - RESPONDING), "without the rejected"
    assert {row["n_events"] for row in rows} == {"30"}
    assert all(float(row["effect"]) > 0.2 for row in rows[:RESPONDING])
    assert all(row["class"] == "none" for row in table(results / "m1-peri-GPIO-2.csv"))
    assert len(table(results / "m1-peri-GPIO-1-mean.csv")) == 19 * 60
    assert (results / "m1-peri-3-GPIO-1.csv").is_file(), "a second analysis of one channel has a name of its own"
    svg = (results / "m1-peri-GPIO-1.svg").read_text()
    assert "Cell, by time of peak" in svg and "<text" in svg
    assert (results / "m1-peri-GPIO-1.png").read_bytes().startswith(b"\x89PNG")
    cells = table(results / "m1-cells.csv")
    assert [cell["status"] for cell in cells] == ["accepted"] * 19 + ["rejected"], "the cells that the recipe ran on"
    assert all((results / f"m1-{name}").is_file() for name in ("footprints.tif", "traces.csv", "quality.csv"))
    page = (results / "m1.html").read_text()
    assert page.count('data-cell="C') == 20
    assert "Of 19 cells, 6 go up and 0 go down around 30 events" in page
    assert 'href="./m1-peri-GPIO-1.svg"' in page
    assert "Benjamini and Hochberg [@benjamini1995]" in (results / "m1-methods.md").read_text()
    assert "harris2020shift" in (results / "m1-citations.bib").read_text()
    assert "Pulses of each channel" in page and ">30</td>" in page
    again = run(input, output, "--recipe", used)
    assert again.end == "2 recordings, all done, 2 of them earlier"


def test_events_of_cells_in_place_of_traces(session, input, output, tmp_path):
    """As `from` says: how often they have events, in events per second."""
    path = tmp_path / "events.toml"
    steps = '[[step]]\nuse = "detect_transients"\n[[step]]\nuse = "peri_event"\nfrom = "detect_transients"\n'
    path.write_text('version = 1\nengine = "open"\n' + steps + 'channel = "GPIO-1"\nwindow_s = [-0.5, 1]\n')
    done = run(input, output, "--recipe", str(path), "--nwb")
    assert done.code == 0, done.stderr
    results = output / "m1"
    rows, means = table(results / "m1-peri-GPIO-1.csv"), table(results / "m1-peri-GPIO-1-mean.csv")
    assert [row["class"] for row in rows] == ["up"] * RESPONDING + ["none"] * (19 - RESPONDING)
    assert {row["unit"] for row in means} == {"events/s"}
    onset = [float(row["mean"]) for row in means if row["cell"] == "C00" and 0 <= float(row["time_s"]) < 0.3]
    assert sum(onset) / RATE_HZ == pytest.approx(1, abs=0.3), "about one event at each pulse"
    assert "Average [events/s]" in (results / "m1-peri-GPIO-1.svg").read_text()
    assert "In events per second." in (results / "m1.html").read_text()
    with NWBHDF5IO(results / "m1.nwb", "r") as io:
        table_of_nwb = io.read().processing["ophys"]["PeriEvent-GPIO-1"]
        assert table_of_nwb["effect"].description.endswith("in events of the cell per second")


@pytest.mark.parametrize("steps", ["", '[[step]]\nuse = "deconvolve_cellset"\n'], ids=["input", "made"])
def test_cells_that_are_rejected_by_eye_are_left_out(session, input, output, tmp_path, steps):
    """Without an earlier step of the recipe done again, and with q over the cells that are left."""
    path = tmp_path / "decided.toml"
    last = '[[step]]\nuse = "peri_event"\nchannel = "GPIO-1"\n'
    path.write_text(f'version = 1\nengine = "open"\n{steps}{last}')
    assert run(input, output, "--recipe", str(path)).code == 0
    results = output / "m1"
    first = table(results / "m1-peri-GPIO-1.csv")
    record = json.loads((results / "m1.json").read_text())["recordings"]
    (which,) = {part["cell_set_id"] for part in record.values() if "cell_set_id" in part}
    decisions = input / "m1.decisions.csv"
    name = first[0]["cell"]
    decisions.write_text(f"cell,status,cells,by,at,note\n{name},rejected,{which},me,,\n")
    done = run(input, output, "--recipe", str(path), "--nwb")
    assert done.code == 0, done.stderr
    rows = table(results / "m1-peri-GPIO-1.csv")
    assert [row["cell"] for row in rows] == [row["cell"] for row in first[1:]]
    assert [row["p"] for row in rows] == [row["p"] for row in first[1:]], "the test of a cell is its own"
    assert {row["cell"] for row in table(results / "m1-peri-GPIO-1-mean.csv")} == {row["cell"] for row in rows}
    assert f"Of {len(rows)} cells, " in (results / "m1.html").read_text()
    with NWBHDF5IO(str(results / "m1.nwb"), "r") as io:
        assert list(io.read().processing["ophys"]["PeriEvent-GPIO-1"]["cell_name"][:]) == [row["cell"] for row in rows]
    log = "".join(file.read_text() for file in (output / "logs").glob("m1*"))
    (begun,) = [line for line in log.splitlines() if "begins" in line]
    assert begun.endswith("(peri_event) begins, on the cells as they were decided by eye")
    decisions.unlink()
    assert run(input, output, "--recipe", str(path)).code == 0
    assert table(results / "m1-peri-GPIO-1.csv") == first


def test_all_cells_are_rejected_by_eye(session, input, output, tmp_path):
    """There is nobody left to test: that costs the session nothing else, and is said."""
    used = recipe(tmp_path, 'channel = "GPIO-1"')
    assert run(input, output, "--recipe", used).code == 0
    results = output / "m1"
    record = json.loads((results / "m1.json").read_text())["recordings"]
    (which,) = {part["cell_set_id"] for part in record.values() if "cell_set_id" in part}
    names = [row["name"] for row in table(results / "m1-cells.csv")]
    rows = "".join(f"{name},rejected,{which},me,,\n" for name in names)
    (input / "m1.decisions.csv").write_text(f"cell,status,cells,by,at,note\n{rows}")
    done = run(input, output, "--recipe", used, "--nwb")
    assert done.code == 0, done.stderr
    (said,) = [event["message"] for event in done.named("recording-warning") if "peri_event" in event["message"]]
    assert "step 1 (peri_event): no cell of m1.isxd is accepted or undecided" in said
    assert {row["status"] for row in table(results / "m1-cells.csv")} == {"rejected"}
    assert not list(results.glob("*peri*")) and list((results / "steps").glob("*peri*.csv"))
    assert "Activity around" not in (results / "m1.html").read_text()
    again = run(input, output, "--recipe", used, "--nwb")
    assert again.end == "2 recordings, all done, 2 of them earlier"


def test_a_cell_set_in_parts(session, input, output, tmp_path):
    """Its cells, traces and events are one for the session, as if a step had made them."""
    whole = read_cell_set(str(input / "m1.isxd"))
    movies = [
        recordings.movie(tmp_path / f"{i}.isxd", N // 2, 6, 7, period_ms=100, start_ms=recordings.START_MS + i * 45_000)
        for i in range(2)
    ]
    paths = [str(input / f"m1_part{i + 1}.isxd") for i in range(2)]
    footers = [formats.read_footer(movie) for movie in movies]
    write_cell_set(paths, footers, whole.images, whole.traces, statuses=whole.statuses)
    (input / "m1.isxd").unlink()
    used = recipe(tmp_path, 'channel = "GPIO-1"')
    Path(used).write_text('group = "series"\n' + Path(used).read_text())
    done = run(input, output, "--recipe", used)
    assert done.code == 0, done.stderr
    results = output / "m1"
    assert [row["class"] for row in table(results / "m1-peri-GPIO-1.csv")] == ["up"] * 6 + ["none"] * 13
    assert len(table(results / "m1-cells.csv")) == 20
    times = [float(row["time_s"]) for row in table(results / "m1-traces.csv")]
    assert times == pytest.approx(np.arange(N) / RATE_HZ)
    assert not list(results.glob("m1_part*-cells.csv"))


def test_nwb(session, input, output, tmp_path):
    """The tables' numbers, and each row refers to its cell."""
    (input / "trials.csv").write_text("time_s\n" + "\n".join(f"{at:.3f}" for at in session["GPIO-1"]) + "\n")
    used = recipe(tmp_path, 'channel = "GPIO-1"', 'channel = "GPIO-2"', 'events = "trials.csv"')
    done = run(input, output, "--recipe", used, "--nwb")
    assert done.code == 0, done.stderr
    results = output / "m1"
    with NWBHDF5IO(results / "m1.nwb", "r") as io:
        ophys = io.read().processing["ophys"]
        around = {name: its for name, its in ophys.data_interfaces.items() if name.startswith("PeriEvent")}
        assert sorted(around) == ["PeriEvent-GPIO-1", "PeriEvent-GPIO-2", "PeriEvent-trials"]
        for name, rows_of_nwb in around.items():
            stem = name.replace("PeriEvent-", "m1-peri-")
            rows, means = table(results / f"{stem}.csv"), table(results / f"{stem}-mean.csv")
            assert list(rows_of_nwb["cell_name"][:]) == [row["cell"] for row in rows]
            assert list(rows_of_nwb["class"][:]) == [row["class"] for row in rows]
            for column in ("n_events", "effect", "p", "q"):
                assert np.array_equal(rows_of_nwb[column][:], [float(row[column]) for row in rows])
            for column in ("time_s", "mean", "sem"):
                assert rows_of_nwb[column][:].shape == (19, 60)
                assert np.array_equal(rows_of_nwb[column][:].ravel(), [float(row[column]) for row in means])
            assert list(rows_of_nwb["cell"][:]["cell_name"]) == [row["cell"] for row in rows], "rows of the cells"
            assert f"from {stem}.csv" in rows_of_nwb.description
    assert run(input, output, "--recipe", used, "--nwb").end == "2 recordings, all done, 2 of them earlier"


def test_nwb_of_events_that_cannot_be_used(session, input, output, tmp_path):
    (input / "trials.csv").write_text("time_s\n0.5\n")
    done = run(input, output, "--recipe", recipe(tmp_path, 'events = "trials.csv"'), "--nwb")
    assert done.code == 0, done.stderr
    with NWBHDF5IO(output / "m1/m1.nwb", "r") as io:
        table_of_nwb = io.read().processing["ophys"]["PeriEvent-trials"]
        assert set(table_of_nwb["class"][:]) == {"none"} and set(table_of_nwb["n_events"][:]) == {0}
        assert np.isnan(table_of_nwb["effect"][:]).all() and np.isnan(table_of_nwb["mean"][:]).all()


def test_a_table_beside_the_recording(session, input, output, tmp_path):
    """Each label is an analysis; a table that changes is done again."""
    rows = [f"{at:.3f},{'reward' if i % 2 else 'no'}" for i, at in enumerate(session["GPIO-1"])]
    (input / "trials.csv").write_text("time_s,label\n" + "\n".join([*rows, "500,no"]) + "\n")
    used = recipe(tmp_path, 'events = "trials.csv"\nshuffles = 999')
    done = run(input, output, "--recipe", used)
    assert done.code == 0, done.stderr
    for label in ("no", "reward"):
        rows = table(output / f"m1/m1-peri-trials-{label}.csv")
        assert [row["class"] for row in rows] == ["up"] * RESPONDING + ["none"] * (19 - RESPONDING)
        assert rows[0]["n_events"] == "15"
    assert "no: 1 of 16 events are left out: 1 while nothing was recorded" in (output / "m1/m1.html").read_text()
    (input / "trials.csv").write_text("time_s\n" + "\n".join(f"{at}" for at in session["GPIO-2"]) + "\n")
    again = run(input, output, "--recipe", used)
    assert again.code == 0 and "earlier" not in again.end, again.end
    assert {row["class"] for row in table(output / "m1/m1-peri-trials.csv")} == {"none"}
    assert not (output / "m1/m1-peri-trials-no.csv").exists()


@pytest.fixture
def second(session, input: Path) -> None:
    """Another session in the folder, of another animal."""
    shutil.copyfile(input / "m1.isxd", input / "m2.isxd")
    edit_footer(input / "m2.isxd", extraProperties={"animal": {"id": "other"}})


def times_of(name: str, session: dict[str, np.ndarray]) -> str:
    return "".join(f"{at:.3f}\n" for at in session[name])


def classes(output: Path, name: str) -> set[str]:
    return {row["class"] for row in table(output / name / f"{name}-peri-trials.csv")}


def test_a_table_for_each_of_two_sessions_in_a_folder(session, second, input, output, tmp_path):
    """The table that is called like the session, else the one of all, which is said."""
    (input / "trials.csv").write_text("time_s\n" + times_of("GPIO-1", session))
    used = recipe(tmp_path, 'events = "trials.csv"')
    done = run(input, output, "--recipe", used)
    assert done.code == 0, done.stderr
    said = "trials.csv applies to 2 sessions (m1, m2), with times from each one's start: "
    said += "if it belongs to one of them, name it m1.trials.csv, or add a column session"
    assert [event["message"] for event in done.named("shared-table")] == [said]
    assert classes(output, "m1") == classes(output, "m2") == {"up", "none"}
    (input / "m2.trials.csv").write_text("time_s\n" + times_of("GPIO-2", session))
    done = run(input, output, "--recipe", used)
    assert done.code == 0 and not done.named("shared-table"), done.stderr
    assert done.end == "3 recordings, all done, 2 of them earlier", "only the session whose table it is"
    assert classes(output, "m1") == {"up", "none"} and classes(output, "m2") == {"none"}
    (input / "m2.trials.csv").unlink()
    again = run(input, output, "--recipe", used)
    assert again.code == 0 and classes(output, "m2") == {"up", "none"}, "the other one is read again"


def test_a_table_that_names_sessions(session, second, input, output, tmp_path):
    rows = [f"{at},{name}" for name, key in (("m1", "GPIO-1"), ("m2", "GPIO-2")) for at in session[key]]
    (input / "trials.csv").write_text("time_s,session\n" + "\n".join(rows) + "\n")
    used = recipe(tmp_path, 'events = "trials.csv"')
    done = run(input, output, "--recipe", used)
    assert done.code == 0 and not done.named("shared-table"), done.stderr
    assert classes(output, "m1") == {"up", "none"} and classes(output, "m2") == {"none"}
    (input / "trials.csv").write_text("time_s,session\n10,m1\n20,m1\n30,m3\n")
    done = run(input, output, "--recipe", used)
    assert done.code == 1
    (failed,) = done.named("recording-failed")
    assert "trials.csv has no row of session m2: its column session names m1, m3" in failed["reason"]
    assert table(output / "m1/m1-peri-trials.csv")[0]["n_events"] == "2"


@pytest.mark.parametrize(
    ("step", "said"),
    [
        ('channel = "GPIO-7"', "channel GPIO-7 has no rising edges: choose one of those that have, GPIO-1, GPIO-2"),
        ('events = "none.csv"', "none.csv is not there: it belongs beside m1.isxd"),
        ('events = "m1.gpio"', "m1.gpio is not a readable table: save it as CSV, in UTF-8"),
    ],
)
def test_events_that_cannot_be_had(session, input, output, tmp_path, step, said):
    """It is said before the first step; the session is inspected, and inputs stay as they are."""
    before = {path.name: path.read_bytes() for path in input.iterdir()}
    done = run(input, output, "--recipe", recipe(tmp_path, 'channel = "GPIO-1"', step))
    assert done.code == 1
    assert "step 1 (peri_event) begins" not in "".join(log.read_text() for log in (output / "logs").iterdir())
    assert said in done.named("recording-failed")[0]["reason"]
    assert (output / "m1/m1-ttl.csv").is_file()
    assert said in (output / "m1/m1.html").read_text()
    assert {path.name: path.read_bytes() for path in input.iterdir()} == before


def test_a_session_without_gpio(session, input, output, tmp_path):
    (input / "m1.gpio").unlink()
    done = run(input, output, "--recipe", recipe(tmp_path, 'channel = "GPIO-1"'))
    assert done.code == 1
    reason = "the session of m1.isxd has no GPIO recording: give events = a table of times"
    assert reason in done.named("recording-failed")[0]["reason"]


@pytest.mark.parametrize(
    ("step", "said"),
    [
        ("", "either channel or events must be given"),
        ('channel = "GPIO-1"\nevents = "a.csv"', "either channel or events must be given, not both"),
        (
            'channel = "GPIO-1"\nwindow_s = [1, 4]',
            "window_s must be [begin, end] around 0, such as [-2, 4], not [1, 4]",
        ),
        ('events = "../a.csv"', "events must be the name of a file beside the recording, not '../a.csv'"),
        ('channel = "GPIO-1"\nshuffles = 10', "shuffles must be a whole number of at least 99"),
        ('channel = "GPIO-1"\nedge = "up"', "edge must be one of 'rise', 'fall'"),
    ],
)
def test_mistakes_are_found_before_any_work(session, input, output, tmp_path, step, said):
    done = run(input, output, "--recipe", recipe(tmp_path, step))
    assert done.code == 64
    assert said in done.stderr
