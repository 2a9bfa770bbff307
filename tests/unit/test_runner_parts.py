"""The small parts: what the machine allows, how the log and the report speak."""

from __future__ import annotations

import base64
import contextlib
import csv
import dataclasses
import html.parser
import io
import json
import os
import re
import signal
from pathlib import Path

import pytest

from recording.job import Options
from recording.names import cell
from runner import machine, native, recipe, report
from runner.endings import UsageError
from runner.events import Log, duration, printable
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
    Row("a/p1.isxd", "movie", "done", results="a/p1", series="a/p1.isxd", part=1, parts=2),
    Row("a/p2.isxd", "movie", "done", results="a/p2", series="a/p1.isxd", part=2, parts=2),
]


class Page(html.parser.HTMLParser):
    """Notes every tag and attribute, and that what opens is closed."""

    VOID = frozenset({"meta", "img", "br"})

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


def test_the_page_needs_nothing_but_itself():
    text = report.page(ROWS, {"isx image": "1"})
    page = Page(text)
    assert not {"script", "link", "iframe"} & {tag for tag, _ in page.tags}
    assert not re.search(r"https?:|url\(|@import", text)
    assert all(source.startswith("data:image/png;base64,") for source in page.values("src"))
    assert all(page.values("alt"))


def test_links_lead_to_the_files_whatever_their_names():
    page = Page(report.page(ROWS, {}))
    links = page.values("href")
    assert "./%3D1%2B1%23%3F%25/%3D1%2B1%23%3F%25.json" in links
    assert "./logs/a/bad%20%26%20worse.isxd.log" in links
    assert "./a/ok/ok-preview.png" in links
    assert all(link.startswith("./") or link in ("summary.csv", "dataset_description.json") for link in links)


@pytest.mark.parametrize(
    ("products", "shown"),
    [
        (("s-cellmap.png", "s-cells.csv", "s-traces.png"), "s-cellmap.png"),
        (("s-intensity.png", "s-mean.tif", "s-preview.png"), "s-preview.png"),
        (("s-events.csv", "s-raster.png"), "s-raster.png"),
        (("s-map.png", "s-vessels.csv"), "s-map.png"),
        (("s-gpio.csv", "s.png", "s.json"), "s.png"),
        (("s-PP-preview.png", "s-PP-PCA-ICA-cellmap.png", "s.json"), "s-PP-PCA-ICA-cellmap.png"),  # of a recipe
    ],
)
def test_a_thumbnail_leads_to_what_it_shows(products, shown):
    text = report.page([Row("s.isxd", "movie", "done", thumbnail=PNG, results="s", products=products)], {})
    assert f'<a href="./s/{shown}"><img' in text


def test_failures_then_warnings_then_the_rest():
    text = report.page(ROWS, {})
    assert text.index("bad &amp; worse.isxd") < text.index("two &lt;blank&gt; frames") < text.index("63 frames")
    assert "Series from a/p1.isxd: 2 of 2 parts, in order" in text


def test_pictures_stop_at_the_budget(monkeypatch):
    monkeypatch.setattr(report, "THUMBNAIL_BUDGET", len(PNG) + 1)
    text = report.page([ROWS[0], ROWS[0]], {})
    assert text.count("data:image/png") == 1
    assert "too many recordings for a picture of each" in text


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
    monkeypatch.setattr(native.sys, "executable", str(python))
    assert native.import_error() == error


def test_a_slow_import_is_no_hang(tmp_path, monkeypatch):
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nexec sleep 3\n")
    python.chmod(0o755)
    monkeypatch.setattr(native.sys, "executable", str(python))
    ticks = []
    assert native.import_error(lambda: ticks.append(1)) == ""
    assert len(ticks) >= 2, "the heart beats meanwhile"


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
        elsewhere = {"expected_output_file", "log_format"}  # the request itself has them: they are needed before
        assert option.field in names | elsewhere
