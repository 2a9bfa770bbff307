"""Tables hold names that others chose: none is a formula to a spreadsheet, and none is lost."""

from __future__ import annotations

import csv
from pathlib import Path

import isx
import numpy as np
import pandas as pd
import pytest

from common.csv_cells import cell
from pipeline.inspect import quality, tables
from pipeline.inspect.context import Context
from pipeline.inspect.results import write_results
from protocol.overview import Row
from recording import formats
from runner.output.report import summary_csv
from samples import recordings

FORMULAS = [
    "=cmd|' /C calc'!A0",
    "+1+1",
    "-1+1",
    "@SUM(1)",
    "\t=1",
    "\r=1",
    "＝1",
    "'=1",
    "''=1",
    " =1 ",
    "' =1",
    " '=1",
]
TEXTS = ["C0", "", "a=b", "'quoted'", "-5", "+1e3", "µ", "1-2", " -5", " a=1"]


@pytest.mark.parametrize("text", FORMULAS)
def test_a_formula_is_made_text_and_can_be_had_back(text):
    assert cell(text) == f"'{text}"
    assert cell(text)[1:] == text


@pytest.mark.parametrize("text", TEXTS)
def test_other_text_stays(text):
    assert cell(text) == text


def test_all_texts_stay_different():
    everything = [*FORMULAS, *TEXTS, *map(cell, FORMULAS)]
    assert len(set(map(cell, everything))) == len(set(everything))


def test_tables(tmp_path):
    path = tmp_path / "t.csv"
    columns = {"name": ["=1", "C1", None], "value": [-1.5, np.nan, 2], "index": [-1, None, 3], "+x": [1, 2, 3]}
    tables.write(path, columns)
    assert path.read_text() == "name,value,index,'+x\n'=1,-1.5,-1,1\nC1,,,2\n,2.0,3,3\n"
    tables.write_wide(path, np.arange(2), ["=a", "-2"], np.array([[-1, 2], [3, -4]]))
    assert path.read_text() == "time_s,'=a,-2\n0,-1,3\n1,2,-4\n"


def test_a_cell_set_and_the_report(tmp_path):
    path = tmp_path / "cells.isxd"
    written = isx.CellSet.write(str(path), recordings.timing(20), isx.Spacing((8, 8)))
    for i, name in enumerate(("=HYPERLINK(1)", "C1")):
        written.set_cell_data(i, np.eye(8, dtype=np.float32), np.arange(20, dtype=np.float32), name)
    written.flush()
    out = tmp_path / "out"
    out.mkdir()
    write_results(path, "cell_set", "s", out, Context(tmp_path))
    assert formats.check(path).names == ("=HYPERLINK(1)", "C1")
    assert list(pd.read_csv(out / "s-cells.csv")["name"]) == ["'=HYPERLINK(1)", "C1"]
    assert list(pd.read_csv(out / "s-traces.csv").columns) == ["time_s", "'=HYPERLINK(1)", "C1"]
    for file in (out / "s.json",):
        assert "=HYPERLINK(1)" in Path(file).read_text()

    (row,) = csv.DictReader(summary_csv([Row("=1.isxd", "image", "failed", reason="-x", warnings=["@y"])]).splitlines())
    assert (row["path"], row["reason"], row["warnings"]) == ("'=1.isxd", "'-x", "'@y")


@pytest.mark.parametrize(
    ("written", "safe"),
    [
        ("Time (s), Cell Name, Value\n0.5,=1+1,2\n", "Time (s), Cell Name, Value\n0.5,'=1+1,2\n"),
        ("a,b\r\n-1,+1e3\r\n-1+1,-.5e-3\r\n", "a,b\r\n-1,+1e3\r\n'-1+1,-.5e-3\r\n"),
        ('a\n"=x,""y"""\n', 'a\n"\'=x,""y"""\n'),
        ("@x,y\n", "'@x,y\n"),
        ("a,＝1\n", "a,'＝1\n"),
        ("a,'=1\n", "a,''=1\n"),
        ("a, =1\n", "a,' =1\n"),
        ("x,-5\n-1, -2\n", None),
        ("x,y", None),
        ("", None),
        ("-nan,-inf\n", None),
    ],
)
def test_tables_that_the_library_wrote(tmp_path, written, safe):
    path = tmp_path / "t.csv"
    path.write_bytes(written.encode())
    before = path.stat().st_ino
    tables.make_safe(path)
    assert path.read_bytes().decode() == (written if safe is None else safe)
    assert safe or path.stat().st_ino == before or written == "-nan,-inf\n", "it is not written again for nothing"
    assert [file.name for file in tmp_path.iterdir()] == ["t.csv"]


def test_bytes_that_are_no_utf_8_stay(tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes(b"=\xff,\xe9\n")
    tables.make_safe(path)
    assert path.read_bytes() == b"'=\xff,\xe9\n"


def test_the_table_of_quality(tmp_path):
    """It names the recording, and a file may be called like a formula."""
    quality.write(tmp_path / "q.csv", {"=1+1.isxd": [quality.Measure("n", "N", -1, "", "number")]})
    assert "\n'=1+1.isxd,n,-1,,,number\n" in (tmp_path / "q.csv").read_text()
