"""The report: index.html, summary.csv and the links from page to page."""

from __future__ import annotations

import base64
import csv
import dataclasses
import hashlib
import html.parser as parsing
import io
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import healthcheck
from common.csv_cells import cell
from pipeline.pages.overview import html, links
from protocol.overview import Row
from runner import own
from runner.output import overview, report
from runner.output_folder import hold
from tests.launch import ROOT, environment, run

PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n").decode()
ROWS = [
    Row("a/ok.isxd", "movie", "done", "", 1.2, "63 frames", PNG, [], "a/ok", ("ok.json", "ok-preview.png")),
    Row("a/warned.isxd", "image", "done", "", 0.5, "image", None, ["two <blank> frames"], "a/warned", ("warned.json",)),
    Row("a/bad & worse.isxd", "", "failed", 'the file is "empty"', log="logs/a/bad & worse.isxd.log"),
    Row("=1+1#?%.isxd", "gpio", "done", results="=1+1#?%", products=("=1+1#?%.json",)),
    Row("a/p1.isxd", "movie", "done", results="a/p", session="a/p1.isxd", part=1, parts=2),
    Row("a/p2.isxd", "movie", "done", results="a/p", session="a/p1.isxd", part=2, parts=2),
    Row("a/p.gpio", "gpio", "done", results="a/p", session="a/p1.isxd", parts=2),
]


class Page(parsing.HTMLParser):
    """Notes every tag and attribute, and that what opens is closed."""

    VOID = frozenset({"meta", "img", "br", "input"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def values(self, attribute: str) -> list[str | None]:
        return [attributes[attribute] for _, attributes in self.tags if attribute in attributes]


def overview_page(rows: list[Row], software: dict[str, str] | None = None) -> str:
    return html(report.overview_of(rows, overview.entries(rows), report.Made(software or {})))


def test_the_page_needs_nothing_but_itself():
    text = overview_page(ROWS, {"isx image": "1"})
    page = Page(text)
    assert not {"link", "iframe"} & {tag for tag, _ in page.tags}
    assert not re.search(r"https?:|url\(|@import", text)
    assert all(source.startswith("data:image/png;base64,") for source in page.values("src"))
    assert all(page.values("alt"))
    (policy,) = [content for content in page.values("content") if "default-src" in content]
    assert policy.startswith("default-src 'none'; ") and "unsafe" not in policy
    for tag, content in re.findall(r"<(script|style)>(.*?)</", text, re.DOTALL):
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy


def test_links_lead_to_the_pages_whatever_their_names():
    rows = [*ROWS, Row("b#.isxd", "gpio", "done", results="b#", products=("b#.html", "b#.json"))]
    page = Page(overview_page(rows))
    addresses = page.values("href")
    assert "./b%23/b%23.html" in addresses
    assert "./%3D1%2B1%23%3F%25/" in addresses, "the folder, where there is no page"
    assert "./logs/a/bad%20%26%20worse.isxd.log" in addresses
    assert all(link.startswith("./") or link == "summary.csv" for link in addresses)


def test_a_later_run_knows_the_page_as_its_own():
    for page in (overview_page(ROWS).encode(), report.WITHOUT.read_bytes()):
        assert page.startswith(own.REPORT["index.html"])


def test_facts_of_an_animal_stand_as_they_are():
    row = Row("a.isxd", "movie", "done", results="a", animal="Tom-1234567890123456", start="2024-03-30T12:00:59+00:00")
    text = overview_page([row])
    assert "<td>Tom-1234567890123456</td><td>2024-03-30 12:00</td>" in text


def test_failures_then_warnings_then_the_rest():
    text = overview_page(ROWS)
    assert text.index("bad &amp; worse.isxd") < text.index("two &lt;blank&gt; frames") < text.index("63 frames")
    assert "2 parts; GPIO recording" in text


def test_natural_order_with_a_folder_before_its_subfolders_and_a_series_as_one():
    paths = ("b/a.isxd", "a10.isxd", "B/c/1.isxd", "a9.isxd", "b/p2.isxd", "b/p1.isxd")
    rows = [Row(path, "movie", "done", results=path[:-5]) for path in paths]
    for part, row in ((2, rows[4]), (1, rows[5])):
        row.session, row.part, row.parts = "b/p1.isxd", part, 2
    ordered = [[row.path for row in entry.rows] for entry in overview.entries(rows)]
    assert ordered == [["a9.isxd"], ["a10.isxd"], ["b/a.isxd"], ["b/p1.isxd", "b/p2.isxd"], ["B/c/1.isxd"]]


def test_pictures_stop_at_the_budget(monkeypatch):
    monkeypatch.setattr(report, "THUMBNAIL_BUDGET", len(PNG) + 1)
    text = overview_page([ROWS[0], dataclasses.replace(ROWS[0], path="a/ok2.isxd")])
    assert text.count("data:image/png") == 1
    assert "too many recordings for a picture of each" in text


SHORT = b"recording,measure,value,unit,mark,definition\na.isxd,snr_median\n"
QUALITY = "recording,measure,value,unit,mark,definition\na.isxd,snr_median,10.1234,,look,x\na.isxd,other,1,,,x\n"


def test_the_numbers_that_tell_recordings_apart(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a/a-quality.csv").write_text(QUALITY)
    (entry,) = overview.entries([Row("a.isxd", "cell_set", "done", results="a")])
    assert list(overview.read_measures(hold(tmp_path), entry)) == []
    assert (entry.measures, entry.n_marked) == ({"snr_median": ("10.1234", ""), "other": ("1", "")}, 1)
    text = html(report.overview_of(entry.rows, [entry], report.Made({})))
    assert 'data-value="10.1234">10.1</td>' in text and ">SNR</th>" in text and ">Shift [px]</th>" not in text


@pytest.mark.parametrize("content", [None, b"", b"nonsense", b"\xff\xfe", b"recording,measure\na,snr_median\n", SHORT])
def test_a_table_that_cannot_be_read_gives_no_numbers_and_is_named(tmp_path, content):
    (tmp_path / "a").mkdir()
    if content is not None:
        (tmp_path / "a/a-quality.csv").write_bytes(content)
    (entry,) = overview.entries([Row("a.isxd", "cell_set", "done", results="a")])
    unread = list(overview.read_measures(hold(tmp_path), entry))
    assert unread == ([] if content is None else ["a/a-quality.csv"])
    assert "snr_median" not in entry.measures


def linked(tmp_path: Path, names: list[str], room: int = 1000) -> dict[str, str]:
    rows = []
    for name in names:
        folder = name.rpartition(".")[0]
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        page = f"{folder.rpartition('/')[2]}.html"
        (tmp_path / folder / page).write_text(f"<nav><!--neighbours-->{' ' * room}<!--/neighbours--></nav>")
        rows.append(Row(name, "movie", "done", results=folder, products=(page,)))
    report.fill_rooms(hold(tmp_path), links(report.overview_of(rows, overview.entries(rows), report.Made({}))))
    return {row.path: (tmp_path / row.page).read_text() for row in rows}


def test_pages_are_told_their_neighbours_in_the_room_that_they_have(tmp_path):
    pages = linked(tmp_path, ["a&b.isxd", "sub/c#.isxd", "sub/d.isxd"])
    assert {len(text.encode()) for text in pages.values()} == {
        1000 + len("<nav><!--neighbours--><!--/neighbours--></nav>")
    }
    assert Page(pages["sub/c#.isxd"]).values("href") == [
        "../../index.html",
        "../../a%26b/a%26b.html",
        "../../sub/d/d.html",
    ]
    assert "← a&amp;b.isxd" in pages["sub/c#.isxd"]
    assert Page(pages["a&b.isxd"]).values("class") == ["next"]


def test_links_for_which_there_is_no_room_are_left_out(tmp_path):
    pages = linked(tmp_path, ["a.isxd", "b.isxd"], room=70)
    assert Page(pages["a.isxd"]).values("href") == ["../index.html"]
    assert Page(linked(tmp_path / "less", ["a.isxd", "b.isxd"], room=5)["a.isxd"]).values("href") == []


def test_summary_has_a_row_for_each_input():
    rows = list(csv.DictReader(io.StringIO(report.summary_csv(ROWS))))
    assert [row["path"] for row in rows] == [cell(row.path) for row in ROWS]
    assert (rows[2]["status"], rows[2]["reason"]) == ("failed", 'the file is "empty"')
    assert rows[5]["part"] == "2"


# ---- whole runs


def test_an_overview_that_cannot_be_made_costs_the_run_nothing(samples, input, output, tmp_path):
    app = tmp_path / "app"
    for name in (*healthcheck.CODE, "requirements.txt"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        (app / name).parent.mkdir(exist_ok=True)
        copy(ROOT / name, app / name)
    (app / "pipeline/pages/templates/neighbours.html").write_text("{{ nothing }}")
    shutil.copy2(samples / "image.isxd", input)
    command = [sys.executable, str(app / "bootstrap.py"), "--input-dir", str(input), "--output-dir", str(output)]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in done.stderr.splitlines()]
    (event,) = [event for event in events if event["event"] == "overview-failed"]
    assert event["level"] == "warning" and "'nothing' is undefined" in event["message"]
    assert (output / "index.html").read_bytes() == report.WITHOUT.read_bytes()
    assert (output / "image/image.html").exists() and "image.isxd" in (output / "summary.csv").read_text()
    assert run(input, output).end == "1 recording, all done", "other code: all is done again"
    assert "image.isxd</a>" in (output / "index.html").read_text()


def test_an_overview_that_would_be_the_same_stays(samples, input, output):
    shutil.copy2(samples / "image.isxd", input)
    assert run(input, output).code == 0
    first = (output / "index.html").read_bytes()
    assert run(input, output).end == "1 recording, all done, 1 of them earlier"
    assert (output / "index.html").read_bytes() == first
    (output / "index.html").write_bytes(first[:-100])
    assert run(input, output).code == 0
    assert (output / "index.html").read_bytes().endswith(b"</html>")
    shutil.copy2(samples / "larger.isxd", input)
    assert run(input, output).code == 0
    assert "larger.isxd" in (output / "index.html").read_text()
