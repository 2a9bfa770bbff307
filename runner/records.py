"""What became of each input, on record in the output: `.records/<input's path>.json`."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from protocol.findings import info_of
from protocol.job import Room
from protocol.message import Malformed, Message
from recording.findings import RecordingInfo
from recording.kinds import KINDS
from recording.names import is_product, is_visible
from runner.output_folder import Folder
from runner.own import RECORDS
from runner.recordings import Recording

CELLS = "-cells.csv"  # what a product's table of cells ends in


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
    sessions: list[str] = field(default_factory=list)  # of an animal: folders of the results of those followed
    rooms: list[Room] = field(default_factory=list)  # in products, for the numbers of an animal's cells
    followed: str = ""  # the animal whose numbers are in the products: see runner/animals/numbers.py
    numbers: str = ""  # what they came from; "" while they are written
    sizes: dict[str, list[int]] = field(default_factory=dict)  # of products, in bytes, with these numbers in them
    inspected: bool = False  # if failed: the results are what `inspect` makes of the input as it is


def digest(content: object) -> str:
    """SHA-256 of anything that JSON can hold."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def fingerprint(recordings: Iterable[Recording], conditions: Mapping[str, object]) -> str:
    """Digest that is equal for equal inputs (path, size, time stamp), recipe, options and software."""
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
        and all(room.file in record.products and min(room.offset, room.n) >= 0 for room in record.rooms)
        and (not record.followed or is_visible(record.followed))
        and all(map(is_visible, record.results.split("/") if record.results else ()))
        and (record.status != "done" or bool(record.results and record.kind in KINDS))
        and (record.thumbnail is None or re.fullmatch(r"[A-Za-z0-9+/=]*", record.thumbnail) is not None)
    )


def write_record(output: Folder, recordings: Iterable[Recording], record: Record) -> None:
    """One copy for each input, so that every input can be looked up by its own path."""
    for recording in recordings:
        output.write(recording.noted_in(RECORDS, ".json"), record.to_json())


def table_of_cells(record: Record) -> str:
    """The table of the cells that are followed, among the products; "" if there is none."""
    tables = [name for name in record.products if name.endswith(CELLS) and "/" not in name]
    return min(tables, key=lambda name: (len(name), name), default="")


def is_complete(output: Folder, record: Record) -> bool:
    """Whether the input is done, and every product is there."""
    return record.status == "done" and are_there(output, record)


def are_there(output: Folder, record: Record) -> bool:
    """Whether every product that the record lists is there in full."""
    try:
        with output.folder(record.results) as folder:
            return all(
                folder.status(name).st_size in record.sizes.get(name, [size]) for name, size in record.products.items()
            )
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
