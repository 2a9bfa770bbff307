"""The tool for Inscopix's IDEAS: its description follows from the recipe, and what it calls has the same parameters."""

from __future__ import annotations

import inspect
import json
import sys
from pathlib import Path

import pytest

from pipeline.recipe.read import read
from samples import recordings
from scripts import ideas
from tests.launch import ROOT, run

sys.path.insert(0, str(ideas.FOLDER))

import isx_cells


def files(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*.json")}


def test_the_description_is_that_of_the_recipe(tmp_path):
    ideas.write(tmp_path, "isx:public")
    assert files(tmp_path) == files(ideas.FOLDER), "python scripts/ideas.py writes it"


def test_the_function_has_the_parameters_of_the_description():
    spec = json.loads((ideas.FOLDER / ".ideas/cells/tool_spec.json").read_text())
    described = {its["key"]: its["type"].get("default", inspect.Parameter.empty) for its in spec["params"]}
    assert described == {its.name: its.default for its in inspect.signature(isx_cells.cells).parameters.values()}


def test_the_results_are_those_that_the_recipe_makes():
    kinds = [result["key"] for result in ideas.results()]
    assert kinds == ["movie", "cell_set", "event_set", "nwb", "report"]
    patterns = {result["key"]: result["file_patterns"] for result in ideas.results()}
    assert {"**/*-cells.isxd", "**/*-traces.csv"} <= set(patterns["cell_set"])


@pytest.mark.parametrize("given, value", [("7", 7), (7, 7), (" 12 ", 12), ("auto", "auto")])
def test_values_are_put_into_the_recipe(tmp_path, given, value):
    text = ideas.RECIPE.read_text()
    path = tmp_path / "mine.toml"
    path.write_text(isx_cells.with_values(text, {"cell_diameter": given}))
    assert read(path).steps[2].values["cell_diameter"] == value
    assert isx_cells.with_values(text, {"cell_diameter": "auto", "max_translation": 20}) == text


def test_a_value_that_is_none_is_refused_by_the_recipe(tmp_path, input, output):
    recordings.movie(input / "m.isxd")
    path = tmp_path / "mine.toml"
    path.write_text(isx_cells.with_values(ideas.RECIPE.read_text(), {"cell_diameter": 'a"\nversion = 2'}))
    done = run(input, output, "--recipe", path)
    assert done.code == 64
    assert "cell_diameter" in done.end


def test_what_is_shown_lies_there(tmp_path):
    for name in ("m-cells.isxd", "m-cellmap.png", "m-events.isxd", "steps/m-cells.isxd"):
        (tmp_path / "m" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "m" / name).touch()
    output_files = isx_cells.described(tmp_path)["output_files"]
    assert [file["file"] for file in output_files] == ["m/m-cells.isxd", "m/m-events.isxd"]
    assert [preview["file"] for file in output_files for preview in file["previews"]] == ["m/m-cellmap.png"]


def test_the_module_needs_nothing_but_the_standard_library():
    text = (ROOT / "deploy/ideas/isx_cells.py").read_text()
    imported = {line.split()[1].partition(".")[0] for line in text.splitlines() if line.startswith(("import", "from"))}
    assert imported <= sys.stdlib_module_names
