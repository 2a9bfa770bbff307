"""The benchmarks run: their figures are not judged here, but a page that nobody can make anew is worth nothing."""

from __future__ import annotations

import json
import sys

from harness import PROJECT, run

SECTIONS = ("health", "movie", "nwb", "pages")  # the others take minutes


def test_the_benchmarks_measure_this_image():
    report = json.loads(run(sys.executable, PROJECT / "bench/bench.py", "--quick", "--only", *SECTIONS).stdout)
    assert report["health"].keys() >= {"healthcheck", "import_isx"}
    assert all(report["movie"][f"{dtype}_0_1gb"]["run_1"]["mb_per_s"]["median"] > 0 for dtype in ("uint16", "float32"))
    assert report["nwb"]["nwb_mb_per_s"] > 0
    assert all(0 < kind["page_seconds"] < kind["seconds"] for kind in report["pages"].values())
