"""Patches that other processes work on: the same cells, no process that is left, a clear end where one is killed."""

from __future__ import annotations

import gc
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from open_engine import other_process
from open_engine.cnmfe import patches, processes
from open_engine.cnmfe.extraction import Settings
from open_engine.context import StepContext
from open_engine.files.cellsets import candidates_of
from open_engine.steps.run_cnmfe import run_cnmfe
from recording.errors import ProcessKilled
from samples import simulate
from tests.launch import ROOT

TILED = {"cell_diameter": 10, "patch_size": 56, "patch_overlap": 20}


@pytest.fixture(scope="module")
def movie(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = simulate.recording(
        seed=11, seconds=20, shape=(72, 130), n_cells=20, diameter_px=10, motion_px=0, brightness=1
    )
    return simulate.write(tmp_path_factory.mktemp("movie"), "movie", made)[0]


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[subprocess.Popen[bytes]]]:
    """The other processes, which even a small movie has here. None is left."""
    made, start = [], other_process.start

    def noted(*given: object, **more: object) -> subprocess.Popen[bytes]:
        made.append(start(*given, **more))
        return made[-1]

    monkeypatch.setattr(other_process, "start", noted)
    monkeypatch.setattr(processes, "PROCESS_BYTES", 1)
    limits = resource.getrlimit(resource.RLIMIT_AS)
    descriptors = open_files()
    yield made
    assert all(other.returncode is not None for other in made)
    assert resource.getrlimit(resource.RLIMIT_AS) == limits
    assert open_files() <= descriptors


def open_files() -> int:
    gc.collect()  # what an error of an earlier test still refers to
    return len([*Path("/proc/self/fd").iterdir()])


def run(movie: Path, out: Path, context: StepContext) -> list[bytes]:
    run_cnmfe(str(movie), str(out), **TILED, context=context)
    return [path.read_bytes() for path in (out, candidates_of(out))]


@pytest.mark.parametrize("threads", [2, 3])
def test_the_same_bytes(
    threads: int,
    movie: Path,
    tmp_path: Path,
    context: StepContext,
    started: list[subprocess.Popen[bytes]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fractions: list[float] = []
    with_others = run(movie, tmp_path / "a.isxd", replace(context, threads=threads, progress=fractions.append))
    assert len(started) == threads - 1
    assert fractions == sorted(fractions)
    assert len(fractions) >= 6
    monkeypatch.setattr(processes, "PROCESS_BYTES", 1 << 30)
    assert run(movie, tmp_path / "b.isxd", replace(context, threads=threads)) == with_others
    assert len(started) == threads - 1


def test_the_same_bytes_if_patches_are_read_a_few_at_a_time(
    movie: Path,
    tmp_path: Path,
    context: StepContext,
    started: list[subprocess.Popen[bytes]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = run(movie, tmp_path / "a.isxd", replace(context, threads=1))
    monkeypatch.setattr("open_engine.steps.run_cnmfe.READ_MOST", 1)
    assert run(movie, tmp_path / "b.isxd", context) == whole
    assert len(started) == 1


def killing(others: list[subprocess.Popen[bytes]], number: int) -> Callable[[float], None]:
    return lambda fraction: [os.kill(other.pid, number) for other in others if other.poll() is None]


def interrupt(fraction: float) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("number", "error", "message"),
    [
        (signal.SIGKILL, ProcessKilled, "in run_cnmfe was killed, most likely as memory ran out: give the run more"),
        (signal.SIGABRT, RuntimeError, "a process that took part in run_cnmfe ended with -6"),
    ],
)
def test_one_that_is_killed(
    number: int,
    error: type[Exception],
    message: str,
    movie: Path,
    tmp_path: Path,
    context: StepContext,
    started: list[subprocess.Popen[bytes]],
) -> None:
    with pytest.raises(error, match=message):
        run(movie, tmp_path / "out.isxd", replace(context, progress=killing(started, number)))
    assert started
    assert not (tmp_path / "out.isxd").exists()


def test_one_that_is_killed_before_it_begins(
    movie: Path,
    tmp_path: Path,
    context: StepContext,
    started: list[subprocess.Popen[bytes]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    start = other_process.start

    def killed(*given: object, **more: object) -> subprocess.Popen[bytes]:
        other = start(*given, **more)
        other.kill()
        other.wait()
        return other

    monkeypatch.setattr(other_process, "start", killed)
    with pytest.raises(ProcessKilled, match="in run_cnmfe was killed"):
        run(movie, tmp_path / "out.isxd", context)
    assert len(started) == 1


def test_an_error_is_handed_on_and_the_log_says_where(capfd: pytest.CaptureFixture[str]) -> None:
    (tile,) = patches.tiles((8, 8), 8, 0)
    work = processes.Work(Settings(diameter=7, rate_hz=10), (8, 8), 40)
    with processes.Room.of(1, 4 * work.floats(tile)) as room:
        answer = processes._answer(room.fd, work, 1, tile)  # a page begins at no such place
    assert isinstance(answer, OSError)
    assert "in _answer" in capfd.readouterr().err


def test_none_is_left_after_an_interruption(
    movie: Path, tmp_path: Path, context: StepContext, started: list[subprocess.Popen[bytes]]
) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(movie, tmp_path / "out.isxd", replace(context, threads=3, progress=interrupt))
    assert len(started) == 2


def test_threads_do_it_where_no_process_can_be_started(
    movie: Path, tmp_path: Path, context: StepContext, started: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = run(movie, tmp_path / "a.isxd", replace(context, threads=1))
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    assert run(movie, tmp_path / "b.isxd", context) == expected
    assert started == []


LIMITED = """
import resource, sys
from pathlib import Path
from open_engine.cnmfe import patches, processes
from open_engine.cnmfe.extraction import Settings
from open_engine.context import StepContext
from open_engine.steps.run_cnmfe import run_cnmfe

processes.PROCESS_BYTES = 1
LIMIT, out, movie, n = int(sys.argv[1]), sys.argv[2], sys.argv[3], []
resource.setrlimit(resource.RLIMIT_AS, (LIMIT, resource.RLIM_INFINITY))

def look(fraction):
    if fraction < 0.9:
        children = [pid for task in Path("/proc/self/task").glob("*/children") for pid in task.read_text().split()]
        limits = [resource.prlimit(int(pid), resource.RLIMIT_AS)[0] for pid in [0, *children]]
        n.append(len(limits) - 1)
        assert sum(limits) <= LIMIT, limits

context = StepContext(Path("."), 3, lambda text: None, look)
run_cnmfe(movie, out, cell_diameter=10, patch_size=56, patch_overlap=20, context=context)
assert resource.getrlimit(resource.RLIMIT_AS)[0] == LIMIT
print(max(n))
print(*(name for name in ("isx", "pandas", "scipy.signal", "scipy.stats") if name in sys.modules))
"""


@pytest.mark.parametrize(("gigabytes", "others"), [(8, 2), (2, 0)])
def test_the_limit_of_memory_holds_for_all_together(gigabytes: int, others: int, movie: Path, tmp_path: Path) -> None:
    """Where it leaves no room for other processes, threads do it. None imports what takes long and is not needed."""
    command = [sys.executable, "-c", LIMITED, str(gigabytes << 30), str(tmp_path / "out.isxd"), str(movie)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{others}\n\n"
