#!/usr/bin/env python3
"""Measure this image against what people do today and against the physical limit.

    bench.py [--quick] [--only SECTION...]

Writes bench/report.json, docs/benchmarks.md and the charts in docs/images. --only measures some sections anew; the
others stay in the report as they are. --quick leaves out what takes long; it prints what was measured and writes
nothing. Standard library only: what needs NumPy or isx runs inside the image.
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

import followed
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


def accuracy(quick: bool) -> dict[str, Any]:
    """What movies.section_accuracy finds, with a date of its own: it is seldom measured together with the rest."""
    measured = movies.section_accuracy(quick)
    return {"made": today(), **measured, **page.summary(measured.get("recordings", {}))}


def peri_event(quick: bool) -> dict[str, Any]:
    return {"made": today(), **movies.section_peri_event(quick)}


def sessions(quick: bool) -> dict[str, Any]:
    return {"made": today(), **movies.section_sessions(quick)}


def today() -> str:
    return time.strftime("%Y-%m-%d", time.gmtime())


SECTIONS: dict[str, Callable[[bool], dict[str, Any]]] = {
    "start": images.section_start,
    "build": images.section_build,
    "size": images.section_size,
    "health": images.section_health,
    "movie": movies.section_movie,
    "movie_steps": movies.section_movie_steps,
    "long": movies.section_long,
    "nwb": movies.section_nwb,
    "pages": movies.section_pages,
    "many": movies.section_many,
    "scale_out": scale_out,
    "accuracy": accuracy,
    "peri_event": peri_event,
    "sessions": sessions,
    "followed": followed.section_followed,
}


def measure(quick: bool, only: list[str]) -> dict[str, Any]:
    report: dict[str, Any] = {"made": today(), "machine": machine()}
    images.build("image")
    for name, section in SECTIONS.items():
        if not only or name in only:
            say(f"Measuring {name}.")
            started = time.monotonic()
            report[name] = section(quick)
            say(f"  {time.monotonic() - started:.0f} s")
    return report


def kept(report: dict[str, Any]) -> dict[str, Any]:
    """The last report with the sections of this one; date and machine stay those of the sections that were kept.

    Sections that have a date of their own do not count among these.
    """
    before = json.loads(REPORT.read_text())
    if SECTIONS.keys() - report.keys() <= {"accuracy", "peri_event", "sessions", "followed"}:
        return {**before, **report}
    return {**before, **{name: section for name, section in report.items() if name not in ("made", "machine")}}


def draw() -> None:
    """The charts, by the image's own Matplotlib."""
    mounts = (*CODE, "-v", f"{PROJECT / 'docs/images'}:/images")
    docker("run", "--rm", "--user", ME, *mounts, f"{NAME}:public", "python", "/app/bench/chart.py", "/images")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="leave out what takes long; write nothing")
    parser.add_argument("--only", nargs="+", default=[], choices=SECTIONS, help="measure only these anew")
    parser.add_argument("--page", action="store_true", help="only write the page and the chart anew from the report")
    options = parser.parse_args()
    if options.page:
        images.build("image")
    else:
        report = measure(options.quick, options.only)
        if options.quick:
            print(json.dumps(report, indent=1))
            return 0
        REPORT.write_text(json.dumps(kept(report) if options.only else report, indent=1) + "\n")
    page.PAGE.write_text(page.page(json.loads(REPORT.read_text())))
    draw()
    say(f"Written: {REPORT.relative_to(PROJECT)}, {page.PAGE.relative_to(PROJECT)}, docs/images")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    finally:
        images.forget_all()
