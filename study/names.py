"""What names of recordings say: numbers of parts, what processing added, and where names begin alike."""

from __future__ import annotations

import re
from dataclasses import dataclass

_WORD = r"(?:(?<![A-Za-z])(?:part|sched|trig)|Part|Sched|Trig|PART|SCHED|TRIG)(?:ule|ger)?"
_NUMBERED = re.compile(rf"({_WORD})([ _-]*)(\d+)", re.ASCII)
_LAST_NUMBER = re.compile(r"(\d+)(?!.*\d)", re.ASCII | re.DOTALL)
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d(?:[-_T ]\d\d-\d\d-\d\d)?|(?<!\d)\d{8}(?:[-_T]\d{4,6})?(?!\d)", re.ASCII)
_STEPS = (
    "PP|BP|MC|DFF|TPC|INT|NAM|LR_movie|PCA-?ICA|CNMFE?|ED|SPK|DEN|AR|AC|ROI|BIN|CROP|TRIM|TF|LR|LCR|MPR|VD|RBCV|"
    r"events?|spikes?|cells?|cell_map|\w+_image|mean|max|min|std|dff|raw_dff|processed|corrected"
)
_ADDED = re.compile(
    rf"(?:[-_ ](?:{_STEPS}|(?:channel[-_])?(?:green|red)|e?focus[-_]?\d+|plane[-_]?\d+)(?:[-_]?\d+)?)+",
    re.ASCII | re.IGNORECASE,
)
_STREAM = re.compile(r"[-_](?:(?:channel[-_])?(?:green|red)|e?focus[-_]?\d+)(?=[-_]|$)", re.ASCII | re.IGNORECASE)
_SEPARATORS = "-_. "


@dataclass(frozen=True)
class Numbering:
    """The number of a part in a name."""

    base: str  # the name with # for its numbers: equal for names that differ by nothing else
    numbers: tuple[int, ...]
    is_acquisitions: bool  # follows "part", "sched" or "trig", as the acquisition software writes it
    whole: str  # the name without it


def numbering(stem: str) -> Numbering | None:
    """Numbers after "part", "sched" or "trig", else the last number; those of a date or time of day do not count."""
    named = [int(match[3]) for match in _NUMBERED.finditer(stem)]
    if named:
        base = _NUMBERED.sub(r"\1\2#", stem)
        whole = re.sub(rf"[ _-]*{_NUMBERED.pattern}", "", stem).strip(_SEPARATORS)
        return Numbering(base, tuple(named), True, whole or _NUMBERED.sub(r"\1", stem))
    last = _LAST_NUMBER.search(stem)
    if not last or any(moment.start() < last.end() <= moment.end() for moment in _MOMENT.finditer(stem)):
        return None
    before, after = stem[: last.start()], stem[last.end() :]
    whole = (before.rstrip(_SEPARATORS) + after).strip(_SEPARATORS)
    return Numbering(f"{before}#{after}", (int(last[1]),), False, whole or stem)


def extends(stem: str, beginning: str) -> bool:
    """Whether a name is another one and more, after a separator."""
    return len(stem) > len(beginning) > 0 and stem.startswith(beginning) and stem[len(beginning)] in _SEPARATORS


def begin_alike(one: str, other: str) -> bool:
    """Whether they are equal, or one is the beginning of the other."""
    return one == other or extends(one, other) or extends(other, one)


def beginnings(stem: str) -> list[str]:
    """The names that a name extends, the shortest first."""
    return [stem[:i] for i in range(1, len(stem)) if extends(stem, stem[:i])]


def adds_steps(stem: str, beginning: str) -> bool:
    """Whether it adds what Inscopix's software or a recipe adds to the name of a product."""
    return extends(stem, beginning) and _ADDED.fullmatch(stem, len(beginning)) is not None


def without_stream(stem: str) -> str:
    """The name without a colour or focus."""
    return _STREAM.sub("", stem)


def common(stems: list[str]) -> str:
    """What names begin with, up to a separator; the first if they have nothing in common."""
    first, last = min(stems), max(stems)
    if all(stem == first or extends(stem, first) for stem in stems):
        return first
    n = next((i for i, (a, b) in enumerate(zip(first, last)) if a != b), min(len(first), len(last)))
    cut = max((i for i in range(n) if first[i] in _SEPARATORS), default=0)
    return first[:cut].rstrip(_SEPARATORS) or stems[0]
