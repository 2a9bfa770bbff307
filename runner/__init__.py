"""What PID 1 does, in detail. Standard library only: a worker may import everything, PID 1 nothing that can fail."""

from __future__ import annotations

from pathlib import Path

NAME = "isx image"
APP = Path(__file__).resolve().parent.parent  # the folder that holds bootstrap.py, pipeline/ and recipes/


def version() -> str:
    """The version of this project, from the one place where it stands."""
    return (APP / "VERSION").read_text(encoding="ascii").strip()
