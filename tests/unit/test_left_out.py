"""A run passes nothing over in silence: what it leaves out is counted and named, wherever a lab looks."""

from __future__ import annotations

import csv
import json
import shutil

import pytest

from recording.kinds import why_left_out
from runner.input.discover import discover
from tests.launch import bootstrap, run

COMPRESSED = "a compressed recording (.isxc): decompress it with Inscopix's software, then run again"

SYSTEM = (
    *("lost+found", "$RECYCLE.BIN", "System Volume Information", "#recycle", "@eaDir", ".snapshot", "~snapshot"),
    *("@Recycle", "RECYCLER", ".Trash-1000", ".Trashes", "FOUND.000"),
)


@pytest.mark.parametrize("place", ["", "disk1/", "disk1/day 2/"])
@pytest.mark.parametrize("name", [*SYSTEM, "$Recycle.Bin", "LOST+FOUND"])
def test_folders_of_operating_and_storage_systems(name, place, tmp_path):
    for folder in (name, f"{name}/S-1-5-21", "mine"):
        (tmp_path / place / folder).mkdir(parents=True)
        (tmp_path / place / folder / "a.isxd").touch()
    discovery = discover(tmp_path)
    assert [recording.relative for recording in discovery.recordings] == [f"{place}mine/a.isxd"]
    assert (discovery.system, discovery.unreadable) == ({name: 1}, [])


@pytest.mark.parametrize("name", ["found", "snapshots of day 1", "recycled mice", "@day1", "#2", "~old", "Trash-2"])
def test_a_lab_s_own_folders_are_looked_into(name, tmp_path):
    (tmp_path / name).mkdir()
    (tmp_path / name / "a.isxd").touch()
    discovery = discover(tmp_path)
    assert ([recording.relative for recording in discovery.recordings], discovery.system) == ([f"{name}/a.isxd"], {})


def test_a_file_with_the_name_of_such_a_folder(tmp_path):
    (tmp_path / "lost+found").touch()
    assert discover(tmp_path).system == {}


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("a.isxc", "compressed"),
        ("A.ISXC", "compressed"),
        ("a.isxd.gz", "unpack"),
        ("a.gpio.zip", "unpack"),
        ("a.isxc.7z", "unpack"),
        ("a.isxd.part", "not copied completely"),
        ("a.isxb.crdownload", "not copied completely"),
        ("a.isxd", ""),
        ("a.zip", ""),
        ("a.isxd.md5", ""),
        ("a.isxd.json", ""),
        ("isxc", ""),
    ],
)
def test_forms_that_cannot_be_read(name, reason):
    why = why_left_out(name)
    assert bool(why) == bool(reason)
    assert reason in why


def test_they_are_named_in_log_summary_and_overview(samples, input, output):
    shutil.copy(samples / "image.isxd", input / "a.isxd")
    for name in ("day1/mouse.isxc", "day1/m2.ISXC", "b.isxd.gz"):
        (input / name).parent.mkdir(exist_ok=True)
        (input / name).touch()
    (input / "@eaDir/a.isxd").mkdir(parents=True)
    (input / "day1/@eaDir").mkdir()

    for unchanged in ("", ", 1 of them earlier"):
        done = run(input, output)
        assert (done.code, done.end) == (0, f"1 recording, all done{unchanged}; 3 left out")
        (event,) = done.named("left-out")
        packed = "b.isxd.gz: a packed recording: unpack it, then run again"
        assert event["message"] == f"3 recordings are left out: {packed}; day1/m2.ISXC, day1/mouse.isxc: {COMPRESSED}"
        (event,) = done.named("system-folders")
        assert event["message"].endswith("are skipped: @eaDir (2 times)")
        check_report(output)
    assert bootstrap("--gather", "--input-dir", input, "--output-dir", output, env={"SHARD_COUNT": "1"}).code == 0
    check_report(output)


def check_report(output):
    rows = {row["path"]: row for row in csv.DictReader((output / "summary.csv").open(newline=""))}
    assert {path: row["status"] for path, row in rows.items()} == {
        "a.isxd": "done",
        "b.isxd.gz": "left out",
        "day1/m2.ISXC": "left out",
        "day1/mouse.isxc": "left out",
    }
    assert rows["day1/mouse.isxc"]["reason"] == COMPRESSED
    page = (output / "index.html").read_text()
    assert "<strong>3</strong>left out" in page
    assert "<h2>Left out</h2>" in page
    assert "day1/mouse.isxc" in page
    sentinel = json.loads((output / "done.marker").read_text())
    assert (sentinel["recordings"], sentinel["failed"], sentinel["left_out"]) == (1, 0, 3)


def test_nothing_but_what_cannot_be_read(input, output):
    (input / "mouse.isxc").touch()
    done = run(input, output)
    assert done.code == 66
    assert f"1 recording is left out: mouse.isxc: {COMPRESSED}" in done.end
    assert "empty" not in done.end


def test_without_them_not_a_word(samples, input, output):
    shutil.copy(samples / "image.isxd", input / "a.isxd")
    done = run(input, output)
    assert done.end == "1 recording, all done"
    assert not done.named("left-out") + done.named("system-folders")
    assert "left out" not in (output / "index.html").read_text().lower()
