"""scripts/size.py: whose layers have a budget."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

import size


@pytest.mark.parametrize("source, megabytes, code", [("public", 60, 0), ("public", 67, 1), ("idps", 2000, 0)])
def test_only_the_public_image_has_a_budget(source, megabytes, code, monkeypatch, tmp_path, capsys):
    docker = tmp_path / "docker"
    docker.write_text(f"#!/bin/sh\necho {source}\n")
    docker.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    of = [size.Layer(megabytes * 10**6 if name == "API" else 1, 1, Counter()) for name in size.NAMES]
    monkeypatch.setattr(size, "layers", lambda image: of)
    assert size.main("isx:latest") == code
    said = capsys.readouterr()
    assert f"API: {megabytes}.0 MB" in said.out
    assert ("API is over its budget: 67.0 MB of 66 MB" in said.err) == bool(code)
