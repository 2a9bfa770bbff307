"""The pre-check against the library, on every kind and version of a format that can be made, field by field.

A field is dropped, is null, is of another type, is 0, or one more or less. What isx reads to its end, the pre-check
must not refuse; what ends the process that reads it, it should.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from recording import formats
from recording.errors import BadRecording
from samples import damage, recordings

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 1  # for one recording, of which each takes a few milliseconds

SAME_CODE = re.compile(r"movie_(v0|float)|image_u16|cell_set_(v\d|empty)|behavior_spacing|velocity_set|gpio_bare")

# Refused, although the library reads to some end: what was changed, and the reason. None of these can be sound.
STRICTER = {
    # The library cuts fractions off, and takes a number over 0 for some number.
    r" fraction: .* is \S+\.5",
    r"(den (0|less)|pixelSize/./num 0|period/num 0|periodMs/num 0): .* is 0",
    r"(fc|global times.*) less: .*(is -1|it ends before it starts)",
    # It takes what follows the last frame for pixels, and what is left of one cell for the beginning of the next.
    r"numPixels/. more: holds \d+ of the \d+ frames that it should",
    r"(numPixels/.|numTimes) less: holds \d+ bytes of footprints and traces where \d+ belong",
    # It looks at neither, or at one of two.
    r"(acc|mag|ori)_(count|size) .* samples in \d+ bytes",
    r"cropped text: .* is not a list",
    r"numTimes 0: .* dropped frames that the recording does not have",
    r"n_dropped (0|less): lists 1 dropped frames but claims 0",
    r"(n_frames|numTimes) (0|less|more): (claims \d+ frames, but|the movie has no frames)",
    r"(VesselStatuses|VesselCorrelationSizes|numSamples|channel list|signalSteps) .*\d names but \d",
    # It gives what lies beyond its own arrays in memory for samples.
    r"(accelerometer|magnetometer)/numTimes more: claims \d+ \w+ samples but holds",
    # It says nothing, and needs the memory when asked for the times.
    r"global times/\*/secsSinceEpoch/num 0: .* it claims \d{11,} samples",
}


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return recordings.every_version(tmp_path_factory.mktemp("every-version"))


def refusal(path: Path) -> str:
    try:
        formats.check(path)
    except BadRecording as error:
        return error.reason
    return ""


def read_by_isx(paths: list[Path]) -> dict[str, str | None]:
    """How each was read: None, a reason, or the signal that ended the process."""
    ends: dict[str, str | None] = {}
    while paths:
        done = subprocess.run(
            [sys.executable, str(ROOT / "tests/read_all.py"), str(SECONDS), *map(str, paths[:2000])],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            check=False,
        )
        ends |= {told["name"]: told["reason"] for told in map(json.loads, done.stdout.splitlines())}
        left = [path for path in paths if path.name not in ends]
        if left and done.returncode:
            ends[left[0].name] = f"signal {-done.returncode}"
        paths = [path for path in left if path.name not in ends]
    return ends


def test_every_version_is_read_by_both(versions):
    assert read_by_isx(list(versions.values())) == {path.name: None for path in versions.values()}
    assert {name: refusal(path) for name, path in versions.items()} == dict.fromkeys(versions, "")


def changed_fields(path: Path) -> Iterator[tuple[str, bytes]]:
    """What was changed, and the file."""
    data = path.read_bytes()
    for part, (read, with_) in damage.PARTS[path.suffix].items():
        text = read(data)
        content = json.loads(text)
        if not content:
            continue
        for holder, name, where in damage.fields(content):
            old = holder[name]
            changes = {"dropped": None, "null": None, "text": "x"}
            if isinstance(old, int) and not isinstance(old, bool):
                changes |= {"0": 0, "less": old - 1, "more": old + 1, "fraction": old + 0.5}
            elif isinstance(old, list):
                changes |= {"empty": [], "longer": [*old, *(old[-1:] or [0])], "shorter": old[:-1]}
            for change, value in changes.items():
                holder[name] = value
                if change == "dropped":
                    del holder[name]
                yield f"{part}{where} {change}", with_(data, json.dumps(content).encode())
                holder[name] = old
    if path.suffix in damage.HEADERS:
        form = damage.HEADERS[path.suffix]
        values = form.unpack_from(data)
        for i, name in enumerate(damage.HEADER_FIELDS[path.suffix]):
            for change, value in (("0", 0), ("less", max(0, values[i] - 1)), ("more", values[i] + 1)):
                yield f"header {name} {change}", form.pack(*values[:i], value, *values[i + 1 :]) + data[form.size :]


def test_no_field_is_refused_that_the_library_reads(versions, tmp_path):
    tried = {}
    for name, path in versions.items():
        for what, data in () if SAME_CODE.match(name) else changed_fields(path):
            variant = tmp_path / f"{len(tried)}{path.suffix}"
            variant.write_bytes(data)
            tried[variant.name] = (f"{name}: {what}", refusal(variant))
    ends = read_by_isx([tmp_path / name for name in tried])
    assert len(tried) > 2000
    stricter = [
        f"{what}: {reason}"
        for file, (what, reason) in tried.items()
        if reason and ends[file] is None and not any(re.search(known, f"{what}: {reason}") for known in STRICTER)
    ]
    hangs = f"signal {signal.SIGALRM}"  # on a video with fewer frames than are claimed, which workers count
    lost = [
        f"{what}: {ends[file]}"
        for file, (what, reason) in tried.items()
        if not reason and (ends[file] or "").startswith("signal") and ends[file] != hangs
    ]
    assert not stricter, "\n".join(stricter)
    assert not lost, "\n".join(lost)
