"""Recipes in the image: the shipped ones with the stand-in for IDPS's algorithms, a lab's own with the public isx.

The stand-in proves that the image finds and runs recipes, not the algorithms: tests/installer/algorithms says so too.
"""

from __future__ import annotations

import csv
import json
import sys

import pytest

from harness import IMAGE, INSTALLERS, PROJECT, PUBLIC, container, events, last_event, mounts, run

EXAMPLES = PROJECT / "docs/examples"


@pytest.fixture(scope="session")
def with_algorithms(installers) -> str:
    """The image with IDPS, from a stand-in that has algorithms."""
    name = f"{IMAGE}-algorithms"
    options = {"INSTALLER": INSTALLERS / "algorithms.sh", "ACCEPT_EULA": "Y", "IMAGE": name}
    run(sys.executable, PROJECT / "scripts/build.py", **options)
    return f"{name}:idps-1.9.6"


@pytest.mark.parametrize(("recipe", "last"), [("standard", "PP-BP-MC-DFF-PCA-ICA-AR"), ("cnmfe", "PP-BP-MC-CNMFE-AR")])
def test_shipped_recipes(with_algorithms, movie, output, recipe, last):
    done = container("--recipe", recipe, image=with_algorithms, options=mounts(movie, output))
    assert done.returncode == 0, done.stderr
    assert (output / f"movie/steps/movie-{last}.isxd").is_file()
    assert {"movie-cells.isxd", "movie-cells.csv", "movie-traces.csv", "movie-footprints.tif", "movie-events.csv"} <= {
        path.name for path in (output / "movie").iterdir()
    }
    assert (output / "done.marker").is_file()


@pytest.mark.parametrize(
    ("recipe", "last"), [("standard", "PP-BP-MC-DFF-PCA-ICA"), ("cnmfe", "PP-BP-MC-CNMFE"), ("cells", "PP-MC-CNMFE")]
)
def test_shipped_recipes_compute_without_a_licence(public, simulated, output, recipe, last):
    done = container("--recipe", recipe, image=PUBLIC, options=mounts(simulated, output))
    assert done.returncode == 0, done.stderr
    cells = json.loads((output / "simulated/simulated.json").read_text())["recordings"]["simulated-cells.isxd"]
    assert (output / f"simulated/steps/simulated-{last}-AR.isxd").is_file()
    assert cells["n_accepted"] >= 10
    assert cells["provenance"]["step"]["engine"] == "open"
    (row,) = csv.DictReader((output / "summary.csv").open(newline=""))
    assert row["summary"].endswith("; open engine, not IDPS")
    assert "open engine, not IDPS" in (output / "index.html").read_text()


def test_the_engine_is_chosen_at_run_time(with_algorithms, simulated, output):
    options = [*mounts(simulated, output), "-e", "ENGINE=open"]
    done = container("--recipe", "cnmfe", image=with_algorithms, options=options)
    assert done.returncode == 0, done.stderr
    steps = json.loads((output / "simulated/simulated.json").read_text())["steps"]
    assert {step["engine"] for step in steps} == {"open"}


def test_a_step_that_only_idps_has_is_refused_by_the_public_image_before_any_data(public, movie, output, tmp_path):
    recipe = tmp_path / "mine.toml"
    recipe.write_text('version = 1\n[[step]]\nuse = "de_interleave_dualcolor"\n')
    recipe.chmod(0o644)
    options = [*mounts(movie, output), "-v", f"{recipe}:/mine.toml:ro"]
    done = container("--recipe", "/mine.toml", image=PUBLIC, options=options)
    assert done.returncode == 64
    message = last_event(done)["message"]
    assert "needs the licensed algorithms of IDPS, which are not in this image" in message
    assert "make image INSTALLER=path/to/installer.sh ACCEPT_EULA=Y" in message
    assert not (output / "movie").exists()


def test_the_example_of_the_docs(public, movie, output):
    options = [*mounts(movie, output), "-v", f"{EXAMPLES}:/recipes:ro", "--read-only", "--tmpfs", "/tmp"]
    done = container("--recipe", "/recipes/local_correlation.toml", image=PUBLIC, options=options)
    assert done.returncode == 0, done.stderr
    assert (output / "movie/movie-image.tif").is_file()


def test_check_recipe_names_every_mistake_with_its_line(public, tmp_path):
    recipe = tmp_path / "mine.toml"
    recipe.write_text('version = 1\n[[step]]\nuse = "spatial_filter"\nlow_cutof = 0.1\nhigh_cutoff = -1\n')
    recipe.chmod(0o644)
    options = ["-v", f"{recipe}:/mine.toml:ro"]
    done = container("--check-recipe", "/mine.toml", image=PUBLIC, options=options)
    assert done.returncode == 64
    problems = [event["message"] for event in events(done) if event["event"] == "recipe-problem"]
    assert problems[0] == "/mine.toml:4: spatial_filter has no parameter 'low_cutof'; did you mean 'low_cutoff'?"
    assert problems[1].startswith("/mine.toml:5: high_cutoff must be a number above 0")
    assert last_event(done)["message"] == "the recipe cannot be used: 2 problems, listed above"
