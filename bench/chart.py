"""Draw bench/report.json: chart.py FOLDER. Runs in the image, which has Matplotlib."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

REPORT = Path(__file__).with_name("report.json")
MINE, THEIRS, LIMIT = "#0072B2", "#E69F00", "#999999"  # of Okabe and Ito: distinct for every eye

Bars = list[tuple[str, float, str]]  # label, value, colour


def bars(axes: Axes, title: str, unit: str, content: Bars) -> None:
    """One bar a line, its value behind it."""
    labels, values, colours = zip(*content)
    drawn = axes.barh(range(len(values)), values, color=colours, height=0.7)
    axes.bar_label(drawn, [f"{value:.3g}" if value < 1000 else f"{value:.0f}" for value in values], padding=4)
    axes.set_yticks(range(len(labels)), labels)
    axes.set_xlim(0, 1.18 * max(values))
    axes.set_xlabel(unit)
    axes.set_title(title, loc="left", fontweight="bold", fontsize=11)
    axes.invert_yaxis()
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(axis="y", length=0)


def start(seconds: dict[str, Any]) -> Bars:
    names = {
        "true": ("container alone", LIMIT),
        "import_isx": ("import isx", LIMIT),
        "image": ("this image", MINE),
        "install_warm": ("install at start, again", THEIRS),
        "install_cold": ("install at start, first", THEIRS),
    }
    return [(label, seconds[name]["median"], colour) for name, (label, colour) in names.items()]


def throughput(movie: dict[str, Any]) -> Bars:
    names = {
        "run_2": ("this image, 2 cores", MINE),
        "run_1": ("this image, 1 core", MINE),
        "naive": ("naive pass", THEIRS),
        "isx": ("isx reading alone", LIMIT),
        "floor": ("read, convert, one product", LIMIT),
        "memmap": ("memory-mapped reading", LIMIT),
    }
    return [(label, movie[way]["mb_per_s"]["median"], colour) for way, (label, colour) in names.items() if way in movie]


def build(seconds: dict[str, Any]) -> Bars:
    names = ("nothing_changed", "code_changed", "installer_changed", "lock_changed", "cold")
    return [(name.replace("_", " "), seconds[name]["median"], MINE) for name in names]


def size(sizes: dict[str, Any]) -> Bars:
    return [
        (f"{label}, {kind}", sizes[name][kind], colour)
        for kind in ("unpacked", "compressed")
        for name, label, colour in (("image", "this image", MINE), ("single_stage", "single stage", THEIRS))
    ]


METHODS = {
    "open": ("open engine", MINE),
    "open_estimated": ("open engine, diameter estimated", "#56B4E9"),
    "peer_80_10": ("inscopix-cnmfe, default", "#D55E00"),
    "peer_60_6": ("inscopix-cnmfe, tuned", THEIRS),
    "fastica": ("FastICA", LIMIT),
}


def accuracy(folder: Path, recordings: dict[str, Any]) -> None:
    """F1 and processor time, a group of bars for each recording."""
    figure = Figure(figsize=(11, 6.2), layout="constrained")
    panels = figure.subplots(2, 1, sharex=True)
    shown = [method for method in METHODS if any(method in recording["methods"] for recording in recordings.values())]
    for axes, measure, title in zip(panels, ("f1", "cpu_s"), ("F1 of cells", "Processor time, s")):
        for k, method in enumerate(shown):
            label, colour = METHODS[method]
            methods = enumerate(recording["methods"] for recording in recordings.values())
            known = [(i, figures[method]) for i, figures in methods if method in figures]
            at = [i + (k - (len(shown) - 1) / 2) * 0.8 / len(shown) for i, _ in known]
            axes.bar(at, [figures[measure] for _, figures in known], 0.75 / len(shown), color=colour, label=label)
        axes.set_title(title, loc="left", fontweight="bold", fontsize=11)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylim(0, 1)
    panels[0].legend(ncols=len(shown), fontsize=8, loc="lower left", framealpha=1)
    panels[1].set_yscale("log")
    panels[1].set_xticks(range(len(recordings)), recordings)
    figure.savefig(folder / "accuracy.png", dpi=110)


def main(folder: Path) -> None:
    report = json.loads(REPORT.read_text())
    if "recordings" in report.get("accuracy", {}):
        accuracy(folder, report["accuracy"]["recordings"])
    movies = report["movie"]
    largest = next(name for name in reversed(movies) if name.startswith("uint16"))
    gigabytes = largest.partition("_")[2].replace("_", ".").replace("gb", " GB")
    figure = Figure(figsize=(11, 6.2), layout="constrained")
    panels = figure.subplots(2, 2)
    bars(panels[0, 0], "Start to sentinel, one small recording", "s", start(report["start"]))
    bars(panels[0, 1], f"A movie of {gigabytes}, uint16", "MB/s", throughput(movies[largest]))
    bars(panels[1, 0], "Build", "s", build(report["build"]))
    bars(panels[1, 1], "Size of the image", "MB", size(report["size"]))
    figure.savefig(folder / "bench.png", dpi=110)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
