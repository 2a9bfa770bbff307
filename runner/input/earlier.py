"""What earlier runs left of the input: their records, and results that somebody has edited since."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from runner import edits
from runner.input.read import Input
from runner.recordings import Recording
from runner.records import Record, are_there, read_record
from runner.state import RunState


@dataclass(frozen=True)
class Earlier:
    """What earlier runs left, as a run finds it."""

    records: Mapping[str, Record] = field(default_factory=dict)  # of what is there in full, by the recording's path
    edited: Mapping[str, Sequence[tuple[str, int, int]]] = field(default_factory=dict)  # files, by folder of results


def look_back(input: Input, state: RunState) -> Earlier:
    """Edited results are kept under another name first, which makes the others incomplete."""
    records: dict[str, Record] = {}
    is_whole: dict[tuple[str, str, str], bool] = {}  # by folder of results, fingerprint and status
    related, folders = input.related, set()
    for session in input.sessions:
        folders |= {related.folders[session.parts[0]], *(related.own[path] for path in session.members)}
        for path in session.members:
            state.tick()
            recording = related.recordings[path]
            record = read_record(state.output, recording)
            if not record:
                continue
            key = record.results, record.fingerprint, record.status
            if key not in is_whole:
                _keep_what_was_edited(recording, record, state)
                is_whole[key] = record.status == "done" and are_there(state.output, record)
            if is_whole[key] and not state.settings.force:
                records[path] = record
    kept = {folder: edits.kept(state.output, folder) for folder in sorted(folders)}
    return Earlier(records, {folder: files for folder, files in kept.items() if files})


def _keep_what_was_edited(recording: Recording, record: Record, state: RunState) -> None:
    """It is said aloud."""
    try:
        renamed = edits.keep(state.output, record)
    except OSError as error:
        state.log("edited", f"edited results cannot be kept: {error.strerror or error}", "warning")
        return
    for old, new in renamed.items():
        message = f"{old} is not what the run wrote: somebody edited it. It is kept as {new}"
        what = "; its statuses count as decisions by eye" if old.endswith("-cells.isxd") else ""
        state.log("edited", message + what, "warning", path=recording.relative, kept=new)
