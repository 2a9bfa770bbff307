"""The work of PID 1. Standard library only: a worker may import everything, PID 1 nothing that can fail."""

from __future__ import annotations

from recording import APP

NAME = "isx image"


def version() -> str:
    """The version of this project."""
    return (APP / "VERSION").read_text(encoding="ascii").strip()
