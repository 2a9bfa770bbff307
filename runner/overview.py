"""index.html: every recording of the output, with the numbers that tell them apart and a link to the page of each.

Standard library only, as all that PID 1 does; the pages themselves are made by workers (`pipeline.pages`).
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import os
import re
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import recording
from recording.kinds import KINDS
from runner.events import duration, printable

if TYPE_CHECKING:
    from runner.animals import Followed
from runner.inside import Folder

THUMBNAIL_BUDGET = 24 << 20  # bytes of base64; beyond it the page stays quick to open and shows no more pictures
HEAD_BYTES = 1 << 16  # of a recording's page, in which the room for links to its neighbours lies
LEFT_OUT = "left out"  # status of a recording in a form that cannot be read
TITLE = "Inscopix recordings"
MEASURES = {  # columns of the table, by their name in <stem>-quality.csv
    "dropped_percent": "Dropped [%]",
    "brightness_change_percent": "Brightness change [%]",
    "shift_max_px": "Shift [px]",
    "snr_median": "SNR",
    "transient_rate_median_per_min": "Transients [1/min]",
    "event_rate_median_per_min": "Events [1/min]",
}


@dataclass
class Row:
    """One input, as the report shows it."""

    path: str  # relative to the input folder
    kind: str
    status: str  # "done", "failed" or LEFT_OUT
    reason: str = ""
    seconds: float = 0.0
    summary: str = ""
    thumbnail: str | None = None
    warnings: list[str] = field(default_factory=list)
    results: str = ""  # folder, relative to the output
    products: tuple[str, ...] = ()
    log: str = ""  # relative to the output; "" if there is none
    series: str = ""  # path of the first part
    part: int = 0  # from 1
    parts: int = 0


@dataclass
class Entry:
    """A line of the table: a recording, or the parts of a series."""

    rows: list[Row]
    values: dict[str, str] = field(default_factory=dict)  # of MEASURES
    n_marked: int = 0  # measures to look at again

    @property
    def first(self) -> Row:
        return self.rows[0]

    @property
    def results(self) -> list[Row]:
        """One row for each folder of results: the parts of a series may share theirs."""
        return list({row.results: row for row in self.rows}.values())


def entries(rows: Iterable[Row]) -> list[Entry]:
    """Finished recordings in natural order, a folder before its subfolders and a series as one."""
    found: dict[str, Entry] = {}
    for row in sorted((row for row in rows if row.status == "done"), key=_natural):
        found.setdefault(row.series or row.path, Entry([])).rows.append(row)
    for entry in found.values():
        entry.rows.sort(key=lambda row: row.part)
    return list(found.values())


def _natural(row: Row) -> tuple[object, ...]:
    """a2 before a10; of a series, its first part decides."""
    folder, _, name = (row.series or row.path).rpartition("/")
    return [_numbers(part) for part in folder.split("/")] if folder else [], _numbers(name), row.part


def _numbers(text: str) -> list[tuple[int, int, str]]:
    parts = re.split(r"(\d+)", text.casefold())
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts if part]


def read_measures(output: Folder, entry: Entry) -> Iterator[str]:
    """Take what tells recordings apart from the tables that workers wrote; a table that is not there says nothing.

    Yields those that are there and cannot be read: somebody changed them.
    """
    for row in entry.results:
        name = f"{row.results}/{row.results.rpartition('/')[2]}-quality.csv"
        try:
            table = output.read(name).decode()
            reader = csv.DictReader(io.StringIO(table, newline=""))
            lines = list(reader)
            if not {"measure", "value", "mark"} <= {*(reader.fieldnames or ())}:
                raise KeyError(name)
            values = {line["measure"]: line["value"] for line in lines if line["measure"] in MEASURES}
            n_marked = sum(bool(line["mark"]) for line in lines)
        except FileNotFoundError:
            continue
        except (OSError, KeyError, UnicodeError, csv.Error):
            yield name
            continue
        entry.values.update(values)
        entry.n_marked += n_marked


# ---- links from page to page


def page_of(row: Row) -> str:
    """The recording's own page, relative to the output; "" if there is none."""
    name = f"{row.results.rpartition('/')[2]}.html"
    return f"{row.results}/{name}" if name in row.products else ""


def link_pages(output: Folder, found: Iterable[Entry], failed: Iterable[Row] = ()) -> None:
    """Tell each page its neighbours, in the room that it keeps for that; of those that failed, the way up alone.

    A few bytes in place, not the whole file anew: a page can be large, and its size must stay. A page that cannot be
    written to, such as another user's, stays without links: all that it says is true.
    """
    shown = [(page_of(row), row) for entry in found for row in entry.results]
    pages = [(page, row) for page, row in shown if page]
    for at, (page, _) in enumerate(pages):
        up = "../" * page.count("/")
        links = [_way_up(page)]
        for neighbour, style in ((at - 1, "previous"), (at + 1, "next")):
            if 0 <= neighbour < len(pages):
                target, row = pages[neighbour]
                name = row.path.rpartition("/")[2]
                name = _text(name if len(name) <= 40 else f"{name[:39]}…")
                arrow = f"← {name}" if style == "previous" else f"{name} →"
                links.append(f'<a class="{style}" href="{up}{_quoted(target)}">{arrow}</a>')
        with contextlib.suppress(OSError):
            _fill_room(output.open(page, os.O_RDWR), "".join(links), links[0])
    for page in filter(None, map(page_of, failed)):
        with contextlib.suppress(OSError):
            _fill_room(output.open(page, os.O_RDWR), _way_up(page))


def _way_up(page: str) -> str:
    return f'<a href="{"../" * page.count("/")}index.html">All recordings</a>'


def link_animals(output: Folder, animals: Iterable[Followed]) -> None:
    """The way back from each animal's page."""
    for each in animals:
        if each.status == "done":
            with contextlib.suppress(OSError):
                page = f"{each.results}/{each.animal}.html"
                _fill_room(output.open(page, os.O_RDWR), '<a href="../../index.html">All recordings</a>')


def _fill_room(page: int, *texts: str) -> None:
    """The first of the texts for which there is room; closes the file."""
    with open(page, "r+b") as file:
        if os.fstat(page).st_nlink > 1:  # it would change elsewhere, too
            return
        found = re.search(rb"(<!--neighbours-->)(.*?)<!--/neighbours-->", file.read(HEAD_BYTES), re.DOTALL)
        if not found:
            return
        room = len(found[2])
        content = next((text.encode() for text in texts if len(text.encode()) <= room), b"").ljust(room)
        if content != found[2]:
            file.seek(found.start(2))
            file.write(content)


# ---- the page


def page(
    rows: Sequence[Row],
    found: Sequence[Entry],
    software: Mapping[str, str],
    seconds: float | None = None,
    animals: Sequence[Followed] = (),
) -> str:
    """The whole page, self-contained: no request, every link relative to the page itself."""
    failed = [row for row in rows if row.status == "failed"]
    left_out = [row for row in rows if row.status == LEFT_OUT]
    warned = [row for row in rows if row.warnings and row.status == "done"]
    style, script = _style(), _asset("overview.js")
    policy = (
        f"default-src 'none'; style-src {_digest(style)}; script-src {_digest(script)}; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    made = f"{datetime.now().astimezone():%Y-%m-%d %H:%M %z}" + (f", after {duration(seconds)}" if seconds else "")
    used = ", ".join(f"{name} {version}" for name, version in list(software.items())[:3])
    parts = [
        "<!DOCTYPE html>",
        f'<html lang="en"><head><meta charset="utf-8"><title>{TITLE}</title>',
        f'<meta http-equiv="Content-Security-Policy" content="{escape(policy)}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<style>{style}</style></head><body>",
        f"<header><h1>{TITLE}</h1>",
        '<ul class="counts">',
        _count("good", len(rows) - len(failed) - len(left_out), "done"),
        _count("bad" if failed else "", len(failed), "failed"),
        _count("warn" if warned else "", len(warned), "with warnings"),
        _count("warn", len(left_out), LEFT_OUT) if left_out else "",
        "</ul>",
        f'<p class="soft">{_text(made)}. {_text(used)}. <a href="summary.csv">summary.csv</a></p></header><main>',
    ]
    if failed:
        parts.append("<section><h2>Failed</h2>")
        parts += [_note("bad", row, [row.reason, *row.warnings]) for row in failed]
        parts.append("</section>")
    if left_out:
        parts.append("<section><h2>Left out</h2>")
        parts += [_note("warn", row, [row.reason]) for row in left_out]
        parts.append("</section>")
    if warned:
        parts.append("<section><h2>Warnings</h2>")
        parts += [_note("warn", row, row.warnings) for row in _once(warned)]
        parts.append("</section>")
    parts += _animals(animals)
    parts += _table(found)
    parts.append('</main><footer><details><summary>Software</summary><dl class="facts">')
    parts += [f"<div><dt>{_text(name)}</dt><dd>{_text(text)}</dd></div>" for name, text in software.items()]
    parts.append(f"</dl></details></footer><script>{script}</script></body></html>")
    return "\n".join(parts) + "\n"


def _animals(animals: Sequence[Followed]) -> list[str]:
    if not animals:
        return []
    parts = ["<section><h2>Animals</h2>"]
    for each in animals:
        name = _text(each.animal)
        if each.status == "done":
            link = f'<a href="{_link(f"{each.results}/{each.animal}.html")}">{name}</a>'
            parts.append(f'<div class="note"><strong>{link}</strong><br>{_text(each.summary)}</div>')
            parts += [f'<div class="note warn">{_text(warning)}</div>' for warning in each.warnings]
        else:
            parts.append(f'<div class="note bad"><strong>{name}</strong><br>{_text(each.reason)}</div>')
    return [*parts, "</section>"]


def _once(rows: Iterable[Row]) -> list[Row]:
    """The parts of a series that was worked on as one share their warnings."""
    return list({(row.results, *row.warnings): row for row in rows}.values())


def _table(found: Sequence[Entry]) -> list[str]:
    if not found:
        return []
    columns = {name: title for name, title in MEASURES.items() if any(name in entry.values for entry in found)}
    headings = "".join(f'<th scope="col" class="num">{_text(title)}</th>' for title in columns.values())
    parts = [
        '<section><p class="tools scripted"><input type="search" aria-label="Find recordings" '
        'placeholder="Find recordings"> <span class="soft shown"></span></p>',
        '<div class="table"><table><thead><tr><th scope="col"></th><th scope="col">Recording</th>'
        f'<th scope="col">Kind</th><th scope="col">Result</th>{headings}<th scope="col" class="num">To check</th>'
        '<th scope="col" class="num">Time</th></tr></thead><tbody>',
    ]
    budget = THUMBNAIL_BUDGET
    for entry in found:
        budget -= len(entry.first.thumbnail or "")
        parts.append(_line(entry, columns, with_thumbnail=budget >= 0))
    parts.append("</tbody></table></div></section>")
    if budget < 0:
        parts.append('<p class="soft">There are too many recordings for a picture of each on this page.</p>')
    return parts


def _line(entry: Entry, columns: Iterable[str], with_thumbnail: bool) -> str:
    row, kind = entry.first, KINDS.get(entry.first.kind)
    folder, _, name = row.path.rpartition("/")
    target = _link(page_of(row) or f"{row.results}/")
    picture = ""
    if row.thumbnail and with_thumbnail:
        image = f'<img src="data:image/png;base64,{escape(row.thumbnail)}" alt="Preview of {_text(name)}">'
        picture = f'<a href="{target}">{image}</a>'
    cells = [f'<td class="picture">{picture}</td>', f'<th scope="row"><a href="{target}">{_text(name)}</a>']
    if folder:
        cells.append(f'<br><span class="soft">{_text(folder)}</span>')
    if row.series:
        cells.append(f"<br>{_parts(entry)}")
    cells.append(f'</th><td class="kind">{_text(kind.name if kind else row.kind)}</td>')
    cells.append(f'<td class="result">{_text(row.summary)}</td>')
    for column in columns:
        value = entry.values.get(column, "")
        cells.append(f'<td class="num" data-value="{_text(value)}">{_text(_rounded(value))}</td>')
    seconds = sum(each.seconds for each in entry.results)
    marked = f'<td class="num warn" data-value="{entry.n_marked}">{entry.n_marked}</td>'
    cells.append(marked if entry.n_marked else '<td class="num" data-value="0"></td>')
    cells.append(f'<td class="num" data-value="{seconds:.3f}">{duration(seconds)}</td>')
    return f"<tr>{''.join(cells)}</tr>"


def _parts(entry: Entry) -> str:
    said = f"Series from {_text(entry.first.series.rpartition('/')[2])}: "
    said += f"{len(entry.rows)} of {entry.first.parts} parts"
    if len(entry.results) == 1:
        return f'<span class="soft">{said}</span>'
    links = " ".join(f'<a href="{_link(page_of(row) or row.results + "/")}">{row.part}</a>' for row in entry.rows)
    return f'<span class="soft">{said}</span> {links}'


def _rounded(value: str) -> str:
    """Three digits, as people write them."""
    try:
        return f"{float(value):.3g}"
    except ValueError:
        return value


def _note(style: str, row: Row, sentences: Iterable[str]) -> str:
    log = f' <a href="{_link(row.log)}">log</a>' if row.log else ""
    if row.status == "failed" and page_of(row):
        log = f' <a href="{_link(page_of(row))}">as inspected</a>{log}'
    text = "<br>".join(_text(sentence) for sentence in sentences)
    return f'<div class="note {style}"><strong>{_text(row.path)}</strong>{log}<br>{text}</div>'


def _count(style: str, number: int, what: str) -> str:
    return f'<li class="{style}"><strong>{number}</strong>{what}</li>'


def _style() -> str:
    return (Path(recording.__file__).parent / "style.css").read_text("utf-8") + _asset("overview.css")


def _asset(name: str) -> str:
    return Path(__file__).with_name(name).read_text("utf-8")


def _digest(text: str) -> str:
    return f"'sha256-{b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _text(text: str) -> str:
    """File names and messages are foreign: shown, never interpreted."""
    return escape(printable(text))


def _link(path: str) -> str:
    """A relative address."""
    return "./" + _quoted(path)


def _quoted(path: str) -> str:
    """Bytes as they are on disk."""
    return quote(path.encode("utf-8", "surrogateescape"), safe="/")
