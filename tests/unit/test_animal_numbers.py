"""The numbers of an animal's cells in the tables and NWB files of its sessions, at the end of the whole way."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path

import h5py
import numpy as np
import pytest

from protocol.job import Room, digest
from runner.animals import numbers
from runner.animals.in_sessions import place_of
from runner.animals.numbers import Unreadable, with_numbers
from runner.output_folder import hold
from runner.recordings import Recording
from runner.records import is_complete, read_record
from tests.followed import NAMED, run, table, write_study
from tests.launch import start, tree

NWB = {"NWB": "1"}
PLACE = "processing/ophys/ImageSegmentation"
DAYS = range(3)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """Three days of one animal, of which a cell of the first is rejected by eye."""
    root = tmp_path_factory.mktemp("numbers")
    write_study(root / "data", n=len(DAYS))
    ran = run(root, **NWB)
    assert ran.code == 0, ran.stderr
    return root


def reject(root: Path, n: int, cell: str) -> None:
    """By eye, on the page."""
    its = json.loads((root / f"out/m1/day{n}/s{n}/s{n}.json").read_text())["cell_set_id"]
    path = root / f"data/m1/day{n}/s{n}.decisions.csv"
    path.write_text(f"cell,status,cells,by,at,note\n{cell},rejected,{its},me,,\n")


@pytest.fixture
def copied(done, tmp_path):
    shutil.copytree(done, tmp_path / "root", symlinks=True)
    return tmp_path / "root"


def in_table(root: Path, n: int) -> dict[str, str]:
    rows = table(root / f"out/m1/day{n}/s{n}/s{n}-cells.csv")
    return {row["name"]: row.get("animal_cell", "no column") for row in rows}


def in_nwb(root: Path, n: int) -> dict[str, int]:
    with h5py.File(root / f"out/m1/day{n}/s{n}/s{n}.nwb") as file:
        planes = [plane for plane in file[PLACE].values() if "animal_cell" in plane]
        (plane,) = planes  # one, though the set that a recipe took may be there too
        return dict(zip(plane["cell_name"].asstr()[:].tolist(), plane["animal_cell"][:].tolist()))


def of_animal(root: Path, animal: str = "m1") -> dict[tuple[str, str], int]:
    rows = table(root / f"out/animals/{animal}/{animal}-cells.csv")
    return {(row["session"], row["cell"]): int(row["animal_cell"]) for row in rows}


def assert_numbers_agree(root: Path, days=DAYS, animal: str = "m1") -> None:
    expected = of_animal(root, animal)
    assert {session for session, _ in expected} == {f"m1/day{n}/s{n}" for n in days}
    for n in days:
        its = {cell: number for (session, cell), number in expected.items() if session == f"m1/day{n}/s{n}"}
        assert {cell: int(number) for cell, number in in_table(root, n).items() if number} == its
        assert {cell: number for cell, number in in_nwb(root, n).items() if number >= 0} == its


def assert_no_numbers(root: Path, n: int) -> None:
    assert set(in_table(root, n).values()) == {"no column"}
    assert set(in_nwb(root, n).values()) == {-1}


def test_every_session_has_them_in_its_table_and_nwb_file(done):
    assert_numbers_agree(done)
    assert list(table(done / "out/m1/day0/s0/s0-cells.csv")[0])[-1] == "animal_cell"


def test_a_rerun_is_free_and_changes_nothing(copied):
    before = {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in sorted((copied / "out/m1").rglob("*"))}
    ran = run(copied, **NWB)
    assert ran.code == 0 and ran.end.startswith("3 recordings, all done, 3 of them earlier")
    assert not ran.named("animal-done")
    after = {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in sorted((copied / "out/m1").rglob("*"))}
    assert {path: now for path, now in after.items() if path.suffix != ".html"} == {
        path: then for path, then in before.items() if path.suffix != ".html"
    }


def test_one_session_made_again_gets_them_again(copied):
    (copied / "out/m1/day1/s1/s1-traces.csv").unlink()
    ran = run(copied, **NWB)
    assert ran.code == 0 and len(ran.named("recording-done")) == 1 and not ran.named("animal-done")
    assert_numbers_agree(copied)
    assert tree(copied / "out") == tree(_whole(copied))


def _whole(root: Path) -> Path:
    """What one undisturbed run of the same input leaves."""
    assert run(root, **NWB, OUTPUT_DIR=str(root / "whole")).code == 0
    return root / "whole"


def test_a_decision_by_eye_redoes_the_following_and_all_numbers_follow(copied):
    gone = table(copied / "out/m1/day2/s2/s2-cells.csv")[0]["name"]
    reject(copied, 2, gone)
    ran = run(copied, **NWB)
    assert ran.code == 0 and len(ran.named("recording-done")) == 1 and len(ran.named("animal-done")) == 1
    assert in_table(copied, 2)[gone] == "" and in_nwb(copied, 2)[gone] == -1
    assert_numbers_agree(copied)


def test_a_session_that_joins_renumbers_the_others(copied, tmp_path):
    write_study(tmp_path / "more", n=4)
    for n in (3, 0):  # a later day, and an earlier one before all others
        shutil.copytree(tmp_path / f"more/m1/day{n}", copied / f"data/m1/day{n}", dirs_exist_ok=True)
    ran = run(copied, **NWB)
    assert ran.code == 0, ran.stderr
    assert_numbers_agree(copied, range(4))


def test_one_damaged_session_costs_itself_alone_and_keeps_no_stale_numbers(copied):
    broken = copied / "data/m1/day1/s1.isxd"
    broken.write_bytes(broken.read_bytes()[:5000])
    ran = run(copied, **NWB)
    assert ran.code == 1 and ran.end.startswith("1 of 3 failed")
    assert_no_numbers(copied, 1)  # what its earlier results say of itself stays
    assert_numbers_agree(copied, (0, 2))


@pytest.mark.parametrize("how", ["by the recipe", "no animal", "another animal"])
def test_none_stay_when_it_is_followed_no_longer(copied, how):
    more = {**NWB}
    if how == "by the recipe":
        (copied / "mine.toml").write_text(
            'version = 1\nfollow = false\n[[step]]\nuse = "binarize_cell_set"\nthreshold = 0.1\n'
        )
        more["RECIPE"] = str(copied / "mine.toml")
    elif how == "no animal":
        (copied / "data/m1/nwb.toml").unlink()
    else:
        (copied / "data/m1/nwb.toml").write_text(NAMED.format("m2"))
    ran = run(copied, **more)
    assert ran.code == 0, ran.stderr
    assert not (copied / "out/animals/m1").exists() and not (copied / "out/.records/animals/m1.json").exists()
    (forgotten,) = ran.named("animal-forgotten")
    assert forgotten["message"] == "animals/m1: its cells are no longer followed"
    if how == "another animal":
        assert_numbers_agree(copied, animal="m2")
    else:
        assert not (copied / "out/animals").exists()
        for n in DAYS:
            assert_no_numbers(copied, n)


def test_results_that_cannot_be_removed_are_named(copied):
    (copied / "data/m1/nwb.toml").unlink()
    page = copied / "out/animals/m1/m1.html"
    page.unlink()
    page.mkdir()  # somebody's
    (page / "mine").touch()
    ran = run(copied, **NWB)
    assert ran.code == 0, ran.stderr
    (kept,) = ran.named("animal-kept")
    assert kept["message"].startswith(
        "animals/m1: its cells are no longer followed, but its results cannot be removed: "
    )
    assert (page / "mine").exists()


def test_without_numbers_the_files_are_as_their_worker_wrote_them(copied, tmp_path):
    """By name alone, as metadata are part of an NWB file: sessions are not done again."""
    (copied / "data/m1/nwb.toml").unlink()
    shutil.rmtree(copied / "out")
    assert run(copied, **NWB).code == 0
    plain = tree(copied / "out")
    for n in DAYS:
        record = read_record(hold(copied / "out"), Recording(f"m1/day{n}/s{n}.isxd"))
        names = list(in_table(copied, n))
        with hold(copied / "out") as output:
            inputs = [Recording(f"m1/day{n}/s{n}.isxd")]
            numbers.write(output, [(record, inputs)], {name: 7 + i for i, name in enumerate(names)}, "m1", "mark")
            written = read_record(output, inputs[0])
            assert list(map(int, in_table(copied, n).values())) == list(range(7, 7 + len(names)))
            assert list(in_nwb(copied, n).values()) == list(range(7, 7 + len(names)))
            assert (written.followed, written.numbers) == ("m1", "mark") and is_complete(output, written)
    ran = run(copied, **NWB)
    assert ran.code == 0 and not ran.named("recording-done")
    assert tree(copied / "out") == plain


class Cut(BaseException):
    """As if the run had been killed."""


def _cutting(real, calls):
    def cut(*arguments, **named):
        calls["n"] += 1
        if calls["n"] == calls["last"]:
            raise Cut
        return real(*arguments, **named)

    return cut


@pytest.mark.parametrize("renumber", [True, False], ids=["other numbers", "no numbers"])
def test_cut_short_anywhere_the_session_is_done_and_the_next_run_mends_it(copied, monkeypatch, renumber):
    recording = Recording("m1/day1/s1.isxd")
    with hold(copied / "out") as output:
        record = read_record(output, recording)
        names = list(in_table(copied, 1))
        new = {name: 900 + i for i, name in enumerate(names)} if renumber else {}
        calls = {"n": 0, "last": 0}
        for function in ("rename", "fsync", "open", "unlink"):
            monkeypatch.setattr(os, function, _cutting(getattr(os, function), calls))
        n_cuts = 0
        while True:
            calls["n"], calls["last"] = 0, n_cuts + 1
            try:
                numbers.write(output, [(record, [recording])], new, *(("m1", "other") if renumber else ()))
                break
            except Cut:
                n_cuts += 1
            calls["last"] = 0
            now = read_record(output, recording)
            assert is_complete(output, now), "its session is not done again"
            if now.numbers == "other":
                assert list(map(int, in_table(copied, 1).values())) == list(new.values())
            record = now
        monkeypatch.undo()
    assert n_cuts > 10
    print("cuts", n_cuts)
    ran = run(copied, **NWB)
    assert ran.code == 0 and not ran.named("recording-done") and not ran.named("animal-done")
    assert_numbers_agree(copied)
    assert tree(copied / "out") == tree(_whole(copied))


def test_killed_while_numbers_are_written_a_rerun_completes_the_same_tree(copied):
    expected = tree(copied / "out")
    for n_events in range(3):
        shutil.rmtree(copied / "out/animals")  # it is followed again
        env = {"INPUT_DIR": str(copied / "data"), "OUTPUT_DIR": str(copied / "out"), "WORKERS": "1", **NWB}
        process = start(env=env)
        for line in process.stderr:
            if '"animal-done"' in line:
                break
        for _ in range(n_events * 2000):
            pass
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stderr.close()
        ran = run(copied, **NWB)
        assert ran.code == 0 and not ran.named("recording-done"), ran.stderr
        assert tree(copied / "out") == expected


def test_the_gather_step_writes_them(copied):
    shutil.rmtree(copied / "out")
    for index in (1, 2):
        assert run(copied, **NWB, SHARD=f"{index}/2").code == 0
        assert set(in_table(copied, 0).values()) == {"no column"} if (copied / "out/m1/day0").exists() else True
    assert run(copied, "--gather", SHARD_COUNT="2").code == 0
    assert_numbers_agree(copied)
    for index in (1, 2):
        again = run(copied, **NWB, SHARD=f"{index}/2")
        assert again.code == 0 and not again.named("recording-done")
    assert_numbers_agree(copied)


def test_a_file_with_a_second_name_does_not_change_there(copied, tmp_path):
    """A backup by hard links, as rsync and cp -l make it."""
    kept = {name: tmp_path / name.replace("/", "-") for name in ("m1/day1/s1/s1.nwb", "m1/day1/s1/s1-cells.csv")}
    for name, backup in kept.items():
        os.link(copied / "out" / name, backup)
    before = {name: backup.read_bytes() for name, backup in kept.items()}
    gone = table(copied / "out/m1/day0/s0/s0-cells.csv")[0]["name"]
    reject(copied, 0, gone)
    assert run(copied, **NWB).code == 0
    assert {name: backup.read_bytes() for name, backup in kept.items()} == before
    assert_numbers_agree(copied)


def test_a_table_that_others_spoilt_is_a_failure_with_its_name(copied):
    spoilt = copied / "out/m1/day1/s1/s1-cells.csv"
    size = spoilt.stat().st_size
    spoilt.write_bytes(b"x" * size)
    gone = table(copied / "out/m1/day0/s0/s0-cells.csv")[0]["name"]
    reject(copied, 0, gone)
    ran = run(copied, **NWB)
    assert ran.code == 1 and not (copied / "out/done.marker").exists()
    assert spoilt.read_bytes() == b"x" * size


PLAIN = b'name,status,noise\r\n"a, b",accepted,1.50\nC1,rejected,\n'


@pytest.mark.parametrize(
    "before, given, after",
    [
        (b"name,status\na,accepted\n", {"a": 3}, b"name,status,animal_cell\na,accepted,3\n"),
        (b"name,status,animal_cell\na,accepted,3\n", {"a": 12}, b"name,status,animal_cell\na,accepted,12\n"),
        (b"name,status,animal_cell\na,accepted,3\n", {}, b"name,status\na,accepted\n"),
        (b"name,status\na,accepted\n", {}, b"name,status\na,accepted\n"),
        (b"name,noise\na,1.50\nb,\n", {"b": 0}, b"name,noise,animal_cell\na,1.50,\nb,,0\n"),
        (b'name,x\n"a, b",1e-05\n\xff,2\n', {"a, b": 1}, b'name,x,animal_cell\n"a, b",1e-05,1\n\xff,2,\n'),
        (b"name,x\n", {"a": 1}, b"name,x\n"),
    ],
)
def test_the_column_of_a_table(before, given, after):
    assert with_numbers(before, given)[0] == after


@pytest.mark.parametrize(
    "spoilt, problem",
    [
        (b"", "a table of cells has no names"),
        (b"status,x\na,1\n", "a table of cells has no names"),
        (b"name,x\na\n", "a table of cells has rows of different lengths"),
        (b"name\n" + b"x" * 200_000, "a table of cells cannot be read: field larger than field limit"),
    ],
)
def test_a_table_that_is_none(spoilt, problem):
    with pytest.raises(Unreadable, match=problem):
        with_numbers(spoilt, {"a": 1})


def test_room_is_for_the_cells_of_the_table_alone(done):
    with hold(done / "out") as output:
        record = read_record(output, Recording("m1/day1/s1.isxd"))
        assert read_record(output, place_of("m1")) is not None
    names = list(in_table(done, 1))
    assert record.rooms == [Room("s1.nwb", record.rooms[0].offset, len(names), digest(names))]
    with (done / "out/m1/day1/s1/s1.nwb").open("rb") as file:
        file.seek(record.rooms[0].offset)
        assert np.frombuffer(file.read(4 * len(names)), "<i4").tolist() == list(in_nwb(done, 1).values())
