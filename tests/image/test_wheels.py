"""The one lock serves every Python that a base may bring: there is a wheel of every package for each."""

from __future__ import annotations

import sys

import pytest

from harness import PROJECT, run

PLATFORMS = ["manylinux2014_x86_64", *(f"manylinux_2_{minor}_x86_64" for minor in range(17, 37))]  # glibc 2.36
PLATFORM_OPTIONS = [f"--platform={platform}" for platform in PLATFORMS]


@pytest.mark.parametrize("python", ["3.9", "3.10", "3.11", "3.12"])
def test_every_package_has_a_wheel(python, tmp_path):
    options = ["--no-deps", "--require-hashes", "--only-binary=:all:", f"--python-version={python}", *PLATFORM_OPTIONS]
    run(
        sys.executable, "-m", "pip", "download", "--quiet", *options, "-r", PROJECT / "requirements.txt", "-d", tmp_path
    )
    wheels = {path.name.split("-")[0].lower() for path in tmp_path.glob("*.whl")}
    assert {"numpy", "scipy", "pandas", "scikit_learn", "matplotlib", "imagecodecs", "h5py", "pillow"} <= wheels
