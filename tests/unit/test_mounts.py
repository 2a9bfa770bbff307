"""runner/mounts.py: where the output lies, as the kernel tells it."""

from __future__ import annotations

from pathlib import Path

import pytest

from runner import mounts
from runner.endings import Unwritable

MOUNTINFO = """\
610 520 0:55 / / rw,relatime master:200 - overlay overlay rw,lowerdir=/l/A
611 610 0:57 / /proc rw,nosuid - proc proc rw
620 610 0:60 / /tmp rw,nosuid - tmpfs tmpfs rw
621 610 254:1 /home/anna/in /data ro,relatime - ext4 /dev/vda rw
622 610 254:1 /home/anna/out /out\\040put rw,relatime - ext4 /dev/vda rw
"""


@pytest.fixture(autouse=True)
def in_the_image(monkeypatch, tmp_path):
    (tmp_path / "mountinfo").write_text(MOUNTINFO)
    monkeypatch.setattr(mounts, "MOUNTS", tmp_path / "mountinfo")
    monkeypatch.setattr(mounts, "APP", mounts.IMAGE_APP)


@pytest.mark.parametrize(
    "path, point", [("/output", "/"), ("/out put/day1", "/out put"), ("/data", "/data"), ("/", "/")]
)
def test_the_mount_that_a_path_lies_on(path, point):
    assert mounts.mount_point_of(Path(path)) == Path(point)


def test_nothing_is_mounted():
    with pytest.raises(Unwritable, match=r"nothing is mounted at /output, .* add `-v \"\$PWD/output:/output\"`, or"):
        mounts.refuse_container_layer(Path("/output"))


@pytest.mark.parametrize("output", ["/out put", "/data/results", "/tmp/results"])
def test_something_is(output):
    mounts.refuse_container_layer(Path(output))


def test_only_in_the_image(monkeypatch):
    monkeypatch.setattr(mounts, "APP", Path("/home/anna/isx"))
    mounts.refuse_container_layer(Path("/output"))


def test_where_the_kernel_does_not_say(monkeypatch, tmp_path):
    monkeypatch.setattr(mounts, "MOUNTS", tmp_path / "none")
    mounts.refuse_container_layer(Path("/output"))


@pytest.mark.parametrize("sentinel, point", [("/flags/done", "/flags"), ("done.marker", str(Path.cwd()))])
def test_a_sentinel_that_would_be_lost_with_the_container(sentinel, point):
    with pytest.raises(Unwritable, match=f"nothing is mounted at {point}, and a sentinel inside the container"):
        mounts.refuse_sentinel_in_container(Path(sentinel), Path("/out put"))


def test_a_sentinel_that_outlives_it(monkeypatch):
    mounts.refuse_sentinel_in_container(Path("/out put/flags/done"), Path("/out put"))
    mounts.refuse_sentinel_in_container(Path("/data/done"), Path("/out put"))
    monkeypatch.setattr(mounts, "APP", Path("/home/anna/isx"))
    mounts.refuse_sentinel_in_container(Path("done.marker"), Path("/out put"))
