"""Extra properties of a recording that are of no use stop no step."""

from __future__ import annotations

import isx
import pytest

from open_engine.steps.apply_rois import apply_rois
from open_engine.steps.create_neural_activity_movie import create_neural_activity_movie
from open_engine.steps.event_detection import event_detection
from open_engine.steps.preprocess import preprocess
from recording import formats
from samples import recordings

ODD = {
    "a list": [],
    "a text": "x",
    "a number": 5,
    "nothing": None,
    "a list of IDPS's": {"name": "s1", "idps": [1]},
    "other values of IDPS's": {"idps": {"spatialDownsampling": "x", "efocus": "y", "cellset": [1], "pre_mc": 3}},
}


@pytest.mark.parametrize("extra", ODD.values(), ids=ODD)
def test_steps(tmp_path, context, extra):
    movie = recordings.with_extra(recordings.movie(tmp_path / "m.isxd", 30), extra)
    made = {name: str(tmp_path / f"{name}.isxd") for name in ("pp", "cells", "events", "activity")}
    preprocess([str(movie)], [made["pp"]], spatial_downsample_factor=2, context=context)
    apply_rois([made["pp"]], [made["cells"]], [[[1, 1], [5, 5]]], context=context)
    recordings.with_extra(tmp_path / "cells.isxd", extra)
    event_detection([made["cells"]], [made["events"]], context=context)
    create_neural_activity_movie([made["cells"]], [made["activity"]], context=context)
    assert isx.EventSet.read(made["events"]).num_cells == 1
    noted = formats.extra_properties(formats.read_footer(tmp_path / "pp.isxd"))
    assert noted["idps"]["spatialDownsampling"] == 2
    assert noted.get("name") == (extra.get("name") if isinstance(extra, dict) else None)
