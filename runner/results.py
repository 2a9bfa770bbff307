"""Results on disk: appear whole or not at all, are found again, and are done only once.

Beside the results, the output folder holds
- `.records/<input's path>.json`: what became of each input, and from what its results were made;
- `.staging/<run>/`: unfinished results, on the same file system so that a rename suffices, and closed to other users;
- `.staging/kept/<results>/`: the finished steps of a recipe that did not come to its end, for the next run;
- `.lock`, and one more for each shard: who works here.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from protocol.findings import info_of
from protocol.message import Malformed, Message
from recording.findings import RecordingInfo
from recording.kinds import KINDS
from recording.names import STEPS, is_product, is_visible, join, short
from runner.discover import Recording
from runner.endings import OutputInUse
from runner.inside import EVERYBODY, ONLY_MINE, Folder
from runner.own import KEPT, LOCK, LOGS, RECORDS, STAGING
from runner.shards import Shard

MAX_JSON = 64 << 20  # bytes of a <stem>.json that are looked at
NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}


@dataclass
class Record(Message):
    """The fate of one input."""

    inputs: list[str]  # relative paths; several for a session, its parts first
    status: str  # "done", "failed" or "publishing"
    kind: str = ""
    reason: str = ""
    fingerprint: str = ""
    results: str = ""  # folder, relative to the output
    products: dict[str, int] = field(default_factory=dict)  # file names in it, and their sizes in bytes
    summary: str = ""
    thumbnail: str | None = None  # base64 of a PNG
    warnings: list[str] = field(default_factory=list)
    advice: list[str] = field(default_factory=list)  # what a lab has not written yet
    seconds: float = 0.0
    parts: int = 0  # how many of the inputs are parts of one recording
    animal: str = ""
    start: str = ""  # of the session, ISO 8601
    code: str = ""  # digest of the code that found and made this
    infos: dict[str, Any] = field(default_factory=dict)  # of each input: findings of the pre-check
    stamps: dict[str, list[int]] = field(default_factory=dict)  # of each input: bytes, time of change in ns
    recipe: str = ""  # that made the results
    prints: dict[str, list[Any]] = field(default_factory=dict)  # of products that people edit: see runner/edits.py
    inspected: bool = False  # if failed: the results are what `inspect` makes of the input as it is


# ---- records of earlier runs


def digest(content: object) -> str:
    """SHA-256 of anything that JSON can hold."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def fingerprint(recordings: Iterable[Recording], conditions: Mapping[str, object]) -> str:
    """Equal for equal inputs (path, size, time stamp), recipe, options and software."""
    inputs = [[recording.relative, recording.size, recording.mtime_ns] for recording in recordings]
    return digest({"inputs": inputs, **conditions})


def read_record(output: Folder, recording: Recording) -> Record | None:
    """The record that an earlier run left for this input; None if there is none that can be relied on.

    Others may have written it: it is checked as any input is.
    """
    try:
        record = Record.from_json(output.read(recording.noted_in(RECORDS, ".json")))
    except (OSError, Malformed):
        return None
    return record if _is_sound(record) and recording.relative in record.inputs else None


def _is_sound(record: Record) -> bool:
    """Whether every name is that of something in the output, and all else what a run may have written."""
    return (
        all(map(is_product, [*record.products, *record.prints]))
        and all(map(is_visible, record.results.split("/") if record.results else ()))
        and (record.status != "done" or bool(record.results and record.kind in KINDS))
        and (record.thumbnail is None or re.fullmatch(r"[A-Za-z0-9+/=]*", record.thumbnail) is not None)
    )


def write_record(output: Folder, recordings: Iterable[Recording], record: Record) -> None:
    """One copy for each input, so that every input can be looked up by its own path."""
    for recording in recordings:
        output.write(recording.noted_in(RECORDS, ".json"), record.to_json())


def is_complete(output: Folder, record: Record) -> bool:
    """Whether the input is done, and every product is there."""
    return record.status == "done" and are_there(output, record)


def are_there(output: Folder, record: Record) -> bool:
    """Whether every product that the record lists is there in full."""
    try:
        with output.folder(record.results) as folder:
            return all(folder.status(name).st_size == size for name, size in record.products.items())
    except OSError:
        return False


def info_from_record(path: Path, recording: Recording, record: Record, code: str) -> RecordingInfo | None:
    """What the same code found in it before, if it has not changed: it need not be opened again."""
    if record.code != code or record.stamps.get(recording.relative) != [recording.size, recording.mtime_ns]:
        return None
    try:
        return info_of(path, record.infos[recording.relative])
    except (KeyError, ValueError):
        return None


# ---- writing


def publish(output: Folder, staging: Path, recordings: Sequence[Recording], record: Record, old: Record | None) -> None:
    """Move the products from staging to where they belong, `<stem>.json` last.

    Whenever this is cut short, `<stem>.json` is missing or the record says "publishing": a re-run does it all again.
    Products of the earlier record that are no longer written are removed; files that it does not list are left alone.
    """
    last = f"{record.results.rpartition('/')[2]}.json"
    names = [name for name in record.products if name != last]
    stale = set(old.products) - set(record.products) if old and old.results == record.results else set()
    for name in record.products:
        _sync(staging / name)
    everything = {**dict.fromkeys(stale, 0), **record.products}
    write_record(output, recordings, Record(**{**asdict(record), "status": "publishing", "products": everything}))
    with output.folder(record.results, EVERYBODY) as folder:
        for name in (last, *stale):
            folder.remove(name)
        of_steps = [name for name in names if name.startswith(f"{STEPS}/")]
        if of_steps:
            with folder.folder(STEPS, EVERYBODY) as steps:
                steps.take_all(staging / name for name in of_steps)
        folder.take_all(staging / name for name in names if name not in of_steps)
        folder.take(staging / last)
        folder.sync()
        folder.remove_if_empty(STEPS)
    write_record(output, recordings, record)


def foreign(output: Folder, record: Record, old: Record | None) -> str:
    """A product in whose place stands a file that no run has put there, relative to the output; "" if there is none.

    The record of an earlier run lists what is its own; without one, `<stem>.json` vouches for what is beside it.
    Raises OSError.
    """
    known = old.products if old and old.results == record.results else {}
    new = [name for name in record.products if name not in known]
    with contextlib.suppress(FileNotFoundError), output.folder(record.results) as folder:
        for name in new:
            with contextlib.suppress(FileNotFoundError):
                folder.status(name)
                return "" if _vouches(folder, f"{folder.path.name}.json") else join(record.results, name)
    return ""


def _vouches(folder: Folder, name: str) -> bool:
    """Whether a worker wrote this `<stem>.json`."""
    try:
        with open(folder.open(name, os.O_RDONLY), "rb") as file:  # noqa: PTH123 - a descriptor
            content = file.read(MAX_JSON)
    except OSError:
        return False
    return b'"provenance"' in content and b'"fingerprint"' in content


def withdraw(output: Folder, record: Record) -> None:
    """Remove the products that a record lists, `<stem>.json` first, and their folder if nothing else is in it."""
    with contextlib.suppress(FileNotFoundError), output.folder(record.results) as folder:
        for name in sorted(record.products, key=lambda name: name != f"{folder.path.name}.json"):
            folder.remove(name)
        folder.remove_if_empty(STEPS)
    output.remove_if_empty(record.results)


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


# ---- who works here


@contextlib.contextmanager
def locked(output: Folder, shard: Shard | None, warn: Callable[[str], None]) -> Iterator[None]:
    """Hold the output, or this shard of it, for as long as the block runs. Raises OutputInUse, OSError.

    Shards share the output's lock and each holds its own; a whole run or a gather step wants the output alone. The
    kernel lets go when the process ends, however it ends.
    """
    with contextlib.ExitStack() as stack:
        wanted = [(LOCK, fcntl.LOCK_SH if shard else fcntl.LOCK_EX)]
        if shard:
            wanted.append((f"{LOCK}-{shard.name}", fcntl.LOCK_EX))
        for name, how in wanted:
            fd = _open_lock(output, name)
            stack.callback(os.close, fd)
            try:
                _flock(fd, how)
            except BlockingIOError:
                what = f"shard {shard} of {output.path}" if name != LOCK else str(output.path)
                raise OutputInUse(
                    f"another run is working on {what}: wait for it, stop it, or give this one another output folder"
                ) from None
            except OSError as error:
                if error.errno not in NO_LOCKS:
                    raise
                warn(f"{output.path} cannot be locked ({error.strerror}): take care that no other run works on it")
        yield


def _flock(fd: int, how: int) -> None:
    """Raises BlockingIOError if another run holds it.

    A run that was killed just now may hold it for a moment, in a child that has not started its program yet.
    """
    for _ in range(50):
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(fd, how | fcntl.LOCK_NB)
            return
        time.sleep(0.02)
    fcntl.flock(fd, how | fcntl.LOCK_NB)


def _open_lock(output: Folder, name: str) -> int:
    """Usable by whoever may write to its folder, as runs may come from different users, and by nobody else.

    Who can open a file can lock it, even for reading only. Raises OSError.
    """
    try:  # a kernel may refuse to create what is there already in a folder such as /tmp
        fd = output.open(name, os.O_RDWR)
    except FileNotFoundError:
        fd = output.open(name, os.O_RDWR | os.O_CREAT, 0o600)
    folder = os.fstat(output.fd)
    for change in (
        lambda: os.fchown(fd, -1, folder.st_gid),
        lambda: os.fchmod(fd, 0o600 | (folder.st_mode & 0o022) * 3),  # w is 2, rw is 6
    ):
        with contextlib.suppress(OSError):  # another user's
            change()
    return fd


def check_own_folders(output: Folder) -> None:
    """Raise OSError if a folder of the run's own, made by another user, cannot be written: nothing could be done.

    A link is not followed: it is each recording's affair.
    """
    pending = [STAGING, RECORDS, LOGS]
    while pending:
        name = pending.pop()
        try:
            folder = output.folder(name)
        except PermissionError:
            raise
        except OSError:
            continue
        with folder:
            if not os.access(".", os.W_OK | os.X_OK, dir_fd=folder.fd):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder.path))
            if name != STAGING and os.fstat(folder.fd).st_uid != os.getuid():
                pending += [join(name, below) for below in folder.folders()]


@contextlib.contextmanager
def staging(output: Folder, shard: Shard | None) -> Iterator[Folder]:
    """A folder of this run's own, closed to other users, in which a small file has been written for proof.

    The lock must be held. Raises OSError. The folder is removed at the end. Leftovers of a killed run go first.
    """
    _clean_staging(output, shard)
    name = f"{shard.name if shard else 'all'}.{os.getpid()}.{time.time_ns()}"
    with output.folder(STAGING, EVERYBODY) as parent, parent.folder(name, ONLY_MINE) as folder:
        try:
            folder.write("proof", bytes(4096))
            folder.remove("proof")
            yield folder
        finally:
            folder.empty()
            parent.remove_if_empty(name)
            if not shard:
                remove_empty_staging(output)


def _clean_staging(output: Folder, shard: Shard | None) -> None:
    """Remove leftovers of a killed run: all, or those of the same shard."""
    with contextlib.suppress(FileNotFoundError), output.folder(STAGING) as folder:
        for name in folder.names():
            if name != KEPT and (shard is None or name.startswith(f"{shard.name}.")):
                folder.remove_tree(name)


def remove_empty_staging(output: Folder) -> None:
    """Only for who has the output alone: a shard may just be making a folder in one that looks empty."""
    for parent in (f"{STAGING}/{KEPT}", STAGING, ""):
        with contextlib.suppress(OSError):
            for name in output.names(parent) if parent else [STAGING]:
                output.remove_if_empty(join(parent, name))


def kept_steps(output: Folder, results: str, staging: Folder) -> Folder | None:
    """Where a recipe's finished steps outlast a run that did not come to its end; never one such folder in another.

    None if others could write to it, or made it: what is in it would not be this user's own.
    """
    try:
        with output.folder(f"{STAGING}/{KEPT}", EVERYBODY) as parent:
            folder = parent.folder(_kept_name(results), ONLY_MINE)
    except OSError:
        return None
    found, mine = os.fstat(folder.fd), os.fstat(staging.fd)
    if found.st_uid == mine.st_uid and not found.st_mode & 0o022 & ~mine.st_mode:  # some disks have no permissions
        return folder
    folder.close()
    return None


def _kept_name(results: str) -> str:
    return short(results.replace("%", "%25").replace("/", "%2F"))


def forget_kept_steps(output: Folder, results: str) -> None:
    """They are published, or no longer wanted."""
    with contextlib.suppress(OSError), output.folder(f"{STAGING}/{KEPT}") as parent:
        parent.remove_tree(_kept_name(results))
