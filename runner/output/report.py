"""The pages that a lab opens first: index.html and summary.csv in the output folder."""

from __future__ import annotations

import contextlib
import csv
import errno
import io
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from common.csv_cells import cell
from common.ownership import FULL, NO_SPACE
from protocol.job import INSPECT, OVERVIEW, Job, Options
from protocol.overview import INDEX, ROOMS, Entry, Followed, Overview, Room, Rooms, Row
from runner import machine
from runner.output import overview
from runner.output_folder import Folder
from runner.own import OVERVIEW_NOTE
from runner.state import RunState

if TYPE_CHECKING:
    from runner.workers.processes import ForkServer

THUMBNAIL_BUDGET = 24 << 20  # bytes of base64; beyond it the page stays quick to open and shows no more pictures
HEAD_BYTES = 1 << 16  # of a recording's page, in which the room for links to its neighbours lies
WITHOUT = Path(__file__).with_name("no_overview.html")  # in place of an overview that could not be made
SECONDS = 600.0  # for the page; ten thousand sessions take a few


@dataclass(frozen=True)
class Made:
    """How the results of a run were made."""

    software: Mapping[str, str]
    animals: Sequence[Followed] = ()
    seconds: float = 0.0  # that the run took, if one process knows it
    is_unchanged: bool = False  # nothing was left to do


def write_report(
    state: RunState, staging: Folder, rows: Sequence[Row], made: Made, fork_server: ForkServer | None = None
) -> None:
    """Write both files, and tell the recordings' pages their neighbours.

    If nothing was left to do, an overview that shows the same stays. One that cannot be made is said in the log, and
    costs the run nothing: all that it shows stands elsewhere, too. Raises OSError, also if the disk is full; Stopped.
    """
    output, log = state.output, state.log
    output.write("summary.csv", summary_csv(rows).encode("utf-8", "backslashreplace"))
    entries = overview.entries(rows)
    for name in [name for entry in entries for name in overview.read_measures(output, entry)]:
        log("quality-unread", f"{name} cannot be read: its numbers are not in the overview", "warning", path=name)
    shown = overview_of(rows, entries, made)
    if made.is_unchanged and _is_there(output, shown):
        return
    output.remove(OVERVIEW_NOTE)
    page, rooms = _made_by_a_worker(shown, state, staging, fork_server)
    output.write(INDEX, page)
    if rooms is not None:
        fill_rooms(output, rooms)
        output.write(OVERVIEW_NOTE, _note(output, shown))


def _is_there(output: Folder, shown: Overview) -> bool:
    """Whether an earlier run made this page and told the others, and nothing was published since."""
    with contextlib.suppress(OSError):
        return output.read(OVERVIEW_NOTE) == _note(output, shown)
    return False


def _note(output: Folder, shown: Overview) -> bytes:
    """Raises OSError if there is no overview."""
    return f"{shown.digest} {output.status(INDEX).st_size}\n".encode()


def overview_of(rows: Iterable[Row], entries: Sequence[Entry], made: Made) -> Overview:
    """What the page shows, made now; `entries` are those of the rows."""
    others = [row for row in rows if row.status != "done"]
    entries, has_all = _within_budget(entries)
    now = datetime.now().astimezone()
    return Overview(entries, others, now, made.seconds, dict(made.software), tuple(made.animals), has_all)


def fill_rooms(output: Folder, rooms: Iterable[Room]) -> None:
    """Tell each page its neighbours, and how its session compares, in the room that it keeps for that.

    A few bytes in place, not the whole file anew: a page can be large, and its size must stay. A page that cannot be
    written to, such as another user's, stays without: all that it says is true.
    """
    for room in rooms:
        with contextlib.suppress(OSError):
            _fill(output.open(room.page, os.O_RDWR), room)


def _within_budget(entries: Sequence[Entry]) -> tuple[list[Entry], bool]:
    """Entries without the thumbnails for which there is no room, and whether all kept theirs."""
    left, shown = THUMBNAIL_BUDGET, []
    for entry in entries:
        left -= len(entry.first.thumbnail or "")
        rows = [replace(row, thumbnail=row.thumbnail if left >= 0 else None) for row in entry.rows[:1]]
        rows += [replace(row, thumbnail=None) for row in entry.rows[1:]]
        shown.append(replace(entry, rows=rows))
    return shown, left >= 0


class Unmade(Exception):
    """The overview could not be made; the message says why."""


def _made_by_a_worker(
    shown: Overview, state: RunState, staging: Folder, fork_server: ForkServer | None
) -> tuple[bytes, Sequence[Room] | None]:
    """The overview, and what goes into rooms of other pages; None if it could not be made. Raises Stopped."""
    try:
        return _by_a_worker(shown, state, staging, fork_server)
    except (Unmade, OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno in FULL:
            raise  # as for the summary
        message = (
            f"the overview could not be written, so no page links to it: {getattr(error, 'strerror', None) or error}"
        )
        state.log("overview-failed", message, "warning", reason=str(error))
        return WITHOUT.read_bytes(), None
    finally:
        staging.remove_tree(OVERVIEW)  # the disk may be nearly full


def _by_a_worker(
    shown: Overview, state: RunState, staging: Folder, fork_server: ForkServer | None
) -> tuple[bytes, Sequence[Room]]:
    """The overview, and what goes into rooms of other pages. Raises Unmade, OSError, Stopped."""
    from runner.workers.jobs import address_space  # not needed where the overview stays
    from runner.workers.supervise import Supervisor, Task, Verdict, last_line

    folder = staging.anywhere / OVERVIEW
    for name in ("results", "scratch"):
        (folder / name).mkdir(parents=True)
    facts = folder / "overview.json"
    facts.write_bytes(shown.to_json())
    job = Job((facts,), OVERVIEW, OVERVIEW, folder / "results", folder / "scratch", INSPECT, Options(), {})
    verdicts: list[Verdict] = []
    log = os.open(folder / "log", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        task = Task(OVERVIEW, job, log, address_space(state.settings), SECONDS, weight=0, may_fork=True)
        supervisor = Supervisor(1, machine.cores(), state.signals, fork_server=fork_server)
        supervisor.work_through(iter([task]), 1, lambda _, verdict: verdicts.append(verdict), lambda *_: state.tick())
        said = last_line(log)  # of a traceback: the error
    finally:
        os.close(log)
    if not verdicts[0].ok:
        if os.strerror(errno.ENOSPC) in said or NO_SPACE in verdicts[0].reason:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        raise Unmade(said or verdicts[0].reason)
    return (job.staging / INDEX).read_bytes(), Rooms.from_json((job.staging / ROOMS).read_bytes()).rooms


def _fill(page: int, room: Room) -> None:
    """Fill the room with the first of the texts that fits. Closes the file."""
    with open(page, "r+b") as file:
        if os.fstat(page).st_nlink > 1:  # it would change elsewhere, too
            return
        marked = f"(<!--{room.mark}-->)(.*?)<!--/{room.mark}-->".encode()
        space = re.search(marked, file.read(HEAD_BYTES), re.DOTALL)
        if not space:
            return
        size = len(space[2])
        content = next((text.encode() for text in room.texts if len(text.encode()) <= size), b"").ljust(size)
        if content != space[2]:
            file.seek(space.start(2))
            file.write(content)


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
