"""Which part of the recordings this run handles: from the scheduler, balanced by bytes, from the file list alone."""

from __future__ import annotations

import heapq
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

Item = TypeVar("Item")
MOST = 100_000  # shards


@dataclass(frozen=True)
class Shard:
    """Part `index` of `count`, counted from 1."""

    index: int
    count: int

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    @property
    def name(self) -> str:
        """For file names."""
        return f"{self.index}-of-{self.count}"


def shard_from(text: str, environment: Mapping[str, str]) -> Shard | None:
    """The shard that an option or a scheduler asks for; None if all is one run.

    An explicit count wins: a scheduler that runs a single index again says that there is just one. Raises ValueError.
    """
    get = {name: value for name, value in environment.items() if value}.get
    if text:
        match = re.fullmatch(r"(\d+)/(\d+)", text, re.ASCII)
        if not match:
            raise ValueError(f"SHARD must be I/N such as 2/8, not {text!r}")
        return _shard(int(match[1]), int(match[2]), "SHARD")
    if get("SHARD_COUNT"):
        for name in ("SHARD_INDEX", "SLURM_ARRAY_TASK_ID", "JOB_COMPLETION_INDEX"):
            if get(name):
                return _shard(_number(name, get(name)) + 1, _number("SHARD_COUNT", get("SHARD_COUNT")), name)
        raise ValueError("SHARD_COUNT needs an index: set SHARD_INDEX, from 0 to SHARD_COUNT - 1")
    if get("SHARD_INDEX"):
        raise ValueError("SHARD_INDEX needs SHARD_COUNT, the number of shards")
    if get("SLURM_ARRAY_TASK_ID"):
        return _slurm_shard(environment)
    if get("JOB_COMPLETION_INDEX"):
        raise ValueError("JOB_COMPLETION_INDEX is set, but Kubernetes does not tell how many: set SHARD_COUNT")
    return None


def count_from(text: str, environment: Mapping[str, str]) -> int | None:
    """How many shards a gather step should find, if somebody says so. Raises ValueError."""
    if text:
        return shard_from(text, {}).count
    count = environment.get("SHARD_COUNT")
    return _number("SHARD_COUNT", count) if count else None


def assign(
    groups: Sequence[Sequence[Item]], sizes: Sequence[Sequence[int]], count: int, keep: bool
) -> list[list[Item]]:
    """Divide groups of items among shards: the largest first, each to the shard with the fewest bytes.

    Items of a group stay together. Unless `keep`, a group of more than a fair share of the bytes is split after all:
    a folder of numbered recordings is no reason for one node to do everything.
    """
    fair = sum(map(sum, sizes)) / count
    pieces: list[tuple[int, int, list[Item]]] = []
    for group, group_sizes in zip(groups, sizes):
        if keep or sum(group_sizes) <= fair:
            pieces.append((sum(group_sizes), len(pieces), list(group)))
        else:
            for item, size in zip(group, group_sizes):
                pieces.append((size, len(pieces), [item]))
    pieces.sort(key=lambda piece: (-piece[0], piece[1]))
    shards: list[list[Item]] = [[] for _ in range(count)]
    loads = [(0, 0, number) for number in range(count)]  # bytes, items, shard: empty files are spread too
    for size, _, items in pieces:
        load, n_items, number = heapq.heappop(loads)
        shards[number] += items
        heapq.heappush(loads, (load + size, n_items + len(items), number))
    return shards


def _slurm_shard(environment: Mapping[str, str]) -> Shard:
    def variable(name: str, default: str) -> int:
        return _number(f"SLURM_ARRAY_TASK_{name}", environment.get(f"SLURM_ARRAY_TASK_{name}") or default)

    task, first, step = variable("ID", ""), variable("MIN", "0"), variable("STEP", "1")
    count = variable("COUNT", str((variable("MAX", "0") - first) // max(1, step) + 1))
    if count == 1 and task > 0:
        raise ValueError(
            f"SLURM_ARRAY_TASK_ID is {task} in an array of one, as when one index is submitted again: "
            "set SHARD_COUNT to the number of shards"
        )
    return _shard((task - first) // max(1, step) + 1, count, "SLURM_ARRAY_TASK_ID")


def _shard(index: int, count: int, source: str) -> Shard:
    if not 1 <= index <= count:
        raise ValueError(f"{source} asks for part {index} (counted from 1) of {count}: there is no such part")
    return Shard(index, count)


def _number(name: str, text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise ValueError(f"{name} must be a whole number, not {text!r}")
    return int(text)
