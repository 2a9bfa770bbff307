"""scripts/demo.py: when it makes samples, and where."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

import demo


@pytest.fixture
def started(monkeypatch, tmp_path) -> list[str]:
    """A project, and a `docker run` that writes down the command in the image; "" is the image's own."""
    commands: list[str] = []

    def run(*arguments: str) -> int:
        commands.append(" ".join(arguments).partition(demo.IMAGE)[2].strip())
        return 0

    monkeypatch.setattr(demo, "PROJECT", tmp_path)
    monkeypatch.setattr(demo, "run", run)
    for name in ("INPUT", "OUTPUT"):
        monkeypatch.delenv(name, raising=False)
    return commands


SAMPLES = "python /simulate.py /made"


@pytest.mark.parametrize("recording", ["a.isxd", "A.ISXD", "day1/b.Gpio"])
def test_recordings_are_not_added_to(recording, started, tmp_path):
    (tmp_path / "input" / recording).parent.mkdir(parents=True)
    (tmp_path / "input" / recording).touch()
    assert demo.main() == 0
    assert started == [""]


def test_samples_are_made_in_the_projects_own_folder(started):
    assert demo.main() == 0
    assert started == [SAMPLES, ""]


def test_a_folder_that_was_named_is_left_as_it_is(started, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("INPUT", str(tmp_path / "mine"))
    assert demo.main() == 66
    assert started == []
    assert f"No recording in {tmp_path / 'mine'}: looked for .gpio, .imu, .isxb, .isxd." in capsys.readouterr().err
