"""ELF facts against the dynamic loader's own word."""

from __future__ import annotations

import ctypes.util
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from native import elf
from tests.launch import API, ROOT

PACKAGE = API / "isx"
LIBRARY = PACKAGE / "lib" / elf.LIBRARY


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the vendor's libraries, to be damaged."""
    shutil.copytree(PACKAGE / "lib", tmp_path / "isx" / "lib")
    shutil.copytree(PACKAGE.parent / "isx.libs", tmp_path / "isx.libs")
    return tmp_path


def replace(path: Path, old: bytes, new: bytes) -> None:
    content = path.read_bytes()
    assert old in content
    assert len(old) == len(new)
    path.write_bytes(content.replace(old, new))


def assert_tree(tree: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "native.elf", str(tree)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_the_closure_is_what_the_loader_loads():
    ldd = subprocess.run(["ldd", LIBRARY], capture_output=True, text=True, check=True).stdout
    loaded = {line.split()[0]: line.split()[2] for line in ldd.splitlines() if "=>" in line}
    closure = elf.closure(LIBRARY)
    assert closure.problems == []
    assert {name: str(path.resolve()) for name, path in closure.paths.items() if name in loaded} == {
        name: str(Path(path).resolve()) for name, path in loaded.items()
    }
    assert set(loaded) <= set(closure.paths)


def test_the_glibc_that_is_needed():
    assert elf.closure(LIBRARY).glibc_needed == "2.34"
    assert elf.version_key("2.9") < elf.version_key("2.34")
    assert elf.version_key(elf.system_glibc()) >= (2, 17)


def test_a_sound_tree(tree):
    done = assert_tree(tree)
    assert (done.returncode, done.stderr) == (0, "")
    assert "all 22 shared libraries found; needs glibc 2.34, this system has 2." in done.stdout


def missing(tree: Path) -> None:
    (tree / "isx/lib/libQt5Core.so.5").unlink()


def renamed_need(tree: Path) -> None:
    replace(tree / "isx/lib/libQt5Core.so.5", b"libglib-2.0.so.0\0", b"libglub-2.0.so.0\0")


def newer_glibc(tree: Path) -> None:
    replace(tree / f"isx/lib/{elf.LIBRARY}", b"GLIBC_2.34\0", b"GLIBC_2.99\0")


def newer_compiler(tree: Path) -> None:
    replace(tree / f"isx/lib/{elf.LIBRARY}", b"GLIBCXX_3.4.20\0", b"GLIBCXX_3.4.99\0")


def gone(tree: Path) -> None:
    (tree / f"isx/lib/{elf.LIBRARY}").unlink()


def cut(tree: Path) -> None:
    library = tree / f"isx/lib/{elf.LIBRARY}"
    library.write_bytes(library.read_bytes()[:5000])


def other_machine(tree: Path) -> None:
    library = tree / "isx/lib/libQt5Core.so.5"
    content = bytearray(library.read_bytes())
    content[18] = 0xB7  # AArch64
    library.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (missing, "shared library libQt5Core.so.5 not found (needed by libisxpublicapi.so)"),
        (renamed_need, "shared library libglub-2.0.so.0 not found (needed by libQt5Core.so.5)"),
        (newer_glibc, "glibc 2.99 needed by libisxpublicapi.so, but this system has 2."),
        (newer_compiler, "libstdc++.so.6 lacks version GLIBCXX_3.4.99 (needed by libisxpublicapi.so)"),
        (gone, "no libisxpublicapi.so in it: this is not the tree of the isx API"),
        (cut, "libisxpublicapi.so"),
        (other_machine, "shared library libQt5Core.so.5 not found"),
    ],
)
def test_a_damaged_tree_is_one_clear_message(tree, damage, message):
    damage(tree)
    done = assert_tree(tree)
    assert (done.returncode, done.stdout) == (1, "")
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_links_are_not_followed_when_neighbours_are_sought(tree):
    """Nor does the loader: a link to the library alone does not bring what lies beside its target."""
    (tree / "alone").mkdir()
    link = tree / "alone" / elf.LIBRARY
    link.symlink_to(tree / "isx" / "lib" / elf.LIBRARY)
    assert "libQt5Core.so.5" in elf.closure(link).missing
    done = subprocess.run(["ldd", link], capture_output=True, text=True, check=False)
    assert "libQt5Core.so.5 => not found" in done.stdout


@pytest.mark.parametrize(
    "content", [b"", b"#!/bin/sh\n" * 20, b"\x7fELF\x02\x01" + bytes(58), b"\x7fELF\x01\x01" + bytes(58)]
)
def test_what_is_no_library(tmp_path, content):
    path = tmp_path / "x.so"
    path.write_bytes(content)
    with pytest.raises(elf.NotElf):
        elf.closure(path)


def test_every_cut_of_a_library_is_refused_or_read(tmp_path):
    whole = next((API / "isx.libs").glob("libavutil-*")).read_bytes()
    path = tmp_path / "cut.so"
    for size in range(0, len(whole), len(whole) // 60):
        path.write_bytes(whole[:size])
        try:
            elf.closure(path)
        except elf.NotElf:
            continue


def test_libraries_of_this_system():
    assert ctypes.util.find_library("c")
    libc = next(Path(folder) / "libc.so.6" for folder in elf.SYSTEM_FOLDERS if Path(folder, "libc.so.6").exists())
    assert elf.closure(libc).problems == []
