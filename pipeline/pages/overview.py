"""Lays out index.html: every recording of the output, with the numbers that tell them apart and links to the pages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from common.sentences import split
from common.text import duration
from pipeline.pages import strips, templating
from protocol.job import Job, Result
from protocol.overview import INDEX, LEFT_OUT, ROOMS, Entry, Overview, Room, Rooms, Row
from recording.kinds import KINDS

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
LONGEST_NAME = 40  # characters of a neighbour's name


def run(job: Job) -> Result:
    """Make the overview, and what each page gets in the rooms that it keeps for links and comparisons."""
    overview = Overview.from_json(job.inputs[0].read_bytes())
    (job.staging / INDEX).write_text(html(overview), encoding="utf-8", errors="backslashreplace")
    (job.staging / ROOMS).write_bytes(Rooms((*links(overview), *comparisons(overview))).to_json())
    return Result((INDEX, ROOMS))


def html(overview: Overview) -> str:
    """The whole page, self-contained: no request, every link relative to the page itself."""
    rows = sorted([row for entry in overview.entries for row in entry.rows] + overview.others, key=lambda row: row.path)
    styles = [templating.asset("style.css") + templating.asset("overview.css")]
    scripts = [templating.asset("overview.js")]
    entries = overview.entries
    warned = [row for row in rows if row.warnings and row.status == "done"]
    return (
        templating.environment()
        .get_template("overview.html")
        .render(
            title=TITLE,
            policy=templating.policy(styles, scripts),
            styles=styles,
            scripts=scripts,
            overview=overview,
            after=duration(overview.seconds) if overview.seconds else "",
            used=", ".join(f"{name} {version}" for name, version in list(overview.software.items())[:3]),
            n_done=sum(len(entry.rows) for entry in entries),
            failed=[row for row in overview.others if row.status == "failed"],
            left_out=[row for row in overview.others if row.status == LEFT_OUT],
            n_warned=len(warned),
            warnings=_said(warned, lambda row: row.warnings),
            advice=_said(rows, lambda row: row.advice),
            facts={title: name for title, name in FACTS.items() if any(getattr(one.first, name) for one in entries)},
            columns={name: title for name, title in MEASURES.items() if any(name in one.measures for one in entries)},
            kind=lambda row: KINDS[row.kind].name if row.kind in KINDS else row.kind,
            members=_members,
            rounded=_rounded,
        )
    )


def links(overview: Overview) -> list[Room]:
    """The way up from each page, and to its neighbours if there is room."""
    template = templating.environment().get_template("neighbours.html")

    def way(page: str, **neighbours: Any) -> str:
        return template.render(up="../" * page.count("/"), **neighbours)

    def room(page: str, *texts: str) -> Room:
        return Room(page, templating.NEIGHBOURS, texts)

    pages = [(entry.first.page, _shortened(entry.name)) for entry in overview.entries if entry.first.page]
    alone = [row.page for row in overview.others] + [animal.page for animal in overview.animals]
    return [
        *(
            room(page, way(page, previous=before, next=after), way(page))
            for (page, _), before, after in zip(pages, [None, *pages], [*pages[1:], None])
        ),
        *(room(page, way(page)) for page in alone if page),
    ]


def comparisons(overview: Overview) -> list[Room]:
    """The measures of each session beside those of the others of its kind."""
    by_kind: dict[str, dict[str, Mapping[str, tuple[str, str]]]] = {}
    for entry in overview.entries:
        if entry.first.page and entry.measures:
            by_kind.setdefault(entry.first.kind, {})[entry.first.page] = entry.measures
    room, rooms = templating.BYTES[templating.OTHERS], []
    for sessions in by_kind.values():
        everyone = strips.populations(sessions.values())
        for page, measures in sessions.items():
            rooms.append(Room(page, templating.OTHERS, (strips.text(strips.strips(measures, everyone), room),)))
    return rooms


def _shortened(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"


def _said(rows: Sequence[Row], of: Callable[[Row], Sequence[str]]) -> dict[str, list[Any]]:
    """Sentences that several sessions share, each with their paths; and each other session's row with its own."""
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
            shared.append((sentence, list(those)))
        else:
            ((path, row),) = those.items()
            alone.setdefault(path, (row, []))[1].append(whole[sentence, path])
    return {"shared": shared, "alone": list(alone.values())}


def _members(entry: Entry) -> str:
    """ "2 parts; GPIO recording, behaviour movie"."""
    said = [f"{entry.first.parts} parts"] if entry.first.parts > 1 else []
    kinds = Counter(KINDS[row.kind].name if row.kind in KINDS else row.kind for row in entry.beside)
    said += [", ".join(f"{count} × {kind}" if count > 1 else kind for kind, count in kinds.items())] if kinds else []
    return "; ".join(said)


def _rounded(value: str) -> str:
    """Three digits, as people write them."""
    try:
        return f"{float(value):.3g}"
    except ValueError:
        return value
