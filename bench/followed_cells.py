"""Following on studies with known identities: followed_cells.py [--seeds N] [--first SEED] [--json] [CONDITION ...]

Each row is a condition of following_studies.py. Recall and precision are of pairs of cells that two sessions hold; a
pair with something that is no cell counts as wrong. The calibration error is over the pairs that following reports: the
mean distance of probability and truth in ten bins, weighted, over all studies and of the worst. "present" is what the
step `longitudinal_registration` finds in the same studies. Runs where the image's modules are, with one thread.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import numpy as np  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from following import Following, Session, follow  # noqa: E402
from following_studies import CONDITIONS, Day, Linked, linked, recall_and_precision, study  # noqa: E402
from open_engine.alignment import IDENTITY, align, cut_footprints, reached, rectangle_within, warped  # noqa: E402
from open_engine.same_cells import match_cells  # noqa: E402
from recording.errors import Unusable  # noqa: E402


def calibration(probability: np.ndarray, right: np.ndarray) -> float:
    """Expected calibration error, ten bins."""
    if not len(right):
        return 0.0
    bins = np.minimum((10 * probability).astype(int), 9)
    return float(
        sum(
            (bins == k).mean() * abs(probability[bins == k].mean() - right[bins == k].mean())
            for k in range(10)
            if (bins == k).any()
        )
    )


def present(days: Sequence[Day]) -> Linked | None:
    """What the step of recipes finds, or None where it refuses."""
    images = [cut_footprints(day.footprints.toarray().reshape(-1, *day.shape)) for day in days]
    transforms = [IDENTITY, *(align(images[0], day_images) for day_images in images[1:])]
    everywhere = np.ones(days[0].shape, bool)
    for transform, day in zip(transforms, days):
        everywhere &= reached(transform, days[0].shape, day.shape)
    crop = rectangle_within(everywhere)
    if crop is None:
        return None
    x, y, width, height = crop
    seen = [
        np.array([warped(image, transform, (height, width), (x, y)) for image in footprints])
        for footprints, transform in zip(images, transforms)
    ]
    try:
        known_cells = match_cells(seen, [range(len(footprints)) for footprints in seen], 0.5)
    except Unusable:
        return None
    labels = [np.zeros(len(footprints), int) for footprints in seen]
    for match in known_cells:
        labels[match.session][match.cell] = match.known
    return linked(labels)


def sessions_of(days: Sequence[Day]) -> list[Session]:
    return [Session(day.name, day.footprints, day.shape, day.names, day.image) for day in days]


def _drawn(condition: str, seed: int) -> list[Day]:
    return [replace(day, at=day.at[:, :0]) for day in study(CONDITIONS[condition], seed)]


def measured(condition: str, seed: int, beside: bool) -> dict[str, object]:
    with ProcessPoolExecutor(1, get_context("spawn")) as elsewhere:  # so that the peak of memory is that of following
        days = elsewhere.submit(_drawn, condition, seed).result()
    sessions = sessions_of(days)
    began = time.process_time()
    following = follow(sessions)
    seconds = time.process_time() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    true = linked([day.truth for day in days])
    recall, precision = recall_and_precision(days, linked(following.groups))
    probability, right = _reported(following, true)
    sure = right[probability >= 0.95]
    row: dict[str, object] = {
        "condition": condition,
        "seed": seed,
        "recall": recall,
        "precision": precision,
        "calibration_error": calibration(probability, right),
        "sure_right": float(sure.mean()) if len(sure) else None,
        "strangers_noticed": sum(s in following.flags for s, day in enumerate(days) if day.stranger),
        "strangers": sum(day.stranger for day in days),
        "sessions": len(days),
        "others_flagged": sum(s in following.flags for s, day in enumerate(days) if not day.stranger),
        "seconds": seconds,
        "cells_a_session": sum(len(day.names) for day in days) / len(days),
        "peak_gb": peak / 2**20,
    }
    step = present(days) if beside else None
    if step is not None:
        row["present_recall"], row["present_precision"] = recall_and_precision(days, step)
    return row


def _reported(following: Following, true: Linked) -> tuple[np.ndarray, np.ndarray]:
    keys = [((pair.session, pair.cell), (pair.other_session, pair.other_cell)) for pair in following.pairs]
    return np.array([pair.probability for pair in following.pairs]), np.array([key in true for key in keys], bool)


def together(rows: Sequence[dict[str, object]]) -> dict[str, float]:
    """Summarise the studies of one condition: means, counts and the worst calibration."""

    def known(key: str) -> list[float]:
        return [float(row[key]) for row in rows if row.get(key) is not None]

    means = ("recall", "precision", "present_recall", "present_precision", "calibration_error", "sure_right", "seconds")
    means += ("cells_a_session", "peak_gb")
    counts = ("strangers_noticed", "strangers", "others_flagged", "sessions")
    summary = {name: float(np.mean(known(name))) for name in means if known(name)}
    summary |= {name: int(sum(known(name))) for name in counts}
    return {**summary, "calibration_worst": max(known("calibration_error")), "studies": len(rows)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("conditions", nargs="*", default=[name for name in CONDITIONS if name != "many"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first", type=int, default=1000)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    report = {}
    for condition in arguments.conditions:
        seeds = range(arguments.first, arguments.first + arguments.seeds)
        its = together([measured(condition, seed, condition != "many") for seed in seeds])
        report[condition] = its
        if not arguments.json:
            print(f"{condition}:", ", ".join(f"{name} {value:.3g}" for name, value in its.items()), flush=True)
    if arguments.json:
        print(json.dumps(report))


if __name__ == "__main__":
    main()
