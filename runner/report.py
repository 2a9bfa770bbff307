"""The pages that a lab opens first: index.html, summary.csv and dataset_description.json in the output folder."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from urllib.parse import quote

from recording.kinds import KINDS, PICTURES
from recording.names import cell
from runner.events import duration, printable
from runner.results import write_atomically

BIDS_VERSION = "1.9.0"
THUMBNAIL_BUDGET = 24 << 20  # bytes of base64; beyond it the page stays quick to open and shows no more pictures

STYLE = """\
:root{color-scheme:light dark;--ink:#1b1f24;--soft:#57606a;--line:#d4d9de;--page:#fff;--card:#f6f8fa;--link:#0550ae;
--bad:#9a1c2c;--bad-page:#ffebec;--warn:#744500;--warn-page:#fff5d6;--good:#116329}
@media(prefers-color-scheme:dark){:root{--ink:#e6e9ed;--soft:#9da7b1;--line:#3a424b;--page:#14181d;--card:#1d232a;
--link:#7db8ff;--bad:#ff9ba3;--bad-page:#3a1a1f;--warn:#f0c356;--warn-page:#352a10;--good:#6fd388}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:72rem;padding:1.5rem 1rem 4rem;background:var(--page);color:var(--ink);
font:1rem/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
h1{font-size:1.6rem;margin:0}
h2{font-size:1.15rem;margin:2.2rem 0 .6rem;overflow-wrap:anywhere}
p{margin:.3rem 0}
a{color:var(--link)}
a:focus-visible{outline:2px solid var(--link);outline-offset:2px}
.soft{color:var(--soft)}
.counts{display:flex;flex-wrap:wrap;gap:.6rem;list-style:none;padding:0;margin:1rem 0}
.counts li{border:1px solid var(--line);border-radius:.5rem;padding:.3rem .8rem;background:var(--card)}
.counts strong{font-size:1.15rem;margin-right:.3rem}
.bad strong{color:var(--bad)}.warn strong{color:var(--warn)}.good strong{color:var(--good)}
.note{border-left:.3rem solid;border-radius:.3rem;padding:.5rem .9rem;margin:.5rem 0;overflow-wrap:anywhere}
.note.bad{border-color:var(--bad);background:var(--bad-page)}
.note.warn{border-color:var(--warn);background:var(--warn-page)}
.cards{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(21rem,100%),1fr));gap:.8rem;list-style:none;
padding:0;margin:0}
.card{display:flex;gap:.9rem;border:1px solid var(--line);border-radius:.6rem;background:var(--card);padding:.8rem;
min-width:0}
.card>div{min-width:0;flex:1}
.card img{width:8rem;max-height:9rem;object-fit:contain;align-self:flex-start;border-radius:.3rem;flex:none}
.card h3{font-size:1rem;margin:0;overflow-wrap:anywhere}
.card p{font-size:.9rem;overflow-wrap:anywhere}
.series{border:1px solid var(--line);border-radius:.8rem;padding:.8rem;margin:.8rem 0}
.series>p{margin:0 0 .6rem;font-weight:600;overflow-wrap:anywhere}
details{font-size:.85rem;margin-top:.3rem}
details ul{margin:.2rem 0;padding-left:1.1rem;overflow-wrap:anywhere}
summary{cursor:pointer;color:var(--link)}
table{border-collapse:collapse;font-size:.9rem}
th,td{text-align:left;padding:.15rem 1rem .15rem 0;vertical-align:top;overflow-wrap:anywhere}
th{font-weight:600}
"""


@dataclass
class Row:
    """One input, as the report shows it."""

    path: str  # relative to the input folder
    kind: str
    status: str  # "done" or "failed"
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


def write_report(
    output: Path, rows: Sequence[Row], software: Mapping[str, str], generated_by: Sequence[Mapping[str, object]]
) -> None:
    """Write the three files. Raises OSError."""
    write_atomically(output / "summary.csv", summary_csv(rows).encode("utf-8", "backslashreplace"))
    write_atomically(output / "dataset_description.json", dataset_description(generated_by).encode())
    write_atomically(output / "index.html", page(rows, software).encode("utf-8", "backslashreplace"))


def summary_csv(rows: Iterable[Row]) -> str:
    """One row an input, in order of path."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["path", "kind", "status", "reason", "seconds", "summary", "series", "part", "results", "warnings"])
    for row in rows:
        cells = (row.path, row.kind, row.status, row.reason, f"{row.seconds:.3f}", row.summary, row.series)
        writer.writerow([*map(cell, cells), row.part or "", cell(row.results), cell(" | ".join(row.warnings))])
    return text.getvalue()


def dataset_description(generated_by: Sequence[Mapping[str, object]]) -> str:
    """BIDS's description of a derivative dataset (bids-specification, "Dataset description")."""
    content = {
        "Name": "Results of Inscopix recordings",
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": list(generated_by),
    }
    return json.dumps(content, indent=2) + "\n"


def page(rows: Sequence[Row], software: Mapping[str, str]) -> str:
    """The whole page, self-contained: no script, no request, every link relative to the page itself."""
    failed = [row for row in rows if row.status == "failed"]
    warned = [row for row in rows if row.warnings and row.status != "failed"]
    finished = [row for row in rows if row.status != "failed"]
    title = "Inscopix recordings"
    parts = [
        "<!DOCTYPE html>",
        f'<html lang="en"><head><meta charset="utf-8"><title>{title}</title>',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<style>\n{STYLE}</style></head><body>",
        f"<header><h1>{title}</h1>",
        f'<p class="soft">{_text(", ".join(f"{name} {version}" for name, version in list(software.items())[:3]))}</p>',
        '<ul class="counts">',
        _count("good", len(finished), "done"),
        _count("bad" if failed else "", len(failed), "failed"),
        _count("warn" if warned else "", len(warned), "with warnings"),
        "</ul>",
        '<p><a href="summary.csv">summary.csv</a> &middot; '
        '<a href="dataset_description.json">dataset_description.json</a></p></header><main>',
    ]
    if failed:
        parts.append("<section><h2>Failed</h2>")
        parts += [_note("bad", row, [row.reason, *row.warnings]) for row in failed]
        parts.append("</section>")
    if warned:
        parts.append("<section><h2>Warnings</h2>")
        parts += [_note("warn", row, row.warnings) for row in warned]
        parts.append("</section>")
    parts += _folders(finished)
    parts.append("</main><footer><details><summary>Software</summary><table>")
    parts += [f"<tr><th scope=row>{_text(name)}</th><td>{_text(text)}</td></tr>" for name, text in software.items()]
    parts.append("</table></details></footer></body></html>")
    return "\n".join(parts) + "\n"


def _folders(rows: Sequence[Row]) -> list[str]:
    folders: dict[str, list[Row]] = {}
    for row in rows:
        folders.setdefault(row.path.rpartition("/")[0], []).append(row)
    parts, budget = [], THUMBNAIL_BUDGET
    for folder, members in folders.items():
        parts.append(f"<section><h2>{_text(folder) or 'Recordings'}</h2>")
        groups: dict[str, list[Row]] = {}
        for row in members:
            groups.setdefault(row.series, []).append(row)
        for series, group in groups.items():
            if series:
                group.sort(key=lambda row: row.part)
                heading = f"Series from {series}: {len(group)} of {group[0].parts} parts, in order"
                parts.append(f'<div class="series"><p>{_text(heading)}</p>')
            parts.append('<ul class="cards">')
            for row in group:
                budget -= len(row.thumbnail or "")
                parts.append(_card(row, with_thumbnail=budget >= 0))
            parts.append("</ul></div>" if series else "</ul>")
        parts.append("</section>")
    if budget < 0:
        parts.append('<p class="soft">There are too many recordings for a picture of each on this page.</p>')
    return parts


def _card(row: Row, with_thumbnail: bool) -> str:
    name = row.path.rpartition("/")[2]
    target = f"{row.results}/"
    kind = KINDS.get(row.kind)
    preview = next((product for ending in PICTURES for product in row.products if product.endswith(ending)), "")
    picture = ""
    if row.thumbnail and with_thumbnail:
        image = f'<img src="data:image/png;base64,{escape(row.thumbnail)}" alt="Preview of {_text(name)}">'
        picture = f'<a href="{_link(target + preview)}">{image}</a>'
    facts = [kind.name if kind else row.kind, f"part {row.part} of {row.parts}" if row.part else ""]
    facts.append(f"done in {duration(row.seconds)}")
    files = "".join(f'<li><a href="{_link(target + file)}">{_text(file)}</a></li>' for file in row.products)
    return (
        f'<li class="card">{picture}<div><h3><a href="{_link(target)}">{_text(name)}</a></h3>'
        f'<p>{_text(row.summary)}</p><p class="soft">{_text(", ".join(filter(None, facts)))}</p>'
        f"<details><summary>{len(row.products)} files</summary><ul>{files}</ul></details></div></li>"
    )


def _note(style: str, row: Row, sentences: Iterable[str]) -> str:
    log = f' <a href="{_link(row.log)}">log</a>' if row.log else ""
    text = "<br>".join(_text(sentence) for sentence in sentences)
    return f'<div class="note {style}"><strong>{_text(row.path)}</strong>{log}<br>{text}</div>'


def _count(style: str, number: int, what: str) -> str:
    return f'<li class="{style}"><strong>{number}</strong>{what}</li>'


def _text(text: str) -> str:
    """File names and messages are foreign: shown, never interpreted."""
    return escape(printable(text))


def _link(path: str) -> str:
    """A relative address, bytes as they are on disk."""
    return "./" + quote(path.encode("utf-8", "surrogateescape"), safe="/")
