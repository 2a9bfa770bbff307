"""What every part of this software may use. Standard library only."""

from __future__ import annotations

from pathlib import Path

APP = Path(__file__).resolve().parent.parent  # the folder that holds bootstrap.py, pipeline/ and recipes/
NAME = "isx image"  # of this software, in logs and in methods texts


def version() -> str:
    """The version of this software."""
    return (APP / "VERSION").read_text(encoding="ascii").strip()
