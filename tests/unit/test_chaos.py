"""The eyes of tests/chaos.py: what they must see in an output folder, as a tool that sees nothing always passes."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.chaos import Tally, half_written
from tests.trees import tree

WHOLE = {
    "a/a.json": "{}",
    "a/a-mean.tif": "pixels",
    "summary.csv": "path,seconds\na.isxd,1\n",
    "index.html": "<html></html>\n",
    "done.marker": "{}",
    "logs/a.isxd.log": "",
    ".records/a.isxd.json": "{}",
}


@pytest.fixture
def output(tmp_path: Path) -> Path:
    for name, content in WHOLE.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    return tmp_path


@pytest.mark.parametrize("missing", [[], ["a/a.json"], ["a/a.json", "a/a-mean.tif", "index.html"], ["done.marker"]])
def test_what_is_not_there_yet_is_no_harm(output, missing):
    reference = tree(output)
    for name in missing:
        (output / name).unlink()
    assert list(half_written(output, reference)) == []


FAULTS = {
    "a/a-mean.tif": ("pix", "a/a-mean.tif is not what an undisturbed run writes"),
    "a/.a.json.tmp": ("{", "a/.a.json.tmp is not what an undisturbed run writes"),
    "index.html": ("<html>", "index.html is not whole: it has no end"),
    "summary.csv": ("path,seconds\na.isxd", "summary.csv is not whole: rows of [1, 2] columns"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_what_is_half_written_is_found(output, name):
    reference = tree(output)
    content, problem = FAULTS[name]
    (output / name).write_text(content)
    assert list(half_written(output, reference)) == [problem]


def test_a_json_that_says_complete_too_early(output):
    reference = tree(output)
    (output / "a/a-mean.tif").unlink()
    assert list(half_written(output, reference)) == ["a/a.json says complete, but ['a/a-mean.tif'] are missing"]


@pytest.mark.parametrize(
    ("tally", "failures"),
    [
        (Tally(Counter({0: 3, 137: 1})), []),
        (Tally(Counter({0: 4})), ["no run was disturbed"]),
        (Tally(left_out="no engine"), []),
    ],
)
def test_a_scenario_that_hit_nothing_shows_nothing(tally, failures):
    tally.expect_disturbance()
    assert tally.failures == failures
