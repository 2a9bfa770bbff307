"""docker_engine/cluster.py and scripts/sif.py where they cannot help. The cluster tests run them for real."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "docker_engine"))
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

import cluster
import debian
import sif

REFUSED = (
    "There is no Apptainer, and no private one is available: this is not root.\n"
    "Install Apptainer (https://apptainer.org/docs/admin/main/installation.html).\n"
)


@pytest.fixture
def plain_user(monkeypatch, tmp_path):
    """On Debian, without Apptainer."""
    monkeypatch.setattr(debian.os, "geteuid", lambda: 1000)
    monkeypatch.setattr(debian.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(debian.platform, "freedesktop_os_release", lambda: {"ID": "debian"}, raising=False)
    monkeypatch.setattr(cluster, "HOME", tmp_path / "home")
    monkeypatch.setenv("PATH", "/nowhere")


@pytest.mark.parametrize("program, arguments", [(cluster, ["env"]), (sif, [])], ids=["cluster.py", "sif.py"])
def test_refused_with_instructions(program, arguments, plain_user, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(sif, "PROJECT", tmp_path)
    assert program.main(arguments) == 1
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", REFUSED)
    assert not cluster.HOME.exists()


def test_an_apptainer_of_the_machines_own_is_used(plain_user, monkeypatch, tmp_path, capsys):
    own = tmp_path / "apptainer"
    own.write_text("#!/bin/sh\n")
    own.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert cluster.main(["env"]) == 0
    assert capsys.readouterr().out == ""
    assert cluster.apptainer() == str(own)


def test_without_docker(plain_user, tmp_path, capsys):
    assert sif.main(["--charliecloud", str(tmp_path / "isx")]) == 1
    assert capsys.readouterr().err == "there is no docker here, which this needs\n"


@pytest.mark.parametrize(
    "program, arguments",
    [(cluster, []), (cluster, ["up"]), (sif, ["--charliecloud"]), (sif, ["a", "b"]), (sif, ["-x"])],
)
def test_unknown_commands_explain(program, arguments, capsys):
    assert program.main(arguments) == 64
    assert f"{Path(program.__file__).name} " in capsys.readouterr().err
