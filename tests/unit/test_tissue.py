"""What lies behind the outlines on the map: images of the movie in which the cells were found."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter, uniform_filter

from pipeline.inspect import tissue
from pipeline.inspect.context import Context
from pipeline.inspect.results import write_results
from pipeline.pages import page as layout
from pipeline.recipe import page
from pipeline.recipe.page import Made
from recording import formats
from samples import recordings

SHAPE = 48, 64
MISSED = 30, 20  # row and column of a cell that no outline shows


def frames(n: int = 120) -> np.ndarray:
    """A bright vessel that never changes, and a dim cell that does."""
    rng = np.random.default_rng(1)
    scene, cell = np.full(SHAPE, 400.0), np.zeros(SHAPE)
    scene[:, 45:50] = 1500
    cell[MISSED] = 1
    cell = gaussian_filter(cell, 2)
    course = (rng.random(n) < 0.2) * 200
    movie = scene + course[:, None, None] * (cell / cell.max()) + rng.normal(0, 30, (n, *SHAPE))
    return np.clip(movie, 0, 4000).astype(np.uint16)


def naive_correlation(movie: np.ndarray, window: int) -> np.ndarray:
    """By the definition, a pixel at a time."""
    sharp = np.stack([frame - uniform_filter(frame, window) for frame in movie.astype(np.float32)]).astype(np.float64)
    correlation = np.zeros(SHAPE)
    for row, column in np.ndindex(*SHAPE):
        beside = [(row + 1, column), (row - 1, column), (row, column + 1), (row, column - 1)]
        inside = [place for place in beside if 0 <= place[0] < SHAPE[0] and 0 <= place[1] < SHAPE[1]]
        correlation[row, column] = np.mean(
            [np.corrcoef(sharp[:, row, column], sharp[(slice(None), *place)])[0, 1] for place in inside]
        )
    return correlation


@pytest.mark.parametrize("cuts", [[], [50]], ids=["a movie", "a series"])
def test_local_correlation_is_what_its_definition_says(tmp_path, cuts):
    movie = frames()
    files = [recordings.movie_from(tmp_path / f"{i}.isxd", part) for i, part in enumerate(np.split(movie, cuts))]
    correlation, n = tissue.local_correlation(files, SHAPE, 15)
    assert n == len(movie)
    assert np.allclose(correlation, naive_correlation(movie, 15), atol=1e-4)
    assert np.unravel_index(correlation.argmax(), SHAPE) == pytest.approx(MISSED, abs=2)


def test_only_some_frames_of_a_long_movie_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(tissue, "SAMPLED", 40)
    movie = recordings.movie_from(tmp_path / "m.isxd", frames())
    correlation, n = tissue.local_correlation([movie], SHAPE, 15)
    assert n == 40
    assert np.unravel_index(correlation.argmax(), SHAPE) == pytest.approx(MISSED, abs=2)


def test_what_never_changes_correlates_with_nothing(tmp_path):
    movie = recordings.movie_from(tmp_path / "m.isxd", np.full((5, *SHAPE), 7, np.uint16))
    correlation, _ = tissue.local_correlation([movie], SHAPE, 15)
    assert not correlation.any()


def made(path: Path, step: int) -> Made:
    kind = formats.check(path).kind
    return Made(step, kind, write_results(path, kind, path.stem, path.parent, Context(path.parent / "scratch")))


def grey(picture: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(picture)) as image:
        assert image.format == "JPEG"
        return np.asarray(image).astype(float)


def behind(movie: Path, products: dict[str, Made]) -> list[tissue.Inspected]:
    return [tissue.Inspected(movie, products[movie.name].summary.beside)]


def test_cells_get_the_images_of_their_movie(tmp_path):
    movie = recordings.movie_from(tmp_path / "m.isxd", frames())
    products = {"m.isxd": made(movie, 0), "c.isxd": made(recordings.cell_set(tmp_path / "c.isxd"), 1)}
    (part,) = page.with_tissue(page.shown_parts(products), {"c.isxd"}, behind(movie, products))
    (other,) = page.with_tissue(page.shown_parts(products), {"of another plane"}, behind(movie, products))
    assert not other.cells.tissue
    labels = [background.label for background in part.cells.tissue]
    assert labels == ["local correlation", "mean", "maximum"]
    assert "of all frames of m.isxd" in part.cells.tissue[1].meaning
    correlation, mean, greatest = (grey(background.picture) for background in part.cells.tissue)
    assert correlation.shape == mean.shape == greatest.shape == SHAPE
    assert mean[:, 46].mean() > 200 and correlation[MISSED] > 200
    assert np.corrcoef(mean.ravel(), frames().mean(axis=0).ravel())[0, 1] > 0.97
    assert np.corrcoef(greatest.ravel(), frames().max(axis=0).ravel())[0, 1] > 0.97


def test_the_recording_itself_when_no_step_made_a_movie(tmp_path, monkeypatch):
    """Nobody inspected it: some of its frames tell."""
    monkeypatch.setattr(tissue, "SAMPLED", 40)
    movie = recordings.movie_from(tmp_path / "m.isxd", frames())
    local, mean, greatest = tissue.backgrounds([tissue.Inspected(movie, None)], SHAPE, 8)
    assert [local.label, mean.label, greatest.label] == ["local correlation", "mean", "maximum"]
    assert mean.meaning == greatest.meaning == "of at most 40 frames of m.isxd"
    assert np.corrcoef(grey(mean.picture).ravel(), frames().mean(axis=0).ravel())[0, 1] > 0.97
    assert np.corrcoef(grey(greatest.picture).ravel(), frames()[::3].max(axis=0).ravel())[0, 1] > 0.9
    assert grey(local.picture)[MISSED] > 200


@pytest.mark.parametrize("inspected", [True, False])
def test_no_images_but_those_of_the_same_field(tmp_path, inspected):
    """A step between may have cut the field."""
    movie = recordings.movie_from(tmp_path / "m.isxd", frames()[:, :, :-2])
    products = {"m.isxd": made(movie, 0), "c.isxd": made(recordings.cell_set(tmp_path / "c.isxd"), 1)}
    movies = behind(movie, products) if inspected else [tissue.Inspected(movie, None)]
    (part,) = page.with_tissue(page.shown_parts(products), {"c.isxd"}, movies)
    assert not part.cells.tissue


def test_pictures_leave_room_for_what_lies_behind(tmp_path, monkeypatch):
    """So that a page keeps its limit."""
    movie = recordings.movie_from(tmp_path / "m.isxd", frames())
    products = {"m.isxd": made(movie, 0), "c.isxd": made(recordings.cell_set(tmp_path / "c.isxd"), 1)}
    plain = page.shown_parts(products)
    parts = page.with_tissue(plain, {"c.isxd"}, behind(movie, products))
    figure = (tmp_path / plain[0].figures[0].file).stat().st_size * 4 // 3
    monkeypatch.setattr(layout, "PICTURES_BYTES", figure + 100)
    texts = [layout.html(layout.Page("c", "c", those, {}, {}), tmp_path, "") for those in (plain, parts)]
    assert [f'src="./{plain[0].figures[0].file}"' in text for text in texts] == [False, True]
