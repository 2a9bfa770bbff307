"""Warnings of several recordings: what is equal but for the recording's name is said once, with a count."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

MORE = re.compile(r" and \d+ more$")


def split(sentence: str, names: Collection[str]) -> tuple[str, str]:
    """The recording that a sentence begins with ("m.isxd: ...", "m.isxd and 2 more: ..."), if any, and the rest."""
    name, colon, rest = sentence.partition(": ")
    return (name, rest) if colon and MORE.sub("", name) in names else ("", sentence)


def merged(sentences: Iterable[str], names: Collection[str]) -> list[str]:
    """Each once; of those that are about several recordings, with the first one's name and how many more there are."""
    about: dict[str, list[str]] = {}
    for sentence in dict.fromkeys(sentences):
        name, rest = split(sentence, names)
        about.setdefault(rest, []).append(name)
    return [_said(rest, those) for rest, those in about.items()]


def _said(sentence: str, about: list[str]) -> str:
    named = [name for name in about if name]
    if not named:
        return sentence
    return f"{named[0]}{f' and {len(named) - 1} more' if len(named) > 1 else ''}: {sentence}"
