"""A session's cells as its results have them: the last cell set, with the status that the table of cells gives each."""

from __future__ import annotations

import csv
import glob
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import sparse

from following import Session
from following.sessions import CUT
from open_engine.files.cellsets import CellSet, read_cell_set
from recording.errors import Unusable
from recording.formats import check

SAMPLES = 400  # of a trace that are shown


@dataclass(frozen=True)
class Cells:
    """One session: what is followed, and what the page shows of it."""

    name: str  # the folder of its results, relative to the output
    session: Session
    shown: np.ndarray  # (cells, samples) float32: traces, thinned; each from 0 to 1
    pixel_um: float
    responses: Mapping[str, Mapping[str, str]] = field(default_factory=dict)  # by events and cell: up, down or none


def read_session(source: Path, folder: Path, name: str, table: str) -> Cells:
    """The cells of a cell set that was in the input, or of what a recipe made, whose results `source` describes.

    `table` is the name of its table of cells. Rejected cells are left out. Raises Unusable, BadRecording, OSError.
    """
    cells = read_cell_set([source if source.suffix.lower() == ".isxd" else _last_cell_set(folder)])
    statuses = _statuses(folder / table)
    keep = [i for i, cell in enumerate(cells.names) if statuses.get(cell, cells.statuses[i]) != "rejected"]
    pixel = cells.footer["spacingInfo"]["pixelSize"]["x"]
    pixel_um = pixel["num"] / pixel["den"] if pixel["den"] else 1.0
    traces = np.nan_to_num(cells.traces[keep])
    session = Session(
        name=name,
        footprints=_sparse(cells, keep),
        shape=cells.shape,
        names=tuple(cells.names[i] for i in keep),
        image=_mean_image(folder, cells.shape),
        traces=traces,
        pixel=pixel_um or 1.0,
    )
    return Cells(name, session, _thinned(traces), pixel_um, _responses(folder))


def _responses(folder: Path) -> dict[str, dict[str, str]]:
    """The class of each cell that was tested, from the tables that the step peri_event left."""
    begin, classes = f"{folder.name}-peri-", {}
    for path in sorted(folder.glob(f"{glob.escape(begin)}*.csv")):
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        if rows and {"cell", "class", "q"} <= set(rows[0]):
            classes[path.stem.removeprefix(begin)] = {row["cell"]: row["class"] for row in rows if row["q"]}
    return classes


def _sparse(cells: CellSet, keep: list[int]) -> sparse.csr_array:
    """Cell by cell: dense footprints of many sessions would not fit into memory."""
    rows = []
    for i in keep:
        image = np.nan_to_num(np.asarray(cells.images[i], np.float32).ravel(), nan=0, posinf=0, neginf=0)
        image[image < CUT * max(image.max(initial=0), 0)] = 0
        rows.append(sparse.csr_array(np.maximum(image, 0)[np.newaxis]))
    return sparse.vstack(rows, format="csr") if rows else sparse.csr_array((0, cells.shape[0] * cells.shape[1]))


def _thinned(traces: np.ndarray) -> np.ndarray:
    """The highest of each stretch, so that no transient is lost."""
    n = traces.shape[1]
    edges = np.unique(np.linspace(0, n, min(SAMPLES, n) + 1).astype(int)[:-1]) if n else np.zeros(0, int)
    thin = np.maximum.reduceat(traces, edges, axis=1) if n and len(traces) else traces[:, :0]
    low, high = thin.min(axis=1, keepdims=True, initial=np.inf), thin.max(axis=1, keepdims=True, initial=-np.inf)
    return ((thin - low) / np.maximum(high - low, 1e-12)).astype(np.float32)


def _statuses(table: Path) -> dict[str, str]:
    with table.open(encoding="utf-8-sig", newline="") as file:
        return {row["name"]: row["status"] for row in csv.DictReader(file) if row.get("name") and row.get("status")}


def _last_cell_set(folder: Path) -> Path:
    """What a recipe left, of the first part: all parts have the same footprints. Raises Unusable."""
    for path in sorted(folder.glob("*.isxd"), key=lambda file: (len(file.name), file.name)):
        if check(path).kind == "cell_set":
            return path
    raise Unusable("it has a table of cells, but no cell set")


def _mean_image(folder: Path, shape: tuple[int, int]) -> np.ndarray | None:
    """Mean image of the movie that the cells come from, if one of its size is there; several steps may make one."""
    for path in sorted(
        [*folder.glob("*-mean.tif"), *folder.glob("steps/*-mean.tif")], key=lambda file: -len(file.name)
    ):
        try:
            with Image.open(path) as picture:
                image = np.array(picture, np.float32)
        except (OSError, ValueError):
            continue
        if image.shape == shape and np.isfinite(image).any() and np.ptp(np.nan_to_num(image)) > 0:
            return image
    return None
