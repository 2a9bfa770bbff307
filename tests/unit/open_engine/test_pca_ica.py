from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

import isx
import numpy as np
import pytest

from open_engine import pca
from open_engine.files.cellsets import read_cell_set
from open_engine.files.frames import open_series
from open_engine.steps.pca_ica import pca_ica
from recording import formats
from recording.errors import Unusable
from samples import recordings
from tests.launch import ROOT

N_CELLS, N_FRAMES, ROWS, COLUMNS = 8, 400, 40, 48


@pytest.fixture(scope="module")
def mixture():
    """Movie, footprints and traces of cells that are sparse in space and time, with noise."""
    rng = np.random.default_rng(11)
    y, x = np.mgrid[:ROWS, :COLUMNS]
    centres = [(row, column) for row in (9, 29) for column in (7, 18, 29, 40)]
    footprints = np.array([np.exp(-((y - row) ** 2 + (x - column) ** 2) / 12.5) for row, column in centres])
    spikes = (rng.random((N_CELLS, N_FRAMES)) < 0.02) * rng.uniform(0.5, 1.5, (N_CELLS, N_FRAMES))
    decay = np.exp(-np.arange(40) / 8)
    traces = np.array([np.convolve(train, decay)[:N_FRAMES] for train in spikes])
    movie = np.tensordot(traces.T, footprints, 1) + rng.normal(0, 0.02, (N_FRAMES, ROWS, COLUMNS))
    return movie.astype(np.float32), footprints, traces


def run(tmp_path, context, data, num_pcs=12, num_ics=N_CELLS, **parameters):
    movie, out = tmp_path / "movie.isxd", tmp_path / "cells.isxd"
    if not movie.exists():
        recordings.movie_from(movie, data)
    converged = pca_ica(str(movie), str(out), num_pcs, num_ics, context=context, **parameters)
    return converged, read_cell_set(out)


def correlated(truth, components):
    """For each true component: the highest r with any found one, and the index of that one."""
    n = len(truth)
    r = np.corrcoef(truth.reshape(n, -1), np.asarray(components).reshape(len(components), -1))[:n, n:]
    return r.max(axis=1), r.argmax(axis=1)


@pytest.mark.parametrize("unmix_type", ["spatial", "temporal", "both"])
@pytest.mark.parametrize("weight", [0, 0.2, 1])
def test_known_sources_are_found(tmp_path, context, mixture, unmix_type, weight):
    data, footprints, traces = mixture
    converged, cells = run(tmp_path, context, data, unmix_type=unmix_type, ica_temporal_weight=weight)
    assert converged
    r_traces, which = correlated(traces, cells.traces)
    r_images, same = correlated(footprints, cells.images)
    assert np.array_equal(which, same) and sorted(which) == list(range(N_CELLS))
    least = 0.85 if weight == 1 else 0.95
    assert r_traces.min() > least and r_images.min() > least


def test_of_many_components_the_cells_are_kept(tmp_path, context, mixture):
    """Four times as many principal components as cells: what is left of the noise must not take their places."""
    data, footprints, traces = mixture
    _, cells = run(tmp_path, context, data, num_pcs=4 * N_CELLS)
    assert cells.n_cells == N_CELLS
    assert correlated(traces, cells.traces)[0].min() > 0.95
    assert correlated(footprints, cells.images)[0].min() > 0.95


def test_sign_scale_and_order_are_as_documented(tmp_path, context, mixture):
    data, _, traces = mixture
    _, cells = run(tmp_path, context, data)
    images = np.array(cells.images, np.float64)
    assert images.mean(axis=(1, 2)) == pytest.approx(np.zeros(N_CELLS), abs=1e-5)
    assert images.std(axis=(1, 2), ddof=1) == pytest.approx(np.ones(N_CELLS), rel=1e-5)
    assert (images.max(axis=(1, 2)) > 3 * -images.min(axis=(1, 2))).all()
    _, which = correlated(traces, cells.traces)
    rises = np.ptp(cells.traces[which], axis=1) / np.ptp(traces, axis=1)
    assert rises == pytest.approx(np.ones(N_CELLS), abs=0.15)  # dF/F at the brightest pixel
    off = cells.traces - cells.traces.mean(axis=1, keepdims=True)
    skewness = (off**3).mean(axis=1) / (off**2).mean(axis=1) ** 1.5
    assert (np.diff(skewness) <= 1e-6).all()


def test_spatial_unmixing_leaves_images_uncorrelated_and_temporal_traces(tmp_path, context, mixture):
    for unmix_type, of in (("spatial", "images"), ("temporal", "traces")):
        _, cells = run(tmp_path, context, mixture[0], unmix_type=unmix_type)
        r = np.corrcoef(np.asarray(getattr(cells, of)).reshape(N_CELLS, -1))
        assert np.abs(r - np.eye(N_CELLS)).max() < 1e-4


def test_a_series_gives_one_set_of_cells_as_one_movie_does(tmp_path, context, mixture):
    data = mixture[0]
    _, whole = run(tmp_path, context, data)
    parts = [
        recordings.movie_from(tmp_path / "a.isxd", data[:150]),
        recordings.movie_from(tmp_path / "b.isxd", data[150:]),
    ]
    outs = [tmp_path / "ca.isxd", tmp_path / "cb.isxd"]
    assert pca_ica([str(p) for p in parts], [str(o) for o in outs], 12, N_CELLS, context=context)
    series = read_cell_set(outs)
    assert series.traces == pytest.approx(whole.traces, abs=2e-3)
    assert np.asarray(series.images) == pytest.approx(np.asarray(whole.images), abs=2e-2)
    assert isx.CellSet.read(str(outs[1])).timing.num_samples == N_FRAMES - 150


def test_frames_that_were_not_recorded_are_left_out(tmp_path, context, mixture):
    data = mixture[0]
    movie = tmp_path / "movie.isxd"
    recordings.movie_from(movie, data[:-4], dropped=[10], cropped=[(20, 21)], blank=[30])
    _, cells = run(tmp_path, context, None)
    invalid = np.isnan(cells.traces).all(axis=0)
    assert np.flatnonzero(invalid).tolist() == [10, 20, 21, 30]
    assert np.isfinite(cells.traces[:, ~invalid]).all()
    assert np.array_equal(~invalid, isx.CellSet.read(str(tmp_path / "cells.isxd")).timing.get_valid_samples_mask())


def test_same_bytes_whatever_the_number_of_threads(tmp_path, context, mixture):
    written = []
    for threads in (1, 3):
        run(tmp_path, replace(context, threads=threads), mixture[0])
        written.append((tmp_path / "cells.isxd").read_bytes())
    assert written[0] == written[1]


BLAS_THREADS = """
import threadpoolctl
import open_engine.steps.pca_ica
from open_engine import pca
from open_engine.files.movies import one_blas_thread
with one_blas_thread():
    pca._leading(pca.np.eye(3), 1)
    info = threadpoolctl.threadpool_info()
print([library["num_threads"] for library in info if library["user_api"] == "blas"])
"""


def test_blas_has_one_thread_in_a_process_that_has_just_begun() -> None:
    """NumPy's and SciPy's, which is loaded later."""
    done = subprocess.run(
        [sys.executable, "-c", BLAS_THREADS],
        cwd=ROOT,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "2"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "[1, 1]\n", done.stderr


def test_product_says_what_it_is_and_keeps_the_extra_properties(tmp_path, context, mixture):
    movie = recordings.movie_from(tmp_path / "movie.isxd", mixture[0])
    body, footer = recordings.split_footer(movie.read_bytes())
    extra = b'"extraProperties": {"name": "s1", "idps": {"mc_padding": false}}'
    movie.write_bytes(body + recordings.footer_bytes(footer.replace(b'"extraProperties": null', extra)))
    run(tmp_path, context, None)
    assert formats.read_footer(tmp_path / "cells.isxd")["extraProperties"] == {
        "name": "s1",
        "idps": {"mc_padding": False, "cellset": {"method": "pca-ica", "type": "analog", "units": "dF over F"}},
    }
    opened = isx.CellSet.read(str(tmp_path / "cells.isxd"))
    assert opened.get_acquisition_info()["Cell Identification Method"] == "pca-ica"


def test_number_of_components_can_be_estimated(tmp_path, context, mixture):
    _, cells = run(tmp_path, context, mixture[0], 500, 300, auto_estimate_num_ics=True, average_cell_diameter=10)
    assert cells.n_cells == N_CELLS
    assert cells.footer["extraProperties"]["idps"]["pcaica"] == {"estimated": {"num_ics": N_CELLS}}


def test_too_few_iterations_are_reported(tmp_path, context, warnings, mixture):
    converged, cells = run(tmp_path, context, mixture[0], max_iterations=1)
    assert not converged and cells.n_cells == N_CELLS
    assert "did not converge within max_iterations = 1" in warnings[0]


def test_more_components_than_the_movie_has(tmp_path, context, warnings, mixture):
    _, cells = run(tmp_path, context, mixture[0][:6], 150, 120)
    assert warnings[0] == "the movie has 5 principal components, not 150: PCA-ICA used these"
    assert cells.n_cells == 5 and np.isfinite(cells.traces).all()


def test_what_is_not_a_number_counts_as_nothing(tmp_path, context, mixture):
    data = mixture[0].copy()
    data[:, 0, 0] = np.nan
    data[7, 3, 3] = np.inf
    _, cells = run(tmp_path, context, data)
    assert np.isfinite(cells.traces).all() and np.isfinite(np.asarray(cells.images)).all()


@pytest.mark.parametrize(
    "data, message",
    [
        (np.ones((5, 6, 8), np.float32), "does not change from frame to frame"),
        (np.ones((1, 6, 8), np.float32), "fewer than two recorded frames"),
    ],
)
def test_movies_without_cells_are_refused(tmp_path, context, data, message):
    with pytest.raises(Unusable, match=f"movie.isxd .*{message}"):
        run(tmp_path, context, data, 5, 3)
    assert not (tmp_path / "cells.isxd").exists()


@pytest.mark.parametrize("shape", [(60, 10, 12), (150, 8, 9)])  # fewer frames than pixels, and more
@pytest.mark.parametrize("block", [7, 1000])
def test_principal_components_are_those_of_the_singular_value_decomposition(tmp_path, shape, block):
    spread = np.linspace(1, 3, shape[0])[:, None, None]
    data = (spread * np.random.default_rng(3).normal(5, 1, shape)).astype(np.float32)
    path = recordings.movie_from(tmp_path / "movie.isxd", data)
    with open_series([path]) as series:
        components = pca.principal_components(pca.centred(series, block), 6, threads=2)
    x = data.reshape(shape[0], -1).astype(np.float64)
    x -= x.mean(axis=0)
    x -= x.mean(axis=1, keepdims=True)
    v, s, u = np.linalg.svd(x, full_matrices=False)
    assert components.strengths == pytest.approx(s[:6], rel=1e-5)
    assert np.abs((components.images * u[:6]).sum(axis=1)) == pytest.approx(np.ones(6), abs=1e-4)
    assert np.abs((components.traces * v[:, :6].T).sum(axis=1)) == pytest.approx(np.ones(6), abs=1e-4)


def test_components_of_large_movies_are_found_by_iteration(tmp_path, monkeypatch, mixture):
    path = recordings.movie_from(tmp_path / "movie.isxd", mixture[0])
    with open_series([path]) as series:
        exact = pca.principal_components(pca.centred(series, 100), N_CELLS)
        monkeypatch.setattr(pca, "EXACT", 50)
        components = pca.principal_components(pca.centred(series, 100), N_CELLS)
    assert components.strengths == pytest.approx(exact.strengths, rel=1e-3)
    assert np.abs((components.images * exact.images).sum(axis=1)) == pytest.approx(np.ones(N_CELLS), abs=1e-3)
    assert np.abs((components.traces * exact.traces).sum(axis=1)) == pytest.approx(np.ones(N_CELLS), abs=1e-3)
