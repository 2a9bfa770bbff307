"""The stage after the recordings: each animal's cells, followed over its sessions by a worker of its own.

All that it knows of sessions is `WithCells`. Whoever decides what a session is makes those; the rest stays.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from protocol.overview import Followed
from runner.output_folder import Folder
from runner.own import ANIMALS
from runner.recordings import Recording
from runner.records import Record, table_of_cells
from runner.state import RunState


def follow(
    recordings: Sequence[Recording],
    records: Iterable[Record],
    state: RunState,
    staging: Folder,
    wanted: bool = True,
) -> list[Followed]:
    """What became of each animal that has two sessions with cells or more.

    Its sessions hold the numbers of its cells then; those of animals that are followed no longer go. Raises Stopped.
    """
    records = list(records)
    if not any(map(table_of_cells, records)) and not _are_animals(state.output):
        return []
    from runner.animals import in_sessions, stage  # takes a while, and most runs find no cells

    records = [record for record in records if record.results]
    followed = stage.followed(recordings, records, state, staging) if wanted else []
    in_sessions.forget_others(records, followed, state)
    return in_sessions.number(recordings, records, followed, state)


def _are_animals(output: Folder) -> bool:
    """Whether an earlier run may have followed cells."""
    try:
        output.status(ANIMALS)
    except OSError:
        return False
    return True
