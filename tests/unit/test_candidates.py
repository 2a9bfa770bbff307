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

from open_engine.files.cellsets import read_cell_set, reasons_of, scales_of
from open_engine.merging import joined_trace
from pipeline.inspect import candidates
from pipeline.inspect.decisions import parse
from pipeline.inspect.footprints import core, shared
from samples import recordings
from tests import dropped, launch

HEAD = "cell,status,cells,by,at,note\r\n"


@pytest.fixture(params=["all", "last"])
def first_run(tmp_path: Path, request) -> tuple[Path, Path, Path]:
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


def test_a_true_cell_that_was_dropped_is_seen_and_becomes_a_cell_when_it_is_accepted(first_run):
    source, output, recipe = first_run
    before = pd.read_csv(output / "m/m-cells.csv", keep_default_na=False)
    events_before = pd.read_csv(output / "m/m-events.csv")
    assert len(before) == 3 and set(before["status"]) == {"accepted"}
    name, reason = candidate_at(output, dropped.FAINT)
    assert re.fullmatch(r"its highest peak is \d+\.\d times the noise \(min_pnr 22\)", reason)
    page = explored(output)
    i = page["names"].index(name)
    assert page["status"][i] == "candidate" and page["reasons"][i] == reason and i in page["ofCandidates"]
    assert "of at most 300 frames of m_part1.isxd and 1 more" in (output / "m/m.html").read_text(), (
        "behind the outlines"
    )
    others = [other for other, status in zip(page["names"], page["status"]) if status == "candidate" and other != name]
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
        assert {cell: cells.get_cell_status(i) for i, cell in enumerate(names)} == wanted
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
    assert {row["cell"]: row["status"] for row in page["decided"]} == {
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


# ---- steps that come after the cells

LAB = """
from pathlib import Path
import numpy as np
from open_engine.files.cellsets import read_cell_set
from open_engine.metrics import read_events

def listing(inputs: list[Path], outputs: list[Path], context) -> None:
    half = len(inputs) // 2
    cells = read_cell_set(inputs[:half])
    listing = zip(cells.names, cells.statuses, read_events(inputs[half:], cells))
    rows = [f"{name},{status},{len(its.samples)}" for name, status, its in listing]
    for output in outputs:
        output.write_text("\\n".join(["name,status,events", *rows]) + "\\n")

def fails_without_the_first(inputs: list[Path], outputs: list[Path], context) -> None:
    if read_cell_set(inputs).statuses[0] == "rejected":
        raise ValueError("C0 is what this compares with")
    for output in outputs:
        output.write_text("name\\n")
"""
LISTING = '[[step]]\npython = "lab.py:{}"\ntakes = {}\nmakes = ".csv"\n'
AFTER = {  # steps after those of the recipe, and which of them are done again for a decision
    "at once": LISTING.format("listing", '["cell_set", "event_set"]'),
    "events after acceptance": '[[step]]\nuse = "event_detection"\naccepted_cells_only = true\nthreshold = 4\n'
    + LISTING.format("listing", '["cell_set", "event_set"]'),
}


def begun(output: Path) -> list[str]:
    lines = (output / "logs/m_part1.isxd.log").read_text().splitlines()
    return [line for line in lines if " begins" in line]


@pytest.mark.parametrize("after", AFTER.values(), ids=AFTER)
def test_steps_after_the_cells_work_on_them_as_they_were_decided(after, tmp_path):
    """With a candidate that was accepted and its events, without a cell that was rejected, and nothing before them."""
    source, output, recipe = tmp_path / "in", tmp_path / "out", tmp_path / "r.toml"
    source.mkdir()
    dropped.session(source)
    recipe.write_text(dropped.RECIPE.format(keep="all") + after)
    (tmp_path / "lab.py").write_text(LAB)
    first = launch.run(source, output, "--recipe", str(recipe), "--engine", "open")
    assert first.code == 0, first.stderr
    made = next((output / "m/steps").glob("m_part2*listing.csv"))
    before = pd.read_csv(made, keep_default_na=False)
    assert list(before["status"]) == ["accepted"] * 3 and before["events"].min() >= 3
    name, _ = candidate_at(output, dropped.FAINT)
    page = explored(output)
    rows = f"{name},accepted,{page['candidateSet']},Ann,,\r\nC0,rejected,{page['cellSet']},Ann,,\r\n"
    (source / "m.decisions.csv").write_text(HEAD + rows)
    again = launch.run(source, output, "--recipe", str(recipe), "--engine", "open")
    assert again.code == 0, again.stderr
    assert not again.named("recording-warning"), again.stderr
    number = 3 + after.count("[[step]]")
    assert begun(output)[-1] == f"step {number} (listing) begins, on the cells as they were decided by eye"
    assert [line.partition(" (")[0] for line in begun(output)] == [f"step {i}" for i in range(4, number + 1)]
    table = pd.read_csv(made, keep_default_na=False).set_index("name")
    assert dict(table["status"]) == {"C0": "rejected", "C1": "accepted", "C2": "accepted", name: "accepted"}
    assert table["events"][name] >= 3
    events = pd.read_csv(output / "m/m-events.csv").groupby("cell").size()
    of_set = table[table["status"] == "accepted"]["events"]
    assert dict(events.reindex(of_set.index)) == dict(of_set), "the session's own events are these"
    assert list(table["events"][["C1", "C2"]]) == list(before.set_index("name")["events"][["C1", "C2"]])
    unchanged = launch.run(source, output, "--recipe", str(recipe), "--engine", "open")
    assert unchanged.code == 0 and not unchanged.named("recording-done")
    (source / "m.decisions.csv").unlink()
    back = launch.run(source, output, "--recipe", str(recipe), "--engine", "open")
    assert back.code == 0, back.stderr
    assert pd.read_csv(made, keep_default_na=False).equals(before)


def test_a_step_after_the_cells_that_cannot_work_on_them_as_decided(tmp_path):
    """That costs the session nothing, and is said, also when the step is not done again."""
    source, output, recipe = tmp_path / "in", tmp_path / "out", tmp_path / "r.toml"
    source.mkdir()
    dropped.session(source)
    recipe.write_text(
        dropped.RECIPE.format(keep="all") + LISTING.format("fails_without_the_first", '"cell_set"') + AFTER["at once"]
    )
    (tmp_path / "lab.py").write_text(LAB)
    assert launch.run(source, output, "--recipe", str(recipe), "--engine", "open").code == 0
    (source / "m.decisions.csv").write_text(f"{HEAD}C0,rejected,{explored(output)['cellSet']},Ann,,\r\n")
    said = "step 4 (fails_without_the_first): failed: C0 is what this compares with (ValueError in lab.py, line 17); "
    said += "steps/ has what it makes of the cells as the recipe left them"
    for more in ([], ["--nwb"]):
        done = launch.run(source, output, "--recipe", str(recipe), "--engine", "open", *more)
        assert done.code == 0, done.stderr
        assert [event["message"] for event in done.named("recording-warning")] == [f"m_part1.isxd and 1 more: {said}"]
    made = next((output / "m/steps").glob("m_part2*listing.csv"))
    assert list(pd.read_csv(made)["status"]) == ["rejected", "accepted", "accepted"], "others honour it"


# ---- cells of one neuron


def test_the_activity_of_one_neuron_that_was_shared_out_is_summed():
    rng = np.random.default_rng(0)
    place = dropped.footprint(20, 20)
    course = rng.random(50)
    share = rng.random(50)
    trace = joined_trace([place, 2 * place], [course * share / 4, course * (1 - share) / 3], [4.0, 1.5])
    assert trace == pytest.approx(course / 4, rel=1e-5), "in the unit of the first one"
    alone = joined_trace([place, dropped.footprint(60, 80)], [course, course], [1.0, 1.0])
    assert alone == pytest.approx(course, rel=1e-3), "what lies elsewhere adds nothing"


@pytest.mark.parametrize(
    ("into", "joined"),
    [
        ({"b": "a"}, {"a": ["b"]}),
        ({"b": "a", "c": "b"}, {"a": ["b", "c"]}),
        ({"b": "a", "c": "a"}, {"a": ["b", "c"]}),
        ({"b": "a", "a": "b"}, {}),
        ({"b": "b"}, {}),
        ({"b": "nobody"}, {}),
    ],
)
def test_who_is_joined_with_whom(into, joined, tmp_path):
    names = ["a", "b", "c"]
    written = isx.CellSet.write(str(tmp_path / "m.isxd"), recordings.timing(20), isx.Spacing((16, 16)))
    for i, name in enumerate(names):
        footprint = np.zeros((16, 16), np.float32)
        footprint[4 * i : 4 * i + 3, 4:8] = 1
        written.set_cell_data(i, footprint, np.arange(20, dtype=np.float32), name)
    written.flush()
    del written
    cells = read_cell_set(tmp_path / "m.isxd")
    which = candidates.present_in(cells)[0].cells
    rows = "".join(f"{name},rejected,{which},,,,,{other}\r\n" for name, other in into.items())
    by_kept = candidates.joins(cells, None, parse(HEAD.replace("note", "note,outline,joined_with") + rows, "m.csv"))
    assert {kept: sorted(others) for kept, others in by_kept.items()} == joined


def test_a_cell_that_is_joined_must_be_rejected():
    decisions = parse(HEAD.replace("note", "note,joined_with") + "b,accepted,f,,,,a\r\n", "m.csv")
    assert not decisions.rows
    assert decisions.complaints() == ["m.csv:2: b is joined with another cell, so it must be rejected"]


def test_cells_of_one_neuron_are_joined_in_the_next_run(tmp_path):
    source, output, recipe = tmp_path / "in", tmp_path / "out", tmp_path / "r.toml"
    source.mkdir()
    dropped.session(source, [(18, 18), (18, 25), (44, 24)])
    recipe.write_text(dropped.RECIPE.format(keep="all"))
    first = launch.run(source, output, "--recipe", str(recipe), "--nwb", "--engine", "open")
    assert first.code == 0, first.stderr
    assert explored(output)["eventKind"] == "events of m-events.isxd"
    steps = [read_cell_set(path) for path in sorted((output / "m/steps").glob("m_part?-CNMFE-AR.isxd"))]
    before = pd.read_csv(output / "m/m-events.csv")
    names, scales = steps[0].names, scales_of(steps[0].footer)
    images = [np.array(image, np.float64) for image in steps[0].images]
    alike = [(float((a * b).sum()), i, j) for i, a in enumerate(images) for j, b in enumerate(images) if i < j]
    weight, kept, part = max(alike)
    assert weight > 0.01 * (images[kept] ** 2).sum(), "they overlap"
    page = explored(output)
    head = HEAD.replace("note", "note,outline,joined_with")
    (source / "m.decisions.csv").write_text(f"{head}{names[part]},rejected,{page['cellSet']},Ann,,,,{names[kept]}\r\n")
    again = launch.run(source, output, "--recipe", str(recipe), "--nwb", "--engine", "open")
    assert again.code == 0, again.stderr
    assert "begins" not in (output / "logs/m_part1.isxd.log").read_text()
    table = pd.read_csv(output / "m/m-cells.csv", keep_default_na=False).set_index("name")
    assert table["status"][names[part]] == "rejected" and table["decided_by"][names[part]] == "Ann"
    assert table["status_reason"][names[part]] == f"joined with {names[kept]}"
    share = weight / (images[kept] ** 2).sum() * scales[part] / scales[kept]
    for number, step in enumerate(steps, 1):
        cells = isx.CellSet.read(str(output / f"m/m_part{number}-cells.isxd"))
        assert np.allclose(cells.get_cell_trace_data(kept), step.traces[kept] + share * step.traces[part], rtol=1e-4)
        assert np.array_equal(cells.get_cell_trace_data(part), step.traces[part])
        assert np.array_equal(cells.get_cell_image_data(kept), step.images[kept])
    events = pd.read_csv(output / "m/m-events.csv")
    its = [table[table["cell"] == names[kept]].reset_index(drop=True) for table in (before, events)]
    assert len(its[1]) and not its[0].equals(its[1]), "its events are those of the new trace"
    others = [name for name in names if name != names[kept]]
    assert (
        events[events["cell"].isin(others)]
        .reset_index(drop=True)
        .equals(before[before["cell"].isin(others)].reset_index(drop=True))
    )
    (decided,) = explored(output)["decided"]
    assert (decided["cell"], decided["joined_with"]) == (names[part], names[kept])
    assert explored(output)["cellSet"] == page["cellSet"], "decisions on these cells still hold"
