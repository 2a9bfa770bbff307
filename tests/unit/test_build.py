"""scripts/build.py: which installer is taken, and what it hands over to bake."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

from test_installer import GOOD

import build


@pytest.fixture(autouse=True)
def project(monkeypatch, tmp_path) -> Path:
    """A project without installer, and a `docker` that writes down what it is asked for."""
    for name in list(os.environ):
        if name.startswith(("INSTALLER", "ISX_", "ACCEPT_EULA", "IMAGE", "SSL_CERT_FILE", "PIP_CONFIG_FILE")):
            monkeypatch.delenv(name)
    (tmp_path / "project").mkdir()
    monkeypatch.setattr(build, "PROJECT", tmp_path / "project")
    docker = tmp_path / "bin/docker"
    docker.parent.mkdir()
    docker.write_text(
        f'#!/bin/sh\nexec > "{tmp_path}/asked"\necho "$*"\n'
        'echo "$INSTALLER_VERSION $INSTALLER_SHA256"\n[ -z "$INSTALLER_DIR" ] || ls "$INSTALLER_DIR"\n'
    )
    docker.chmod(0o755)
    monkeypatch.setenv("PATH", f"{docker.parent}{os.pathsep}{os.environ['PATH']}")
    return tmp_path / "project"


def asked(monkeypatch, tmp_path: Path, **variables: object) -> str:
    for name, value in variables.items():
        monkeypatch.setenv(name, str(value))
    build.main([])
    return (tmp_path / "asked").read_text()


def installer(path: Path) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(GOOD)
    return path


def test_the_one_at_the_root_is_found(project, monkeypatch, tmp_path):
    installer(project / "setup.sh")
    words = asked(monkeypatch, tmp_path, ACCEPT_EULA="Y")
    assert words.splitlines() == ["buildx bake image", f"1.9.6 {hashlib.sha256(GOOD).hexdigest()}"]


def test_what_is_named_comes_before_the_one_at_the_root(project, monkeypatch, tmp_path):
    installer(project / "Inscopix_1.sh")
    other = installer(tmp_path / "other/Inscopix_2.sh")
    words = asked(monkeypatch, tmp_path, ACCEPT_EULA="Y", INSTALLER_DIR=other.parent)
    assert words.splitlines()[2:] == ["Inscopix_2.sh"]


def test_a_file_that_is_named_is_sent_alone(monkeypatch, tmp_path):
    other = installer(tmp_path / "other/setup of any name")
    installer(tmp_path / "other/another")
    words = asked(monkeypatch, tmp_path, ACCEPT_EULA="Y", INSTALLER=other)
    assert words.splitlines()[2:] == ["setup of any name"]


def test_the_sha256_of_a_secret_keys_the_cache(monkeypatch, tmp_path):
    """BuildKit does not look at a secret's content: another installer would be taken for the one before."""
    secret = installer(tmp_path / "other/Inscopix_2.sh")
    words = asked(monkeypatch, tmp_path, ACCEPT_EULA="Y", INSTALLER_SECRET=secret)
    assert words.splitlines()[1] == f"1.9.6 {hashlib.sha256(GOOD).hexdigest()}"


REFUSALS = {
    "a folder": ({"INSTALLER": "{folder}"}, r"INSTALLER={folder} is a folder: name the installer's file in it."),
    "nothing": ({"INSTALLER": "{folder}/none.sh"}, r"INSTALLER={folder}/none.sh: there is no such file."),
    "a file": ({"INSTALLER_DIR": "{file}"}, r"INSTALLER_DIR={file} is a file: name its folder, or use INSTALLER=path."),
    "no folder": ({"INSTALLER_DIR": "{folder}/none"}, r"INSTALLER_DIR={folder}/none: there is no such folder."),
    "the project": ({"INSTALLER_DIR": "{project}"}, r"INSTALLER_DIR={project} holds the whole project: leave"),
    "a licence alone": ({"ACCEPT_EULA": "Y"}, r"ACCEPT_EULA=Y accepts the licence of IDPS, but there is no installer"),
}


@pytest.mark.parametrize("variables, message", REFUSALS.values(), ids=REFUSALS)
def test_refused_before_anything_is_built(variables, message, project, monkeypatch, tmp_path, capsys):
    places = {"folder": tmp_path, "file": installer(tmp_path / "other/setup.sh"), "project": project}
    for name, value in variables.items():
        monkeypatch.setenv(name, value.format(**places))
    assert build.main([]) == 1
    assert f"ERROR: {message.format(**places)}" in capsys.readouterr().err
    assert "bake" not in (tmp_path / "asked").read_text()


def test_latest_does_not_change_unseen(project, monkeypatch, tmp_path, capsys):
    """The note is for bake and compose, which cannot look at what the tag holds."""
    note = project / "build/latest-isx"
    setup = installer(tmp_path / "other/setup.sh")
    asked(monkeypatch, tmp_path, ACCEPT_EULA="Y", INSTALLER=setup)
    assert note.read_text() == "Inscopix Data Processing 1.9.6\n"
    assert "isx:latest now holds Inscopix Data Processing 1.9.6 (before: not IDPS)." in capsys.readouterr().err
    monkeypatch.setattr(build, "idps_in_latest", lambda: "IDPS 1.9.6")
    monkeypatch.delenv("ACCEPT_EULA")
    monkeypatch.delenv("INSTALLER")
    assert build.main([]) == 1
    assert "ERROR: isx:latest holds IDPS 1.9.6, and its installer is not here" in capsys.readouterr().err
    asked(monkeypatch, tmp_path, ISX_SOURCE="public")
    assert "isx:latest now holds the public isx (before: IDPS 1.9.6)." in capsys.readouterr().err
    assert not note.exists()


def test_git_is_not_needed(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert build.of_commit() == {}


def test_interrupted(tmp_path):
    docker = tmp_path / "bin/docker"
    docker.write_text("#!/bin/sh\nkill -INT $PPID\n")
    command = [sys.executable, build.__file__, "image"]
    heard = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}  # also where the tests are not
    done = subprocess.run(command, check=False, capture_output=True, text=True, **heard)
    assert (done.returncode, done.stderr) == (130, "")


@pytest.mark.parametrize(
    "remote, address",
    [
        ("git@github.com:lab/isx.git", "https://github.com/lab/isx"),
        ("ssh://git@gitlab.example.org/a/b/isx", "https://gitlab.example.org/a/b/isx"),
        ("https://github.com/lab/isx.git", "https://github.com/lab/isx"),
        ("https://github.com/lab/isx/", "https://github.com/lab/isx"),
        ("https://user:token@github.com/lab/isx.git", ""),
        ("/srv/git/isx.git", ""),
        ("../isx", ""),
        ("", ""),
    ],
)
def test_the_address_of_the_source(remote, address):
    assert build.web_address(remote) == address
