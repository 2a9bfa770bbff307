"""Names of channels that no text of HDF5, or no object of NWB, may have: the recording has its results all the same."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from samples import recordings
from tests.launch import run


@pytest.mark.parametrize("name", ["\0", "", "a\0b"])
def test_a_name_of_a_channel_costs_nothing(input, output, name):
    for path in (recordings.gpio_isxd(input / "g.isxd"), recordings.event_set(input / "e.isxd")):
        _rename_first_channel(path, name)
    done = run(input, output, "--nwb")
    assert (done.code, done.end) == (0, "2 recordings, all done"), done.stderr
    assert (output / "g/g.nwb").is_file() and (output / "e/e.nwb").is_file()


def _rename_first_channel(path: Path, name: str) -> None:
    data, text = recordings.split_footer(path.read_bytes())
    footer = json.loads(text)
    footer["channel list"][0] = name
    path.write_bytes(data + recordings.footer_bytes(footer))
