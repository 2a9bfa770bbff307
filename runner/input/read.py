"""The input of a run: the recordings that there are, what each is, and the sessions that they make."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from common.ownership import why_unread
from recording.kinds import SUFFIXES
from runner import places, shards
from runner.endings import NoInput
from runner.events import MANY, Log, counted, listed
from runner.input import beside
from runner.input.beside import Beside
from runner.input.discover import Discovery, discover
from runner.input.relate import Related, look_at_all
from runner.own import RESERVED
from runner.recordings import Recording
from runner.settings import Settings
from runner.shards import Shard
from runner.state import Conditions, RunState
from study.relations import Session


@dataclass(frozen=True)
class Input:
    """What a run, or a shard, works on."""

    root: Path
    related: Related  # all recordings, those of other shards too
    sessions: Sequence[Session]
    broken: Sequence[Recording]  # that cannot be read
    beside: Beside

    @property
    def recordings(self) -> list[Recording]:
        """Recordings in order of their paths."""
        paths = [path for session in self.sessions for path in session.members]
        return [self.related.recordings[path] for path in sorted([*paths, *(one.relative for one in self.broken)])]


def understand(discovery: Discovery, conditions: Conditions, copies: Path, state: RunState) -> Input:
    """What the recordings that were found are. Raises BadSessions, BadMetadata, Unwritable, Stopped."""
    settings = state.settings
    related = look_at_all(discovery.recordings, taken_names(settings), conditions, state)
    sessions, broken = _shard_of(related, settings.shard) if settings.shard else _all_of(related)
    tables, for_nwb = conditions.recipe.beside, copies if conditions.nwb else None
    here = beside.read(settings.input_dir, related, tables, for_nwb, state.tick)
    return Input(settings.input_dir, related, sessions, broken, here)


def find_recordings(settings: Settings, tick: Callable[[], None]) -> Discovery:
    """Raises NoInput."""
    folder = settings.input_dir
    try:
        is_folder, exists = folder.is_dir(), folder.exists()
    except OSError as error:
        raise NoInput(f"the input {folder} cannot be examined: {why_unread(folder, error)}") from error
    if not is_folder:
        what = "is not a folder" if exists else "does not exist"
        raise NoInput(f"the input {folder} {what}: mount the recordings there, or set INPUT_DIR")
    return discover(folder, settings.output_dir, taken_names(settings), tick)


def taken_names(settings: Settings) -> frozenset[str]:
    """Names at the top of the output that no recording's results may have."""
    at_the_top = places.below(settings.sentinel.parent, settings.output_dir) == ""
    return RESERVED | {settings.sentinel.name} if at_the_top else RESERVED


def refuse_without_recordings(discovery: Discovery, folder: Path) -> None:
    """Raises NoInput that names the other files there."""
    if discovery.recordings:
        return
    message = f"no recording found in {folder}: looked for {', '.join(SUFFIXES)}"
    if discovery.left_out:
        message += f"; {_named_left_out(discovery)}"
    if discovery.others:
        seen = ", ".join(f"{count} {suffix or 'without suffix'}" for suffix, count in discovery.others.most_common(5))
        message += f" and found only other files ({seen})"
    if discovery.unreadable:
        message += "".join(f"; {below}: {reason}" for below, reason in discovery.unreadable[:MANY])
    elif not discovery.others and not discovery.left_out:
        message += "; it is empty: is the right folder mounted? In a clone, make demo simulates a recording"
    raise NoInput(message)


# ---- what the log says of it


def report(discovery: Discovery, input: Input, shard: Shard | None, log: Log) -> None:
    """How much there is, what is left out, and which recordings are one session."""
    n_selected = len(input.recordings)
    log(
        "found",
        f"{counted(len(discovery.recordings), 'recording')} in {input.root}"
        + (f", {n_selected} in shard {shard}" if shard else ""),
        recordings=len(discovery.recordings),
        selected=n_selected,
    )
    report_left_out(discovery, log)
    for sentence in input.beside.unread:
        log("unread", sentence, "warning")
    _report_sessions(input.related, input.sessions, log)


def report_left_out(discovery: Discovery, log: Log) -> None:
    """Nothing is passed over in silence: recordings that cannot be read, and folders that are not looked into."""
    if discovery.left_out:
        paths = [path for path, _ in discovery.left_out]
        log("left-out", _named_left_out(discovery), "warning", paths=paths)
    if discovery.system:
        names = [f"{name} ({count} times)" if count > 1 else name for name, count in sorted(discovery.system.items())]
        message = f"folders of the operating system or of the storage are skipped: {', '.join(names)}"
        log("system-folders", message, folders=dict(discovery.system))


def _named_left_out(discovery: Discovery) -> str:
    by_reason: dict[str, list[str]] = {}
    for path, reason in discovery.left_out:
        by_reason.setdefault(reason, []).append(path)
    named = "; ".join(f"{listed(paths)}: {reason}" for reason, paths in by_reason.items())
    count = len(discovery.left_out)
    return f"{counted(count, 'recording')} {'is' if count == 1 else 'are'} left out: {named}"


def _report_sessions(related: Related, mine: Sequence[Session], log: Log) -> None:
    """Which recordings are one session and why, and what looks like one and is none."""
    for session in mine:
        if len(session.members) > 1:
            name = related.folders[session.parts[0]]
            said = f"{name} is one session of {counted(len(session.members), 'recording')}"
            log("session", f"{said}: {'; '.join(session.reasons)}", members=list(session.members))
    for miss in related.study.near_misses:
        log("near-miss", miss, "warning")


# ---- whose part


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
