"""Several files are often one fact: records of a session, numbers of an animal's cells, pages and what they say of each
other. A run that is killed between any two changes to files leaves what the next run completes, to the byte.

`make chaos` tries every change; here, some that the seed chooses.
"""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from open_engine.files.cellsets import edit_footer
from samples import recordings
from tests.followed import NAMED, write_study
from tests.killed_after import KILLED
from tests.launch import ROOT, TIMEOUT, environment
from tests.trees import tree_with_rooms

SEED, KILLS = 20261130, 2
RECIPE = 'version = 1\nengine = "open"\n[[step]]\nuse = "preprocess"\n[[step]]\nuse = "dff"\n'
Study = Callable[[Path, Callable[..., None]], tuple[str, ...]]  # makes an input; returns a run's arguments


def new_session(root: Path, run: Callable[..., None]) -> tuple[str, ...]:
    recordings.movie(root / "data/m_part1.isxd")
    recordings.movie(root / "data/m_part2.isxd", start_ms=recordings.START_MS + 5000)
    recordings.gpio(root / "data/m.gpio")
    return ("--nwb",)


def one_that_grows(root: Path, run: Callable[..., None]) -> tuple[str, ...]:
    """Results of one part move."""
    recordings.movie(root / "data/m_part1.isxd")
    recordings.gpio(root / "data/x.gpio")
    run()
    recordings.movie(root / "data/m_part2.isxd", start_ms=recordings.START_MS + 5000)
    recordings.gpio(root / "data/m.gpio")
    return ()


def edited_by_hand(root: Path, run: Callable[..., None]) -> tuple[str, ...]:
    """Both parts of a recipe's last product."""
    new_session(root, run)
    (root / "mine.toml").write_text(RECIPE)
    run("--recipe", str(root / "mine.toml"))
    for path in (root / "out/m").glob("*-movie.isxd"):
        edit_footer(path, note="mine")
    return "--recipe", str(root / "mine.toml")


def another_day(root: Path, run: Callable[..., None]) -> tuple[str, ...]:
    """Cells of two days get other numbers."""
    write_study(root / "data", n=2)
    run("--nwb")
    write_study(root / "data", n=3)
    return ("--nwb",)


def another_animal(root: Path, run: Callable[..., None]) -> tuple[str, ...]:
    """It has the sessions of one that is followed no longer."""
    write_study(root / "data", n=2)
    run()
    (root / "data/m1/nwb.toml").write_text(NAMED.format("m2"))
    return ()


def run_killed_after(change: int, root: Path, *arguments: str) -> int:
    command = [sys.executable, ROOT / "tests/killed_after.py", str(change), root / "count", ROOT, *arguments]
    places = ("--input-dir", root / "data", "--output-dir", root / "out", "--workers=1")
    done = subprocess.run(
        [*map(str, (*command, *places))], env=environment(), capture_output=True, timeout=TIMEOUT, check=False
    )
    assert done.returncode in (0, KILLED), done.stderr
    return done.returncode


def everything(output: Path) -> dict[str, object]:
    """What is there; of NWB files the values, as zlib may write the same ones in different bytes."""
    found: dict[str, object] = {**tree_with_rooms(output)}
    found.update((path.relative_to(output).as_posix(), values(path)) for path in output.rglob("*.nwb"))
    return found


def values(nwb: Path) -> dict[str, object]:
    found: dict[str, object] = {}

    def note(name: str, item: h5py.Group | h5py.Dataset) -> None:
        if isinstance(item, h5py.Dataset):
            found[name] = str(np.asarray(item[()]).tolist()) if item.dtype.hasobject else item[()].tobytes()
        found[f"{name}: attributes"] = str(sorted(map(str, item.attrs.items())))

    with h5py.File(nwb) as file:
        file.visititems(note)
    return found


def sentinel(output: Path) -> bytes:
    path = output / "done.marker"
    return path.read_bytes() if path.exists() else b""


@pytest.mark.parametrize("study", [new_session, one_that_grows, edited_by_hand, another_day, another_animal])
def test_the_next_run_completes_the_same_tree(study: Study, tmp_path):
    def run(*arguments: str) -> None:
        assert run_killed_after(0, tmp_path, *arguments) == 0

    def as_before() -> None:
        shutil.rmtree(output, ignore_errors=True)
        if before.exists():
            shutil.copytree(before, output, symlinks=True)

    output, before = tmp_path / "out", tmp_path / "before"
    (tmp_path / "data").mkdir()
    arguments = study(tmp_path, run)
    if output.exists():
        output.rename(before)
    as_before()
    run(*arguments)
    expected, n_changes = everything(output), int((tmp_path / "count").read_text())
    assert n_changes > 50
    for change in random.Random(f"{SEED} {study.__name__}").sample(range(1, n_changes + 1), KILLS):
        print(f"killed after change {change} of {n_changes}")
        as_before()
        assert run_killed_after(change, tmp_path, *arguments) == KILLED
        said = sentinel(output)
        if said:
            assert everything(output) == (everything(before) if said == sentinel(before) else expected)
        run(*arguments)
        found = everything(output)
        different = [name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name)]
        assert sorted(different) == []
