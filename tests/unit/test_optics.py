"""Lengths in the tissue, and photons: what recordings state of their optics, and where results say it."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pynwb
import pytest
from PIL import Image

from pipeline.inspect import optics
from samples import damage, recordings
from tests.launch import run

LENS = {"name": "ProView Integrated Lens 0.5 mm x 4.0 mm", "id": "1050-004417"}
WINDOW = {"name": "Cranial Window or No Lens", "id": ""}


@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        ({"probe": LENS}, 0.67),
        ({"probe": LENS, "microscope": {"focus": 1000}}, 0.81),
        ({"probe": LENS, "microscope": {"focus": "500"}}, 0.74),
        ({"probe": LENS, "microscope": {"focus": 0}, "idps": {"efocus": 500}}, 0.74),
        ({"probe": LENS, "idps": {"spatialDownsampling": 4}}, 2.68),
        ({"probe": WINDOW, "microscope": {"focus": 500}}, 0.81),
        ({"probe": WINDOW, "microscope": {"focus": 0, "widefield": True}}, 1.41),
        ({"probe": LENS, "idps": {"integratedBasePlate": "18"}}, 0.77),  # told to IDPS later
        ({"idps": {"integratedBasePlate": "17"}}, 0.82),
        ({"idps": {"integratedBasePlate": "0"}, "probe": LENS}, None),
        ({"idps": {"integratedBasePlate": "1e999"}}, None),
        ({"probe": {"name": "Lens Probe 1.0 mm x 4.2 mm", "id": "130-000143"}}, None),  # not integrated
        ({"probe": {"name": "None", "id": ""}}, None),
        ({"probe": LENS, "microscope": {"focus": 4000}}, None),
        ({"probe": LENS, "microscope": {"focus": "nan"}}, None),
        ({"probe": LENS, "idps": {"spatialDownsampling": 0}}, None),
        ({"probe": ["1050-004417"], "idps": 3}, None),
        ({}, None),
    ],
)
def test_a_pixel_in_the_tissue(stated, expected):
    assert optics.um_per_px(stated) == (expected if expected is None else pytest.approx(expected))


@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        ({"microscope": {"type": "nVista 2P"}}, True),
        ({"microscope": {"type": "NVista2P"}}, True),
        ({"microscope": {"type": "NVista3"}, "probe": {"name": "ProView 2P Integrated Lens 1.0 mm x 4.2 mm"}}, True),
        ({"microscope": {"type": "two-photon"}}, True),
        ({"microscope": {"type": "NVista3"}, "probe": LENS}, False),
        ({"microscope": {"type": "NVoke2 Plane"}}, False),
        ({"microscope": {"type": "NVista12P"}}, False),
        ({"microscope": {"type": None}}, False),
        ({"microscope": "2P"}, False),
        ({}, False),
    ],
)
def test_one_photon_or_two(stated, expected):
    assert optics.is_two_photon(stated) is expected


SCALE = {"length": 20, "geometry": {"type": "line", "coordinates": [[10, 10], [40, 50]]}}


def camera(scale: Any = SCALE, name: str = "camera-1", **more: Any) -> dict[str, Any]:
    area = {"cameraName": name, "trackingArea": {"scale": scale}}
    return {"cameraName": "camera-1", "processingInterface": {}, "trackingInterface": {"camera-1": area}, **more}


@pytest.mark.parametrize(
    ("session", "expected"),
    [
        (camera(), 2.5),
        (camera(idps={"pixelsPerCm": 15.0}), 15),
        (camera(name="top", processingInterface={"camera-1": {"cameraAlias": "top"}}), 2.5),
        (camera(name="another"), None),
        (camera({"length": 0, "geometry": SCALE["geometry"]}), None),
        (camera({"length": 20, "geometry": {"coordinates": [[1, 2]]}}), None),
        (camera({"length": 20, "geometry": {"coordinates": [["a", 2], [3, 4]]}}), None),
        (camera(trackingInterface=7), None),
        ([], None),
    ],
)
def test_px_per_cm_of_a_camera(session, expected):
    assert optics.px_per_cm(session) == expected


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def test_lengths_are_those_in_the_tissue_where_the_lens_is_known(input, output):
    facts = {**recordings.STATED, "probe": {**recordings.STATED["probe"], **LENS}}
    recordings.stating(recordings.movie(input / "m.isxd"), facts)
    recordings.stating(recordings.cell_set(input / "m-ROI.isxd", n=30), facts)
    done = run(input, output, env={"NWB": "1"})
    assert done.code == 0, done.stderr
    um = 0.67 + 0.14 * 850 / 1000
    folder = output / "m"
    for cell in rows(folder / "m-cells.csv"):
        assert float(cell["centroid_x_um"]) == pytest.approx(float(cell["centroid_x_px"]) * um, abs=1e-5)
        assert float(cell["area_um2"]) == pytest.approx(float(cell["area_px"]) * um * um, abs=1e-5)
    record = json.loads((folder / "m.json").read_text())
    assert record["tissue_um_per_px"] == pytest.approx(um)
    assert record["pixel_width_um"] == 3, "what the file says"
    with Image.open(folder / "m-mean.tif") as picture:
        assert float(picture.tag_v2[282]) == pytest.approx(1 / um, rel=1e-6)
    page = (folder / "m.html").read_text()
    assert "3 × 3 µm on the sensor, 0.789 µm in the tissue by the lens" in page
    assert "The bar is a length in the tissue." in page and "length on the sensor" not in page
    with pynwb.NWBHDF5IO(str(folder / "m.nwb"), "r") as io:
        (plane,) = io.read().imaging_planes.values()
        assert np.allclose(plane.grid_spacing, [um, um]) and plane.grid_spacing_unit == "micrometers"
        assert "a pixel of m.isxd is 0.789 x 0.789 micrometers in the tissue" in plane.description


def test_two_sizes_of_a_pixel_are_both_stated_and_neither_is_the_planes(input, output):
    facts = {**recordings.STATED, "probe": {**recordings.STATED["probe"], **LENS}}
    recordings.stating(recordings.movie(input / "m.isxd"), facts)
    less = {**facts, "idps": {"spatialDownsampling": 2}}
    recordings.stating(recordings.cell_set(input / "m-ROI.isxd", n=30), less)
    assert run(input, output, env={"NWB": "1"}).code == 0
    with pynwb.NWBHDF5IO(str(output / "m/m.nwb"), "r") as io:
        (plane,) = io.read().imaging_planes.values()
        assert plane.grid_spacing is None
        assert "m.isxd is 0.789 x 0.789 micrometers in the tissue; a pixel of m-ROI.isxd is 1.578" in plane.description


def test_two_photon_movies_are_written_as_such(input, output):
    facts = {**recordings.STATED, "microscope": {**recordings.STATED["microscope"], "type": "nVista 2P"}}
    recordings.stating(recordings.movie(input / "m.isxd"), facts)
    assert run(input, output, env={"NWB_MOVIE": "1"}).code == 0
    with pynwb.NWBHDF5IO(str(output / "m/m.nwb"), "r") as io:
        file = io.read()
        series = file.acquisition["TwoPhotonSeries"]
        assert isinstance(series, pynwb.ophys.TwoPhotonSeries) and "OnePhotonSeries" not in file.acquisition
        assert series.data.shape[0] == 12
        assert series.imaging_plane.description.startswith("Field of view of a miniature two-photon microscope")
    assert pynwb.validate(path=str(output / "m/m.nwb")) == []


def test_tracking_in_centimetres(input, output):
    path = recordings.behavior_movie(input / "m.isxb", tracked=True)
    read, written = damage.PARTS[".isxb"]["session"]
    session = json.loads(read(path.read_bytes()).rstrip(b"\0"))
    session["trackingInterface"]["camera-1"]["trackingArea"] = {"scale": SCALE}
    path.write_bytes(written(path.read_bytes(), json.dumps(session).encode()))
    done = run(input, output, env={"NWB": "1"})
    assert done.code == 0, done.stderr
    tracked = [row for row in rows(output / "m/m-tracking.csv") if row["center_x_px"]]
    assert tracked
    for row in tracked:
        assert math.isclose(float(row["center_y_cm"]), float(row["center_y_px"]) / 2.5, rel_tol=1e-5)
    assert json.loads((output / "m/m.json").read_text())["px_per_cm"] == 2.5
    with pynwb.NWBHDF5IO(str(output / "m/m.nwb"), "r") as io:
        centre = io.read().processing["behavior"]["Position"]["Centre"]
        assert (centre.unit, centre.conversion) == ("centimeters", 0.4)
