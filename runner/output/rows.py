"""What the report says of each input, and of each animal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from protocol.overview import LEFT_OUT, Row
from recording.kinds import KINDS
from runner.events import Log
from runner.input.discover import Discovery
from runner.recordings import Recording
from runner.records import Record


def rows_of(recordings: Sequence[Recording], records: Mapping[str, Record]) -> list[Row]:
    """One row a recording, in their order."""
    return [_row(recording, records[recording.relative]) for recording in recordings]


def _row(recording: Recording, record: Record) -> Row:
    done, first = record.status == "done", record.inputs[0]
    shown = done or record.inspected
    several = len(record.inputs) > 1
    number = record.inputs.index(recording.relative) + 1
    info = record.infos.get(recording.relative)
    return Row(
        path=recording.relative,
        kind=str(info["kind"]) if isinstance(info, dict) and info.get("kind") in KINDS else record.kind,
        status="done" if done else "failed",
        reason=record.reason,
        seconds=record.seconds,
        summary=record.summary,
        thumbnail=record.thumbnail,
        warnings=record.warnings,
        advice=record.advice,
        results=record.results if shown else "",
        products=tuple(record.products) if shown else (),
        log=replace(recording, relative=first).log if record.seconds else "",
        session=first if several else "",
        part=number if number <= record.parts and record.parts > 1 else 0,
        parts=record.parts if several else 0,
        animal=record.animal,
        start=record.start,
    )


def unreadable_rows(discovery: Discovery, log: Log) -> list[Row]:
    """A folder that cannot be listed may hold recordings: that is a failure, not a detail."""
    for folder, reason in discovery.unreadable:
        log("folder-failed", f"{folder}: {reason}", "error", path=folder, reason=reason)
    return [Row(folder + "/", "folder", "failed", reason) for folder, reason in discovery.unreadable]


def left_out_rows(discovery: Discovery) -> list[Row]:
    return [Row(path, "", LEFT_OUT, reason) for path, reason in discovery.left_out]
