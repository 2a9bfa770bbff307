"""What files say about themselves and do not keep is warned of, and counted."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.inspect.adapter import adapt
from pipeline.inspect.context import Context
from recording import formats
from recording.errors import BadRecording
from tests import recordings


def adapted(path: Path) -> tuple[list[str], dict[str, Any]]:
    """Its warnings, and its JSON."""
    out = path.parent / "out"
    out.mkdir()
    warnings: list[str] = []
    adapt(path, formats.check(path).kind, "s", out, Context(path.parent, warn=warnings.append))
    record = json.loads((out / "s.json").read_text())
    assert record["warnings"] == warnings
    return warnings, record


def changed(path: Path, data: bytes | None = None, **footer: Any) -> Path:
    """Other data, or fields of the footer."""
    old, text = recordings.split_footer(path.read_bytes())
    content = json.loads(text)
    for name, value in footer.items():
        content[name] = {**content[name], **value} if isinstance(value, dict) else value
    path.write_bytes((old if data is None else data) + recordings.footer_bytes(content))
    return path


def floats(path: Path, offset: int, *values: float) -> bytes:
    """The data with these float32 at a place."""
    data = recordings.split_footer(path.read_bytes())[0]
    return data[:offset] + struct.pack(f"<{len(values)}f", *values) + data[offset + 4 * len(values) :]


def test_a_movie_that_holds_more_than_it_claims(tmp_path):
    path = changed(recordings.movie(tmp_path / "m.isxd"), timingInfo={"numTimes": 11})
    assert adapted(path)[0] == [
        "it holds 1536 bytes more than the 11 frames that it claims, as much as 1 of them: "
        "its number of frames or their size may be wrong"
    ]


def test_a_movie_whose_width_is_wrong(tmp_path):
    path = changed(recordings.movie(tmp_path / "m.isxd"), spacingInfo={"numPixels": {"x": 31, "y": 24}})
    assert "bytes more than the 12 frames that it claims" in adapted(path)[0][0]


def test_a_movie_of_absurd_values(tmp_path):
    path = recordings.movie(tmp_path / "m.isxd", dtype=np.float32)
    warnings, record = adapted(changed(path, floats(path, 400, 1e30)))
    assert warnings == ["1 of 24 extremes of frames are beyond 1e+12: the file may be damaged"]
    assert (record["n_implausible_values"], record["n_non_finite_values"]) == (1, 0)


@pytest.mark.parametrize("data", [lambda old: old[:-20], lambda old: old + old[-20:-12] + old[8:16] + old[-4:]])
def test_events_that_are_missing_or_too_many(tmp_path, data):
    path = recordings.event_set(tmp_path / "e.isxd")
    old = recordings.split_footer(path.read_bytes())[0]
    path = changed(path, data(old))
    if len(data(old)) < len(old):  # the pre-check sees no more packets claimed for one channel than there are at all
        assert formats.check(path).kind == "event_set"
    assert adapted(path)[0][0].startswith("1 of 4 channels do not hold as many values as they claim: C")


def test_events_of_absurd_values_and_times(tmp_path):
    path = recordings.event_set(tmp_path / "e.isxd")
    data = bytearray(floats(path, 16, float("nan")))
    data[20:28] = struct.pack("<Q", 1 << 50)
    warnings, record = adapted(changed(path, bytes(data)))
    assert record["n_non_finite_values"] == 1
    assert [warning.partition(":")[0] for warning in warnings] == [
        "1 of 54 values lie after the end that the file states",
        "1 of 4 channels have values that are earlier than the one before",
        "1 of 54 amplitudes are no finite numbers",
    ]


def test_traces_of_absurd_values(tmp_path):
    path = recordings.cell_set(tmp_path / "c.isxd")
    size = len(recordings.split_footer(path.read_bytes())[0])
    warnings, record = adapted(changed(path, floats(path, size - 12, float("inf"), -1e20, float("nan"))))
    assert (record["n_non_finite_values"], record["n_implausible_values"]) == (2, 1)
    assert len(warnings) == 2


def test_gpio_of_absurd_values(tmp_path):
    path = recordings.gpio_isxd(tmp_path / "g.isxd")
    _, record = adapted(changed(path, floats(path, 16, float("-inf"))))
    assert record["n_non_finite_values"] == 1


def test_missing_frames_are_in_proportion_to_the_file(tmp_path):
    """Each would get a row in the tables: 938 MB were made of a file of 2 MB."""
    path = recordings.movie(tmp_path / "m.isxd")
    day = 24 * 3600 * 30
    changed(path, timingInfo={"numTimes": day + 12, "cropped": [f"12 - {day + 11}"]})
    assert formats.check(path).n_samples == day + 12
    changed(path, timingInfo={"numTimes": 30_000_012, "cropped": ["12 - 30000011"]})
    with pytest.raises(BadRecording, match="claims 30000000 frames that are dropped, cropped or blank, in a file of"):
        formats.check(path)
