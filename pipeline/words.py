"""Messages of checkers, and help for mistyped words."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from difflib import get_close_matches


def did_you_mean(word: str, words: Sequence[str]) -> str:
    """The word that was probably meant, as the end of a message, or ""."""
    close = get_close_matches(word, words, 1)
    return f"; did you mean {close[0]!r}?" if close else ""


def say(lines: Iterable[str], fd: int = 2) -> None:
    """File names in them are foreign text: bytes that are not UTF-8 come out as they are."""
    os.write(fd, "".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape"))
