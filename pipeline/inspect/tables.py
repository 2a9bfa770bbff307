"""CSV files for pandas, MATLAB and spreadsheets."""

from __future__ import annotations

import csv
import mmap
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from common.csv_cells import cell

CELLS_AT_ONCE = 100_000

# What may be a formula at the start of a cell; numbers, of which there can be millions, are none.
_SUSPECT = re.compile(
    rb"""(?:^|[,\r\n"])['\s]*(?:[=+@]|'*\t|\xef\xbc[\x9d\x8b\x8d\xa0]|-(?![\d.]+(?:[eE][-+]?\d+)?[,\r\n"]))"""
)


def write(path: Path, columns: Mapping[str, Sequence[Any]]) -> None:
    """Write one row for each sample; missing values stay empty, and no text is a formula to a spreadsheet."""
    _write(path, [*columns], [*columns.values()])


def write_wide(path: Path, time_s: np.ndarray, names: Sequence[str], traces: np.ndarray) -> None:
    """Write one row for each sample: its time, then each trace. `traces` has the shape (names, samples)."""
    _write(path, ["time_s", *names], [time_s, *traces.reshape(len(names), len(time_s))])


def make_safe(path: Path) -> None:
    """A table that other code wrote, such as the library's exports: its formulas become text, the rest stays."""
    if not _looks_suspect(path):
        return
    temporary = path.with_name(f"{path.name}.safe")
    how = {"encoding": "utf-8", "errors": "surrogateescape", "newline": ""}
    with path.open(**how) as old, temporary.open("w", **how) as new:
        ending = "\r\n" if old.readline().endswith("\r\n") else "\n"
        old.seek(0)
        csv.writer(new, lineterminator=ending).writerows(map(cell, row) for row in csv.reader(old))
    temporary.replace(path)


def _looks_suspect(path: Path) -> bool:
    with path.open("rb") as file:
        if not path.stat().st_size:
            return False
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return bool(_SUSPECT.search(content))


def _write(path: Path, names: Sequence[str], columns: Sequence[Sequence[Any]]) -> None:
    """As pandas would write it, some rows at a time; importing pandas takes an eighth of a small recording's time."""
    (length,) = {len(column) for column in columns}
    arrays = [_array(column) for column in columns]
    n_rows = max(1, CELLS_AT_ONCE // len(arrays))
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(cell(str(name)) for name in names)
        for first in range(0, length, n_rows):
            writer.writerows(zip(*(_texts(array[first : first + n_rows]) for array in arrays)))


def _array(column: Sequence[Any]) -> np.ndarray:
    """Numbers as an array of their type; what else there is stays as it is."""
    if isinstance(column, np.ndarray):
        return column
    if len(column) and all(isinstance(value, (int, float, np.number)) for value in column):
        return np.asarray(column)
    objects = np.empty(len(column), object)
    objects[:] = column
    return objects


def _texts(values: np.ndarray) -> list[str]:
    """Numbers as the shortest decimals that tell them from others of their type; nothing for what is missing."""
    if values.dtype.kind == "f":
        return np.where(np.isnan(values), "", values.astype(str)).tolist()
    if values.dtype.kind in "iub":
        return values.astype(str).tolist()
    listed = values.tolist()
    safe = {text: cell(text) for text in {value for value in listed if isinstance(value, str)}}
    return [safe[value] if isinstance(value, str) else _number(value) for value in listed]


def _number(value: Any) -> str:
    return "" if value is None or value != value else str(value)  # NaN differs from itself
