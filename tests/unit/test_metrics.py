"""How far a run is, as Prometheus reads it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from runner import metrics, output_folder
from runner.events import Log
from samples import recordings
from tests.launch import run

LINE = re.compile(r'isx_(\w+)\{run="([^"]*)",host="[^"]+",shard="([^"]*)"\} (\d+(?:\.\d+)?(?:e\+\d+)?)')


def read(path: Path) -> tuple[dict[str, float], set[tuple[str, str]]]:
    """Values by name, and run and shard of each. Every value has its help and its type before it."""
    text = path.read_text()
    assert text.endswith("\n")
    values, whose = {}, set()
    for about, kind, line in zip(*[iter(text.splitlines())] * 3):
        name, run_id, shard, value = LINE.fullmatch(line).groups()
        assert about == f"# HELP isx_{name} {metrics.MEANING[name]}"
        assert kind == f"# TYPE isx_{name} gauge"
        values[name] = float(value)
        whose.add((run_id, shard))
    return values, whose


def without_times(values: dict[str, float]) -> dict[str, float]:
    times = [values.pop(name) for name in ("start_time_seconds", "updated_time_seconds")]
    assert 0 < times[1] - times[0] < 600
    return values


@pytest.fixture
def three(input) -> Path:
    """Two sound recordings and one that is damaged."""
    for name in ("a", "b"):
        recordings.cell_set(input / f"{name}.isxd")
    (input / "c.isxd").write_bytes(b"damaged")
    return input


def test_nothing_is_written_unless_asked_for(three, output):
    run(three, output)
    assert not [*output.rglob("*.prom")]


def test_a_run_that_ended(three, output):
    done = run(three, output, env={"METRICS": "1", "RUN_ID": "r"})
    assert done.code == 1
    values, whose = read(output / "logs/isx.prom")
    assert whose == {("r", "1/1")}
    assert without_times(values) == {
        "recordings": 3,
        "recordings_failed": 1,
        "tasks": 2,
        "tasks_done": 2,
        "work_ratio": 1,
        "ended": 1,
        "exit_code": 1,
    }
    assert [path.name for path in output.rglob("*.prom*")] == ["isx.prom"], "nothing half-written"


def test_each_shard_has_its_own_and_gather_counts_them(three, output):
    for shard in ("1/3", "3/3"):
        run(three, output, "--metrics", "--shard", shard)
    written = [without_times(read(output / f"logs/isx.{shard}-of-3.prom")[0]) for shard in (1, 3)]
    assert sum(numbers["recordings"] for numbers in written) == 2
    assert read(output / "logs/isx.3-of-3.prom")[1].pop()[1] == "3/3"
    done = run(three, output, "--metrics", "--gather", env={"SHARD_COUNT": "3"})
    assert done.code == 1
    values = without_times(read(output / "logs/isx.prom")[0])
    assert (values["shards"], values["ended"], values["exit_code"]) == (3, 1, 1)
    assert values["shards_missing"] >= 1


def test_it_follows_the_log_now_and_then(tmp_path, monkeypatch):
    with output_folder.hold(tmp_path) as held:
        log = Log("json", fd=-1, run="r")
        log.followers.append(metrics.Metrics(held, None, log))
        path = tmp_path / "logs/isx.prom"
        assert "recordings" not in read(path)[0]
        log("found", "", selected=4)
        log.progress(0.25, 1, 4, None)
        assert (read(path)[0]["recordings"], "tasks" in read(path)[0]) == (4, False), "it was written a moment ago"
        monkeypatch.setattr(metrics, "EVERY", 0)
        log.progress(0.5, 2, 4, None)
        values = read(path)[0]
        assert (values["tasks"], values["tasks_done"], values["work_ratio"], values["ended"]) == (4, 2, 0.5, 0)


def test_a_file_that_cannot_be_written_does_not_stop_the_run(three, output):
    (output / "logs/isx.prom").mkdir(parents=True)
    done = run(three, output, "--metrics")
    assert done.code == 1
    assert [*(output / "logs/isx.prom").iterdir()] == []


def test_labels_are_quoted():
    labels: dict[str, Any] = {"host": 'a"b\\c\nd'}
    assert metrics.text({"ended": 1}, labels).splitlines()[2] == 'isx_ended{host="a\\"b\\\\c\\nd"} 1'
