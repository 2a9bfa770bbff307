"""The file formats of Inscopix, checked without native code.

The native library trusts what it reads: a damaged file can end the process that opens it, take all its memory or
block it for ever. `check` reads the few bytes that decide and names the fault in one sentence. One module a format,
called by its suffix.
"""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path

from recording.findings import RecordingInfo
from recording.formats.file import Damaged, opened
from recording.formats.isxb import read_isxb
from recording.formats.isxd import (
    PACKET_SIZE,
    MovieLayout,
    data_size,
    extra_properties,
    has_packets,
    movie_layout,
    read_footer,
    states_version,
)
from recording.kinds import SUFFIXES

_CHECKS = {suffix: import_module(f"{__name__}.{suffix[1:]}").check for suffix in SUFFIXES}


def check(path: str | os.PathLike[str]) -> RecordingInfo:
    """Pre-check: refuse files that the library cannot read or would not survive, and never a sound one.

    Raises BadRecording. Never blocks, needs memory for one footer, and reads no pixel data.
    """
    with opened(path) as file:
        suffix = Path(path).suffix.lower()
        if suffix not in _CHECKS:
            raise Damaged(f"not a recording: its name ends in none of {', '.join(SUFFIXES)}")
        try:
            return _CHECKS[suffix](file)
        except OSError as error:
            raise Damaged(f"cannot be read: {error.strerror}") from None
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            raise Damaged("its metadata are damaged: a field has another type than it should") from error
