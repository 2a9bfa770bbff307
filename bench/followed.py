"""Section on cells that are followed over days whose truth is known: `following`, IDPS's step, and ROICaT."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import peer_roicat
from movies import in_image

FIRST, SEEDS = 7000, 4
QUICK = ("easy",)
ROICAT, ITS_SEEDS = ("easy", "dense", "hard", "wrong animal"), 2  # as it takes minutes a study


def section_followed(quick: bool) -> dict[str, Any]:
    """bench/followed_cells.py in the image, and bench/peer_roicat.py on the same studies.

    It has a date of its own, as it is seldom measured together with the rest. Its parts run at the same time: what they
    measure is processor time, and the peak of memory of each.
    """
    seeds = range(FIRST, FIRST + (1 if quick else SEEDS))
    these = ("--first", FIRST, "--seeds", len(seeds))
    made = time.strftime("%Y-%m-%d", time.gmtime())
    report: dict[str, Any] = {"made": made, "first": FIRST, "studies": len(seeds), "roicat_studies": ITS_SEEDS}
    if quick:
        conditions = in_image("followed_cells.py", *QUICK, *these)
        return {**report, "conditions": conditions, "roicat_left_out": "it takes minutes"}
    with ThreadPoolExecutor(3) as pool:
        roicat = pool.submit(by_roicat, seeds[:ITS_SEEDS])
        many = pool.submit(in_image, "followed_cells.py", "many", "--first", FIRST, "--seeds", 1)
        conditions = pool.submit(in_image, "followed_cells.py", *these).result()
    report |= {"conditions": conditions, "many": many.result()["many"]}
    try:
        for condition, its in roicat.result().items():
            conditions[condition] |= its
    except peer_roicat.NotHere as reason:
        report["roicat_left_out"] = str(reason)
    return report


def by_roicat(seeds: range) -> dict[str, dict[str, float]]:
    """Means of each condition. Raises peer_roicat.NotHere."""
    means = {}
    for condition in ROICAT:
        rows = peer_roicat.run([condition], seeds)
        names = ("recall", "precision", "seconds")
        means[condition] = {f"roicat_{name}": sum(row[name] for row in rows) / len(rows) for name in names}
    return means
