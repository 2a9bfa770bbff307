"""`docker compose up --build`: the same run. What it builds is in test_ways.py."""

from __future__ import annotations

import json
import shutil
import sys

import pytest

from harness import IMAGE, PROJECT, docker

sys.path.insert(0, str(PROJECT))

from runner.settings import OPTIONS

PROJECT_NAME = f"{IMAGE}-compose"


def compose(*arguments: str, **options: object):
    return docker("compose", "--project-name", PROJECT_NAME, *arguments, **options)


@pytest.mark.parametrize("code", [0, 1])
def test_up_builds_runs_and_hands_the_exit_code_on(code, movie, output, tmp_path):
    recordings = tmp_path / "Fälle von Maus 7"
    shutil.copytree(movie, recordings)
    if code:
        (recordings / "damaged.isxd").write_bytes(b"nothing of a recording")
    variables = {"INPUT": recordings, "OUTPUT": output, "UID": 4321, "GID": 8765, "ISX_SOURCE": "public"}
    try:
        done = compose("up", "--build", "--exit-code-from", "isx_job", **variables, check=False)
    finally:
        compose("down", **variables)
    assert done.returncode == code, done.stdout + done.stderr
    assert (output / "movie/movie.json").stat().st_uid == 4321
    assert (output / "done.marker").exists() == (code == 0)
    if code == 0:
        assert json.loads((output / "done.marker").read_text())["recordings"] == 1


def test_every_documented_variable_reaches_the_run():
    names = [option.variable for option in OPTIONS]
    values = {name: f"value-of-{name}" for name in names}
    (service,) = json.loads(compose("config", "--format", "json", **values).stdout)["services"].items()
    name, described = service
    assert name == "isx_job"
    assert {key: described["environment"][key] for key in names} == values
    assert (described["tty"], described["platform"]) == (True, "linux/amd64")


@pytest.mark.parametrize("state, code", [("a damaged recording", 1), ("no recording", 66)])
def test_the_documented_command_returns_the_runs_code(state, code, public, output, tmp_path):
    """And what a variable asks for happens: the sentinel of this name is not written, the log is JSON."""
    recordings = tmp_path / "input"
    recordings.mkdir()
    if code == 1:
        (recordings / "damaged.isxd").write_bytes(b"nothing of a recording")
    variables = {"INPUT": recordings, "OUTPUT": output, "LOG_FORMAT": "json", "ISX_SOURCE": "public"}
    done = compose("run", "--rm", "--build", "isx_job", **variables, check=False)
    assert done.returncode == code, f"{state}: {done.stdout}{done.stderr}"
    assert f'"code": {code}' in done.stdout + done.stderr


def test_a_terminal_shows_text(movie, output):
    variables = {"INPUT": movie, "OUTPUT": output, "ISX_SOURCE": "public"}
    try:
        done = compose("up", "--build", "--exit-code-from", "isx_job", **variables, check=False)
        logs = compose("logs", "isx_job", **variables).stdout
    finally:
        compose("down", **variables)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "all done" in logs
    assert '{"event"' not in logs
