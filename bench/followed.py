"""Section on cells that are followed over days whose truth is known: `following`, IDPS's step, and ROICaT."""

from __future__ import annotations

import time
from typing import Any

import peer_roicat
from movies import in_image

FIRST, SEEDS = 7000, 3
QUICK = ("easy",)
ROICAT = ("easy", "sparse", "dense", "hard", "wrong animal")  # as it takes minutes a study


def section_followed(quick: bool) -> dict[str, Any]:
    """bench/followed_cells.py in the image, and bench/peer_roicat.py on the same studies.

    It has a date of its own, as it is seldom measured together with the rest.
    """
    seeds = range(FIRST, FIRST + (1 if quick else SEEDS))
    these = ("--first", FIRST, "--seeds", len(seeds))
    made = time.strftime("%Y-%m-%d", time.gmtime())
    found: dict[str, Any] = {"made": made, "first": FIRST, "studies": len(seeds)}
    found["conditions"] = in_image("followed_cells.py", *(QUICK if quick else ()), *these)
    if quick:
        return {**found, "roicat_left_out": "it takes minutes"}
    found["many"] = in_image("followed_cells.py", "many", "--first", FIRST, "--seeds", 1)["many"]
    try:
        for condition in ROICAT:
            rows = peer_roicat.run([condition], seeds)
            for name in ("recall", "precision", "seconds"):
                found["conditions"][condition][f"roicat_{name}"] = sum(row[name] for row in rows) / len(rows)
    except peer_roicat.NotHere as reason:
        found["roicat_left_out"] = str(reason)
    return found
