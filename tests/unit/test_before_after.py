"""The film before and after motion correction."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter, shift

from open_engine.context import StepContext
from open_engine.files.movies import Spacing
from open_engine.steps.accept_cells import accept_cells
from open_engine.steps.detect_transients import detect_transients
from open_engine.steps.motion_correct import motion_correct
from open_engine.steps.preprocess import preprocess
from open_engine.steps.run_cnmfe import run_cnmfe
from pipeline.inspect import before_after
from samples import recordings, simulate
from tests import films

SHAPE, N = (40, 56), 60


def moving(n: int = N, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A scene that jumps about, and the same at rest."""
    rng = np.random.default_rng(seed)
    scene = gaussian_filter(rng.normal(0, 1, SHAPE), 2)
    scene = 1000 + 150 * scene / scene.std()
    moved = [shift(scene, move, order=1, mode="nearest") for move in rng.normal(0, 3, (n, 2))]
    return np.stack(moved).astype(np.uint16), np.repeat(scene[np.newaxis], n, 0).astype(np.uint16)


def cut(path: Path, data: np.ndarray, row: int, column: int) -> Path:
    """A movie of part of a field, which says where it lies, as motion correction writes it."""
    spacing = Spacing(*data.shape[1:]).cropped(column, row, data.shape[2] - column, data.shape[1] - row)
    recordings.movie_from(path, np.ascontiguousarray(data[:, row:, column:]))
    content, footer = recordings.split_footer(path.read_bytes())
    path.write_bytes(content + recordings.footer_bytes({**json.loads(footer), "spacingInfo": spacing.as_json()}))
    return path


def written(tmp_path: Path, pairs: int = 1, **about) -> tuple[before_after.Film | None, Path]:
    before, after = [], []
    for i in range(pairs):
        moved, still = moving(seed=i)
        before.append(recordings.movie_from(tmp_path / f"{i}.isxd", moved, **about))
        after.append(recordings.movie_from(tmp_path / f"{i}-MC.isxd", still, **about))
    out = tmp_path / "s-motion.mp4"
    return before_after.write(before, after, out, 1), out


def test_what_moved_is_at_the_left_and_still_at_the_right(tmp_path):
    film, out = written(tmp_path)
    shown = films.pictures(out).astype(float)
    assert shown.shape == (N, SHAPE[0], 2 * SHAPE[1] + before_after.GAP)
    assert (film.field, film.side, film.gap) == (SHAPE, SHAPE[::-1], before_after.GAP)
    left, right = shown[:, :, : SHAPE[1]], shown[:, :, -SHAPE[1] :]
    assert np.diff(left, axis=0).std() > 10 > 3 * np.diff(right, axis=0).std()
    moved, still = moving()
    for i in (0, 7, 19):
        assert np.corrcoef(left[i].ravel(), moved[i].ravel())[0, 1] > 0.95
        assert np.corrcoef(right[i].ravel(), still[0].ravel())[0, 1] > 0.95
    assert film.caption.endswith("after motion correction, at its own speed.")  # of 20 Hz


def test_both_halves_show_the_field_that_is_left(tmp_path):
    """Motion correction cuts off what moved out of the field."""
    _, still = moving()
    before, after = recordings.movie_from(tmp_path / "a.isxd", still), cut(tmp_path / "b.isxd", still, 6, 9)
    out = tmp_path / "s.mp4"
    film = before_after.write([before], [after], out, 1)
    rows, columns = film.field
    assert (rows, columns) == (SHAPE[0] - 6, SHAPE[1] - 9)
    shown = films.pictures(out).astype(float)
    assert np.corrcoef(shown[0, :, :columns].ravel(), still[0, 6:, 9:].ravel())[0, 1] > 0.95
    assert np.abs(shown[0, :, :columns] - shown[0, :, -columns:]).mean() < 10


def test_parts_follow_one_another(tmp_path):
    _, out = written(tmp_path, pairs=2)
    shown = films.pictures(out).astype(float)
    assert len(shown) == 2 * N // 3
    last = moving(seed=1)[1][0]
    assert np.corrcoef(shown[-1, :, -SHAPE[1] :].ravel(), last.ravel())[0, 1] > 0.95


def test_missing_samples_are_left_out(tmp_path):
    _, out = written(tmp_path, dropped=[3, 4, 5])
    assert films.pictures(out).mean(axis=(1, 2)).min() > 50


def test_a_long_movie_gets_a_short_film(tmp_path, monkeypatch):
    monkeypatch.setattr(before_after, "MOST_FRAMES", 8)
    film, out = written(tmp_path)
    assert len(films.pictures(out)) == 8
    assert "8 times as fast" in film.caption


def test_a_large_field_is_reduced(tmp_path, monkeypatch):
    monkeypatch.setattr(before_after, "SIDE", 28)
    film, out = written(tmp_path)
    assert film.side == (28, 20) and film.field == SHAPE
    shown = films.pictures(out)
    assert shown.shape[1:] == (20, 60) and len(shown) == N


def test_a_film_that_would_be_too_large_is_coarser(tmp_path, monkeypatch):
    _, out = written(tmp_path)
    fine = out.stat().st_size
    monkeypatch.setattr(before_after, "MOST_BYTES", fine - 1)
    assert written(tmp_path)[0] and out.stat().st_size < fine
    out.unlink()
    monkeypatch.setattr(before_after, "MOST_BYTES", 10)
    assert written(tmp_path)[0] is None and not out.exists()


def test_no_film_of_movies_that_do_not_match(tmp_path):
    moved, still = moving()
    before = recordings.movie_from(tmp_path / "a.isxd", moved)
    shorter = recordings.movie_from(tmp_path / "b.isxd", still[:-1])
    larger = recordings.movie_from(tmp_path / "c.isxd", np.pad(still, ((0, 0), (0, 2), (0, 0))))
    out = tmp_path / "s.mp4"
    for others in ([shorter], [larger], [before, before], []):
        assert before_after.write([before], others, out, 1) is None
    assert not out.exists()


def test_it_costs_at_most_a_tenth_of_the_recipe(tmp_path):
    """Of the processor time of the steps of `cells` alone; of a longer movie, the film costs no more."""
    recorded = simulate.write(tmp_path, "m", simulate.recording(seconds=120))
    before, after, cells, events, accepted = ([tmp_path / f"{name}.isxd"] for name in ("pp", "mc", "c", "ed", "ar"))
    context = StepContext(tmp_path, 1)
    began = time.process_time()
    preprocess(recorded, before, spatial_downsample_factor=1, context=context)
    motion_correct(before, after, context=context)
    run_cnmfe(after, cells, cell_diameter=12, context=context)
    detect_transients(cells, events, context=context)
    shutil.copyfile(cells[0], accepted[0])
    accept_cells(accepted, events, context=context)
    of_steps = time.process_time() - began
    began = time.process_time()
    assert before_after.write(before, after, tmp_path / "film.mp4", 1)
    assert time.process_time() - began < 0.1 * of_steps
