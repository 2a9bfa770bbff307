"""Every test in this folder needs an engine. Where one answers, none skips; where none does, all say so."""

from __future__ import annotations

import functools
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from harness import IDPS, IMAGE, INSTALLERS, PROJECT, PUBLIC, bake, container, docker, gateway, run

MAKE_RECORDINGS = Path(__file__).with_name("make_recordings.py")
SIMULATE = PROJECT / "samples/simulate.py"
# What a build reads: its own description, and what the allow-list of the Dockerfile's context names.
SOURCES = ["Dockerfile", "docker-bake.hcl", ".dockerignore", "Dockerfile.dockerignore", "scripts"]
SOURCES += dict.fromkeys(
    line[1:].partition("/")[0]
    for line in (PROJECT / "Dockerfile.dockerignore").read_text().splitlines()
    if line.startswith("!")
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.image)


@pytest.fixture(scope="session", autouse=True)
def engine():
    """An engine that answers; what the tests made goes away with them, the build cache stays."""
    if not shutil.which("docker") or subprocess.run(["docker", "info"], check=False, capture_output=True).returncode:
        pytest.skip("no Docker engine answers: 'make test' brings one, or eval \"$(make engine-env)\"")
    yield
    names = docker("images", "--format", "{{.Repository}}:{{.Tag}}").stdout.split()
    mine = [name for name in names if f"{name.partition(':')[0].split('/')[-1]}-".startswith(f"{IMAGE}-")]
    if mine:
        docker("image", "rm", "--force", *mine)


@pytest.fixture(scope="session")
def installers(engine) -> None:
    """The stand-ins for the IDPS installer, in harness.INSTALLERS."""
    bake("test-installer", f"--set=test-installer.output=type=local,dest={INSTALLERS}")


@pytest.fixture(scope="session")
def public(engine) -> str:
    bake("image", ISX_SOURCE="public")
    return PUBLIC


@pytest.fixture
def project(public, tmp_path) -> Path:
    """A copy of what the image is built from."""
    for name in SOURCES:
        source = PROJECT / name
        if source.is_dir():
            shutil.copytree(source, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def idps(installers) -> str:
    """The image with IDPS, from the stand-in, as `make image INSTALLER=...` builds it."""
    run(sys.executable, PROJECT / "scripts/build.py", INSTALLER=INSTALLERS / "good.sh", ACCEPT_EULA="Y")
    return IDPS


@pytest.fixture(scope="session")
def web(installers) -> Iterator[str]:
    """The address of a server of stand-ins that builds can reach: it listens where the bridge network ends."""
    handler = functools.partial(SimpleHTTPRequestHandler, directory=INSTALLERS)
    with ThreadingHTTPServer((gateway(), 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://{gateway()}:{server.server_port}"
        server.shutdown()


def made_by(script: Path, folder: Path) -> Path:
    """The folder, with the recordings that a script makes in the image."""
    folder.chmod(0o777)
    options = ["-v", f"{folder}:/made", "-v", f"{script}:/make.py:ro"]
    container("python", "/make.py", "/made", options=options, check=True)
    return folder


@pytest.fixture(scope="session")
def recordings(public, tmp_path_factory) -> Path:
    """A movie, the same again under awkward names, a cell set and an event set."""
    return made_by(MAKE_RECORDINGS, tmp_path_factory.mktemp("recordings"))


@pytest.fixture(scope="session")
def movie(recordings, tmp_path_factory) -> Path:
    """A folder with one small movie: all that most runs need."""
    folder = tmp_path_factory.mktemp("movie")
    folder.chmod(0o755)
    shutil.copy(recordings / "movie.isxd", folder)
    return folder


@pytest.fixture(scope="session")
def simulated(public, tmp_path_factory) -> Path:
    """A folder with one simulated recording that has cells in it."""
    return made_by(SIMULATE, tmp_path_factory.mktemp("simulated"))


@pytest.fixture
def output(tmp_path) -> Path:
    """An output folder that any user may write to."""
    folder = tmp_path / "output"
    folder.mkdir()
    folder.chmod(0o777)
    return folder
