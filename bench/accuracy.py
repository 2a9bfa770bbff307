"""Accuracy on simulated recordings whose truth is known: accuracy.py FOLDER [--json] NAME-SEED ...

Each recording goes through motion_correct, then run_cnmfe at its defaults, with the cell diameter given and once more
estimated, then event_detection. "recipe" is the whole way: the recipe `cells`, given nothing but the raw movie; what
counts is what it accepts, and its own events. FastICA of scikit-learn, told the true number of cells, works on the same
aligned movie, and so did what peer.py has left in FOLDER; --align writes these movies and stops. The recordings are
those of minisim_movies.py and of conditions.py in FOLDER; "own-SEED", "own_shaky-SEED", "own_dim-SEED" and
"own_field-SEED" are of samples/simulate.py. The three share nothing. --recipe measures the whole way alone.

A true cell counts if it is detectable and 60% of its light is in the field that motion correction leaves. It is found
if the cosine of the footprints and the r of the traces are both at least 0.5, by optimal assignment; cells matched to
others than these are left out. F1 is the mean over two rules for r: of traces as they are, and of traces smoothed over
0.2 s. r is the median of the former over the cells found. An event is found if one is reported within 0.5 s of the
first of a run of spikes that raises the cell's calcium by a fifth of its greatest value or more; its F1 is the median
over cells.

Runs where the image's modules are. Times are those of one thread.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage
from scipy.optimize import linear_sum_assignment

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "bench")]

import conditions  # noqa: E402
from open_engine import metrics  # noqa: E402
from open_engine.cell_shape import doubts  # noqa: E402
from open_engine.cnmfe import estimate  # noqa: E402
from open_engine.context import StepContext  # noqa: E402
from open_engine.files import cellsets, frames  # noqa: E402
from open_engine.steps import motion_correct, run_cnmfe  # noqa: E402
from open_engine.transients import find_events, find_transients  # noqa: E402
from samples import simulate as synthetic  # noqa: E402

LEAST = 0.5  # of cosine and of r
SMOOTH_S = 0.2
INSIDE = 0.6
EVENT_REACH_S = 0.5
LEAST_RISE = 0.2  # of a cell's greatest calcium
SEED = 311
OWN_USUAL = {"seconds": 100, "shape": (160, 160), "n_cells": 70}
OWN = {
    "own": {},
    "own_shaky": {"motion_px": 3.0},
    "own_dim": {"brightness": 0.2},
    "own_field": {  # that long_movie.py repeats
        "seconds": 60,
        "shape": (200, 320),
        "n_cells": 30,
        "diameter_px": 14,
        "motion_px": 2,
        "rate_hz": 20,
        "endless": True,
    },
}


@dataclass(frozen=True)
class Truth:
    A: np.ndarray  # (cells, rows, columns)
    C: np.ndarray  # (cells, frames)
    S: np.ndarray
    counted: np.ndarray
    shifts: np.ndarray  # (frames, 2)
    inside: np.ndarray  # (cells,) share of a cell's light in the images
    rate_hz: float
    diameter: float


@dataclass(frozen=True)
class Cells:
    A: np.ndarray
    C: np.ndarray


def recording(folder: Path, name: str) -> tuple[np.ndarray, Truth]:
    """The movie as the microscope took it, and what is in it."""
    kind, _, seed = name.partition("-")
    if kind in OWN:
        made = synthetic.recording(seed=int(seed), **{**OWN_USUAL, **OWN[kind]})
        counted = (made.inside > INSIDE) & (made.spikes.sum(axis=1) > 0)
        truth = (made.footprints, made.traces, made.spikes, counted, made.shifts, made.inside)
        return made.movie, Truth(*truth, made.rate_hz, made.diameter_px)
    if kind in conditions.CONDITIONS:
        conditions.made(folder, [name])
    kept = np.load(folder / f"{name}.npz")
    fields = ("A", "C", "S", "counted", "shifts")
    inside = kept.get("inside", np.ones(len(kept["A"])))  # recordings made before it was noted count as whole
    truth = (*(kept[field] for field in fields), inside)
    return kept["movie"], Truth(*truth, float(kept["rate_hz"]), float(kept["diameter"]))


# ---- the way of a recipe


def aligned(movie: np.ndarray, truth: Truth, work: Path) -> tuple[Path, Truth, float]:
    """The movie after motion_correct, the truth in its field, and the error of its shifts, px (root mean square)."""
    raw = _written(movie, truth.rate_hz, work / "raw.isxd")
    out, table, rectangle = work / "aligned.isxd", work / "translations.csv", work / "rectangle.csv"
    motion_correct.motion_correct(
        [str(raw)],
        [str(out)],
        output_translation_files=[str(table)],
        output_crop_rect_file=str(rectangle),
        context=_context(work),
    )
    return out, *in_field(truth, table, rectangle)


def in_field(truth: Truth, table: Path, rectangle: Path) -> tuple[Truth, float]:
    """The truth in the field of the aligned movie, and the error of its shifts, px."""
    moved_back = np.loadtxt(table, delimiter=",", skiprows=1)[:, [1, 0]]
    rest = np.median(truth.shifts + moved_back, axis=0)
    error = float(np.sqrt(((truth.shifts + moved_back - rest) ** 2).mean()))
    x, y, width, height = (int(number) for number in re.findall(r"\d+", rectangle.read_text()))
    images = ndimage.shift(truth.A, (0, *rest), order=1)[:, y : y + height, x : x + width]
    inside = truth.inside * images.sum(axis=(1, 2)) / np.maximum(truth.A.sum(axis=(1, 2)), 1e-9)
    return replace(truth, A=images, counted=truth.counted & (inside > INSIDE), inside=inside), error


def down_sampled(truth: Truth, space: int, time_: int) -> Truth:
    """As `preprocess` does with the movie."""
    n = len(truth.shifts) // time_ * time_
    rows, columns = (size // space for size in truth.A.shape[1:])
    blocks = truth.A[:, : rows * space, : columns * space].reshape(len(truth.A), rows, space, columns, space)
    return replace(
        truth,
        A=blocks.mean(axis=(2, 4)),
        C=truth.C[:, :n].reshape(len(truth.C), n // time_, time_).mean(axis=2),
        S=truth.S[:, :n].reshape(len(truth.S), n // time_, time_).sum(axis=2),
        shifts=truth.shifts[:n].reshape(-1, time_, 2).mean(axis=1) / space,
        rate_hz=truth.rate_hz / time_,
    )


def whole_way(movie: np.ndarray, truth: Truth, work: Path) -> dict[str, Any]:
    """What the recipe `cells` accepts and when it says that cells were active, and how many it accepts."""
    source, out = work / "in", work / "out"
    source.mkdir()
    out.mkdir()
    _written(movie, truth.rate_hz, source / "raw.isxd")
    settings = {"INPUT_DIR": source, "OUTPUT_DIR": out, "RECIPE": "cells", "ENGINE": "open", "WORKERS": 1}
    environment = {**os.environ, **{name: str(value) for name, value in settings.items()}}
    environment["EXPECTED_OUTPUT_FILE"] = str(out / "done.marker")
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, ROOT / "bootstrap.py"]
    done = subprocess.run(command, env=environment, check=False, capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    if done.returncode:
        if "no cells found" not in done.stderr:
            raise RuntimeError(done.stderr)
        return {"cells": 0, "accepted": 0, "f1": 0.0, "precision": 0.0, "recall": 0.0, "cpu_s": cpu_s}
    (cell_file,), (event_file,), (table,), (rectangle,) = (
        list(out.rglob(f"steps/*-{name}")) for name in ("AR.isxd", "ED.isxd", "translations.csv", "crop_rect.csv")
    )
    (facts,) = (json.loads(path.read_text()) for path in out.rglob("raw.json"))
    factors = facts["steps"][0]["estimated"]
    space, time_ = (factors[f"{name}_downsample_factor"] for name in ("spatial", "temporal"))
    seen, _ = in_field(down_sampled(truth, space, time_), table, rectangle)
    cells = cellsets.read_cell_set([cell_file])
    chosen = cells.chosen(i for i, status in enumerate(cells.statuses) if status == "accepted")
    cells_accepted = Cells(np.array(chosen.images), np.nan_to_num(chosen.traces))
    events = metrics.read_events([event_file], cells)
    times = [events[cells.names.index(name)].samples / seen.rate_hz for name in chosen.names]
    counts = {"cells": cells.n_cells, "accepted": chosen.n_cells, "cpu_s": cpu_s}
    if not len(seen.A) or not chosen.n_cells:
        return {"f1": 0.0, "precision": 0.0, "recall": 0.0, **counts}
    return {**score(seen, cells_accepted), "event_f1": event_f1(seen, cells_accepted, times), **counts}


def read(movie: Path) -> np.ndarray:
    with frames.open_series([str(movie)]) as series:
        return series.read(0, series.n_frames)


def open_engine(movie: Path, diameter: float | None, work: Path) -> Cells:
    """With the diameter estimated where it is None."""
    out = work / "cells.isxd"
    if diameter is None:
        with frames.open_series([str(movie)]) as series:
            diameter = estimate.estimate_cell_diameter(series).px
    run_cnmfe.run_cnmfe([str(movie)], [str(out)], cell_diameter=diameter, context=_context(work))
    cells = cellsets.read_cell_set([out])
    traces = np.nan_to_num(cells.traces) * np.array(cellsets.scales_of(cells.footer))[:, None]  # in the movie's units
    return Cells(np.stack([cells.images[i] for i in range(cells.n_cells)]), traces)


def fast_ica(movie: np.ndarray, n_cells: int, diameter: float) -> Cells:
    """FastICA of a movie (frames, rows, columns) less its low frequencies in space, as such movies are given to it."""
    from sklearn.decomposition import FastICA

    sharp = np.stack([ndimage.gaussian_filter(f, 1) - ndimage.gaussian_filter(f, diameter) for f in movie])
    flat = (sharp - sharp.mean(axis=0)).reshape(len(movie), -1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ica = FastICA(n_cells, whiten="unit-variance", max_iter=100, random_state=0)
        images = ica.fit_transform(flat.T).T
    traces = ica.mixing_.T
    sign = np.sign((images**3).mean(axis=1, keepdims=True))
    return Cells(np.maximum(sign * images, 0).reshape(-1, *movie.shape[1:]), sign * traces)


def _written(movie: np.ndarray, rate_hz: float, path: Path) -> Path:
    none = np.zeros((0, 0))
    made = synthetic.Recording(movie, none, none, none, none, none, rate_hz, 10, 2.2)
    return synthetic.write(path.parent, path.stem, made)[0]


def _context(work: Path) -> StepContext:
    return StepContext(scratch=work, threads=1, warn=lambda text: None, progress=lambda part: None)


def accepted(cells: Cells, truth: Truth) -> Cells:
    """What the recipe's acceptance leaves of the cells of any method, told the diameter."""
    events = find_transients(cells.C.astype(float), truth.rate_hz)
    active = np.flatnonzero([len(its.samples) > 0 for its in events])
    brightness = cells.C[active].max(axis=1, initial=0)
    good = [i for i, doubt in zip(active, doubts(cells.A[active], brightness, truth.diameter)) if not doubt]
    return Cells(cells.A[good], cells.C[good])


# ---- the score


def matches(truth: Truth, cells: Cells, smooth: float = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs of a found cell and a true one, and all r (found, true)."""
    traces = ndimage.gaussian_filter1d(cells.C, smooth, axis=1) if smooth else cells.C
    n = min(traces.shape[1], truth.C.shape[1])
    cosine = _unit(np.maximum(cells.A, 0)) @ _unit(truth.A).T
    r = _unit(_centred(traces[:, :n])) @ _unit(_centred(truth.C[:, :n])).T
    worth = np.where((cosine >= LEAST) & (r >= LEAST), cosine + r, 0)
    i, j = linear_sum_assignment(-worth)
    return i[worth[i, j] > 0], j[worth[i, j] > 0], r


def score(truth: Truth, cells: Cells) -> dict[str, float]:
    f1 = []
    for smooth in (SMOOTH_S * truth.rate_hz, 0):
        i, j, r = matches(truth, cells, smooth)
        hits = int(truth.counted[j].sum())
        precision = hits / max(1, len(cells.A) - (len(j) - hits))
        recall = hits / max(1, int(truth.counted.sum()))
        f1.append(2 * precision * recall / max(1e-9, precision + recall))
    mine = truth.counted[j]
    middle = float(np.median(r[i, j][mine])) if mine.any() else 0.0
    return {"precision": precision, "recall": recall, "f1": float(np.mean(f1)), "r": middle, "cells": len(cells.A)}


def r_of_both(truth: Truth, one: Cells, other: Cells) -> tuple[float, float]:
    """Medians of r over the true cells that both have found."""
    of = []
    for cells in (one, other):
        i, j, r = matches(truth, cells)
        of.append({int(b): float(r[a, b]) for a, b in zip(i, j) if truth.counted[b]})
    both = sorted(of[0].keys() & of[1].keys())
    return tuple(float(np.median([of_method[k] for k in both])) if both else 0.0 for of_method in of)


def event_f1(truth: Truth, cells: Cells, times: list[np.ndarray] | None = None) -> float:
    """Median over the cells found; `times` of each cell, in s: by event_detection where they are not given."""
    i, j, _ = matches(truth, cells)
    values = []
    for a, b in zip(i, j):
        onsets = true_onsets(truth.S[b], truth.C[b], truth.rate_hz)
        its = detected(cells.C[a], truth.rate_hz) if times is None else times[a]
        near = np.abs(its[:, None] - onsets[None]) <= EVENT_REACH_S
        hits = len(linear_sum_assignment(~near)[0]) and int(near[linear_sum_assignment(~near)].sum())
        values.append(2 * hits / max(1, len(its) + len(onsets)))
    return float(np.median(values)) if values else 0.0


def detected(trace: np.ndarray, rate_hz: float) -> np.ndarray:
    return find_events(trace.astype(float), 1 / rate_hz).samples / rate_hz


def true_onsets(spikes: np.ndarray, calcium: np.ndarray, rate_hz: float) -> np.ndarray:
    """Seconds at which runs of spikes begin; pauses of less than 0.5 s do not end a run."""
    at = np.flatnonzero(spikes)
    if not len(at):
        return np.zeros(0)
    runs = np.split(at, np.flatnonzero(np.diff(at) > EVENT_REACH_S * rate_hz) + 1)
    rises = [calcium[run[0] : run[-1] + 3].max() - calcium[max(0, run[0] - 1)] for run in runs]
    return np.array([run[0] for run, rise in zip(runs, rises) if rise >= LEAST_RISE * calcium.max()]) / rate_hz


def _centred(x: np.ndarray) -> np.ndarray:
    return x - x.mean(axis=1, keepdims=True)


def _unit(x: np.ndarray) -> np.ndarray:
    x = x.reshape(len(x), -1).astype(np.float64)
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)


# ---- measuring


def measured(work: Callable[[], Cells], truth: Truth) -> tuple[Cells, dict[str, float]]:
    """What it finds, its score, its processor time and the peak of memory while it works, in GB."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before = time.process_time()
    cells = work()
    seconds = time.process_time() - before
    peak = int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 2**20
    return cells, {**score(truth, cells), "cpu_s": seconds, "peak_gb": peak}


def compared(folder: Path, name: str, alone: bool) -> dict[str, Any]:
    """All methods on one recording, or the open engine alone."""
    with tempfile.TemporaryDirectory(dir=folder) as made:
        work = Path(made)
        movie, truth = recording(folder, name)
        whole = whole_way(movie, truth, work)
        path, truth, error = aligned(movie, truth, work)
        cells, ours = measured(lambda: open_engine(path, truth.diameter, work), truth)
        _, estimated = measured(lambda: open_engine(path, None, work), truth)
        others = {}
        if not alone:
            seen = read(path)
            _, others["fastica"] = measured(lambda: fast_ica(seen, int(truth.counted.sum()), truth.diameter), truth)
    ours["event_f1"] = event_f1(truth, cells)
    ours["f1_accepted"] = score(truth, accepted(cells, truth))["f1"]
    report: dict[str, Any] = {"counted": int(truth.counted.sum()), "motion_rms_px": error}
    report["methods"] = {"open": ours, "open_estimated": estimated, "recipe": whole, **others}
    for left in [] if alone else sorted(folder.glob(f"{name}-peer-*.npz")):
        kept = np.load(left)
        peer = Cells(kept["A"], kept["C"])
        both = dict(zip(("open_r_of_both", "r_of_both"), r_of_both(truth, cells, peer)))
        costs = {"cpu_s": float(kept["cpu_s"]), "peak_gb": float(kept["peak_gb"])}
        setting = "peer_" + left.stem.partition("-peer-")[2]
        report["methods"][setting] = {**score(truth, peer), **costs, **both, "event_f1": event_f1(truth, peer)}
        report["methods"][setting]["f1_accepted"] = score(truth, accepted(peer, truth))["f1"]
    return rounded(report)


def by_recipe(folder: Path, name: str) -> dict[str, Any]:
    """The whole way alone."""
    with tempfile.TemporaryDirectory(dir=folder) as made:
        movie, truth = recording(folder, name)
        return rounded(
            {"counted": int(truth.counted.sum()), "methods": {"recipe": whole_way(movie, truth, Path(made))}}
        )


def align(folder: Path, name: str) -> None:
    with tempfile.TemporaryDirectory(dir=folder) as made:
        path, _, _ = aligned(*recording(folder, name), Path(made))
        np.save(folder / f"{name}-aligned.npy", read(path))


def rounded(report: Any) -> Any:
    if isinstance(report, dict):
        return {name: rounded(value) for name, value in report.items()}
    return float(f"{report:.4g}") if isinstance(report, float) else report


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*", metavar="NAME-SEED", help="by default all of conditions.py")
    parser.add_argument("--json", action="store_true", help="print the report as JSON instead of a table")
    parser.add_argument("--alone", action="store_true", help="the open engine alone")
    parser.add_argument("--recipe", action="store_true", help="the recipe cells alone")
    parser.add_argument("--align", action="store_true", help="only write NAME-SEED-aligned.npy, for peer.py")
    options = parser.parse_intermixed_args()
    options.names = options.names or [f"{kind}-{SEED}" for kind in conditions.CONDITIONS]
    if options.align:
        for name in options.names:
            align(options.folder, name)
        return
    report = {}
    columns = ("f1", "precision", "recall", "r", "event_f1", "cells", "accepted", "cpu_s", "peak_gb")
    if not options.json:
        print("| recording | motion, px | method |", " | ".join(columns), "|", flush=True)
        print("|---" * (3 + len(columns)) + "|")
    for name in options.names:
        one = by_recipe(options.folder, name) if options.recipe else compared(options.folder, name, options.alone)
        report[name] = one
        for method, figures in [] if options.json else one["methods"].items():
            cells = [name, one.get("motion_rms_px", ""), method, *(figures.get(column, "") for column in columns)]
            print("|", " | ".join(map(str, cells)), "|", flush=True)
    if options.json:
        print(json.dumps(report))


if __name__ == "__main__":
    main()
