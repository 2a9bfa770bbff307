from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from recording.names import MAX_NAME
from runner import own
from runner.input import discover as module
from runner.input.discover import discover, name_results
from runner.recordings import Recording


def paths_in(root: Path, **options: object) -> list[str]:
    return [recording.relative for recording in discover(root, **options).recordings]


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def test_order_suffixes_and_what_is_skipped(tmp_path):
    touch(
        tmp_path,
        "b.isxd",
        "a/z.GPIO",
        "a/y.imu",
        "c.isxb",
        "notes.txt",
        "._b.isxd",
        ".git/x.isxd",
        "isxd",
        "x.isxd.bak",
    )
    result = discover(tmp_path)
    assert [recording.relative for recording in result.recordings] == ["a/y.imu", "a/z.GPIO", "b.isxd", "c.isxb"]
    assert result.others == {".txt": 1, "": 1, ".bak": 1}


def test_links_are_followed_once_and_loops_end(tmp_path):
    touch(tmp_path, "real/a.isxd", "elsewhere/b.isxd")
    root = tmp_path / "real"
    (root / "again").symlink_to(root)
    (root / "sub").mkdir()
    (root / "sub" / "up").symlink_to("..")
    (root / "0-link").symlink_to(root / "sub")
    (root / "more").symlink_to(tmp_path / "elsewhere")
    (root / "twice").symlink_to(tmp_path / "elsewhere")
    (root / "file.isxd").symlink_to(tmp_path / "elsewhere" / "b.isxd")
    assert paths_in(root) == ["a.isxd", "file.isxd", "more/b.isxd"]


def test_the_output_inside_the_input_is_left_out(tmp_path):
    touch(tmp_path, "a.isxd", "output/b.isxd")
    assert paths_in(tmp_path, output=tmp_path / "output") == ["a.isxd"]


@pytest.fixture
def deep(tmp_path: Path) -> Iterator[Path]:
    """A place for trees so deep that pytest itself could not remove them."""
    yield tmp_path
    subprocess.run(["find", str(tmp_path), "-mindepth", "1", "-delete"], check=True)


def nest(root: Path, name: str, depth: int) -> None:
    """Folders in folders, with a recording in the last; by descriptors, as the path may be too long to name."""
    here = os.open(root, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir(name, dir_fd=here)
        deeper = os.open(name, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = deeper
    os.close(os.open("a.isxd", os.O_CREAT, dir_fd=here))
    os.close(here)


def test_deep_trees_need_no_recursion(deep):
    depth = sys.getrecursionlimit() + 500
    nest(deep, "d", depth)
    assert paths_in(deep) == ["d/" * depth + "a.isxd"]


def test_too_deep_is_said(deep):
    nest(deep, "d" * 200, 30)
    ((folder, reason),) = discover(deep).unreadable
    assert folder.startswith("d" * 200)
    assert "File name too long" in reason


def test_a_hundred_thousand_files_cost_one_stat_each(tmp_path, monkeypatch):
    """Counted, not timed: one listing and one stat a folder, one stat a recording, nothing for the rest."""
    calls = {"stat": 0, "scandir": 0, "entries": 0}

    class Entry:
        def __init__(self, name: str) -> None:
            self.name = name

        def is_dir(self) -> bool:
            return "." not in self.name

        def is_symlink(self) -> bool:
            return False

        def stat(self) -> os.stat_result:
            calls["entries"] += 1
            return os.stat_result((0o100644, calls["entries"] + 1000, 1, 1, 0, 0, 5, 0, 7, 0))

    class Listing(list):
        def __enter__(self):
            return self

        def __exit__(self, *_: object) -> None:
            pass

    def scandir(path: str) -> Listing:
        calls["scandir"] += 1
        if path.rstrip("/") == str(tmp_path):
            return Listing(Entry(f"{number:03}") for number in range(100))
        return Listing(Entry(f"{number}.{suffix}") for number in range(500) for suffix in ("isxd", "txt"))

    def stat(path: str) -> os.stat_result:
        calls["stat"] += 1
        return os.stat_result((0o040755, calls["stat"], 1, 1, 0, 0, 0, 0, 0, 0))

    monkeypatch.setattr(module.os, "scandir", scandir)
    monkeypatch.setattr(module.os, "stat", stat)
    ticks = []
    result = discover(tmp_path, tick=lambda: ticks.append(1))
    assert len(result.recordings) == 50_000
    assert result.others[".txt"] == 50_000
    assert calls == {"stat": 101, "scandir": 101, "entries": 50_000}
    assert len(ticks) == 101 + 100


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["a.isxd", "b.gpio"], ["a", "b"]),
        (["a.isxd", "a.gpio", "a.imu"], ["a", "a.gpio", "a.imu"]),
        (["a.gpio", "a.imu"], ["a", "a.imu"]),
        (["a.isxd", "A.isxd"], ["a.isxd", "A"]),
        (["a.gpio", "a.isxd", "a.gpio.isxd"], ["a.gpio-2", "a", "a.gpio"]),
        (["x/a.isxd", "y/a.isxd"], ["a", "a"]),
        (["index.html.isxd", "x/index.html.isxd"], ["index.html.isxd", "index.html"]),
        (["A/x.isxd", "a/x.isxd"], ["x", "x.isxd"]),
        (["day/A/x.isxd", "Day/a/x.isxd"], ["x.isxd", "x"]),
        (["e\u0301.isxd", "\u00e9.isxd"], ["e\u0301", "\u00e9.isxd"]),
        (["e\u0301/x.isxd", "\u00e9/x.isxd"], ["x", "x.isxd"]),
    ],
)
def test_results_have_names_of_their_own(paths, names):
    given = [Recording(path) for path in paths]
    assert [recording.name for recording in name_results(given)] == names
    assert {r.relative: r.name for r in name_results(given[::-1])} == dict(zip(paths, names)), "order does not matter"


OWN = own.RESERVED | {own.LOGS, "done.marker"}
COLLISIONS = [  # inputs that once shared a place with each other, or with a file of the run's own
    ["foo.isxd", "foo/foo.json.isxd"],
    ["foo.isxd", "foo/foo.json/b.isxd"],
    ["foo.isxd", "foo.gpio", "foo/foo-gpio.csv.isxd", "foo.isxd-2/a.isxd"],
    ["Foo.isxd", "foo/FOO.JSON.isxd"],
    ["m1.isxd", "m2.isxd", "m.isxd", "m/m.json.isxd"],
    ["x.isxd", "logs/x.isxd.log.isxd", "logs/x.isxd.log/y.isxd", "logs/slurm/x.isxd", "logs_/x.isxd", "logs__/x.isxd"],
    ["a.isxd", "a.isxd.log/b.isxd", "a.isxd.log_/b.isxd", "a.isxd.json/b.isxd", "a.isxd.JSON_/b.isxd"],
    ["done.marker.1-of-2.isxd", "done.marker.isxd", "done.marker.1-of-2/a.isxd", "done.marker/a.isxd"],
    ["Index.html/a.isxd", "index.html_/a.isxd", "x/index.html/a.isxd", "summary.csv.isxd", "summary.csv/a.isxd"],
    ["overview/a.isxd", "overview.isxd", "animals/overview/a.isxd"],
]


@pytest.mark.parametrize("paths", COLLISIONS)
def test_every_input_has_its_own_place(paths):
    """Nothing that the run writes is where another thing is, or on the way to one, whatever the letters' case."""
    from runner.own import RECORDS

    given = name_results([Recording(path) for path in paths], OWN)
    assert not any(recording.problem for recording in given)
    files = [*OWN - {own.LOGS}, own.OVERVIEW_NOTE, "done.marker.1-of-2"]
    for recording in given:
        products = (".json", "-gpio.csv", "-frames.csv", ".png", ".tif")
        files += [f"{recording.results}/{recording.name}{product}" for product in products]
        files += [recording.log, recording.noted_in(RECORDS, ".json")]
    files = [file.casefold() for file in files]
    assert len(set(files)) == len(files)
    folders = {file[:at] for file in files for at, letter in enumerate(file) if letter == "/"}
    assert not folders & set(files)


def test_long_names_leave_room_for_products():
    stems = ["µ" * 120 + end for end in ("a", "b")]
    names = [recording.name for recording in name_results([Recording(stem + ".isxd") for stem in stems])]
    assert len(set(names)) == 2
    assert all(len(os.fsencode(name)) <= MAX_NAME for name in names)
