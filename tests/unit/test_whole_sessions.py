"""A session is one thing: as the trace of all parts in one file, on the library's clock, through deaths and changes."""

from __future__ import annotations

import csv
import json
import random
import shutil
import subprocess
import time
from pathlib import Path

import isx
import numpy as np
import pytest

from common.sentences import merged
from open_engine.files.cellsets import write_cell_set
from recording import formats
from samples import damage, recordings
from tests.launch import ROOT, Run, run, start, tree

UUID = {"processingInterface": {"recordingUUID": "AC-00111111-l4R4GRt28o-1654732421577"}}
N, CELLS, PERIOD_MS = 600, 6, 100
CODE = ("bootstrap.py", "common", "following", "native", "open_engine", "pipeline", "protocol", "recipes", "recording")
CODE += ("runner", "study", "VERSION")


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


# ---- the joined trace


def traces() -> np.ndarray:
    """Transients of calcium on noise."""
    rng = np.random.default_rng(8)
    spikes = (rng.random((CELLS, N)) < 0.02) * rng.uniform(4, 9, (CELLS, N))
    decay = np.exp(-np.arange(40) / 8)
    return np.stack([np.convolve(train, decay)[:N] for train in spikes]) + rng.normal(size=(CELLS, N))


def write_cells(folder: Path, tmp_path: Path, parts: int) -> None:
    """The same traces in one file, or in parts that follow one another without a gap."""
    folder.mkdir()
    length = N // parts
    footers = []
    for part in range(parts):
        start = recordings.START_MS + part * length * PERIOD_MS
        movie = recordings.movie(tmp_path / f"{parts}-{part}.isxd", length, 8, 9, period_ms=PERIOD_MS, start_ms=start)
        footers.append(formats.read_footer(movie))
    images = np.zeros((CELLS, 8, 9), np.float32)
    images[np.arange(CELLS), np.arange(CELLS), 2:6] = 1
    names = ["m.isxd"] if parts == 1 else [f"m_part{part + 1}.isxd" for part in range(parts)]
    write_cell_set([folder / name for name in names], footers, images, traces().astype(np.float32))


@pytest.mark.parametrize("recipe", ["", 'version = 1\ngroup = "series"\n[[step]]\nuse = "detect_transients"\n'])
def test_quality_and_events_are_those_of_the_joined_trace(tmp_path, recipe):
    options = ()
    if recipe:
        (tmp_path / "mine.toml").write_text(recipe)
        options = ("--recipe", str(tmp_path / "mine.toml"))
    results = []
    for parts in (1, 3):
        write_cells(tmp_path / f"in-{parts}", tmp_path, parts)
        done = run(tmp_path / f"in-{parts}", tmp_path / f"out-{parts}", *options)
        assert done.code == 0, done.stderr
        results.append(tmp_path / f"out-{parts}/m")
    whole, joined = results
    assert (whole / "m-cells.csv").read_bytes() == (joined / "m-cells.csv").read_bytes()
    assert (whole / "m-traces.csv").read_bytes() == (joined / "m-traces.csv").read_bytes()
    quality = [
        [
            (row["measure"], row["value"])
            for row in rows(folder / "m-quality.csv")
            if row["measure"] != "dropped_percent"
        ]
        for folder in results
    ]
    assert quality[0] == quality[1] and len(quality[0]) > 3
    if recipe:
        events = [rows(folder / "m-events.csv") for folder in results]
        assert len(events[0]) > 20
        by_cell = [[(row["cell"], round(float(row["time_s"]), 3)) for row in table] for table in events]
        assert by_cell[0] == by_cell[1]


# ---- the library's clock


def test_times_are_those_of_the_librarys_alignment(input, output, tmp_path):
    """isx.export_aligned_timestamps says when each frame was taken; our tables say the same, to the microsecond."""
    start_us = 5_000_000  # of the GPIO recording, as `recordings.gpio` has it
    stamps = np.arange(100) * 50_000 + start_us + 1_459_000
    movie = recordings.movie_from(input / "m_video.isxd", recordings.frames(100, 24, 32), stamps)
    recordings.stating(movie, UUID)
    recordings.gpio(input / "x.gpio", session={"adMode": "ad", "ad": {"clock": 1000}, **UUID})
    camera = recordings.behavior_movie(input / "m_video-camera-1.isxb", n=100)
    read, written = damage.PARTS[".isxb"]["session"]
    session = json.loads(read(camera.read_bytes()).rstrip(b"\0")) | {}
    session["processingInterface"] |= UUID["processingInterface"]
    camera.write_bytes(written(camera.read_bytes(), json.dumps(session).encode()))
    table = tmp_path / "aligned.csv"
    isx.export_aligned_timestamps(
        str(input / "x.gpio"), [str(movie), str(camera)], "gpio", ["movie", "camera"], str(table)
    )
    theirs = rows(table)
    assert run(input, output).code == 0
    folder = output / "m_video"
    begins = {
        recording["name"]: recording["start_s"]
        for recording in json.loads((folder / "m_video.json").read_text())["session"]["recordings"]
    }
    for name, column in ((movie.name, "movie"), (camera.name, "camera")):
        valid = [row for row in rows(folder / f"{Path(name).stem}-frames.csv") if row["status"] == "valid"]
        mine = [float(row["time_s"]) - begins["x.gpio"] for row in valid]
        given = [float(row[f"{column} Timestamp (s)"]) for row in theirs if row.get(f"{column} Timestamp (s)")]
        assert mine[0] == pytest.approx(given[0], abs=1e-6), column
    onsets = [float(row["onset_s"]) - begins["x.gpio"] for row in rows(folder / "m_video-ttl.csv") if row["onset_s"]]
    gpio = [float(row["gpio Timestamp (s)"]) for row in theirs if row.get("gpio Timestamp (s)")]
    assert onsets
    for onset in onsets:
        assert min(abs(onset - edge) for edge in gpio) < 1e-3, "an edge is where the library has a sample"


# ---- warnings


def test_equal_warnings_are_said_once_with_a_count(input, output):
    for name in ("a", "b", "c"):
        recordings.movie(input / f"{name}.isxd", n=3, dropped=[0, 1, 2])
    assert run(input, output).code == 0
    page = (output / "index.html").read_text()
    sentence = "no frame is valid: all were dropped, cropped or blank; there are no projections"
    assert page.count(sentence) == 1 and "<strong>3 sessions</strong>" in page


def test_equal_warnings_of_parts_are_said_once_with_a_count(input, output):
    for session in ("m", "n"):
        for part in range(3):
            start = recordings.START_MS + 5_000 * part + (86_400_000 if session == "n" else 0)
            path = recordings.movie(input / f"{session}_part{part}.isxd", n=3, start_ms=start, dropped=[0, 1, 2])
            recordings.stating(path, {"animal": {**recordings.STATED["animal"], "id": session}})
    assert run(input, output).code == 0
    sentence = "no frame is valid: all were dropped, cropped or blank; there are no projections"
    page = (output / "m/m.html").read_text()
    assert f"m_part0.isxd and 2 more: {sentence}" in page
    overview = (output / "index.html").read_text()
    assert overview.count(sentence) == 1 and "<strong>2 sessions</strong>" in overview
    (said,) = {row["warnings"] for row in rows(output / "summary.csv") if row["path"].startswith("m_")}
    assert said == f"m_part0.isxd and 2 more: {sentence}"


@pytest.mark.parametrize(
    ("sentences", "expected"),
    [
        (["a.isxd: x", "b.isxd: x", "a.isxd: y"], ["a.isxd and 1 more: x", "a.isxd: y"]),
        (["x", "x", "step 1: x"], ["x", "step 1: x"]),
        (["a.isxd and 1 more: x", "c: x"], ["a.isxd and 1 more: x", "c: x"]),
        ([], []),
    ],
)
def test_merging(sentences, expected):
    assert merged(sentences, {"a.isxd", "b.isxd"}) == expected


# ---- deaths and changes


DEADLY = """
    left = recording.with_name(f"{recording.name}.deadly")
    if left.exists() and int(left.read_text()):
        import os

        left.write_text(str(int(left.read_text()) - 1))
        os.kill(os.getpid(), int(os.environ["DEADLY_SIGNAL"]))
"""
BEGINS = "    before = _names(out)\n    outcome = module_of(kind).write_results("
ALWAYS = 1000


@pytest.fixture(scope="module")
def code(tmp_path_factory) -> Path:
    """This software, whose workers die as often as `<recording>.deadly` says when they come to that recording.

    The library dies of damaged files, but of none that the check before lets pass and that can be told in advance.
    """
    folder = tmp_path_factory.mktemp("code")
    for name in CODE:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(ROOT / name, folder / name)
    module = folder / "pipeline/inspect/results.py"
    text = module.read_text()
    assert text.count(BEGINS) == 1
    module.write_text(text.replace(BEGINS, DEADLY + BEGINS))
    return folder


def deadly_run(
    code: Path, input: Path, output: Path, *arguments: str, signal: int = 9, times: dict | None = None
) -> Run:
    """With recordings that kill so many workers."""
    for name, count in (times or {}).items():
        (input / f"{name}.deadly").write_text(str(count))
    return run(input, output, *arguments, entry=code / "bootstrap.py", env={"DEADLY_SIGNAL": str(signal)})


@pytest.fixture
def day(input: Path) -> Path:
    recordings.movie(input / "m.isxd")
    recordings.gpio(input / "m.gpio")
    recordings.imu(input / "m.imu")
    return input


@pytest.mark.parametrize("nwb", [(), ("--nwb",)], ids=["", "nwb"])
@pytest.mark.parametrize("name", ["m.isxd", "m.gpio"])
def test_a_session_whose_worker_is_killed_once_is_whole(code, day, output, tmp_path, name, nwb):
    """Whoever killed it: the run and what it leaves are those of a run in which nothing happened."""
    undisturbed = deadly_run(code, day, tmp_path / "undisturbed", *nwb)
    assert undisturbed.code == 0
    done = deadly_run(code, day, output, *nwb, times={name: 1})
    assert (done.code, done.end) == (0, "3 recordings, all done")
    (event,) = done.named("tried-again")
    assert event["message"].startswith(
        "m.isxd and 2 more: will be tried once more when nothing else runs: its worker ended"
    )
    assert "signal SIGKILL" in event["reason"]
    assert tree(output) == tree(tmp_path / "undisturbed")
    assert deadly_run(code, day, output, *nwb).end == "3 recordings, all done, 3 of them earlier"


AT_FAULT = {  # who kills each worker; the signal; the exit code, the reason, who is left, in this order
    "companion": (["m.gpio"], 11, 1, "signal SIGSEGV (most likely the file is damaged)", ["m.isxd", "m.imu"]),
    "movie": (["m.isxd"], 11, 1, "signal SIGSEGV (most likely the file is damaged)", ["m.gpio", "m.imu"]),
    "memory": (["m.imu"], 9, 71, "signal SIGKILL (most likely out of memory", ["m.isxd", "m.gpio"]),
    "two": (["m.isxd", "m.imu"], 11, 1, "signal SIGSEGV (most likely the file is damaged)", ["m.gpio"]),
    "all": (["m.isxd", "m.imu", "m.gpio"], 11, 1, "signal SIGSEGV (most likely the file is damaged)", []),
}


@pytest.mark.parametrize(("guilty", "signal", "exit_code", "reason", "left"), AT_FAULT.values(), ids=AT_FAULT)
def test_a_recording_that_kills_each_worker_fails_alone(
    code, day, output, tmp_path, guilty, signal, exit_code, reason, left
):
    """The rest is the session, in its folder. The next run finds and leaves the same."""
    before = {path.name: path.read_bytes() for path in day.iterdir()}
    times = dict.fromkeys(guilty, ALWAYS)
    trees = []
    for _ in range(2):
        done = deadly_run(code, day, output, "--nwb", signal=signal, times=times)
        assert done.code == exit_code, done.stderr
        assert len(done.named("tried-again")) == 1
        assert sorted(event["path"] for event in done.named("recording-failed")) == sorted(guilty)
        table = {row["path"]: row for row in rows(output / "summary.csv")}
        assert {name: row["status"] for name, row in table.items()} == {
            name: "failed" if name in guilty else "done" for name in before
        }
        for name in guilty:
            assert reason in table[name]["reason"] and table[name]["results"] == ""
        for name in left:
            assert table[name]["results"] == "m"
            for other in guilty:
                assert f"{other} is left out of the session: its worker ended with {reason}" in table[name]["warnings"]
        if left:
            noted = json.loads((output / "m/m.json").read_text())
            assert [*noted["recordings"]] == left if len(left) > 1 else noted["input"]["name"] == left[0]
            assert (output / "m/m.nwb").is_file() and (output / "m/m.html").is_file()
            assert (output / f"logs/{left[0] if 'm.isxd' in guilty else 'm.isxd'}.log").is_file()
        assert {path.name for path in output.iterdir() if path.is_dir() and path.name[0] != "."} == (
            {"m", "logs"} if left else {"logs"}
        )
        assert not (output / "done.marker").exists()
        trees.append(tree(output))
    assert trees[0] == trees[1]
    assert {path.name: path.read_bytes() for path in day.iterdir() if path.suffix != ".deadly"} == before

    assert deadly_run(code, day, output, "--nwb", times=dict.fromkeys(guilty, 0)).code == 0, "it was not the recording"
    assert deadly_run(code, day, tmp_path / "undisturbed", "--nwb").code == 0
    assert tree(output) == tree(tmp_path / "undisturbed")


def test_one_part_of_several_that_kills_each_worker_fails_alone(code, input, output):
    for part in range(3):
        recordings.movie(input / f"m_part{part}.isxd", start_ms=recordings.START_MS + 5_000 * part)
    done = deadly_run(code, input, output, signal=11, times={"m_part0.isxd": ALWAYS})
    assert [event["path"] for event in done.named("recording-failed")] == ["m_part0.isxd"]
    parts = {row["path"]: row["part"] for row in rows(output / "summary.csv")}
    assert parts == {"m_part0.isxd": "", "m_part1.isxd": "1", "m_part2.isxd": "2"}
    assert {row["results"] for row in rows(output / "summary.csv") if row["status"] == "done"} == {"m"}


def test_a_session_whose_recipe_dies_is_inspected_whole(input, output, tmp_path):
    """What was recorded beside is done; the recipe is tried twice a run."""
    recordings.movie(input / "m.isxd")
    recordings.gpio(input / "m.gpio")
    before = {path.name: path.read_bytes() for path in input.iterdir()}
    (tmp_path / "mine.py").write_text("import os\ndef die(inputs, outputs, context): os.kill(os.getpid(), 11)\n")
    (tmp_path / "mine.toml").write_text('version = 1\n[[step]]\npython = "mine.py:die"\n')
    trees = []
    for _ in range(2):
        done = run(input, output, "--recipe", str(tmp_path / "mine.toml"))
        assert done.code == 1 and len(done.named("tried-again")) == 1
        assert {path.name: path.read_bytes() for path in input.iterdir()} == before
        table = {row["path"]: (row["status"], row["reason"], row["results"]) for row in rows(output / "summary.csv")}
        assert table["m.isxd"][0] == "failed" and "signal SIGSEGV" in table["m.isxd"][1]
        assert table["m.gpio"] == ("done", "", "m")
        assert (output / "m/m-ttl.csv").is_file() and (output / "m/m-frames.csv").is_file(), "inspected instead"
        assert not (output / "done.marker").exists()
        trees.append(tree(output))
    assert trees[0] == trees[1]
    assert run(input, output).code == 0
    assert run(input, tmp_path / "undisturbed").code == 0
    assert tree(output) == tree(tmp_path / "undisturbed")


def test_a_recipe_keeps_its_results_where_what_lies_beside_kills_each_worker(code, day, output, tmp_path):
    (tmp_path / "mine.toml").write_text('version = 1\nengine = "open"\n[[step]]\nuse = "dff"\n')
    done = deadly_run(code, day, output, "--recipe", str(tmp_path / "mine.toml"), signal=11, times={"m.gpio": ALWAYS})
    assert done.code == 1
    table = {row["path"]: (row["status"], row["results"]) for row in rows(output / "summary.csv")}
    assert table == {"m.gpio": ("failed", ""), "m.imu": ("done", "m"), "m.isxd": ("done", "m")}
    assert (output / "m/m-movie.isxd").is_file()


def test_a_lead_that_cannot_be_inspected_fails_and_the_others_are_the_session(input, output):
    """It used to count as done, without results."""
    path = recordings.behavior_movie(input / "a.isxb")
    video = bytes(len(damage.video_of(path.read_bytes())))  # no image in it
    path.write_bytes(damage.with_isxb(path.read_bytes(), video=video))
    recordings.behavior_movie(input / "b.isxb")
    recordings.gpio(input / "b.gpio")
    (input / "sessions.toml").write_text('[[session]]\nname = "m"\nrecordings = ["a.isxb", "b.isxb", "b.gpio"]\n')
    for _ in range(2):
        done = run(input, output, "--nwb")
        assert (done.code, done.end) == (1, "1 of 3 failed, 2 done; no sentinel")
        table = {row["path"]: (row["status"], row["results"]) for row in rows(output / "summary.csv")}
        assert table == {"a.isxb": ("failed", ""), "b.isxb": ("done", "m"), "b.gpio": ("done", "m")}
        assert (output / "m/b-frames.csv").is_file() and (output / "m/m-ttl.csv").is_file()
        assert "a.isxb is left out of the session: its video holds 0 of" in (output / "index.html").read_text()


def test_a_part_that_arrives_later_joins(input, output):
    for part in (1, 2):
        recordings.movie(input / f"m_part{part}.isxd", start_ms=recordings.START_MS + 5_000 * (part - 1))
    assert run(input, output).code == 0
    first = json.loads((output / "m/m.json").read_text())
    recordings.movie(input / "m_part3.isxd", start_ms=recordings.START_MS + 10_000)
    recordings.gpio(input / "m.gpio")
    done = run(input, output)
    assert done.code == 0, done.stderr
    second = json.loads((output / "m/m.json").read_text())
    assert len(first["inputs"]) == 2 and len(second["inputs"]) == 3
    assert {row["results"] for row in rows(output / "summary.csv")} == {"m"}
    assert (output / "m/m_part3-frames.csv").is_file() and (output / "m/m-ttl.csv").is_file()
    assert len(list(output.glob("*.html"))) == 1 and len(list((output / "m").glob("*.html"))) == 1


# ---- names by hand


NAMES = ["done.marker", "done.marker.1-of-2", "index.html", "summary.csv", "logs", "Animals", "day 1: é", "x" * 300]


def test_a_session_may_be_called_like_a_file_of_the_runs_own(input, output):
    """The sentinel, the report and the log are what they are; each session has a folder of its own."""
    tables = []
    for number, name in enumerate(NAMES):
        recordings.movie(input / f"r{number}.isxd")
        recordings.gpio(input / f"g{number}.gpio")
        tables.append(f"[[session]]\nname = {json.dumps(name)}\nrecordings = ['r{number}.isxd', 'g{number}.gpio']\n")
    (input / "sessions.toml").write_text("\n".join(tables), encoding="utf-8")
    for _ in range(2):
        done = run(input, output)
        assert done.code == 0, done.stderr
        assert json.loads((output / "done.marker").read_text())["recordings"] == 2 * len(NAMES)
        assert (output / "index.html").is_file() and (output / "summary.csv").is_file() and (output / "logs").is_dir()
        folder_of = {row["path"]: row["results"] for row in rows(output / "summary.csv")}
        folders = {folder_of[f"r{number}.isxd"] for number in range(len(NAMES))}
        assert folders == {folder_of[f"g{number}.gpio"] for number in range(len(NAMES))} and len(folders) == len(NAMES)
        for folder in folders:
            assert (output / folder / f"{folder}.html").is_file() and (output / folder / f"{folder}-ttl.csv").is_file()
    assert "all done, 16 of them earlier" in done.end


# ---- interruptions and shards


KILLS, SEED = 6, 20261130


@pytest.fixture
def study(input: Path) -> Path:
    """Two sessions of two parts with GPIO, a week apart, and a recording alone."""
    for name, apart_ms in (("m", 0), ("n", 7 * 86_400_000)):
        for part in (1, 2):
            begin = recordings.START_MS + apart_ms + 5_000 * (part - 1)
            recordings.movie(input / f"{name}_part{part}.isxd", start_ms=begin)
    recordings.gpio(input / "m.gpio")
    recordings.movie(input / "x.isxd", start_ms=recordings.START_MS + 30 * 86_400_000)
    return input


def test_killed_at_any_moment_a_rerun_completes_the_same_sessions(study, output, tmp_path):
    began = time.monotonic()
    assert run(study, tmp_path / "reference", "--nwb").code == 0
    whole, expected = time.monotonic() - began, tree(tmp_path / "reference")
    moments = random.Random(SEED)
    for _ in range(KILLS):
        process = start("--input-dir", study, "--output-dir", output, "--nwb")
        try:
            process.wait(timeout=moments.uniform(0, whole))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stderr.close()
    assert run(study, output, "--nwb").code == 0
    assert tree(output) == expected


@pytest.mark.parametrize("change", ["publishing", "gone"])
@pytest.mark.parametrize("path", ["m_part1.isxd", "m_part2.isxd", "m.gpio"])
def test_a_session_is_done_once_each_of_its_records_says_so(study, output, path, change):
    assert run(study, output).code == 0
    whole, record = tree(output), output / f".records/{path}.json"
    if change == "gone":
        record.unlink()
    else:
        record.write_text(record.read_text().replace('"status": "done"', '"status": "publishing"'))
    done = run(study, output)
    assert done.code == 0 and "6 recordings, all done, 3 of them earlier" in done.end
    assert tree(output) == whole


def test_no_shard_has_a_part_of_a_session(study, output, tmp_path):
    handled = []
    for index in (1, 2):
        done = run(study, output, env={"SHARD": f"{index}/2"})
        assert done.code == 0, done.stderr
        handled += [event["path"] for event in done.named("recording-done")]
    assert sorted(handled) == ["m_part1.isxd and 2 more", "n_part1.isxd and 1 more", "x.isxd"]
    assert run(study, output, "--gather", env={"SHARD_COUNT": "2"}).code == 0
    assert {row["results"] for row in rows(output / "summary.csv")} == {"m", "n", "x"}
    assert run(study, tmp_path / "whole").code == 0
    for folder in ("m", "n", "x"):
        assert {path.name for path in (output / folder).iterdir()} == {
            path.name for path in (tmp_path / "whole" / folder).iterdir()
        }
