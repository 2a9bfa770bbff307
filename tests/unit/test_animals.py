"""The stage of animals, the whole way: cell sets in, who is who, a page and the run's last word out."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tests.followed import run, table, write_study
from tests.launch import bootstrap


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    root = tmp_path_factory.mktemp("animals")
    days = write_study(root / "data")
    return root, days, run(root)


def test_an_animal_is_followed(done):
    root, days, ran = done
    assert ran.code == 0, ran.stderr
    assert ran.end.endswith("4 recordings, all done; cells of 1 animal followed")
    rows = table(root / "out/animals/m1/m1-cells.csv")
    assert list(rows[0]) == ["animal_cell", "session", "cell", "probability"]
    names = [f"m1/day{number}/s{number}" for number in range(4)]
    assert {row["session"] for row in rows} == set(names)
    assert len(rows) == sum(len(day.truth) for day in days)
    truth = {(name, cell): int(who) for name, day in zip(names, days) for cell, who in zip(day.names, day.truth)}
    groups: dict[str, list[int]] = {}
    for row in rows:
        groups.setdefault(row["animal_cell"], []).append(truth[row["session"], row["cell"]])
    linked = [(a, b) for group in groups.values() for i, a in enumerate(group) for b in group[i + 1 :]]
    cells = [who for day in days for who in day.truth]
    pairs = sum(n * (n - 1) // 2 for n in np.unique(cells, return_counts=True)[1])
    right = sum(a == b for a, b in linked)
    assert right / pairs > 0.96 and right / len(linked) > 0.97


def test_its_tables_and_page_are_there(done):
    root, days, _ = done
    out = root / "out/animals/m1"
    assert [row["session"] for row in table(out / "m1-transforms.csv")] == [f"m1/day{n}/s{n}" for n in range(4)]
    assert sum(int(row["reference"]) for row in table(out / "m1-transforms.csv")) == 1
    presence = table(out / "m1-presence.csv")
    assert list(presence[0]) == ["animal_cell", "n_sessions", *(f"m1/day{n}/s{n}" for n in range(4))]
    assert [sum(int(row[f"m1/day{n}/s{n}"]) for row in presence) for n in range(4)] == [len(day.truth) for day in days]
    page = (out / "m1.html").read_text()
    assert "The days match to within" in page and 'href="../../index.html">All recordings</a>' in page
    assert page.count('alt="Cells of m1/day') == 4
    before = [page.index(f'id="{name}"') for name in ("doubtful", "days", "overlays", "cells")]
    assert before == sorted(before)
    assert 'href="./animals/m1/m1.html"' in (root / "out/index.html").read_text()
    assert json.loads((out / "m1.json").read_text())["misfit_diameters"] < 0.15


def test_a_rerun_is_free_and_a_change_of_one_session_redoes_it(done):
    root, _, _ = done
    before = (root / "out/animals/m1/m1-cells.csv").stat().st_mtime_ns
    again = run(root)
    assert again.code == 0 and not again.named("animal-done") and not again.named("following")
    assert (root / "out/animals/m1/m1-cells.csv").stat().st_mtime_ns == before
    broken = root / "data/m1/day3/s3.isxd"
    broken.write_bytes(broken.read_bytes()[:5000])
    ran = run(root)
    assert ran.code == 1 and len(ran.named("animal-done")) == 1  # one damaged session costs that session alone
    rows = table(root / "out/animals/m1/m1-cells.csv")
    assert {row["session"] for row in rows} == {f"m1/day{n}/s{n}" for n in range(3)}


def test_no_animal_is_named(tmp_path):
    write_study(tmp_path / "data", n=2)
    (tmp_path / "data/m1/nwb.toml").unlink()
    ran = run(tmp_path)
    assert ran.code == 0 and not (tmp_path / "out/animals").exists()
    (said,) = ran.named("no-animal")
    assert said["message"].startswith("2 sessions with cells state no animal: to follow cells across")


def test_a_folder_called_animals_keeps_its_results_apart(tmp_path):
    write_study(tmp_path / "data", animal="animals", n=2)
    ran = run(tmp_path)
    assert ran.code == 0, ran.stderr
    assert (tmp_path / "out/animals_/day0/s0/s0-cells.csv").is_file()
    assert (tmp_path / "out/animals/animals/animals-cells.csv").is_file()


def test_a_recipe_can_say_no(tmp_path):
    write_study(tmp_path / "data", n=2)
    recipe = tmp_path / "mine.toml"
    recipe.write_text('version = 1\nfollow = false\n[[step]]\nuse = "binarize_cell_set"\nthreshold = 0.5\n')
    ran = run(tmp_path, RECIPE=str(recipe))
    assert ran.code == 0, ran.stderr
    assert not (tmp_path / "out/animals").exists() and "followed" not in ran.end


def test_cells_that_a_recipe_made_are_followed_and_shards_leave_it_to_the_gather_step(tmp_path):
    write_study(tmp_path / "data", n=3)
    recipe = tmp_path / "mine.toml"
    recipe.write_text('version = 1\n[[step]]\nuse = "binarize_cell_set"\nthreshold = 0.5\n')
    for index in (1, 2):
        assert run(tmp_path, RECIPE=str(recipe), SHARD=f"{index}/2").code == 0
    assert not (tmp_path / "out/animals").exists()
    env = {"INPUT_DIR": str(tmp_path / "data"), "OUTPUT_DIR": str(tmp_path / "out"), "SHARD_COUNT": "2"}
    gathered = bootstrap("--gather", env=env)
    assert gathered.code == 0, gathered.stderr
    assert gathered.end.endswith("; cells of 1 animal followed")
    assert {row["session"] for row in table(tmp_path / "out/animals/m1/m1-cells.csv")} == {
        f"m1/day{n}/s{n}" for n in range(3)
    }
    assert json.loads((tmp_path / "out/done.marker").read_text())["animals"] == 1


def test_how_followed_cells_respond_in_each_session(tmp_path):
    days = write_study(tmp_path / "data", n=2)
    for number in range(2):
        (tmp_path / f"data/m1/day{number}/trials.csv").write_text("time_s\n0.3\n0.5\n0.6\n")
    (tmp_path / "peri.toml").write_text(
        'version = 1\nengine = "open"\n[[step]]\nuse = "binarize_cell_set"\nthreshold = 0.1\n'
        '[[step]]\nuse = "peri_event"\nevents = "trials.csv"\nwindow_s = [-0.1, 0.1]\n'
    )
    ran = run(tmp_path, RECIPE=str(tmp_path / "peri.toml"))
    assert ran.code == 0, ran.stderr
    rows = table(tmp_path / "out/animals/m1/m1-responses.csv")
    assert list(rows[0]) == ["animal_cell", "session", "cell", "events", "class"]
    assert len(rows) == sum(len(day.names) for day in days)
    assert {row["events"] for row in rows} == {"trials"}
    tested = {
        (f"m1/day{n}/s{n}", row["cell"]): row["class"]
        for n in range(2)
        for row in table(tmp_path / f"out/m1/day{n}/s{n}/s{n}-peri-trials.csv")
    }
    assert {(row["session"], row["cell"]): row["class"] for row in rows} == tested
    assert "trials none</span>" in (tmp_path / "out/animals/m1/m1.html").read_text()
