"""The locks: every package pinned and hashed, and no word about where this machine gets its packages from."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
PYTHONS = {"3.9": ("", "-numpy1"), "3.11": ("", "-numpy1"), "3.13": ("",)}  # and NumPy 1 where it exists
DEFAULT = (PROJECT / "requirements.txt").resolve().stem.removeprefix("python")  # of the default base


def lock_of(python: str, numpy: str = "") -> str:
    return f"requirements/python{python}{numpy}.txt"


OF_THE_IMAGE = [lock_of(python, numpy) for python, numpys in PYTHONS.items() for numpy in numpys]
LOCKS = [*OF_THE_IMAGE, "requirements/builder.txt", "tests/requirements.txt", "tests/host.txt"]
ISX_SHA256 = re.compile(r"[0-9a-f]{64}")
# A lock for several Pythons or systems says which of them need a package.
REQUIREMENT = re.compile(r"([a-z0-9][a-z0-9._-]*)==([\w.]+)( ; [^#]+?)?((?: +--hash=sha256:[0-9a-f]{64})+)\s*")


def lines(name: str) -> list[str]:
    """The requirements, each with its hashes on one line; remarks left out."""
    text = (PROJECT / name).read_text().replace("\\\n", " ")
    return [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]


def versions(name: str) -> dict[str, str]:
    return {match[1]: match[2] for line in lines(name) if (match := REQUIREMENT.fullmatch(line))}


def asked_for(name: str) -> set[str]:
    text = (PROJECT / name).read_text()
    names = re.findall(r"^([a-z0-9][\w.-]*?)(?=[=<>~!; ]|$)", text, re.MULTILINE)
    return {re.sub(r"[-_.]+", "-", name) for name in names}  # as locks spell them: PEP 503


def test_there_is_one_for_each_python_and_no_other():
    assert {f"requirements/{path.name}" for path in (PROJECT / "requirements").glob("python*.txt")} == set(OF_THE_IMAGE)


@pytest.mark.parametrize("name", LOCKS)
def test_every_requirement_is_pinned_and_hashed(name):
    assert lines(name)
    for line in lines(name):
        assert REQUIREMENT.fullmatch(line), line


@pytest.mark.parametrize("name", OF_THE_IMAGE)
def test_a_lock_of_the_image_holds_for_one_python(name):
    assert [line for line in lines(name) if " ; " in line] == []


@pytest.mark.parametrize("name", LOCKS)
def test_no_index_no_links_no_hosts(name):
    text = (PROJECT / name).read_text()
    assert not re.search(r"index-url|find-links|trusted-host|://|@|^\s*-[a-z]", text, re.MULTILINE)


@pytest.mark.parametrize(("python", "numpy"), [(python, numpy) for python in PYTHONS for numpy in PYTHONS[python]])
def test_what_the_image_needs_is_locked(python, numpy):
    wanted = asked_for("requirements.in")
    assert {"numpy", "scipy", "pandas", "threadpoolctl", "pynwb", "tomli"} <= wanted
    if python != "3.9":
        wanted.remove("tomli")
    locked = versions(lock_of(python, numpy))
    assert wanted <= set(locked)
    assert locked["numpy"].startswith("1.26." if numpy else "2.")


def test_the_default_base_gets_what_is_supported():
    """Not what the oldest Python holds back."""
    default, oldest = versions(lock_of(DEFAULT)), versions(lock_of("3.9"))
    held_back = [name for name in ("numpy", "scipy", "pillow", "pandas") if default[name] == oldest[name]]
    assert held_back == []


@pytest.mark.parametrize("name", ["requirements/builder", "tests/requirements", "tests/host"])
def test_what_is_asked_for_is_locked(name):
    wanted = asked_for(f"{name}.in")
    assert wanted
    assert wanted <= set(versions(f"{name}.txt"))


def test_the_public_isx_is_pinned_with_a_hash_for_each_python():
    pinned = dict(re.findall(r'^ARG (ISX_\w+)="?([^"\n]+)"?$', (PROJECT / "Dockerfile").read_text(), re.MULTILINE))
    assert re.fullmatch(r"\d+\.\d+\.\d+", pinned["ISX_VERSION"])
    hashes = pinned["ISX_SHA256"].split()
    assert all(ISX_SHA256.fullmatch(value) for value in hashes)
    assert len(set(hashes)) == len(PYTHONS)
