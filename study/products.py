"""What a recording was made from: by its metadata, its start and length, and its name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from recording.kinds import KINDS
from study import names
from study.facts import Member, same_time, starts_together, within

MOST_ALIKE = 100  # movies that began in one second: more are no acquisition's


@dataclass(frozen=True)
class Made:
    """A product, what it was made from, and how that was found."""

    product: Member
    parent: Member
    reason: str


class Search:
    """Finds in one folder what a recording was made from."""

    def __init__(self, members: Sequence[Member]) -> None:
        self.by_stem: dict[str, list[Member]] = {}
        self.by_start: dict[object, list[Member]] = {}
        for one in members:
            self.by_stem.setdefault(one.stem, []).append(one)
            if one.kind == "movie" and one.start:
                self.by_start.setdefault(round(one.start.timestamp()), []).append(one)

    def contradicting(self, one: Member) -> list[tuple[Member, str]]:
        """Recordings that its name says it was made from, and its metadata say that it was not."""
        named = [
            other
            for name in names.beginnings(one.stem)
            for other in self.by_stem.get(name, ())
            if _may_be_of(one, other)
        ]
        return [(other, against) for other in named for against in [one.stated.contradiction(other.stated)] if against]

    def parent(self, one: Member) -> Made | None:
        for name in names.beginnings(one.stem):  # the shortest first: the recording itself rather than a product of it
            for other in self.by_stem.get(name, ()):
                reason = _made_of(one, other)
                if reason:
                    return Made(one, other, reason)
        if not one.start or one.is_timeless or (one.kind == "movie" and not one.origin.is_made):
            return None
        second = round(one.start.timestamp())
        near = [other for at in (second - 1, second, second + 1) for other in self.by_start.get(at, ())[:MOST_ALIKE]]
        alike = [other for other in near if _is_older(other, one) and _fits(one, other) and same_time(one, other)]
        agreeing = [other for other in alike if one.stated.agreement(other.stated)]
        if one.kind == "movie":  # of two movies of one time, only the metadata tell
            alike = agreeing if one.origin.is_made else []
        for candidates, same in ((agreeing, "metadata, start and length"), (alike, "start and length")):
            raw = [candidate for candidate in candidates if not candidate.origin.is_made] or candidates
            if len(raw) == 1:
                return Made(one, raw[0], f"the same {same}")
        return None


def _is_older(parent: Member, product: Member) -> bool:
    """So that no two movies are each made of the other."""
    return product.kind != "movie" or (product.origin.is_made and not parent.origin.is_made)


def _may_be_of(one: Member, other: Member) -> bool:
    """Whether it looks like a product, and of a kind that can be made of the other."""
    looks_made = one.kind != "movie" or one.origin.is_made or names.adds_steps(one.stem, other.stem)
    return looks_made and other.kind in KINDS[one.kind].made_of


def _fits(one: Member, other: Member) -> bool:
    return _may_be_of(one, other) and not one.stated.contradiction(other.stated)


def _made_of(one: Member, other: Member) -> str:
    """Why one was made of the other, whose name it extends; "" if it was not."""
    if not _fits(one, other):
        return ""
    if one.is_timeless:
        return "its name"
    if not (same_time(one, other) or within(one, other)):
        starts_with_it = names.adds_steps(one.stem, other.stem) and starts_together(one, other)
        return "its name and start" if starts_with_it else ""
    return "its name, start and length" if same_time(one, other) else "its name and time"


def root(made: Mapping[str, Made], one: Member) -> Member:
    while one.path in made:
        one = made[one.path].parent
    return one
