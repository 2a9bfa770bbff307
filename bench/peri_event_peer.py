"""Inscopix's own tool for activity around events, on what peri_event.py left: peri_event_peer.py FOLDER SEED ...

"Peri-Event Analysis Workflow" of Inscopix's IDEAS collection (github.com/inscopix/ideas-neural-circuit-analysis, CC
BY-NC) is fetched at one commit into build/peer/ideas, or taken from the folder that IDEAS_CHECKOUT names. It runs in
an environment of its own, build/peer/ideas-venv. Only tables come from there: FOLDER/SEED/<way>-<channel>.csv, at its
default windows (1 s before, 1 s after) and at those of the step `peri_event`. It places the parts of a session one
after another without gaps, so it is given the events on that clock. Its p is of the nearer side: here it counts
twice.
"""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
import sys
from pathlib import Path

BUILD = Path(__file__).resolve().parent.parent / "build/peer"
VENV, CHECKOUT = BUILD / "ideas-venv", Path(os.environ.get("IDEAS_CHECKOUT") or BUILD / "ideas")
SOURCE, COMMIT = "https://github.com/inscopix/ideas-neural-circuit-analysis", "9a039f83ee85395d7f42ba51454a51b0e29d2378"
NEEDS = ("ideas-python[analysis]==1.3.2", "isx==2.1.0", "scikit-image")
WAYS = {"ideas": (-1, 1, -2, 2), "ideas-window": (-2, 4, -2, 4)}  # compared, and cut out, in s around the event
CHANNELS = ("GPIO-1", "GPIO-2", "GPIO-3")
CLASSES = {1.0: "up", -1.0: "down", 0.0: "none"}


class NotHere(Exception):
    """The peer cannot be had on this machine; the text says why."""


def run(folder: Path, seeds: list[str]) -> None:
    """Raises NotHere."""
    install()
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT), "MPLBACKEND": "Agg"}
    command = [VENV / "bin/python", __file__, folder.resolve(), "--here", *seeds]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise NotHere(f"the IDEAS tool ended with {done.returncode}: {(done.stderr.strip().splitlines() or [''])[-1]}")


def install() -> None:
    """By the ordinary pip and git, unless they are there. Raises NotHere."""
    if not CHECKOUT.is_dir():
        CHECKOUT.mkdir(parents=True)
        fetch = ["git", "-C", str(CHECKOUT), "fetch", "-q", "--depth", "1", SOURCE, COMMIT]
        checkout = ["git", "-C", str(CHECKOUT), "checkout", "-q", COMMIT, "--", "analysis", "utils"]
        for command in (["git", "init", "-q", str(CHECKOUT)], fetch, checkout):
            _do(command, "git cannot fetch the IDEAS collection", CHECKOUT)
    if not (VENV / "ready").exists():
        _do([sys.executable, "-m", "venv", "--clear", str(VENV)], "no environment can be made", VENV)
        pip = [str(VENV / "bin/python"), "-m", "pip", "install", "-q", "--disable-pip-version-check", *NEEDS]
        _do(pip, f"pip cannot install {NEEDS[0]}", VENV)
        (VENV / "ready").touch()


def _do(command: list[str], why: str, leaves: Path) -> None:
    environment = {**os.environ, "GIT_TERMINAL_PROMPT": "0", "GIT_LFS_SKIP_SMUDGE": "1"}
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    if done.returncode:
        shutil.rmtree(leaves, ignore_errors=True)
        raise NotHere(f"{why}: {(done.stderr.strip().splitlines() or ['no reason given'])[-1]}")


# ---- where the peer is


def test(place: Path) -> None:
    import contextlib
    import io
    import tempfile

    import h5py
    from analysis.peri_event_workflow import run_peri_event_workflow

    with (place / "without-gaps.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    cells = [str(path) for path in sorted(place.glob("cells-*.isxd"))]
    for way, (before, after, begin, end) in WAYS.items():
        for channel in CHANNELS:
            with tempfile.TemporaryDirectory() as work, contextlib.redirect_stdout(io.StringIO()):
                events = Path(work) / "events.h5"
                with h5py.File(events, "w") as file:
                    times = [float(row["time_s"]) for row in rows if row["channel"] == channel]
                    file.create_dataset(f"events/{channel}/Time", data=times)
                os.chdir(work)
                run_peri_event_workflow(
                    cells,
                    str(events),
                    channel,
                    visual_window_pre=begin,
                    visual_window_post=end,
                    statistical_window_pre_start=before,
                    statistical_window_pre_end=0.0,
                    statistical_window_post_start=0.0,
                    statistical_window_post_end=after,
                    output_dir=work,
                )
                (made,) = Path(work).rglob("*STATISTICS.csv")
                with made.open(newline="") as file:
                    of_cells = [row for row in csv.DictReader(file) if row["name"].startswith("C")]
                os.chdir("/")
            with (place / f"{way}-{channel}.csv").open("w", newline="") as file:
                writer = csv.writer(file, lineterminator="\n")
                writer.writerow(("cell", "p", "class"))
                for row in of_cells:
                    p, modulation = float(row["p-value"]), float(row["modulation"])
                    writer.writerow((row["name"], min(1, 2 * p), CLASSES[modulation]))


if __name__ == "__main__":
    folder, *names = sys.argv[1:]
    if names[:1] == ["--here"]:
        for name in names[1:]:
            test(Path(folder) / name)
    else:
        run(Path(folder), names)
