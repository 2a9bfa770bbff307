"""Activity around events on the page: a figure from the tables that the step wrote, and which cells respond."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from open_engine.peri_event import DOWN, NONE, UP
from pipeline.inspect import figures
from pipeline.pages.content import Figure, Part, Responding

if TYPE_CHECKING:
    import pandas as pd

METHODS = (  # for a paper; in braces, keys of references.bib
    "Activity around events was averaged; traces were in units of their noise, event sets in events per second. "
    "The effect of a cell was its mean after an event minus its mean before it. The event train was shifted "
    "circularly by random amounts within each part of the session [{harris2020shift}]. p was the fraction of "
    "shifts, with the data counted as one of them [{north2002}], whose most extreme effect over the window, half "
    "of it, a quarter and so on was at least as extreme as that of the data. q was p corrected over the cells by "
    "the method of Benjamini and Hochberg [{benjamini1995}]. Cells with q below 0.05 were considered responsive."
)
COLOURS = {UP: figures.VERMILION, DOWN: figures.BLUE, NONE: "#777777"}
MEAN, TRIALS = "-mean.csv", "-trials.csv"
MOST_LISTED = 200  # cells on the page; the table has all
IN = {"noise SD": "units of each trace's noise (noise SD)", "events/s": "events per second"}


def parts(names: Sequence[str], stem: str, out: Path) -> list[Part]:
    """One for each set of tables among these files in `out`; draws `<table>.png` and `.svg` beside them."""
    return [_part(table, table.removeprefix(f"{stem}-peri-"), out) for table in tables(names)]


def tables(names: Collection[str]) -> list[str]:
    """The tables of cells that the step wrote, among these file names; without ".csv"."""
    stems = [name.removesuffix(".csv") for name in names]
    return [table for table in stems if {f"{table}{MEAN}", f"{table}{TRIALS}"} <= set(names)]


def _part(table: str, title: str, out: Path) -> Part:
    cells = _read(out / f"{table}.csv")
    n_events = int(cells["n_events"].iloc[0]) if len(cells) else 0
    counts = {name: int((cells["class"] == name).sum()) for name in (UP, DOWN, NONE)}
    responding = cells[cells["class"] != NONE].sort_values(["q", "p", "cell"], kind="stable")
    summary = f"{counts[UP]} up, {counts[DOWN]} down, {counts[NONE]} neither; {n_events} events"
    figure = ()
    if n_events:
        means = _read(out / f"{table}{MEAN}")
        draw(out / table, title, cells, means, _read(out / f"{table}{TRIALS}"))
        caption = (
            "Left: the average of each cell around events, less its mean before, sorted by time of peak; below, the "
            "mean and its standard error over cells of each class. Right: single trials and their average, of the "
            f"cells that respond most clearly. In {IN[unit_of(means)]}."
        )
        figure = (Figure(f"{table}.png", caption, f"{table}.svg"),)
    rows = [
        (str(row.cell), float(row.effect), float(row.p), float(row.q), str(row.klass))
        for row in responding.rename(columns={"class": "klass"}).head(MOST_LISTED).itertuples()
    ]
    shown = Responding(title, n_events, counts, rows, f"{table}.csv")
    return Part(f"Activity around {title}", "peri_event", summary, {}, figure, responding=shown, methods=METHODS)


def _read(path: Path) -> pd.DataFrame:
    import pandas as pd  # here, as every recipe imports this module

    return pd.read_csv(
        path,
        dtype={"cell": str, "class": str},
        keep_default_na=False,
        na_values={name: [""] for name in ("effect", "p", "q", "mean", "sem", "value")},
    )


def unit_of(means: pd.DataFrame) -> str:
    """Unit of effects and averages."""
    return str(means["unit"].iloc[0]) if len(means) else ""


# ---- the figure


def draw(path: Path, title: str, cells: pd.DataFrame, means: pd.DataFrame, trials: pd.DataFrame) -> None:
    """Write `path` with .png and .svg added."""
    examples = list(dict.fromkeys(trials["cell"]))
    drawn, grid = figures.grid(9.5, 6.5, 6, 2, width_ratios=(1.15, 1))
    known = means[np.isfinite(means["mean"])]
    order = [name for name in cells["cell"] if name in set(known["cell"])]
    time = np.unique(known["time_s"])
    table = known["mean"].to_numpy().reshape(len(order), len(time))
    unit = unit_of(means)
    _heat_map(drawn, grid[:4, 0], time, table, title, unit)
    classes = cells.set_index("cell")["class"]
    _by_class(drawn, grid[4:, 0], time, table, classes.loc[order].to_numpy(), title, unit)
    _examples(drawn, grid[:, 1], examples, trials, classes, title, unit)
    figures.save(drawn, path.with_name(f"{path.name}.png"))
    figures.save_svg(drawn, path.with_name(f"{path.name}.svg"))


def _heat_map(drawn: Any, place: Any, time: np.ndarray, table: np.ndarray, title: str, unit: str) -> None:
    axes = drawn.add_subplot(place)
    step = time[1] - time[0]
    limit = float(np.percentile(np.abs(table), 99)) or 1.0
    by_peak = table[np.argsort(table.argmax(axis=1), kind="stable")]
    extent = (time[0], time[-1] + step, len(table), 0)
    image = axes.imshow(
        by_peak, aspect="auto", extent=extent, cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="nearest"
    )
    axes.axvline(0, color=figures.BLACK, linewidth=0.8)
    axes.set(ylabel="Cell, by time of peak", xlabel=f"Time from {title} [s]")
    drawn.colorbar(image, ax=axes, label=f"Average [{unit}]")


def _by_class(
    drawn: Any, place: Any, time: np.ndarray, table: np.ndarray, classes: np.ndarray, title: str, unit: str
) -> None:
    axes = drawn.add_subplot(place)
    for name in (NONE, DOWN, UP):
        its = table[classes == name]
        if len(its) == 0:
            continue
        mean, error = its.mean(axis=0), its.std(axis=0, ddof=min(1, len(its) - 1)) / np.sqrt(len(its))
        axes.plot(time, mean, color=COLOURS[name], linewidth=1.2, label=f"{name} ({len(its)})")
        axes.fill_between(time, mean - error, mean + error, color=COLOURS[name], alpha=0.25, linewidth=0)
    axes.axvline(0, color=figures.BLACK, linewidth=0.8)
    axes.set(xlabel=f"Time from {title} [s]", ylabel=f"Average [{unit}]")
    axes.legend(loc="upper right", frameon=False)
    axes.set_xlim(time[0], time[-1])


def _examples(
    drawn: Any, place: Any, names: Sequence[str], trials: pd.DataFrame, classes: pd.Series, title: str, unit: str
) -> None:
    rows = place.subgridspec(max(1, len(names)), 1)
    for number, name in enumerate(names):
        axes = drawn.add_subplot(rows[number])
        its = trials[trials["cell"] == name]
        time = np.unique(its["time_s"])
        single = its["value"].to_numpy().reshape(-1, len(time))
        figures.lines(axes, [np.column_stack([time, trial]) for trial in single], "#BBBBBB", 0.5)
        axes.plot(time, single.mean(axis=0), color=COLOURS[classes[name]], linewidth=1.5)
        axes.axvline(0, color=figures.BLACK, linewidth=0.8)
        axes.set_title(f"{name}: {classes[name]}", loc="left", fontsize=8)
        axes.set_ylim(float(single.min()), float(single.max()) + 1e-9)
        axes.set_xlim(time[0], time[-1])
        axes.set_ylabel(f"[{unit}]")
    if names:
        axes.set_xlabel(f"Time from {title} [s]")
