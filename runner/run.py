"""A run, from the preflight to the report."""

from __future__ import annotations

import contextlib
import os
import platform
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from native import elf, loading
from recording.kinds import SUFFIXES
from runner import animals, machine, places, report, results, sessions, shards
from runner.batch import MANY, Batch, handle
from runner.discover import Discovery, Recording, discover
from runner.endings import DONE, OUT_OF_MEMORY, SOME_FAILED, Ending, NoApi, NoInput, UsageError, writing
from runner.events import Log, counted
from runner.overview import LEFT_OUT
from runner.own import RESERVED
from runner.relate import Related, look_at_all
from runner.settings import Settings
from runner.shards import Shard
from runner.state import RunState, conditions, container_facts, software
from study.relations import Session


def run(state: RunState) -> Ending:
    """Everything between the lock and the sentinel."""
    output, shard = state.output, state.settings.shard
    began = time.monotonic()
    refuse_too_few_processes(state.settings.workers or 1)
    refuse_too_few_files(state.settings.workers or 1)
    with contextlib.ExitStack() as stack:
        probe = loading.start_probe(state.api)  # works while this process looks for recordings
        try:
            with writing(output.path):
                staging = stack.enter_context(results.staging(output, shard))
            found = find_recordings(state.settings, state.tick)
        finally:
            loaded = loading.finish_probe(probe)
        report_preflight(state.api, loaded, state.log)
        refuse_without_recordings(found, state.settings.input_dir)
        copies = staging.anywhere / "copies"
        wanted = conditions(state, copies)
        metadata = _metadata(found.recordings, copies, state) if wanted.nwb else None
        related = look_at_all(found.recordings, taken_names(state.settings), wanted, state)
        sessions_of_mine, broken = _shard_of(related, shard) if shard else _all_of(related)
        n_selected = sum(len(session.members) for session in sessions_of_mine) + len(broken)
        state.log(
            "found",
            f"{counted(len(found.recordings), 'recording')} in {state.settings.input_dir}"
            + (f", {n_selected} in shard {shard}" if shard else ""),
            recordings=len(found.recordings),
            selected=n_selected,
        )
        report_left_out(found, state.log)
        report_sessions(related, sessions_of_mine, state.log)
        batch = Batch(state, wanted, staging, related, related.owners(), metadata)
        rows = handle(sessions_of_mine, broken, batch)
        if not shard or shard.index == 1:
            rows += unreadable_rows(found, state.log) + left_out_rows(found)
        followed: list[animals.Followed] = []
        if not shard:
            if wanted.recipe.follow:
                followed = animals.stage(found.recordings, batch.records.values(), state, staging)
            with writing(output.path):
                seconds = time.monotonic() - began
                report.write_report(output, rows, wanted.software, state.log, seconds, followed)
    facts = {"unchanged": batch.n_unchanged, "shard": str(shard or "1/1"), "conditions": wanted.digest}
    if not wanted.recipe.follow:
        facts["follow"] = False
    if batch.n_out_of_memory:
        facts["out_of_memory"] = batch.n_out_of_memory
    return judge(rows, state, facts, followed)


def _metadata(recordings: Sequence[Recording], copies: Path, state: RunState) -> sessions.MetadataFiles:
    """Raises BadMetadata, Unwritable."""
    found = sessions.MetadataFiles(state.settings.input_dir, copies)
    files = {path for recording in recordings for path in found.of(recording.folder, [recording.stem])}
    sessions.check(sorted(files), copies, state.tick)
    return found


def report_sessions(related: Related, mine: Sequence[Session], log: Log) -> None:
    """Which recordings are one session and why, and what looks like one and is none."""
    for session in mine:
        if len(session.members) > 1:
            name = related.folders[session.parts[0]]
            said = f"{name} is one session of {counted(len(session.members), 'recording')}"
            log("session", f"{said}: {'; '.join(session.reasons)}", members=list(session.members))
    for miss in related.study.near_misses:
        log("near-miss", miss, "warning")


def judge(
    rows: Sequence[report.Row], state: RunState, facts: dict[str, Any], followed: Sequence[animals.Followed] = ()
) -> Ending:
    """Whether all succeeded; `facts` go into the sentinel, beside the counts."""
    statuses = Counter(row.status for row in rows)
    failed, left_out, unchanged = statuses["failed"], statuses[LEFT_OUT], facts.get("unchanged", 0)
    count = len(rows) - left_out
    made_by = {"isx": state.api.facts, "software": software(state.api), "container": container_facts()}
    facts = {"recordings": count, "failed": failed, "left_out": left_out, **facts, **made_by}
    unfollowed = [each.animal for each in followed if each.status == "failed"]
    if followed:
        facts["animals"] = len(followed)
    earlier = f", {unchanged} of them earlier" if unchanged else ""
    besides = f"; {left_out} left out" if left_out else ""
    if failed:
        message = f"{failed} of {count} failed, {count - failed} done{earlier}{besides}; no sentinel"
        if starved := facts.get("out_of_memory"):
            message += f"; {starved} failed for want of memory: give the run more, or lower WORKERS"
        return Ending(OUT_OF_MEMORY if starved else SOME_FAILED, message, facts)
    if unfollowed:
        message = (
            f"{counted(count, 'recording')} done{earlier}{besides}; the cells of {listed(unfollowed)} could not be "
        )
        return Ending(SOME_FAILED, message + "followed; no sentinel", facts)
    over = f"; cells of {counted(len(followed), 'animal')} followed" if followed else ""
    return Ending(DONE, f"{counted(count, 'recording')}, all done{earlier}{besides}{over}", facts)


def refuse_too_few_processes(workers: int, root: Path = Path("/")) -> None:
    """A worker that cannot have a thread of its own waits for it for ever. Raises UsageError."""
    limit, needed = machine.process_limit(root), machine.processes_needed(workers, machine.cores(root))
    if limit and limit < needed:
        raise UsageError(
            f"only {limit} processes and threads are allowed here, and up to {needed} are needed: "
            f"raise --pids-limit (of docker run) or the limit of the pod, or lower WORKERS"
        )


def refuse_too_few_files(workers: int) -> None:
    """Raises UsageError."""
    limit, needed = machine.raise_file_limit(), machine.files_needed(workers)
    if limit < needed:
        raise UsageError(
            f"only {limit} open files are allowed here, and up to {needed} are needed: raise the limit "
            "(ulimit -n, or --ulimit nofile of docker run), or lower WORKERS"
        )


def report_preflight(api: loading.Api, probe: loading.Probe, log: Log) -> None:
    """Log the contents of the image. Raises NoApi if isx cannot be loaded."""
    if probe.error:
        raise NoApi(loading.diagnosis(api, probe.error))
    log(
        "preflight",
        f"{api}, {'with' if probe.with_algorithms else 'without'} the licensed algorithms; "
        f"Python {platform.python_version()}; glibc {elf.system_glibc()}",
        isx=api.facts,
        algorithms=probe.with_algorithms,
        python=platform.python_version(),
        glibc=elf.system_glibc(),
        dependencies=loading.dependencies(),
        examples=loading.example_scripts(api),
    )


def find_recordings(settings: Settings, tick: Callable[[], None]) -> Discovery:
    """Raises NoInput."""
    folder = settings.input_dir
    try:
        is_folder, exists = folder.is_dir(), folder.exists()
    except OSError as error:
        raise NoInput(f"the input {folder} cannot be looked at: {error.strerror}{_as_whom()}") from error
    if not is_folder:
        what = "is not a folder" if exists else "does not exist"
        raise NoInput(f"the input {folder} {what}: mount the recordings there, or set INPUT_DIR")
    return discover(folder, settings.output_dir, taken_names(settings), tick)


def taken_names(settings: Settings) -> frozenset[str]:
    """Names at the top of the output that no recording's results may have."""
    at_the_top = places.below(settings.sentinel.parent, settings.output_dir) == ""
    return RESERVED | {settings.sentinel.name} if at_the_top else RESERVED


def refuse_without_recordings(found: Discovery, folder: Path) -> None:
    """Raises NoInput that names the other files there."""
    if found.recordings:
        return
    message = f"no recording found in {folder}: looked for {', '.join(SUFFIXES)}"
    if found.left_out:
        message += f"; {_named_left_out(found)}"
    if found.others:
        seen = ", ".join(f"{count} {suffix or 'without suffix'}" for suffix, count in found.others.most_common(5))
        message += f" and found only other files ({seen})"
    if found.unreadable:
        message += "; " + "; ".join(f"{folder}: {reason}" for folder, reason in found.unreadable[:MANY]) + _as_whom()
    elif not found.others and not found.left_out:
        message += "; it is empty: is the right folder mounted? In a clone, make demo simulates a recording"
    raise NoInput(message)


def _as_whom() -> str:
    return f" (this run is uid {os.getuid()}, gid {os.getgid()}: choose another with --user)"


def unreadable_rows(found: Discovery, log: Log) -> list[report.Row]:
    """A folder that cannot be listed may hold recordings: that is a failure, not a detail."""
    for folder, reason in found.unreadable:
        log("folder-failed", f"{folder}: {reason}", "error", path=folder, reason=reason)
    return [report.Row(folder + "/", "folder", "failed", reason) for folder, reason in found.unreadable]


def report_left_out(found: Discovery, log: Log) -> None:
    """Nothing is passed over in silence: recordings that cannot be read, and folders that are not looked into."""
    if found.left_out:
        paths = [path for path, _ in found.left_out]
        log("left-out", _named_left_out(found), "warning", paths=paths)
    if found.system:
        names = [f"{name} ({count} times)" if count > 1 else name for name, count in sorted(found.system.items())]
        message = f"folders of the operating or storage system are not looked into: {', '.join(names)}"
        log("system-folders", message, folders=dict(found.system))


def _named_left_out(found: Discovery) -> str:
    by_reason: dict[str, list[str]] = {}
    for path, reason in found.left_out:
        by_reason.setdefault(reason, []).append(path)
    named = "; ".join(f"{listed(paths)}: {reason}" for reason, paths in by_reason.items())
    count = len(found.left_out)
    return f"{counted(count, 'recording')} {'is' if count == 1 else 'are'} left out: {named}"


def listed(names: Sequence[object]) -> str:
    more = f" and {len(names) - MANY} more" if len(names) > MANY else ""
    return ", ".join(map(str, names[:MANY])) + more


def left_out_rows(found: Discovery) -> list[report.Row]:
    return [report.Row(path, "", LEFT_OUT, reason) for path, reason in found.left_out]


def _all_of(related: Related) -> tuple[list[Session], list[Recording]]:
    """Sessions, and recordings that cannot be read."""
    return [*related.study.sessions], [related.recordings[path] for path in sorted(related.problems)]


def _shard_of(related: Related, shard: Shard) -> tuple[list[Session], list[Recording]]:
    """A session is never split."""
    everything: list[Session | Recording] = [
        *related.study.sessions,
        *(related.recordings[path] for path in sorted(related.problems)),
    ]
    sizes = [
        sum(related.recordings[path].size for path in one.members) if isinstance(one, Session) else one.size
        for one in everything
    ]
    mine = shards.assign(everything, sizes, shard.count)[shard.index - 1]
    return [one for one in mine if isinstance(one, Session)], [one for one in mine if isinstance(one, Recording)]
