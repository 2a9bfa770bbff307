"""CSV files for pandas, MATLAB and spreadsheets."""

from __future__ import annotations

import csv
import mmap
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from common.csv_cells import cell

# What may be a formula at the start of a cell; numbers, of which there can be millions, are none.
_SUSPECT = re.compile(
    rb"""(?:^|[,\r\n"])['\s]*(?:[=+@]|'*\t|\xef\xbc[\x9d\x8b\x8d\xa0]|-(?![\d.]+(?:[eE][-+]?\d+)?[,\r\n"]))"""
)


def write(path: Path, columns: Mapping[str, Sequence[Any]]) -> None:
    """Write one row for each sample; missing values stay empty, and no text is a formula to a spreadsheet."""
    _write(path, pd.DataFrame(columns))


def write_wide(path: Path, time_s: np.ndarray, names: Sequence[str], traces: np.ndarray) -> None:
    """Write one row for each sample: its time, then each trace. `traces` has the shape (names, samples)."""
    values = traces.reshape(len(names), len(time_s)).T
    table = pd.DataFrame(values, columns=list(names))
    table.insert(0, "time_s", time_s, allow_duplicates=True)
    _write(path, table)


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


def _write(path: Path, table: pd.DataFrame) -> None:
    texts = [i for i, dtype in enumerate(table.dtypes) if not pd.api.types.is_numeric_dtype(dtype)]
    for i in texts:
        safe = {text: cell(text) for text in table.iloc[:, i].unique() if isinstance(text, str)}
        if any(text != safe[text] for text in safe):
            table.isetitem(i, table.iloc[:, i].map(lambda value, safe=safe: safe.get(value, value)))
    table.columns = [cell(str(name)) for name in table.columns]
    table.to_csv(path, index=False)
