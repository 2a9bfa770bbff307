"""Files beside the recordings that decide results: what cannot be read is refused, what is not read is said."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from samples import recordings
from tests.launch import run


@pytest.fixture
def lab(input: Path) -> Path:
    (input / "day 1").mkdir()
    recordings.cell_set(input / "day 1/mäuse.isxd", n_cells=2, n=20)
    recordings.gpio(input / "x.gpio")
    return input


def contents(folder: Path) -> dict[str, object]:
    return {
        path.relative_to(folder).as_posix(): (
            path.lstat().st_mode,
            path.lstat().st_mtime_ns,
            path.read_bytes() if path.is_file() and path.stat().st_size < 1 << 20 else path.lstat().st_size,
        )
        for path in sorted(folder.rglob("*"))
    }


def dangling(path: Path) -> None:
    path.symlink_to("nowhere")


def large(path: Path) -> None:
    path.touch()
    os.truncate(path, 5 << 20)


UNREADABLE = {  # what is there; the message
    ("sessions.toml", dangling): "sessions.toml:1: is not a file",
    ("day 1/sessions.toml", os.mkdir): "day 1/sessions.toml:1: is not a file",
    ("sessions.toml", os.mkfifo): "sessions.toml:1: is not a file",
    ("sessions.toml", large): "sessions.toml:1: is larger than 1 MB",
    ("day 1/mäuse.decisions.csv", dangling): "mäuse.decisions.csv: is not a file of at most 4 MB",
    ("day 1/mäuse.decisions.csv", os.mkdir): "mäuse.decisions.csv: is not a file of at most 4 MB",
    ("day 1/mäuse.decisions.csv", os.mkfifo): "mäuse.decisions.csv: is not a file of at most 4 MB",
    ("day 1/mäuse.decisions.csv", large): "mäuse.decisions.csv: is not a file of at most 4 MB",
    ("nwb.toml", dangling): "nwb.toml:1: is not a file of at most 1 MB",
    ("day 1/mäuse.nwb.toml", os.mkdir): "mäuse.nwb.toml:1: is not a file of at most 1 MB",
}


@pytest.mark.parametrize(("plant", "message"), UNREADABLE.items(), ids=lambda each: str(each[0]))
def test_what_cannot_be_read_is_not_passed_over(lab, output, plant, message):
    """Results would count as done that are not what somebody wrote there."""
    name, make = plant
    make(lab / name)
    before = contents(lab)
    done = run(lab, output, "--nwb")
    assert (done.code, message in done.end) == (64, True), done.stderr
    assert contents(lab) == before
    assert not any(path.is_dir() for path in output.iterdir())


UNREAD = {
    "NWB.toml": "NWB.toml is not read: rename it to nwb.toml",
    "day 1/nwb.toml.txt": "day 1/nwb.toml.txt is not read: rename it to nwb.toml",
    "Sessions.toml": "Sessions.toml is not read: rename it to sessions.toml",
    "sessions.toml.TXT": "sessions.toml.TXT is not read: rename it to sessions.toml",
    "day 1/mäuse.Decisions.CSV": "day 1/mäuse.Decisions.CSV is not read: rename it to mäuse.decisions.csv",
    "day 1/mäuse.decisions.csv.txt": "day 1/mäuse.decisions.csv.txt is not read: rename it to mäuse.decisions.csv",
    "day 1/Mäuse.decisions.csv": "day 1/Mäuse.decisions.csv is not read: no session in its folder is called Mäuse",
    "mäuse.decisions.csv": "mäuse.decisions.csv is not read: no session in its folder is called mäuse",
    "day 1/mause.nwb.toml": "day 1/mause.nwb.toml is not read: no session in its folder is called mause",
}
READ = ("._x.decisions.csv", "x.decisions.csv", "nwb.toml", "day 1/mäuse.nwb.toml", "notes.txt", "toml", "csv.txt")


def test_what_is_called_almost_as_what_is_read_is_named(lab, output):
    for name in (*UNREAD, *READ):
        (lab / name).write_text("")
    before = contents(lab)
    done = run(lab, output)
    assert done.code == 0, done.stderr
    assert sorted(event["message"] for event in done.named("unread")) == sorted(UNREAD.values())
    assert contents(lab) == before
    shutil.rmtree(output)
