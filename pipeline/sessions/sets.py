"""What a session has one of: a set of cells, their events, and a table of TTL pulses."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from pipeline.inspect.context import Context
from pipeline.inspect.pieces import Piece
from pipeline.inspect.results import Summary, write_of_series
from pipeline.sessions import members
from protocol.job import Job, Member
from recording.kinds import JOINED_KINDS

TTL = "-ttl.csv"
TTL_COLUMNS = ["channel", "onset_s", "offset_s"]


def last_sets(job: Job) -> list[list[Member]]:
    """The cell sets and event sets that count, of those that were found in the session: a recording for each part.

    Those of most parts count, and of them those of the most steps, as far as their names tell.
    """
    last = []
    for kind in JOINED_KINDS:
        groups: dict[str, list[Member]] = {}
        for one in members.of(job):
            if one.kind == kind:
                origin = job.inputs[one.part].stem if one.is_made else one.path.stem
                label = one.path.stem.removeprefix(origin) if one.is_made else ""
                groups.setdefault(label, []).append(one)
        alike = [
            group for group in groups.values() if len({one.part for one in group}) == len(group) or not group[0].is_made
        ]
        if alike:
            last.append(max(alike, key=lambda group: (len(group), len(group[0].path.stem), group[0].path.stem)))
    return last


def adapt_together(group: Sequence[Member], stem: str, out: Path, context: Context) -> Summary:
    """The results of sets with the same cells in each part of a session. Raises Unusable if they have others."""
    pieces = [Piece(context.open(member.path, member.kind), member.offset_us) for member in group]
    name = group[0].path.name + (f" and {len(group) - 1} more" if len(group) > 1 else "")
    return write_of_series(pieces, group[0].kind, name, stem, out, context)


def join_ttl(stem: str, products: list[str], out: Path) -> list[str]:
    """One table of all pulses, in place of one for each GPIO recording; returns its name, if there are any."""
    parts = [name for name in products if name.endswith(TTL)]
    if not parts:
        return []
    header, *rows = [TTL_COLUMNS, *(row for name in parts for row in _rows(out / name))]
    rows.sort(key=lambda row: (float(row[1] or "-inf"), row[0]))
    for name in parts:
        (out / name).unlink()
        products.remove(name)
    with (out / f"{stem}{TTL}").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])
    return [f"{stem}{TTL}"]


def _rows(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return [*csv.reader(file)][1:]
