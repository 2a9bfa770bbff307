"""Damaged recordings: each is refused with a reason, or a process that opens it ends by itself, in time."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

from recording import formats
from recording.errors import BadRecording
from samples import damage, recordings
from tests.fuzz import PYTHONS

ROOT = Path(__file__).resolve().parents[2]
WORDLESS = re.compile(rf"its log has the details|^$|{PYTHONS.pattern}")  # no reason for a user
VARIANTS = 260  # make fuzz has more
SECONDS = 30  # for one recording, of which each takes well under one


def test_damaged_recordings_do_no_harm(tmp_path):
    sound, variants = tmp_path / "sound", tmp_path / "variants"
    sound.mkdir()
    variants.mkdir()
    kinds = recordings.every_kind(sound)
    accepted, n_refused = [], 0
    for path in damage.corpus(kinds, variants, 0, VARIANTS):
        try:
            formats.check(path)
            accepted.append(path)
        except BadRecording as error:
            assert error.reason.strip(), path
            n_refused += 1
    assert n_refused + len(accepted) > VARIANTS
    assert min(n_refused, len(accepted)) > VARIANTS / 4  # the rest are data, or fields that nothing depends on

    ends = _adapt_all(accepted, tmp_path / "out")
    assert set(ends) == {path.name for path in accepted}
    assert all(end != f"signal {signal.SIGALRM}" for end in ends.values()), ends
    wordless = {name: end for name, end in ends.items() if end is not None and WORDLESS.search(end)}
    assert not wordless, wordless
    crashed = {name: end for name, end in ends.items() if end and end.startswith("signal")}
    assert not crashed, crashed


def _adapt_all(paths: list[Path], out: Path) -> dict[str, str | None]:
    """How each adaptation ended: None, a reason, or the signal that ended the process."""
    ends: dict[str, str | None] = {}
    while paths:
        done = subprocess.run(
            [sys.executable, str(ROOT / "tests/inspect_all.py"), str(out), str(SECONDS), *map(str, paths)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"},
            check=False,
        )
        for line in done.stdout.splitlines():
            told = json.loads(line)
            ends[told["name"]] = told["reason"]
        left = [path for path in paths if path.name not in ends]
        if left:
            ends[left[0].name] = f"signal {-done.returncode}"
        paths = left[1:]
    return ends
