"""What others may have left in the output: links, FIFOs, forged records. Nothing of it is followed or waited for."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.inspect.context import Context
from pipeline.inspect.results import write_results
from protocol.job import Options
from recording import formats
from runner import records, staging
from runner.endings import OutputInUse
from runner.output import lock
from runner.output.lock import locked
from runner.output_folder import hold
from runner.recordings import Recording
from samples import recordings
from tests.launch import ROOT, run

MOVIES_TOO = Options(movie_tiff=True, movie_mp4=True)


def test_no_result_is_written_by_its_real_path(tmp_path):
    """Workers reach their folder from a descriptor: a library that looks up its path may find a link planted there."""
    opened: list[str] = []
    sys.addaudithook(
        lambda event, arguments: opened.append(os.fsdecode(arguments[0])) if _by_name(event, arguments) else None
    )
    for name, recording in recordings.every_kind(tmp_path).items():
        real = tmp_path / "results" / name
        real.mkdir(parents=True)
        descriptor = os.open(real, os.O_PATH)
        out, kind = Path(f"/proc/self/fd/{descriptor}"), formats.check(recording).kind
        opened.clear()
        write_results(recording, kind, "s", out, Context(tmp_path, options=MOVIES_TOO), with_page=True)
        os.close(descriptor)
        assert [path for path in opened if path.startswith(f"{out}/")]
        assert [path for path in opened if path.startswith(f"{real}/")] == []


def _by_name(event: str, arguments: tuple[Any, ...]) -> bool:
    return event == "open" and not isinstance(arguments[0], int)


@pytest.fixture(scope="module")
def finished(samples: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one recording, to be copied."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "input").mkdir()
    shutil.copy(samples / "image.isxd", folder / "input/a.isxd")
    assert run(folder / "input", folder / "output").code == 0
    return folder


@pytest.fixture
def outside(finished: Path, input: Path, output: Path, tmp_path: Path) -> Path:
    """A folder beside the output that no run may touch; one recording is in the input, and done."""
    shutil.copytree(finished / "input", input, dirs_exist_ok=True)
    shutil.copytree(finished / "output", output)
    folder = tmp_path / "outside"
    folder.mkdir()
    for name in ("victim", "a.json", "index.html"):
        (folder / name).write_text("theirs")
    return folder


def put_aside(path: Path) -> Path:
    """Make room for what is planted there."""
    if path.is_dir():
        shutil.rmtree(path)
    elif path.exists():
        path.unlink()
    return path


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def linked(place: str, target: str) -> Callable[[Path], None]:
    def plant(output: Path) -> None:
        put_aside(output / place).symlink_to(target)

    return plant


def hard_linked(output: Path) -> None:
    os.link(output.parent / "outside/victim", put_aside(output / "logs/a.isxd.log"))


def fifo(place: str) -> Callable[[Path], None]:
    return lambda output: os.mkfifo(put_aside(output / place))


PLANTED = {  # what is planted, the exit code, what the last word or the failure says
    "staging is a link to the input": (linked(".staging", "../input"), 73, ".staging cannot be written: it is a symb"),
    "records are a link": (linked(".records", "../outside"), 73, ".records cannot be written"),
    "logs are a link": (linked("logs", "../outside"), 1, "links in the output are not followed"),
    "results are a link": (linked("a", "../outside"), 1, "links in the output are not followed"),
    "the lock is a link": (linked(".lock", "../outside/victim"), 73, ".lock cannot be written"),
    "the lock is a FIFO": (fifo(".lock"), 73, ".lock cannot be written: it is not a regular file"),
    "a log is a link": (linked("logs/a.isxd.log", "../../outside/victim"), 0, ""),
    "a log is a hard link": (hard_linked, 0, ""),
    "a log is a FIFO": (fifo("logs/a.isxd.log"), 0, ""),
    "a record is a FIFO": (fifo(".records/a.isxd.json"), 0, ""),
    "a temporary name is a link": (linked(".index.html.tmp", "../outside/victim"), 0, ""),
    "a temporary name is a FIFO": (fifo(".summary.csv.tmp"), 0, ""),
    "the report is a link": (linked("index.html", "../outside/index.html"), 0, ""),
    "a product is a link": (linked("a/a.json", "../../outside/a.json"), 0, ""),
}


@pytest.mark.parametrize("plant, code, message", PLANTED.values(), ids=PLANTED)
def test_nothing_outside_the_output_changes(input, output, outside, plant, code, message):
    plant(output)
    before = contents(outside), contents(input)
    done = run(input, output, "--force")
    assert (contents(outside), contents(input)) == before
    assert done.code == code, done.stderr
    assert not done.named("internal-error")
    assert message in (done.end if code == 73 else done.stderr)
    assert (output / "done.marker").exists() == (code == 0)


SMALLER = """
version = 1
description = "Half the size"

[[step]]
use = "preprocess"
spatial_downsample_factor = 2
"""


@pytest.mark.parametrize("recipe", ["inspect", "smaller.toml"])
def test_folders_that_are_swapped_for_links_while_a_run_writes(samples, input, output, outside, recipe):
    """Whatever becomes of the run, it writes nothing where the links lead."""
    for number in range(4):
        shutil.copy(samples / "part1.isxd", input / f"m{number}.isxd")
    (input / "sub").mkdir()
    shutil.copy(samples / "image.isxd", input / "sub/b.isxd")
    if recipe == "smaller.toml":
        (input / recipe).write_text(SMALLER)
        recipe = str(input / recipe)
    before = contents(outside), contents(input)
    command = [sys.executable, "-m", "tests.swapper", str(output), str(outside)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as swapper:
        for _ in range(3):
            done = run(input, output, "--force", "--recipe", recipe)
            assert done.code in (0, 1, 73), done.stderr
            assert not done.named("internal-error"), done.stderr
        swaps = int(swapper.communicate("")[0])
    assert swaps > 100
    assert (contents(outside), contents(input)) == before
    assert run(input, output, "--recipe", recipe).code == 0


def test_a_folder_that_is_open_stays_the_same_folder(tmp_path):
    (tmp_path / "outside").mkdir()
    (tmp_path / "output/a").mkdir(parents=True)
    with hold(tmp_path / "output") as output, output.folder("a") as folder:
        (tmp_path / "output/a").rename(tmp_path / "output/b")
        (tmp_path / "output/a").symlink_to("../outside")
        folder.write("x", b"1")
        (folder.anywhere / "y").write_bytes(b"2")
        assert folder.read("x") == b"1" and folder.names() == ["x", "y"]
        with pytest.raises(OSError, match="links in the output are not followed") as refused:
            output.write("a/z", b"3")
        assert refused.value.filename == str(tmp_path / "output/a")
        for relative in ("../outside/x", "/etc/passwd", "b/../../outside", "b//x", "./x"):
            with pytest.raises(OSError, match="it leads out of the output"):
                output.create(relative)
        output.remove_tree("a")
        assert (tmp_path / "outside").is_dir()
    assert contents(tmp_path / "outside") == {}
    assert contents(tmp_path / "output/b") == {"x": b"1", "y": b"2"}


def test_nothing_is_read_whole_that_is_too_large(tmp_path):
    with (tmp_path / "a").open("wb") as file:
        file.truncate(1 << 40)
    with hold(tmp_path) as folder, pytest.raises(OSError, match="larger than 4194304 bytes"):
        folder.read("a")


def test_the_page_of_a_recording_is_changed_in_place_only_if_nobody_else_has_it(input, output, outside):
    """A hard link would carry the change to somebody's file, and a FIFO would be waited for."""
    os.link(output / "a/a.html", outside / "a.html")
    before = contents(outside)
    shutil.copy(input / "a.isxd", input / "b.isxd")
    assert run(input, output).code == 0
    assert contents(outside) == before
    os.mkfifo(put_aside(output / "a/a-quality.csv"))
    assert run(input, output).code == 0


FORGED = {
    "a product outside": {"products": {"../../outside/victim": 6}},
    "results outside": {"results": "../outside", "products": {"victim": 6}},
    "results at the root": {"results": "/etc"},
    "results among the run's own": {"results": ".records", "products": {"a.isxd.json": 1}},
    "no products": {"products": None},
    "products of another type": {"products": [1]},
    "inputs of another type": {"inputs": [["a.isxd"]]},
    "somebody else's": {"inputs": ["b.isxd"]},
    "an unknown kind": {"kind": "x"},
    "a picture that leaves its attribute": {"thumbnail": '"><script>'},
    "no number": {"seconds": float("nan")},
    "findings without time zone": {"infos": {"start": "2020-01-01T00:00:00"}},
    "findings that cannot be counted": {"infos": {"period_s": float("inf")}},
    "findings that cannot be compared": {"infos": {"names": [[]]}},
    "a field too many": {"more": 1},
}


def forge(output: Path, forged: dict) -> None:
    path = output / ".records/a.isxd.json"
    record = json.loads(path.read_bytes())
    known = record["infos"]["a.isxd"]
    forged = {key: {"a.isxd": {**known, **value}} if key == "infos" else value for key, value in forged.items()}
    path.write_text(json.dumps({**record, **forged}))


@pytest.mark.parametrize("forged", FORGED.values(), ids=FORGED)
def test_a_forged_record_is_no_record(output, outside, forged):
    forge(output, {})
    sound = records.read_record(hold(output), Recording("a.isxd"))
    assert sound
    recording = Recording("a.isxd", *sound.stamps["a.isxd"])
    assert records.info_from_record(Path("a.isxd"), recording, sound, sound.code)
    assert not records.info_from_record(Path("a.isxd"), recording, sound, "other code")
    assert not records.info_from_record(Path("a.isxd"), Recording("a.isxd", 1, 1), sound, sound.code)
    forge(output, forged)
    record = records.read_record(hold(output), recording)
    unknown = record is None or records.info_from_record(Path("a.isxd"), recording, record, record.code) is None
    assert record is None or ("infos" in forged and unknown)


def test_a_run_deletes_nothing_that_a_forged_record_names(input, output, outside):
    forge(output, {"results": "../outside", "products": {"victim": 6, "a.json": 6}})
    done = run(input, output)
    assert done.code == 0, done.stderr
    assert contents(outside) == {"victim": b"theirs", "a.json": b"theirs", "index.html": b"theirs"}
    assert records.read_record(hold(output), Recording("a.isxd")).results == "a"


@pytest.mark.parametrize(
    "content", [b"[" * 100_000, b"\xff", b"[]", b"0" * (5 << 20)], ids=["deep", "8", "list", "big"]
)
def test_a_record_that_is_none(tmp_path, content):
    (tmp_path / ".records").mkdir()
    (tmp_path / ".records/a.isxd.json").write_bytes(content)
    assert records.read_record(hold(tmp_path), Recording("a.isxd")) is None


@pytest.mark.parametrize(
    "owner, mode, used", [(0, 0o700, True), (0, 0o755, True), (0, 0o775, False), (1, 0o700, False)]
)
def test_finished_steps_that_others_may_have_written_are_not_used(tmp_path, owner, mode, used):
    if owner and os.getuid() != 0:
        pytest.skip("only root can give a folder to somebody else")
    with hold(tmp_path) as output, staging.staging_of(output, None) as mine:
        staging.kept_steps(output, "a/b", mine).close()
        folder = tmp_path / ".staging/kept/a%2Fb"
        assert folder.stat().st_mode & 0o777 == 0o700
        folder.chmod(mode)
        os.chown(folder, os.getuid() + owner, -1)
        kept = staging.kept_steps(output, "a/b", mine)
        assert (kept is not None) == used


@pytest.mark.parametrize("folder, mode", [(0o755, 0o600), (0o775, 0o660), (0o2770, 0o660), (0o1777, 0o666)])
def test_who_cannot_write_here_cannot_hold_the_lock(tmp_path, folder, mode):
    """flock(2) needs no more than a file that can be opened."""
    tmp_path.chmod(folder)
    for _ in range(2):
        with locked(hold(tmp_path), None, pytest.fail):
            assert (tmp_path / ".lock").stat().st_mode & 0o777 == mode
    tmp_path.chmod(0o755)


def test_a_lock_that_was_taken_away_while_another_run_waited_is_not_held(tmp_path, monkeypatch):
    """Two runs would work on one output."""
    wait = lock._flock

    def late(fd: int, how: int) -> None:
        monkeypatch.setattr(lock, "_flock", wait)
        (tmp_path / ".lock").unlink()
        wait(fd, how)

    monkeypatch.setattr(lock, "_flock", late)
    with locked(hold(tmp_path), None, pytest.fail):
        with pytest.raises(OutputInUse), locked(hold(tmp_path), None, pytest.fail):
            pytest.fail("two runs hold one output")
        (tmp_path / ".records").mkdir()
    assert (tmp_path / ".lock").is_file(), "of an output that has results, it stays"
