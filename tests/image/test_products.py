"""What the real product may look like, on stand-ins: other layouts, libraries elsewhere, algorithms that refuse.

They prove that the build finds, links, asks and quotes; not that the vendor's product behaves like them.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

from harness import CODE, IMAGE, INSTALLERS, PROJECT, Done, container, docker, exists, run

NAME = f"{IMAGE}-products"
LATEST = f"{NAME}:latest"


def build(variant: str, **variables: object) -> Done:
    given = {"INSTALLER": INSTALLERS / f"{variant}.sh", "ACCEPT_EULA": "Y", "IMAGE": NAME, **variables}
    return run(sys.executable, PROJECT / "scripts/build.py", "--progress=plain", check=False, **given)


@pytest.fixture(autouse=True)
def _no_image_of_another_test(installers):
    yield
    for tag in ("latest", "idps-1.9.6"):
        docker("image", "rm", f"{NAME}:{tag}", check=False)
    (PROJECT / f"build/latest-{NAME}").unlink(missing_ok=True)


API = "Inscopix Data Processing.linux/Contents/API/Python"
SOUND = {  # variant: the folder of the API, and the links that the build made
    "good": (API, set()),
    "outer-folder": (f"Inscopix Data Processing 1.9.6/{API}", set()),
    "beside": (
        "Inscopix Data Processing.linux/Contents/API/Python",
        {"/usr/lib/libQt5Core.so.5", "/usr/lib/libavformat.so.57"},
    ),
    "dependency-elsewhere": (API, {"/usr/lib/libQt5Core.so.5"}),
}
READ_AND_WRITE = """
import os, isx, numpy as np
assert "LD_LIBRARY_PATH" not in os.environ
movie = isx.Movie.write("/tmp/a.isxd", isx.Timing(num_samples=2), isx.Spacing(num_pixels=(3, 4)), np.uint16)
for number in range(2):
    movie.set_frame_data(number, np.full((3, 4), number, np.uint16))
movie.flush()
print(os.path.realpath("/opt/inscopix/api"), isx.Movie.read("/tmp/a.isxd").get_frame_data(1).sum())
"""


@pytest.mark.parametrize("variant", SOUND)
def test_found_wherever_the_tree_has_it(variant):
    folder, links = SOUND[variant]
    done = build(variant)
    assert done.returncode == 0, done.stderr[-3000:]
    confined = ["--user", "4321:8765", "--read-only", "--tmpfs", "/tmp", "--network", "none"]
    said = container(*CODE, READ_AND_WRITE, image=LATEST, options=confined, check=True).stdout
    assert said == f"/opt/inscopix/{folder} 12\n"
    made = container("find", "/usr/lib", "-maxdepth", "1", "-lname", "/opt/*", image=LATEST, check=True).stdout.split()
    assert links <= set(made)
    assert bool(links) == bool(made)


def test_libraries_that_neither_the_product_nor_the_runtime_has_come_from_the_distribution():
    done = build("system-libraries")
    assert done.returncode == 0, done.stderr[-3000:]
    packages = {"libgl1": "libGL.so.1", "libxcb-icccm4": "libxcb-icccm.so.4", "libxcb-xkb1": "libxcb-xkb.so.1"}
    steps = re.findall(r"^#(\d+) \[system-idps ", done.stderr, re.MULTILINE)
    ran = [step for step in steps if f"#{step} CACHED" not in done.stderr]  # a step of an earlier build says nothing
    for package, library in packages.items() if ran else ():
        said = rf"{re.escape(library)}, which libisxpublicapi\.so needs and the product does not bring: {package} \d"
        assert re.search(said, done.stderr), library
    line = container("--version", image=LATEST, check=True).stdout.splitlines()[-1]
    assert re.fullmatch(r"for the product: libgl1 \S+, libxcb-icccm4 \S+, libxcb-xkb1 \S+", line), line
    labels = docker("image", "inspect", "--format", '{{index .Config.Labels "isx.found-packages"}}', LATEST).stdout
    assert re.fullmatch(r"libgl1=\S+ libxcb-icccm4=\S+ libxcb-xkb1=\S+\n", labels), "the same"
    confined = ["--user", "4321:8765", "--read-only", "--tmpfs", "/tmp", "--network", "none"]
    assert container(*CODE, READ_AND_WRITE, image=LATEST, options=confined, check=True).stdout.endswith(" 12\n")
    drivers = container("find", "/usr/lib", "-name", "libLLVM*", image=LATEST, check=True).stdout
    assert drivers == "", "what draws on a screen is not needed"


def test_packages_that_were_asked_for_keep_the_libraries_that_they_need():
    """libcups needs GnuTLS, which is dropped otherwise."""
    done = build("system-libraries", RUNTIME_PACKAGES="libcups2 procps")
    assert done.returncode == 0, done.stderr[-3000:]
    load = "import ctypes; ctypes.CDLL('libcups.so.2'); ctypes.CDLL('libGL.so.1')"
    assert container(*CODE, load, image=LATEST).returncode == 0
    assert container("ps", image=LATEST).returncode == 0
    labels = docker("image", "inspect", "--format", '{{index .Config.Labels "isx.runtime-packages"}}', LATEST).stdout
    assert labels == "libcups2 procps\n"


SIX = "six==1.17.0 --hash=sha256:4721f391ed90541fddacab5acf947aa0d3dc7d27b2e1e8eda2be8970586c3274"


def test_a_python_package_that_the_product_imports():
    done = build("needs-module", PYTHON_PACKAGES=SIX)
    assert done.returncode == 0, done.stderr[-3000:]
    assert container(*CODE, "import isx, six; print(six.__version__)", image=LATEST, check=True).stdout == "1.17.0\n"


def test_what_is_reported_of_a_product(tmp_path: Path):
    """`make report`: names, sizes and versions; no content of the product's files."""
    assert build("algorithms").returncode == 0
    out = tmp_path / "report.json"
    run(sys.executable, PROJECT / "scripts/report.py", out, IMAGE=NAME)
    text = out.read_text()
    report = json.loads(text)
    assert report["product"]["version"] == "1.9.6"
    assert report["functions"]["with algorithms"] is True
    assert "isx.algo.preprocess" in " ".join(report["functions"])
    assert report["examples"] == ["example_preprocessing.py"]
    (library,) = report["libraries"].values()
    assert "libQt5Core.so.5" in library["brought"]
    assert not library["missing"]
    assert "the stand-in's" not in text
    assert str(PROJECT) not in text


def test_only_the_api_keeps_what_is_elsewhere():
    done = build("dependency-elsewhere", ISX_TREE="api")
    assert done.returncode == 0, done.stderr[-3000:]
    shown = container("find", "/opt/inscopix", "-type", "f", image=LATEST, check=True).stdout
    assert "/GUI/lib/libQt5Core.so.5\n" in shown
    assert "/GUI/Inscopix Data Processing\n" not in shown


REFUSING = {
    "older-numpy": (
        r"`np\.float_` was removed in the NumPy 2\.0 release",
        r"ERROR: isx does not work in this image: see its answer above\. If it needs a NumPy of before "
        r"2: build with NUMPY=1\.",
    ),
    "activation": (
        r"movie\.isxd: step 1 \(preprocess\) failed: No valid activation was found\. Activate Inscopix Data",
        r"ERROR: the algorithms of this product do not run in this image: see its answer above\. If it wants a "
        r"licence file, pass it with LICENCE=path: .* To build the image anyway: PROOF=load\.",
    ),
}


@pytest.mark.parametrize("variant", REFUSING)
def test_what_it_says_when_it_refuses_ends_the_build(variant):
    done = build(variant)
    assert done.returncode != 0
    for message in REFUSING[variant]:
        assert re.search(message, done.stderr), done.stderr[-3000:]
    assert not exists(LATEST)


def test_an_older_numpy_by_one_variable():
    """The product that refuses the current one works, and a recording gets its results."""
    done = build("older-numpy", NUMPY=1)
    assert done.returncode == 0, done.stderr[-3000:]
    assert container(*CODE, READ_AND_WRITE, image=LATEST, check=True).stdout.endswith(" 12\n")
    versions = "import numpy, scipy; print(numpy.__version__, open('/app/requirements.txt').read())"
    said = container(*CODE, versions, image=LATEST, check=True).stdout
    installed, _, lock = said.partition(" ")
    assert installed.startswith("1.26.")
    assert f"\nnumpy=={installed} " in lock


def test_algorithms_are_run():
    done = build("algorithms")
    assert done.returncode == 0, done.stderr[-3000:]
    # quiet where the proof is cached: then it ran before


def test_a_licence_reaches_the_proof_and_the_run(tmp_path: Path):
    licence = tmp_path / "licence.txt"
    licence.write_text("of a stand-in")
    done = build("activation", LICENCE=licence)
    assert done.returncode == 0, done.stderr[-3000:]
    options = ["-v", f"{licence}:/licence:ro", "-e", "LICENCE=/licence"]
    assert container("cat", "/licence", image=LATEST, options=options).stdout == "of a stand-in"
    code = "import isx, sys; isx.preprocess([], [])"
    assert container(*CODE, code, image=LATEST, options=options).returncode == 0
    assert "No valid activation was found" in container(*CODE, code, image=LATEST).stderr
    assert container("find", "/run/secrets", image=LATEST).stdout == ""


def test_built_all_the_same():
    assert build("activation", PROOF="load").returncode == 0
