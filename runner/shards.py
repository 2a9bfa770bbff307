"""Which part of the recordings this run handles: as asked for, balanced by bytes, from the file list alone."""

from __future__ import annotations

import heapq
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

Item = TypeVar("Item")
MOST = 100_000  # shards
MOST_DIGITS = 12
SCHEDULERS = ("SLURM_ARRAY_TASK_ID", "JOB_COMPLETION_INDEX")  # Slurm's array jobs, indexed Jobs of Kubernetes


@dataclass(frozen=True)
class Shard:
    """Part `index` of `count`, counted from 1."""

    index: int
    count: int

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    @property
    def name(self) -> str:
        """The shard's name in file names."""
        return f"{self.index}-of-{self.count}"


def shard_from(text: str, environment: Mapping[str, str]) -> Shard | None:
    """The shard that is asked for; None if all is one run.

    A scheduler's own variables ask for none: in an array job of somebody else's, each task has its own input.
    Raises ValueError.
    """
    get = {name: value for name, value in environment.items() if value}.get
    if text:
        match = re.fullmatch(r"(\d+)/(\d+)", text, re.ASCII)
        if not match:
            raise ValueError(f"SHARD must be I/N such as 2/8, not {text!r}")
        return _shard(_number("SHARD", match[1]), _number("SHARD", match[2]), "SHARD")
    index, count = get("SHARD_INDEX"), get("SHARD_COUNT")
    if index and count:
        return _shard(_number("SHARD_INDEX", index) + 1, _number("SHARD_COUNT", count), "SHARD_INDEX")
    if count:
        also = "".join(f"; {name} alone does not count as one" for name in _scheduled(environment))
        raise ValueError(f"SHARD_COUNT needs an index: set SHARD_INDEX, from 0 to SHARD_COUNT - 1{also}")
    if index:
        raise ValueError("SHARD_INDEX needs SHARD_COUNT, the number of shards")
    return None


def count_from(text: str, environment: Mapping[str, str]) -> int | None:
    """How many shards a gather step should find, if somebody says so. Raises ValueError."""
    if text:
        return shard_from(text, {}).count
    count = environment.get("SHARD_COUNT")
    return _bounded("SHARD_COUNT", _number("SHARD_COUNT", count)) if count else None


def unasked(environment: Mapping[str, str]) -> str:
    """A sentence about a scheduler's variables that this run does not follow; "" if there are none."""
    variables = " and ".join(f"{name} is {environment[name]}" for name in _scheduled(environment))
    if not variables:
        return ""
    return f"{variables}, but no shard was requested: this run processes all recordings (SHARD selects a part)"


def assign(items: Sequence[Item], sizes: Sequence[int], count: int) -> list[list[Item]]:
    """Divide items among shards: the largest first, each to the shard with the fewest bytes."""
    shards: list[list[Item]] = [[] for _ in range(count)]
    loads = [(0, 0, number) for number in range(count)]  # bytes, items, shard: empty files are spread too
    for place in sorted(range(len(items)), key=lambda place: (-sizes[place], place)):
        load, n_items, number = heapq.heappop(loads)
        shards[number].append(items[place])
        heapq.heappush(loads, (load + sizes[place], n_items + 1, number))
    return shards


def _scheduled(environment: Mapping[str, str]) -> list[str]:
    return [name for name in SCHEDULERS if environment.get(name)]


def _shard(index: int, count: int, source: str) -> Shard:
    _bounded(source, count)
    if not 1 <= index <= count:
        raise ValueError(f"{source} asks for part {index} (counted from 1) of {count}: there is no such part")
    return Shard(index, count)


def _bounded(source: str, count: int) -> int:
    if not 1 <= count <= MOST:
        raise ValueError(f"{source} asks for {count} shards: there may be 1 to {MOST}")
    return count


def _number(name: str, text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise ValueError(f"{name} must be a whole number, not {text!r}")
    if len(text) > MOST_DIGITS:
        raise ValueError(f"{name} has a number of {len(text)} digits: there may be 1 to {MOST} shards")
    return int(text)
