"""CSV files for pandas, MATLAB and spreadsheets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd


def write(path: Path, columns: Mapping[str, Sequence[Any]]) -> None:
    """Write one row for each sample; missing values (NaN, None) stay empty."""
    pd.DataFrame(columns).to_csv(path, index=False)


def write_wide(path: Path, time_s: np.ndarray, names: Sequence[str], traces: np.ndarray) -> None:
    """Write one row for each sample: its time, then each trace. `traces` has the shape (names, samples)."""
    values = traces.reshape(len(names), len(time_s)).T
    table = pd.DataFrame(values, columns=list(names))
    table.insert(0, "time_s", time_s, allow_duplicates=True)
    table.to_csv(path, index=False)
