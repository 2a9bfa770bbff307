#!/usr/bin/env python3
"""Measure this image against what people do today and against the physical limit.

    bench.py [--quick] [--only SECTION...]

Writes bench/report.json, docs/benchmarks.md and docs/images/bench.png. --quick leaves out what takes long, and --only
all but some sections; both print what they measured and write nothing. Standard library only: what needs NumPy or isx
runs inside the image.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import images
import movies
import page
from measure import CODE, ME, NAME, PROJECT, docker, machine, say

REPORT = PROJECT / "bench/report.json"


def scale_out(quick: bool) -> dict[str, Any]:
    """The report of bench/scaleout.py, or the reason why no cluster can be started."""
    if quick:
        return {"left_out": "it takes minutes"}
    command = [sys.executable, str(PROJECT / "bench/scaleout.py"), "--json"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env={**os.environ, "IMAGE": NAME})
    if done.returncode:
        return {"left_out": " ".join(done.stderr.split()) or "no reason given"}
    return json.loads(done.stdout)


def measure(quick: bool, only: list[str]) -> dict[str, Any]:
    say("Building what is compared.")
    report: dict[str, Any] = {"made": time.strftime("%Y-%m-%d", time.gmtime()), "machine": machine()}
    single_stage = images.build_all()
    sections: dict[str, Callable[[], dict[str, Any]]] = {
        "start": lambda: images.section_start(quick),
        "build": lambda: images.section_build(quick),
        "size": lambda: images.section_size(single_stage),
        "health": lambda: images.section_health(quick),
        "movie": lambda: movies.section_movie(quick),
        "movie_steps": lambda: movies.section_movie_steps(quick),
        "long": lambda: movies.section_long(quick),
        "nwb": lambda: movies.section_nwb(quick),
        "pages": lambda: movies.section_pages(quick),
        "many": lambda: movies.section_many(quick),
        "scale_out": lambda: scale_out(quick),
    }
    for name, section in sections.items():
        if not only or name in only:
            say(f"Measuring {name}.")
            started = time.monotonic()
            report[name] = section()
            say(f"  {time.monotonic() - started:.0f} s")
    return report


def draw() -> None:
    """The chart, by the image's own Matplotlib."""
    mounts = (*CODE, "-v", f"{PROJECT / 'docs/images'}:/images")
    docker("run", "--rm", "--user", ME, *mounts, f"{NAME}:public", "python", "/app/bench/chart.py", "/images/bench.png")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="leave out what takes long; write nothing")
    parser.add_argument("--only", nargs="+", default=[], metavar="SECTION", help="only these; write nothing")
    parser.add_argument("--page", action="store_true", help="only write the page and the chart anew from the report")
    options = parser.parse_args()
    if options.page:
        images.build("image")
    else:
        report = measure(options.quick, options.only)
        text = json.dumps(report, indent=1) + "\n"
        if options.quick or options.only:
            print(text)
            return 0
        REPORT.write_text(text)
    page.PAGE.write_text(page.page(json.loads(REPORT.read_text())))
    draw()
    say(f"Written: {REPORT.relative_to(PROJECT)}, {page.PAGE.relative_to(PROJECT)}, docs/images/bench.png")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    finally:
        images.forget_all()
