"""Decisions by eye: how their file is read, what it is about, and what becomes of the cells."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import isx
import numpy as np
import pandas as pd
import pynwb
import pytest

from pipeline.inspect.context import Context
from pipeline.inspect.decisions import CellSetId, Decisions, Present, parse
from pipeline.inspect.footprints import Core, core, core_of, matches
from pipeline.inspect.results import write_results
from pipeline.pages.cells import outline
from recording.errors import Unusable
from samples import recordings
from tests import launch

HEAD = "cell,status,cells,by,at,note\r\n"
NAMES = ["C00", "C01", "=C02", "'=C03"]
NOWHERE = Core(0, 0, np.zeros((0, 0), bool))


def cells_of(cell_set_id: str, names: list[str]) -> list[Present]:
    return [Present(name, cell_set_id, f"{cell_set_id} {name}", "undecided", NOWHERE) for name in names]


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
    assert {name: row.status for name, row in decisions.on(cells_of("f", NAMES)).items()} == statuses
    assert decisions.complaints() == []


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
            "m.csv is not a readable table (unexpected end of data): save it again from the page",
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
    assert {name: row.status for name, row in decisions.on(cells_of("f", NAMES)).items()} == {"C00": "accepted"}
    assert decisions.complaints() == [
        "m.csv:3: C00 is decided twice: the later decision, accepted, counts",
        "m.csv:4: 'good' is not a status: use one of accepted, rejected, undecided",
        "m.csv decides on C09, which its cell set does not have: not applied",
        "m.csv: the decisions on C01 were NOT applied: they are about other cells, because the present ones were "
        "computed again. Decide on the page again and save",
    ]


def identity(names: list[str], footprints: np.ndarray) -> str:
    digest = CellSetId()
    for name, footprint in zip(names, footprints):
        digest.add(name, footprint)
    return str(digest)


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
    done = write_results(
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
    assert not [sentence for sentence in said if "decisions" in sentence]
    assert f'"by": "me", "cell": "{name}"' in (tmp_path / "after" / "m.html").read_text()
    assert cells.read_bytes() == data  # the recording stays as it is


def test_decisions_on_other_cells_change_nothing_and_say_so(cells, tmp_path):
    before, _, _ = adapted(cells, tmp_path / "before", None)
    text = HEAD + f"{before['name'][0]},rejected,0123456789abcdef,me,,\r\n"
    after, _, said = adapted(cells, tmp_path / "after", parse(text, "m.decisions.csv"))
    assert after.equals(before)
    assert [sentence for sentence in said if "NOT applied" in sentence]


def test_a_cell_set_has_one_identity_whatever_its_statuses(cells, tmp_path):
    _, record, _ = adapted(cells, tmp_path / "before", None)
    opened = isx.CellSet.read(str(cells), read_only=False)
    opened.set_cell_status(0, "rejected")
    opened.flush()
    _, after, _ = adapted(cells, tmp_path / "after", None)
    assert after["cell_set_id"] == record["cell_set_id"]


def disc(row: float, column: float, radius: float, shape: tuple[int, int] = (40, 50)) -> np.ndarray:
    y, x = np.mgrid[: shape[0], : shape[1]]
    return np.clip(1.5 - np.hypot(y - row, x - column) / radius, 0, 1).astype(np.float32)


@pytest.mark.parametrize("at", [(20, 20), (0, 0), (39, 49), (0.5, 30)])
def test_an_outline_on_the_page_is_where_the_footprint_is(at):
    footprint = disc(*at, 4)
    inside = core(footprint)
    rows, columns = inside.pixels.shape
    values = footprint[inside.row : inside.row + rows, inside.column : inside.column + columns] * inside.pixels
    drawn = core_of(outline((inside.row, inside.column, values)))
    ((i, j, share),) = matches([drawn], [inside])
    assert (i, j) == (0, 0) and share > 0.85


@pytest.mark.parametrize(
    "text", ["", "M", "M1 2L3 4Z", "M1e9 2L3e9 4L5e9 6Z", "M99999 1L99999 2L99998 3Z", "=1+1", "M" * 9999]
)
def test_an_outline_that_says_nothing(text):
    assert core_of(text) is None or core_of(text).pixels.size < 100


def test_each_place_is_matched_once_with_the_best():
    old = [core(disc(10, 10, 4)), core(disc(10, 12, 4)), core(disc(30, 30, 4))]
    new = [core(disc(30, 31, 4)), core(disc(10, 10, 4)), core(disc(20, 40, 4))]
    assert [(i, j) for i, j, _ in matches(old, new)] == [(0, 1), (2, 0)]


def test_old_decisions_are_shown_by_footprint_and_applied_to_nobody(cells, tmp_path):
    """The cells were computed anew: the names have moved on by one."""
    before, _, _ = adapted(cells, tmp_path / "before", None)
    page = (tmp_path / "before" / "m.html").read_text()
    outlines = {int(i): path for i, path in re.findall(r'data-i="(\d+)" d="([^"]*)"', page)}
    names, old = before["name"].tolist(), "0123456789abcdef"
    rows = [f"{names[(i + 1) % 4]},rejected,{old},me,2026-01-01T00:00:00Z,,{outlines[i]}\r\n" for i in range(2)]
    text = HEAD.replace("note", "note,outline") + "".join(rows) + f"gone,accepted,{old},me,,,M1 1L2 1L2 2Z\r\n"
    after, _, said = adapted(cells, tmp_path / "after", parse(text, "m.decisions.csv"))
    assert after.equals(before)
    (warning,) = [sentence for sentence in said if "NOT applied" in sentence]
    assert "2 of 3 have a cell in the same place" in warning
    assert f"{names[1]} (rejected) where {names[0]} is now, {names[2]} (rejected) where {names[1]} is now" in warning
    proposed = tmp_path / "after" / "m-decisions-by-footprint.csv"
    assert proposed.name in warning
    again, _, said = adapted(cells, tmp_path / "again", parse(proposed.read_text(), "m.decisions.csv"))
    assert again["decided_by"].tolist() == ["me", "me", "", ""] and set(again["status"][:2]) == {"rejected"}
    assert not [sentence for sentence in said if "decisions" in sentence]


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


# ---- cell sets that somebody edited in the output


def edit(path: Path, **wanted: str) -> None:
    """As a lab does, in place."""
    cells = isx.CellSet.read(str(path), read_only=False)
    for i in range(cells.num_cells):
        if cells.get_cell_name(i) in wanted:
            cells.set_cell_status(i, wanted[cells.get_cell_name(i)])
    cells.flush()


def kept(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*.edited-*"))


def test_a_cell_set_that_was_edited_in_the_output_is_kept_and_its_statuses_hold(decided):
    source, output, recipe = decided
    name, other = before = statuses(output)
    original = (output / "m/m_part2-cells.isxd").read_bytes()
    edit(output / "m/m_part1-cells.isxd", **{name: "rejected"})
    content = (output / "m/m_part1-cells.isxd").read_bytes()
    again = launch.run(source, output, "--recipe", str(recipe), "--nwb")
    assert again.code == 0, again.stderr
    (file,) = kept(output)
    assert re.fullmatch(r"m_part1-cells\.edited-\d{4}-\d\d-\d\d\.isxd", file)
    assert (output / "m" / file).read_bytes() == content
    (event,) = again.named("edited")
    assert event["message"] == (
        f"m/m_part1-cells.isxd is not what the run wrote: somebody edited it. It is kept as m/{file}; its statuses "
        "count as decisions by eye"
    )
    assert "begins" not in (output / "logs/m_part1.isxd.log").read_text()
    assert statuses(output) == {**before, name: "rejected"}
    for part in (1, 2):
        cells = isx.CellSet.read(str(output / f"m/m_part{part}-cells.isxd"))
        assert [cells.get_cell_status(i) for i in range(2)] == ["rejected", before[other]]
    with pynwb.NWBHDF5IO(str(output / "m/m.nwb"), "r") as io:
        (table,) = io.read().processing["ophys"]["ImageSegmentation"].plane_segmentations.values()
        assert list(table["status"][:]) == ["rejected", before[other]]
        assert list(table["decided_by"][:]) == [f"edited in {file}", ""]
    assert f"1 statuses count as they were edited in {file}" in (output / "m/m.html").read_text()
    unchanged = launch.run(source, output, "--recipe", str(recipe), "--nwb")
    assert unchanged.code == 0 and not unchanged.named("recording-done") and not unchanged.named("edited")
    # What was decided later, on the page, holds; what was edited once more is kept beside it.
    which = json.loads((output / "m/m.json").read_text())["recordings"]["m.isxd"]["cell_set_id"]
    (source / "m.decisions.csv").write_text(HEAD + f"{name},accepted,{which},Ann,2999-01-01T00:00:00Z,\r\n")
    edit(output / "m/m_part1-cells.isxd", **{other: "rejected"})
    third = launch.run(source, output, "--recipe", str(recipe), "--nwb")
    assert third.code == 0, third.stderr
    assert statuses(output) == {name: "accepted", other: "rejected"}
    assert len(kept(output)) == 2 and file in kept(output)
    (output / "m" / file).unlink()
    assert original != content


@pytest.mark.parametrize("then", ["completed", "failed, completed"])
def test_an_edit_while_a_run_is_cut_short_is_kept_too(decided, then):
    """Between its two halves, a file is what either run wrote, or an edit."""
    source, output, recipe = decided
    text = recipe.read_text()
    for record in (output / ".records").rglob("m*.json"):  # as if this run had been killed while it published
        content = json.loads(record.read_text())
        content["prints"] = {name: [*print_, 1, "of the run before"] for name, print_ in content["prints"].items()}
        record.write_text(json.dumps({**content, "status": "publishing"}))
    name, _ = statuses(output)
    edit(output / "m/m_part1-cells.isxd", **{name: "rejected"})
    content = (output / "m/m_part1-cells.isxd").read_bytes()
    if then.startswith("failed"):
        recipe.with_name("dies.py").write_text("def die(inputs, outputs, context): raise ValueError('no')\n")
        recipe.write_text(text + '\n[[step]]\npython = "dies.py:die"\nmakes = ".txt"\n')
        assert launch.run(source, output, "--recipe", str(recipe)).code == 1
        recipe.write_text(text)
    again = launch.run(source, output, "--recipe", str(recipe), "--nwb")
    assert again.code == 0, again.stderr
    (file,) = kept(output)
    assert (output / "m" / file).read_bytes() == content
    assert statuses(output)[name] == "rejected"


def test_an_edited_cell_set_of_other_cells_is_kept_and_applied_to_nobody(decided):
    source, output, recipe = decided
    before = statuses(output)
    name = next(iter(before))
    edit(output / "m/m_part1-cells.isxd", **{name: "rejected"})
    recipe.write_text(recipe.read_text().replace("[[1, 1]", "[[2, 1]"))
    again = launch.run(source, output, "--recipe", str(recipe))
    assert again.code == 0, again.stderr
    (file,) = kept(output)
    assert set(statuses(output).values()) == set(before.values())
    (said,) = [event["message"] for event in again.named("recording-warning") if "NOT applied" in event["message"]]
    assert f"{file}: the decisions on {name}" in said and f"{name} (rejected) where {name} is now" in said
    assert f"{name},rejected," in (output / "m/m-decisions-by-footprint.csv").read_text()


def test_an_output_that_was_copied_was_not_edited(decided):
    source, output, recipe = decided
    for path in output.rglob("*.isxd"):
        os.utime(path)
    again = launch.run(source, output, "--recipe", str(recipe), "--nwb")
    assert again.code == 0 and not again.named("edited") and not kept(output)


def test_decisions_without_outlines_are_matched_by_the_results_that_they_are_about(decided):
    source, output, recipe = decided
    before = statuses(output)
    name = next(iter(before))
    which = json.loads((output / "m/m.json").read_text())["recordings"]["m.isxd"]["cell_set_id"]
    (source / "m.decisions.csv").write_text(HEAD + f"{name},rejected,{which},Ann,,\r\nC9,rejected,{which},Ann,,\r\n")
    text = recipe.read_text()
    recipe.write_text(text.replace("[[1, 1]", "[[2, 1]"))
    again = launch.run(source, output, "--recipe", str(recipe))
    assert again.code == 0, again.stderr
    assert set(statuses(output).values()) == set(before.values()), "nothing was applied"
    (said,) = [event["message"] for event in again.named("recording-warning") if "NOT applied" in event["message"]]
    assert f"1 of 2 have a cell in the same place: {name} (rejected) where {name} is now" in said
    assert f"{name},rejected," in (output / "m/m-decisions-by-footprint.csv").read_text()
    # Put beside the recording, it holds.
    (source / "m.decisions.csv").write_bytes((output / "m/m-decisions-by-footprint.csv").read_bytes())
    third = launch.run(source, output, "--recipe", str(recipe))
    assert third.code == 0 and not [event for event in third.named("recording-warning") if "NOT" in event["message"]]
    assert statuses(output) == {**before, name: "rejected"}
    assert not (output / "m/m-decisions-by-footprint.csv").exists()
