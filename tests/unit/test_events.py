"""How the log speaks: lines, texts from outside, the bar on a terminal."""

from __future__ import annotations

import contextlib
import json
import os
import re

import pytest

from runner.events import Log, duration, printable


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.04, "0.0 s"), (9.94, "9.9 s"), (12.3, "12 s"), (179, "3 min"), (7500, "2 h 5 min")]
)
def test_duration(seconds, text):
    assert duration(seconds) == text


def test_foreign_text_is_shown_not_obeyed():
    assert printable("a\x1b[2J\n\udcff\u2028µ") == "a\\x1b[2J\\x0a\\udcff\\u2028µ"
    assert printable("a\u202edxsi.exe\u2066\u200b") == "a\\u202edxsi.exe\\u2066\\u200b", "turned round, or hidden"


def logged(format: str, *events: tuple) -> str:
    reader, writer = os.pipe()
    log = Log(format, writer)
    for event in events:
        log(*event)
    os.close(writer)
    with os.fdopen(reader, encoding="utf-8") as file:
        return file.read()


def test_each_event_is_one_line():
    lines = logged("json", ("a", "x\ny"), ("b", "\udcff", "error")).splitlines()
    first, second = map(json.loads, lines)
    assert (first["event"], first["message"], first["level"]) == ("a", "x\ny", "info")
    assert second["level"] == "error"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", first["time"])
    assert len(logged("text", ("a", "x\ny")).splitlines()) == 1


def test_a_log_that_nobody_reads_stops_nothing():
    reader, writer = os.pipe()
    os.close(reader)
    Log("text", writer)("a", "b")
    os.close(writer)


def test_on_a_terminal_a_bar_on_the_last_line():
    import pty

    parent, child = pty.openpty()
    log = Log(None, child)
    log.progress(0.5, 3, 6, 90.0)
    log("a", "done with it")
    os.close(child)
    text = ""
    with contextlib.suppress(OSError):  # the end of a terminal whose other side is closed
        while piece := os.read(parent, 10_000):
            text += piece.decode()
    os.close(parent)
    assert "[###############               ] 3 of 6, 90 s left\r\x1b[K" in text
    assert text.endswith("done with it\r\n")
