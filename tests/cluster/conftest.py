"""The image on a real Slurm of two nodes, through Apptainer: root on Debian, all else skips and says so."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from slurm import NOBODY, Slurm, cluster, fuse_for_all

PROJECT = Path(__file__).resolve().parents[2]
IMAGE = os.environ.get("IMAGE", "isx") + ":latest"

MAKE_LARGE = """
import isx, numpy
timing = isx.Timing(num_samples=2, period=isx.Duration.from_msecs(50))
movie = isx.Movie.write("/made/large.isxd", timing, isx.Spacing(num_pixels=(3000, 3000)), numpy.uint16)
for number in range(2):
    movie.set_frame_data(number, numpy.zeros((3000, 3000), numpy.uint16))
movie.flush()
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents and "slurm" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.cluster)


@pytest.fixture(scope="session", autouse=True)
def fuse() -> Iterator[None]:
    with fuse_for_all():
        yield


@pytest.fixture(scope="session")
def workspace() -> Iterator[Path]:
    """A folder that plain users can reach, unlike pytest's own."""
    try:
        cluster.refuse_other_machines()
    except cluster.Unavailable as error:
        pytest.skip(f"a Slurm cannot be started here: {error}")
    if not shutil.which("docker") or subprocess.run(["docker", "info"], check=False, capture_output=True).returncode:
        pytest.skip("no Docker engine answers: 'make test-cluster' brings one, or eval \"$(make engine-env)\"")
    folder = Path(tempfile.mkdtemp(prefix="isx-cluster-", dir="/var/tmp"))
    folder.chmod(0o755)
    (folder / "tmp").mkdir()
    (folder / "tmp").chmod(0o777)
    (folder / "state").mkdir(mode=0o700)  # logs lie where nobody else may write
    os.chown(folder / "state", NOBODY, NOBODY)
    shutil.copytree(PROJECT / "deploy/slurm", folder / "deploy")
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def sif(workspace) -> Path:
    """The image as `make sif` makes it."""
    return make_sif(workspace / "isx.sif")


@pytest.fixture(scope="session")
def charliecloud(workspace) -> Path:
    return make_sif("--charliecloud", workspace / "isx")


def make_sif(*arguments: object) -> Path:
    command = [sys.executable, str(PROJECT / "scripts/sif.py"), *map(str, arguments)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return Path(str(arguments[-1]))


@pytest.fixture(scope="session")
def recordings(workspace) -> Path:
    """movie.isxd, cells.isxd, events.isxd, and large.isxd, of which each frame has nine million pixels."""
    folder = workspace / "recordings"
    folder.mkdir()
    folder.chmod(0o777)
    maker = PROJECT / "tests/image/make_recordings.py"
    mounts = ["-v", f"{folder}:/made", "-v", f"{maker}:/make.py:ro"]
    for command in (["/make.py", "/made"], ["-c", MAKE_LARGE]):
        subprocess.run(["docker", "run", "--rm", "--network=none", *mounts, IMAGE, "python", *command], check=True)
    return folder


@pytest.fixture(scope="session")
def slurm(workspace) -> Iterator[Slurm]:
    cluster.install()
    slurm = Slurm(workspace / "slurm")
    try:
        slurm.start()
        yield slurm
    finally:
        slurm.stop()


@dataclass
class Lab:
    """A folder of recordings and one of results, as a plain user has them."""

    slurm: Slurm
    image: Path
    input: Path
    output: Path
    logs: Path = Path("/nowhere")  # of Slurm, as submit.py says

    @property
    def sentinel(self) -> Path:
        return self.output / "done.marker"

    def add(self, recording: Path, *names: str) -> None:
        for name in names:
            target = self.input / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(recording, target)
            target.chmod(0o644)

    def submit(self, *options: object) -> dict[str, str]:
        """The ids of the jobs: `shards` and `gather`."""
        done = self.try_to_submit(*options)
        assert done.returncode == 0, done.stderr
        *jobs, logs = done.stdout.splitlines()
        self.logs = Path(logs.removeprefix("logs "))
        return dict(line.split()[:2] for line in jobs)

    def try_to_submit(self, *options: object) -> subprocess.CompletedProcess[str]:
        script = self.image.parent / "deploy/submit.py"
        return self.slurm.as_user("/usr/bin/python3", script, self.image, self.input, self.output, *options)

    def log(self, name: str) -> str:
        return (self.logs / f"{name}.log").read_text()

    def shard_sentinels(self) -> dict[str, int]:
        """Their names, and when each was written."""
        return {file.name: file.stat().st_mtime_ns for file in self.output.glob("done.marker.*")}


@pytest.fixture
def lab(slurm, sif, workspace, request) -> Iterator[Lab]:
    # With all that a path may hold and a list of mounts must quote.
    folder = workspace / f"{request.node.name}, a: b"
    folder.mkdir()
    for name in ("input", "output"):
        (folder / name).mkdir()
    os.chown(folder / "output", NOBODY, NOBODY)
    lab = Lab(slurm, sif, folder / "input", folder / "output")
    yield lab
    for log in sorted(lab.logs.glob("*.log")):  # pytest shows it where a test fails
        print(f"--- {log.name}\n{log.read_text()}")
