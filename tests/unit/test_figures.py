"""Measured figures in README and docs are those of bench/report.json.

A figure is quoted with the place that it has there: `0.9 s<!-- bench: start.image.median -->`. It must be the stored
value, rounded as it is written; a percentage is 100 times the stored value. Times, speeds and ratios without such a
mark are taken for figures that nobody measured.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
REPORT = ROOT / "bench/report.json"
PAGE = ROOT / "docs/benchmarks.md"  # written from the report as a whole

MARK = r"<!-- bench: (?P<place>[\w.]+) -->"
QUOTED = re.compile(r"(?P<figure>\d[\d,]*(?:\.\d+)?)(?P<unit>[^\d\n<]{0,12})" + MARK)
MEASURED = re.compile(
    r"(?<![\w.=-])\d[\d,.]*\s?(?:ms|s|seconds|minutes|%|MB/s|GB/s|×|times (?:as |the |faster|smaller|less))(?!\w| \d)"
)
NOT_PROSE = re.compile(r"```.*?```|`[^`\n]*`", re.DOTALL)


def pages() -> list[Path]:
    return [ROOT / "README.md", *(path for path in sorted((ROOT / "docs").glob("*.md")) if path != PAGE)]


def looked_up(report: Any, place: str) -> float:
    """Raises KeyError where the report has no such figure."""
    for key in place.split("."):
        report = report[key]
    if isinstance(report, bool) or not isinstance(report, (int, float)):
        raise KeyError(place)
    return report


def problems(text: str, report: Any) -> list[str]:
    """What is wrong with the figures of a page."""
    wrong = []
    quoted = list(QUOTED.finditer(text))
    for match in quoted:
        figure, place = match["figure"].replace(",", ""), match["place"]
        try:
            value = looked_up(report, place) * (100 if "%" in match["unit"] else 1)
        except (KeyError, TypeError):
            wrong.append(f"{figure}: the report has no figure {place}")
            continue
        decimals = len(figure.partition(".")[2])
        if f"{value:.{decimals}f}" != figure:
            wrong.append(f"{figure} is quoted for {place}, which is {value:g}")
    if len(quoted) != text.count("<!-- bench:"):
        wrong.append("a mark stands behind no figure, or is misspelt")
    rest = NOT_PROSE.sub("", QUOTED.sub("", text))
    wrong += [f"'{match[0]}' has no mark that says where it was measured" for match in MEASURED.finditer(rest)]
    return wrong


SAMPLE = {"start": {"image": {"median": 0.8512}, "ratio": 24.6}, "size": {"ratio": 0.4812}, "many": {"n": 1234.4}}


@pytest.mark.parametrize(
    "text",
    [
        "It takes 0.85 s<!-- bench: start.image.median -->.",
        "25<!-- bench: start.ratio --> or 24.6 times<!-- bench: start.ratio --> as fast",
        "| 48 %<!-- bench: size.ratio --> | 1,234 MB/s<!-- bench: many.n --> |",
        "a movie of 800 × 1280 px, `sleep 3 ms`, a limit of 500 KiB",
    ],
)
def test_figures_that_were_measured(text):
    assert problems(text, SAMPLE) == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("0.8 s<!-- bench: start.image.median -->", "0.8 is quoted for start.image.median, which is 0.8512"),
        ("25 s<!-- bench: start.image.mean -->", "25: the report has no figure start.image.mean"),
        ("25 s<!-- bench: start.image -->", "25: the report has no figure start.image"),
        ("fast<!-- bench: start.ratio -->", "a mark stands behind no figure, or is misspelt"),
        ("reads 300 MB/s", "'300 MB/s' has no mark that says where it was measured"),
        ("within 0.9 s", "'0.9 s' has no mark that says where it was measured"),
        ("a build takes 3 minutes", "'3 minutes' has no mark that says where it was measured"),
        ("half: 48 %.", "'48 %' has no mark that says where it was measured"),
        ("it is 20 times faster", "'20 times faster' has no mark that says where it was measured"),
        ("48 %<!-- bench: start.ratio -->", "48 is quoted for start.ratio, which is 2460"),
    ],
)
def test_figures_that_were_not(text, problem):
    assert problems(text, SAMPLE) == [problem]


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_readme_and_docs_quote_the_report(page):
    assert problems(page.read_text("utf-8"), json.loads(REPORT.read_text("utf-8"))) == []


def test_the_page_of_benchmarks_is_that_of_the_report(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "bench"))
    from page import page

    assert PAGE.read_text("utf-8") == page(json.loads(REPORT.read_text("utf-8"))), "make bench writes it"


def test_a_page_shows_what_every_method_found(monkeypatch):
    """A method that no table knows is a table that lacks it."""
    monkeypatch.syspath_prepend(str(ROOT / "bench"))
    import page

    one = {"f1": 0.9, "cpu_s": 1.0}
    peer = {"f1": 0.8, "cpu_s": 7.0, "r_of_both": 0.9, "open_r_of_both": 0.95}
    recordings = {
        name: {"motion_rms_px": 0.1, "methods": {"open": one, "peer_60_6": peer, "peer_80_10": {**peer, "f1": 0.5}}}
        for name in ("easy-1", "ca1-1")
    }
    measured = {"made": "2026-01-01", "recordings": recordings, **page.summary(recordings)}
    assert measured["against_peer"]["f1"] == {"least": 0.1, "most": 0.1}
    shown = page.accuracy(measured)
    assert "| inscopix-cnmfe (0.6, 6) | 0.800 | 0.800 | 0.800 |" in shown
    whole = {"f1": 0.93, "precision": 1.0, "recall": 0.9, "accepted": 30, "event_f1": 0.9, "cpu_s": 8.0}
    nothing = {"f1": 0.0, "precision": 0.0, "recall": 0.0, "accepted": 1, "cpu_s": 8.0}
    measured["conditions"] = {
        "base-1": {"counted": 33, "methods": {"recipe": whole}},
        "no_waves-1": {"counted": 0, "methods": {"recipe": nothing}},
    }
    assert "| base-1 | 33 | 30 | 0.930 | 1.00 | 0.900 | 0.900 | 8.00 |" in page.accuracy(measured)
    assert "| no_waves-1 | 0 | 1 |  |  |  |  |  |" in page.accuracy(measured)
    assert "inscopix-cnmfe takes 7.00 to 7.00 times the processor time" in shown
    recordings["easy-1"]["methods"]["peer_60_6.0"] = peer
    with pytest.raises(AssertionError, match="nothing shows"):
        page.accuracy(measured)


def test_a_peer_is_kept_under_the_name_that_the_page_looks_for(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "bench"))
    import page
    import peer

    for correlation, peak_to_noise in peer.THRESHOLDS:
        for given in (peak_to_noise, float(peak_to_noise)):
            name = peer.result(Path(), "easy-1", correlation, given).stem.partition("-peer-")[2]
            assert f"peer_{name}" in page.METHODS


def test_followed_cells_are_a_table_with_what_was_not_measured_said(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "bench"))
    import page

    conditions = {
        "easy": {
            "recall": 0.981,
            "precision": 0.995,
            "present_recall": 0.61,
            "present_precision": 0.9,
            "roicat_recall": 0.968,
            "roicat_precision": 0.972,
            "roicat_seconds": 58.0,
            "calibration_error": 0.012,
            "calibration_worst": 0.031,
            "sure_right": 0.996,
            "seconds": 4.2,
            "strangers": 0,
            "strangers_noticed": 0,
            "others_flagged": 0,
            "sessions": 15,
        },
        "wrong animal": {
            "recall": 0.97,
            "precision": 1.0,
            "calibration_error": 0.01,
            "calibration_worst": 0.02,
            "seconds": 5.0,
            "strangers": 3,
            "strangers_noticed": 3,
            "others_flagged": 1,
            "sessions": 15,
        },
    }
    report = {"made": "2026-01-01", "first": 7000, "studies": 3, "roicat_studies": 2, "conditions": conditions}
    report["roicat_left_out"] = "no disk"
    shown = page.followed(report)
    assert "| easy | 0.981 / 0.995 | 0.610 / 0.900 | 0.968 / 0.972 |" in shown
    assert "| wrong animal | 0.970 / 1.000 | – / – | – / – |" in shown
    assert "| wrong animal | 0.010 | 0.020 | – | 3 of 3 | 1 of 12 | 5.00 |" in shown
    assert "Without ROICaT: no disk." in shown and "GB; recall" not in shown
    many = {
        "sessions": 60,
        "cells_a_session": 503.2,
        "seconds": 100.4,
        "peak_gb": 1.5,
        "recall": 0.99,
        "precision": 0.999,
    }
    assert "60 sessions of 503 cells: 100 s of processor time and 1.50 GB;" in page.followed({**report, "many": many})
