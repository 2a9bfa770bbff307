"""Why a recording gives no results, for people."""

from __future__ import annotations

import traceback

from common.ownership import FULL, NO_SPACE
from recording.errors import BadRecording, Unusable

PYTHONS = (ArithmeticError, AttributeError, LookupError, TypeError)  # their messages are about code


def reason(error: Exception) -> str:
    """One sentence for the user; the log has the rest."""
    if isinstance(error, BadRecording):
        return error.reason
    if isinstance(error, Unusable):
        return str(error)
    if isinstance(error, MemoryError):
        return "needs more memory than a worker may use: allow it more, or run fewer workers at once"
    if isinstance(error, OSError) and error.errno in FULL:
        return NO_SPACE
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    if isinstance(error, UnicodeDecodeError) and _module(error).startswith("isx."):  # it quotes the file
        return "isx cannot read it: it holds text that is not UTF-8"
    text = str(error).strip()
    if text.startswith("Error calling C library function"):
        return f"isx cannot read it: {text.splitlines()[-1]}"
    module = _module(error)
    if module.startswith("isx."):
        says_why = text and not isinstance(error, PYTHONS)
        return f"isx cannot read it: {text.splitlines()[0] if says_why else 'it is not as isx expects'}"
    return f"it holds something that {module} does not expect: it may be damaged; its log has the details"


def _module(error: Exception) -> str:
    """Where it was raised: of isx, or the last that is of this program."""
    names = [frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(error.__traceback__)]
    ours = [name for name in names if name.partition(".")[0] in ("pipeline", "open_engine", "recording")]
    return names[-1] if names and names[-1].startswith("isx.") else (ours or ["this program"])[-1]
