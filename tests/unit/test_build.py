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

from test_install_isx import GOOD

import build


@pytest.fixture(autouse=True)
def project(monkeypatch, tmp_path) -> Path:
    """A project without installer, and a `docker` that writes down what it is asked for."""
    for name in list(os.environ):
        if name.startswith(("INSTALLER", "ISX_", "ACCEPT_EULA")):
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
    installer(project / "Inscopix_1.sh")
    words = asked(monkeypatch, tmp_path, ACCEPT_EULA="Y")
    assert " image-idps\n" in words
    assert "Inscopix_1.sh" in words


def test_what_is_named_comes_before_the_one_at_the_root(project, monkeypatch, tmp_path):
    installer(project / "Inscopix_1.sh")
    other = installer(tmp_path / "other/Inscopix_2.sh")
    words = asked(monkeypatch, tmp_path, ACCEPT_EULA="Y", INSTALLER_DIR=other.parent)
    assert " image-idps\n" in words
    assert words.splitlines()[2:] == ["Inscopix_2.sh"]


def test_the_sha256_of_a_secret_keys_the_cache(monkeypatch, tmp_path):
    """BuildKit does not look at a secret's content: another installer would be taken for the one before."""
    secret = installer(tmp_path / "other/Inscopix_2.sh")
    words = asked(monkeypatch, tmp_path, ACCEPT_EULA="Y", INSTALLER_SECRET=secret)
    assert words.splitlines()[1] == f"1.9.6 {hashlib.sha256(GOOD).hexdigest()}"


def test_a_licence_without_an_installer_is_remarked_upon(monkeypatch, tmp_path, capsys):
    """Who accepts a licence expects IDPS: its installer may lie elsewhere, or have another name."""
    assert " image\n" in asked(monkeypatch, tmp_path, ACCEPT_EULA="Y")
    assert "No installer was named, and no Inscopix*.sh lies here: this is the public isx." in capsys.readouterr().err


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
