"""Activity around events: a table of a row a cell for each kind of event, from the tables that the step wrote."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from hdmf.common import DynamicTable, VectorData

from pipeline.nwb.events import cells_of
from pipeline.nwb.session import SessionFile

MEAN = "-mean.csv"
IN = {"noise SD": "in units of the noise of the cell's trace", "events/s": "in events of the cell per second"}
COLUMNS = {
    "n_events": "Events whose window was recorded whole",
    "effect": "Mean after events less the mean before, over the window, {unit}",
    "p": "By circular shifts of the events within parts of the session; NaN if the cell was not tested",
    "q": "p, corrected over cells (Benjamini and Hochberg 1995)",
    "class": "up, down or none",
}


def add(session: SessionFile, path: Path, stem: str) -> None:
    """The cells of a table `<stem>[-<plane>]-peri-<events>.csv`, and their averages from the one beside it."""
    plane, _, events = path.stem.removeprefix(f"{stem}-").partition("peri-")
    cells = pd.read_csv(path, dtype={"cell": str, "class": str}, keep_default_na=False, na_values=_empty("effect p q"))
    means = pd.read_csv(
        path.with_name(f"{path.stem}{MEAN}"),
        dtype={"cell": str},
        keep_default_na=False,
        na_values=_empty("mean sem"),
        float_precision="round_trip",
    )
    names, unit = cells["cell"].tolist(), IN[means["unit"].iloc[0]]
    around = {name: means[name].to_numpy(np.float64).reshape(len(names), -1) for name in ("time_s", "mean", "sem")}
    described = {
        "time_s": "Of the averages: from the event to the beginning of the sample, s",
        "mean": f"Average over events, less its mean before them, {unit}",
        "sem": "Standard error of the average, over events",
    }
    columns = [VectorData(name="cell_name", description="Name in the cell set", data=names)]
    columns += [
        VectorData(name=name, description=what.format(unit=unit), data=cells[name].to_numpy())
        for name, what in COLUMNS.items()
    ]
    columns += [VectorData(name=name, description=what, data=around[name]) for name, what in described.items()]
    session.ophys.add(
        DynamicTable(
            name=session.name("PeriEvent-", plane + events),
            description=f"Which cells respond to {events}: activity around events, from {path.name}",
            id=list(range(len(names))),
            columns=[*columns, *cells_of(session, names, np.arange(len(names)))],
        )
    )


def _empty(columns: str) -> dict[str, list[str]]:
    return {name: [""] for name in columns.split()}
