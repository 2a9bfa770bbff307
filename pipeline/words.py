"""Help for whoever mistyped a word."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches


def did_you_mean(word: str, words: Sequence[str]) -> str:
    """The word that was probably meant, as the end of a message, or ""."""
    close = get_close_matches(word, words, 1)
    return f"; did you mean {close[0]!r}?" if close else ""
