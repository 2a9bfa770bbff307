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
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import numpy as np  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from following import Following, Session, follow  # noqa: E402
from following_studies import CONDITIONS, Day, study  # noqa: E402
from open_engine.alignment import IDENTITY, align, cut_footprints, reached, rectangle_within, warped  # noqa: E402
from open_engine.same_cells import match_cells  # noqa: E402
from recording.errors import Unusable  # noqa: E402

Linked = set[tuple[tuple[int, int], tuple[int, int]]]


def pairs(labels: Sequence[Iterable[int]]) -> Linked:
    """Pairs of cells, as (session, cell), that have one label."""
    members: dict[int, list[tuple[int, int]]] = {}
    for s, each in enumerate(labels):
        for i, label in enumerate(each):
            members.setdefault(int(label), []).append((s, i))
    return {(a, b) for group in members.values() for k, a in enumerate(group) for b in group[k + 1 :]}


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
    transforms = [IDENTITY, *(align(images[0], each) for each in images[1:])]
    everywhere = np.ones(days[0].shape, bool)
    for transform, day in zip(transforms, days):
        everywhere &= reached(transform, days[0].shape, day.shape)
    crop = rectangle_within(everywhere)
    if crop is None:
        return None
    x, y, width, height = crop
    seen = [
        np.array([warped(image, transform, (height, width), (x, y)) for image in each])
        for each, transform in zip(images, transforms)
    ]
    try:
        found = match_cells(seen, [range(len(each)) for each in seen], 0.5)
    except Unusable:
        return None
    labels = [np.zeros(len(each), int) for each in seen]
    for each in found:
        labels[each.session][each.cell] = each.known
    return pairs(labels)


def sessions_of(days: Sequence[Day]) -> list[Session]:
    return [Session(day.name, day.footprints, day.shape, day.names, day.image) for day in days]


def measured(condition: str, seed: int, beside: bool) -> dict[str, object]:
    days = study(CONDITIONS[condition], seed)
    sessions = sessions_of(days)
    began = time.process_time()
    found = follow(sessions)
    seconds = time.process_time() - began
    true = pairs([day.truth for day in days])
    linked = pairs(found.groups)
    probability, right = _reported(found, true)
    sure = right[probability >= 0.95]
    row: dict[str, object] = {
        "condition": condition,
        "seed": seed,
        "recall": len(true & linked) / max(len(true), 1),
        "precision": len(true & linked) / max(len(linked), 1),
        "calibration_error": calibration(probability, right),
        "sure_right": float(sure.mean()) if len(sure) else None,
        "strangers_noticed": sum(s in found.flags for s, day in enumerate(days) if day.stranger),
        "strangers": sum(day.stranger for day in days),
        "others_flagged": sum(s in found.flags for s, day in enumerate(days) if not day.stranger),
        "seconds": seconds,
    }
    step = present(days) if beside else None
    if step is not None:
        row["present_recall"] = len(true & step) / max(len(true), 1)
        row["present_precision"] = len(true & step) / max(len(step), 1)
    return row


def _reported(found: Following, true: Linked) -> tuple[np.ndarray, np.ndarray]:
    keys = [((each.session, each.cell), (each.other_session, each.other_cell)) for each in found.pairs]
    return np.array([each.probability for each in found.pairs]), np.array([key in true for key in keys], bool)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("conditions", nargs="*", default=[name for name in CONDITIONS if name != "many"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first", type=int, default=1000)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    for condition in arguments.conditions:
        seeds = range(arguments.first, arguments.first + arguments.seeds)
        rows = [measured(condition, seed, condition != "many") for seed in seeds]
        if arguments.json:
            print(*map(json.dumps, rows), sep="\n", flush=True)
            continue

        def mean(key: str, rows: Sequence[dict[str, object]] = rows) -> float:
            known = [row[key] for row in rows if row.get(key) is not None]
            return float(np.mean(known)) if known else float("nan")

        errors = [row["calibration_error"] for row in rows]
        print(
            f"{condition}: recall {mean('recall'):.3f} precision {mean('precision'):.3f} "
            f"(present {mean('present_recall'):.3f} {mean('present_precision'):.3f}); "
            f"calibration error {np.mean(errors):.3f}, worst {max(errors):.3f}; of those at .95 or more "
            f"{mean('sure_right'):.3f} right; strangers noticed {sum(row['strangers_noticed'] for row in rows)} of "
            f"{sum(row['strangers'] for row in rows)}, others flagged {sum(row['others_flagged'] for row in rows)}; "
            f"{mean('seconds'):.1f} s",
            flush=True,
        )


if __name__ == "__main__":
    main()
