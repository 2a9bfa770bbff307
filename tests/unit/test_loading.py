"""Questions to short-lived processes: can isx be imported, where is the code?"""

from __future__ import annotations

import sys

import pytest

from common import APP
from native import loading


@pytest.mark.parametrize(
    "program, error",
    [
        ("true", ""),
        ("echo >&2 first; echo >&2 'ImportError: no'; exit 1", "ImportError: no"),
        ("kill -SEGV $$", "signal SIGSEGV"),
        ("kill -KILL $$", ""),  # for want of memory, most likely: that says nothing about isx
    ],
)
def test_import_error(program, error, tmp_path, monkeypatch):
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\n{program}\n")
    python.chmod(0o755)
    monkeypatch.setattr(loading.sys, "executable", str(python))
    assert loading.import_error() == error


def test_a_slow_import_is_no_hang(tmp_path, monkeypatch):
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nexec sleep 3\n")
    python.chmod(0o755)
    monkeypatch.setattr(loading.sys, "executable", str(python))
    ticks = []
    assert loading.import_error(lambda: ticks.append(1)) == ""
    assert len(ticks) >= 2, "the heart beats meanwhile"


def test_questions_are_asked_where_the_code_lies(tmp_path, monkeypatch):
    """Python looks for modules in its working folder first: a `pipeline` that lies there is somebody else's."""
    (tmp_path / "pipeline").mkdir()
    (tmp_path / "pipeline/__init__.py").write_text("raise SystemExit(3)\n")
    monkeypatch.chdir(tmp_path)
    asked = loading.ask((sys.executable, "-c", "import pipeline; print(pipeline.__file__)"), 60)
    assert (asked.returncode, asked.stdout.strip()) == (0, str(APP / "pipeline/__init__.py"))
