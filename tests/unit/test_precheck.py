"""The pre-check in a process of its own: nothing that a file holds costs PID 1 memory, time or its life."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from protocol import findings
from recording import formats
from recording.errors import BadRecording
from runner.input import precheck
from runner.signals import Stopped
from samples import recordings
from tests.launch import ROOT, environment, run, start

MILLION_EMPTY = b'{"type":0,"x":[' + b"{}," * 1_000_000 + b"0]}"


@pytest.fixture
def checker():
    one = precheck.Checker(lambda: None)
    yield one
    one.stop()


def test_findings_are_those_of_the_pre_check_itself(checker, tmp_path):
    for path in recordings.every_kind(tmp_path).values():
        assert checker.check(path) == formats.check(path)
    with pytest.raises(BadRecording, match="cannot be opened: No such file"):
        checker.check(tmp_path / "gone.isxd")


def test_a_footer_of_twenty_million_objects_costs_this_process_nothing(checker, tmp_path, monkeypatch):
    """60 MB; once they are parsed, 1.4 GB."""
    monkeypatch.setattr(precheck, "MOST_MEMORY", precheck.LEAST_MEMORY)
    path = tmp_path / "bomb.isxd"
    path.write_bytes(recordings.footer_bytes(b'{"type":0,"x":[' + b"{}," * 20_000_000 + b"0]}"))
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = _peak_kb()
    with pytest.raises(BadRecording) as refused:
        checker.check(path)
    assert refused.value.reason == findings.TOO_MUCH_MEMORY
    assert _peak_kb() - before < 8 << 10
    assert checker.check(recordings.image(tmp_path / "sound.isxd")).kind == "image"


def _peak_kb() -> int:
    return int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1])


@pytest.mark.parametrize("suffix", [".gpio", ".isxd"])
def test_a_sparse_terabyte_is_checked_in_bounded_time(checker, tmp_path, suffix, monkeypatch):
    path = tmp_path / f"huge{suffix}"
    footer = b""
    if suffix == ".isxd":
        footer = recordings.split_footer(recordings.event_set(tmp_path / "e.isxd").read_bytes())[1]
        footer = recordings.footer_bytes(footer)
    with path.open("wb") as file:
        file.write(recordings.gpio(tmp_path / "g.gpio").read_bytes()[:32] if suffix == ".gpio" else b"")
        file.truncate((1 << 40) // 20 * 20)
        file.seek(0, os.SEEK_END)
        file.write(footer)
    began = time.monotonic()
    assert checker.check(path).kind == ("gpio" if suffix == ".gpio" else "event_set")
    assert time.monotonic() - began < 60


def test_more_names_than_any_recording_has(checker, tmp_path):
    path = recordings.event_set(tmp_path / "e.isxd", n_cells=1)
    footer = json.loads(recordings.split_footer(path.read_bytes())[1])
    n = 6_000
    footer |= {"channel list": ["x" * 1_000] * n, "startOffsets": [footer["startOffsets"][0]] * n}
    footer |= {key: [0] * n for key in ("signalTypes", "numSamples")} | {"signalSteps": footer["signalSteps"] * n}
    path.write_bytes(recordings.footer_bytes(footer))
    with pytest.raises(BadRecording, match="lists more names than any recording has"):
        checker.check(path)


def test_a_check_that_hangs_is_given_up_and_the_next_file_is_checked(tmp_path):
    sound = recordings.image(tmp_path / "sound.isxd")
    ticks = []
    stuck = precheck.Checker(lambda: ticks.append(1), ("sleep", "60"), seconds=2)
    for _ in range(2):
        with pytest.raises(BadRecording, match="its check did not finish within 2 s"):
            stuck.check(sound)
    assert ticks
    assert stuck._process is None


def test_a_check_that_hangs_can_be_stopped(tmp_path):
    def tick() -> None:
        raise Stopped(signal.SIGTERM)

    stuck = precheck.Checker(tick, ("sleep", "60"))
    with pytest.raises(Stopped):
        stuck.check(recordings.image(tmp_path / "sound.isxd"))
    assert stuck._process is None


def test_a_process_that_is_lost_is_a_refusal(tmp_path):
    path = recordings.image(tmp_path / "sound.isxd")
    for command, reason in (
        (("sh", "-c", "read x; kill -9 $$"), findings.TOO_MUCH_MEMORY),
        (("sh", "-c", "read x; exit 3"), "the process that checked it ended early: exit code 3"),
        (("sh", "-c", "read x; echo '{}'; exec sleep 60"), "its pre-check gave an unreadable answer"),
    ):
        with pytest.raises(BadRecording, match=re.escape(reason)):
            precheck.Checker(lambda: None, command).check(path)


def test_a_process_that_was_killed_once_is_asked_again(checker, tmp_path):
    path = recordings.image(tmp_path / "sound.isxd")
    checker.check(path)
    checker._process.kill()
    assert checker.check(path).kind == "image"


def test_the_rest_of_a_run_is_not_affected(samples, input, output):
    (input / "bomb.isxd").write_bytes(recordings.footer_bytes(MILLION_EMPTY))
    (input / "a.isxd").write_bytes((samples / "image.isxd").read_bytes())
    done = run(input, output)
    assert done.code == 1
    assert [event["path"] for event in done.named("recording-failed")] == ["bomb.isxd"]
    assert (output / "a/a.json").is_file()


def test_a_run_can_be_stopped_during_a_check(input, output):
    """A terabyte of events that are all of channel 0: its check takes a while, and to its end it would take hours."""
    path = recordings.event_set(input / "e.isxd")
    footer = recordings.split_footer(path.read_bytes())[1]
    with path.open("wb") as file:
        file.truncate((1 << 40) // 20 * 20)
        file.seek(0, os.SEEK_END)
        file.write(recordings.footer_bytes(footer))
    process = start("--input-dir", input, "--output-dir", output)
    for line in process.stderr:
        if json.loads(line)["event"] == "found":
            break
    process.send_signal(signal.SIGTERM)
    began = time.monotonic()
    process.communicate(timeout=60)
    assert process.returncode == 143
    assert time.monotonic() - began < 5


WATCHED = """
import json, runpy, sys
program, seen, opened = sys.argv.pop(1), sys.argv.pop(), []
sys.addaudithook(lambda event, given: opened.append(str(given[0])) if event == "open" else None)
try:
    runpy.run_path(program, run_name="__main__")
finally:
    with open(seen, "w") as file:
        json.dump(opened, file)
"""


def test_pid_1_opens_no_recording(input, output, tmp_path):
    """What is not opened is not parsed. An audit hook in PID 1 sees what it opens; its children have none."""
    names = {path.name for path in recordings.every_kind(input).values()}
    seen = tmp_path / "opened"
    options = ("--input-dir", input, "--output-dir", output, f"--expected-output-file={output / 'done'}")
    subprocess.run(
        [sys.executable, "-EsB", "-c", WATCHED, ROOT / "bootstrap.py", *options, seen],
        check=True,
        env=environment(),
        timeout=120,
    )
    opened = {path.rpartition("/")[2] for path in json.loads(seen.read_text())}
    assert {"movie.isxd.log", "oom_score_adj"} & opened
    assert (output / "done").is_file()
    assert not names & opened
