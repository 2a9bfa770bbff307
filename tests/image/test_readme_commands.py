"""The README's commands, from a clone, in their order; only the image's name is another, so as not to replace yours."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest

from harness import IMAGE, INSTALLERS, PROJECT, container, docker, run
from test_ways import clone  # noqa: F401 - a fixture

NAME = f"{IMAGE}-readme"
NOT_HERE = {"make test": "it is what runs this test"}
SHELL = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)


def commands() -> list[str]:
    blocks = SHELL.findall((PROJECT / "README.md").read_text(encoding="utf-8"))
    lines = [line.partition(" #")[0].strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line and not line.startswith("#") and line not in NOT_HERE]


@pytest.fixture
def home(installers, tmp_path) -> Path:
    """With the installer where a browser puts it."""
    (tmp_path / "Downloads").mkdir()
    shutil.copy(INSTALLERS / "good.sh", tmp_path / "Downloads/Inscopix_Data_Processing_1.9.6.sh")
    return tmp_path


def test_from_a_clone(clone, home):  # noqa: F811
    typed = commands()
    assert typed[0] == "make demo"
    assert any(command.startswith("docker run ") for command in typed)
    assert typed[-1] == "ACCEPT_EULA=Y make image"
    config = os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker"  # where the client finds its plugins
    try:
        for command in typed:
            if command.startswith("docker run "):
                assert command.endswith(" isx"), command
                command = command[: -len("isx")] + NAME
            run("bash", "-euc", command, cwd=clone, IMAGE=NAME, HOME=home, DOCKER_CONFIG=config)
            if command == "make demo":
                assert (clone / "output/done.marker").exists()
        assert (clone / "output/index.html").exists()
        assert "Inscopix Data Processing 1.9.6 (idps" in container("--version", image=NAME).stdout
    finally:
        tags = docker("image", "ls", "--format", "{{.Repository}}:{{.Tag}}", NAME).stdout.split()
        docker("image", "rm", "--force", *tags, check=False)
