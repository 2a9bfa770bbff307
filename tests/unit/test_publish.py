"""scripts/publish.py: what is refused before any push, and what is pushed."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

import publish

NAME = "registry.example/lab/isx"
DIGEST = "sha256:" + "1" * 64


@pytest.fixture
def asked(monkeypatch):
    """The docker commands; the image has the labels that a test puts there."""
    commands: list[str] = []
    labels: dict[str, str] = {}

    def docker(*arguments: str, **variables: str) -> str:
        commands.append(" ".join(arguments))
        if "--metadata-file" in arguments:
            assert variables["ISX_SOURCE"] == "public"
            metadata = Path(arguments[arguments.index("--metadata-file") + 1])
            metadata.write_text(json.dumps({"image": {"containerimage.digest": DIGEST}}))
        return json.dumps(labels)

    monkeypatch.setattr(publish, "docker", docker)
    monkeypatch.setenv("IMAGE", NAME)
    return commands, labels


@pytest.mark.parametrize("labels", [{"isx.source": "idps", "isx.redistributable": "false"}, {}])
def test_what_may_not_be_passed_on_is_refused_before_any_push(labels, asked, capsys):
    commands, of_the_image = asked
    of_the_image.update(labels)
    assert publish.main() == 1
    assert f"ERROR: {NAME}:latest holds {labels.get('isx.source', 'something unknown')}" in capsys.readouterr().err
    assert [command.split()[:2] for command in commands] == [["image", "inspect"]]


def test_a_name_without_registry_is_refused(asked, monkeypatch, capsys):
    monkeypatch.setenv("IMAGE", "isx")
    assert publish.main() == 1
    assert "ERROR: IMAGE=isx names no registry" in capsys.readouterr().err
    assert asked[0] == []


def test_the_public_image_is_pushed_by_digest(asked, capsys):
    commands, labels = asked
    labels.update({"isx.source": "public", "isx.redistributable": "true"})
    assert publish.main() == 0
    _, bake, tag = commands
    assert "--provenance=mode=max --sbom=true" in bake
    assert "push-by-digest=true" in bake
    version = (publish.PROJECT / "VERSION").read_text().strip()
    assert tag == f"buildx imagetools create --tag {NAME}:{version} {NAME}@{DIGEST}"
    assert capsys.readouterr().out == f"{NAME}@{DIGEST} is {NAME}:{version}\n"
