#!/usr/bin/env python3
"""Make stand-ins for the IDPS installer, sound and broken; runs in tests/installer/Dockerfile.

    make.py PUBLIC TARGET    PUBLIC holds the public isx in the IDPS layout; writes TARGET/<variant>.sh

`good` comes from cpack, as the vendor's own does. The others are its stub with another archive behind it, or its bytes
with a fault put in. To add a variant with another tree, add a function to TREES. Standard library only.
"""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path

PRODUCT = Path("Inscopix Data Processing.linux")
API = PRODUCT / "Contents/API/Python"
LIBRARY = API / "isx/lib/libisxpublicapi.so"
GZIP = b"\n\x1f\x8b\x08"  # where the stub ends and the archive begins

# What IDPS has beside the API; the tests look for these bytes.
BESIDE = {
    PRODUCT / "Contents/GUI/Inscopix Data Processing": "bytes of the stand-in's GUI\n" * 1000,
    PRODUCT / "Contents/API/MATLAB/isx.m": "% the stand-in's MATLAB API\n",
    PRODUCT / "Contents/ThirdPartyLicenses.txt": "the stand-in's licences\n",
    API / "isx/examples/example_preprocessing.py": "import isx  # the stand-in's example\n",
    API / "setup.py": "from setuptools import setup\n\nsetup(name='isx', packages=['isx'])\n",
}


def idps_tree(public: Path, tree: Path) -> None:
    """The public package as IDPS lays it out, and the rest of the product in a few small files."""
    left_out = shutil.ignore_patterns("__pycache__", "*.dist-info")
    shutil.copytree(public / PRODUCT, tree / PRODUCT, symlinks=True, ignore=left_out)
    (tree / API / LIBRARY.name).symlink_to(LIBRARY.relative_to(API))
    for path, text in BESIDE.items():
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).write_text(text)


def cpack(tree: Path, target: Path) -> None:
    here = Path(__file__).resolve().parent
    with tempfile.TemporaryDirectory() as work:
        command = ["cpack", "--config", here / "CPackConfig.cmake", "-B", work]
        subprocess.run(command, check=True, env={**os.environ, "TREE": str(tree)}, stdin=subprocess.DEVNULL)
        shutil.move(Path(work, "Inscopix_Data_Processing_1.9.6.sh"), target)


# --- trees: each edits a copy of the sound one ------------------------------------------------------------------


def missing_library(tree: Path) -> None:
    """One that no package of the distribution has: it is of the vendor's own release."""
    (library,) = (tree / API).glob("isx*/**/libicudata*.so.56")
    library.unlink()


def needs(*names: str) -> Callable[[Path], None]:
    """The API's library also asks for these, which the tree does not hold."""

    def edit(tree: Path) -> None:
        for name in names:
            subprocess.run(["patchelf", "--add-needed", name, tree / LIBRARY], check=True)

    return edit


def needs_module(tree: Path) -> None:
    """An API that imports a Python package which the image has not."""
    package = tree / API / "isx/__init__.py"
    package.write_text("import six\n\n" + package.read_text())


def wrong_layout(tree: Path) -> None:
    """No package isx, wherever one looks: one in another place would be found."""
    (tree / API / "isx").rename(tree / API / "inscopix")


def unreadable(tree: Path) -> None:
    (tree / LIBRARY).chmod(0o000)
    (tree / API / "isx/__init__.py").chmod(0o600)
    (tree / API / "isx.libs").chmod(0o700)


def newer_glibc(tree: Path) -> None:
    """Let the library ask for a glibc that no base has: its name and its hash, where the linker put them."""
    old, new = b"GLIBC_2.34", b"GLIBC_2.99"
    edited = (tree / LIBRARY).read_bytes()
    for before, after in ((old, new), *[[struct.pack("<I", elf_hash(name)) for name in (old, new)]]):
        assert before in edited, before
        edited = edited.replace(before, after)
    (tree / LIBRARY).write_bytes(edited)


def elf_hash(name: bytes) -> int:
    """The hash of a version's name, as the System V ABI defines it."""
    value = 0
    for byte in name:
        value = (value << 4) + byte
        high = value & 0xF0000000
        value = (value ^ (high >> 24)) & ~high
    return value


def small(tree: Path) -> None:
    """Small enough for a secret: the right layout, but an API of empty files."""
    shutil.rmtree(tree / API)
    (tree / LIBRARY).parent.mkdir(parents=True)
    (tree / API / LIBRARY.name).symlink_to(LIBRARY.relative_to(API))
    for path in (LIBRARY, API / "isx/__init__.py"):
        (tree / path).touch()


def outer_folder(tree: Path) -> None:
    """As some installs have it."""
    (tree / "Inscopix Data Processing 1.9.6").mkdir()
    (tree / PRODUCT).rename(tree / "Inscopix Data Processing 1.9.6" / PRODUCT)


def beside(tree: Path) -> None:
    """The library really beside the package, where its RPATH no longer leads to what it needs."""
    (tree / API / LIBRARY.name).unlink()
    (tree / LIBRARY).rename(tree / API / LIBRARY.name)
    internal = tree / API / "isx/_internal.py"
    text = internal.read_text()
    assert "os.path.join(_this_dir, 'lib')" in text
    internal.write_text(text.replace("os.path.join(_this_dir, 'lib')", "os.path.dirname(_this_dir)"))


def dependency_elsewhere(tree: Path) -> None:
    """A library of the desktop program's that the API needs, too."""
    (tree / PRODUCT / "Contents/GUI/lib").mkdir()
    (tree / API / "isx/lib/libQt5Core.so.5").rename(tree / PRODUCT / "Contents/GUI/lib/libQt5Core.so.5")


def older_numpy(tree: Path) -> None:
    """An API that was written for NumPy 1."""
    package = tree / API / "isx/__init__.py"
    package.write_text("import numpy as np\n\nDEFAULT_TYPE = np.float_\n" + package.read_text())


def activation(tree: Path) -> None:
    """Algorithms that refuse without a licence file."""
    algorithms(tree)
    with (tree / API / "isx/algo.py").open("a") as file:
        file.write(ACTIVATION)


ACTIVATION = """

import functools as _functools
import os as _os

_preprocess = preprocess


@_functools.wraps(_preprocess)
def preprocess(*arguments, **options):
    if "stand-in" not in Path(_os.environ.get("LICENCE") or _os.devnull).read_text():
        raise Exception("No valid activation was found. Activate Inscopix Data Processing first.")
    return _preprocess(*arguments, **options)
"""


def algorithms(tree: Path) -> None:
    """What stands in for the licensed algorithms; algorithms/algo.py says what it is."""
    for source in Path(__file__).resolve().parent.glob("algorithms/*.py"):
        shutil.copy(source, tree / API / "isx" / source.name)


TREES = {
    "algorithms": algorithms,
    "missing-library": missing_library,
    "system-libraries": needs("libGL.so.1", "libxcb-xkb.so.1", "libxcb-icccm.so.4"),
    "no-such-library": needs("libGL.so.1", "libnowhere.so.9"),
    "needs-module": needs_module,
    "wrong-layout": wrong_layout,
    "unreadable": unreadable,
    "newer-glibc": newer_glibc,
    "outer-folder": outer_folder,
    "beside": beside,
    "dependency-elsewhere": dependency_elsewhere,
    "older-numpy": older_numpy,
    "activation": activation,
    "small": small,
}


# --- faults in the bytes ----------------------------------------------------------------------------------------


def when_unpacking(stub: bytes, command: str) -> bytes:
    """A stub that runs this command first. It takes the empty second line: the stub counts its lines."""
    shebang, empty, rest = stub.split(b"\n", 2)
    assert not empty, empty
    return b"\n".join([shebang, f'case "$*" in *--skip-license*) {command} ;; esac'.encode(), rest])


def faulty(good: bytes) -> dict[str, bytes]:
    end = good.index(GZIP) + 1
    stub, archive = good[:end], good[end:]
    return {
        "truncated-8": good[:-8],
        "truncated-600": good[:-600],
        "refuses": when_unpacking(stub, "echo 'This machine is not supported.'; exit 1") + archive,
        "hangs": when_unpacking(stub, "exec sleep 600") + archive,
        "not-an-installer": b"#!/bin/sh\necho 'Log in to download.'\n",
    }


def pack(stub: bytes, tree: Path, target: Path) -> None:
    with target.open("wb") as file:
        file.write(stub)
        with tarfile.open(fileobj=file, mode="w:gz", compresslevel=1) as archive:
            for entry in sorted(tree.iterdir()):
                archive.add(entry, entry.name)


def main(public: Path, target: Path) -> None:
    target.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as work:
        tree = Path(work, "sound")
        idps_tree(public, tree)
        cpack(tree, target / "good.sh")
        good = (target / "good.sh").read_bytes()
        for name, content in faulty(good).items():
            (target / f"{name}.sh").write_bytes(content)
        for name, edit in TREES.items():
            copy = Path(work, name)
            shutil.copytree(tree, copy, symlinks=True)
            edit(copy)
            pack(good[: good.index(GZIP) + 1], copy, target / f"{name}.sh")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
