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
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from html import escape
from pathlib import Path
from urllib.parse import quote

from common import APP
from common.sentences import split
from recording.kinds import KINDS
from runner.events import duration, printable
from runner.inside import Folder
from runner.output import strips
from runner.output.rows import LEFT_OUT, Followed, Row

THUMBNAIL_BUDGET = 24 << 20  # bytes of base64; beyond it the page stays quick to open and shows no more pictures
HEAD_BYTES = 1 << 16  # of a recording's page, in which the room for links to its neighbours lies
TITLE = "Inscopix recordings"
FACTS = {"Animal": "animal", "Start": "start"}  # columns of the table, by what a row knows
MEASURES = {  # columns of the table, by their name in <stem>-quality.csv
    "dropped_percent": "Dropped [%]",
    "brightness_change_percent": "Brightness change [%]",
    "shift_max_px": "Shift [px]",
    "snr_median": "SNR",
    "transient_rate_median_per_min": "Transients [1/min]",
    "event_rate_median_per_min": "Events [1/min]",
}


@dataclass
class Entry:
    """A line of the table: a session, which may be one recording."""

    rows: list[Row]
    values: dict[str, str] = field(default_factory=dict)  # of MEASURES
    measures: dict[str, tuple[str, str]] = field(default_factory=dict)  # values and units of all, by name
    n_marked: int = 0  # measures to look at again

    @property
    def first(self) -> Row:
        return self.rows[0]

    @property
    def name(self) -> str:
        """Of the session, or the recording that is one."""
        first = self.first
        return first.results.rpartition("/")[2] if first.parts > 1 else first.path.rpartition("/")[2]

    @property
    def beside(self) -> list[Row]:
        """Recordings that are no part of the one that leads."""
        return [row for row in self.rows if not row.part and row.path != self.first.path]


def entries(rows: Iterable[Row]) -> list[Entry]:
    """Finished sessions in natural order: by animal, a folder before its subfolders."""
    found: dict[str, Entry] = {}
    for row in sorted((row for row in rows if row.status == "done"), key=_natural):
        found.setdefault(row.session or row.path, Entry([])).rows.append(row)
    for entry in found.values():
        entry.rows.sort(key=lambda row: (row.path != row.session, not row.part, row.part, row.path))
    return list(found.values())


def _natural(row: Row) -> tuple[object, ...]:
    """a2 before a10; of a session, its first part decides."""
    folder, _, name = (row.session or row.path).rpartition("/")
    place = [_numbers(part) for part in folder.split("/")] if folder else []
    return not row.animal, _numbers(row.animal), place, _numbers(name), row.part


def _numbers(text: str) -> list[tuple[int, int, str]]:
    parts = re.split(r"(\d+)", text.casefold())
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts if part]


def read_measures(output: Folder, entry: Entry) -> Iterator[str]:
    """Take what tells sessions apart from the tables that workers wrote; a table that is not there says nothing.

    Of a measure that each part has, the worst counts; what was recorded beside the parts has measures of its own.

    Yields a table that is there and cannot be read: somebody changed it.
    """
    row, beside = entry.first, {each.path.rpartition("/")[2] for each in entry.beside}
    name = f"{row.results}/{row.results.rpartition('/')[2]}-quality.csv"
    try:
        reader = csv.DictReader(io.StringIO(output.read(name).decode(), newline=""))
        lines = list(reader)
        if not {"recording", "measure", "value", "mark"} <= {*(reader.fieldnames or ())}:
            raise KeyError(name)
        for line in lines:
            if line["recording"] not in beside:
                known, _ = entry.measures.get(line["measure"], ("", ""))
                worst = max(known, line["value"], key=_size)
                entry.measures[line["measure"]] = worst, str(line.get("unit") or "")
        entry.values |= {name: entry.measures[name][0] for name in MEASURES if name in entry.measures}
        entry.n_marked = sum(bool(line["mark"]) for line in lines)
    except FileNotFoundError:
        return
    except (OSError, KeyError, UnicodeError, csv.Error):
        entry.values.clear()
        entry.measures.clear()
        yield name


def _size(value: str) -> float:
    try:
        return abs(float(value))
    except ValueError:
        return -1.0


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
    shown = [(page_of(entry.first), entry.name) for entry in found]
    pages = [(page, name) for page, name in shown if page]
    for at, (page, _) in enumerate(pages):
        up = "../" * page.count("/")
        links = [_way_up(page)]
        for neighbour, style in ((at - 1, "previous"), (at + 1, "next")):
            if 0 <= neighbour < len(pages):
                target, name = pages[neighbour]
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


def compare_pages(output: Folder, found: Iterable[Entry]) -> None:
    """Tell each page the measures of the other sessions of its kind, in the room that it keeps for that."""
    by_kind: dict[str, dict[str, Mapping[str, tuple[str, str]]]] = {}
    for entry in found:
        page = page_of(entry.first)
        if page and entry.measures:
            by_kind.setdefault(entry.first.kind, {})[page] = entry.measures
    for sessions in by_kind.values():
        for page in sessions:
            texts = strips.texts(strips.strips(page, sessions))
            with contextlib.suppress(OSError):
                _fill_room(output.open(page, os.O_RDWR), *texts, mark="others")


def link_animals(output: Folder, animals: Iterable[Followed]) -> None:
    """The way back from each animal's page."""
    for each in animals:
        if each.status == "done":
            with contextlib.suppress(OSError):
                page = f"{each.results}/{each.animal}.html"
                _fill_room(output.open(page, os.O_RDWR), '<a href="../../index.html">All recordings</a>')


def _fill_room(page: int, *texts: str, mark: str = "neighbours") -> None:
    """The first of the texts for which there is room, between the comments that mark it; closes the file."""
    with open(page, "r+b") as file:
        if os.fstat(page).st_nlink > 1:  # it would change elsewhere, too
            return
        marked = f"(<!--{mark}-->)(.*?)<!--/{mark}-->".encode()
        found = re.search(marked, file.read(HEAD_BYTES), re.DOTALL)
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
        parts += _notes(warned, lambda row: row.warnings, "warn")
        parts.append("</section>")
    if any(row.advice for row in rows):
        parts.append("<section><h2>To be added</h2>")
        parts += _notes(rows, lambda row: row.advice, "")
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


def _notes(rows: Sequence[Row], of: Callable[[Row], Sequence[str]], style: str) -> list[str]:
    """Each session's sentences; one that several share is said once, with their number."""
    files = {row.path.rpartition("/")[2] for row in rows}
    by_sentence: dict[str, dict[str, Row]] = {}
    whole: dict[tuple[str, str], str] = {}
    for row in rows:
        for sentence in of(row):
            session, rest = row.session or row.path, split(sentence, files)[1]
            by_sentence.setdefault(rest, {}).setdefault(session, row)
            whole.setdefault((rest, session), sentence)
    alone: dict[str, tuple[Row, list[str]]] = {}
    shared = []
    for sentence, those in by_sentence.items():
        if len(those) > 1:
            names = ", ".join(_text(path) for path in those)
            shared.append(
                f'<div class="note {style}"><strong>{len(those)} sessions</strong><br>{_text(sentence)}'
                f"<details><summary>Which</summary>{names}</details></div>"
            )
        else:
            ((path, row),) = those.items()
            alone.setdefault(path, (row, []))[1].append(whole[sentence, path])
    return [*shared, *(_note(style, row, sentences) for row, sentences in alone.values())]


def _table(found: Sequence[Entry]) -> list[str]:
    if not found:
        return []
    columns = {name: title for name, title in MEASURES.items() if any(name in entry.values for entry in found)}
    facts = {title: field for title, field in FACTS.items() if any(getattr(each.first, field) for each in found)}
    known = "".join(f'<th scope="col">{title}</th>' for title in facts)
    headings = "".join(f'<th scope="col" class="num">{_text(title)}</th>' for title in columns.values())
    parts = [
        '<section><p class="tools scripted"><input type="search" aria-label="Find recordings" '
        'placeholder="Find recordings"> <span class="soft shown"></span></p>',
        '<div class="table"><table><thead><tr><th scope="col"></th><th scope="col">Recording</th>'
        f'<th scope="col">Kind</th>{known}<th scope="col">Result</th>{headings}'
        '<th scope="col" class="num">To check</th>'
        '<th scope="col" class="num">Time</th></tr></thead><tbody>',
    ]
    budget = THUMBNAIL_BUDGET
    for entry in found:
        budget -= len(entry.first.thumbnail or "")
        parts.append(_line(entry, facts.values(), columns, with_thumbnail=budget >= 0))
    parts.append("</tbody></table></div></section>")
    if budget < 0:
        parts.append('<p class="soft">There are too many recordings for a picture of each on this page.</p>')
    return parts


def _line(entry: Entry, facts: Iterable[str], columns: Iterable[str], with_thumbnail: bool) -> str:
    row, kind, name = entry.first, KINDS.get(entry.first.kind), entry.name
    folder = row.path.rpartition("/")[0]
    target = _link(page_of(row) or f"{row.results}/")
    picture = ""
    if row.thumbnail and with_thumbnail:
        image = f'<img src="data:image/png;base64,{escape(row.thumbnail)}" alt="Preview of {_text(name)}">'
        picture = f'<a href="{target}">{image}</a>'
    cells = [f'<td class="picture">{picture}</td>', f'<th scope="row"><a href="{target}">{_text(name)}</a>']
    if folder:
        cells.append(f'<br><span class="soft">{_text(folder)}</span>')
    if len(entry.rows) > 1:
        cells.append(f'<br><span class="soft">{_members(entry)}</span>')
    cells.append(f'</th><td class="kind">{_text(kind.name if kind else row.kind)}</td>')
    cells += [f"<td>{_text(getattr(row, field)[:16].replace('T', ' '))}</td>" for field in facts]
    cells.append(f'<td class="result">{_text(row.summary)}</td>')
    for column in columns:
        value = entry.values.get(column, "")
        cells.append(f'<td class="num" data-value="{_text(value)}">{_text(_rounded(value))}</td>')
    seconds = row.seconds
    marked = f'<td class="num warn" data-value="{entry.n_marked}">{entry.n_marked}</td>'
    cells.append(marked if entry.n_marked else '<td class="num" data-value="0"></td>')
    cells.append(f'<td class="num" data-value="{seconds:.3f}">{duration(seconds)}</td>')
    return f"<tr>{''.join(cells)}</tr>"


def _members(entry: Entry) -> str:
    """ "2 parts; GPIO recording, behaviour movie"."""
    said = [f"{entry.first.parts} parts"] if entry.first.parts > 1 else []
    kinds = Counter(KINDS[row.kind].name if row.kind in KINDS else row.kind for row in entry.beside)
    said += [", ".join(f"{count} × {kind}" if count > 1 else kind for kind, count in kinds.items())] if kinds else []
    return _text("; ".join(said))


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
    return (APP / "pipeline/pages/style.css").read_text("utf-8") + _asset("overview.css")


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
