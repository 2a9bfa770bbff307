"""From recordings to sessions: the pre-check of each, sessions that somebody wrote down, and where results go."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from common.ownership import rights_forbid
from native import loading
from recording.errors import BadRecording
from recording.findings import RecordingInfo
from recording.names import join
from runner import records
from runner.endings import USAGE, UsageError
from runner.input import precheck
from runner.input.discover import name_results
from runner.recordings import Recording
from runner.state import Conditions, RunState
from study.relations import Said, Study, relate

SESSIONS = "sessions.toml"
READER = (sys.executable, "-m", "pipeline.sessions_file")
READER_SECONDS = 300


class BadSessions(UsageError):
    """A sessions.toml cannot be used; the message has a line for each mistake."""

    what = "sessions"


@dataclass(frozen=True)
class Related:
    """All recordings of a run, and the sessions that they make."""

    recordings: Mapping[str, Recording]  # by relative path
    infos: Mapping[str, RecordingInfo]  # of those that can be read
    problems: Mapping[str, str]  # of the others: why not
    study: Study
    folders: Mapping[str, str]  # of results: by the path of a session's first part; relative to the output
    own: Mapping[str, str] = field(default_factory=dict)  # and of each recording, where it is worked on by itself

    @cached_property
    def owners(self) -> dict[str, str]:
        """For each folder of results, the recording or first part to which they belong."""
        places = [*self.own.items(), *self.folders.items()]
        return {folder: path for path, folder in places}


def look_at_all(
    recordings: Sequence[Recording], taken: frozenset[str], conditions: Conditions, state: RunState
) -> Related:
    """Pre-check every recording, whichever shard it is of, and relate them. Raises BadSessions, Stopped."""
    checker = precheck.Checker(state.tick)
    infos: dict[str, RecordingInfo] = {}
    problems: dict[str, str] = {}
    try:
        for recording in recordings:
            state.tick()
            try:
                infos[recording.relative] = _look_at(recording, checker, conditions, state)
            except BadRecording as error:
                problems[recording.relative] = error.reason
    finally:
        checker.stop()
    study = relate(infos, _said(recordings, state))
    folders, own = folders_of(recordings, study, taken)
    return Related({one.relative: one for one in recordings}, infos, problems, study, folders, own)


def _look_at(recording: Recording, checker: precheck.Checker, conditions: Conditions, state: RunState) -> RecordingInfo:
    """What an earlier run found, if nothing has changed since, need not be looked for again. Raises BadRecording."""
    path = state.settings.input_dir / recording.relative
    if recording.problem:
        raise BadRecording(path, recording.problem)
    record = None if state.settings.force else records.read_record(state.output, recording)
    known = record and records.info_from_record(path, recording, record, conditions.code)
    if known:
        return known
    try:
        str(path).encode("utf-8")
    except UnicodeEncodeError:
        raise BadRecording(path, "its name is not valid UTF-8, which the library needs: rename it") from None
    try:
        return checker.check(path)
    except BadRecording as error:
        raise BadRecording(path, unchanged_input(recording, path) or rights_forbid(path) or error.reason) from None


def unchanged_input(recording: Recording, path: Path) -> str:
    """ "" if the input is as it was when the run began, else what happened to it."""
    try:
        now = path.stat()
    except OSError as error:
        return f"it disappeared during the run ({error.strerror}); put it back and run again"
    if (now.st_size, now.st_mtime_ns) != (recording.size, recording.mtime_ns):
        return "it changed during the run; run again when nothing writes to it"
    return ""


# ---- sessions by hand


def _said(recordings: Sequence[Recording], state: RunState) -> list[Said]:
    """Raises BadSessions."""
    root = state.settings.input_dir
    files = {folder: root / folder / SESSIONS for folder in sorted(_with_parents({one.folder for one in recordings}))}
    files = {folder: path for folder, path in files.items() if os.path.lexists(path)}
    odd = [str(path) for path in files.values() if not path.is_file()]
    if odd:  # nobody must wait for a FIFO
        raise BadSessions("\n".join(f"{path}:1: is not a file" for path in odd))
    if not files:
        return []
    said = read_sessions(list(files.values()), state.tick)
    by_file = {str(path): folder for folder, path in files.items()}
    listed = [
        Said(by_file[entry["file"]], tuple(entry["recordings"]), entry["name"], f"{SESSIONS}:{entry['line']}")
        for entry in said
    ]
    _refuse_what_is_not_there(listed, recordings, root)
    return listed


def read_sessions(files: Sequence[Path], tick: Callable[[], None]) -> list[dict[str, object]]:
    """Asked of a process of its own: PID 1 knows no TOML. Raises BadSessions with every mistake."""
    try:
        answer = loading.ask((*READER, *map(str, files)), READER_SECONDS, tick, precheck.memory())
    except subprocess.TimeoutExpired:
        raise BadSessions(f"{files[0]}:1: cannot be read within {READER_SECONDS} s") from None
    if answer.returncode == USAGE:
        raise BadSessions(answer.stderr.strip())
    if answer.returncode:
        raise BadSessions(f"{files[0]}:1: cannot be read: the process ended early: {loading.ending(answer.returncode)}")
    return [json.loads(line) for line in answer.stdout.splitlines()]


def _refuse_what_is_not_there(listed: Sequence[Said], recordings: Sequence[Recording], root: Path) -> None:
    """A name that no recording has is a mistake, and so is a recording in two sessions. Raises BadSessions."""
    there = {one.relative for one in recordings}
    owner: dict[str, str] = {}
    mistakes = []
    for said in listed:
        place = root / said.folder / said.where
        for path in (join(said.folder, name) for name in said.recordings if not set("*?[") & set(name)):
            if path not in there:
                mistakes.append(f"{place}: there is no recording {path}")
            elif path in owner:
                mistakes.append(f"{place}: {path} is also in another session, that of {owner[path]}")
            owner.setdefault(path, said.where)
    if mistakes:
        raise BadSessions("\n".join(mistakes))


def _with_parents(folders: Iterable[str]) -> set[str]:
    all_folders = {""}
    for folder in folders:
        while folder and folder not in all_folders:
            all_folders.add(folder)
            folder = folder.rpartition("/")[0]
    return all_folders


# ---- where results go


def folders_of(
    recordings: Sequence[Recording], study: Study, taken: frozenset[str]
) -> tuple[dict[str, str], dict[str, str]]:
    """Folders of results, of sessions and of recordings that are worked on by themselves; no two are one.

    A session of several recordings is named like a recording that has its name; one of a single recording has that's.
    """
    there = {one.relative for one in recordings}
    stands_in: dict[str, str] = {}  # by the path of the session's first part
    for session in study.sessions:
        wanted = join(session.folder, f"{session.name}.isxd")
        if wanted in there and wanted not in session.members:
            wanted = join(session.folder, f"{session.name}.session")
        stands_in[session.parts[0]] = session.parts[0] if len(session.members) == 1 else wanted
    pretended = [Recording(path) for path in dict.fromkeys(stands_in.values()) if path not in there]
    named = {one.relative: one.results for one in name_results([*recordings, *pretended], taken)}
    own = {path: folder for path, folder in named.items() if path in there}
    return {first: named[path] for first, path in stands_in.items()}, own
