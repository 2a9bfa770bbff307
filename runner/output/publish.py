"""Results appear whole or not at all, and in nobody's place."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from recording.names import STEPS, is_product, join
from runner import edits
from runner.output_folder import EVERYBODY, Folder
from runner.own import OVERVIEW_NOTE
from runner.recordings import Recording
from runner.records import Record, write_record

MAX_JSON = 64 << 20  # bytes of a <stem>.json that are looked at


class BadProducts(Exception):
    """A worker lists products that it did not write."""


def checked_products(listed: Iterable[str], staging: Path, stem: str) -> dict[str, int]:
    """The products that a worker lists, by name, with their sizes in bytes. Raises BadProducts."""
    names = sorted(set(listed))
    if f"{stem}.json" not in names:
        raise BadProducts(f"its worker wrote no {stem}.json")
    for name in names:
        if not is_product(name) or not (staging / name).is_file() or (staging / name).is_symlink():
            raise BadProducts(f"its worker lists {name}, but wrote no such file")
    return {name: (staging / name).stat().st_size for name in names}


def publish(output: Folder, staging: Path, recordings: Sequence[Recording], record: Record, old: Record | None) -> None:
    """Move the products from staging to where they belong, `<stem>.json` last.

    Whenever this is cut short, `<stem>.json` is missing or a record says "publishing": a re-run does it all again.
    Products of the earlier record that are no longer written are removed; files that it does not list are left alone.
    """
    last = f"{record.results.rpartition('/')[2]}.json"
    names = [name for name in record.products if name != last]
    stale = set(old.products) - set(record.products) if old and old.results == record.results else set()
    for name in record.products:
        _sync(staging / name)
    everything = {**dict.fromkeys(stale, 0), **record.products}
    prints = edits.of_either(old, record)
    output.remove(OVERVIEW_NOTE)
    write_record(output, recordings, replace(record, status="publishing", products=everything, prints=prints))
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
