"""What lights up by itself, and stays where it is, may be a cell; a piece of something larger or passing is none."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from open_engine.cnmfe import background, gate
from open_engine.cnmfe.alone import Alone, alone, transients
from open_engine.cnmfe.cells import Cells, Footprints
from open_engine.cnmfe.updates import Patch

SHAPE, N, RATE_HZ, DECAY, DIAMETER = (48, 48), 400, 10.0, 0.85, 8.0
SIDE = 23
AT = np.array([24, 24])
ONSETS = (30, 90, 150, 210, 270, 330)


def blob(at: np.ndarray | tuple[float, float], width: float = DIAMETER) -> np.ndarray:
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    return np.exp(-np.log(2) * ((y - at[0]) ** 2 + (x - at[1]) ** 2) / (width / 2) ** 2)


def course(onsets: tuple[int, ...], delay: float = 0) -> np.ndarray:
    """Transients that rise for a tenth of a second, then decay."""
    t = np.arange(N)[:, None] - np.array(onsets) - delay
    return (np.where(t >= 0, DECAY ** np.maximum(t, 0), 0) * 40).sum(axis=1)


def looked_at(
    movie: np.ndarray,
    footprints: list[np.ndarray],
    traces: list[np.ndarray],
    behind: tuple[np.ndarray, np.ndarray] | None = None,
    which: np.ndarray | None = None,
) -> Alone:
    """movie (rows, columns, frames) without noise, to which noise of 1 is added.

    behind: image and course of a background, which is taken away.
    """
    noisy = movie + np.random.default_rng(5).normal(size=movie.shape)
    noisy = (noisy - noisy.mean(axis=2, keepdims=True)).astype(np.float32)
    nothing = np.zeros((0, 0), np.float32)
    grid = background.grid(SHAPE, 2, DIAMETER)
    image, course = behind or (np.zeros((*SHAPE, 0)), np.zeros((0, N)))
    course = course - course.mean(axis=-1, keepdims=True)
    flat = np.zeros((24, 24, 1), np.float32)
    components = np.zeros((len(background.low_pass(grid, flat)), len(np.atleast_2d(course))), np.float32)
    patch = Patch(
        noisy, grid, nothing, nothing, np.ones(SHAPE), components, np.atleast_3d(image), np.atleast_2d(course), DECAY
    )
    padded = [np.pad(footprint, SIDE) for footprint in footprints]
    corners = np.array([np.argwhere(footprint == footprint.max())[0] - SIDE // 2 for footprint in footprints])
    crops = [image[r + SIDE : r + 2 * SIDE, c + SIDE : c + 2 * SIDE] for image, (r, c) in zip(padded, corners)]
    cells = Cells(Footprints(SHAPE, corners, np.array(crops, np.float32)), np.array(traces, np.float32))
    return alone(patch, cells, gate.correlations(cells.traces), RATE_HZ, which, without_background=behind is not None)


@dataclass(frozen=True)
class Scene:
    movie: np.ndarray
    cells: list[tuple[np.ndarray, np.ndarray]]  # footprint and trace; the first one is looked at
    like: bool = True
    still: bool = True


def of_light(*sources: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    return sum(image[:, :, None] * trace for image, trace in sources)


def cell() -> Scene:
    own = (blob(AT), course(ONSETS))
    return Scene(of_light(own), [own])


def dim_cell() -> Scene:
    own = (blob(AT), course(ONSETS) / 10)
    return Scene(of_light(own), [own])


def at_the_border() -> Scene:
    own = (blob((1, 24)), course(ONSETS))
    return Scene(of_light(own), [own])


def neighbour_at_other_times() -> Scene:
    own, other = (blob(AT), course(ONSETS)), (blob(AT + 9), course(tuple(t + 20 for t in ONSETS)))
    return Scene(of_light(own, other), [own, other])


def neighbour_that_joins_in_twice() -> Scene:
    own, other = (blob(AT), course(ONSETS)), (blob(AT + 9), 3 * course(ONSETS[:2]))
    return Scene(of_light(own, other), [own])


def piece_of_a_patch() -> Scene:
    return Scene(of_light((blob(AT, 24), course(ONSETS))), [(blob(AT), course(ONSETS))], like=False)


def pieces_of_a_patch_that_share_it() -> Scene:
    trace = course(ONSETS)
    pieces = [(blob(AT + np.array(move)), trace) for move in ((0, 0), (0, 8), (8, 0), (-8, 0), (0, -8))]
    return Scene(of_light((blob(AT, 24), trace)), pieces, like=False)


def fronts_from_several_sides() -> Scene:
    """Each is a long line; the mean of all is round."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]] - AT[:, None, None]
    movie, mean = 0, 0
    for i, onset in enumerate(ONSETS):
        turn = np.pi * i / len(ONSETS)
        line = np.exp(-np.log(2) * ((x * np.cos(turn) + y * np.sin(turn)) / (DIAMETER / 2)) ** 2)
        movie, mean = movie + line[:, :, None] * course((onset,)), mean + line
    return Scene(movie, [(blob(AT), course(ONSETS))], like=False)


def light_that_passes() -> Scene:
    """As large and round as a cell at every moment."""
    path = np.linspace(-16, 16, 17)
    movie = of_light(*[(blob(AT + np.array([0, dx])), course(ONSETS, 0.4 * k)) for k, dx in enumerate(path)])
    image, trace = blob(AT, 10), movie[tuple(AT)]
    return Scene(movie, [(image, trace)], like=False, still=False)


@pytest.mark.parametrize(
    "scene",
    [
        cell,
        dim_cell,
        at_the_border,
        neighbour_at_other_times,
        neighbour_that_joins_in_twice,
        piece_of_a_patch,
        pieces_of_a_patch_that_share_it,
        fronts_from_several_sides,
        light_that_passes,
    ],
)
def test_what_lights_up_by_itself(scene) -> None:
    what = scene()
    seen = looked_at(what.movie, *map(list, zip(*what.cells)))
    assert (seen.likeness[0] >= gate.MIN_LIKENESS) == what.like, seen
    assert (seen.travel[0] <= gate.MOST_TRAVEL * DIAMETER) == what.still, seen


def test_neuropil_around_a_cell_is_told_from_the_rest_of_a_patch() -> None:
    """Once the background is taken away; as it is, both look alike. What is not asked for is 0."""
    own, neuropil = (blob(AT), course(ONSETS)), (blob(AT + 12, 30), 200 * np.sin(np.arange(N) / 3))
    movie = of_light(own, neuropil)
    least, most_travel = gate.WITHOUT_BACKGROUND
    assert looked_at(movie, *map(list, zip(own))).likeness[0] < gate.LEAST_LIKENESS
    seen = looked_at(movie, *map(list, zip(own)), behind=neuropil)
    assert seen.likeness[0] > least and seen.travel[0] < most_travel * DIAMETER
    patch = (blob(AT, 24), course(ONSETS))
    piece = looked_at(of_light(patch, neuropil), [blob(AT)], [course(ONSETS)], behind=neuropil)
    assert piece.likeness[0] < least
    assert looked_at(movie, *map(list, zip(own)), behind=neuropil, which=np.zeros(0, int)).likeness[0] == 0


def test_the_largest_transients_come_first_and_small_ones_do_not_count() -> None:
    trace = course((30,)) + 2 * course((90,)) + 0.2 * course((150,))
    assert transients(trace) == [(90, 90), (30, 30)]
    assert transients(np.zeros(N)) == []
    assert len(transients(course(tuple(range(20, 380, 20))))) == 8


def test_a_trace_that_never_rises_is_not_alone() -> None:
    seen = looked_at(np.zeros((*SHAPE, N)), [blob(AT)], [np.zeros(N)])
    assert seen.likeness[0] == 0
