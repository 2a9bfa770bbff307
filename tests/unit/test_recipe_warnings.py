"""Warnings are part of a finished step: a run that was cut short and resumed says what an undisturbed one says."""

from __future__ import annotations

import csv
import json
import shutil
import time
from pathlib import Path

import pytest

from tests.launch import run, start, tree
from tests.trees import without_times_of_steps

RECIPE = """
version = 1
keep = "KEEP"

[[step]]
python = "steps.py:first"

[[step]]
python = "steps.py:second"

[[step]]
python = "steps.py:third"
"""
STEPS = """
import shutil, time
from pathlib import Path

def step(name, inputs, outputs, context):
    context.warn(f"{name} did not converge")
    shutil.copy(inputs[0], outputs[0])
    context.warn(f"{name} left {outputs[0]} and {context.scratch}")
    (Path(outputs[0]).parent / f"folder of {name}").mkdir()

def first(inputs, outputs, context):
    step("first", inputs, outputs, context)

def second(inputs, outputs, context):
    step("second", inputs, outputs, context)

def third(inputs, outputs, context, factor=1):
    step("third", inputs, outputs, context)
    here = Path(__file__)
    here.with_name("arrived").touch()
    while here.with_name("wait").exists():
        time.sleep(0.01)
    if here.with_name("broken").exists():
        raise ValueError("told to fail")
"""


@pytest.fixture(params=["all", "last"])
def recipe(samples: Path, tmp_path: Path, input: Path, request) -> Path:
    shutil.copy2(samples / "part1.isxd", input)
    shutil.copy2(samples / "larger.isxd", input)
    folder = tmp_path / "recipe"
    folder.mkdir()
    (folder / "steps.py").write_text(STEPS)
    (folder / "copy.toml").write_text(RECIPE.replace("KEEP", request.param))
    return folder / "copy.toml"


def fail_first(recipe, input, output):
    (recipe.parent / "broken").touch()
    assert run(input, output, "--recipe", str(recipe)).code == 1
    (recipe.parent / "broken").unlink()


def kill_first(recipe, input, output):
    (recipe.parent / "wait").touch()
    running = start("--input-dir", input, "--output-dir", output, "--recipe", recipe, "--workers=1")
    while not (recipe.parent / "arrived").exists():
        time.sleep(0.01)
    running.kill()
    running.communicate()
    (recipe.parent / "wait").unlink()


def change_a_later_step(recipe, input, output):
    text = recipe.read_text()
    recipe.write_text(text + "factor = 2\n")
    assert run(input, output, "--recipe", str(recipe)).code == 0
    recipe.write_text(text)


def rename_steps(recipe, input, output):
    text = recipe.read_text()
    recipe.write_text(text.replace(':first"', ':first"\nname = "1st"'))
    assert run(input, output, "--recipe", str(recipe)).code == 0
    recipe.write_text(text)


@pytest.mark.parametrize("disturb", [fail_first, kill_first, change_a_later_step, rename_steps])
def test_a_resumed_run_equals_an_undisturbed_one(recipe, input, output, tmp_path, disturb):
    disturb(recipe, input, output)
    resumed = run(input, output, "--recipe", str(recipe))
    fresh = run(input, tmp_path / "fresh", "--recipe", str(recipe))
    assert (resumed.code, fresh.code) == (0, 0), resumed.stderr

    resumed_tree, expected = (without_times_of_steps(tree(folder)) for folder in (output, tmp_path / "fresh"))
    assert resumed_tree.keys() == expected.keys()
    assert [name for name in resumed_tree if resumed_tree[name] != expected[name]] == []
    warned = [[event["message"] for event in done.named("recording-warning")] for done in (resumed, fresh)]
    assert sorted(warned[0]) == sorted(warned[1])

    record = json.loads((output / ".records/part1.isxd.json").read_text())
    said = record["warnings"]
    assert [text for text in said if "did not converge" in text] == [
        f"step {number} ({name}): {name} did not converge"
        for number, name in enumerate(("first", "second", "third"), 1)
    ]
    assert not [text for text in said if "/proc" in text or ".staging" in text]
    (row,) = [row for row in csv.DictReader((output / "summary.csv").open(newline="")) if row["path"] == "part1.isxd"]
    assert row["warnings"] == " | ".join(said)
    page = (output / "part1/part1.html").read_text()
    assert all(f"{name} did not converge" in page for name in ("first", "second", "third"))


def test_an_index_that_is_no_index_is_not_believed(recipe, input, output):
    fail_first(recipe, input, output)
    for index in (output / ".staging/kept").glob("*/.steps.json"):
        entries = json.loads(index.read_text())
        index.write_text(json.dumps([{**entry, "warnings": 5} for entry in entries]))
    assert run(input, output, "--recipe", str(recipe)).code == 0
