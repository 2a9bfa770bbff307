"""The locks: every package pinned and hashed, and no word about where this machine gets its packages from."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
LOCKS = ("requirements.txt", "tests/requirements.txt", "tests/host.txt")
ISX_SHA256 = re.compile(r"[0-9a-f]{64}")


def lines(name: str) -> list[str]:
    """The requirements, each with its hashes on one line; remarks left out."""
    text = (PROJECT / name).read_text().replace("\\\n", " ")
    return [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]


@pytest.mark.parametrize("name", LOCKS)
def test_every_requirement_is_pinned_and_hashed(name):
    assert lines(name)
    for line in lines(name):
        assert re.fullmatch(r"[a-z0-9][a-z0-9._-]*==[\w.]+( +--hash=sha256:[0-9a-f]{64})+\s*", line), line


@pytest.mark.parametrize("name", LOCKS)
def test_no_index_no_links_no_hosts(name):
    text = (PROJECT / name).read_text()
    assert not re.search(r"index-url|find-links|trusted-host|://|@|^\s*-[a-z]", text, re.MULTILINE)


@pytest.mark.parametrize("name", LOCKS)
def test_what_is_asked_for_is_locked(name):
    def packages(text: str) -> set[str]:
        return {
            match.lower().replace("_", "-")
            for match in re.findall(r"^([A-Za-z0-9][\w.-]*?)(?=[=<>~!]|$)", text, re.MULTILINE)
        }

    wanted = packages((PROJECT / name).with_suffix(".in").read_text())
    assert len(wanted) > 3
    assert wanted <= packages("\n".join(lines(name)))


def test_the_public_isx_is_pinned_with_a_hash_for_each_python():
    pinned = dict(re.findall(r'^ARG (ISX_\w+)="?([^"\n]+)"?$', (PROJECT / "Dockerfile").read_text(), re.MULTILINE))
    assert re.fullmatch(r"\d+\.\d+\.\d+", pinned["ISX_VERSION"])
    hashes = pinned["ISX_SHA256"].split()
    assert all(ISX_SHA256.fullmatch(value) for value in hashes)
    assert len(set(hashes)) == 4
