"""What the page of a recipe shows: motion before and after, cells with the events found in them, pictures of steps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.ndimage import gaussian_filter, shift

from pipeline.inspect.context import Context
from pipeline.inspect.results import write_results
from pipeline.recipe import page
from pipeline.recipe.page import Made
from pipeline.recipe.store import Entry
from recording import formats
from samples import recordings

RNG = np.random.default_rng(0)


def entry(**changes) -> Entry:
    about = {"step": "motion_correct", "fingerprint": "f", "engine": "open", "function": "motion_correct"}
    about |= {"parameters": {}, "inputs": {}, "products": {}}
    return Entry(**{**about, **changes})


@pytest.fixture
def corrected(tmp_path: Path) -> Entry:
    """A movie that moves, the same without motion, and the table of what was done."""
    scene = 1000 + 300 * gaussian_filter(RNG.normal(0, 1, (48, 64)), 1.5) / 0.2
    moves = RNG.normal(0, 2, (40, 2))
    noise = RNG.normal(0, 10, (40, 48, 64))
    moving = [shift(scene, move, mode="nearest") for move in moves]
    recordings.movie_from(tmp_path / "m.isxd", np.clip(moving + noise, 0, 4000).astype(np.uint16))
    recordings.movie_from(tmp_path / "m-MC.isxd", np.clip(scene + noise, 0, 4000).astype(np.uint16))
    table = {"translationX": -moves[:, 1], "translationY": -moves[:, 0], "time": np.arange(40) / 20}
    pd.DataFrame(table).to_csv(tmp_path / "m-MC-translations.csv", index=False)
    products = {"m-MC.isxd": [1, 1], "m-MC-translations.csv": [1, 1]}
    return entry(inputs={"input_movie_files": ["m.isxd"]}, products=products)


def finder(folder: Path):
    return lambda name: folder / name if (folder / name).is_file() else None


def test_motion_before_and_after(corrected, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    part = page.motion(corrected, finder(tmp_path), "s", out, pytest.fail)
    values = {measure.name: measure.value for measure in part.measures}
    table = pd.read_csv(tmp_path / "m-MC-translations.csv")
    assert values["translation_max_px"] == pytest.approx(np.hypot(table.translationX, table.translationY).max())
    assert values["correlation_with_mean_before"] < 0.8 < 0.98 < values["correlation_with_mean_after"]
    assert values["crispness_before_per_px"] < 0.8 * values["crispness_after_per_px"]
    assert [figure.file for figure in part.figures] == ["s-motion.png"] and (out / "s-motion.png").stat().st_size > 5000
    documented = (Path(__file__).resolve().parents[2] / "docs/quality.md").read_text("utf-8")
    assert all(f"`{name}`" in documented for name in values)


@pytest.mark.parametrize("why", ["", "switched off", "a movie is gone"])
def test_the_film_of_motion(corrected, tmp_path, why):
    if why == "a movie is gone":
        (tmp_path / "m.isxd").unlink()
    threads = 0 if why == "switched off" else 1
    part = page.motion(corrected, finder(tmp_path), "s", tmp_path, pytest.fail, threads)
    assert (part.film is None) == bool(why) == (not (tmp_path / "s-motion.mp4").exists())
    assert why or (part.film.file, part.film.field) == ("s-motion.mp4", (48, 64))


def test_motion_where_a_movie_is_gone(corrected, tmp_path):
    """As with keep = "last"."""
    (tmp_path / "m.isxd").unlink()
    names = {measure.name for measure in page.motion(corrected, finder(tmp_path), "s", tmp_path, pytest.fail).measures}
    assert "crispness_after_per_px" in names and "crispness_before_per_px" not in names


@pytest.mark.parametrize("content", [None, "", "a,b\n1,2\n", "translationX,translationY\nx,y\n"])
def test_no_motion_without_a_table_of_it(corrected, tmp_path, content):
    table = tmp_path / "m-MC-translations.csv"
    table.unlink() if content is None else table.write_text(content)
    said: list[str] = []
    assert page.motion(corrected, finder(tmp_path), "s", tmp_path, said.append) is None
    wanted = [f"the page shows no motion for {table.name}, which holds no translations"]
    assert said == (wanted if table.exists() else [])
    assert not (tmp_path / "s-motion.png").exists()


def made(folder: Path, **paths: tuple[int, Path]) -> dict[str, Made]:
    products = {}
    for step, path in paths.values():
        kind = formats.check(path).kind
        products[path.name] = Made(step, kind, write_results(path, kind, path.stem, folder, Context(folder)))
    return products


def test_cells_show_the_events_that_a_recipe_found_in_them(tmp_path):
    cells, events = recordings.cell_set(tmp_path / "c.isxd"), recordings.event_set(tmp_path / "e.isxd")
    parts = page.shown_parts(made(tmp_path, cells=(0, cells), events=(1, events)))
    assert [part.kind for part in parts] == ["cell_set", "event_set"]
    table = pd.read_csv(tmp_path / "e-events.csv")
    for name, samples in zip(parts[0].cells.names, parts[0].cells.events):
        assert np.allclose(samples * 0.05, table["time_s"][table["cell"] == name], atol=1e-5)
    assert parts[0].cells.event_kind == "events of e.isxd"


def test_events_of_other_cells_are_not_taken_for_theirs(tmp_path):
    cells = recordings.cell_set(tmp_path / "c.isxd", n_cells=2)
    events = recordings.event_set(tmp_path / "e.isxd", n_cells=4)
    (part, _) = page.shown_parts(made(tmp_path, cells=(0, cells), events=(1, events)))
    assert part.cells.event_kind.startswith("transients")


def test_only_the_last_product_of_a_kind_is_shown_in_full(tmp_path):
    first, last = recordings.cell_set(tmp_path / "a.isxd"), recordings.cell_set(tmp_path / "b.isxd", seed=1)
    movie = recordings.movie(tmp_path / "m.isxd")
    products = made(tmp_path, first=(1, first), last=(2, last), movie=(0, movie))
    assert [part.name for part in page.shown_parts(products)] == ["b.isxd"]
    assert [part.name for part in page.shown_parts({"m.isxd": products["m.isxd"]})] == ["m.isxd"]


def test_steps_have_a_picture_before_and_after(tmp_path):
    movie = recordings.movie(tmp_path / "m-PP.isxd")
    products = made(tmp_path, movie=(0, movie))
    source = recordings.movie(tmp_path / "m.isxd", seed=3)
    pictures = page.pictures([source], "movie")
    done = entry(step="preprocess", inputs={"x": ["m.isxd"]}, products={"m-PP.isxd": [1, 1]}, seconds=2.0)
    (step,) = page.shown_steps([(1, "open engine, not IDPS", done)], products, pictures)
    assert step.before.startswith(b"\x89PNG") and step.after == products["m-PP.isxd"].summary.thumbnail
    assert (step.number, step.engine_title, step.seconds) == (1, "open engine, not IDPS", 2.0)
