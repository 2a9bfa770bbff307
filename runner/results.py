"""Results on disk: appear whole or not at all, are found again, and are done only once.

Beside the results, the output folder holds
- `.records/<input's path>.json`: what became of each input, and from what its results were made;
- `.staging/<run>/`: unfinished results, on the same file system so that a rename suffices;
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
import shutil
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from recording.findings import RecordingInfo, info_of
from recording.kinds import KINDS
from recording.message import Malformed, Message
from recording.names import short
from runner import inside
from runner.discover import Recording
from runner.endings import OutputInUse
from runner.shards import Shard

RECORDS, STAGING, KEPT, LOCK = ".records", ".staging", "kept", ".lock"
NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}


@dataclass
class Record(Message):
    """The fate of one input."""

    inputs: list[str]  # relative paths; several for a series
    status: str  # "done", "failed" or "publishing"
    kind: str = ""
    reason: str = ""
    fingerprint: str = ""
    results: str = ""  # folder, relative to the output
    products: dict[str, int] = field(default_factory=dict)  # file names in it, and their sizes in bytes
    summary: str = ""
    thumbnail: str | None = None  # base64 of a PNG
    warnings: list[str] = field(default_factory=list)
    seconds: float = 0.0
    info: dict[str, Any] = field(default_factory=dict)  # findings of the pre-check, of the first
    stamps: dict[str, list[int]] = field(default_factory=dict)  # of each input: bytes, time of change in ns


# ---- records of earlier runs


def digest(content: object) -> str:
    """SHA-256 of anything that JSON can hold."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def fingerprint(recordings: Iterable[Recording], conditions: Mapping[str, object]) -> str:
    """Equal for equal inputs (path, size, time stamp), recipe, options and software."""
    inputs = [[recording.relative, recording.size, recording.mtime_ns] for recording in recordings]
    return digest({"inputs": inputs, **conditions})


def read_record(output: Path, recording: Recording) -> Record | None:
    """The record that an earlier run left for this input; None if there is none that can be relied on.

    Others may have written it: it is checked as any input is.
    """
    try:
        record = Record.from_json(inside.read(inside.place(output, recording.noted_in(RECORDS, ".json"))))
    except (OSError, Malformed):
        return None
    return record if _is_sound(record) and recording.relative in record.inputs else None


def _is_sound(record: Record) -> bool:
    """Whether every name is that of something in the output, and all else what a run may have written."""
    return (
        all(map(_is_name, (*record.products, *(record.results.split("/") if record.results else ()))))
        and (record.status != "done" or bool(record.results and record.kind in KINDS))
        and (record.thumbnail is None or re.fullmatch(r"[A-Za-z0-9+/=]*", record.thumbnail) is not None)
    )


def _is_name(text: str) -> bool:
    """Of one visible file or folder: neither hidden, as the run's own are, nor a way out."""
    return bool(text) and not text.startswith(".") and "/" not in text and "\0" not in text


def write_record(output: Path, recordings: Iterable[Recording], record: Record) -> None:
    """One copy for each input of a series, so that every input can be looked up by its own path."""
    for recording in recordings:
        path = inside.place(output, recording.noted_in(RECORDS, ".json"))
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, record.to_json())


def is_complete(output: Path, record: Record) -> bool:
    """Whether every product that the record lists is there in full."""
    try:
        folder = inside.reach(output, record.results)
        return record.status == "done" and all(
            (folder / name).lstat().st_size == size for name, size in record.products.items()
        )
    except OSError:
        return False


def info_from_record(path: Path, record: Record) -> RecordingInfo | None:
    """A recording that is done need not be opened again."""
    try:
        return info_of(path, record.info)
    except ValueError:
        return None


# ---- writing


def write_atomically(path: Path, content: bytes) -> None:
    """Under a temporary name, to disk, then renamed: readers see the old content or the new, after a crash too."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with open(inside.create(temporary), "wb") as file:  # noqa: PTH123 - a descriptor
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    sync_folder(path.parent)


def publish(output: Path, staging: Path, recordings: Sequence[Recording], record: Record, old: Record | None) -> None:
    """Move the products from staging to where they belong, `<stem>.json` last.

    Whenever this is cut short, `<stem>.json` is missing or the record says "publishing": a re-run does it all again.
    Products of the earlier record that are no longer written are removed; files that it does not list are left alone.
    """
    folder = inside.reach(output, record.results)
    last = f"{folder.name}.json"
    names = [name for name in record.products if name != last]
    stale = set(old.products) - set(record.products) if old and old.results == record.results else set()
    for name in record.products:
        _sync(staging / name)
    everything = {**dict.fromkeys(stale, 0), **record.products}
    write_record(output, recordings, Record(**{**asdict(record), "status": "publishing", "products": everything}))
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileNotFoundError):
        (folder / last).unlink()
    for name in stale:
        with contextlib.suppress(FileNotFoundError):
            (folder / name).unlink()
    for name in names:
        (staging / name).replace(folder / name)
    sync_folder(folder)
    (staging / last).replace(folder / last)
    sync_folder(folder)
    write_record(output, recordings, record)


def withdraw(output: Path, record: Record) -> None:
    """Remove the products that a record lists, `<stem>.json` first, and their folder if nothing else is in it."""
    folder = inside.reach(output, record.results)
    for name in sorted(record.products, key=lambda name: name != f"{folder.name}.json"):
        (folder / name).unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        folder.rmdir()


def sync_folder(folder: Path) -> None:
    """Make renames in a folder last. Some network file systems cannot, and need not."""
    with contextlib.suppress(OSError):
        _sync(folder)


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


# ---- who works here


@contextlib.contextmanager
def locked(output: Path, shard: Shard | None, warn: Callable[[str], None]) -> Iterator[None]:
    """Hold the output, or this shard of it, for as long as the block runs. Raises OutputInUse, OSError.

    Shards share the output's lock and each holds its own; a whole run or a gather step wants the output alone. The
    kernel lets go when the process ends, however it ends.
    """
    with contextlib.ExitStack() as stack:
        wanted = [(LOCK, fcntl.LOCK_SH if shard else fcntl.LOCK_EX)]
        if shard:
            wanted.append((f"{LOCK}-{shard.name}", fcntl.LOCK_EX))
        for name, how in wanted:
            fd = _open_lock(output / name)
            stack.callback(os.close, fd)
            try:
                fcntl.flock(fd, how | fcntl.LOCK_NB)
            except BlockingIOError:
                what = f"shard {shard} of {output}" if name != LOCK else str(output)
                raise OutputInUse(
                    f"another run is working on {what}: wait for it, stop it, or give this one another output folder"
                ) from None
            except OSError as error:
                if error.errno not in NO_LOCKS:
                    raise
                warn(f"{output} cannot be locked ({error.strerror}): take care that no other run works on it")
        yield


def _open_lock(path: Path) -> int:
    """Usable by whoever may write to its folder, as runs may come from different users, and by nobody else.

    Who can open a file can lock it, even for reading only. Raises OSError.
    """
    how = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:  # a kernel may refuse to create what is there already in a folder such as /tmp
        fd = os.open(path, how)
    except FileNotFoundError:
        fd = os.open(path, how | os.O_CREAT, 0o600)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.EINVAL, "it is not a regular file: remove it", str(path))
    folder = path.parent.stat()
    for change in (
        lambda: os.fchown(fd, -1, folder.st_gid),
        lambda: os.fchmod(fd, 0o600 | (folder.st_mode & 0o022) * 3),  # w is 2, rw is 6
    ):
        with contextlib.suppress(OSError):  # another user's
            change()
    return fd


@contextlib.contextmanager
def staging(output: Path, shard: Shard | None) -> Iterator[Path]:
    """A folder of this run's own, in which a small file has been written for proof. The lock must be held.

    Raises OSError. The folder is removed at the end. Leftovers of a killed run go first.
    """
    _clean_staging(output, shard)
    folder = inside.reach(output, f"{STAGING}/{shard.name if shard else 'all'}.{os.getpid()}.{time.time_ns()}")
    try:
        folder.mkdir(parents=True)
        proof = folder / "proof"
        proof.write_bytes(bytes(4096))
        proof.unlink()
        yield folder
    finally:
        remove_tree(folder)
        if not shard:
            remove_empty_staging(output)


def _clean_staging(output: Path, shard: Shard | None) -> None:
    """Remove leftovers of a killed run: all, or those of the same shard."""
    with contextlib.suppress(FileNotFoundError):
        for left in list(inside.reach(output, STAGING).iterdir()):
            if left.name != KEPT and (shard is None or left.name.startswith(f"{shard.name}.")):
                remove_tree(left)


def remove_empty_staging(output: Path) -> None:
    """Only for who has the output alone: a shard may just be making a folder in one that looks empty."""
    for folder, _, _ in os.walk(inside.reach(output, STAGING), topdown=False):
        with contextlib.suppress(OSError):
            Path(folder).rmdir()


def kept_steps(output: Path, results: str) -> Path:
    """Where a recipe's finished steps outlast a run that did not come to its end; never one such folder in another."""
    return inside.reach(output, f"{STAGING}/{KEPT}/{short(results.replace('%', '%25').replace('/', '%2F'))}")


def remove_tree(folder: Path) -> None:
    """Without complaint: what cannot be removed is no reason to fail."""
    shutil.rmtree(folder, ignore_errors=True)
