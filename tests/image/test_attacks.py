"""The promises of docs/security.md on the image itself: what files hold, and what others do to the output."""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from harness import IMAGE, PROJECT, PUBLIC, container, docker, environment, events, last_event, mounts

CONFINED = ["--memory=1g", "--memory-swap=1g", "--read-only", "--tmpfs", "/tmp", "--network=none", "--cap-drop=ALL"]
SWAPPER = PROJECT / "tests/swapper.py"
OTHER_USER = "2000:2000"

WAITS = """
import threading

def wait(inputs, outputs, context):
    threading.Event().wait()
"""
WAITING = """
version = 1
description = "Waits for what never comes"

[[step]]
python = "/data/steps.py:wait"
makes = ".csv"
"""


def split(path: Path) -> tuple[bytes, dict]:
    """The data and the footer of an `.isxd` file."""
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[-8:])
    return content[: -9 - length], json.loads(content[-9 - length : -9])


def footer(text: bytes) -> bytes:
    return text + b"\0" + struct.pack("<Q", len(text))


def written(content: bytes) -> Callable[[Path, Path], object]:
    return lambda path, _: path.write_bytes(content)


def cropped(path: Path, sound: Path) -> None:
    data, content = split(sound / "movie.isxd")
    content["timingInfo"] |= {"numTimes": 30_000_012, "cropped": ["12 - 30000011"]}
    path.write_bytes(data + footer(json.dumps(content).encode()))


def sparse(name: str) -> Callable[[Path, Path], None]:
    """A terabyte of zeros that takes no room, with the end of a sound recording."""

    def make(path: Path, sound: Path) -> None:
        end = footer(json.dumps(split(sound / name)[1]).encode()) if name else b""
        with path.open("wb") as file:
            file.write(b"" if name else struct.pack("<I", 0xAA55) + bytes(28))
            file.truncate((1 << 40) // 20 * 20)
            file.seek(0, os.SEEK_END)
            file.write(end)

    return make


HOSTILE = {  # name: how it is made, and a part of the reason given; "" if it may even be read
    "objects.isxd": (
        written(footer(b'{"type":0,"x":[' + b"{}," * 20_000_000 + b"0]}")),
        "needs more memory than there is",
    ),
    "nested.isxd": (written(footer(b'{"type":0,"x":' + b"[" * 1_000_000)), "nested more than 100 deep"),
    "claims.isxd": (written(b"x" * 100 + struct.pack("<Q", 1 << 62)), "no footer at its end"),
    "cropped.isxd": (cropped, "claims 30000000 frames that are dropped, cropped or blank, in a file of"),
    "events.isxd": (sparse("events.isxd"), ""),
    "terabyte.gpio": (sparse(""), ""),
    "pipe.isxd": (lambda path, _: os.mkfifo(path), "not a regular file"),
    "folder.isxd": (lambda path, _: path.mkdir(), ""),
    "empty.isxd": (written(b""), "the file is empty"),
}


@pytest.fixture(scope="module")
def hostile(recordings, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("hostile")
    folder.chmod(0o755)
    for name, (make, _) in HOSTILE.items():
        make(folder / name, recordings)
    shutil.copy(recordings / "movie.isxd", folder / "sound.isxd")
    shutil.copy(recordings / "cells.isxd", folder / "zz sound too.isxd")
    return folder


def test_hostile_files_in_a_gigabyte_do_not_stop_the_rest(hostile, output):
    done = container(options=[*mounts(hostile, output), *CONFINED, "-e", "WORKER_TIMEOUT=60"])
    # 71 where the kernel, not the address space, ends the worker of one of them.
    assert done.returncode in (1, 71), done.stderr[-3000:]
    rows = {event["path"]: event for event in events(done) if event["event"] == "recording-failed"}
    assert not [event for event in events(done) if event["event"] == "internal-error"]
    for name, (_, reason) in HOSTILE.items():
        if reason:
            assert reason in rows[name]["reason"]
    for name in ("sound", "zz sound too"):
        assert (output / name / f"{name}.json").is_file()
    assert set(rows) <= set(HOSTILE)
    assert not (output / "done.marker").exists()
    written = sum(path.stat().st_blocks * 512 for path in output.rglob("*"))
    assert written < 100 << 20


def test_a_run_over_a_terabyte_can_be_stopped(hostile, output, tmp_path):
    name = f"{IMAGE}-terabyte-{os.getpid()}"
    command = ["docker", "run", "--rm", "--name", name, *mounts(hostile, output), PUBLIC, "--workers=1"]
    with subprocess.Popen(command, env=environment(), stderr=subprocess.PIPE, text=True) as process:
        assert any(json.loads(line)["event"] == "found" for line in process.stderr)
        began = time.monotonic()
        docker("kill", "--signal", "TERM", name)
        process.stderr.read()
        assert process.wait() == 143
    assert time.monotonic() - began < 10, "docker stop would have killed it"


# --- limits of processes ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [["--pids-limit=8"], ["--ulimit=nproc=8:8"]], ids=["cgroup", "ulimit"])
def test_too_few_processes_are_an_error_at_once(limit, movie, output):
    """Eight: with fewer, the runtime of containers may itself end before the program starts."""
    done = container(options=[*mounts(movie, output), *limit])
    assert done.returncode == 64, done.stderr
    message = last_event(done)["message"]
    assert message.startswith("only 8 processes and threads are allowed here, and up to ")
    assert "raise --pids-limit (of docker run)" in message


def test_few_processes_suffice_with_fewer_workers(movie, output):
    cores = int(container("nproc").stdout)
    done = container(options=[*mounts(movie, output), f"--pids-limit={12 + cores}"])
    assert done.returncode == 0, done.stderr


# --- workers that hang --------------------------------------------------------------------------------------------


@pytest.fixture
def waiting(movie, tmp_path) -> Path:
    """A recording, and a recipe that never ends and does nothing."""
    folder = tmp_path / "waiting"
    shutil.copytree(movie, folder)
    folder.chmod(0o755)
    (folder / "steps.py").write_text(WAITS)
    (folder / "waiting.toml").write_text(WAITING)
    return folder


def test_a_worker_that_hangs_is_stopped_and_seen_before(waiting, output):
    name = f"{IMAGE}-waiting-{os.getpid()}"
    options = ["--name", name, *mounts(waiting, output), "-e", "WORKER_IDLE=25"]
    command = ["docker", "run", "--rm", *options, PUBLIC, "--recipe=/data/waiting.toml"]
    with subprocess.Popen(command, env=environment(), stderr=subprocess.PIPE, text=True) as process:
        assert any(json.loads(line)["event"] == "found" for line in process.stderr)
        idle, deadline = 0, time.monotonic() + 60
        while idle < 5 and time.monotonic() < deadline:
            time.sleep(1)
            answer = json.loads(docker("exec", name, "python", "/app/healthcheck.py", check=False).stdout or "{}")
            idle = max([worker["idle_s"] for worker in answer.get("workers", [])], default=0)
        assert [worker["recording"] for worker in answer["workers"]] == ["movie.isxd"]
        assert idle >= 5
        log = [json.loads(line) for line in process.stderr]
        assert process.wait() == 1
    (failure,) = [event for event in log if event["event"] == "recording-failed"]
    assert failure["reason"].startswith("its worker hung and was stopped: it did not compute")


# --- an output that somebody else changes meanwhile -----------------------------------------------------------------


def test_another_user_swaps_folders_of_the_output_for_links(movie, output, tmp_path):
    """The links lead to a folder that the run's user may write to: nothing may come to lie there."""
    recordings, outside = tmp_path / "recordings", tmp_path / "outside"
    recordings.mkdir()
    for number in range(4):
        shutil.copy(movie / "movie.isxd", recordings / f"m{number}.isxd")
    outside.mkdir()
    outside.chmod(0o777)
    name = f"{IMAGE}-swapper-{os.getpid()}"
    both = ["-v", f"{output}:/output", "-v", f"{outside}:/outside"]
    options = ["--interactive", "--name", name, "--user", OTHER_USER, *both, "-v", f"{SWAPPER}:/swapper.py:ro"]
    swap = "umask 0; exec python /swapper.py /output /outside"
    command = ["docker", "run", "--rm", *options, PUBLIC, "sh", "-c", swap]
    with subprocess.Popen(
        command, env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as swapper:
        for _ in range(3):
            done = container("--force", options=[*both, "-v", f"{recordings}:/data:ro"])
            assert done.returncode in (0, 1, 73), done.stderr
            assert not [event for event in events(done) if event["event"] == "internal-error"]
        swaps = int(swapper.communicate("")[0])
    assert swaps > 100
    assert [path for path in outside.rglob("*") if not path.is_dir()] == []
    assert container(options=[*both, "-v", f"{recordings}:/data:ro"]).returncode == 0
