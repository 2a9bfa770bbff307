"""Where a run must not write, or remove: it says so with 64 before it touches anything, to the byte."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from runner import own, places
from runner.input.discover import name_results
from runner.recordings import Recording
from tests.launch import bootstrap, run, sentinel

FOREIGN = "cell,time_s\nC0,1.5\n"


def everything(folder: Path) -> dict[str, object]:
    """All below a folder with its content, time stamp and kind."""
    return {
        path.relative_to(folder).as_posix(): (
            os.lstat(path).st_mode,
            os.lstat(path).st_mtime_ns,
            path.read_bytes() if path.is_file() and path.stat().st_size < 1 << 20 else os.lstat(path).st_size,
        )
        for path in sorted(folder.rglob("*"))
    }


@pytest.fixture
def lab(samples: Path, tmp_path: Path) -> Path:
    """A folder that holds the input, writable, with recordings, and the output of a run that somebody else began."""
    (tmp_path / "input/day1").mkdir(parents=True)
    shutil.copy(samples / "image.isxd", tmp_path / "input/c.isxd")
    shutil.copy(samples / "image.isxd", tmp_path / "input/day1/d.isxd")
    (tmp_path / "input/notes.txt").write_text("theirs")
    (tmp_path / "output/flags").mkdir(parents=True)
    (tmp_path / "output/flags/list.csv").write_text(FOREIGN)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/protocol.json").write_text('{"version": "1"}')
    (tmp_path / "link").symlink_to("input")
    return tmp_path


REFUSED = {  # where the sentinel is to be, below the lab, and what is said
    "a recording": ("input/c.isxd", "has the ending of a recording"),
    "a recording, by a link": ("link/c.isxd", "has the ending of a recording"),
    "a new recording": ("output/new.ISXD", "has the ending of a recording"),
    "another kind of recording": ("elsewhere/x.gpio", "has the ending of a recording"),
    "a file of the input": ("input/notes.txt", "is in the input, where the run writes nothing"),
    "new in the input": ("input/done.marker", "is in the input, where the run writes nothing"),
    "new in a folder of the input": ("input/day1/x/done", "is in the input, where the run writes nothing"),
    "in the input, by a link": ("link/day1/done", "is in the input, where the run writes nothing"),
    "in the input, by the way up": ("output/../input/done", "is in the input, where the run writes nothing"),
    "the overview": ("output/index.html", "is the place of one of the run's own files"),
    "the summary in capitals": ("output/SUMMARY.csv", "is the place of one of the run's own files"),
    "the folder of logs": ("output/logs", "is the place of one of the run's own files"),
    "a log": ("output/logs/c.isxd.log", "is the place of one of the run's own files"),
    "a record": ("output/.records/c.isxd.json", "is the place of one of the run's own files"),
    "the lock": ("output/.lock", "is the place of one of the run's own files"),
    "a shard's lock": ("output/.lock-1-of-2", "is the place of one of the run's own files"),
    "in staging": ("output/.staging/x", "is the place of one of the run's own files"),
    "a temporary name": ("output/.index.html.tmp", "is the place of one of the run's own files"),
    "a result": ("output/c/c-traces.csv", "is where the results of c.isxd go"),
    "a page": ("output/c/c.html", "is where the results of c.isxd go"),
    "any name among results": ("output/c/done", "is where the results of c.isxd go"),
    "deeper among results": ("output/day1/d/x/done", "is where the results of day1/d.isxd go"),
    "in capitals among results": ("output/DAY1/D/done", "is where the results of day1/d.isxd go"),
    "a folder of results": ("output/day1/d", "is where the results of day1/d.isxd go"),
    "no name": ("output/..", "is not a file name"),
    "a long name": ("output/" + "x" * 201, "its name has more than 200 bytes"),
    "a foreign file": (
        "output/flags/list.csv",
        "is not a sentinel of an earlier run and was not changed: move it away",
    ),
    "a foreign file that is JSON": (
        "elsewhere/protocol.json",
        "is not a sentinel of an earlier run and was not changed",
    ),
    "a folder": ("output/flags", "is a folder and was not changed: move it away, or set EXPECTED_OUTPUT_FILE"),
    "the folder of the output": ("output", "is a folder and was not changed"),
}
ALSO_WRONG = {
    "alone": ([], ""),
    "workers": (["--workers=x"], "WORKERS must be a whole number from 1, not 'x'"),
    "recipe": (["--recipe=nope"], ""),
    "forced": (["--force"], ""),
    "a shard": (["--shard=1/2"], ""),
    "gathering": (["--gather", "--shard=1/2"], ""),
}


@pytest.mark.parametrize("place, message", REFUSED.values(), ids=REFUSED)
def test_a_sentinel_where_it_would_harm(lab, place, message):
    before = everything(lab)
    done = run(lab / "input", lab / "output", env={"EXPECTED_OUTPUT_FILE": f"{lab}/{place}"})
    assert (done.code, message in done.end) == (64, True), done.stderr
    assert everything(lab) == before


def test_a_sentinel_among_the_results_of_a_session(lab):
    (lab / "input/c.isxd").rename(lab / "input/video_part1.isxd")
    done = run(lab / "input", lab / "output", env={"EXPECTED_OUTPUT_FILE": f"{lab}/output/video/done"})
    assert (done.code, "is where the results of video_part1.isxd go" in done.end) == (64, True), done.stderr


@pytest.mark.parametrize("place", ["Heute/Heute-ttl.csv", "HEUTE/x", "heute"])
def test_a_sentinel_among_the_results_of_a_session_by_hand(lab, place):
    """Known only when sessions.toml has been read, and still before the work."""
    (lab / "input/sessions.toml").write_text('[[session]]\nname = "Heute"\nrecordings = ["c.isxd", "d.isxd"]\n')
    (lab / "input/day1/d.isxd").rename(lab / "input/d.isxd")
    before = everything(lab / "input"), everything(lab / "elsewhere")
    done = run(lab / "input", lab / "output/o", env={"EXPECTED_OUTPUT_FILE": f"{lab}/output/o/{place}"})
    assert (done.code, done.named("found")) == ((64, []) if "/" in place else (0, done.named("found"))), done.stderr
    assert ("is where the results of c.isxd go" in done.end) == ("/" in place)
    assert (everything(lab / "input"), everything(lab / "elsewhere")) == before
    assert ("/" not in place) == (lab / "output/o/summary.csv").exists()


@pytest.mark.parametrize("options, too", ALSO_WRONG.values(), ids=ALSO_WRONG)
@pytest.mark.parametrize("place", ["input/c.isxd", "output/index.html", "output/flags/list.csv"])
def test_whatever_else_is_asked_for(lab, place, options, too):
    before = everything(lab)
    done = run(lab / "input", lab / "output", *options, env={"EXPECTED_OUTPUT_FILE": f"{lab}/{place}"})
    assert (done.code, "EXPECTED_OUTPUT_FILE" in done.end, too in done.end) == (64, True, True), done.stderr
    assert everything(lab) == before


def planted_huge(path: Path) -> None:
    with path.open("wb") as file:
        file.write(sentinel().encode())
        file.truncate(1 << 40)


PLANTED: dict[str, tuple[Callable[[Path], object], str]] = {
    "a table": (lambda path: path.write_text(FOREIGN), "is not a sentinel"),
    "nothing yet": (lambda path: path.touch(), "is not a sentinel"),
    "other JSON": (lambda path: path.write_text(json.dumps({"version": "1", "finished": "yes"})), "is not a sentinel"),
    "a list": (lambda path: path.write_text("[]"), "is not a sentinel"),
    "nested": (lambda path: path.write_text("[" * 100_000), "is not a sentinel"),
    "a link to a file": (lambda path: path.symlink_to("../elsewhere/protocol.json"), "is a symbolic link"),
    "a link to nothing": (lambda path: path.symlink_to("nowhere"), "is a symbolic link"),
    "a folder": (lambda path: path.mkdir(), "is a folder"),
    "a FIFO": (os.mkfifo, "is not a regular file"),
    "a terabyte": (planted_huge, "is not a sentinel"),
}


@pytest.mark.parametrize("plant, message", PLANTED.values(), ids=PLANTED)
@pytest.mark.parametrize("name, options", [("done.marker", []), ("done.marker.1-of-2", ["--shard=1/2"])])
def test_only_a_sentinel_is_ever_replaced(lab, name, options, plant, message):
    plant(lab / "output" / name)
    before = everything(lab)
    for more in ([], ["--workers=x"]) if name == "done.marker" else ([],):
        done = run(lab / "input", lab / "output", *options, *more)
        assert done.code == 64, done.stderr
        assert f"{lab}/output/{name} {message}" in done.end
        assert everything(lab) == before


@pytest.mark.parametrize("plant", [plant for plant, _ in PLANTED.values()], ids=PLANTED)
def test_what_has_the_name_of_another_shards_sentinel_stays_and_counts_for_nothing(lab, plant):
    for planted in ("done.marker.9-of-9", "done.marker.2-of-2"):
        plant(lab / "output" / planted)
    before = {name: state for name, state in everything(lab / "output").items() if "-of-" in name}
    assert run(lab / "input", lab / "output", "--shard=1/2").code == 0
    gathered = run(lab / "input", lab / "output", "--gather")
    assert (gathered.code, "1 of 2 shards are not done: 2;" in gathered.end) == (1, True), gathered.stderr
    assert run(lab / "input", lab / "output").code == 0
    after = {name: state for name, state in everything(lab / "output").items() if "-of-" in name}
    assert {name: after.get(name) for name in before} == before
    assert "done.marker.1-of-2" not in after


def test_a_sentinel_of_one_shard_under_the_name_of_another(lab):
    (lab / "output/done.marker.1-of-2").write_text(sentinel("1/2"))
    (lab / "output/done.marker.2-of-2").write_text(sentinel("1/2"))
    gathered = run(lab / "input", lab / "output", "--gather")
    assert "1 of 2 shards are not done: 2;" in gathered.end


@pytest.mark.parametrize(
    "place", ["done.marker", ".ready", "flags/ready", "flags/deep/ready", "c", "../elsewhere/ready"]
)
def test_a_sentinel_is_replaced_wherever_it_may_be(lab, place):
    where = {"EXPECTED_OUTPUT_FILE": f"{lab}/output/{place}"}
    path = lab / "output" / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(sentinel())
    foreign = {name: everything(lab)[name] for name in ("output/flags/list.csv", "elsewhere/protocol.json")}
    assert run(lab / "input", lab / "output", "--workers=x", env=where).code == 64
    assert not path.exists(), "a stale sentinel goes before anything can fail"
    for number in range(2):
        done = run(lab / "input", lab / "output", env=where)
        assert done.code == 0, done.stderr
        assert done.events[-1]["unchanged"] == 2 * number
        assert own.sentinel_content(path.read_bytes())["recordings"] == 2
    assert {name: everything(lab)[name] for name in foreign} == foreign


MINE = """
version = 1
description = "One step of my own"

[[step]]
python = "step.py:write"
makes = ".csv"
"""
STEP = """
from pathlib import Path

def write(inputs, outputs, context):
    Path({marker!r}).write_text("theirs")
    Path(outputs[0]).write_text("a\\n1\\n")
"""


def test_a_file_that_somebody_puts_there_during_the_run(lab, samples):
    """A step of a lab's own does."""
    shutil.copy(samples / "part1.isxd", lab / "input/m.isxd")
    (lab / "step.py").write_text(STEP.format(marker=f"{lab}/output/done.marker"))
    (lab / "mine.toml").write_text(MINE)
    done = run(lab / "input", lab / "output", "--recipe", str(lab / "mine.toml"))
    assert done.code == 64, done.stderr
    assert done.end.startswith(f"the sentinel cannot be written: {lab}/output/done.marker is not a sentinel")
    assert (lab / "output/done.marker").read_text() == "theirs"


@pytest.mark.parametrize("content", [FOREIGN, "", "<html></html>"], ids=["table", "empty", "page"])
@pytest.mark.parametrize("name", own.REPORT)
@pytest.mark.parametrize("options", [[], ["--workers=x"], ["--shard=1/2"], ["--gather", "--shard=1/1"]], ids=str)
def test_a_report_that_no_run_has_written(lab, name, content, options):
    (lab / "output" / name).write_text(content)
    (lab / "output/done.marker").write_text(sentinel())
    before = everything(lab)
    done = run(lab / "input", lab / "output", *options)
    assert done.code == 64, done.stderr
    assert f"{lab}/output/{name} is not from an earlier run and would be overwritten: move it away" in done.end
    assert everything(lab) == before


@pytest.mark.parametrize("name", ["c.json", "c-preview.png", "c.html"])
def test_a_result_that_no_run_has_written(lab, name):
    (lab / "output/c").mkdir()
    (lab / "output/c" / name).write_text(FOREIGN)
    before = everything(lab / "output/c")
    for options in ([], ["--force"]):
        done = run(lab / "input", lab / "output", *options)
        assert (done.code, done.end.partition(",")[0]) == (1, "1 of 2 failed"), done.stderr
        (failed,) = done.named("recording-failed")
        message = f"its results cannot be written: c/{name} exists already and no run made it; move it away"
        assert (failed["path"], failed["reason"]) == ("c.isxd", message)
        assert everything(lab / "output/c") == before
    (lab / "output/c" / name).unlink()
    assert run(lab / "input", lab / "output").code == 0
    assert run(lab / "input", lab / "output", "--force").code == 0


def test_reports_begin_as_they_are_told_by(lab):
    assert run(lab / "input", lab / "output").code == 0
    for name, beginning in own.REPORT.items():
        assert (lab / "output" / name).read_bytes().startswith(beginning)
    assert run(lab / "input", lab / "output", "--force").code == 0


def test_an_output_inside_the_input_is_no_input(lab):
    done = run(lab / "input", lab / "input/results")
    assert done.code == 0, done.stderr
    assert own.sentinel_content((lab / "input/results/done.marker").read_bytes())


def test_an_input_inside_the_output_is_no_place_for_the_sentinel(lab):
    (lab / "input").rename(lab / "output/raw")
    before = everything(lab / "output/raw")
    done = run(lab / "output/raw", lab / "output", env={"EXPECTED_OUTPUT_FILE": f"{lab}/output/raw/done"})
    assert (done.code, "done is in the input" in done.end) == (64, True)
    assert run(lab / "output/raw", lab / "output").code == 0
    assert everything(lab / "output/raw") == before


@pytest.mark.parametrize("output", ["input", "link", "input/day1/..", "output/../input"])
@pytest.mark.parametrize("options", [[], ["--workers=x"], ["--gather"]])
def test_input_and_output_are_one_folder(lab, output, options):
    before = everything(lab)
    done = run(lab / "input", lab / output, *options)
    assert done.code == 64, done.stderr
    assert f"the input {lab}/input and the output {lab}/{output} are the same folder: mount another one" in done.end
    other = f"{lab}/link" if output == "link" else "/output"
    assert f'-v "$PWD/input:{lab}/input:ro" -v "$PWD/output:{other}"' in done.end
    assert (", and set OUTPUT_DIR=/output" in done.end) == (output != "link")
    assert everything(lab) == before


def test_a_check_of_the_image_does_not_mind(lab):
    before = everything(lab)
    env = {"EXPECTED_OUTPUT_FILE": f"{lab}/input/c.isxd", "INPUT_DIR": f"{lab}/input", "OUTPUT_DIR": f"{lab}/input"}
    assert bootstrap("--check", env=env).code == 0
    assert everything(lab) == before


# ---- one place decides


@pytest.mark.parametrize(
    "name", [*sorted(own.RESERVED), own.RECORDS, own.STAGING, own.LOCK, ".lock-1-of-2", ".Index.html.TMP"]
)
def test_what_the_run_calls_its_own(name):
    assert own.is_own(name) and own.is_own(name.upper())


@pytest.mark.parametrize("name", ["done.marker", ".ready", "logs_", "index.htm", "records", ".lockfile"])
def test_what_it_does_not(name):
    assert not own.is_own(name)


def test_no_result_has_a_name_of_the_runs_own():
    recordings = name_results([Recording(f"{name}.isxd") for name in own.RESERVED])
    assert [one.name for one in recordings] == [f"{name}.isxd" for name in own.RESERVED]


def test_below(tmp_path):
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "to a").symlink_to("a")
    for path, rest in (("a", ""), ("a/b", "b"), ("to a/b/new", "b/new"), ("a/../a/b", "b"), ("b", None), ("", None)):
        assert places.below(tmp_path / path, tmp_path / "a") == rest
