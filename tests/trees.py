"""Output folders, compared. Standard library only: tests/chaos.py uses it where no isx is."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

EARLIER = {"version": "0", "finished": "2026-01-01T00:00:00+00:00", "recordings": 1, "failed": 0, "shard": "1/1"}


def sentinel(shard: str = "1/1") -> str:
    """The content of one that an earlier run has left."""
    return json.dumps({**EARLIER, "shard": shard, "isx": {}}) + "\n"


def tree(output: Path) -> dict[str, bytes]:
    """Every file below a folder with its content, less what two runs may differ in: times, and who held the lock."""
    files = {path.relative_to(output).as_posix(): path for path in sorted(output.rglob("*")) if path.is_file()}
    return {
        name: _without_times(name, path.read_bytes()) for name, path in files.items() if not name.startswith(".lock")
    }


def without_times_of_steps(files: dict[str, bytes]) -> dict[str, bytes]:
    """A tree that a recipe left, without how long steps took, and when their inputs and products were written.

    Nor has it the sizes of files that hold such times.
    """
    times = re.compile(rb'(?<="seconds": )[\d.]+|(?<="modified": )"[^"]+"|\b\d{19}\b')
    sizes = re.compile(rb'(?<=\.json": )\d+|(?<=\.html": )\d+')
    timeless = {name: times.sub(b"0", data) if name.endswith(".json") else data for name, data in files.items()}
    return {name: sizes.sub(b"0", data) if name.startswith(".records/") else data for name, data in timeless.items()}


def _without_times(name: str, content: bytes) -> bytes:
    if name in ("done.marker", "index.html", ".records/.overview") or name.startswith("logs/"):
        return b"written"
    if name.endswith(".html"):  # what leads to other recordings, and compares with them, is written when all is done
        content = re.sub(rb"<!--(neighbours|others)-->.*?<!--/\1-->", b"", content, flags=re.DOTALL)
        return re.sub(rb", [\d.]+ s</small>", b"", content)  # how long a step took
    if name.startswith(".records/"):
        return json.dumps({**json.loads(content), "seconds": 0}).encode()
    if name == "summary.csv":
        header, *rows = csv.reader(content.decode().splitlines())
        column = header.index("seconds")
        return "\n".join(repr(row[:column] + row[column + 1 :]) for row in rows).encode()
    return content


def tree_with_rooms(output: Path) -> dict[str, bytes]:
    """A tree with its folders, and with what pages say of one another."""
    found = without_times_of_steps(tree(output))
    found.update((f"{path.relative_to(output).as_posix()}/", b"") for path in output.rglob("*") if path.is_dir())
    for page in output.rglob("*.html"):
        rooms = re.findall(rb"<!--(?:neighbours|others)-->.*?<!--/", page.read_bytes(), re.DOTALL)
        found[f"{page.relative_to(output).as_posix()}: rooms"] = b"\n".join(rooms)
    return found
