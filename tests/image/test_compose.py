"""`docker compose up --build`: the same image and the same run."""

from __future__ import annotations

import json
import shutil

import pytest

from harness import docker

PROJECT_NAME = "isx-test-compose"


def compose(*arguments: str, **options: object):
    return docker("compose", "--project-name", PROJECT_NAME, *arguments, **options)


@pytest.mark.parametrize("code", [0, 1])
def test_up_builds_runs_and_hands_the_exit_code_on(code, movie, output, tmp_path):
    recordings = tmp_path / "Fälle von Maus 7"
    shutil.copytree(movie, recordings)
    if code:
        (recordings / "damaged.isxd").write_bytes(b"nothing of a recording")
    variables = {"INPUT": recordings, "OUTPUT": output, "UID": 4321, "GID": 8765}
    try:
        done = compose("up", "--build", "--exit-code-from", "isx_job", **variables, check=False)
    finally:
        compose("down", **variables)
    assert done.returncode == code, done.stdout + done.stderr
    assert (output / "movie/movie.json").stat().st_uid == 4321
    assert (output / "done.marker").exists() == (code == 0)
    if code == 0:
        assert json.loads((output / "done.marker").read_text())["recordings"] == 1
