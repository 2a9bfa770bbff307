"""A recording whose recipe failed is inspected, so that its lab sees it; it still counts as failed, everywhere."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest

from samples import recordings
from tests.launch import run, start, tree
from tests.trees import without_times_of_steps

RECIPE = """
version = 1
group = "GROUP"

[[step]]
python = "steps.py:first"
makes = ".csv"

[[step]]
python = "steps.py:second"
makes = ".txt"
"""
STEPS = """
import os
from pathlib import Path

def first(inputs, outputs, context):
    context.warn("rather dark")
    for output in outputs:
        Path(output).write_text("a\\n1\\n")

def second(inputs, outputs, context):
    fault = Path(__file__).with_name("fault")
    if fault.exists():
        print("about to fail", flush=True)
        exec(fault.read_text())
    for output in outputs:
        Path(output).write_text("fine")
"""
FAULTS = {
    "error": ("raise ValueError('too dark')", "step 2 (second) failed: too dark"),
    "crash": ("os.kill(os.getpid(), 11)", "its worker ended with signal SIGSEGV"),
}


@pytest.fixture
def recipe(samples: Path, tmp_path: Path, input: Path) -> Path:
    shutil.copy2(samples / "part1.isxd", input)
    folder = tmp_path / "recipe"
    folder.mkdir()
    (folder / "steps.py").write_text(STEPS)
    (folder / "count.toml").write_text(RECIPE.replace("GROUP", "file"))
    return folder / "count.toml"


def fail(recipe: Path, fault: str = "error") -> None:
    recipe.with_name("fault").write_text(FAULTS[fault][0])


def rows(output: Path) -> dict[str, dict[str, str]]:
    return {row["path"]: row for row in csv.DictReader((output / "summary.csv").open(newline=""))}


def record(output: Path, name: str) -> dict:
    return json.loads((output / f".records/{name}.isxd.json").read_text())


def check_inspected(output: Path, name: str, reason: str) -> None:
    page, known = (output / name / f"{name}.html").read_text(), json.loads((output / name / f"{name}.json").read_text())
    assert f"The recipe failed: {reason}" in page
    assert 'href="../index.html"' in page
    assert known["failure"].startswith(reason)
    assert known["provenance"]["recipe"] == "inspect"
    assert (output / name / f"{name}-mean.tif").is_file()
    noted, row = record(output, name), rows(output)[f"{name}.isxd"]
    assert (noted["status"], noted["inspected"], noted["results"]) == ("failed", True, name)
    assert noted["reason"].startswith(reason)
    assert (row["status"], row["results"]) == ("failed", name)
    assert row["reason"].startswith(reason)
    assert f'href="./{name}/{name}.html"' in (output / "index.html").read_text()
    assert not (output / "done.marker").exists()


@pytest.mark.parametrize("fault", FAULTS)
def test_it_is_inspected_and_tried_again(recipe, input, output, tmp_path, fault):
    _, reason = FAULTS[fault]
    fail(recipe, fault)
    for _ in range(2):  # each run tries the recipe
        done = run(input, output, "--recipe", str(recipe))
        assert (done.code, done.end) == (1, "1 of 1 failed, 0 done; no sentinel")
        assert len(done.named("recording-failed")) == 1
        check_inspected(output, "part1", reason)
        log = (output / "logs/part1.isxd.log").read_text()
        assert "about to fail" in log
        assert log.index("about to fail") < log.index("done in")
        assert "step 1 (first): rather dark" in rows(output)["part1.isxd"]["warnings"]
    assert (output / ".staging/kept/part1").is_dir()

    recipe.with_name("fault").unlink()
    assert run(input, output, "--recipe", str(recipe)).code == 0
    assert run(input, tmp_path / "fresh", "--recipe", str(recipe)).code == 0
    resumed, expected = (without_times_of_steps(tree(folder)) for folder in (output, tmp_path / "fresh"))
    assert sorted(resumed) == sorted(expected)
    assert [name for name in resumed if resumed[name] != expected[name]] == []


def test_the_parts_of_a_session_are_inspected_together(samples, recipe, input, output):
    shutil.copy2(samples / "part2.isxd", input)
    recipe.write_text(RECIPE.replace("GROUP", "series"))
    fail(recipe)
    assert run(input, output, "--recipe", str(recipe)).end == "2 of 2 failed, 0 done; no sentinel"
    reason = FAULTS["error"][1]
    assert f"The recipe failed: {reason}" in (output / "part/part.html").read_text()
    assert json.loads((output / "part/part.json").read_text())["failure"].startswith(reason)
    for name in ("part1", "part2"):
        assert (output / f"part/{name}-mean.tif").is_file()
        row = rows(output)[f"{name}.isxd"]
        assert (row["status"], row["results"]) == ("failed", "part")
        assert row["reason"].startswith(reason)
    recipe.with_name("fault").unlink()
    assert run(input, output, "--recipe", str(recipe)).code == 0
    assert not (output / "part1").exists()
    assert not (output / "part/part1-mean.tif").exists()


@pytest.mark.parametrize("fault", ["error", "memory"])
def test_what_was_recorded_beside_is_not_called_failed_and_then_done(recipe, input, output, fault):
    """The log, the report and the last word agree, and each recording is called what it is."""
    recordings.gpio(input / "part1.gpio")
    fail(recipe)
    if fault == "memory":
        recipe.with_name("fault").write_text("raise MemoryError")
    done = run(input, output, "--recipe", str(recipe))
    found = {path: (row["kind"], row["status"]) for path, row in rows(output).items()}
    assert found == {"part1.gpio": ("gpio", "done"), "part1.isxd": ("movie", "failed")}
    assert [(event["path"], event["kind"]) for event in done.named("recording-failed")] == [("part1.isxd", "movie")]
    assert done.end.startswith("1 of 2 failed, 1 done; no sentinel"), done.end
    assert ("1 failed because memory ran out" in done.end) == (fault == "memory") == (done.code == 71)


def test_nothing_of_a_session_is_left_unsaid_if_it_cannot_be_inspected_either(recipe, input, output):
    recordings.gpio(input / "part1.gpio")
    (output / "part1").mkdir(parents=True)
    (output / "part1/part1-ttl.csv").write_text("theirs")
    fail(recipe)
    done = run(input, output, "--recipe", str(recipe))
    assert (done.code, done.end) == (1, "2 of 2 failed, 0 done; no sentinel")
    failed = {event["path"]: event["kind"] for event in done.named("recording-failed")}
    assert failed == {"part1.isxd": "movie", "part1.gpio": "gpio"} and len(done.named("recording-failed")) == 2
    assert {path: row["kind"] for path, row in rows(output).items()} == failed
    assert (output / "part1/part1-ttl.csv").read_text() == "theirs"


def test_what_a_recipe_made_earlier_stays(recipe, input, output):
    assert run(input, output, "--recipe", str(recipe)).code == 0
    before = {name: content for name, content in tree(output).items() if name.startswith("part1/")}
    recipe.write_text(recipe.read_text().replace(':second"', ':second"\nname = "again"'))
    (recipe.parent / "steps.py").write_text(STEPS + "\n")
    fail(recipe)
    done = run(input, output, "--recipe", str(recipe))
    assert (done.code, done.named("recording-inspected")) == (1, [])
    assert {name: content for name, content in tree(output).items() if name.startswith("part1/")} == before
    assert rows(output)["part1.isxd"]["results"] == ""


def test_what_inspect_made_earlier_says_then_that_the_recipe_failed(recipe, input, output):
    assert run(input, output).code == 0
    fail(recipe)
    assert run(input, output, "--recipe", str(recipe)).code == 1
    check_inspected(output, "part1", FAULTS["error"][1])
    assert run(input, output).end == "1 recording, all done"
    assert "The recipe failed" not in (output / "part1/part1.html").read_text()


@pytest.mark.parametrize("event", ["recording-failed", "recording-inspected"])
def test_a_run_that_is_killed_then(recipe, input, output, event):
    fail(recipe)
    running = start("--input-dir", input, "--output-dir", output, "--recipe", recipe)
    while f'"event": "{event}"' not in running.stderr.readline():
        assert running.poll() is None
    running.kill()
    running.communicate()
    assert run(input, output, "--recipe", str(recipe)).code == 1
    check_inspected(output, "part1", FAULTS["error"][1])
    recipe.with_name("fault").unlink()
    assert run(input, output, "--recipe", str(recipe)).code == 0
    assert "recipe failed" not in (output / "part1/part1.html").read_text()


def test_an_input_that_changed_is_not_inspected(recipe, input, output):
    recipe.with_name("fault").write_text(f"os.truncate({str(input / 'part1.isxd')!r}, 100)\nraise ValueError")
    done = run(input, output, "--recipe", str(recipe))
    assert "it changed during the run" in done.named("recording-failed")[0]["reason"]
    assert not (output / "part1").exists()


def test_gather_shows_it_too(recipe, input, output):
    fail(recipe)
    assert run(input, output, "--recipe", str(recipe), "--shard", "1/2").code in (0, 1)
    assert run(input, output, "--recipe", str(recipe), "--shard", "2/2").code in (0, 1)
    assert run(input, output, "--gather", env={"SHARD_COUNT": "2"}).code == 1
    check_inspected(output, "part1", FAULTS["error"][1])
