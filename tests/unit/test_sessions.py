"""Sessions, the whole way: recordings in, one folder, table, page, row and NWB file on one clock out."""

from __future__ import annotations

import csv
import json
from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pynwb
import pytest

from recording.findings import Origin, RecordingInfo
from samples import damage, recordings
from study.clock import HARDWARE, IN_ORDER, NO_TIME, STATED, clock_of
from study.relations import Said, relate
from tests import trees
from tests.launch import run

UUID = "AC-00111111-l4R4GRt28o-1654732421577"
SESSION = {"processingInterface": {"recordingUUID": UUID}}
NOON = datetime(2024, 3, 30, 12, tzinfo=timezone.utc)


def edited(path: Path, **properties: object) -> Path:
    """With these acquisition metadata."""
    data, text = recordings.split_footer(path.read_bytes())
    footer = json.loads(text)
    footer["extraProperties"] = {**(footer.get("extraProperties") or {}), **properties}
    path.write_bytes(data + recordings.footer_bytes(footer))
    return path


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def synchronized(input: Path) -> Path:
    """A movie, its GPIO and a camera, started together; the camera's first frame is 541 ms later than the movie's."""
    start_us = 5_000_000  # of the GPIO recording, as `recordings.gpio` has it
    movie = recordings.movie_from(
        input / "2022_video.isxd", recordings.frames(100, 24, 32), np.arange(100) * 50_000 + start_us + 1_459_000
    )
    edited(movie, **SESSION)
    recordings.gpio(input / "x.gpio", session={"adMode": "ad", "ad": {"clock": 1000}, **SESSION})
    camera = recordings.behavior_movie(input / "2022_video-camera-1.isxb", n=100)
    read, written = damage.PARTS[".isxb"]["session"]
    session = json.loads(read(camera.read_bytes()).rstrip(b"\0"))
    session["processingInterface"] |= SESSION["processingInterface"]
    camera.write_bytes(written(camera.read_bytes(), json.dumps(session).encode()))
    return input


def test_the_hardware_clock_places_recordings_of_one_uuid(synchronized, output):
    before = trees.tree(synchronized)
    done = run(synchronized, output, env={"NWB": "1", "HOME": "/proc/none"})
    assert done.code == 0, done.stderr
    assert trees.tree(synchronized) == before
    (event,) = done.named("session")
    assert "x.gpio belongs to it: the same recording UUID" in event["message"]
    folder = output / "2022_video"
    starts = {
        recording["name"]: recording["start_s"]
        for recording in json.loads((folder / "2022_video.json").read_text())["session"]["recordings"]
    }
    assert starts["2022_video-camera-1.isxb"] - starts["2022_video.isxd"] == pytest.approx(0.541, abs=1e-9)
    assert {row["results"] for row in rows(output / "summary.csv")} == {"2022_video"}
    assert len(list(output.rglob("*.html"))) == 2, "the session's page and the overview"
    camera = rows(folder / "2022_video-camera-1-frames.csv")
    assert float(camera[0]["time_s"]) == starts["2022_video-camera-1.isxb"]
    pulses = rows(folder / "2022_video-ttl.csv")
    assert {row["channel"] for row in pulses} == {"GPIO-1"}
    with pynwb.NWBHDF5IO(str(folder / "2022_video.nwb"), "r") as io:
        file = io.read()
        series = file.acquisition["BehaviorMovie"]
        assert series.timestamps[0] == pytest.approx(starts["2022_video-camera-1.isxb"], abs=1e-9)
        (lost,) = [row for _, row in file.invalid_times.to_dataframe().iterrows()]
        assert list(lost["tags"]) == ["dropped", "BehaviorMovie"]
        if hasattr(file, "events"):
            table = file.events["TTL"].to_dataframe()
            assert np.allclose(table["timestamp"], [float(row["onset_s"]) for row in pulses])


def test_traces_and_events_of_all_parts_are_one_table_each(input, output):
    for part, start_s in ((1, 0), (2, 40)):
        cells = recordings.cell_set(input / f"m_part{part}.isxd", n=200)
        events = recordings.event_set(input / f"m_part{part}-ED.isxd", n=200, seed=part)
        for path in (cells, events):
            _shift(path, start_s)
    done = run(input, output)
    assert done.code == 0, done.stderr
    times = np.array([float(row["time_s"]) for row in rows(output / "m/m-traces.csv")])
    assert np.allclose(times, np.concatenate([np.arange(200) * 0.05, 40 + np.arange(200) * 0.05]))
    event_times = np.array([float(row["time_s"]) for row in rows(output / "m/m-events.csv")])
    assert event_times.min() < 10 < 40 <= event_times.max() < 50
    page = (output / "m/m.html").read_text()
    assert page.count('"cellSet"') == 1, "one explorer"
    assert "m_part2.isxd follows m_part1.isxd after 30 s" in page
    assert run(input, output).end == "4 recordings, all done, 4 of them earlier"


def _shift(path: Path, seconds: float) -> None:
    data, text = recordings.split_footer(path.read_bytes())
    footer = json.loads(text)
    times = footer.get("global times") or [footer["timingInfo"]["start"]]
    for time in times:
        time["secsSinceEpoch"]["num"] += round(seconds * time["secsSinceEpoch"]["den"])
    path.write_bytes(data + recordings.footer_bytes(footer))


def test_colours_in_turn_are_refused_and_inspect_says_what_they_are(input, output, tmp_path):
    microscope = {"dualColor": {"enabled": True, "mode": "multiplexing"}}
    edited(recordings.movie(input / "m.isxd"), microscope=microscope)
    recipe = tmp_path / "recipe.toml"
    recipe.write_text('version = 1\nengine = "open"\n[[step]]\nuse = "motion_correct"\n')
    done = run(input, output, "--recipe", str(recipe))
    assert done.code == 1
    (failed,) = done.named("recording-failed")
    assert "alternate between two colours (green and red)" in failed["reason"]
    assert "Separate the colours first" in failed["reason"]
    assert run(input, output).code == 0
    (row,) = rows(output / "summary.csv")
    assert "two colours in turn" in row["summary"]


def test_each_plane_has_results_of_its_own(input, output, tmp_path):
    planes = {f"plane-{n}": {"enabled": True, "focus": 300 * n} for n in (1, 2)}
    multiplane = {"enabled": True, "activePlanes": 2, "planes": planes}
    edited(recordings.movie(input / "m.isxd", n=40, rows=48, columns=64), microscope={"multiplane": multiplane})
    recipe = tmp_path / "recipe.toml"
    recipe.write_text('version = 1\nengine = "open"\n[[step]]\nuse = "motion_correct"\n')
    done = run(input, output, "--recipe", str(recipe))
    assert done.code == 0, done.stderr
    names = {path.name for path in (output / "m").iterdir()}
    assert {"m-efocus_0300-movie.isxd", "m-efocus_0600-movie.isxd"} <= names
    assert len(rows(output / "m/m-efocus_0600-frames.csv")) == 20


def test_a_companion_that_cannot_be_used_fails_alone(input, output):
    recordings.movie(input / "m.isxd")
    path = recordings.behavior_movie(input / "m.isxb")
    video = bytes(len(damage.video_of(path.read_bytes())))  # no image in it
    path.write_bytes(damage.with_isxb(path.read_bytes(), video=video))
    done = run(input, output)
    assert done.code == 1
    assert [event["path"] for event in done.named("recording-failed")] == ["m.isxb"]
    assert {row["path"]: row["status"] for row in rows(output / "summary.csv")} == {
        "m.isxb": "failed",
        "m.isxd": "done",
    }
    assert (output / "m/m-frames.csv").is_file()


WRONG = {
    "no TOML": ("[[session", ":1: is not valid TOML"),
    "another key": ('[[session]]\nrecording = ["a"]', ":1: recording is not known; did you mean 'recordings'?"),
    "no list": ('\n[[session]]\nrecordings = "a"', ":2: recordings must be a list of names"),
    "a name with a way out": ('[[session]]\nname = "../x"\nrecordings = ["m1.isxd"]', ":1: name must be a string"),
    "not there": ('[[session]]\nrecordings = ["m9.isxd"]', ":1: there is no recording m9.isxd"),
    "twice": (
        '[[session]]\nrecordings = ["m1.isxd"]\n[[session]]\nrecordings = ["m1.isxd"]',
        ":3: m1.isxd is also in another session, that of sessions.toml:1",
    ),
}


@pytest.mark.parametrize(("text", "message"), WRONG.values(), ids=WRONG)
def test_mistakes_in_sessions_toml_end_the_run(input, output, text, message):
    recordings.movie(input / "m1.isxd")
    (input / "sessions.toml").write_text(text)
    done = run(input, output)
    assert done.code == 64, done.stderr
    assert f"{input}/sessions.toml{message}" in done.stderr
    assert not (output / "m1").exists()


def test_sessions_by_hand(input, output):
    recordings.movie(input / "m1.isxd")
    recordings.movie(input / "m2.isxd", start_ms=recordings.START_MS + 7_200_000)
    assert run(input, output).code == 0
    assert {row["results"] for row in rows(output / "summary.csv")} == {"m1", "m2"}
    (input / "sessions.toml").write_text('[[session]]\nname = "day1"\nrecordings = ["m?.isxd"]\n')
    done = run(input, output)
    assert done.code == 0, done.stderr
    assert {row["results"] for row in rows(output / "summary.csv")} == {"day1"}
    assert not (output / "m1").exists(), "its results have moved"


def member(
    path: str, start_s: float | None = 0, clock_us: int | None = None, uuid: str = ""
) -> tuple[str, RecordingInfo]:
    start = None if start_s is None else NOON + timedelta(seconds=start_s)
    kind = "gpio" if path.endswith("gpio") else "movie"
    origin = Origin(uuid=uuid, clock_us=clock_us)
    return path, RecordingInfo(Path("/data") / path, kind, 1, 1, 100, start, 0.1, 8, 8, origin=origin)


CLOCKS = {
    "stated starts": (
        [member("m.isxd", 2), member("m.gpio", 0)],
        {"m.isxd": (2_000_000, STATED), "m.gpio": (0, STATED)},
    ),
    "one UUID": (
        [member("m.isxd", 2, 50_000_000, "U"), member("m.gpio", 900, 49_999_000, "U")],
        {"m.isxd": (1_000, STATED), "m.gpio": (0, HARDWARE)},
    ),
    "a part that counts on": (
        [member("m_part1.isxd", 0, 1_000, "U"), member("m_part2.isxd", 40.1, 40_000_999, "U")],
        {"m_part1.isxd": (0, STATED), "m_part2.isxd": (39_999_999, HARDWARE)},
    ),
    "nothing known": (
        [member("m_part1.isxd", None), member("m_part2.isxd", None)],
        {"m_part1.isxd": (0, NO_TIME), "m_part2.isxd": (10_000_000, IN_ORDER)},
    ),
}


@pytest.mark.parametrize(("given", "expected"), CLOCKS.values(), ids=CLOCKS)
def test_when_each_recording_begins(given, expected):
    infos = dict(given)
    study = relate(infos, [Said("", tuple(infos))])
    (session,) = study.sessions
    clock = clock_of(session, infos, study.made_from)
    assert {path: (place.offset_us, place.by) for path, place in clock.places.items()} == expected
