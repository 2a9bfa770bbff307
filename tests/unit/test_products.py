"""A folder with a recording and what IDPS made of it: the recipe runs on the recording, not on its products again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from recording.formats import check
from runner.products import made_from_others
from tests import recordings
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
    assert sorted(made_from_others(infos, lambda kind: kind == "movie")) == sorted(products)


def test_a_recording_of_another_time_is_none_whatever_its_name(tmp_path):
    movies(tmp_path, "mouse.isxd")
    movies(tmp_path, "mouse-PP.isxd", start_ms=LATER)
    infos = {path.name: check(path) for path in tmp_path.iterdir()}
    assert made_from_others(infos, lambda kind: True) == {}


def test_the_recipe_takes_what_of_all_it_can_take(tmp_path):
    """Cell sets are products of a movie, but a recipe for cell sets cannot run on the movie."""
    recordings.movie(tmp_path / "mouse.isxd", n=200)
    recordings.cell_set(tmp_path / "mouse-PP-CNMFE.isxd")
    infos = {path.name: check(path) for path in tmp_path.iterdir()}
    assert made_from_others(infos, lambda kind: kind == "cell_set") == {}
    assert [*made_from_others(infos, lambda kind: kind in ("movie", "cell_set"))] == ["mouse-PP-CNMFE.isxd"]


def status(output: Path, names: tuple[str, ...]) -> dict[str, str]:
    """Which recipe made the results of each."""
    found = {}
    for name in names:
        record = json.loads((output / f".records/{name}.json").read_text())
        found[name] = f"{record['status']} {record['recipe']}"
    return found


@pytest.mark.parametrize("shards", [1, 3])
def test_products_beside_their_recording_are_inspected(input, output, tmp_path, shards):
    names = ("mouse.isxd", *IDPS[:2])
    movies(input, *names)
    (tmp_path / "recipe.toml").write_text(RECIPE.replace("TAKES", "movie"))
    (tmp_path / "steps.py").write_text(STEPS)
    recipe = ("--recipe", str(tmp_path / "recipe.toml"))
    expected = {"mouse.isxd": "done recipe.toml", **dict.fromkeys(IDPS[:2], "done inspect")}
    if shards > 1:
        for number in range(shards):
            assert run(input, output, *recipe, "--shard", f"{number + 1}/{shards}").code == 0
        assert status(output, names) == expected
        return

    done = run(input, output, *recipe)
    assert done.code == 0, done.stderr
    assert status(output, names) == expected
    (event,) = done.named("products")
    assert event["message"].startswith("inspected only, as the recipe runs on what they were made from: mouse-PP")
    assert "mouse-PP.isxd (from mouse.isxd, by its name, start and length)" in event["message"]
    assert run(input, output, *recipe).end == "3 recordings, all done, 3 of them earlier"

    (input / "mouse.isxd").unlink()  # now the first product is the first there is
    done = run(input, output, *recipe)
    assert status(output, IDPS[:2]) == {IDPS[0]: "done recipe.toml", IDPS[1]: "done inspect"}
    assert done.end == "2 recordings, all done, 1 of them earlier"
    movies(input, "mouse.isxd")
    assert run(input, output, *recipe).code == 0
    assert status(output, names) == expected
