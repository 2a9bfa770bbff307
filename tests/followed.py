"""Cell sets of one animal on several days, as IDPS might have left them, and runs on them."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from bench.following_studies import CONDITIONS, Day, study
from open_engine.files.cellsets import write_cell_set
from recording import formats
from samples import recordings
from tests.launch import Run, bootstrap

SEED = 71
NAMED = '[Subject]\nsubject_id = "{}"\n'


def write_session(folder: Path, day: Day, number: int) -> Path:
    """As IDPS might have left it: a cell set in the input."""
    folder.mkdir(parents=True, exist_ok=True)
    images = day.footprints.toarray().reshape(-1, *day.shape)
    movie = recordings.movie(folder / "movie.isxd", 20, *day.shape)
    footer = formats.read_footer(movie)
    footer["timingInfo"]["start"]["secsSinceEpoch"] = {"num": (1_700_000_000 + 86400 * number) * 1000, "den": 1000}
    movie.unlink()
    path = folder / f"s{number}.isxd"
    traces = np.random.default_rng(number).normal(0, 1, (len(images), 20)).astype(np.float32)
    write_cell_set(path, [footer], images, traces, names=day.names)
    return path


def write_study(root: Path, condition: str = "easy", animal: str = "m1", n: int = 4) -> list[Day]:
    days = study(CONDITIONS[condition], SEED)[:n]
    for number, day in enumerate(days):
        write_session(root / animal / f"day{number}", day, number)
    (root / animal / "nwb.toml").write_text(NAMED.format(animal))
    return days


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def run(root: Path, *arguments: str, **more: str) -> Run:
    return bootstrap(
        *arguments, env={"INPUT_DIR": str(root / "data"), "OUTPUT_DIR": str(root / "out"), "WORKERS": "1", **more}
    )
