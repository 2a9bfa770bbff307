"""After all shards: is each done, is every recording; then the report."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from protocol.overview import Followed
from runner import animals, shards
from runner.endings import SOME_FAILED, Ending, UsageError, writing
from runner.events import Log, listed
from runner.input.read import find_recordings, refuse_without_recordings, report_left_out
from runner.output import sentinels
from runner.output.judge import judge
from runner.output.report import Made, write_report
from runner.output.rows import left_out_rows, rows_of, unreadable_rows
from runner.output_folder import Folder
from runner.recordings import Recording
from runner.records import Record, are_there, is_complete, read_record
from runner.settings import Request
from runner.shards import Shard
from runner.staging import remove_empty_staging, staging_of
from runner.state import RunState, software


def gather(state: RunState, request: Request) -> Ending:
    output, folder = state.output, state.settings.input_dir
    remove_empty_staging(output)
    discovery = find_recordings(state.settings, state.tick)
    refuse_without_recordings(discovery, folder)
    report_left_out(discovery, state.log)
    count = _shard_count(state, request)
    finished = sentinels.of_shards(state.sentinel_folder, state.settings.sentinel.name)
    missing = [index for index in range(1, count + 1) if count > 1 and Shard(index, count) not in finished]
    _warn_of_mixed_shards({shard.index: said for shard, said in finished.items() if shard.count == count}, state.log)
    records = {}
    for recording in discovery.recordings:
        state.tick()
        record = read_record(output, recording)
        records[recording.relative] = _as_gathered(record, recording, output)
    rows = rows_of(discovery.recordings, records)
    rows += unreadable_rows(discovery, state.log) + left_out_rows(discovery)
    followed: list[Followed] = []
    wanted = all(said.get("follow", True) for said in finished.values())
    with writing(output.path), staging_of(output, None) as staging:
        if not missing:
            followed = animals.follow(discovery.recordings, records.values(), state, staging, wanted)
        write_report(state, staging, rows, Made(software(state.api), followed))
    for row in [row for row in rows if row.status == "failed"]:
        message = f"{row.path}: {row.reason}"
        state.log("recording-failed", message, "error", path=row.path, kind=row.kind, reason=row.reason)
    ending = judge(rows, state, {"shards": count, "shard": "1/1"}, followed)
    if missing:
        message = f"{len(missing)} of {count} shards are not done: {listed(missing)}; run them again, then gather"
        return Ending(SOME_FAILED, message, {**ending.facts, "missing": missing})
    return ending


def _warn_of_mixed_shards(finished: Mapping[int, Mapping[str, Any]], log: Log) -> None:
    """A shard redone with another recipe or image is a lab's own choice, but nobody should learn of it late."""
    by_conditions: dict[str, list[int]] = {}
    for index, said in sorted(finished.items()):
        by_conditions.setdefault(str(said.get("conditions")), []).append(index)
    if len(by_conditions) > 1:
        groups = "; ".join(listed(indices) for indices in by_conditions.values())
        log("mixed", f"shards differ in recipe, options or software: {groups}; so do their results", "warning")


def _as_gathered(record: Record | None, recording: Recording, output: Folder) -> Record:
    """The record of an input, or a failure if it no longer holds."""
    if record is None or record.status == "publishing":
        problem = "no shard has finished it: run its shard again"
    elif record.status == "failed":
        return record if are_there(output, record) else replace(record, inspected=False)
    elif record.stamps.get(recording.relative) != [recording.size, recording.mtime_ns]:
        problem = "it changed after its shard was done: run its shard again"
    elif not is_complete(output, record):
        problem = "some of its results are gone: run its shard again"
    else:
        return record
    return Record([recording.relative], "failed", reason=problem)


def _shard_count(state: RunState, request: Request) -> int:
    """How many shards there should be: as said, else as the shards' sentinels tell. Raises UsageError."""
    count = shards.count_from(request.texts["SHARD"], os.environ)
    if count:
        return count
    counts = {shard.count for shard in sentinels.of_shards(state.sentinel_folder, state.settings.sentinel.name)}
    if len(counts) != 1:
        there = f"sentinels of {' and '.join(map(str, sorted(counts)))} shards" if counts else "no shard's sentinel"
        raise UsageError(
            f"the number of shards is unknown: there is {there} beside {state.settings.sentinel}: set SHARD_COUNT"
        )
    return counts.pop()
