"""stages/packages.py and lock.py: what is added to the runtime. The image tests run them in builds."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "stages"))

import lock
import packages

INDEX = b"""\
usr/lib/x86_64-linux-gnu/libGL.so.1\t\t\t\t    libs/libgl1
usr/lib/x86_64-linux-gnu/nvidia/current/libGL.so.1      non-free/libs/libgl1-nvidia-glx
usr/lib/x86_64-linux-gnu/libGL.so.1.7.0                 libs/libgl1
usr/lib/i386-linux-gnu/libxcb.so.1                      libs/libxcb1-i386-cross
lib/x86_64-linux-gnu/libz.so.1                          libs/zlib1g
usr/lib/x86_64-linux-gnu/libfoo.so                      libdevel/libfoo-dev,libs/libfoo-plugins
usr/lib/x86_64-linux-gnu/libbar.so                      libdevel/libbar-dev
usr/share/doc/libGL.so.1                                doc/libgl-doc
"""

PROVIDED = {
    "libGL.so.1": "libgl1",
    "libz.so.1": "zlib1g",
    "libfoo.so": "libfoo-plugins",
    "libbar.so": "libbar-dev",
    "libxcb.so.1": None,  # of another machine
    "libGL.so.2": None,
}


@pytest.mark.parametrize("name, package", PROVIDED.items())
def test_the_package_of_a_library(name, package, monkeypatch):
    monkeypatch.setattr(packages.elf, "SYSTEM_FOLDERS", ("/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu"))
    assert packages.providers([name], INDEX.splitlines(keepends=True)).get(name) == package


def test_a_library_that_nobody_has_is_named_with_the_ways_out():
    assert packages.explain({"libx.so.9": "liby.so", "libz.so.8": "libx.so"}) == (
        "no package of this distribution has libx.so.9 (needed by liby.so); libz.so.8 (needed by libx.so). If the "
        "installer should have brought it, check that it is complete. If a package has it under another name, add that "
        'with RUNTIME_PACKAGES="name ...". Else take a BASE_IMAGE that has it.'
    )


LOCK = "numpy==2.4.6 \\\n    --hash=sha256:" + "0" * 64 + "\n"
ONE, OTHER = ("--hash=sha256:" + digit * 64 for digit in "12")


def test_packages_join_the_lock_with_their_hashes():
    assert lock.with_packages(LOCK, "") == LOCK
    more = f"six==1.17.0 \\\n    {ONE} \\\n    {OTHER}\na_b==1 \\\n    {ONE}\n"
    assert lock.with_packages(LOCK, f"six==1.17.0 {ONE}\n {OTHER} \\\n a_b==1 {ONE}") == LOCK + more


@pytest.fixture
def locks(tmp_path):
    for name in ("python3.13.txt", "python3.9.txt", "python3.11.txt", "python3.11-numpy1.txt", "python3.9-numpy1.txt"):
        (tmp_path / name).write_text(LOCK)
    (tmp_path / "builder.txt").touch()
    return tmp_path


@pytest.mark.parametrize(
    ("python", "numpy", "chosen"),
    [("3.11.2", "", "python3.11.txt"), ("3.9.25", "1", "python3.9-numpy1.txt"), ("3.13.5", "", "python3.13.txt")],
)
def test_the_lock_for_the_python_of_the_base(locks, python, numpy, chosen):
    assert lock.choose(locks, python, numpy) == locks / chosen


@pytest.mark.parametrize(
    ("python", "numpy", "message"),
    [
        ("3.12.0", "", "BASE_IMAGE has Python 3.12.0: take one with 3.9, 3.11 or 3.13, such as Debian 12"),
        ("3.1.4", "1", "BASE_IMAGE has Python 3.1.4: take one with 3.9, 3.11 or 3.13, such as Debian 12"),
        (
            "3.13.5",
            "1",
            "NumPy 1 does not exist for Python 3.13: leave NUMPY out, or take a BASE_IMAGE with Python 3.9 or 3.11",
        ),
        (
            "3.11.2",
            "2",
            "NUMPY=2: there is only 1, for a product that needs NumPy before 2. For a current NumPy, leave",
        ),
    ],
)
def test_what_no_lock_is_for(locks, python, numpy, message):
    with pytest.raises(lock.Mistake, match=re.escape(message)):
        lock.choose(locks, python, numpy)


MISTAKES = {
    "six": "'six' is neither name==version nor its hash: write each as name==version --hash=sha256:<digest>.",
    "six==1.17.0": "six==1.17.0 has no hash: write each as",
    f"{ONE} six==1.17.0": "is neither name==version nor its hash",
    "six==1.17.0 --hash=md5:1": "'--hash=md5:1' is neither",
    "six==1.17.0 --index-url=http://x": "is neither",
    f"NumPy==1.26.4 {ONE}": "NumPy==1.26.4: the image has that package, of a version of its own",
}


@pytest.mark.parametrize("text, message", MISTAKES.items())
def test_a_mistake_leaves_no_lock(tmp_path, text, message, monkeypatch, capsys):
    monkeypatch.setenv("PYTHON_PACKAGES", text)
    monkeypatch.setenv("NUMPY", "")
    (tmp_path / "python{}.{}.txt".format(*sys.version_info)).write_text(LOCK)
    assert lock.main(tmp_path, tmp_path / "requirements.txt") == 1
    said = capsys.readouterr().err
    assert said.startswith("\nERROR: PYTHON_PACKAGES: ")
    assert message in said
    assert not (tmp_path / "requirements.txt").exists()
