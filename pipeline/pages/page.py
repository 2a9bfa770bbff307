"""Lays out the page of a recording or series: one file, which opens from a disk, loads nothing and sends nothing."""

from __future__ import annotations

import collections
import functools
import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jinja2

from common.sentences import merged
from pipeline.pages import cells, methods, templating
from pipeline.pages.content import Part, StepShown, is_stated
from pipeline.pages.layout import nice_length
from pipeline.pages.templating import NEIGHBOURS, OTHERS, asset, room
from pipeline.pages.trust import trust
from recording.kinds import KINDS
from recording.names import STEPS

PICTURES_BYTES = 4_000_000  # of base64; pictures beyond are shown from their files beside the page
OF_RECIPES = ("animal.html", "responding.html", "steps.html")  # templates
MEDIA = "img-src data: 'self' file:; media-src 'self' file:"  # which a page may show
DIMMED = 0.7  # what is behind the outlines, so that they stand out
STATUSES, CANDIDATE = ("accepted", "undecided", "rejected"), "candidate"
MOST_LABELS = 60  # names on the map of cells


@dataclass(frozen=True)
class Page:
    """Everything that a page shows."""

    title: str
    stem: str
    parts: Sequence[Part]
    software: Mapping[str, Any]
    provenance: Mapping[str, Any]
    steps: Sequence[StepShown] = ()
    recipe: str = ""
    warnings: Sequence[str] = ()
    failure: str = ""  # of the recipe that should have been run
    session: Mapping[str, Any] | None = None  # as in the JSON, if it has several recordings


def write(page: Page, out: Path) -> tuple[str, ...]:
    """Write the page and the methods text on the results in `out`; returns the names of the files."""
    names = f"{page.stem}.html", f"{page.stem}-methods.md", f"{page.stem}-citations.bib"
    text, bibliography = methods.text(page.parts, page.steps, page.software), methods.bibliography
    (out / names[1]).write_text(text.markdown, encoding="utf-8")
    (out / names[2]).write_text(bibliography(text.citations), encoding="utf-8")
    (out / names[0]).write_text(html(page, out, text.markdown), encoding="utf-8", errors="backslashreplace")
    return names


def html(page: Page, out: Path, methods_text: str) -> str:
    """The page as text; pictures are read from `out`."""
    has_cells = any(part.cells for part in page.parts)
    styles = [asset("vendor/uPlot.min.css")] * has_cells + [style()]
    scripts = [asset("vendor/uPlot.iife.min.js"), asset("explorer.js")] * has_cells + [asset("page.js")]
    names = {path.name for path in out.iterdir() if path.is_file() and not path.name.startswith(".")}
    n_sets = sum(part.cells is not None for part in page.parts)
    template = templates().get_template("page.html")
    recordings = [recording["name"] for recording in (page.session or {}).get("recordings", ())]
    page = replace(page, warnings=merged(page.warnings, recordings))
    return template.render(
        page=page,
        title=page.title,
        policy=templating.policy(styles, scripts, MEDIA),
        styles=styles,
        scripts=scripts,
        neighbours=room(NEIGHBOURS),
        others=room(OTHERS),
        trust=trust(page.parts, page.warnings, page.failure),
        picture=_Pictures(out, PICTURES_BYTES - sum(map(_tissue_bytes, page.parts))),
        explorers=[_explorer(part.cells, page.stem, n_sets) if part.cells else None for part in page.parts],
        methods=methods_text,
        files=[*sorted({*names, f"{page.stem}.html", f"{page.stem}.json"}), *[f"{STEPS}/"] * (out / STEPS).is_dir()],
    )


# ---- what templates call


def facts(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Size and time of a recording, as labels and texts."""
    labelled = [
        ("Start", _moment(record.get("start"))),
        ("Duration", _time(record.get("duration_s"))),
        ("Rate", _number(record.get("sampling_rate_hz"), "Hz")),
        ("Samples", _count(record.get("n_samples"))),
        ("Dropped, cropped, blank", _missing(record)),
        ("Frame", _size(record)),
        ("Pixel", _pixel(record)),
        ("Data type", record.get("data_type", "")),
        ("Cells", _count(record.get("n_cells"))),
        ("Events", _count(record.get("n_events"))),
        ("Unit of traces", record.get("trace_unit", "")),
    ]
    return [(label, text) for label, text in labelled if text]


def acquisition(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Device, animal and session as the recording states them, without empty fields."""
    return [
        (label.replace("mw/mm^2", "mW/mm²"), number(value) if isinstance(value, float) else str(value))
        for label, value in (record.get("acquisition") or {}).items()
        if is_stated(label, value)
    ]


def number(value: float | int | None) -> str:
    """Three significant digits, as people write them; a dash for what cannot be told."""
    if value is None or value != value:
        return "–"
    if isinstance(value, int) or (float(value).is_integer() and abs(value) < 1e6):
        return f"{int(value):,}".replace(",", "\u202f")
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def parameter(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(parameter, value)) + "]"
    return "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _moment(start: Any) -> str:
    """2022-10-11 12:31:59 +01:00."""
    moment = re.fullmatch(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)(?:\.\d+)?(.*)", str(start or ""))
    return f"{moment[1]} {moment[2]} {'UTC' if moment[3] == '+00:00' else moment[3]}".strip() if moment else ""


def _time(seconds: Any) -> str:
    if not seconds:
        return ""
    if seconds < 120:
        return f"{seconds:.4g} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min {rest} s"


def _number(value: Any, unit: str) -> str:
    return f"{value:.4g} {unit}" if value else ""


def _count(value: Any) -> str:
    return number(int(value)) if value is not None else ""


def _missing(record: Mapping[str, Any]) -> str:
    counts = [record.get(f"n_{name}") for name in ("dropped", "cropped", "blank")]
    return ", ".join(_count(count) for count in counts) if None not in counts else ""


def _size(record: Mapping[str, Any]) -> str:
    return f"{record['width_px']} × {record['height_px']} px" if record.get("width_px") else ""


def _pixel(record: Mapping[str, Any]) -> str:
    if not record.get("pixel_width_um"):
        return ""
    um = record.get("tissue_um_per_px")
    tissue = f", {um:.4g} µm in the tissue by the lens" if um else ""
    return f"{record['pixel_width_um']:.4g} × {record['pixel_height_um']:.4g} µm on the sensor{tissue}"


def _tissue_bytes(part: Part) -> int:
    """Bytes of base64: what lies behind the outlines takes its room from the pictures."""
    return sum(len(picture.picture) * 4 // 3 for picture in part.cells.tissue) if part.cells else 0


class _Pictures:
    """The address of a picture: its content while there is room on the page, else its file."""

    def __init__(self, out: Path, room: int) -> None:
        self.out, self.room = out, room

    def __call__(self, name: str) -> str:
        path = self.out / name
        size = path.stat().st_size * 4 // 3
        if size > self.room:
            return templating.link(name)
        self.room -= size
        return png(path.read_bytes())


def png(data: bytes) -> str:
    return f"data:image/png;base64,{b64encode(data).decode()}"


def _explorer(shown: cells.Cells, session: str, n_sets: int) -> dict[str, Any]:
    """Everything that the explorer's template needs besides the cells themselves."""
    rows, columns = shown.shape
    across, down = shown.pixel_um
    stretch = down / across if across > 0 and down > 0 else 1.0
    um = nice_length(columns * across / 4) if across > 0 else 0
    largest_first = sorted(range(len(shown.names)), key=lambda i: -shown.cores[i][2].size)
    data = cells.for_script(shown, session, n_sets)
    return {
        "data": {**data, "backgrounds": data["backgrounds"][1:]},
        "backgrounds": data["backgrounds"],
        "dimmed": DIMMED,
        "outlines": [(i, shown.names[i], shown.status[i], cells.outline(shown.cores[i])) for i in largest_first],
        "labels": cells.labels(shown) if shown.n_cells <= MOST_LABELS else [],
        "where": shown.pixel_um.where,
        "rows": rows,
        "columns": columns,
        "stretch": round(stretch, 4),
        "height": round(rows * stretch, 2),
        "bar_um": um,
        "bar_px": round(um / across, 2) if across > 0 else 0,
        "counts": collections.Counter(shown.status),
        "statuses": [*STATUSES, *[CANDIDATE] * bool(shown.n_candidates)],
    }


def style() -> str:
    """That of the overview, and what the pages add."""
    return asset("style.css") + asset("page.css")


# ---- templates


@functools.cache
def templates() -> jinja2.Environment:
    made = templating.environment()
    made.filters |= {"number": number, "parameter": parameter, "png": png, "facts": facts}
    made.filters |= {"acquisition": acquisition, "moment": _moment, "kind": lambda code: KINDS[code].name}
    return made


def warm_up() -> None:
    """Read and compile the templates that inspection needs, in a process that forks others."""
    for name in templates().list_templates():
        if name not in OF_RECIPES:
            templates().get_template(name)
