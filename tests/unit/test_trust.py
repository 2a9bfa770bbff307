"""The first screen of a page: whether a session can be trusted, in words, and its measures beside those of others."""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path

import pytest

from pipeline.pages import overview
from pipeline.pages import strips as module
from pipeline.pages.content import Measure, Part
from pipeline.pages.strips import FEWEST, WIDTH, Strip, populations, strips
from pipeline.pages.strips import text as shown
from pipeline.pages.trust import trust
from protocol.overview import Entry, Overview, Row
from samples import recordings
from tests import launch


def part(*measures: Measure, kind: str = "movie", **record: int) -> Part:
    return Part("m.isxd", kind, "", record, measures=measures)


GOOD = Measure("snr_median", "SNR", 8.0, "", "")
BAD = Measure("dropped_percent", "Dropped frames", 9.0, "%", "", "more than one in a hundred is missing")
SHARP, BLURRED = (
    Measure(f"crispness_{when}_per_px", "", value, "1/px", "") for when, value in (("before", 2.0), ("after", 1.0))
)


@pytest.mark.parametrize(
    ("parts", "warnings", "failure", "sentence", "check"),
    [
        ([part(GOOD)], [], "", "No measurement speaks against it.", ""),
        ([part(GOOD)], ["w"], "", "No measurement speaks against it; read the", "Read the warning below."),
        ([part(GOOD)], ["v", "w"], "", "No measurement speaks against it", "Read the 2 warnings below."),
        ([part(GOOD, BAD)], [], "", "Look first: one thing speaks", "Dropped frames (m.isxd): more than one"),
        (
            [part(SHARP, BLURRED, BAD)],
            [],
            "",
            "Look first: 2 things speak",
            "less crisp after it (1) than before (2)",
        ),
        ([part(GOOD)], [], "it broke", "No: its recipe failed.", ""),
        ([part(GOOD, kind="cell_set", n_accepted=0)], [], "", "Not yet: no cell of m.isxd is accepted.", ""),
        ([part()], [], "", "Nothing could be measured here.", ""),
    ],
)
def test_a_session_is_judged_in_words(parts, warnings, failure, sentence, check):
    judged = trust(parts, warnings, failure)
    assert judged.sentence.startswith(sentence)
    assert not check or any(check in sentence_of for sentence_of in judged.checks)


def sessions(*values: float) -> dict[str, dict[str, tuple[str, str]]]:
    return {f"s{i}": {"snr_median": (f"{value}", "px")} for i, value in enumerate(values)}


def strips_of(name: str, known: dict[str, dict[str, tuple[str, str]]]) -> list[Strip]:
    return strips(known[name], populations(known.values()))


@pytest.mark.parametrize(
    ("values", "is_out"),
    [
        ((30, 5, 5.2, 5.4, 4.8, 5.1), True),
        ((0.1, 5, 5.2, 5.4, 4.8, 5.1), True),
        ((5.6, 5, 5.2, 5.4, 4.8, 5.1), False),
        ((30, 5, 5.2, 5.4), False),  # too few to say
        ((30, 5, 5, 5, 5, 5), True),  # most do not vary at all
        ((5.001, 5, 5, 5, 5, 5), False),  # nobody sees a difference
        ((5, 5, 5, 5, 5, 30), False),
        ((5, 5), False),
    ],
)
def test_what_is_out_of_line_is_said(values, is_out):
    (strip,) = strips_of("s0", sessions(*values))
    assert strip.is_out_of_line == is_out
    text = shown([strip], 9000)
    assert ("median is out of line" in text) == is_out and ('<details class="others" open>' in text) == is_out
    if is_out:
        others = values[1:]
        assert (
            f"snr median is out of line: {values[0]:.3g} px, the other 5 sessions have {min(others):.3g} to "
            f"{max(others):.3g} px." in text
        )
    places = [int(x) for x in re.findall(r"M(\d+) 7h0", text)]
    (mine,) = re.findall(r'cx="(\d+)"', text)
    assert len(places) == len(set(values[1:])) and all(0 <= x <= WIDTH for x in [*places, int(mine)])


@pytest.mark.parametrize("text", ["", "nan", "inf", "1e999", "<b>"])
def test_what_is_no_number_has_no_strip(text):
    known = {**sessions(1.0, 2.0, 3.0), "s0": {"snr_median": (text, "px")}}
    assert strips_of("s0", known) == []
    assert strips_of("s1", known)[0].n_others == 1


def test_names_are_shown_and_never_interpreted():
    fitting = strips_of("a", {key: {"<script>": (value, "<b>")} for key, value in (("a", "1"), ("b", "2"))})
    assert "<script>" not in shown(fitting, 9000) and "<b>" not in shown(fitting, 9000)


def test_what_sessions_share_is_reckoned_once(monkeypatch):
    """Ten thousand sessions must not be compared one by one with ten thousand."""
    reckoned: list[int] = []
    monkeypatch.setattr(module, "fsum", lambda values: reckoned.append(1) or sum(values))
    monkeypatch.setattr(module, "median", lambda values: reckoned.append(1) or sorted(values)[len(values) // 2])
    entries = []
    for name, measures in sessions(*range(300)).items():
        row = Row(f"{name}.isxd", "movie", "done", results=name, products=(f"{name}.html",))
        entries.append(Entry([row], measures=measures))
    rooms = overview.comparisons(Overview(entries, [], datetime(2026, 1, 1), 0, {}, (), True))
    assert len(rooms) == 300 and all("snr median" in room.texts[0] for room in rooms)
    assert len(reckoned) <= 3


def test_each_page_has_the_other_sessions_of_its_kind(tmp_path: Path):
    source, output = tmp_path / "in", tmp_path / "out"
    for i in range(FEWEST + 1):
        (source / f"m{i}").mkdir(parents=True)
        recordings.cell_set(source / f"m{i}" / f"c{i}.isxd", n_cells=3, seed=i)
    recordings.image(source / "alone.isxd")
    run = launch.run(source, output)
    assert run.code == 0, run.stderr
    sizes = {path: path.stat().st_size for path in output.rglob("*.html")}
    for i in range(FEWEST + 1):
        page = (output / f"m{i}/c{i}/c{i}.html").read_text()
        (others,) = re.findall("<!--others-->(.*?)<!--/others-->", page, re.DOTALL)
        assert f"Compared with the other {FEWEST} sessions in this output" in others and "snr median" in others
        assert "Can this session be trusted?" in page
    alone = (output / "alone/alone.html").read_text()
    assert re.search("<!--others--> +<!--/others-->", alone)
    again = launch.run(source, output)
    assert again.code == 0 and not again.named("recording-done"), "the pages' sizes stay"
    assert {path: path.stat().st_size for path in sizes if path.name != "index.html"} == {
        path: size for path, size in sizes.items() if path.name != "index.html"
    }
