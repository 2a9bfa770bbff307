"""docker_engine/engine.py: refusals, and what it takes for its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "docker_engine"))

import debian
import engine

SOUND = {"uid": 0, "machine": "x86_64", "release": {"ID": "debian", "PRETTY_NAME": "Debian GNU/Linux 12 (bookworm)"}}
UBUNTU = {"ID": "ubuntu", "PRETTY_NAME": "Ubuntu 24.04 LTS"}


def on_a_machine(monkeypatch, uid: int, machine: str, release: dict[str, str]) -> None:
    monkeypatch.setattr(debian.os, "geteuid", lambda: uid)
    monkeypatch.setattr(debian.platform, "machine", lambda: machine)
    monkeypatch.setattr(debian.platform, "freedesktop_os_release", lambda: release, raising=False)


@pytest.fixture(autouse=True)
def _own_folders(monkeypatch, tmp_path):
    monkeypatch.setattr(engine, "RUN", tmp_path / "run")
    monkeypatch.setattr(engine, "HOME", tmp_path / "home")
    monkeypatch.setattr(engine, "PIDFILE", tmp_path / "run/docker.pid")
    (tmp_path / "run/exec/containerd").mkdir(parents=True)


REFUSALS = {
    "not root": ({"uid": 1000}, "this is not root."),
    "not Debian": ({"release": UBUNTU}, "this is Ubuntu 24.04 LTS, not Debian."),
    "not x86-64": ({"machine": "aarch64"}, "this is aarch64, not x86-64."),
    "all of it": (
        {"uid": 1000, "release": UBUNTU, "machine": "aarch64"},
        "this is not root; this is Ubuntu 24.04 LTS, not Debian; this is aarch64, not x86-64.",
    ),
}


@pytest.mark.parametrize("machine, reason", REFUSALS.values(), ids=REFUSALS)
def test_refused_with_instructions(machine, reason, monkeypatch):
    on_a_machine(monkeypatch, **{**SOUND, **machine})
    with pytest.raises(engine.Unavailable) as caught:
        engine.refuse_where_it_cannot_run()
    assert str(caught.value) == (
        f"No Docker engine answers, and a private one cannot be started: {reason}\n"
        "Install Docker (https://docs.docker.com/engine/install/), or start it, and check with 'docker info'."
    )


def test_not_refused_where_it_can_run(monkeypatch):
    on_a_machine(monkeypatch, **SOUND)
    engine.refuse_where_it_cannot_run()


def test_the_command_says_it_on_standard_error_alone(monkeypatch, capsys):
    """What `eval "$(engine.py env)"` must not run is not on standard output."""
    on_a_machine(monkeypatch, **{**SOUND, "uid": 1000})
    monkeypatch.setenv("PATH", "/nowhere")
    assert engine.main(["env"]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("No Docker engine answers, and a private one cannot be started: this is not root.")


PLUGINS = {
    "missing": ("exit 1", "its buildx plugin is missing: install docker-buildx-plugin (or docker-buildx)."),
    "of Debian 13": (
        "echo github.com/docker/buildx 0.13.1+ds1 0.13.1+ds1-3",
        "its buildx plugin is too old: 0.13, and docker-bake.hcl needs 0.20.",
    ),
    "0.19": ("echo github.com/docker/buildx v0.19.3 48d6a39", "its buildx plugin is too old: 0.19"),
    "0.20": ("echo github.com/docker/buildx v0.20.0 8e30c46", ""),
    "of Docker Desktop": ("echo github.com/docker/buildx v0.29.1-desktop.1 abc", ""),
    "1.0": ("echo github.com/docker/buildx v1.0.0 abc", ""),
    "of one's own": ("echo github.com/docker/buildx master abc", ""),
}


@pytest.mark.parametrize("plugin, message", PLUGINS.values(), ids=PLUGINS)
def test_the_users_own_docker_needs_a_recent_buildx(plugin, message, monkeypatch, tmp_path, capsys):
    docker = tmp_path / "docker"
    docker.write_text(f'#!/bin/sh\n[ "$1" != buildx ] || {plugin}\n')
    docker.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert engine.main(["env"]) == bool(message)
    said = capsys.readouterr()
    assert said.out == ""
    assert message in said.err
    assert bool(said.err) == bool(message)


@pytest.mark.parametrize("arguments", [[], ["start"], ["env", "now"]])
def test_unknown_commands_explain(arguments, capsys):
    assert engine.main(arguments) == 64
    assert "engine.py env" in capsys.readouterr().err


# --- whose process is it --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [None, "", "no number\n", "0", "999999999\n", "of this test"])
def test_a_stale_pid_file(content):
    if content is not None:
        engine.PIDFILE.write_text(str(os.getpid()) if content == "of this test" else content)
    assert engine.running_pid() is None


@pytest.fixture
def lookalike() -> Iterator[subprocess.Popen[bytes]]:
    """A process with the command line of the engine's own."""
    command = [
        sys.executable,
        "-c",
        "import sys; print(flush=True); sys.stdin.read()",
        f"unix://{engine.RUN}/docker.sock",
    ]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    process.stdout.readline()  # from here on, a signal meets the program itself
    yield process
    process.kill()
    process.communicate()


def test_a_pid_file_that_holds(lookalike):
    engine.PIDFILE.write_text(f"{lookalike.pid}\n")
    assert engine.running_pid() == lookalike.pid


def test_down_stops_what_is_its_own(lookalike, monkeypatch):
    monkeypatch.setattr(engine, "quiet", lambda *command: True)  # the bridge may be another engine's
    engine.PIDFILE.write_text(str(lookalike.pid))
    assert engine.main(["down"]) == 0
    assert lookalike.wait(10) == -signal.SIGTERM
    assert not engine.PIDFILE.exists()


@pytest.mark.parametrize("name", ["docker.pid", "exec/containerd/containerd.pid"])
def test_down_leaves_alone_who_has_the_number_now(name):
    other = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
    try:
        (engine.RUN / name).write_text(str(other.pid))
        assert engine.main(["down"]) == 0
        assert other.poll() is None
    finally:
        other.communicate()
    assert other.returncode == 0


def test_down_twice():
    assert [engine.main(["down"]), engine.main(["down"])] == [0, 0]


@pytest.mark.parametrize(
    "named, given", [(None, "sha256:1"), ("isx-base:bookworm-2", "sha256:1"), ("ubuntu:22.04", None)]
)
def test_the_digest_is_of_the_base_that_is_used(named, given, monkeypatch):
    monkeypatch.delenv("BASE_IMAGE", raising=False)
    if named:
        monkeypatch.setenv("BASE_IMAGE", named)
    engine.HOME.mkdir()
    monkeypatch.setattr(engine, "BASE_DIGEST", engine.HOME / "base.sha256")
    engine.BASE_DIGEST.write_text("sha256:1")
    assert engine.exports().get("BASE_DIGEST") == given


# --- the base's sources

DEBIAN, SECURITY = "http://mirror.example/debian/", "http://mirror.example/debian-security/"
OFFICIAL, NAMED = "http://security.debian.org/debian-security/", "http://fixes.example/"


@pytest.mark.parametrize(
    ("named", "answering", "source"),
    [
        ({}, {SECURITY, OFFICIAL}, f"deb {SECURITY} bookworm-security main"),
        ({}, {OFFICIAL}, f"deb {OFFICIAL} bookworm-security main"),
        ({"bookworm-security": NAMED}, {NAMED, SECURITY}, f"deb {NAMED} bookworm-security main"),
        ({"trixie-security": NAMED}, {SECURITY}, f"deb {SECURITY} bookworm-security main"),
        ({}, set(), None),
    ],
)
def test_the_base_knows_the_security_archive(named, answering, source, monkeypatch, capsys):
    def update(apt: debian.Apt) -> None:
        if apt.uri not in answering:
            raise engine.Unavailable("does not answer")
        assert f"{apt.uri} bookworm-security main" in (apt.folder / "sources.list").read_text()

    monkeypatch.setattr(engine, "host_sources", lambda: {"bookworm": DEBIAN, **named})
    monkeypatch.setattr(engine, "mirror", lambda: DEBIAN)
    monkeypatch.setattr(debian, "mirror", lambda: DEBIAN)
    monkeypatch.setattr(debian.Apt, "update", update)
    sources = engine.base_sources()
    assert sources[:2] == [f"deb {DEBIAN} bookworm main", f"deb {DEBIAN} bookworm-updates main"]
    assert sources[2:] == ([source] if source else [])
    warned = (
        "WARNING: no archive of bookworm-security answers: the base image, and what is built on it, has no security"
    )
    assert (warned in capsys.readouterr().err) is (source is None)


@pytest.mark.parametrize("exported, image", [({}, "debian:trixie-slim"), ({"DOCKER_HOST": "x"}, "isx-base:trixie-2")])
def test_another_release_is_made_for_the_private_engine_alone(exported, image, monkeypatch, capsys):
    made = []
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.setattr(engine, "up", lambda: exported)
    monkeypatch.setattr(engine, "has_base_image", lambda image: False)
    monkeypatch.setattr(engine, "import_base_image", made.append)
    assert engine.main(["base", "trixie"]) == 0
    assert capsys.readouterr().out == f"{image}\n"
    assert made == (["trixie"] if exported else [])
    assert engine.main(["base", "sarge"]) == 64
    monkeypatch.setenv("DOCKER_HOST", f"unix://{engine.SOCKET}")  # as in a target of Make
    monkeypatch.setattr(engine, "up", dict)
    assert engine.main(["base", "trixie"]) == 0
    assert capsys.readouterr().out == "isx-base:trixie-2\n"


# --- data that was half deleted --------------------------------------------------------------------------------------

NO_IMAGE = "docker image inspect failed (1):\nError response from daemon: No such image: isx-base:bookworm-2"
NO_LAYER = "docker image inspect failed (1):\nError response from daemon: stat overlay2/1: no such file or directory"


@pytest.mark.parametrize("answer, anew", [(None, False), (NO_IMAGE, False), (NO_LAYER, True)])
def test_damaged_data_is_discarded_and_nothing_else(answer, anew, monkeypatch, tmp_path, capsys):
    def docker(*arguments):
        if answer:
            raise engine.Unavailable(answer)

    started = []
    monkeypatch.setattr(engine, "docker", docker)
    monkeypatch.setattr(engine, "DATA", tmp_path / "home/data")
    monkeypatch.setattr(engine, "start", lambda: started.append(True))
    (engine.DATA / "overlay2").mkdir(parents=True)
    assert engine.has_base_image() is (answer is None)
    assert engine.DATA.exists() is not anew
    assert bool(started) is anew
    assert ("no such file or directory" in capsys.readouterr().err) is anew


def test_remove_takes_what_an_earlier_one_left(tmp_path):
    for name in ("home", "home.removed"):
        (tmp_path / name / "data/overlay2").mkdir(parents=True)
    assert [engine.main(["remove"]), engine.main(["remove"])] == [0, 0]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]
