"""stages/slim.py: drops what the list names and nothing else, and leaves trees that are the same each time."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "stages"))

import slim

LIST = """\
# a remark

[venv]
lib/**/tests     # test suites
lib/*.a
include

[app]
cache/*
"""


@pytest.fixture(autouse=True)
def _own_list(tmp_path, monkeypatch):
    path = tmp_path / "slim.txt"
    path.write_text(LIST)
    monkeypatch.setattr(slim, "LIST", path)


def tree(root: Path, *files: str) -> Path:
    for name in files:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"12345")
    return root


def listing(root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if not path.is_dir()}


@pytest.mark.parametrize(
    "section, expected", [("venv", ["lib/**/tests", "lib/*.a", "include"]), ("app", ["cache/*"]), ("other", [])]
)
def test_patterns_of_a_section(section, expected):
    assert slim.patterns(section) == expected


def test_every_section_of_the_real_list_is_one_that_the_build_asks_for(monkeypatch):
    monkeypatch.undo()
    sections = {line.strip("[]\n") for line in slim.LIST.read_text().splitlines() if line.startswith("[")}
    build = (slim.LIST.parent.parent / "Dockerfile").read_text() + Path(slim.__file__).read_text()
    assert sections
    for section in sections:
        assert f"slim.py {section} " in build or f'patterns("{section}")' in build, section
        assert slim.patterns(section)


def test_drop(tmp_path):
    root = tree(
        tmp_path / "root", "lib/a/tests/test.py", "lib/a/b/tests/x/y.py", "lib/a/testing.py", "lib/z.a", "lib/a/q.a"
    )
    assert slim.drop(root, "venv") == 15
    assert listing(root) == {"lib/a/testing.py", "lib/a/q.a"}


def test_drop_removes_a_link_and_not_what_it_points_to(tmp_path):
    root = tree(tmp_path / "root", "real/header.h")
    (root / "include").symlink_to("real")
    assert slim.drop(root, "venv") == 0
    assert listing(root) == {"real/header.h"}
    assert not (root / "include").is_symlink()


def test_byte_code_is_the_same_each_time_and_valid_whatever_the_time_stamps(tmp_path):
    def compiled(name: str) -> dict[str, bytes]:
        root = tmp_path / name / "same"  # the path is part of the byte code
        (root / "package").mkdir(parents=True)
        (root / "package/module.py").write_text("def f(a, *, b=frozenset({1, 2})):\n    return {a: b}\n")
        (root / "package/broken.py").write_text("def f(:\n")
        tree(root, "package/__pycache__/gone.cpython-311.pyc")
        os.chdir(tmp_path / name)
        slim.compile_python(Path("same"))
        return {path.name: path.read_bytes() for path in Path("same").rglob("*.pyc")}

    here = Path.cwd()
    try:
        first, second = compiled("first"), compiled("second")
    finally:
        os.chdir(here)
    assert first == second
    assert list(first) == [f"module.{sys.implementation.cache_tag}.pyc"]
    assert first.popitem()[1][4:8] == b"\1\0\0\0"  # PEP 552: hash-based, not checked


def test_clamp(tmp_path):
    root = tree(tmp_path / "root", "new", "folder/old")
    outside = tree(tmp_path, "outside") / "outside"
    (root / "link").symlink_to(outside)
    os.utime(root / "folder/old", (1, 1))
    before = outside.stat().st_mtime
    slim.clamp(root)
    assert (root / "folder/old").stat().st_mtime == 1
    for path in (root, root / "new", root / "folder", root / "link"):
        assert path.lstat().st_mtime == slim.EPOCH, path
    assert outside.stat().st_mtime == before > slim.EPOCH


@pytest.mark.skipif(not shutil.which("strip"), reason="binutils is not installed")
def test_strip_keeps_every_library_loadable(tmp_path):
    import numpy

    site = Path(numpy.__file__).parents[1]
    patched = next((site / "numpy.libs").glob("*openblas*"))  # strip breaks it: auditwheel has moved its sections
    plain = next((site / "numpy").rglob("_multiarray_umath*.so"))
    for library in (patched, plain):
        shutil.copy(library, tmp_path)
    (tmp_path / "text.so").write_text("INPUT(libm.so.6)")
    before = {path.name: zlib.crc32(path.read_bytes()) for path in tmp_path.glob("*.so*")}
    subprocess.run(["strip", "--version"], check=True)  # a library that it cannot strip is kept as it is
    slim.strip(tmp_path)
    loader = next(Path("/").glob("lib64/ld-linux-*.so.*"))
    assert {path.name for path in tmp_path.glob("*.so*")} == set(before)
    for library in (patched, plain):
        done = subprocess.run([loader, "--verify", tmp_path / library.name], check=False)
        assert done.returncode in (0, 2), library.name
    assert (tmp_path / "text.so").read_text() == "INPUT(libm.so.6)"


def test_libraries_stay_that_packages_of_the_product_need(tmp_path, monkeypatch):
    """The real apt-cache, where there is one, on a package whose dependencies everybody has."""
    slim.LIST.write_text("[packages]\nzlib1g\n[drivers]\nlibgcc-s1\n")
    if not shutil.which("apt-cache"):
        pytest.skip("there is no apt-cache")
    libraries = slim.needed_by(["libc6"])
    assert "libc6" in libraries
    assert "libgcc-s1" not in libraries, "a driver, as this list has it"
    assert all(name.startswith("lib") for name in libraries)
