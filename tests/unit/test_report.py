"""The report: index.html, summary.csv and the links from page to page."""

from __future__ import annotations

import base64
import csv
import dataclasses
import hashlib
import html.parser
import io
import re
from pathlib import Path

import pytest

from common.csv_cells import cell
from runner.inside import hold
from runner.output import overview, report
from runner.output.rows import Row

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


class Page(html.parser.HTMLParser):
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
    return overview.page(rows, overview.entries(rows), software or {})


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
    links = page.values("href")
    assert "./b%23/b%23.html" in links
    assert "./%3D1%2B1%23%3F%25/" in links, "the folder, where there is no page"
    assert "./logs/a/bad%20%26%20worse.isxd.log" in links
    assert all(link.startswith("./") or link == "summary.csv" for link in links)


def test_failures_then_warnings_then_the_rest():
    text = overview_page(ROWS)
    assert text.index("bad &amp; worse.isxd") < text.index("two &lt;blank&gt; frames") < text.index("63 frames")
    assert "2 parts; GPIO recording" in text


def test_natural_order_with_a_folder_before_its_subfolders_and_a_series_as_one():
    paths = ("b/a.isxd", "a10.isxd", "B/c/1.isxd", "a9.isxd", "b/p2.isxd", "b/p1.isxd")
    rows = [Row(path, "movie", "done", results=path[:-5]) for path in paths]
    for part, row in ((2, rows[4]), (1, rows[5])):
        row.session, row.part, row.parts = "b/p1.isxd", part, 2
    found = [[row.path for row in entry.rows] for entry in overview.entries(rows)]
    assert found == [["a9.isxd"], ["a10.isxd"], ["b/a.isxd"], ["b/p1.isxd", "b/p2.isxd"], ["B/c/1.isxd"]]


def test_pictures_stop_at_the_budget(monkeypatch):
    monkeypatch.setattr(overview, "THUMBNAIL_BUDGET", len(PNG) + 1)
    text = overview_page([ROWS[0], dataclasses.replace(ROWS[0], path="a/ok2.isxd")])
    assert text.count("data:image/png") == 1
    assert "too many recordings for a picture of each" in text


QUALITY = "recording,measure,value,unit,mark,definition\na.isxd,snr_median,10.1234,,look,x\na.isxd,other,1,,,x\n"


def test_the_numbers_that_tell_recordings_apart(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a/a-quality.csv").write_text(QUALITY)
    (entry,) = overview.entries([Row("a.isxd", "cell_set", "done", results="a")])
    assert list(overview.read_measures(hold(tmp_path), entry)) == []
    assert (entry.values, entry.n_marked) == ({"snr_median": "10.1234"}, 1)
    text = overview.page(entry.rows, [entry], {})
    assert 'data-value="10.1234">10.1</td>' in text and ">SNR</th>" in text and ">Shift [px]</th>" not in text


@pytest.mark.parametrize("content", [None, b"", b"nonsense", b"\xff\xfe", b"recording,measure\na,snr_median\n"])
def test_a_table_that_cannot_be_read_gives_no_numbers_and_is_named(tmp_path, content):
    (tmp_path / "a").mkdir()
    if content is not None:
        (tmp_path / "a/a-quality.csv").write_bytes(content)
    (entry,) = overview.entries([Row("a.isxd", "cell_set", "done", results="a")])
    unread = list(overview.read_measures(hold(tmp_path), entry))
    assert unread == ([] if content is None else ["a/a-quality.csv"])
    assert "snr_median" not in {name: value for name, value in entry.values.items() if value}


def linked(tmp_path: Path, names: list[str], room: int = 1000) -> dict[str, str]:
    rows = []
    for name in names:
        folder = name.rpartition(".")[0]
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        page = f"{folder.rpartition('/')[2]}.html"
        (tmp_path / folder / page).write_text(f"<nav><!--neighbours-->{' ' * room}<!--/neighbours--></nav>")
        rows.append(Row(name, "movie", "done", results=folder, products=(page,)))
    overview.link_pages(hold(tmp_path), overview.entries(rows))
    return {row.path: (tmp_path / overview.page_of(row)).read_text() for row in rows}


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
