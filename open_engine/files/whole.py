"""Files that have their names once they are complete, and the small ones that steps write: texts and tables."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def complete(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary name beside `path`, with its ending. What is written there gets its name at the end.

    If writing fails, nothing is left.
    """
    path = Path(path)
    partial = path.with_name(f".{path.stem}.partial{path.suffix}")
    partial.unlink(missing_ok=True)  # isx does not write over a file
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """A text in UTF-8."""
    with complete(path) as partial:
        partial.write_bytes(text.encode())


def write_table(path: str | os.PathLike[str], rows: Iterable[Sequence[object]]) -> None:
    """A CSV file, numbers with six digits."""
    with complete(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerows([f"{value:.6g}" if isinstance(value, float) else value for value in row] for row in rows)
