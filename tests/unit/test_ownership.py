"""common/ownership.py: advice that helps where it is given; and in a user namespace of the kernel's."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

from common.ownership import way_out
from tests.launch import API, ROOT, environment

FIRST, ROOTLESS = "0 0 4294967295\n", "0 1000 1\n1 100000 65536\n"
APPTAINER, PODMAN = {"APPTAINER_CONTAINER": "/isx.sif"}, {"podman": "yes"}
UNKNOWN = "it belongs to a user whom the container does not know, shown as uid "
CASES = {  # uid map, overflow uid, environment, owner, what is said
    "Docker": (FIRST, "65534", {}, 1234, "it belongs to uid 1234, gid 1235; run with `--user 1234:1235`, or give uid"),
    "Docker, of nobody": (FIRST, "65534", {}, 65534, "it belongs to uid 65534, gid 1235; run with `--user 65534:1235`"),
    "Podman as root": (FIRST, "65534", PODMAN, 1234, "run with `--user 1234:1235`"),
    "Podman, yours": (ROOTLESS, "65534", PODMAN, 0, "run with `--user 0:1235`"),
    "Podman, another's": (
        ROOTLESS, "65534", PODMAN, 65534, UNKNOWN + "65534; on the host, `ls -ld` shows its owner: if you may "
        "write there, run with `--userns=keep-id --group-add keep-groups`, else ask the owner for write permission",
    ),
    "Docker without root": (
        ROOTLESS, "65534", {}, 65534, UNKNOWN + "65534; on the host, `ls -ld` shows its owner: give all users write "
        "permission, or mount another",
    ),
    "another overflow uid": (ROOTLESS, "4000", {}, 4000, UNKNOWN + "4000; on the host"),
    "Apptainer": ("1000 1000 1\n", "65534", APPTAINER, 65534, UNKNOWN + "65534; Apptainer runs as you: ask its owner"),
    "Apptainer with setuid": (
        FIRST, "65534", APPTAINER, 1234, "it belongs to uid 1234, gid 1235; Apptainer runs as you: ask its owner for "
        "write permission, or bind a folder of your own",
    ),
    "no /proc": ("", "", {}, 65534, "run with `--user 65534:1235`"),
}  # fmt: skip


@pytest.mark.parametrize("uid_map, overflow, extra, owner, said", CASES.values(), ids=CASES)
def test_the_way_out_fits_what_runs(tmp_path, uid_map, overflow, extra, owner, said):
    for name, content in (("proc/self/uid_map", uid_map), ("proc/sys/kernel/overflowuid", overflow)):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    if extra is PODMAN:
        (tmp_path / "run").mkdir()
        (tmp_path / "run/.containerenv").touch()
    status = os.stat_result((0o755, 0, 0, 0, owner, 1235, 0, 0, 0, 0))
    answer = way_out(status, "write", tmp_path, extra)
    assert said in answer
    assert ("--user " in answer) == ("--user " in said), "an option that does not help is not named"


@pytest.mark.parametrize(
    "uid_map, said",
    [
        (FIRST, "it belongs to uid 7, gid 65534; run with `--user 7:65534`, or give uid"),
        (ROOTLESS, "it belongs to uid 7, gid 65534; run with `--user 7`, or give uid"),
    ],
)
def test_a_group_that_the_namespace_does_not_know(tmp_path, uid_map, said):
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/uid_map").write_text(uid_map)
    assert way_out(os.stat_result((0o755, 0, 0, 0, 7, 65534, 0, 0, 0, 0)), "write", tmp_path, {}).startswith(said)


def run_alone(open_tmp) -> subprocess.CompletedProcess[str]:
    """In a namespace with one user, as Apptainer and Podman make: the kernel shows all others as one."""
    if os.getuid() != 0 or not shutil.which("unshare"):
        pytest.skip("only root can give a folder to somebody else, for unshare(1) to run beside")
    command = ["unshare", "--user", "--map-root-user", sys.executable, str(ROOT / "bootstrap.py")]
    options = ["--input-dir", str(open_tmp / "in"), "--output-dir", str(open_tmp / "out")]
    env = environment({"PYTHONPATH": str(API), "LOG_FORMAT": "text"})
    done = subprocess.run([*command, *options], env=env, capture_output=True, text=True, timeout=60, check=False)
    if "unshare failed" in done.stderr:
        pytest.skip("no user namespaces here")
    assert "--user 65534" not in done.stderr
    return done


def test_an_input_whose_owner_the_namespace_does_not_know(samples, open_tmp):
    for name in ("in", "out"):
        (open_tmp / name).mkdir()
    shutil.copy(samples / "image.isxd", open_tmp / "in/a.isxd")
    os.chown(open_tmp / "in", 1234, 1234)
    (open_tmp / "in").chmod(0o700)
    done = run_alone(open_tmp)
    assert done.returncode == 66, done.stderr
    assert f"the folder cannot be listed: Permission denied: {open_tmp}/in is not readable for uid 0: " in done.stderr
    assert f"{UNKNOWN}65534; on the host, `ls -ld` shows its owner: give all users read permission" in done.stderr
    assert list((open_tmp / "out").iterdir()) == []


def test_an_owner_whom_the_namespace_does_not_know(samples, open_tmp):
    (open_tmp / "in").mkdir()
    shutil.copy(samples / "image.isxd", open_tmp / "in/a.isxd")
    (open_tmp / "out").mkdir()
    os.chown(open_tmp / "out", 1234, 1234)
    done = run_alone(open_tmp)
    assert done.returncode == 73, done.stderr
    assert f"{open_tmp}/out is not writable for uid 0: {UNKNOWN}65534; on the host" in done.stderr
    assert list((open_tmp / "out").iterdir()) == []
