"""The parts of `following`, each held to its definition."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial import cKDTree

from following.alignment import Landmarks, Picture, _Search, _vertex, _windows, image_anchors, likeness
from following.matching import one_to_one
from following.sessions import Session
from following.transforms import Frame, Transform, best_fit, fit, rigid

FRAME = Frame(200, 150)


def everyone(odds: np.ndarray) -> np.ndarray:
    """The probability of each pair by going through all one-to-one assignments."""
    n_cells, n_groups = odds.shape
    total, likelihood = 0.0, np.zeros(odds.shape)
    for chosen in itertools.product(range(-1, n_groups), repeat=n_cells):
        used = [j for j in chosen if j >= 0]
        if len(set(used)) == len(used):
            likely = np.prod([odds[i, j] for i, j in enumerate(chosen) if j >= 0])
            total += likely
            for i, j in enumerate(chosen):
                if j >= 0:
                    likelihood[i, j] += likely
    return likelihood / total


@pytest.mark.parametrize("seed", range(5))
def test_one_to_one_is_nearly_that_of_all_assignments(seed):
    odds = np.exp(np.random.default_rng(seed).normal(0, 3, (4, 3)))
    cell, group = (index.ravel() for index in np.indices(odds.shape))
    probability = one_to_one(cell, group, odds.ravel(), 4, 3).reshape(odds.shape)
    assert probability == pytest.approx(everyone(odds), abs=0.06)
    assert (probability.sum(axis=0) <= 1.001).all() and (probability.sum(axis=1) <= 1.001).all()


def test_one_to_one_without_competition():
    probability = one_to_one(np.array([0, 1]), np.array([0, 1]), np.array([3.0, 0.25]), 2, 2)
    assert probability == pytest.approx([0.75, 0.2])


def points(n: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform((0, 0), (200, 150), (n, 2))


@pytest.mark.parametrize("model, n", [("shift", 2), ("rigid", 5), ("affine", 12)])
def test_models_are_found_exactly(model, n):
    truth = rigid(FRAME, 0 if model == "shift" else 7, np.array([3.0, -4.0]))
    if model == "affine":
        truth = Transform(FRAME, truth.matrix @ np.array([[1.02, 0.01], [0, 0.97]]), truth.shift)
    here = points(n, 1)
    transform = fit(FRAME, here, truth(here), np.ones(n), model).transform
    assert transform(points(9, 2)) == pytest.approx(truth(points(9, 2)), abs=1e-4)


def bent(at: np.ndarray) -> np.ndarray:
    return at + 4 * np.column_stack([np.sin(at[:, 1] / 40), np.cos(at[:, 0] / 50)])


def test_a_warp_is_taken_where_it_pays_only():
    here, noise = points(60, 3), np.random.default_rng(4).normal(0, 0.3, (60, 2))
    warped = best_fit(FRAME, here, bent(here) + noise, np.ones(60)).transform
    assert warped.model == "warp"
    inside = points(40, 5) * 0.8 + [20, 15]
    assert np.hypot(*(warped(inside) - bent(inside)).T).mean() < 0.4
    turned = rigid(FRAME, 3, np.array([2.0, 1]))
    assert best_fit(FRAME, here, turned(here) + noise, np.ones(60)).transform.model == "rigid"


def test_the_error_of_prediction_is_that_of_fits_without_the_pair():
    here = points(15, 6)
    there = bent(here)
    whole = fit(FRAME, here, there, np.ones(15), "affine")
    for i in (0, 7, 14):
        rest = np.arange(15) != i
        without = fit(FRAME, here[rest], there[rest], np.ones(14), "affine").transform
        assert whole.predicted[i] == pytest.approx(np.hypot(*(without(here[[i]]) - there[[i]])[0]), rel=1e-3)


def test_the_inverse_of_a_warp():
    here = points(60, 3)
    warp = best_fit(FRAME, here, bent(here), np.ones(60)).transform
    assert warp.inverse(warp(here)) == pytest.approx(here, abs=0.05)


def test_centres_and_diameter_of_discs():
    images = np.zeros((2, 60, 80), np.float32)
    y, x = np.mgrid[:60, :80]
    images[0][(x - 30) ** 2 + (y - 20) ** 2 <= 25] = 2
    images[1][(x - 60) ** 2 + (y - 40) ** 2 <= 25] = 5
    images[1] += 0.5  # a background, as PCA-ICA leaves it
    session = Session.of_images("a", images)
    assert session.centres == pytest.approx(np.array([[30, 20], [60, 40]]))
    assert session.diameter == pytest.approx(10, abs=0.3)
    assert session.cut.nnz == 2 * images[0].astype(bool).sum()


def blob(x: float, y: float, sigma: float = 2.5) -> np.ndarray:
    rows, columns = np.mgrid[:60, :80]
    return np.exp(-0.5 * ((columns - x) ** 2 + (rows - y) ** 2) / sigma**2).astype(np.float32)


@pytest.mark.parametrize("light", [0.2, 0.6, 0.9])
@pytest.mark.parametrize("away", [9, 12, 20])
def test_a_neighbours_light_in_a_footprint_hardly_moves_its_centre(light, away):
    """By a tenth of its diameter of 6 px; the centroid of the squared footprint moves by up to 9 px."""
    mixed = blob(30, 25) + light * blob(30 + away, 25)
    others = [blob(15, 40), blob(60, 15), blob(60, 45)]
    centres = Session.of_images("a", np.array([mixed, *others])).centres
    assert centres == pytest.approx(np.array([[30, 25], [15, 40], [60, 15], [60, 45]]), abs=0.6)


def test_noise_and_faint_pixels_do_not_draw_a_centre_away():
    image = blob(30, 25)
    image[5, 70] = 1.2  # one hot pixel, brighter than the cell
    assert Session.of_images("a", np.array([image, blob(60, 45)])).centres[0] == pytest.approx([30, 25], abs=0.2)


DAY = Frame(200, 200)


def search(one: np.ndarray, other: np.ndarray) -> _Search:
    at = np.array([[100.0, 100.0]])
    mine, theirs = (Landmarks(at, np.ones(1), Picture.of(each, 12.0)) for each in (one, other))
    return _Search(mine, theirs, cKDTree(at), 12.0)


def noise(seed: int, sigma: float) -> np.ndarray:
    found = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(200, 200)), sigma)
    return (found / found.std()).astype(np.float32)


def test_the_number_of_samples_is_how_little_images_of_different_fields_correlate_by_chance():
    pairs = [search(100 + noise(2 * seed, 3), 100 + noise(2 * seed + 1, 3)) for seed in range(60)]
    by_chance = [likeness(each.session.picture, each.atlas.picture, Transform(DAY))[0] for each in pairs]
    assert np.mean([each.n_samples for each in pairs]) == pytest.approx(1 / np.var(by_chance), rel=0.4)


def test_vessels_are_seen_through_texture_that_changes_from_day_to_day():
    y, x = np.mgrid[:200, :200]
    lines = [np.exp(-0.5 * ((y - at - 25 * np.sin(x / 30 + at)) / 3) ** 2) for at in (40, 100, 160)]
    days = [(1 + 0.3 * noise(seed, 8)) * (1 - 0.4 * np.max(lines, axis=0)) for seed in (1, 2)]
    this = search(*days)
    assert this.image_nats(Transform(DAY)) > 30
    assert this.image_nats(Transform(DAY, shift=np.array([25.0, 18.0]))) < 10


def test_images_count_by_what_they_share():
    """Half of the field shows half as many samples; less than a third is not compared."""
    this = search(100 + noise(1, 3), 100 + noise(1, 3))
    for shift, part in ((0.0, 1.0), (100.0, 0.5), (150.0, 0.0)):
        moved = Transform(DAY, shift=np.array([shift, 0.0]))
        assert likeness(this.session.picture, this.atlas.picture, moved)[1] == pytest.approx(part, abs=0.03)


@pytest.mark.parametrize("shift", [(0.0, 0.0), (5.0, -3.0), (-4.3, 2.6)])
def test_parts_of_an_image_are_brought_over_the_others(shift):
    """x and y are not mistaken for each other, in a field that is no square."""
    tissue = 100 + noise(1, 3)
    field, other = tissue[20:180, :], ndimage.shift(tissue, shift[::-1], mode="nearest")[20:180, :]
    one, other = (Picture.of(image, 12.0) for image in (field, other))
    anchors = image_anchors(one, other, Transform(Frame(200, 160)), 12.0, 0.9)
    assert len(anchors.points) > 30 and np.ptp(anchors.points, axis=0) == pytest.approx([170, 130], abs=30)
    inner = (np.abs(anchors.points - [100, 80]) < [80, 60]).all(axis=1)
    moved = (anchors.targets - anchors.points)[inner]
    assert np.median(moved, axis=0) == pytest.approx(shift, abs=0.3)
    assert np.quantile(np.abs(moved - shift), 0.9) < 0.6


def test_windows_are_those_of_a_gaussian_filter():
    image, rows, columns = noise(3, 2)[:60, :45], (0, 7, 59), (3, 22)
    whole = ndimage.gaussian_filter(image.astype(float), 2.7, mode="constant")
    assert _windows(60, rows, 2.7) @ image @ _windows(45, columns, 2.7).T == pytest.approx(whole[np.ix_(rows, columns)])


def test_a_vertex_is_that_of_the_parabola():
    x, at = np.array([-1.0, 0.0, 1.0]), np.array([0.3, -0.45, 0.0])
    before, greatest, after = (5 - (x[:, None] - at) ** 2 * [1, 2, 0.5]).reshape(3, 3)
    assert _vertex(before, greatest, after) == pytest.approx(at)
    assert _vertex(np.ones(1), np.ones(1), np.ones(1)) == pytest.approx(0)
