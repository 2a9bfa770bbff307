"""pandas is loaded only for what needs it: importing it would take an eighth of a small recording's time."""

from __future__ import annotations

import subprocess
import sys

import pytest

from recording import formats
from samples import recordings
from tests.launch import ROOT

SCRIPT = """
import sys
from pathlib import Path
from pipeline.when_used import import_when_used
import_when_used("pandas")
from pipeline.inspect.results import Context, write_results
recording, kind, folder = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
write_results(recording, kind, "s", folder, Context(folder), with_page=True)
import isx
print("pandas" in sys.modules, "pandas.core" in sys.modules)
print(isx.io.pd.isna(float("nan")))
"""
NEEDED = {"behavior_movie", "nvision"}  # for the table of tracking


@pytest.mark.parametrize("name", ["movie", "cell_set", "event_set", "gpio_isxd", "imu", "behavior_movie", "nvision"])
def test_pandas_is_loaded_when_it_is_used(name, tmp_path):
    recording = recordings.every_kind(tmp_path)[name]
    out = tmp_path / "out"
    out.mkdir()
    told = [sys.executable, "-c", SCRIPT, recording, formats.check(recording).kind, out]
    done = subprocess.run(told, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [f"True {name in NEEDED}", "True"]
