"""stages/prove.py: what it runs, and what it makes of a refusal. The image tests run it in builds."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "stages"))

import prove

PROJECT = Path(__file__).resolve().parents[2]


def test_the_recipe_of_the_proof_differs_in_the_number_of_components_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(prove, "APP", PROJECT)
    shipped = (PROJECT / "recipes/standard.toml").read_text().splitlines()
    proven = prove.smaller_recipe(tmp_path).read_text().splitlines()
    changed = [(old, new) for old, new in zip(shipped, proven) if old != new]
    assert len(shipped) == len(proven)
    assert [old.split(" = ")[0] for old, _ in changed] == ["num_pcs", "num_ics"]


def test_errors_of_a_run():
    log = '{"level": "info", "message": "with the licensed algorithms"}\nnoise\n{"level": "error", "message": "no"}\n'
    assert prove.errors(log) == ["no"]


def test_what_is_left_in_the_background_is_not_waited_for():
    before = time.monotonic()
    done = prove.run(
        "-c",
        "import os; print('x' * 2_000_000); print('said', flush=True); os.fork() or os.execlp('sleep', 'sleep', '20')",
    )
    assert (done.returncode, done.stdout) == (0, "said\n")
    assert time.monotonic() - before < 10


ANSWERS = {
    "No valid activation was found.": "LICENCE=path",
    "Please renew your license": "LICENCE=path",
    "`np.float_` was removed in the NumPy 2.0 release": "build with NUMPY=1.",
    "This needs Python 3.9": "BASE_IMAGE=python:3.9-slim-bookworm",
    "Segmentation fault": "see its answer above. To build the image anyway: PROOF=load.",
}


@pytest.mark.parametrize("said, way_out", ANSWERS.items())
def test_a_refusal_comes_with_the_way_out(said, way_out, capsys):
    assert prove.refuse("the algorithms do not run", said, prove.ALL_THE_SAME) == 1
    message = capsys.readouterr().err
    assert message.startswith("\nERROR: the algorithms do not run: see its answer above. ")
    assert way_out in message


def test_a_proof_that_there_is_not(monkeypatch, capsys):
    monkeypatch.setenv("PROOF", "algorithm")
    assert prove.prove_algorithms() == 1
    assert "ERROR: PROOF=algorithm: there are only algorithms and load." in capsys.readouterr().err


@pytest.mark.parametrize(
    "needed, answer",
    [
        ("2.34", "take BASE_IMAGE=debian:bookworm-slim."),
        ("2.39", "take BASE_IMAGE=python:3.11-slim-trixie."),
        ("2.99", "no base is known that has it; the newest has 2.41."),
    ],
)
def test_a_base_with_a_newer_glibc(needed, answer):
    assert prove.newer_base(needed, lambda version: tuple(map(int, version.split(".")))) == answer
