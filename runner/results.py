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
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from recording.formats import RecordingInfo
from recording.names import join, short
from runner.discover import Recording
from runner.endings import OutputInUse
from runner.shards import Shard

RECORDS, STAGING, KEPT, LOCK = ".records", ".staging", "kept", ".lock"
INFO = ("n_samples", "period_s", "width", "height", "pixel_um", "names")
NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}


@dataclass
class Record:
    """What became of one input."""

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
    info: dict[str, Any] = field(default_factory=dict)  # what series are recognised by
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
    """The record that an earlier run left for this input; None if there is none that can be relied on."""
    try:
        return Record(**json.loads(_record_path(output, recording).read_bytes()))
    except (OSError, ValueError, TypeError):
        return None


def write_record(output: Path, recordings: Iterable[Recording], record: Record) -> None:
    """One copy for each input of a series, so that every input can be looked up by its own path."""
    content = json.dumps(asdict(record), separators=(",", ":")).encode()
    for recording in recordings:
        path = _record_path(output, recording)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content)


def is_complete(output: Path, record: Record) -> bool:
    """Whether every product that the record lists is there in full."""
    folder = output / record.results
    try:
        return record.status == "done" and all(
            (folder / name).stat().st_size == size for name, size in record.products.items()
        )
    except OSError:
        return False


def info_to_json(info: RecordingInfo) -> dict[str, Any]:
    """The part of a pre-check's findings by which series are recognised."""
    return {**{name: getattr(info, name) for name in INFO}, "start": info.start.isoformat() if info.start else None}


def info_from_record(path: Path, record: Record) -> RecordingInfo | None:
    """The inverse of info_to_json: a recording that is done need not be opened again."""
    try:
        stored = {name: tuple(value) if isinstance(value, list) else value for name, value in record.info.items()}
        start = stored.pop("start")
        stored["start"] = datetime.fromisoformat(start) if start else None
        return RecordingInfo(path, record.kind, *record.stamps[record.inputs[0]], **stored)
    except (KeyError, TypeError, ValueError):
        return None


def _record_path(output: Path, recording: Recording) -> Path:
    return output / RECORDS / join(recording.folder, short(recording.relative.rpartition("/")[2]) + ".json")


# ---- writing


def write_atomically(path: Path, content: bytes) -> None:
    """Under a temporary name, to disk, then renamed: readers see the old content or the new, after a crash too."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with temporary.open("wb") as file:
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
    folder = output / record.results
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
    folder = output / record.results
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
    """Usable by whoever may write here, as runs may come from different users."""
    with contextlib.suppress(FileNotFoundError):
        return os.open(path, os.O_RDWR)
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    with contextlib.suppress(OSError):
        os.fchmod(fd, 0o666)
    return fd


@contextlib.contextmanager
def staging(output: Path, shard: Shard | None) -> Iterator[Path]:
    """A folder of this run's own, in which a small file has been written for proof. The lock must be held.

    Raises OSError. The folder is removed at the end. Leftovers of a killed run go first.
    """
    _clean_staging(output, shard)
    folder = output / STAGING / f"{shard.name if shard else 'all'}.{os.getpid()}.{time.time_ns()}"
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
        for left in list((output / STAGING).iterdir()):
            if left.name != KEPT and (shard is None or left.name.startswith(f"{shard.name}.")):
                remove_tree(left)


def remove_empty_staging(output: Path) -> None:
    """Only for who has the output alone: a shard may just be making a folder in one that looks empty."""
    for folder, _, _ in os.walk(output / STAGING, topdown=False):
        with contextlib.suppress(OSError):
            Path(folder).rmdir()


def kept_steps(output: Path, results: str) -> Path:
    """Where a recipe's finished steps outlast a run that did not come to its end; never one such folder in another."""
    return output / STAGING / KEPT / short(results.replace("%", "%25").replace("/", "%2F"))


def forget_kept_steps(output: Path, results: str) -> None:
    """They are published, or no longer wanted."""
    remove_tree(kept_steps(output, results))


def remove_tree(folder: Path) -> None:
    """Without complaint: what cannot be removed is no reason to fail."""
    shutil.rmtree(folder, ignore_errors=True)
