"""The life of a run: lock, stale sentinel away, preflight, recordings, report, sentinel.

What comes out is one Outcome; the last log line, the exit code and the sentinel are all made from it.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import platform
import re
import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from recording import APP
from recording.formats import SUFFIXES
from recording.job import Options
from runner import NAME, elf, native, recipe, report, results, settings, shards, version, work
from runner.discover import LOGS, RESERVED, Discovery, Recording, discover
from runner.events import Log, counted
from runner.heartbeat import Heart
from runner.series import name_groups
from runner.settings import Request, Settings, UsageError
from runner.shards import Shard
from runner.supervise import Signals, Stopped

DONE, SOME_FAILED, USAGE, NO_INPUT, NO_API, INTERNAL, NO_OUTPUT, IN_USE = 0, 1, 64, 66, 69, 70, 73, 75
FULL = {errno.ENOSPC, errno.EDQUOT}
MANY = 20  # names in a message


@dataclass
class Outcome:
    """How the run ended."""

    code: int
    message: str
    facts: dict[str, Any] = field(default_factory=dict)  # counts, for the log and the sentinel


class Refused(Exception):
    """The run cannot go on, with the exit code that says so."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


def live(request: Request, log: Log, started: float) -> int:
    """Do what was asked and return the exit code."""
    if request.action == "--version" and not request.problems:
        sys.stdout.write(versions())
        return DONE
    try:
        if request.action in ("", "--gather"):
            return _locked_run(request, log, started)
        outcome = _only_check(request, log)
    except (Exception, Stopped) as error:
        outcome = outcome_of(error, log)
    return conclude(outcome, log)


def conclude(outcome: Outcome, log: Log, sentinel: Path | None = None) -> int:
    """The only place where a run ends: log line, sentinel and exit code cannot disagree."""
    if outcome.code == DONE and sentinel:
        content = {"version": version(), "finished": datetime.now(timezone.utc).isoformat(), **outcome.facts}
        try:
            results.write_atomically(sentinel, (json.dumps(content) + "\n").encode())
        except OSError as error:
            outcome = Outcome(
                NO_OUTPUT, f"the sentinel cannot be written: {explain_unwritable(sentinel.parent, error)}"
            )
    level = "info" if outcome.code == DONE else "error"
    log("end", outcome.message, level, code=outcome.code, **outcome.facts)
    return outcome.code


def outcome_of(error: BaseException, log: Log) -> Outcome:
    """Every way in which a run can break off, and its exit code."""
    if isinstance(error, Refused):
        return Outcome(error.code, str(error))
    if isinstance(error, recipe.BadRecipe):
        return Outcome(USAGE, _recipe_verdict(str(error).splitlines(), log))
    if isinstance(error, UsageError):
        return Outcome(USAGE, str(error))
    if isinstance(error, results.OutputInUse):
        return Outcome(IN_USE, str(error))
    if isinstance(error, work.IsxBroken):
        return Outcome(NO_API, str(error))
    if isinstance(error, recipe.NoIsx):
        return Outcome(NO_API, native.diagnosis(native.find_api(), str(error)))
    if isinstance(error, Stopped):
        return Outcome(128 + error.signum, f"stopped by {error}; run again to complete what is missing")
    text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    log("internal-error", f"internal error: {error!r}; please report it with this log", "error", traceback=text)
    return Outcome(INTERNAL, f"internal error: {error!r}")


# ---- actions


def versions() -> str:
    """The answer to --version."""
    api = native.find_api()
    digest = f", sha256 {api.sha256}" if api.sha256 else ""
    return (
        f"{NAME} {version()}\n{api.name} {api.version} ({api.source}{digest})\n"
        f"Python {platform.python_version()}, glibc {elf.system_glibc() or 'none'}\n"
    )


def _recipe_verdict(problems: list[str], log: Log) -> str:
    """One event for each mistake, as a lab mends them one by one."""
    if len(problems) == 1:
        return problems[0]
    for problem in problems:
        log("recipe-problem", problem, "error")
    return f"the recipe cannot be used: {len(problems)} problems, listed above"


def _only_check(request: Request, log: Log) -> Outcome:
    """--check and --check-recipe: nothing is read or written but what is in the image."""
    settings.understand(request, os.environ)
    if request.action == "--check-recipe":
        path = recipe.locate(request.argument)
        recipe.check(path)
        return Outcome(DONE, f"the recipe {path} can be used")
    api = native.find_api()
    preflight(api, native.start_probe(api), log)
    error = native.import_error()
    if error:
        raise Refused(NO_API, native.diagnosis(api, error))
    return Outcome(DONE, "isx can be imported: the image is sound")


def _locked_run(request: Request, log: Log, started: float) -> int:
    """A run or a gather step, with the output to itself."""
    gathering = request.action == "--gather"
    signals, heart = Signals(), Heart()
    sentinel: Path | None = None
    try:
        chosen = settings.understand(request, os.environ)
        shard = chosen.shard if chosen.shard and chosen.shard.count > 1 else None
    except UsageError as error:
        remove_sentinel(request.sentinel)
        return conclude(outcome_of(error, log), log)
    with contextlib.ExitStack() as stack:
        try:
            try:
                chosen.output.mkdir(parents=True, exist_ok=True)
                stack.enter_context(results.locked(chosen.output, shard, lambda text: log("lock", text, "warning")))
            finally:
                if not isinstance(sys.exc_info()[1], results.OutputInUse):
                    remove_stale_sentinels(chosen.sentinel, shard, gathering)
            sentinel = shard_sentinel(chosen.sentinel, shard) if shard else chosen.sentinel
            sentinel.parent.mkdir(parents=True, exist_ok=True)
            if gathering:
                outcome = gather(chosen, request, log, heart, signals)
            else:
                outcome = run(chosen, shard, log, heart, signals)
            outcome.facts["seconds"] = round(time.monotonic() - started, 3)
        except OSError as error:
            outcome = Outcome(NO_OUTPUT, explain_unwritable(chosen.output, error))
        except (Exception, Stopped) as error:
            outcome = outcome_of(error, log)
        return conclude(outcome, log, sentinel)


# ---- a run


def run(chosen: Settings, shard: Shard | None, log: Log, heart: Heart, signals: Signals) -> Outcome:
    """Everything between the lock and the sentinel. OSError means that the output cannot be written."""
    api = native.find_api()
    probe = native.start_probe(api)
    try:
        results.clean_staging(chosen.output, shard)
        staging = _new_staging(chosen.output, shard)
    except OSError:
        native.finish_probe(probe)
        raise
    try:
        found = _find_recordings(chosen, heart, signals, log)
    finally:
        loaded = native.finish_probe(probe)
    try:
        _report_preflight(api, loaded, log)
        _refuse_without_recordings(found, chosen.input)
        conditions = _conditions(chosen, api)
        recordings = found.recordings
        if shard:
            recordings = _shard_of(recordings, shard, keep_series=conditions.recipe.works_on_series)
        log(
            "found",
            f"{counted(len(found.recordings), 'recording')} in {chosen.input}"
            + (f", {len(recordings)} in shard {shard}" if shard else ""),
            recordings=len(found.recordings),
            selected=len(recordings),
        )
        container = container_facts()
        context = work.Context(chosen, conditions, container, log, heart, signals, staging, api)
        rows = work.handle(recordings, context)
        if not shard or shard.index == 1:
            rows += _unreadable_rows(found, log)
        if not shard:
            report.write_report(chosen.output, rows, conditions.software, generated_by(api, container))
    finally:
        results.remove_tree(staging)
        if not shard:
            results.remove_empty_staging(chosen.output)
    failed = sum(row.status == "failed" for row in rows)
    counts = {"recordings": len(rows), "failed": failed, "unchanged": context.n_unchanged}
    facts = {**counts, "shard": str(shard or "1/1"), "isx": api.facts, "conditions": conditions.digest}
    return _judge(len(rows), failed, context.n_unchanged, facts)


def _judge(total: int, failed: int, unchanged: int, facts: dict[str, Any]) -> Outcome:
    earlier = f", {unchanged} of them earlier" if unchanged else ""
    if failed:
        return Outcome(SOME_FAILED, f"{failed} of {total} failed, {total - failed} done{earlier}; no sentinel", facts)
    return Outcome(DONE, f"{counted(total, 'recording')}, all done{earlier}", facts)


def preflight(api: native.Api, probe: Any, log: Log) -> None:
    """Whether isx can be loaded, and what is in the image. Raises Refused."""
    _report_preflight(api, native.finish_probe(probe), log)


def _report_preflight(api: native.Api, probe: native.Probe, log: Log) -> None:
    if probe.error:
        raise Refused(NO_API, native.diagnosis(api, probe.error))
    log(
        "preflight",
        f"{api}, {'with' if probe.with_algorithms else 'without'} the licensed algorithms; "
        f"Python {platform.python_version()}; glibc {elf.system_glibc()}",
        isx=api.facts,
        algorithms=probe.with_algorithms,
        python=platform.python_version(),
        glibc=elf.system_glibc(),
        dependencies=native.dependencies(),
        examples=native.example_scripts(api),
    )


def _find_recordings(chosen: Settings, heart: Heart, signals: Signals, log: Log) -> Discovery:
    def tick() -> None:
        heart.tick()
        signals.check()

    if not chosen.input.is_dir():
        what = "is not a folder" if chosen.input.exists() else "does not exist"
        raise Refused(NO_INPUT, f"the input {chosen.input} {what}: mount the recordings there, or set INPUT_DIR")
    taken = RESERVED | {LOGS}
    if chosen.sentinel.parent.absolute() == chosen.output.absolute():
        taken |= {chosen.sentinel.name}
    return discover(chosen.input, chosen.output, taken, tick)


def _refuse_without_recordings(found: Discovery, input: Path) -> None:
    if found.recordings:
        return
    message = f"no recording found in {input}: looked for {', '.join(SUFFIXES)}"
    if found.others:
        seen = ", ".join(f"{count} {suffix or 'without suffix'}" for suffix, count in found.others.most_common(5))
        message += f" and found only other files ({seen})"
    if found.unreadable:
        message += "; " + "; ".join(f"{folder}: {reason}" for folder, reason in found.unreadable[:MANY])
        message += f" (this run is uid {os.getuid()}, gid {os.getgid()}: choose another with --user)"
    elif not found.others:
        message += "; it is empty: is the right folder mounted?"
    raise Refused(NO_INPUT, message)


def _unreadable_rows(found: Discovery, log: Log) -> list[report.Row]:
    """A folder that cannot be listed may hold recordings: that is a failure, not a detail."""
    for folder, reason in found.unreadable:
        log("folder-failed", f"{folder}: {reason}", "error", path=folder, reason=reason)
    return [report.Row(folder + "/", "folder", "failed", reason) for folder, reason in found.unreadable]


def _shard_of(recordings: Sequence[Recording], shard: Shard, keep_series: bool) -> list[Recording]:
    groups = name_groups(recordings)
    sizes = [[recording.size for recording in group] for group in groups]
    mine = shards.assign(groups, sizes, shard.count, keep=keep_series)[shard.index - 1]
    return sorted(mine, key=lambda recording: recording.relative)


def _new_staging(output: Path, shard: Shard | None) -> Path:
    """A folder of this run's own, in which a small file has been written for proof."""
    staging = output / results.STAGING / f"{shard.name if shard else 'all'}.{os.getpid()}.{time.time_ns()}"
    staging.mkdir(parents=True)
    proof = staging / "proof"
    proof.write_bytes(bytes(4096))
    proof.unlink()
    return staging


def _conditions(chosen: Settings, api: native.Api) -> work.Conditions:
    software = {
        NAME: version(),
        "isx": f"{api.version} ({api.source})",
        "Python": platform.python_version(),
        "glibc": elf.system_glibc(),
        **{name: number for name, number in native.dependencies().items() if name != "isx"},
    }
    if api.sha256:
        software["isx sha256"] = api.sha256
    options = Options(chosen.movie_tiff, chosen.movie_mp4)
    return work.Conditions(recipe.load(chosen.recipe), options, software, work.code_digest(APP))


def container_facts() -> dict[str, str]:
    """Which image this is, where its environment says so."""
    get = os.environ.get
    sif = get("APPTAINER_CONTAINER") or get("SINGULARITY_CONTAINER")
    facts = {
        "Type": "apptainer" if sif else "docker",
        "Tag": get("CONTAINER_TAG") or (Path(sif).name if sif else ""),
        "URI": get("CONTAINER_DIGEST") or "",
    }
    return {key: value for key, value in facts.items() if value} if facts["Tag"] or facts["URI"] else {}


def generated_by(api: native.Api, container: dict[str, str]) -> list[dict[str, object]]:
    """BIDS's GeneratedBy."""
    mine: dict[str, object] = {"Name": NAME, "Version": version()}
    if container:
        mine["Container"] = container
    return [mine, {"Name": api.name, "Version": api.version, "Description": f"Inscopix API, source: {api.source}"}]


# ---- shards


def gather(chosen: Settings, request: Request, log: Log, heart: Heart, signals: Signals) -> Outcome:
    """After all shards: is each done, is every recording; then the report."""
    results.remove_empty_staging(chosen.output)
    found = _find_recordings(chosen, heart, signals, log)
    _refuse_without_recordings(found, chosen.input)
    count = _shard_count(chosen.sentinel, request)
    sentinels = {index: shard_sentinel(chosen.sentinel, Shard(index, count)) for index in range(1, count + 1)}
    missing = [index for index, file in sentinels.items() if count > 1 and not file.is_file()]
    _warn_of_mixed_shards(sentinels, log)
    records, infos = {}, {}
    for recording in found.recordings:
        heart.tick()
        signals.check()
        record = results.read_record(chosen.output, recording)
        records[recording.relative] = _as_gathered(record, recording, chosen)
        if record and record.status == "done":
            infos[recording.relative] = results.info_from_record(chosen.input / recording.relative, record)
    rows = work.rows(found.recordings, records, infos) + _unreadable_rows(found, log)
    api = native.find_api()
    software = _conditions(chosen, api).software
    report.write_report(chosen.output, rows, software, generated_by(api, container_facts()))
    failed = [row for row in rows if row.status == "failed"]
    for row in failed:
        log("recording-failed", f"{row.path}: {row.reason}", "error", path=row.path, kind=row.kind, reason=row.reason)
    facts = {"recordings": len(rows), "failed": len(failed), "shards": count, "shard": "1/1", "isx": api.facts}
    if missing:
        facts["missing"] = missing
        message = f"{len(missing)} of {count} shards are not done: {_listed(missing)}; run them again, then gather"
        return Outcome(SOME_FAILED, message, facts)
    return _judge(len(rows), len(failed), 0, facts)


def _warn_of_mixed_shards(sentinels: dict[int, Path], log: Log) -> None:
    """A shard redone with another recipe or image is a lab's own choice, but nobody should learn of it late."""
    by_conditions: dict[str, list[int]] = {}
    for index, file in sentinels.items():
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            by_conditions.setdefault(json.loads(file.read_bytes())["conditions"], []).append(index)
    if len(by_conditions) > 1:
        groups = "; ".join(_listed(indices) for indices in by_conditions.values())
        log("mixed", f"shards differ in recipe, options or software: {groups}; their results do, too", "warning")


def _listed(indices: list[int]) -> str:
    more = f" and {len(indices) - MANY} more" if len(indices) > MANY else ""
    return ", ".join(map(str, indices[:MANY])) + more


def _as_gathered(record: results.Record | None, recording: Recording, chosen: Settings) -> results.Record:
    """What a shard left for an input, if it still holds."""
    if record is None or record.status == "publishing":
        problem = "no shard has finished it: run its shard again"
    elif record.status == "failed":
        return record
    elif record.stamps.get(recording.relative) != [recording.size, recording.mtime_ns]:
        problem = "it changed after its shard was done: run its shard again"
    elif not results.is_complete(chosen.output, record):
        problem = "some of its results are gone: run its shard again"
    else:
        return record
    return results.Record([recording.relative], "failed", reason=problem)


def _shard_count(sentinel: Path, request: Request) -> int:
    """How many shards there should be: as said, else as the shards' sentinels tell."""
    try:
        count = shards.count_from(request.texts["SHARD"], os.environ)
    except ValueError as error:
        raise UsageError(str(error)) from error
    if count:
        return count
    counts = {count for _, count in _shard_sentinels(sentinel)}
    if len(counts) != 1:
        found = f"sentinels of {' and '.join(map(str, sorted(counts)))} shards" if counts else "no shard's sentinel"
        raise UsageError(f"how many shards? There is {found} beside {sentinel}: set SHARD_COUNT")
    return counts.pop()


def shard_sentinel(sentinel: Path, shard: Shard) -> Path:
    """A shard's own sentinel: done.marker.2-of-8."""
    return sentinel.with_name(f"{sentinel.name}.{shard.name}")


def _shard_sentinels(sentinel: Path) -> list[tuple[Path, int]]:
    """Those that exist, each with its count."""
    pattern = re.compile(re.escape(sentinel.name) + r"\.\d+-of-(\d+)", re.ASCII)
    try:
        files = sorted(sentinel.parent.iterdir())
    except OSError:
        return []
    return [(file, int(match[1])) for file in files if (match := pattern.fullmatch(file.name))]


# ---- the sentinel that an earlier run left, and outputs that cannot be written


def remove_stale_sentinels(sentinel: Path, shard: Shard | None, gathering: bool) -> None:
    """What an earlier run left must not speak for this one. Raises Refused."""
    remove_sentinel(sentinel)
    if gathering:
        return
    for file, count in _shard_sentinels(sentinel):
        if shard is None or count != shard.count or file == shard_sentinel(sentinel, shard):
            remove_sentinel(file)


def remove_sentinel(sentinel: Path) -> None:
    """Raises Refused where it stays."""
    try:
        sentinel.unlink()
    except (FileNotFoundError, NotADirectoryError):
        return
    except IsADirectoryError:
        raise Refused(NO_OUTPUT, f"the sentinel {sentinel} is a folder: set EXPECTED_OUTPUT_FILE to a file") from None
    except OSError as error:
        # A read-only file system refuses whether or not there is one.
        what = "the sentinel of an earlier run cannot be removed: " if os.path.lexists(sentinel) else ""
        raise Refused(NO_OUTPUT, what + explain_unwritable(sentinel.parent, error)) from error


def explain_unwritable(folder: Path, error: OSError) -> str:
    """Why nothing can be written there, and the way out."""
    place = Path(os.fsdecode(error.filename)) if error.filename else folder
    if error.errno in FULL:
        return f"no space is left in {folder}: free some and run again"
    if error.errno == errno.EROFS:
        return f"{folder} is mounted read-only: mount the output without ':ro'"
    if error.errno not in (errno.EACCES, errno.EPERM):
        return f"{place} cannot be written: {error.strerror or error}"
    while not place.is_dir() or os.access(place, os.W_OK | os.X_OK):  # the folder that stands in the way
        if place == place.parent:
            break
        place = place.parent
    owner, uid = place.stat(), os.getuid()
    if owner.st_uid == uid:
        return f"{place} belongs to this user (uid {uid}) but is not writable for it: chmod u+rwx"
    return (
        f"{place} is not writable for uid {uid}: it belongs to uid {owner.st_uid}, gid {owner.st_gid}; "
        f"run with `--user {owner.st_uid}:{owner.st_gid}`, or give uid {uid} the right to write"
    )
