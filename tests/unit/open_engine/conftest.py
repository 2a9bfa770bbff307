from __future__ import annotations

from pathlib import Path

import pytest

from open_engine.context import StepContext


@pytest.fixture
def warnings() -> list[str]:
    """What the step under test has told the report."""
    return []


@pytest.fixture
def context(tmp_path: Path, warnings: list[str]) -> StepContext:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    return StepContext(scratch=scratch, threads=2, warn=warnings.append, progress=lambda fraction: None)
