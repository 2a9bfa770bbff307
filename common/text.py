"""Text for people: foreign names, durations. And the kernel's own text."""

from __future__ import annotations

import re
from pathlib import Path

# And what makes a terminal show text in another order than it has, or not at all.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")


def printable(text: str) -> str:
    """File names are foreign text: control characters and undecodable bytes are shown, not sent to the terminal."""
    visible = _CONTROL.sub(_escaped, text)
    return visible.encode("utf-8", "backslashreplace").decode("utf-8")


def _escaped(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"


def duration(seconds: float) -> str:
    """Short and legible: 0.4 s, 12 s, 3 min, 2 h 5 min."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


def text_of(path: Path) -> str:
    """The text of a file of the kernel's; "" if it cannot be read."""
    try:
        return path.read_text()
    except OSError:
        return ""
