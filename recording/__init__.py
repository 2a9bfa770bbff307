"""What a recording is. Standard library only; imported by `runner`, which never loads isx, and by `pipeline`."""

from __future__ import annotations

from pathlib import Path

APP = Path(__file__).resolve().parent.parent  # the folder that holds bootstrap.py, pipeline/ and recipes/
