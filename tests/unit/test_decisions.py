"""Decisions by eye: how their file is read, what it is about, and what becomes of the cells."""

from __future__ import annotations

import json
from pathlib import Path

import isx
import numpy as np
import pandas as pd
import pynwb
import pytest

from pipeline.inspect.adapter import adapt
from pipeline.inspect.context import Context
from pipeline.inspect.decisions import CellSetId, Decisions, parse
from recording.errors import Unusable
from tests import launch, recordings

HEAD = "cell,status,cells,by,at,note\r\n"
NAMES = ["C00", "C01", "=C02", "'=C03"]


@pytest.mark.parametrize(
    ("text", "statuses"),
    [
        (HEAD + "C00,rejected,f,me,,\r\n", {"C00": "rejected"}),
        (
            "\ufeff" + HEAD.replace(",", ";") + "C00;Rejected;f;me;;\r\nC01;accepted;f;;;\r\n",
            {"C00": "rejected", "C01": "accepted"},
        ),
        ("sep=;\r\n" + HEAD.replace(",", ";") + "C00;rejected;f;;;\r\n", {"C00": "rejected"}),
        (HEAD.replace(",", "\t") + "C00\trejected\tf\t\t\t\n", {"C00": "rejected"}),
        ("status,cell,cells\n undecided ,C01, f \n\n,,\n", {"C01": "undecided"}),
        (HEAD + "'=C02,rejected,f,,,\r\n", {"=C02": "rejected"}),
        (HEAD + "''=C03,rejected,f,,,\r\n", {"'=C03": "rejected"}),
        (HEAD + '"C00","rejected","f","a ""b"", c","","two\nlines"\r\n', {"C00": "rejected"}),
        (HEAD, {}),
    ],
)
def test_whatever_a_spreadsheet_makes_of_it(text, statuses):
    decisions = parse(text, "m.decisions.csv")
    assert {name: row.status for name, row in decisions.about("f", NAMES).items()} == statuses
    assert decisions.missing("f", NAMES) == [] and decisions.complaints() == []


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "m.csv has no column cell and no column status and no column cells: its first line must be "),
        (
            "cell,status\nC00,rejected\n",
            "m.csv has no column cells: its first line must be cell,status,cells,by,at,note",
        ),
        (
            HEAD + 'C00,"rejected',
            "m.csv is no table that can be read (unexpected end of data): save it again from the page",
        ),
        ("\0" * 5000, "m.csv "),
    ],
)
def test_what_is_no_table_of_decisions(text, reason):
    with pytest.raises(Unusable) as error:
        parse(text, "m.csv")
    assert str(error.value).startswith(reason)


def test_rows_that_say_nothing_are_named():
    text = (
        HEAD + "C00,rejected,f,,,\r\nC00,accepted,f,,,\r\nC01,good,f,,,\r\nC09,rejected,f,,,\r\nC01,rejected,old,,,\r\n"
    )
    decisions = parse(text, "m.csv")
    assert {name: row.status for name, row in decisions.about("f", NAMES).items()} == {"C00": "accepted"}
    assert decisions.missing("f", NAMES) == ["C09"]
    assert decisions.complaints() == [
        "m.csv:3: C00 is decided twice: accepted, the later one, holds",
        "m.csv:4: 'good' is no status: one of accepted, rejected, undecided",
        "m.csv: the decisions on C01 were NOT applied: they are about other cells, since the present ones were "
        "computed anew. Decide on the page again and save",
    ]


def identity(names: list[str], footprints: np.ndarray) -> str:
    found = CellSetId()
    for name, footprint in zip(names, footprints):
        found.add(name, footprint)
    return str(found)


def test_the_identity_is_that_of_names_and_footprints():
    footprints = np.zeros((2, 6, 8), np.float32)
    footprints[0, 1:3, 2], footprints[1, 4, 5] = 0.5, 1.0
    before = identity(["a", "b"], footprints)
    assert identity(["a", "b"], footprints.copy()) == before
    other = footprints.copy()
    other[1, 4, 5] = 0.9
    assert (
        len(
            {
                before,
                identity(["a", "c"], footprints),
                identity(["a", "b"], other),
                identity(["b", "a"], footprints[::-1]),
            }
        )
        == 4
    )


@pytest.fixture
def cells(tmp_path: Path) -> Path:
    return recordings.cell_set(tmp_path / "m.isxd", n_cells=4)


def adapted(cells: Path, out: Path, decisions: Decisions | None) -> tuple[pd.DataFrame, dict, list[str]]:
    out.mkdir()
    said: list[str] = []
    done = adapt(
        cells, "cell_set", "m", out, Context(out.parent, warn=said.append, decisions=decisions), with_page=True
    )
    return pd.read_csv(out / "m-cells.csv", keep_default_na=False), dict(done.part.record), said


def test_decisions_reach_the_table_the_record_and_the_page(cells, tmp_path):
    before, record, _ = adapted(cells, tmp_path / "before", None)
    assert set(before["decided_by"]) == {""}
    which = record["cell_set_id"]
    name, other = before["name"][0], before["name"][1]
    wanted = "rejected" if before["status"][0] != "rejected" else "accepted"
    text = HEAD + f"{name},{wanted},{which},me,2026-01-01T00:00:00Z,\r\n{other},accepted,{which},,,\r\n"
    data = cells.read_bytes()
    after, changed, said = adapted(cells, tmp_path / "after", parse(text, "m.decisions.csv"))
    assert (after["status"][0], after["decided_by"][0]) == (wanted, "me")
    assert (after["status"][1], after["decided_by"][1]) == ("accepted", "hand")
    assert after["status"][2:].tolist() == before["status"][2:].tolist()
    assert changed["cell_set_id"] == which and changed["n_decided_by_hand"] == 2
    assert changed["n_accepted"] == (after["status"] == "accepted").sum()
    assert not [each for each in said if "decisions" in each]
    assert f'"by": "me", "cell": "{name}"' in (tmp_path / "after" / "m.html").read_text()
    assert cells.read_bytes() == data  # the recording stays as it is


def test_decisions_on_other_cells_change_nothing_and_say_so(cells, tmp_path):
    before, _, _ = adapted(cells, tmp_path / "before", None)
    text = HEAD + f"{before['name'][0]},rejected,0123456789abcdef,me,,\r\n"
    after, _, said = adapted(cells, tmp_path / "after", parse(text, "m.decisions.csv"))
    assert after.equals(before)
    assert [each for each in said if "NOT applied" in each]


def test_a_cell_set_has_one_identity_whatever_its_statuses(cells, tmp_path):
    _, record, _ = adapted(cells, tmp_path / "before", None)
    opened = isx.CellSet.read(str(cells), read_only=False)
    opened.set_cell_status(0, "rejected")
    opened.flush()
    _, after, _ = adapted(cells, tmp_path / "after", None)
    assert after["cell_set_id"] == record["cell_set_id"]


# ---- from one run to the next

RECIPE = """version = 1
[[step]]
use = "apply_rois"
rois = [[[1, 1], [1, 6], [6, 6], [6, 1]], [[8, 1], [8, 6], [13, 6], [13, 1]]]
"""


@pytest.fixture
def decided(tmp_path: Path) -> tuple[Path, Path, Path]:
    """Input, output and recipe of a first run on two parts of a session."""
    source, output, recipe = tmp_path / "in", tmp_path / "out", tmp_path / "r.toml"
    source.mkdir()
    for part in (1, 2):
        start = recordings.START_MS + 60_000 * part
        recordings.movie(source / f"m_part{part}.isxd", n=20, seed=part, start_ms=start)
    recipe.write_text(RECIPE.replace("version = 1", 'version = 1\ngroup = "series"'))
    first = launch.run(source, output, "--recipe", str(recipe), "--nwb")
    assert first.code == 0, first.stderr
    return source, output, recipe


def statuses(output: Path) -> dict[str, str]:
    table = pd.read_csv(output / "m/m-cells.csv", keep_default_na=False)
    return dict(zip(table["name"], table["status"]))


def test_the_next_run_honours_decisions_and_repeats_no_step(decided):
    source, output, recipe = decided
    which = json.loads((output / "m/m.json").read_text())["recordings"]["m.isxd"]["cell_set_id"]
    before = statuses(output)
    name, other = before
    (source / "m.decisions.csv").write_text(HEAD + f"{name},rejected,{which},Ann,,\r\n")
    again = launch.run(source, output, "--recipe", str(recipe), "--nwb")
    assert again.code == 0, again.stderr
    assert "begins" not in (output / "logs/m_part1.isxd.log").read_text()
    assert statuses(output) == {name: "rejected", other: before[other]}
    for part in (1, 2):
        cells = isx.CellSet.read(str(output / f"m/m_part{part}-cells.isxd"))
        assert [cells.get_cell_status(i) for i in range(2)] == ["rejected", before[other]]
    step = isx.CellSet.read(str(next((output / "m/steps").glob("m_part1-*.isxd"))))
    assert step.get_cell_status(0) == before[name]  # what the recipe made stays as it was
    with pynwb.NWBHDF5IO(str(output / "m/m.nwb"), "r") as io:
        (table,) = io.read().processing["ophys"]["ImageSegmentation"].plane_segmentations.values()
        assert list(table["status"][:]) == ["rejected", before[other]]
    assert f'"cell": "{name}"' in (output / "m/m.html").read_text()
    unchanged = launch.run(source, output, "--recipe", str(recipe), "--nwb")
    assert unchanged.code == 0 and not unchanged.named("recording-done")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            HEAD + "C0,rejected,0123456789abcdef,,,\r\n",
            "m.decisions.csv: the decisions on C0 were NOT applied: they",
        ),
        ("what,is,this\r\n", "no decision was applied: m.decisions.csv has no column cell and no column status"),
    ],
)
def test_a_stale_or_broken_file_is_said_aloud_and_changes_nothing(decided, text, message):
    source, output, recipe = decided
    before = statuses(output)
    (source / "m.decisions.csv").write_text(text)
    again = launch.run(source, output, "--recipe", str(recipe))
    assert again.code == 0, again.stderr
    assert statuses(output) == before
    assert [event for event in again.named("recording-warning") if message in event["message"]]
    assert message in (output / "m/m.html").read_text()
