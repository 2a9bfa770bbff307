"""Which cells respond, where the truth is known: peri_event.py FOLDER [--seeds N] [--first SEED] [--make | --cost]

Each seed is a session of two parts of a minute at 10 Hz with a gap of 30 s, as a cell set and a table of pulses in
FOLDER/SEED. Of its 48 cells, 12 respond to GPIO-1, a trial about every six seconds, and 6 to GPIO-2, 24 presses that
calcium begins up to 0.2 s before; each at seven of ten events. GPIO-3 means nothing. Traces have spontaneous
transients, noise of a third to a twentieth of a transient, and a slow background that cells have in common.

The step `peri_event` reads these files. "recall" is the share of the cells that respond which are called so, "false"
that of the others, "sessions with a false cell" is of GPIO-3, and "uniform" the p value of a Kolmogorov-Smirnov test
of its p; "recall by q" calls by q of Benjamini and Hochberg, whatever else a way does. Where bench/peri_event_peer.py
left tables beside them, they are scored too. --make only writes the files.

--cost times 500 cells and 100 events in 20 minutes at 20 Hz with 1,000 shifts, in a process of its own. Runs where the
image's modules are, with one thread.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import resource
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import numpy as np  # noqa: E402
from scipy import ndimage, stats  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from open_engine.context import StepContext  # noqa: E402
from open_engine.files.cellsets import write_cell_set  # noqa: E402
from open_engine.peri_event import LEVEL, benjamini_hochberg  # noqa: E402
from open_engine.steps.peri_event import peri_event  # noqa: E402

RATE_HZ, PART, PARTS, GAP_S = 10, 600, 2, 30
CELLS, TRIAL_CELLS, LEVER_CELLS = 48, 12, 6
CHANNELS = {"GPIO-1": "trial", "GPIO-2": "lever", "GPIO-3": "nothing"}
QUIET = 40  # samples without events at the ends of a part
START_MS = 1_700_000_000_000
PEERS = ("ideas", "ideas-window")  # its default windows, and those of this step


@dataclass(frozen=True)
class Session:
    traces: np.ndarray  # (cells, samples of all parts)
    events: dict[str, np.ndarray]  # by channel: samples
    responds: dict[str, np.ndarray]  # by channel: (cells,) bool


def session(seed: int) -> Session:
    rng = np.random.default_rng(seed)
    total = PARTS * PART
    at = np.arange(total)
    free = at[(at % PART >= QUIET) & (at % PART < PART - QUIET)]
    trials = np.arange(QUIET, total - QUIET, 60)
    trials = trials + rng.integers(0, 15, len(trials))
    events = {
        "GPIO-1": trials[np.isin(trials, free)],
        "GPIO-2": np.sort(rng.choice(free, 24, replace=False)),
        "GPIO-3": np.sort(rng.choice(free, 24, replace=False)),
    }
    order = rng.permutation(CELLS)
    responds = {channel: np.zeros(CELLS, bool) for channel in CHANNELS}
    responds["GPIO-1"][order[:TRIAL_CELLS]] = True
    responds["GPIO-2"][order[TRIAL_CELLS : TRIAL_CELLS + LEVER_CELLS]] = True
    spikes = (rng.random((CELLS, total)) < 0.012) * rng.uniform(0.7, 2.0, (CELLS, total))
    for channel, earliest in (("GPIO-1", 1), ("GPIO-2", -2)):
        for cell in np.flatnonzero(responds[channel]):
            for event in events[channel][rng.random(len(events[channel])) < 0.7]:
                spikes[cell, event + earliest + rng.integers(0, 3)] += rng.uniform(1.5, 3)
    since = np.arange(0, 5, 1 / RATE_HZ)
    kernels = [np.exp(-since / decay) - np.exp(-since / 0.12) for decay in rng.uniform(0.5, 0.9, CELLS)]
    calcium = np.array([np.convolve(row, k / k.max())[:total] for row, k in zip(spikes, kernels)])
    slow = ndimage.gaussian_filter1d(rng.normal(size=(4, total)), 8, axis=1)
    slow *= 0.3 / slow.std(axis=1, keepdims=True)
    noise = rng.uniform(0.05, 0.33, (CELLS, 1)) * rng.normal(size=calcium.shape)
    return Session(calcium + rng.uniform(0, 0.5, (CELLS, 4)) @ slow + noise, events, responds)


def clock(samples: np.ndarray) -> np.ndarray:
    """Seconds from the session's start."""
    return samples / RATE_HZ + GAP_S * (samples // PART)


# ---- files


def footer(part: int, samples: int, rate_hz: int) -> dict[str, object]:
    one = {"num": 1, "den": 1}
    start = {"num": START_MS + round(1000 * part * (samples / rate_hz + GAP_S)), "den": 1000}
    return {
        "type": 0,
        "extraProperties": {},
        "timingInfo": {
            "start": {"secsSinceEpoch": start, "utcOffset": 0},
            "period": {"num": 1000 // rate_hz, "den": 1000},
            "numTimes": samples,
            "dropped": [],
            "cropped": [],
            "blank": [],
        },
        "spacingInfo": {
            "numPixels": {"x": 8, "y": 8},
            "pixelSize": {"x": one, "y": one},
            "topLeft": {"x": {"num": 0, "den": 1}, "y": {"num": 0, "den": 1}},
        },
    }


def cell_sets(folder: Path) -> list[Path]:
    return [folder / f"cells-{part + 1}.isxd" for part in range(PARTS)]


def write(folder: Path, made: Session) -> None:
    """Cell sets of the parts, pulses on the session's clock, and for the peer on a clock without gaps."""
    folder.mkdir(parents=True, exist_ok=True)
    footers = [footer(part, PART, RATE_HZ) for part in range(PARTS)]
    images = np.zeros((CELLS, 8, 8), np.float32)
    images[:, 2:6, 2:6] = 1  # the peer draws outlines
    write_cell_set(cell_sets(folder), footers, images, made.traces.astype(np.float32), statuses=["accepted"] * CELLS)
    pulses = [(name, f"{at:.6f}", f"{at + 0.1:.6f}") for name, samples in made.events.items() for at in clock(samples)]
    write_table(folder / "session-ttl.csv", ("channel", "onset_s", "offset_s"), pulses)
    events = [(name, f"{at / RATE_HZ:.6f}") for name, samples in made.events.items() for at in samples]
    write_table(folder / "without-gaps.csv", ("channel", "time_s"), events)


def write_table(path: Path, header: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])


def read_table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


# ---- scores


@dataclass
class Score:
    """How well one way of testing does, over all sessions."""

    detected: dict[str, list[bool]]  # by channel: of the cells that respond
    false: dict[str, list[bool]]  # of the others
    corrected: list[
        bool
    ]  # of the cells that respond to GPIO-1 or 2: whether q of its p, over the session's cells, is low
    sessions: list[bool]  # whether a cell was called responsive to what means nothing
    p: list[float]  # of GPIO-3

    @classmethod
    def empty(cls) -> Score:
        return cls({name: [] for name in CHANNELS}, {name: [] for name in CHANNELS}, [], [], [])

    def add(self, folder: Path, prefix: str, truth: Session) -> None:
        for channel, responds in truth.responds.items():
            rows = read_table(folder / f"{prefix}{channel}.csv")
            called = np.array([row["class"] != "none" for row in rows])
            self.detected[channel] += called[responds].tolist()
            self.false[channel] += called[~responds].tolist()
            p = np.array([float(row["p"]) for row in rows])
            self.corrected += (benjamini_hochberg(p) < LEVEL)[responds].tolist()
        self.sessions.append(bool(called.any()))
        self.p += p.tolist()

    def summary(self) -> dict[str, object]:
        return {
            "sessions": len(self.sessions),
            "recall": {name: float(np.mean(self.detected[name])) for name in ("GPIO-1", "GPIO-2")},
            "recall_by_q": float(np.mean(self.corrected)),
            "false": {name: float(np.mean(are_called)) for name, are_called in self.false.items()},
            "false_cells_of_nothing": [sum(self.false["GPIO-3"]), len(self.false["GPIO-3"])],
            "sessions_with_a_false_cell": sum(self.sessions),
            "uniform": float(stats.kstest(self.p, "uniform").pvalue),
        }


def measured(folder: Path, seeds: range, only_make: bool) -> dict[str, object]:
    scores = {name: Score.empty() for name in ("peri_event", *PEERS)}
    seconds = 0.0
    for seed in seeds:
        truth, place = session(seed), folder / str(seed)
        write(place, truth)
        if only_make:
            continue
        paths, context = [str(path) for path in cell_sets(place)], StepContext(place, warn=lambda text: None)
        began = time.process_time()
        for channel in CHANNELS:
            peri_event(paths, [str(place / "session-ttl.csv")], str(place), channel, context=context)
        seconds += time.process_time() - began
        scores["peri_event"].add(place, "", truth)
        for name in PEERS:
            if (place / f"{name}-GPIO-3.csv").is_file():
                scores[name].add(place, f"{name}-", truth)
    summaries: dict[str, object] = {name: score.summary() for name, score in scores.items() if score.sessions}
    return {**summaries, "cpu_s": round(seconds, 2)}


# ---- cost


def one_large(folder: Path) -> dict[str, float]:
    """In a process that has imported what it needs, and nothing else done."""
    rng = np.random.default_rng(0)
    rate_hz, cells, samples = 20, 500, 20 * 60 * 20
    path, table = folder / "large.isxd", folder / "large-ttl.csv"
    traces = rng.normal(size=(cells, samples)).astype(np.float32)
    write_cell_set(path, [footer(0, samples, rate_hz)], np.ones((cells, 8, 8), np.float32), traces)
    del traces
    events = np.sort(rng.uniform(5, 1190, 100))
    write_table(
        table, ("channel", "onset_s", "offset_s"), [("GPIO-1", f"{at:.6f}", f"{at + 0.1:.6f}") for at in events]
    )
    command = [sys.executable, __file__, str(folder), "--cost-of", str(path), str(table)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def cost_of(folder: Path, cells: str, table: str) -> dict[str, float]:
    began, wall = time.process_time(), time.monotonic()
    peri_event(cells, [table], str(folder), "GPIO-1", context=StepContext(folder, warn=lambda text: None))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds = {"cpu_s": time.process_time() - began, "wall_s": time.monotonic() - wall}
    return {name: round(value, 2) for name, value in seconds.items()} | {"peak_mb": round(peak / 1000)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first", type=int, default=1000)
    parser.add_argument("--make", action="store_true")
    parser.add_argument("--cost", action="store_true")
    parser.add_argument("--cost-of", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.cost_of:
        print(json.dumps(cost_of(options.folder, *options.cost_of)))
        return
    if options.cost:
        options.folder.mkdir(parents=True, exist_ok=True)
        report: dict[str, object] = dict(one_large(options.folder))
    else:
        report = measured(options.folder, range(options.first, options.first + options.seeds), options.make)
    print(json.dumps(report, indent=None if options.json else 1))


if __name__ == "__main__":
    main()
