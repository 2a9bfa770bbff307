"""A process that works beside a worker is killed: for the run, it is as if the worker had been."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from pathlib import Path

import numpy as np
import pytest

from runner import machine
from samples import recordings
from tests.launch import TIMEOUT, start

RECIPE = 'version = 1\nengine = "open"\n[[step]]\nuse = "run_cnmfe"\n'


def kill_each(name: bytes, by: int, over: threading.Event, killed: list[int]) -> None:
    """Kill what descends from this process as soon as its command names that."""
    while not over.wait(0.02):
        for pid in descendants(by):
            with contextlib.suppress(OSError):
                if name in Path(f"/proc/{pid}/cmdline").read_bytes():
                    os.kill(pid, signal.SIGKILL)
                    killed.append(pid)


def descendants(pid: int) -> list[int]:
    children: list[int] = []
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            children += map(int, (task / "children").read_text().split())
    return [*children, *(far for child in children for far in descendants(child))]


@pytest.mark.skipif(machine.cores() < 2, reason="with one core, a worker is alone")
@pytest.mark.parametrize(
    ("process", "recipe"), [(b"cnmfe.processes", RECIPE), (b"open_engine.statistics", "")], ids=["recipe", "inspect"]
)
def test_the_recording_is_tried_again_and_fails_for_lack_of_memory(tmp_path: Path, process: bytes, recipe: str) -> None:
    (tmp_path / "data").mkdir()
    few = np.random.default_rng(0).integers(300, 900, (20, 200, 200)).astype(np.uint16)
    movie = recordings.movie_from(tmp_path / "data/m.isxd", few[np.arange(5200) % 20])
    (tmp_path / "mine.toml").write_text(recipe)
    before = movie.stat().st_mtime_ns
    arguments = ["--input-dir", movie.parent, "--output-dir", tmp_path / "out"]
    with start(*arguments, *(["--recipe", tmp_path / "mine.toml"] if recipe else [])) as run:
        over, killed = threading.Event(), []
        killer = threading.Thread(target=kill_each, args=(process, run.pid, over, killed))
        killer.start()
        try:
            _, log = run.communicate(timeout=TIMEOUT)
        finally:
            over.set()
            killer.join()
            run.kill()
    assert len(set(killed)) == 2, log
    assert run.returncode == 71, log
    assert "will be tried once more when nothing else runs: its worker ended with signal SIGKILL" in log
    assert "signal SIGKILL (most likely out of memory: give the run more, or lower WORKERS)" in log
    assert not (tmp_path / "out/done.marker").exists()
    assert movie.stat().st_mtime_ns == before
    movie.unlink()  # it is large
