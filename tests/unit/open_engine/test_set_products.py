"""Steps on cell sets one after another: their signatures are isx.algo's, and isx reads and exports what they make."""

from __future__ import annotations

import importlib
import inspect
import json
from pathlib import Path

import isx
import isx.algo
import numpy as np
import pytest

from open_engine.files.cellsets import read_cell_set
from open_engine.steps.auto_accept_reject import auto_accept_reject
from open_engine.steps.binarize_cell_set import binarize_cell_set
from open_engine.steps.cell_metrics import cell_metrics
from open_engine.steps.longitudinal_registration import longitudinal_registration
from open_engine.steps.pca_ica import pca_ica
from samples import recordings

STEPS = (
    "apply_cell_set",
    "apply_rois",
    "auto_accept_reject",
    "binarize_cell_set",
    "cell_metrics",
    "compute_spatial_overlap_cell_set",
    "crop_cell_set",
    "estimate_num_ics",
    "export_cell_contours",
    "longitudinal_registration",
    "multicolor_registration",
    "multiplane_registration",
    "pca_ica",
    "register_cellsets",
    "transform_cell_set",
)


@pytest.mark.parametrize("step", STEPS)
def test_parameters_and_defaults_are_those_of_isx_algo(step):
    ours = inspect.signature(getattr(importlib.import_module(f"open_engine.steps.{step}"), step)).parameters
    theirs = inspect.signature(getattr(isx.algo, step)).parameters
    assert [*theirs, "context"] == list(ours)
    for name, parameter in theirs.items():
        theirs_is = tuple(parameter.default) if isinstance(parameter.default, list) else parameter.default
        assert repr(ours[name].default) == repr(theirs_is)  # NaN is not equal to itself


def later(movie: Path, seconds: int) -> Path:
    body, footer = recordings.split_footer(movie.read_bytes())
    content = json.loads(footer)
    content["timingInfo"]["start"]["secsSinceEpoch"]["num"] += 1000 * seconds
    movie.write_bytes(body + recordings.footer_bytes(content))
    return movie


@pytest.fixture
def products(tmp_path: Path, context):
    """Cells of a small movie of two parts, found by pca_ica, and their events."""
    rng = np.random.default_rng(4)
    y, x = np.mgrid[:36, :48]
    places = [(10, 10), (10, 30), (26, 12), (25, 36)]
    footprints = np.array([np.exp(-((y - b) ** 2 + (x - a) ** 2) / 12.5) for b, a in places])
    spikes = (rng.random((4, 300)) < 0.03) * rng.uniform(0.5, 1, (4, 300))
    traces = np.array([np.convolve(train, np.exp(-np.arange(40) / 8))[:300] for train in spikes])
    data = (np.tensordot(traces.T, footprints, 1) + rng.normal(0, 0.02, (300, 36, 48))).astype(np.float32)
    movies, cell_files, event_files = [], [], []
    for i, part in enumerate((data[:140], data[140:])):
        movies.append(str(later(recordings.movie_from(tmp_path / f"m{i}.isxd", part, dropped=[5]), 60 * i)))
        cell_files.append(str(tmp_path / f"c{i}.isxd"))
        event_files.append(str(tmp_path / f"e{i}.isxd"))
    pca_ica(movies, cell_files, 6, 4, context=context)
    for cell_file, event_file in zip(cell_files, event_files):
        cells = isx.CellSet.read(cell_file)
        names = [cells.get_cell_name(i) for i in range(cells.num_cells)]
        events = isx.EventSet.write(event_file, cells.timing, names)
        for i in range(cells.num_cells):
            peaks = np.flatnonzero(np.nan_to_num(cells.get_cell_trace_data(i)) > 0.4)[::9]
            offsets = np.array([int(offset.to_usecs()) for offset in cells.timing.get_offsets_since_start()])
            events.set_cell_data(i, offsets[peaks].astype(np.uint64), np.full(len(peaks), 0.5, np.float32))
        events.flush()
    return cell_files, event_files


def test_products_survive_what_isx_does_with_them(tmp_path, context, products):
    cell_files, event_files = products
    cell_metrics(cell_files, event_files, str(tmp_path / "metrics.csv"), context=context)
    auto_accept_reject(cell_files, event_files, [("SNR", ">", 1)], context=context)
    registered = [str(tmp_path / f"r{i}.isxd") for i in range(2)]
    longitudinal_registration(cell_files, registered, context=context)
    binarize_cell_set(cell_files[0], str(tmp_path / "b.isxd"), 5, context=context)
    for name, path in {"cells": cell_files[0], "lr": registered[1], "bin": str(tmp_path / "b.isxd")}.items():
        image, tiff = tmp_path / f"{name}-map.isxd", tmp_path / f"{name}-map.tif"
        isx.create_cell_map(
            path, ["accepted"], output_isxd_cell_map_file=str(image), output_tiff_cell_map_file=str(tiff)
        )
        drawn = isx.Image.read(str(image)).get_data()
        assert drawn.shape == read_cell_set(path).shape and drawn.any()
    isx.export_event_set_to_csv(event_files, str(tmp_path / "events.csv"), "start", str(tmp_path / "props.csv"))
    lines = (tmp_path / "events.csv").read_text().splitlines()
    assert lines[0].startswith("Time (s)") and len(lines) > 4
    assert isx.make_output_file_path(cell_files[0], str(tmp_path), "x").endswith("c0-x.isxd")


def test_isx_can_change_statuses_of_products(products):
    opened = isx.CellSet.read(products[0][1], read_only=False)
    opened.set_cell_status(2, "rejected")
    del opened
    assert read_cell_set(products[0][1]).statuses[2] == "rejected"
