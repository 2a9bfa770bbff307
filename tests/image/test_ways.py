"""Whichever way it is started: what was dropped in is what the image holds, or the build says why not.

Every way of building, in a copy of the project, over what lies at its root and whether the licence is accepted: the
exit code, the message and what the image holds.
"""

from __future__ import annotations

import itertools
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import IMAGE, INSTALLERS, PROJECT, Done, container, docker, environment, exists, inspect, run

NAME = f"{IMAGE}-ways"
LATEST = f"{NAME}:latest"
WAYS = {
    "make": (sys.executable, "scripts/build.py", "--progress=plain"),
    "bake": ("docker", "buildx", "bake", "--progress=plain"),
    "compose": ("docker", "compose", "--progress=plain", "build"),
}
DROPPED = {  # name at the root: the stand-in's name, or content
    "nothing": {},
    "installer": {"Inscopix_Data_Processing_1.9.6.sh": "good"},
    "another name": {"idps-setup.sh.download": "good"},
    "two": {"Inscopix_Data_Processing_1.9.6.sh": "good", "old.sh": "small"},
    "web page": {"Inscopix_Data_Processing_1.9.6.sh": b"<!DOCTYPE html><title>Log in</title>"},
    "empty": {"Inscopix_Data_Processing_1.9.6.sh": b""},
    "truncated": {"Inscopix_Data_Processing_1.9.6.sh": "truncated-8"},
    "a script": {"run.sh": b"#!/bin/sh\necho a script of the lab\n"},
}
NOT_ACCEPTED = (
    r"\S+ is Inscopix Data Processing 1\.9\.6\. Its licence is not accepted: read the vendor's licence, then build "
    r"with ACCEPT_EULA=Y\. To build the public isx anyway, set ISX_SOURCE=public\."
)
TWO = r"There are several installers: Inscopix_Data_Processing_1\.9\.6\.sh, old\.sh\. Leave one, or name one "
r"with INSTALLER="
WEB_PAGE = r"1\.9\.6\.sh is not an IDPS installer \(it is a web page, perhaps that of a login: download it again"
EMPTY = r"1\.9\.6\.sh is not an IDPS installer \(the file is empty: download it again\)"
NONE = r"ACCEPT_EULA=Y accepts the licence of IDPS, but there is no installer of it\. .* For the public isx, leave"
RESULTS = {  # what was dropped in: what comes of it without ACCEPT_EULA, with it
    "nothing": ("public", NONE),
    "installer": (NOT_ACCEPTED, "idps"),
    "another name": (NOT_ACCEPTED, "idps"),
    "two": (TWO, TWO),
    "web page": (WEB_PAGE, WEB_PAGE),
    "empty": (EMPTY, EMPTY),
    "truncated": (NOT_ACCEPTED, r"1\.9\.6\.sh is truncated \(\d+ bytes\): download it again\."),
    "a script": ("public", NONE),
}
ROWS = [
    (way, dropped, accepted, result)
    for way, (dropped, results) in itertools.product(WAYS, RESULTS.items())
    for accepted, result in zip(("", "Y"), results)
]
VERSIONS = {"public": r"isx 2\.1\.0 \(public, sha256 [0-9a-f]{64}\)", "idps": r"Processing 1\.9\.6 \(idps, sha256 "}


@pytest.fixture(scope="module")
def clone(installers, tmp_path_factory) -> Path:
    """The project as a clone has it."""
    folder = tmp_path_factory.mktemp("clone") / "isx"
    listed = run("git", "-C", PROJECT, "ls-files", "-z", "--cached", "--others", "--exclude-standard").stdout
    for name in filter(None, listed.split("\0")):
        if (PROJECT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(PROJECT / name, folder / name)
    return folder


@pytest.fixture
def project(clone) -> Iterator[Path]:
    before = {path.name for path in clone.iterdir()}
    yield clone
    for path in clone.iterdir():
        if path.name not in before:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    if exists(LATEST):
        tags = docker("image", "ls", "--format", "{{.Repository}}:{{.Tag}}", NAME).stdout.split()
        docker("image", "rm", *tags)


def drop(project: Path, files: dict[str, str | bytes]) -> None:
    for name, content in files.items():
        if isinstance(content, bytes):
            (project / name).write_bytes(content)
        else:
            shutil.copy(INSTALLERS / f"{content}.sh", project / name)


def build(project: Path, way: str, **variables: object) -> Done:
    return run(*WAYS[way], cwd=project, IMAGE=NAME, check=False, **variables)


def assert_holds(source: str) -> None:
    assert inspect(LATEST)["Config"]["Labels"]["isx.source"] == source
    assert re.search(VERSIONS[source], container("--version", image=LATEST, check=True).stdout)


def assert_came_of_it(done: Done, result: str) -> None:
    """The isx of this name is baked, or nothing, and the message says why."""
    if result in VERSIONS:
        assert done.returncode == 0, done.stderr
        assert_holds(result)
    else:
        assert done.returncode != 0
        assert re.search("ERROR: .*" + result, done.stdout + done.stderr), done.stderr[-3000:]
        assert not exists(LATEST)


@pytest.mark.parametrize("way, dropped, accepted, result", ROWS)
def test_what_was_dropped_in(way, dropped, accepted, result, project):
    drop(project, DROPPED[dropped])
    done = build(project, way, ACCEPT_EULA=accepted)
    assert_came_of_it(done, result)


@pytest.mark.parametrize("way", WAYS)
def test_an_answer_that_is_none_is_named(way, project):
    done = build(project, way, ACCEPT_EULA="true")
    assert done.returncode != 0
    assert "ERROR: ACCEPT_EULA=true is not valid: Y accepts the vendor's licence." in done.stdout + done.stderr


UNKNOWN = {
    "ISX_SOURCE": ("pubic", "ISX_SOURCE=pubic: there are only public and idps."),
    "NUMPY": ("2", "NUMPY=2: there is only 1, for a product that needs NumPy before 2."),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("variable", UNKNOWN)
def test_a_value_that_there_is_not_is_named(variable, way, project):
    value, message = UNKNOWN[variable]
    done = build(project, way, **{variable: value})
    assert done.returncode != 0
    assert f"ERROR: {message}" in done.stdout + done.stderr
    assert not exists(LATEST)


@pytest.mark.parametrize("way", WAYS)
def test_the_public_isx_all_the_same(way, project):
    drop(project, DROPPED["installer"])
    assert build(project, way, ISX_SOURCE="public").returncode == 0
    assert_holds("public")


@pytest.mark.parametrize("way", WAYS)
def test_latest_does_not_change_unseen(way, project, tmp_path):
    """It holds IDPS, whose installer lay elsewhere and is not named again."""
    done = build(project, "make", INSTALLER=INSTALLERS / "good.sh", ACCEPT_EULA="Y")
    assert f"{LATEST} now holds Inscopix Data Processing 1.9.6" in done.stderr
    done = build(project, way)
    assert done.returncode != 0
    assert re.search(rf"ERROR: {LATEST} holds .* 1\.9\.6, and its installer is not here", done.stdout + done.stderr)
    assert_holds("idps")
    assert build(project, way, ISX_SOURCE="public").returncode == 0
    assert_holds("public")


@pytest.mark.parametrize("way", ["bake", "compose"])
def test_the_last_step_says_what_was_baked(way, project):
    """Also from the cache, and where the tag held something else: neither can look at the tag."""
    drop(project, DROPPED["installer"])
    for variables, holds in (({"ACCEPT_EULA": "Y"}, "idps"), ({}, "public"), ({}, "public")):
        if holds == "public":
            (project / "Inscopix_Data_Processing_1.9.6.sh").unlink(missing_ok=True)
        done = build(project, way, **variables)
        assert done.returncode == 0, done.stderr
        assert_holds(holds)
        steps = re.findall(r"^#\d+ \[.*", done.stdout + done.stderr, re.MULTILINE)
        assert f"COPY --link --from=proven /this-image-holds/{holds} /app" in steps[-1], steps[-6:]


PLAIN = ("docker", "build", "--progress=plain", "--tag", LATEST)
ROOT, ACCEPTED = ("--build-context", "installer=."), ("--build-arg", "ACCEPT_EULA=Y")
NOT_TOLD = (
    r"This build does not know where to look for an installer: plain 'docker build' passes no context for it\. "
    r"Build with "
    r"'make image', .* pass '--build-context installer=\.', and for IDPS '--build-arg ACCEPT_EULA=Y'; for the public"
)


@pytest.mark.parametrize(
    ("dropped", "options", "result"),
    [
        ("installer", (), NOT_TOLD),
        ("installer", ACCEPTED, NOT_TOLD),
        ("nothing", (), NOT_TOLD),
        ("nothing", ("--build-arg", "ISX_SOURCE=public"), "public"),
        ("nothing", ROOT, "public"),
        ("installer", ROOT, NOT_ACCEPTED),
        ("installer", (*ROOT, *ACCEPTED), "idps"),
        ("nothing", (*ROOT, *ACCEPTED), NONE),
    ],
)
def test_plain_docker_build_works_or_says_what_to_pass(dropped, options, result, project):
    drop(project, DROPPED[dropped])
    base = [f"--build-arg=BASE_IMAGE={value}" for value in [environment().get("BASE_IMAGE")] if value]
    done = run(*PLAIN, *base, *options, ".", cwd=project, check=False)
    assert_came_of_it(done, result)


@pytest.mark.parametrize(
    ("files", "accepted", "result"),
    [
        ({"setup": "good"}, (), NOT_ACCEPTED),
        ({"setup": "good"}, ACCEPTED, "idps"),
        ({"setup": "good", "old": "small"}, ACCEPTED, r"There are several installers: old, setup\. Leave one"),
        (
            {"notes.txt": b"", "more.txt": b""},
            (),
            r"installer=folder holds no IDPS installer; it holds: more\.txt, notes",
        ),
    ],
)
def test_plain_docker_build_with_another_folder(files, accepted, result, project, tmp_path):
    """Whatever the installer is called there, as with INSTALLER_DIR."""
    drop(tmp_path, files)
    base = [f"--build-arg=BASE_IMAGE={value}" for value in [environment().get("BASE_IMAGE")] if value]
    done = run(*PLAIN, *base, f"--build-context=installer={tmp_path}", *accepted, ".", cwd=project, check=False)
    assert_came_of_it(done, result)


@pytest.mark.parametrize("way", ["bake", "compose"])
def test_a_folder_that_is_named(way, project, tmp_path):
    shutil.copy(INSTALLERS / "good.sh", tmp_path / "setup")
    (tmp_path / "notes.txt").write_text("beside it")
    done = build(project, way, INSTALLER_DIR=tmp_path, ACCEPT_EULA="Y")
    assert done.returncode == 0, done.stderr
    assert_holds("idps")


# A context that is no folder ends the client before any stage runs; the words of bake and compose are in docs/build.md.
NO_FOLDER = {
    "make": (
        r"ERROR: INSTALLER_DIR=\S+nowhere: there is no such folder\.",
        r"ERROR: INSTALLER_DIR=\S+setup\.sh is a file: name its folder, or use INSTALLER=path\.",
    ),
    "bake": (
        r"failed to get build context installer: stat \S+nowhere: no such file or directory",
        r"INSTALLER_DIR=\S+setup\.sh is a file: name its folder, or use 'make image INSTALLER=path'\.",
    ),
    "compose": (
        r"failed to get build context installer: stat \S+nowhere: no such file or directory",
        r"failed to get build context path \{\S+setup\.sh <nil>\}: not a directory",
    ),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_folder_that_is_none(way, project, tmp_path):
    (tmp_path / "setup.sh").touch()
    for name, message in zip(("nowhere", "setup.sh"), NO_FOLDER[way]):
        done = build(project, way, INSTALLER_DIR=tmp_path / name, ACCEPT_EULA="Y")
        assert done.returncode != 0
        assert re.search(message, done.stdout + done.stderr), done.stderr[-3000:]
    assert not exists(LATEST)


@pytest.mark.parametrize("way", ["bake", "compose"])
@pytest.mark.parametrize("variable", ["INSTALLER", "INSTALLER_SECRET", "INSTALLER_URL"])
def test_a_way_that_does_not_lead_there_is_not_ignored(way, variable, project):
    done = build(project, way, **{variable: "https://example.org/setup.sh"})
    assert done.returncode != 0
    messages = {
        "INSTALLER": "ERROR: INSTALLER=path is for Make alone. Put the installer of IDPS for Linux at the root",
        "INSTALLER_SECRET": "ERROR: INSTALLER_SECRET=path is for Make alone, as a secret holds at most 500 KiB. Put",
        "INSTALLER_URL": "ERROR: INSTALLER_URL names an IDPS installer. Its licence is not accepted: read the",
    }
    assert messages[variable] in done.stdout + done.stderr


# --- one digest -----------------------------------------------------------------------------------------------------

COMMIT = {"REVISION": "0123abc", "SOURCE_DATE_EPOCH": 1767225600, "CREATED": "2026-01-01T00:00:00Z"}  # the same moment
OF_COMPOSE = "com.docker.compose."


def test_one_digest(project):
    """From make and bake; compose's image has the same layers and configuration, and labels of compose's own."""
    images = {}
    for way in WAYS:
        assert build(project, way, **COMMIT).returncode == 0
        images[way] = inspect(LATEST)
    assert images["make"]["Id"] == images["bake"]["Id"]
    config = {way: images[way]["Config"] for way in ("bake", "compose")}
    labels = config["compose"]["Labels"]
    config["compose"]["Labels"] = {name: labels[name] for name in labels if not name.startswith(OF_COMPOSE)}
    assert labels != config["compose"]["Labels"], "compose no longer labels images: say so in README"
    assert config["compose"] == config["bake"]
    for key in ("Created", "RootFS", "Architecture", "Os"):
        assert images["compose"][key] == images["bake"][key]


def test_another_platform_is_refused(project):
    done = run(*WAYS["bake"], "--set", "image.args.TARGETARCH=arm64", cwd=project, IMAGE=NAME, check=False)
    assert done.returncode != 0
    assert "ERROR: this is a build for arm64, but Inscopix ships isx for x86-64 (linux/amd64) only" in done.stderr
