"""A folder with a recording and what IDPS made of it: the recipe runs on the recording, not on its products again."""

from __future__ import annotations

from pathlib import Path

import pytest

from recording.formats import check
from samples import recordings
from study.relations import relate
from tests.launch import run

RECIPE = """
version = 1

[[step]]
python = "steps.py:name"
takes = "TAKES"
makes = ".txt"
"""
STEPS = """
from pathlib import Path

def name(inputs, outputs, context):
    Path(outputs[0]).write_text(Path(inputs[0]).name)
"""
LATER = recordings.START_MS + 3_600_000
IDPS = ("mouse-PP.isxd", "mouse-PP-BP.isxd", "mouse-PP-BP-MC.isxd", "mouse-PP-BP-MC-DFF.isxd")


def movies(folder: Path, *names: str, **options) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        recordings.movie(folder / name, n=3, **options)


TABLE = {
    "IDPS": (("mouse.isxd", *IDPS), IDPS),
    "numbered by IDPS": (("m.isxd", "m-PP_001-BP-MC.isxd", "m-PP-1.isxd"), ("m-PP_001-BP-MC.isxd", "m-PP-1.isxd")),
    "products alone": (IDPS[1:], ("mouse-PP-BP-MC.isxd", "mouse-PP-BP-MC-DFF.isxd")),
    "one product alone": (IDPS[:1], ()),
    "in another folder": (("mouse.isxd", "day2/mouse-PP.isxd"), ()),
    "two recordings": (("mouse.isxd", "mouse2.isxd", "mouse-left.isxd"), ()),
    "each of its own": (("a.isxd", "b.isxd", "a-PP.isxd", "b-MC.isxd"), ("a-PP.isxd", "b-MC.isxd")),
}


@pytest.mark.parametrize("case", TABLE)
def test_which_are_products(case, tmp_path):
    names, products = TABLE[case]
    movies(tmp_path, *names)
    infos = {name: check(tmp_path / name) for name in names}
    assert sorted(relate(infos).made_from) == sorted(products)


def test_a_recording_of_another_time_is_none_whatever_its_name(tmp_path):
    movies(tmp_path, "mouse.isxd")
    movies(tmp_path, "mouse-PP.isxd", start_ms=LATER)
    infos = {path.name: check(path) for path in tmp_path.iterdir()}
    assert relate(infos).made_from == {}


def run_on(output: Path) -> list[str]:
    """What the recipe ran on."""
    return sorted(path.read_text() for path in output.rglob("steps/*.txt"))


@pytest.fixture
def recipe(tmp_path: Path) -> tuple[str, str]:
    (tmp_path / "recipe.toml").write_text(RECIPE.replace("TAKES", "movie"))
    (tmp_path / "steps.py").write_text(STEPS)
    return "--recipe", str(tmp_path / "recipe.toml")


def test_a_recipe_for_cell_sets_runs_on_those_beside_their_movie(input, output, recipe, tmp_path):
    recordings.movie(input / "mouse.isxd", n=200)
    recordings.cell_set(input / "mouse-PP-CNMFE.isxd")
    (tmp_path / "recipe.toml").write_text(RECIPE.replace("TAKES", "cell_set"))
    assert run(input, output, *recipe).code == 0
    assert run_on(output) == ["mouse-PP-CNMFE.isxd"]


def test_products_beside_their_recording_are_inspected(input, output, recipe):
    movies(input, "mouse.isxd", *IDPS[:2])
    done = run(input, output, *recipe)
    assert done.code == 0, done.stderr
    assert run_on(output) == ["mouse.isxd"]
    (event,) = done.named("products")
    assert event["message"].startswith("only inspected, because the recipe runs on what they were made from: mouse-PP")
    assert "mouse-PP.isxd (from mouse.isxd, by its name, start and length)" in event["message"]
    assert run(input, output, *recipe).end == "3 recordings, all done, 3 of them earlier"

    (input / "mouse.isxd").unlink()  # now the first product is the first there is
    assert run(input, output, *recipe).code == 0
    assert run_on(output) == ["mouse-PP.isxd"]
    movies(input, "mouse.isxd")
    assert run(input, output, *recipe).code == 0
    assert run_on(output) == ["mouse.isxd"]


def test_shards_agree_on_what_is_a_product(input, output, recipe):
    movies(input, "mouse.isxd", *IDPS[:2], "other.isxd")
    for number in (1, 2, 3):
        assert run(input, output, *recipe, "--shard", f"{number}/3").code == 0
    assert run_on(output) == ["mouse.isxd", "other.isxd"]
