"""Findings of the pre-check as JSON: its process says them to PID 1, and records keep them."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from recording import message
from recording.errors import BadRecording
from recording.formats.info import RecordingInfo
from recording.kinds import KINDS

TOO_MUCH_MEMORY = "its metadata need more memory to check than there is: they are damaged, or the run needs more memory"
_COUNTS = ("size", "n_samples", "width", "height")


def facts(info: RecordingInfo) -> dict[str, Any]:
    """All but the path, which whoever asks knows."""
    return {name: value for name, value in asdict(info).items() if name != "path"}


def info_of(path: Path, content: object) -> RecordingInfo:
    """The inverse of `facts`. Raises ValueError if anything is not as findings are."""
    info = message.read(RecordingInfo, content, path=path)
    if info.kind not in KINDS or not all(0 <= getattr(info, name) < 1 << 63 for name in _COUNTS):
        raise ValueError("no finding of the pre-check")
    return info


def from_json(path: Path, line: bytes) -> RecordingInfo:
    """Raises BadRecording for a refusal, ValueError for what is neither."""
    content = message.parse(line)
    if isinstance(content, dict) and isinstance(content.get("reason"), str):
        raise BadRecording(path, content["reason"])
    return info_of(path, content)
