"""The small parts: what the machine allows, how the log and the report speak."""

from __future__ import annotations

import base64
import contextlib
import csv
import dataclasses
import hashlib
import html.parser
import io
import json
import os
import re
import signal
import sys
from pathlib import Path

import pytest

from common import APP
from common.csv_cells import cell
from native import loading
from protocol.job import Options
from runner import machine, overview, recipe, report
from runner.endings import UsageError
from runner.events import Log, duration, printable
from runner.inside import hold
from runner.report import Row
from runner.run import refuse_too_few_processes
from runner.settings import OPTIONS, Settings
from runner.supervise import Stopped

HOST = len(os.sched_getaffinity(0))


def fake_root(tmp_path: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    return tmp_path


V2 = {"proc/self/cgroup": "0::/\n"}
V1 = {"proc/self/cgroup": "5:memory:/docker/x\n3:cpu,cpuacct:/docker/x\n0::/system.slice\n"}


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({}, HOST),
        ({**V2, "sys/fs/cgroup/cpu.max": "max 100000\n"}, HOST),
        ({**V2, "sys/fs/cgroup/cpu.max": "100000 100000\n"}, 1),
        ({**V2, "sys/fs/cgroup/cpu.max": "20000 100000\n"}, 1),
        ({**V2, "sys/fs/cgroup/cpu.max": "9900000 100000\n"}, HOST),
        (
            {"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/cpu.max": "50000 100000\n", "sys/fs/cgroup/a/b/x": ""},
            1,
        ),
        (
            {
                **V1,
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "9",
            },
            HOST,
        ),
        (
            {**V1, "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "100000\n", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n"},
            1,
        ),
    ],
)
def test_cores(tmp_path, files, cores):
    assert machine.cores(fake_root(tmp_path, files)) == cores


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        ({**V2, "sys/fs/cgroup/memory.max": "536870912\n"}, 512 << 20),
        ({**V1, "sys/fs/cgroup/memory/memory.limit_in_bytes": "536870912\n"}, 512 << 20),
        ({**V1, "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n"}, None),
        ({**V2, "sys/fs/cgroup/memory.max": "max\n"}, None),
        ({}, None),
    ],
)
def test_memory_limit(tmp_path, files, limit):
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert machine.memory_limit(fake_root(tmp_path, files)) == (limit or physical)


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        ({**V2, "sys/fs/cgroup/pids.max": "5\n"}, 5),
        ({**V2, "sys/fs/cgroup/pids.max": "max\n"}, None),
        ({"proc/self/cgroup": "7:pids:/docker/x\n", "sys/fs/cgroup/pids/pids.max": "12\n"}, 12),
        ({}, None),
    ],
)
def test_process_limit(tmp_path, files, limit):
    assert machine.process_limit(fake_root(tmp_path, files)) == limit


def test_too_few_processes_are_refused_at_once(tmp_path):
    root = fake_root(tmp_path, {**V2, "sys/fs/cgroup/pids.max": "5\n", "sys/fs/cgroup/cpu.max": "100000 100000\n"})
    with pytest.raises(UsageError, match="only 5 processes and threads are allowed here, and up to 12 are needed"):
        refuse_too_few_processes(1, root)
    (root / "sys/fs/cgroup/pids.max").write_text("15\n")
    refuse_too_few_processes(1, root)
    refuse_too_few_processes(2, root)
    with pytest.raises(UsageError):
        refuse_too_few_processes(3, root)


def test_oom_kills_are_counted(tmp_path):
    root = fake_root(tmp_path, {**V2, "sys/fs/cgroup/memory.events": "low 0\noom 3\noom_kill 2\noom_group_kill 9\n"})
    assert machine.oom_kills(root) == 2


@pytest.mark.parametrize(
    ("cores", "memory", "workers"), [(8, 512 << 20, 1), (8, 64 << 30, 8), (1, 1, 1), (4, 1 << 30, 2)]
)
def test_workers(cores, memory, workers):
    assert machine.workers(cores, memory) == workers


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.04, "0.0 s"), (9.94, "9.9 s"), (12.3, "12 s"), (179, "3 min"), (7500, "2 h 5 min")]
)
def test_duration(seconds, text):
    assert duration(seconds) == text


def test_foreign_text_is_shown_not_obeyed():
    assert printable("a\x1b[2J\n\udcff\u2028µ") == "a\\x1b[2J\\x0a\\udcff\\u2028µ"
    assert printable("a\u202edxsi.exe\u2066\u200b") == "a\\u202edxsi.exe\\u2066\\u200b", "turned round, or hidden"


def logged(format: str, *events: tuple) -> str:
    reader, writer = os.pipe()
    log = Log(format, writer)
    for event in events:
        log(*event)
    os.close(writer)
    with os.fdopen(reader, encoding="utf-8") as file:
        return file.read()


def test_each_event_is_one_line():
    lines = logged("json", ("a", "x\ny"), ("b", "\udcff", "error")).splitlines()
    first, second = map(json.loads, lines)
    assert (first["event"], first["message"], first["level"]) == ("a", "x\ny", "info")
    assert second["level"] == "error"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", first["time"])
    assert len(logged("text", ("a", "x\ny")).splitlines()) == 1


def test_a_log_that_nobody_reads_stops_nothing():
    reader, writer = os.pipe()
    os.close(reader)
    Log("text", writer)("a", "b")
    os.close(writer)


def test_on_a_terminal_a_bar_on_the_last_line():
    import pty

    parent, child = pty.openpty()
    log = Log(None, child)
    log.progress(0.5, 3, 6, 90.0)
    log("a", "done with it")
    os.close(child)
    text = ""
    with contextlib.suppress(OSError):  # the end of a terminal whose other side is closed
        while piece := os.read(parent, 10_000):
            text += piece.decode()
    os.close(parent)
    assert "[###############               ] 3 of 6, 90 s left\r\x1b[K" in text
    assert text.endswith("done with it\r\n")


# ---- the report

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


@pytest.mark.parametrize(
    "program, error",
    [
        ("true", ""),
        ("echo >&2 first; echo >&2 'ImportError: no'; exit 1", "ImportError: no"),
        ("kill -SEGV $$", "signal SIGSEGV"),
        ("kill -KILL $$", ""),  # for want of memory, most likely: that says nothing about isx
    ],
)
def test_import_error(program, error, tmp_path, monkeypatch):
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\n{program}\n")
    python.chmod(0o755)
    monkeypatch.setattr(loading.sys, "executable", str(python))
    assert loading.import_error() == error


def test_a_slow_import_is_no_hang(tmp_path, monkeypatch):
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nexec sleep 3\n")
    python.chmod(0o755)
    monkeypatch.setattr(loading.sys, "executable", str(python))
    ticks = []
    assert loading.import_error(lambda: ticks.append(1)) == ""
    assert len(ticks) >= 2, "the heart beats meanwhile"


def test_questions_are_asked_where_the_code_lies(tmp_path, monkeypatch):
    """Python looks for modules in its working folder first: a `pipeline` that lies there is somebody else's."""
    (tmp_path / "pipeline").mkdir()
    (tmp_path / "pipeline/__init__.py").write_text("raise SystemExit(3)\n")
    monkeypatch.chdir(tmp_path)
    asked = loading.ask((sys.executable, "-c", "import pipeline; print(pipeline.__file__)"), 60)
    assert (asked.returncode, asked.stdout.strip()) == (0, str(APP / "pipeline/__init__.py"))


# ---- the recipe's checker


def checker(program: str) -> tuple[str, ...]:
    return ("/bin/sh", "-c", program)


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ("echo nonsense", "gave an answer that cannot be read (not JSON"),
        ("true", "gave an answer that cannot be read (not JSON"),
        ("echo '{}'", "gave an answer that cannot be read (recipefacts: no group)"),
        ("echo mistake >&2; exit 64", "mistake"),
        ("kill -SEGV $$", "the recipe /r.toml cannot be checked: signal SIGSEGV"),
        ("exec sleep 100", "the check of the recipe /r.toml did not end within 1 s"),
    ],
)
def test_a_recipe_whose_check_does_not_answer_cannot_be_used(program, message, monkeypatch):
    monkeypatch.setattr(recipe, "CHECK_SECONDS", 1)
    with pytest.raises(recipe.BadRecipe) as refused:
        recipe.check(Path("/r.toml"), "auto", command=checker(program))
    assert message in str(refused.value)


def test_a_stop_ends_the_check_of_a_recipe(tmp_path):
    def stop() -> None:
        raise Stopped(signal.SIGTERM)

    with pytest.raises(Stopped):
        recipe.check(Path("/r.toml"), "auto", stop, command=checker(f"echo $$ > {tmp_path}/pid; exec sleep 100"))
    assert not Path("/proc", (tmp_path / "pid").read_text().strip()).exists()


def test_every_option_has_one_place_for_its_value():
    for option in OPTIONS:
        holder = Options if option.changes_results else Settings
        names = {field.name for field in dataclasses.fields(holder)}
        elsewhere = {
            "expected_output_file",
            "log_format",
            "run_id",
        }  # the request itself has them: they are needed before
        assert option.field in names | elsewhere
