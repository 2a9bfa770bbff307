"""Recipes as PID 1 sees them: series in one worker, other kinds inspected, finished steps kept, changes noticed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.launch import run, tree

RECIPE = """
version = 1
description = "Count the parts"
group = "series"

[[step]]
python = "steps.py:first"
makes = ".csv"

[[step]]
python = "steps.py:second"
makes = ".txt"
"""
STEPS = """
from pathlib import Path

def first(inputs, outputs, context):
    with Path(__file__).with_name("calls").open("a") as file:
        file.write("first ")
    for output in outputs:
        Path(output).write_text(" ".join(Path(one).name for one in inputs))

def second(inputs, outputs, context):
    if Path(__file__).with_name("broken").exists():
        raise ValueError("the second step is told to fail")
    for output in outputs:
        Path(output).write_text("VERSION 1")
"""


@pytest.fixture
def recipe(samples: Path, tmp_path: Path, input: Path) -> Path:
    for name in ("part1", "part2", "part3", "image"):
        shutil.copy(samples / f"{name}.isxd", input / f"{name}.isxd")
    folder = tmp_path / "recipe"
    folder.mkdir()
    (folder / "steps.py").write_text(STEPS)
    (folder / "count.toml").write_text(RECIPE)
    return folder / "count.toml"


def products(output: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in (output / "part").rglob("*") if path.suffix in (".csv", ".txt")}


def test_the_parts_of_a_session_go_to_one_worker_and_other_kinds_are_inspected(recipe, input, output):
    done = run(input, output, "--recipe", str(recipe))
    assert done.code == 0, done.stderr
    assert "part1.isxd part2.isxd part3.isxd" in products(output).values()
    assert json.loads((output / "image/image.json").read_text())["provenance"]["recipe"] == "inspect"
    assert not (output / "part1").exists()
    again = run(input, output, "--recipe", str(recipe))
    assert again.end == "4 recordings, all done, 4 of them earlier"


def test_a_step_that_changes_is_a_recipe_that_changes(recipe, input, output):
    assert run(input, output, "--recipe", str(recipe)).code == 0
    (recipe.parent / "steps.py").write_text(STEPS.replace("VERSION 1", "VERSION 2"))
    assert run(input, output, "--recipe", str(recipe)).end == "4 recordings, all done, 1 of them earlier"  # the image
    assert "VERSION 2" in products(output).values()


def test_finished_steps_outlast_a_run_that_failed(recipe, input, output):
    (recipe.parent / "broken").touch()
    failed = run(input, output, "--recipe", str(recipe))
    assert failed.code == 1
    assert "told to fail" in failed.named("recording-failed")[0]["reason"]
    assert (output / ".staging/kept/part").is_dir()
    (recipe.parent / "broken").unlink()
    assert run(input, output, "--recipe", str(recipe)).code == 0
    assert (recipe.parent / "calls").read_text() == "first ", "the first step was not done again"
    assert not (output / ".staging").exists()


def contents(output: Path) -> dict[str, bytes]:
    """Names of all files, and the content of those in which no step's duration is."""
    return {name: content if name.endswith((".csv", ".txt")) else b"" for name, content in tree(output).items()}


def test_results_do_not_depend_on_what_was_done_when(recipe, input, output, tmp_path):
    """A part that was handled alone joins the session when another comes, and is alone again when that goes."""
    late = tmp_path / "late"
    late.mkdir()
    for name in ("part2.isxd", "part3.isxd"):
        shutil.move(input / name, late / name)
    assert run(input, output, "--recipe", str(recipe)).code == 0
    alone = contents(output)
    assert "part1/part1.json" in alone
    for path in late.iterdir():
        shutil.copy2(path, input)
    assert run(input, output, "--recipe", str(recipe)).end == "4 recordings, all done, 1 of them earlier"
    assert run(input, tmp_path / "fresh", "--recipe", str(recipe)).code == 0
    assert contents(output) == contents(tmp_path / "fresh")
    for path in late.iterdir():
        (input / path.name).unlink()
    assert run(input, output, "--recipe", str(recipe)).code == 0
    now = contents(output)
    assert {name: now[name] for name in now if not name.startswith((".records/part2", ".records/part3"))} == alone


def test_steps_that_were_kept_for_a_part_go_when_it_joins_a_session(samples, recipe, input, output):
    for name in ("part2", "part3", "image"):
        (input / f"{name}.isxd").unlink()
    (recipe.parent / "broken").touch()
    assert run(input, output, "--recipe", str(recipe)).code == 1
    assert (output / ".staging/kept/part1").is_dir()
    (recipe.parent / "broken").unlink()
    shutil.copy(samples / "part2.isxd", input)
    assert run(input, output, "--recipe", str(recipe)).code == 0
    assert not (output / ".staging").exists()


def test_finished_steps_of_one_recording_do_not_lie_in_another_s(samples, recipe, input, output):
    for path in input.iterdir():
        path.unlink()
    (input / "a").mkdir()
    shutil.copy(samples / "part1.isxd", input / "a.isxd")
    shutil.copy(samples / "part2.isxd", input / "a" / "b.isxd")
    (recipe.parent / "broken").touch()
    assert run(input, output, "--recipe", str(recipe)).code == 1
    (recipe.parent / "broken").unlink()
    assert run(input, output, "--recipe", str(recipe)).code == 0
    assert (recipe.parent / "calls").read_text() == "first first ", "no first step was done again"


def test_a_recording_that_is_called_as_a_session_has_results_of_its_own(samples, recipe, input, output):
    for path in input.iterdir():
        path.unlink()
    for sample, name in (("part1", "m1"), ("part2", "m2"), ("image", "m")):
        shutil.copy(samples / f"{sample}.isxd", input / f"{name}.isxd")
    assert run(input, output, "--recipe", str(recipe)).code == 0
    assert json.loads((output / "m/m.json").read_text())["kind"] == "image"
    assert json.loads((output / "m.session/m.session.json").read_text())["session"]["name"] == "m.session"
