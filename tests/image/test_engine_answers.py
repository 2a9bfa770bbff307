"""docker_engine/engine.py where an engine answers already: it must stay out of the way."""

from __future__ import annotations

import sys

import pytest

from harness import PROJECT, run


@pytest.mark.parametrize("command", ["env", "up"])
def test_nothing_is_said_and_nothing_started(command, tmp_path):
    places = {"ISX_ENGINE_HOME": tmp_path / "home", "ISX_ENGINE_RUN": tmp_path / "run"}
    done = run(sys.executable, PROJECT / "docker_engine/engine.py", command, **places)
    assert (done.stdout, done.stderr) == ("", "")
    assert list(tmp_path.iterdir()) == []
