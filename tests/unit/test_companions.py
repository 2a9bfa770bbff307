"""Recipes whose steps read what was recorded beside the movie: GPIO, IMU, cameras."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from samples import recordings
from tests.launch import run

STEP = """
import json

def note(inputs, outputs, context):
    found = [[path.name, context.begins_s[str(path)]] for path in inputs]
    for output in outputs:
        output.write_text(json.dumps(found))
"""


@pytest.fixture
def session(input: Path) -> Path:
    """A movie in two parts, with GPIO and a camera; the GPIO begins with the first part."""
    recordings.movie(input / "m_part1.isxd")
    recordings.movie(input / "m_part2.isxd", start_ms=recordings.START_MS + 5_000)
    recordings.gpio(input / "m.gpio")
    return input


def recipe(tmp_path: Path, steps: str, group: str = "series") -> str:
    (tmp_path / "note.py").write_text(STEP)
    path = tmp_path / "mine.toml"
    path.write_text(f'version = 1\ngroup = "{group}"\nengine = "auto"\n{steps}')
    return str(path)


def test_a_function_of_the_lab_gets_the_companions_and_when_each_begins(session, output, tmp_path):
    step = '[[step]]\npython = "note.py:note"\ntakes = ["movie", "gpio"]\nmakes = ".json"\n'
    before = {path.name: path.read_bytes() for path in session.iterdir()}
    done = run(session, output, "--recipe", recipe(tmp_path, step))
    assert done.code == 0, done.stderr
    assert {path.name: path.read_bytes() for path in session.iterdir()} == before
    made = output / "m/steps/m_part2-note.json"
    given = json.loads(made.read_text())
    starts = {
        one["name"]: one["start_s"] for one in json.loads((output / "m/m.json").read_text())["session"]["recordings"]
    }
    assert given == [[name, starts[name]] for name in ("m_part1.isxd", "m_part2.isxd", "m.gpio")]
    assert (output / "m/m-ttl.csv").is_file(), "it is inspected as well"
    assert run(session, output, "--recipe", recipe(tmp_path, step)).end == "3 recordings, all done, 3 of them earlier"


def test_a_session_without_the_companion(session, output, tmp_path):
    step = '[[step]]\npython = "note.py:note"\ntakes = ["movie", "gpio"]\nmakes = ".json"\n'
    (session / "m.gpio").unlink()
    done = run(session, output, "--recipe", recipe(tmp_path, step))
    assert done.code == 1
    reason = "step 1 (note): the session of m_part1.isxd has no GPIO recording, which the step takes"
    assert reason in done.named("recording-failed")[0]["reason"]
    assert (output / "m/m_part1-frames.csv").is_file(), "it is inspected instead"


def test_a_step_of_the_api_on_a_companion(session, output, tmp_path):
    """In a recipe that runs on the movie."""
    steps = '[[step]]\nuse = "motion_correct"\nengine = "open"\n[[step]]\nuse = "export_gpio_set_to_csv"\n'
    done = run(session, output, "--recipe", recipe(tmp_path, steps))
    assert done.code == 0, done.stderr
    (table,) = (output / "m/steps").glob("*gpio_table.csv")
    assert "GPIO-1" in table.read_text()


def test_a_recipe_for_gpio_itself(session, output, tmp_path):
    """It runs on what was recorded beside the movies, which are inspected."""
    done = run(session, output, "--recipe", recipe(tmp_path, '[[step]]\nuse = "export_gpio_set_to_csv"\n'))
    assert done.code == 0, done.stderr
    assert len(list(output.rglob("*gpio_table.csv"))) == 1
    assert (output / "m/m_part1-frames.csv").is_file() and (output / "m/m-ttl.csv").is_file()
