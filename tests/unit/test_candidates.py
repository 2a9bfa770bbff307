"""What was looked at and not taken: kept with the reason, shown, and made a cell by whoever accepts it by eye."""

from __future__ import annotations

import json
import re
from pathlib import Path

import isx
import numpy as np
import pandas as pd
import pynwb
import pytest
import tifffile

from open_engine.files.cellsets import read_cell_set, reasons_of
from pipeline.inspect.footprints import core, shared
from tests import dropped, launch

HEAD = "cell,status,cells,by,at,note\r\n"


@pytest.fixture(params=["all", "last"])
def found(tmp_path: Path, request) -> tuple[Path, Path, Path]:
    """Input, output and recipe of a first run on two parts of a session."""
    source, output, recipe = tmp_path / "in", tmp_path / "out", tmp_path / "r.toml"
    source.mkdir()
    dropped.session(source)
    recipe.write_text(dropped.RECIPE.format(keep=request.param))
    first = launch.run(source, output, "--recipe", str(recipe), "--nwb", "--engine", "open")
    assert first.code == 0, first.stderr
    return source, output, recipe


def explored(output: Path) -> dict:
    """What the page's script reads."""
    (text,) = re.findall(r'<script type="application/json">(.*?)</script>', (output / "m/m.html").read_text(), re.S)
    return json.loads(text)


def candidate_at(output: Path, place: tuple[int, int]) -> tuple[str, str]:
    """Name and reason of the one that lies there."""
    cells = read_cell_set(sorted((output / "m/steps").glob("*-candidates.isxd")))
    shares = [shared(core(image), core(dropped.footprint(*place))) for image in cells.images]
    assert max(shares) > 0.4, shares
    best = int(np.argmax(shares))
    return cells.names[best], reasons_of(cells.footer)[best]


def test_a_true_cell_that_was_dropped_is_seen_and_becomes_a_cell_when_it_is_accepted(found):
    source, output, recipe = found
    before = pd.read_csv(output / "m/m-cells.csv", keep_default_na=False)
    events_before = pd.read_csv(output / "m/m-events.csv")
    assert len(before) == 3 and set(before["status"]) == {"accepted"}
    name, reason = candidate_at(output, dropped.FAINT)
    assert re.fullmatch(r"its highest peak is \d+\.\d times the noise \(min_pnr 22\)", reason)
    page = explored(output)
    i = page["names"].index(name)
    assert page["status"][i] == "candidate" and page["reasons"][i] == reason and i in page["ofCandidates"]
    others = [each for each, status in zip(page["names"], page["status"]) if status == "candidate" and each != name]
    record = json.loads((output / "m/m.json").read_text())["recordings"]["m.isxd"]
    assert record["n_candidates"] == 1 + len(others) and record["n_cells"] == 3

    rows = f"{name},accepted,{page['candidateSet']},Ann,,\r\nC0,rejected,{page['cellSet']},Ann,,\r\n"
    rows += "".join(f"{other},rejected,{page['candidateSet']},Ann,,\r\n" for other in others)
    (source / "m.decisions.csv").write_text(HEAD + rows)
    again = launch.run(source, output, "--recipe", str(recipe), "--nwb", "--engine", "open")
    assert again.code == 0, again.stderr
    assert "begins" not in (output / "logs/m_part1.isxd.log").read_text()
    table = pd.read_csv(output / "m/m-cells.csv", keep_default_na=False)
    wanted = {**dict.fromkeys(before["name"], "accepted"), "C0": "rejected", name: "accepted"}
    assert dict(zip(table["name"], table["status"])) == wanted
    assert table.set_index("name")["decided_by"][name] == "Ann"
    for part in (1, 2):
        cells = isx.CellSet.read(str(output / f"m/m_part{part}-cells.isxd"))
        names = [cells.get_cell_name(i) for i in range(cells.num_cells)]
        assert {each: cells.get_cell_status(i) for i, each in enumerate(names)} == wanted
        step = read_cell_set(next((output / "m/steps").glob(f"m_part{part}-*-candidates.isxd")))
        trace = cells.get_cell_trace_data(names.index(name))
        assert np.array_equal(trace, step.traces[step.names.index(name)])
    assert len(tifffile.imread(output / "m/m-footprints.tif")) == 4
    assert name in pd.read_csv(output / "m/m-traces.csv").columns
    events = pd.read_csv(output / "m/m-events.csv")
    assert events[events["cell"] != name].reset_index(drop=True).equals(events_before), "those of others stay"
    assert len(events[events["cell"] == name]) >= 3
    with pynwb.NWBHDF5IO(str(output / "m/m.nwb"), "r") as io:
        (nwb,) = io.read().processing["ophys"]["ImageSegmentation"].plane_segmentations.values()
        assert dict(zip(nwb["cell_name"][:], nwb["status"][:])) == wanted
        assert dict(zip(nwb["cell_name"][:], nwb["decided_by"][:])) == {
            **dict.fromkeys(wanted, ""),
            "C0": "Ann",
            name: "Ann",
        }
        assert list(nwb["Accepted"][:]) == [status == "accepted" for status in wanted.values()]
    page = explored(output)
    assert page["status"][page["names"].index(name)] == "accepted"
    assert {each["cell"]: each["status"] for each in page["decided"]} == {
        "C0": "rejected",
        name: "accepted",
        **dict.fromkeys(others, "rejected"),
    }
    unchanged = launch.run(source, output, "--recipe", str(recipe), "--nwb", "--engine", "open")
    assert unchanged.code == 0 and not unchanged.named("recording-done")
    # Taken back, all is as it was.
    (source / "m.decisions.csv").unlink()
    back = launch.run(source, output, "--recipe", str(recipe), "--nwb", "--engine", "open")
    assert back.code == 0, back.stderr
    assert pd.read_csv(output / "m/m-cells.csv", keep_default_na=False).equals(before)
    assert "begins" not in (output / "logs/m_part1.isxd.log").read_text()
