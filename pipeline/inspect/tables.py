"""CSV files for pandas, MATLAB and spreadsheets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from recording.names import cell


def write(path: Path, columns: Mapping[str, Sequence[Any]]) -> None:
    """Write one row for each sample; missing values stay empty, and no text is a formula to a spreadsheet."""
    _write(path, pd.DataFrame(columns))


def write_wide(path: Path, time_s: np.ndarray, names: Sequence[str], traces: np.ndarray) -> None:
    """Write one row for each sample: its time, then each trace. `traces` has the shape (names, samples)."""
    values = traces.reshape(len(names), len(time_s)).T
    table = pd.DataFrame(values, columns=list(names))
    table.insert(0, "time_s", time_s, allow_duplicates=True)
    _write(path, table)


def _write(path: Path, table: pd.DataFrame) -> None:
    texts = [i for i, dtype in enumerate(table.dtypes) if not pd.api.types.is_numeric_dtype(dtype)]
    for i in texts:
        safe = {text: cell(text) for text in table.iloc[:, i].unique() if isinstance(text, str)}
        if any(text != safe[text] for text in safe):
            table.isetitem(i, table.iloc[:, i].map(lambda value, safe=safe: safe.get(value, value)))
    table.columns = [cell(str(name)) for name in table.columns]
    table.to_csv(path, index=False)
