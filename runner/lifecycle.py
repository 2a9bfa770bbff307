"""From the request to the exit code: the lock, the stale sentinel, the run, its end.

A run comes to one Ending; the last log line, the exit code and the sentinel are all made from it.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import sys
import time
import traceback
from collections.abc import Callable
from datetime import datetime, timezone

from common import NAME, version
from native import elf, loading
from protocol.job import INSPECT
from runner import metrics, output_folder, places, recipe, settings, shards
from runner.endings import (
    DONE,
    INTERNAL,
    NO_OUTPUT,
    Ending,
    NoApi,
    NoInput,
    OutputInUse,
    RunError,
    UsageError,
    explain_unwritable,
    writing,
)
from runner.events import Log
from runner.heartbeat import Heart
from runner.input.metadata import BadMetadata
from runner.input.read import find_recordings
from runner.input.relate import BadSessions
from runner.mounts import refuse_container_layer, refuse_sentinel_in_container
from runner.output import sentinels
from runner.output.lock import check_own_folders, locked
from runner.preflight import report_preflight
from runner.run import run
from runner.settings import Request, Settings
from runner.signals import Signals, Stopped
from runner.state import RunState


def answer(request: Request, log: Log, started: float) -> int:
    """Do what was asked and return the exit code."""
    if request.action == "--version" and not request.problems:
        sys.stdout.write(versions())
        return DONE
    with contextlib.ExitStack() as until_the_end:
        try:
            if request.action in ("", "--gather"):
                ending = _with_the_output(request, log, until_the_end)
                ending.facts["seconds"] = round(time.monotonic() - started, 3)
            else:
                ending = _only_check(request, log)
        except (Exception, Stopped) as error:
            ending = _ending_of(error, log)
        return _conclude(ending, log)


def _conclude(ending: Ending, log: Log) -> int:
    """The only place where a run ends: log line, sentinel and exit code cannot disagree."""
    if ending.code == DONE and ending.sentinel:
        folder, name = ending.sentinel
        origin = {"run": log.run, "host": log.host}
        content = {"version": version(), **origin, "finished": datetime.now(timezone.utc).isoformat(), **ending.facts}
        try:
            sentinels.refuse_foreign(folder, name)  # somebody may have put it there meanwhile
            folder.write(name, (json.dumps(content) + "\n").encode())
        except OSError as error:
            reason = explain_unwritable(folder.path, error)
            ending = Ending(NO_OUTPUT, f"the sentinel cannot be written: {reason}")
        except RunError as error:
            ending = Ending(error.code, f"the sentinel cannot be written: {error}")
    log("end", ending.message, "info" if ending.code == DONE else "error", code=ending.code, **ending.facts)
    return ending.code


def _ending_of(error: BaseException, log: Log) -> Ending:
    """Every way in which a run can break off, and its exit code."""
    if isinstance(error, (recipe.BadRecipe, BadMetadata, BadSessions)) and len(mistakes := str(error).splitlines()) > 1:
        for mistake in mistakes:  # one event each, as a lab mends them one by one
            log(f"{error.what}-problem", mistake, "error")
        return Ending(error.code, f"the {error.what} cannot be used: {len(mistakes)} problems, listed above")
    if isinstance(error, RunError):
        return Ending(error.code, str(error))
    if isinstance(error, Stopped):
        return Ending(128 + error.signum, f"stopped by {error}; run again to complete what is missing")
    text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    log("internal-error", f"internal error: {error!r}; please report it with this log", "error", traceback=text)
    return Ending(INTERNAL, f"internal error: {error!r}")


def versions() -> str:
    """The answer to --version."""
    api = loading.find_api()
    digest = f", sha256 {api.sha256}" if api.sha256 else ""
    return (
        f"{NAME} {version()}\n{api.name} {api.version} ({api.source}{digest})\n"
        f"Python {platform.python_version()}, glibc {elf.system_glibc() or 'none'}\n{_packages()}"
    )


def _packages() -> str:
    """A line with the packages that the build added for the product, if it had to."""
    added = loading.system_packages()
    return f"for the product: {', '.join(' '.join(package) for package in added.items())}\n" if added else ""


def _only_check(request: Request, log: Log) -> Ending:
    """--check and --check-recipe: nothing is written, and nothing outside the image is read but the recipe."""
    chosen = settings.understand(request, os.environ)
    signals = Signals()
    if request.action == "--check-recipe":
        path = recipe.locate(request.argument)
        recipe.check(path, chosen.options.engine, signals.check)
        return Ending(DONE, f"the recipe {path} can be used")
    if chosen.recipe != INSPECT:
        recipe.check(recipe.locate(chosen.recipe), chosen.options.engine, signals.check)
    api = loading.find_api()
    report_preflight(api, loading.finish_probe(loading.start_probe(api)), log)
    error = loading.import_error(signals.check)
    if error:
        raise NoApi(loading.diagnosis(api, error))
    return Ending(DONE, "isx can be imported: the image is sound")


def _with_the_output(request: Request, log: Log, until_the_end: contextlib.ExitStack) -> Ending:
    """A run or a gather step. Holds the output until the sentinel is written."""
    gathering = request.action == "--gather"
    heart, signals = Heart(), Signals()
    chosen = _understood(request)
    output, shard = chosen.output_dir, chosen.shard
    _refuse_sentinel_among_results(chosen, signals.check)
    sentinels.refuse_foreign_unopened(chosen.sentinel, output, shard)
    if not (shard or gathering) and (scheduled := shards.unasked(os.environ)):
        log("not-sharded", scheduled)
    try:
        if not chosen.output_in_container:
            refuse_container_layer(output)
            refuse_sentinel_in_container(chosen.sentinel, output)
        with writing(output):
            output.mkdir(parents=True, exist_ok=True)
            held = until_the_end.enter_context(output_folder.hold(output))
            lock = locked(held, shard, lambda text: log("lock", text, "warning"))
            until_the_end.enter_context(lock)
            check_own_folders(held)
            if chosen.metrics:
                log.followers.append(metrics.Metrics(held, shard, log))
        with writing(chosen.sentinel.parent):
            sentinel_folder = until_the_end.enter_context(sentinels.folder_of(chosen.sentinel, held))
    except OutputInUse:
        raise  # the sentinel is the other run's
    except RunError as error:
        of_another_user = isinstance(error.__cause__, PermissionError)  # whose results stay as they are, and count
        if not of_another_user or places.below(chosen.sentinel.parent, output) is None:
            with contextlib.suppress(RunError):  # the first reason is the better one
                sentinels.remove_unopened(chosen.sentinel, output, shard, gathering)
        raise
    sentinel = chosen.sentinel.name
    sentinels.remove_stale(sentinel_folder, sentinel, shard, gathering)
    state = RunState(chosen, held, sentinel_folder, log, heart, signals, loading.find_api())
    if gathering:
        from runner.gather import gather

        ending = gather(state, request)
    else:
        ending = run(state)
    ending.sentinel = sentinel_folder, sentinels.of_shard(sentinel, shard) if shard else sentinel
    return ending


def _understood(request: Request) -> Settings:
    """Raises UsageError that names what is wrong with the places too; only then does a stale sentinel stay."""
    refused = places.problems(request.input_dir, request.output_dir, request.sentinel)
    if not refused:
        try:
            sentinels.refuse_foreign_unopened(request.sentinel, request.output_dir)
        except UsageError as error:
            refused = [str(error)]
        refused += filter(None, [places.foreign_report(request.output_dir)])
    request.problems[:0] = refused
    try:
        return settings.understand(request, os.environ)
    except UsageError:
        if not refused:
            sentinels.remove_unopened(request.sentinel, request.output_dir)
        raise


def _refuse_sentinel_among_results(chosen: Settings, tick: Callable[[], None]) -> None:
    """Refuse a sentinel among results: which folders hold results is known only now. Raises UsageError."""
    if places.below(chosen.sentinel.parent, chosen.output_dir):
        with contextlib.suppress(NoInput):  # said when the output is open
            discovery = find_recordings(chosen, tick)
            places.refuse_among(places.possible_results(discovery.recordings), chosen.sentinel, chosen.output_dir)
