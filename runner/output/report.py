"""The pages that a lab opens first: index.html and summary.csv in the output folder."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence

from common.csv_cells import cell
from runner.events import Log
from runner.inside import Folder
from runner.output import overview
from runner.output.rows import Followed, Row


def write_report(
    output: Folder,
    rows: Sequence[Row],
    software: Mapping[str, str],
    log: Log,
    seconds: float | None = None,
    animals: Sequence[Followed] = (),
) -> None:
    """Write both files, and tell the recordings' pages their neighbours.

    `seconds` is the duration of the run, if one process knows it. Raises OSError.
    """
    output.write("summary.csv", summary_csv(rows).encode("utf-8", "backslashreplace"))
    entries = overview.entries(rows)
    for name in [name for entry in entries for name in overview.read_measures(output, entry)]:
        log("quality-unread", f"{name} cannot be read: its numbers are not in the overview", "warning", path=name)
    overview.link_pages(output, entries, [row for row in rows if row.status == "failed"])
    overview.compare_pages(output, entries)
    overview.link_animals(output, animals)
    page = overview.page(rows, entries, software, seconds, animals)
    output.write("index.html", page.encode("utf-8", "backslashreplace"))


SUMMARY = ("path", "kind", "status", "reason", "seconds", "summary", "session", "part")
SUMMARY += ("results", "animal", "start", "warnings", "advice")


def summary_csv(rows: Iterable[Row]) -> str:
    """One row an input, in order of path."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(SUMMARY)
    for row in rows:
        cells = (row.path, row.kind, row.status, row.reason, f"{row.seconds:.3f}", row.summary, row.session)
        more = (row.results, row.animal, row.start, " | ".join(row.warnings), " | ".join(row.advice))
        writer.writerow([*map(cell, cells), row.part or "", *map(cell, more)])
    return text.getvalue()
