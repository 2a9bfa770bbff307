"""Healthy and unhealthy, on copies of the real library and on real runs."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from runner import heartbeat
from tests.launch import API, ROOT, command, environment, interpreter, start


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """The code and the API, as in the image: a tree of its own that a test can damage."""
    (tmp_path / "app").mkdir()
    for name in ("healthcheck.py", "bootstrap.py", "VERSION", "requirements.txt"):
        shutil.copy(ROOT / name, tmp_path / "app")
    for part in ("common", "recording", "protocol", "native", "runner"):
        shutil.copytree(ROOT / part, tmp_path / "app" / part, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("isx", "isx.libs"):
        shutil.copytree(API / name, tmp_path / "api" / name, ignore=shutil.ignore_patterns("__pycache__", "test"))
    interpreter(tmp_path / "venv", tmp_path / "api")
    return tmp_path


def check(image: Path, *arguments: str, **options: object) -> tuple[int, dict]:
    done = subprocess.run(
        [image / "venv/bin/python", str(image / "app/healthcheck.py"), *arguments],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
        **options,
    )
    assert len(done.stdout.splitlines()) == 1, done.stderr
    return done.returncode, json.loads(done.stdout)


def test_a_sound_image(image):
    code, answer = check(image)
    assert (code, answer["healthy"], "problems" in answer) == (0, True, False)


def library(image: Path) -> Path:
    return image / "api/isx/lib/libisxpublicapi.so"


def remove(name: str) -> Callable[[Path], None]:
    return lambda image: (image / name).unlink()


def cut(name: str) -> Callable[[Path], None]:
    return lambda image: os.truncate(image / name, (image / name).stat().st_size // 2)


def need_another(image: Path) -> None:
    content = library(image).read_bytes()
    library(image).write_bytes(content.replace(b"libavformat.so.57\0", b"libavfarmot.so.57\0"))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        pytest.param(remove("api/isx/lib/libisxpublicapi.so"), "missing file: libisxpublicapi.so", id="library gone"),
        pytest.param(
            remove("api/isx/lib/libQt5Core.so.5"),
            "shared library libQt5Core.so.5 not found (needed by libisxpublicapi.so)",
            id="its neighbour gone",
        ),
        pytest.param(
            remove("api/isx.libs/libbz2-0be7c010.so.1.0.8"),
            "shared library libbz2-0be7c010.so.1.0.8 not found (needed by libavformat.so.57)",
            id="what its neighbour needs gone",
        ),
        pytest.param(need_another, "libavfarmot.so.57", id="needs what there is not"),
        pytest.param(lambda image: library(image).write_bytes(b"\x7fELF garbage"), "too short", id="garbage"),
        pytest.param(cut("api/isx/lib/libisxpublicapi.so"), "loading ended the process: signal SIGBUS", id="cut short"),
        pytest.param(cut("api/isx/lib/libQt5Core.so.5"), "loading ended the process: signal", id="neighbour cut short"),
    ],
)
def test_an_image_that_is_not_sound(image, damage, message):
    damage(image)
    code, answer = check(image)
    assert (code, answer["healthy"]) == (1, False)
    assert message in " ".join(answer["problems"])


@pytest.mark.parametrize("name", ["api/isx/lib/libisxpublicapi.so", "api/isx/__init__.py", "app/bootstrap.py"])
def test_wrong_permissions(image, open_tmp, name):
    if os.getuid() != 0:
        pytest.skip("only root can ask as another user, and is itself denied nothing")
    shutil.copytree(image, open_tmp / "image")
    (open_tmp / "image").chmod(0o755)
    (open_tmp / "image" / name).chmod(0)
    interpreter(open_tmp / "image/venv", open_tmp / "image/api")
    try:
        answer = check(open_tmp / "image", user=65534, group=65534, extra_groups=[], cwd="/")
    except PermissionError:
        pytest.skip("no Python here that uid 65534 may execute")
    assert answer[0] == 1
    assert answer[1]["problems"] == [f"{open_tmp}/image/{name} cannot be read by uid 65534, gid 65534"]


# ---- the run


def test_a_run_is_alive_then_hung_then_gone(samples, input, output, image):
    for number in range(3):
        shutil.copy(samples / "part1.isxd", input / f"{number}.isxd")
    process = start("--input-dir", input, "--output-dir", output)
    try:
        while heartbeat.find([process.pid]) is None:
            assert process.poll() is None
        code, answer = check(image, "--pid", str(process.pid))
        assert (code, answer["run"].partition(",")[0]) == (0, "alive")
        process.send_signal(signal.SIGSTOP)
        beat_as_of(process.pid, seconds_ago=heartbeat.WITHIN + 10)
        code, answer = check(image, "--pid", str(process.pid))
        assert (code, answer["run"]) == (1, "hung")
        assert f"the run (pid {process.pid}) hangs: no sign of life for 13" in answer["problems"][0]
    finally:
        process.send_signal(signal.SIGCONT)
        process.terminate()
        process.stderr.read()
        process.wait()
    assert check(image, "--pid", str(process.pid))[1]["run"] == "none"


def test_a_worker_that_hangs_is_named(image, heart):
    heart.workers = [heartbeat.Pulse(f"{number}.isxd", 30.0 * number, 1920) for number in range(9)]
    heart.beat()
    code, answer = check(image, "--pid", str(os.getpid()))
    assert (code, answer["run"].partition(",")[0]) == (0, "alive")
    assert answer["workers"][0] == {"recording": "8.isxd", "idle_s": 240}, "the most idle first"
    heart.workers = [heartbeat.Pulse("sub/mouse.isxd", 2000.0, 1920), heartbeat.Pulse("x" * 10_000, 0.0, 1920)]
    heart.beat()
    code, answer = check(image, "--pid", str(os.getpid()))
    assert (code, answer["healthy"]) == (1, False)
    assert answer["problems"] == [
        "the worker of sub/mouse.isxd hangs: it has not computed, read or written anything for 2000 s"
    ]


def test_a_beat_fits_whatever_the_names(heart):
    heart.workers = [heartbeat.Pulse("\U0001f400" * 5000, 1.0, 2.0)] * 500
    heart.beat()
    assert len(heartbeat.find([os.getpid()]).workers) == heartbeat.MOST_SHOWN


def beat_as_of(pid: int, seconds_ago: float) -> None:
    """Put the heart's last beat into the past, as if the process had stood still since."""
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        if heartbeat.NAME in os.readlink(fd):  # noqa: PTH115
            beat = json.loads(fd.read_bytes())
            beat["beat"] -= seconds_ago
            with fd.open("r+b") as file:
                file.write(json.dumps(beat).ljust(heartbeat.SIZE).encode())


@pytest.fixture
def heart() -> Iterator[heartbeat.Heart]:
    """The only one of this process."""
    heart = heartbeat.Heart()
    yield heart
    os.close(heart._fd)


def test_a_long_step_that_was_announced_is_no_hang(heart):
    heart.beat(within=1000)
    beat = heartbeat.find([os.getpid()])
    assert beat.within == 1000
    assert beat.age < 100


def test_another_command_needs_no_heartbeat(image):
    process = subprocess.Popen(command(["sleep", "100"]))
    try:
        code, answer = check(image, "--pid", str(process.pid))
        assert (code, answer["run"]) == (0, "none")
    finally:
        process.kill()
        process.wait()


def test_wrong_usage():
    done = subprocess.run(
        [sys.executable, ROOT / "healthcheck.py", "--depp"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (64, "usage: healthcheck.py [--deep] [--pid PID]\n")


# ---- deep


def test_deep_imports_everything_and_writes_a_recording(image):
    code, answer = check(image, "--deep")
    assert (code, answer.get("problems")) == (0, None)


def test_deep_finds_a_package_that_is_broken(image):
    (image / "api/tifffile").mkdir()
    (image / "api/tifffile/__init__.py").write_text("raise ValueError('half a package')")
    code, answer = check(image, "--deep")
    assert code == 1
    assert "tifffile: `import tifffile` fails: ValueError('half a package')" in answer["problems"]


def test_deep_finds_a_package_that_is_gone(image):
    with (image / "app/requirements.txt").open("a") as lock:
        lock.write("gone-missing==1.0\n")
    code, answer = check(image, "--deep")
    assert code == 1
    assert "gone-missing is in the lock, but not installed" in answer["problems"]


def test_deep_finds_an_api_that_cannot_write(image):
    (image / "api/isx/__init__.py").write_text("from .core import *\n")
    code, answer = check(image, "--deep")
    assert code == 1
    assert "a recording cannot be written and read with isx" in answer["problems"][0]
