"""Following on studies with known identities, from bench/following_studies.py, which shares nothing with it."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest

from bench.following_studies import CONDITIONS, Day, study
from following import Following, Session, follow
from following.follow import DOES_NOT_FIT, FITS_WORSE, NO_CELLS, TOO_FEW


def sessions_of(days: list[Day]) -> list[Session]:
    return [Session(day.name, day.footprints, day.shape, day.names, day.image) for day in days]


@lru_cache
def drawn(condition: str, seed: int) -> list[Day]:
    return study(CONDITIONS[condition], seed)


@lru_cache
def followed(condition: str, seed: int) -> Following:
    return follow(sessions_of(drawn(condition, seed)))


def pairs(labels: list[np.ndarray]) -> set[tuple[tuple[int, int], tuple[int, int]]]:
    """Pairs of cells, each as (session, cell), that share a label."""
    cells = [(s, i, int(label)) for s, of_session in enumerate(labels) for i, label in enumerate(of_session)]
    return {((s, i), (q, j)) for s, i, one in cells for q, j, other in cells if s < q and one == other}


def recall_and_precision(days: list[Day], following: Following) -> tuple[float, float]:
    true, linked = pairs([day.truth for day in days]), pairs(list(following.groups))
    return len(true & linked) / len(true), len(true & linked) / len(linked)


@pytest.mark.parametrize(
    "condition, recall, precision", [("easy", 0.97, 0.98), ("dense", 0.95, 0.98), ("hard", 0.85, 0.95)]
)
def test_cells_are_followed(condition, recall, precision):
    reached = recall_and_precision(drawn(condition, 71), followed(condition, 71))
    assert reached[0] >= recall and reached[1] >= precision
    assert not followed(condition, 71).flags


def test_few_cells_are_followed_where_days_are_warped_and_their_texture_is_new():
    days, found = drawn("sparse-hard, new texture", 502), followed("sparse-hard, new texture", 502)
    recall, precision = recall_and_precision(days, found)
    assert recall >= 0.9 and precision >= 0.98 and not found.flags


@pytest.mark.parametrize("condition", ["easy", "wrong animal"])
def test_a_group_has_at_most_one_cell_of_a_session(condition):
    for groups in followed(condition, 71).groups:
        assert len(np.unique(groups)) == len(groups)


def test_a_session_of_another_animal_is_left_by_itself_and_the_rest_is_as_without_it():
    days, following = drawn("wrong animal", 71), followed("wrong animal", 71)
    (stranger,) = (s for s, day in enumerate(days) if day.stranger)
    assert following.flags == {stranger: FITS_WORSE}
    assert np.isnan(following.sure[stranger]).all()
    assert not following.presence[following.groups[stranger]][:, [s for s in range(len(days)) if s != stranger]].any()
    rest = [day for day in days if not day.stranger]
    without = follow(sessions_of(rest))
    kept = [groups for s, groups in enumerate(following.groups) if s != stranger]
    assert pairs(kept) == pairs(list(without.groups))


def test_a_session_that_chance_makes_fit_better_than_its_mirror_images_is_still_another_animals():
    """A long vessel of one animal lies well on a long vessel of the other."""
    days, found = drawn("wrong animal sparse", 512), followed("wrong animal sparse", 512)
    (stranger,) = (s for s, day in enumerate(days) if day.stranger)
    assert found.excess[stranger] > 2.5
    assert found.flags == {stranger: FITS_WORSE}
    assert recall_and_precision(days, found) == (1, 1)


@pytest.mark.parametrize("n_cells, why", [(30, DOES_NOT_FIT), (4, TOO_FEW)])
def test_of_two_days_of_different_animals_one_is_left_by_itself(n_cells, why):
    y, x = np.mgrid[:120, :120]
    places = np.random.default_rng(5).uniform(8, 112, (2, n_cells, 2))
    days = [
        Session.of_images(name, np.array([np.exp(-0.5 * ((x - a) ** 2 + (y - b) ** 2) / 2.5**2) for a, b in each]))
        for name, each in zip("ab", places)
    ]
    found = follow(days)
    assert found.flags == {1 - found.reference: why}


def test_the_order_of_the_sessions_does_not_matter():
    days = drawn("easy", 71)
    turned = follow(sessions_of(days[::-1]))
    assert pairs(list(turned.groups[::-1])) == pairs(list(followed("easy", 71).groups))


def test_transforms_take_cells_to_where_the_reference_has_them():
    days, following = drawn("easy", 71), followed("easy", 71)
    reference = days[following.reference]
    where = {int(cell): place for cell, place in zip(reference.truth, sessions_of(days)[following.reference].centres)}
    apart = [
        np.hypot(*(following.transforms[s](session.centres[[i]])[0] - where[int(cell)]))
        for s, (day, session) in enumerate(zip(days, sessions_of(days)))
        for i, cell in enumerate(day.truth)
        if int(cell) in where
    ]
    assert np.median(apart) < 1 and np.percentile(apart, 90) < 2.5
    assert 0 < following.misfit < 0.15
    assert following.transforms[following.reference].model == "identity"


def test_pairs_called_sure_are_right():
    days, following = drawn("hard", 71), followed("hard", 71)
    true = pairs([day.truth for day in days])
    sure = [pair for pair in following.pairs if pair.probability >= 0.95]
    right = [((pair.session, pair.cell), (pair.other_session, pair.other_cell)) in true for pair in sure]
    assert len(right) > 100 and np.mean(right) >= 0.97
    assert all(0.05 <= its.probability < 0.95 for its in following.doubtful)


def test_a_session_without_cells_costs_itself_alone():
    sessions = sessions_of(drawn("easy", 71))
    empty = replace(sessions[0], footprints=sessions[0].footprints[:0], names=(), name="empty")
    blank = Session.of_images("blank", np.full((2, 200, 200), np.nan))
    following = follow([empty, *sessions, blank])
    assert following.flags == {0: NO_CELLS, len(sessions) + 1: NO_CELLS}
    assert pairs(list(following.groups[1:-1])) == pairs(list(followed("easy", 71).groups))
    assert len(following.groups[0]) == 0 and len(set(following.groups[-1].tolist())) == 2


def test_no_cells_at_all():
    following = follow([Session.of_images(name, np.zeros((1, 20, 30))) for name in "ab"])
    assert following.flags == {0: NO_CELLS, 1: NO_CELLS} and following.n_groups == 2 and not following.pairs


def test_one_session_is_refused():
    with pytest.raises(ValueError, match="following needs two sessions or more"):
        follow(sessions_of(drawn("easy", 71))[:1])


def test_the_same_session_twice_is_the_same_to_the_last_cell():
    one = sessions_of(drawn("easy", 71))[0]
    following = follow([one, one])
    assert np.array_equal(following.groups[0], following.groups[1]) and following.misfit < 1e-9


def test_pixels_of_another_size():
    """The second session has been binned two by two."""
    first, second = sessions_of(drawn("easy", 71))[:2]
    images = second.footprints.toarray().reshape(-1, 100, 2, 100, 2).mean(axis=(2, 4))
    binned = Session.of_images("binned", images, second.names, pixel=2.0)
    binned_too, plain = follow([first, binned]), follow([replace(first, image=None), replace(second, image=None)])
    same, expected = pairs(list(binned_too.groups)), pairs(list(plain.groups))
    assert len(same & expected) >= 0.9 * max(len(same), len(expected))
    other = 1 - binned_too.reference
    assert binned_too.transforms[other].affine[0, 0] == pytest.approx({1: 2, 0: 0.5}[other], rel=0.02)


def test_small_cells_are_compared_as_well_as_large_ones():
    """Cells of 3 px, as PCA-ICA leaves them in binned movies; the second day is turned and shifted between pixels."""
    rng = np.random.default_rng(3)
    at = rng.uniform(8, 52, (40, 2))
    at = np.array([place for i, place in enumerate(at) if np.hypot(*(at[:i] - place).T).min(initial=9) > 3.5])
    angle = np.deg2rad(3)
    turned = (
        (at - 30) @ np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]).T + 30 + [1.4, -2.3]
    )
    y, x = np.mgrid[:60, :60]
    days = [
        Session.of_images(name, np.array([np.exp(-0.5 * ((x - a) ** 2 + (y - b) ** 2) / 1.2**2) for a, b in places]))
        for name, places in (("one", at), ("other", turned))
    ]
    following = follow(days)
    assert following.diameter < 4
    assert np.array_equal(following.groups[0], following.groups[1])
    assert np.mean(following.sure[1]) > 0.97
