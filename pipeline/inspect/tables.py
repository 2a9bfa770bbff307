"""CSV files that pandas, MATLAB and spreadsheets open as they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd


def write(path: Path, columns: Mapping[str, Sequence[Any]]) -> None:
    """One row a sample; what is missing (NaN, None) stays empty."""
    pd.DataFrame(columns).to_csv(path, index=False)


def write_wide(path: Path, time_s: np.ndarray, names: Sequence[str], traces: np.ndarray) -> None:
    """One row a sample: its time, then one column a trace; `traces` has the shape (names, samples)."""
    values = traces.reshape(len(names), len(time_s)).T
    table = pd.DataFrame(values, columns=list(names))
    table.insert(0, "time_s", time_s, allow_duplicates=True)
    table.to_csv(path, index=False)
