"""The JSON of what the pre-check finds: its process says it to PID 1, and records keep it."""

from __future__ import annotations

from pathlib import Path

from protocol import message
from recording.errors import BadRecording
from recording.findings import RecordingInfo
from recording.kinds import KINDS

TOO_MUCH_MEMORY = "checking its metadata needs more memory than there is: it is damaged, or the run needs more memory"


def info_of(path: Path, facts: object) -> RecordingInfo:
    """Raises ValueError if anything is not as findings are."""
    info = message.read(RecordingInfo, facts, path=path)
    counts = (info.size, info.n_samples, info.width, info.height)
    if info.kind not in KINDS or not all(0 <= count < 1 << 63 for count in counts):
        raise ValueError("no finding of the pre-check")
    return info


def from_json(path: Path, line: bytes) -> RecordingInfo:
    """Raises BadRecording for a refusal, ValueError for what is neither."""
    content = message.parse(line)
    if isinstance(content, dict) and isinstance(content.get("reason"), str):
        raise BadRecording(path, content["reason"])
    return info_of(path, content)
