"""docs/security.md: every promise names the test that keeps it."""

from __future__ import annotations

import re

import pytest

from tests.launch import ROOT

PAGE = (ROOT / "docs/security.md").read_text("utf-8")
PROMISES = re.findall(r"^\| (.*) \| (.*) \| ((?:`(?:make fuzz|[\w/]+\.py)`(?:, )?)+) \|$", PAGE, re.MULTILINE)
HEADERS = PAGE.count("| attack | what happens | tested by |")


@pytest.mark.parametrize("attack, _, tests", PROMISES, ids=[attack[:40] for attack, *_ in PROMISES])
def test_promise(attack, _, tests):
    for name in re.findall(r"`(.*?)`", tests):
        if name == "make fuzz":
            continue
        folder = "" if "/" in name else "tests/image/" if name == "test_attacks.py" else "tests/unit/"
        assert (ROOT / f"{folder}{name}").is_file(), attack


def test_no_row_is_without_a_test():
    (promises,) = re.findall(r"^## What is promised\n(.*?)^## ", PAGE, re.MULTILINE | re.DOTALL)
    rows = [line for line in promises.splitlines() if line.startswith("|")]
    assert HEADERS == 3
    assert len(rows) == len(PROMISES) + 2 * HEADERS


def test_a_vulnerability_can_be_reported():
    assert "## Report a vulnerability" in PAGE
