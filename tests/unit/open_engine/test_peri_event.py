"""Which cells respond to events: false ones are as rare as stated, true ones are found."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage, stats

from open_engine.peri_event import (
    DOWN,
    NONE,
    UP,
    Responses,
    Timeline,
    Window,
    benjamini_hochberg,
    find_trials,
    responses,
    two_sided,
)

RATE_HZ, LENGTH, GAP_S = 10, 600, 30
WINDOW_S = (-2.0, 4.0)
SEEDS = 20


def timeline(parts: int = 2, lost: tuple[int, ...] = ()) -> Timeline:
    valid = np.ones(parts * LENGTH, bool)
    valid[list(lost)] = False
    starts = tuple(part * (LENGTH / RATE_HZ + GAP_S) for part in range(parts))
    return Timeline(starts, (LENGTH,) * parts, 1 / RATE_HZ, valid)


def clock(samples: np.ndarray) -> np.ndarray:
    """Seconds on the timeline's clock."""
    return samples / RATE_HZ + GAP_S * (samples // LENGTH)


def calcium(rng: np.random.Generator, cells: int, parts: int, planted: np.ndarray | None = None) -> np.ndarray:
    """Traces with transients at random, and at the samples `planted` (cells, events), where that is not 0."""
    spikes = (rng.random((cells, parts * LENGTH)) < 0.012) * rng.uniform(0.7, 2, (cells, parts * LENGTH))
    if planted is not None:
        for row, its in zip(spikes, planted):
            row[its[its > 0]] += rng.uniform(1.5, 3, (its > 0).sum())
    decay = np.exp(-np.arange(50) / (0.7 * RATE_HZ))
    clean = np.stack([np.convolve(row, decay)[: parts * LENGTH] for row in spikes])
    return clean + 0.3 * rng.normal(size=clean.shape)


def drifting(rng: np.random.Generator, cells: int, parts: int) -> np.ndarray:
    """Calcium on a background that is smooth over three seconds, far larger than the noise."""
    slow = ndimage.gaussian_filter1d(rng.normal(size=(cells, parts * LENGTH)), 3 * RATE_HZ, axis=1)
    return calcium(rng, cells, parts) + slow / slow.std()


def at_random(rng: np.random.Generator, end_s: float) -> np.ndarray:
    return rng.uniform(0, end_s, 24)


def few(rng: np.random.Generator, end_s: float) -> np.ndarray:
    return rng.uniform(0, end_s, 4)


def in_one_half(rng: np.random.Generator, end_s: float) -> np.ndarray:
    return rng.uniform(0, 0.4 * end_s, 12)


def nearly_rhythmic(rng: np.random.Generator, end_s: float) -> np.ndarray:
    often = np.arange(3, end_s, 6)
    return often + rng.uniform(0, 1.5, len(often))


@pytest.mark.parametrize("train", [at_random, few, in_one_half, nearly_rhythmic])
@pytest.mark.parametrize("activity", [calcium, drifting])
@pytest.mark.parametrize("gaps", [0, 8])
def test_events_that_mean_nothing(activity, train, gaps):
    """p is uniform, and no more cells than stated respond."""
    p, n_false = [], 0
    for seed in range(SEEDS):
        rng = np.random.default_rng(1000 + seed)
        traces = activity(rng, 15, 2)
        lost = np.concatenate([[], *(np.arange(at, at + 9) for at in rng.integers(0, 1180, gaps))]).astype(int)
        traces[:, lost] = np.nan
        tested = responses(traces, train(rng, 150), timeline(2, tuple(lost)), WINDOW_S, 299)
        p += list(tested.p)
        n_false += any(name != NONE for name in tested.classes)
    known = np.array(p)[np.isfinite(p)]
    assert len(known) > 0.8 * len(p)
    assert stats.kstest(known, "uniform").pvalue > 0.005
    assert n_false <= 4  # sessions with a false cell: one of twenty is expected, five have a chance of 0.003


def planted(sign: int, rng: np.random.Generator, cells: int, responding: int) -> Responses:
    """The first cells respond at seven of ten events."""
    events = np.concatenate([np.sort(rng.choice(np.arange(40, 540, 12), 12, replace=False)) + 600 * k for k in (0, 1)])
    times = np.zeros((cells, len(events)), int)
    takes_part = rng.random((responding, len(events))) < 0.7
    times[:responding] = np.where(takes_part, events + 1 + rng.integers(0, 3, takes_part.shape), 0)
    return responses(sign * calcium(rng, cells, 2, times), clock(events), timeline(), WINDOW_S)


@pytest.mark.parametrize(("sign", "name"), [(1, UP), (-1, DOWN)])
def test_planted_responses(sign, name):
    right = wrong = 0
    for seed in range(4):
        tested = planted(sign, np.random.default_rng(seed), 40, 10)
        right += sum(given == name for given in tested.classes[:10])
        wrong += sum(given != NONE for given in tested.classes[10:])
        assert (np.sign(tested.effect[:10]) == sign).all()
    assert right >= 38
    assert wrong <= 6  # 0.05 of what is found is expected


def test_what_a_response_looks_like():
    """Effect, average and its error are those of the single trials."""
    rng = np.random.default_rng(5)
    traces = 3 * rng.normal(size=(2, LENGTH)) + 100
    events = np.array([100, 200, 300])
    for event in events:
        traces[0, event : event + 40] += 30
    tested = responses(traces, events / RATE_HZ, timeline(1), WINDOW_S, 99)
    assert tested.noise == pytest.approx([3, 3], rel=0.2)
    assert tested.effect[0] == pytest.approx(30 / tested.noise[0], rel=0.05)
    assert tested.offsets_s[[0, 19, 20, -1]] == pytest.approx([-2, -0.1, 0, 3.9])
    single = np.array([traces[0, e - 20 : e + 40] - traces[0, e - 20 : e].mean() for e in events]) / tested.noise[0]
    assert tested.mean[0] == pytest.approx(single.mean(axis=0))
    assert tested.sem[0] == pytest.approx(stats.sem(single, axis=0))
    assert tested.effect[0] == pytest.approx(single[:, 20:].mean() - single[:, :20].mean())


@pytest.mark.parametrize(
    ("event_s", "outside", "at_edges", "at_gaps"),
    [
        (-1, 1, 0, 0),
        (1.9, 0, 1, 0),
        (1.99999, 0, 0, 0),  # rounded
        (2, 0, 0, 0),
        (56, 0, 0, 0),
        (56.1, 0, 1, 0),
        (60, 1, 0, 0),
        (89.9, 1, 0, 0),
        (91, 0, 1, 0),
        (92, 0, 0, 0),
        (200, 1, 0, 0),
        (26.0, 0, 0, 0),  # the frame of 30.0 s is lost
        (26.1, 0, 0, 1),
        (30.0, 0, 0, 1),
        (32.0, 0, 0, 1),
        (32.1, 0, 0, 0),
    ],
)
def test_events_that_are_left_out(event_s, outside, at_edges, at_gaps):
    trials = find_trials(np.array([event_s]), timeline(2, (300,)), Window.of(WINDOW_S, 1 / RATE_HZ))
    assert (trials.outside, trials.at_edges, trials.at_gaps) == (outside, at_edges, at_gaps)
    assert len(trials.samples) + trials.left_out == 1


def test_shuffles_stay_in_their_part_and_off_gaps():
    """Each has as many events as the data, and whole windows only; their means are those of the shifted events."""
    events = np.array([5, 20, 20.01, 50, 95, 120.0])
    at = timeline(2, (300, 301))
    trials = find_trials(events, at, Window.of(WINDOW_S, 1 / RATE_HZ))
    for places, (start, stop) in zip(trials.places, zip(at.first, at.first[1:])):
        windows = places[:, None] + np.arange(-20, 40)
        assert windows.min() >= start and windows.max() < stop and at.valid[windows].all()
    shifts = trials.shifts(200)
    values = np.random.default_rng(0).normal(size=(2, 1200))
    means = trials.means(values, shifts)
    for shuffle in range(201):
        moved = [
            trials.places[part][
                (np.searchsorted(trials.places[part], sample) + shifts[part][shuffle]) % len(trials.places[part])
            ]
            for sample, part in zip(trials.samples, trials.parts)
        ]
        assert means[:, shuffle] == pytest.approx(values[:, moved].mean(axis=1))
    assert moved != list(trials.samples)
    assert means[:, 0] == pytest.approx(values[:, trials.samples].mean(axis=1))


@pytest.mark.parametrize("events", [[], [-5.0], [1.0, 75.0]])
def test_no_event_can_be_used(events):
    tested = responses(calcium(np.random.default_rng(0), 3, 2), np.array(events), timeline(), WINDOW_S, 99)
    assert tested.classes == (NONE,) * 3
    assert np.isnan(tested.effect).all() and np.isnan(tested.p).all() and np.isnan(tested.q).all()
    assert tested.trials.left_out == len(events)


def test_cells_of_which_nothing_is_known():
    """They are not tested, and do not count among those that are; a flat trace does not respond."""
    rng = np.random.default_rng(1)
    traces = calcium(rng, 4, 2)
    traces[1, 50] = np.nan
    traces[2] = 7
    tested = responses(traces, rng.uniform(5, 140, 20), timeline(), WINDOW_S, 99)
    others = responses(np.delete(traces, 1, axis=0), rng.uniform(5, 140, 20), timeline(), WINDOW_S, 99)
    assert np.isnan(tested.p[1]) and np.isnan(tested.q[1]) and tested.classes[1] == NONE
    assert tested.p[2] == 1 and tested.classes[2] == NONE
    assert len(others.p) == 3 and np.isfinite(others.q).all()


def test_parts_that_are_shorter_than_the_window():
    tested = responses(np.ones((2, 30)), np.array([1.0]), Timeline((0.0,), (30,), 0.1, np.ones(30, bool)), WINDOW_S, 9)
    assert tested.trials.at_edges == 1 and tested.classes == (NONE, NONE)


def test_exactly_rhythmic_events_have_nothing_to_compare_with():
    """Shifts by the interval are the data itself, and so no less extreme: p is at least their share."""
    every, length = 60, 659
    traces = np.random.default_rng(0).normal(size=(1, length))
    events = np.arange(20, length - 40, every)
    for event in events:
        traces[0, event : event + 10] += 30
    alone = Timeline((0.0,), (length,), 0.1, np.ones(length, bool))
    assert len(find_trials(events / 10, alone, Window(-20, 40)).places[0]) == 10 * every
    tested = responses(traces, events / 10, alone, WINDOW_S)
    assert 0.5 / every < tested.p[0] < 3 / every


def test_the_same_bytes():
    first, second = (planted(1, np.random.default_rng(3), 10, 3) for _ in range(2))
    for one, other in ((first.effect, second.effect), (first.p, second.p), (first.q, second.q)):
        assert one.tobytes() == other.tobytes()


def test_q_is_that_of_scipy():
    p = np.random.default_rng(0).uniform(size=50) ** 2
    q = benjamini_hochberg(np.append(p, np.nan))
    assert q[:-1] == pytest.approx(stats.false_discovery_control(p))
    assert np.isnan(q[-1])


def test_p_counts_the_data():
    values = np.array([[9.0, *range(-4, 5)]])
    assert two_sided(values) == (1 / 10, True)
    assert two_sided(-values) == (1 / 10, False)
    assert two_sided(np.zeros((2, 10)))[0] == 1


@pytest.mark.parametrize(
    ("window_s", "sizes"),
    [((-2, 4), [(-20, 40), (-10, 20), (-5, 10)]), ((-0.5, 8), [(-5, 80)]), ((-1, 1), [(-10, 10), (-5, 5)])],
)
def test_nested_windows(window_s, sizes):
    nested = Window.of(window_s, 0.1).nested(5)
    assert [(part.begin, part.end) for part in nested] == sizes
