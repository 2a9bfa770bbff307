from __future__ import annotations

import isx
import numpy as np
import pytest

from open_engine.files.cellsets import read_cell_set, write_cell_set
from open_engine.steps.multiplane_registration import multiplane_registration
from recording import formats
from recording.errors import Unusable
from samples import recordings

N_SAMPLES = 300


def footprints(places, shape=(60, 80)):
    y, x = np.mgrid[: shape[0], : shape[1]]
    return np.array([np.exp(-((x - a) ** 2 + (y - b) ** 2) / 12.5) for a, b in places], np.float32).reshape(-1, *shape)


def activity(seed, noise_seed, noise=0.05, n=N_SAMPLES):
    spikes = (np.random.default_rng(seed).random(n) < 0.03).astype(float)
    trace = np.convolve(spikes, np.exp(-np.arange(30) / 6))[:n]
    return trace + np.random.default_rng(noise_seed).normal(0, noise, n)


def written(folder, name, images, traces, statuses=(), **invalid):
    traces = np.array(traces).reshape(len(images), -1)
    n_recorded = traces.shape[1] - sum(map(len, invalid.values()))
    movie = recordings.movie_from(
        folder / f"{name}-movie.isxd", np.zeros((n_recorded, *images.shape[1:]), "u2"), **invalid
    )
    path = folder / f"{name}.isxd"
    write_cell_set(path, [formats.read_footer(movie)], images, traces, statuses=statuses)
    return str(path)


PLACES = [(10 + 14 * i, 10 + 14 * j) for j in range(4) for i in range(5)]


@pytest.fixture
def planes(tmp_path):
    """Cells 0 to 11 in plane a, 8 to 19 in plane b: 8 and 9 reach across, at 10 and 11 there are two cells each."""
    seeds_b = {8: 8, 9: 9, 10: 110, 11: 111}
    in_a, in_b = range(12), range(8, 20)
    a = written(tmp_path, "a", footprints([PLACES[i] for i in in_a]), [activity(i, 500 + i) for i in in_a])
    b_noise = {8: 0.01, 9: 0.3}
    traces = [activity(seeds_b.get(i, i), 900 + i, b_noise.get(i, 0.05)) for i in in_b]
    return a, written(tmp_path, "b", footprints([PLACES[i] for i in in_b]), traces)


def test_cells_that_reach_across_planes_are_kept_once(tmp_path, context, planes):
    out = tmp_path / "out.isxd"
    multiplane_registration(list(planes), str(out), context=context)
    cells = read_cell_set(out)
    assert cells.n_cells == 12 + 12 - 2
    assert isx.CellSet.read(str(out)).num_cells == 22
    a, b = (read_cell_set(path) for path in planes)
    kept = {trace.tobytes() for trace in cells.traces}
    assert b.traces[0].tobytes() in kept and a.traces[8].tobytes() not in kept  # the less noisy one of cell 8
    assert a.traces[9].tobytes() in kept and b.traces[1].tobytes() not in kept
    assert cells.names[:2] == ("C00", "C01")


def test_thresholds_are_honoured(tmp_path, context, planes):
    out = tmp_path / "out.isxd"
    multiplane_registration(list(planes), str(out), temp_correlation_thresh=0, context=context)
    loose = read_cell_set(out).n_cells
    assert loose < 22  # any correlation above the least of chance will do
    multiplane_registration(list(planes), str(out), min_spat_correlation=0.999, context=context)
    assert read_cell_set(out).n_cells == 22  # these footprints are exactly the same


def test_few_cells_are_compared_by_a_fixed_correlation(tmp_path, context, warnings):
    one = written(tmp_path, "a", footprints(PLACES[:1]), [activity(1, 2)])
    two = written(tmp_path, "b", footprints(PLACES[:1]), [activity(1, 3)])
    multiplane_registration([one, two], [str(tmp_path / "out.isxd")], context=context)
    assert read_cell_set(tmp_path / "out.isxd").n_cells == 1
    assert "too few to say which correlation of traces is chance" in warnings[0]


def test_a_plane_that_lacks_its_last_frame_or_others(tmp_path, context):
    one = written(tmp_path, "a", footprints(PLACES[:2]), [activity(1, 2), activity(2, 2)], dropped=[5])
    two = written(tmp_path, "b", footprints(PLACES[:1]), [activity(1, 3, n=N_SAMPLES)[:-1]], blank=[9])
    multiplane_registration([one, two], str(tmp_path / "out.isxd"), context=context)
    cells = read_cell_set(tmp_path / "out.isxd")
    assert cells.n_cells == 2 and cells.traces.shape == (2, N_SAMPLES)


def test_planes_that_do_not_fit_or_have_no_cells_are_refused(tmp_path, context):
    one = written(tmp_path, "a", footprints(PLACES[:1]), [activity(1, 2)])
    short = written(tmp_path, "b", footprints(PLACES[:1]), [activity(1, 2)[:50]])
    empty = written(tmp_path, "c", footprints(PLACES[:1]), [activity(1, 2)], ["rejected"])
    with pytest.raises(
        Unusable, match=r"b\.isxd differs from a\.isxd in the size of its field or the number of samples"
    ):
        multiplane_registration([one, short], str(tmp_path / "out.isxd"), context=context)
    with pytest.raises(Unusable, match="none of the planes has cells to register"):
        multiplane_registration([empty, empty], str(tmp_path / "out.isxd"), context=context)
