"""deploy/slurm on a real cluster: what succeeds, what fails, and what a second try makes of it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from slurm import Slurm, descendants, has_memory_limits, wait_for

EXAMPLES = Path(__file__).resolve().parents[2] / "docs/examples"
MANY = [f"mouse{number}.isxd" for number in range(24)]


def damage(recording: Path) -> None:
    """As a copy that broke off leaves it."""
    os.truncate(recording, recording.stat().st_size // 2)


def test_shards_then_one_sentinel(lab, recordings):
    lab.add(recordings / "movie.isxd", "a.isxd", "day 2/b.isxd", "day 2/c.isxd")
    lab.add(recordings / "cells.isxd", "cells.isxd")
    jobs = lab.submit("--shards", 3, "--memory", "900M", "--", "--movie-tiff")
    assert set(lab.slurm.wait(jobs["shards"]).values()) == {"COMPLETED"}
    assert lab.slurm.wait(jobs["gather"]) == {"": "COMPLETED"}
    assert len(lab.slurm.jobs(jobs["shards"])) == 3
    assert {facts["BatchHost"] for facts in lab.slurm.jobs(jobs["shards"]).values()} == {"n1", "n2"}
    assert set(lab.shard_sentinels()) == {f"done.marker.{index}-of-3" for index in (1, 2, 3)}
    assert list(lab.output.rglob("done.marker")) == [lab.sentinel]
    assert json.loads(lab.sentinel.read_text())["recordings"] == 4
    assert lab.sentinel.stat().st_mtime_ns >= max(lab.shard_sentinels().values())
    assert (lab.output / "index.html").exists()
    for stem in ("a", "day 2/b", "day 2/c"):
        name = stem.rpartition("/")[2]
        assert (lab.output / stem / f"{name}.json").exists()
        assert (lab.output / stem / f"{name}-movie.tif").exists(), "an option for the image did not reach it"
    assert (lab.output / "cells/cells.json").exists()


def test_a_damaged_recording_then_redo(lab, recordings):
    lab.add(recordings / "movie.isxd", "a.isxd", "b.isxd", "c.isxd")
    damage(lab.input / "b.isxd")
    jobs = lab.submit("--shards", 3)
    states = lab.slurm.wait(jobs["shards"])
    assert sorted(states.values()) == ["COMPLETED", "COMPLETED", "FAILED"]
    assert lab.slurm.wait(jobs["gather"]) == {"": "CANCELLED"}
    assert not lab.sentinel.exists()
    failed = next(index for index, state in states.items() if state == "FAILED")
    assert "b.isxd" in lab.log(f"{jobs['shards']}_{failed}")

    report = lab.submit("--gather")
    assert lab.slurm.wait(report["gather"]) == {"": "FAILED"}
    assert "b.isxd" in (lab.output / "summary.csv").read_text()
    assert f"1 of 3 shards are not done: {failed};" in lab.log(report["gather"])
    assert not lab.sentinel.exists()

    lab.add(recordings / "movie.isxd", "b.isxd")
    again = lab.submit("--redo")
    # Another size: the recordings may be divided otherwise, so that each shard looks again.
    assert lab.slurm.wait(again["shards"]) == dict.fromkeys("123", "COMPLETED")
    assert lab.slurm.wait(again["gather"]) == {"": "COMPLETED"}
    assert json.loads(lab.sentinel.read_text())["recordings"] == 3
    logs = "".join(lab.log(f"{again['shards']}_{index}") for index in "123")
    assert logs.count('"recording-done"') == 1, "what was done was done again"


def test_out_of_memory_then_more(lab, recordings):
    if not has_memory_limits():
        pytest.skip("no memory control group of version 1: Slurm cannot limit memory here")
    lab.add(recordings / "large.isxd", "a.isxd")
    jobs = lab.submit("--memory", "200M")
    assert lab.slurm.wait(jobs["shards"]) == {"1": "OUT_OF_MEMORY"}
    assert lab.slurm.wait(jobs["gather"]) == {"": "CANCELLED"}
    assert not lab.sentinel.exists()
    assert "out of memory" in lab.log(f"{jobs['shards']}_1")
    again = lab.submit("--redo", "--shards", 1, "--memory", "3G")
    assert lab.slurm.wait(again["gather"]) == {"": "COMPLETED"}
    assert lab.sentinel.exists()


def test_one_shard_cancelled_in_the_middle_then_redo(lab, recordings):
    lab.add(recordings / "movie.isxd", *MANY)
    jobs = lab.submit("--shards", 3)
    log = lab.logs / f"{jobs['shards']}_2.log"
    wait_for("a first result of the shard", lambda: log.exists() and "recording-done" in log.read_text(), 60)
    assert lab.slurm.as_user("scancel", f"{jobs['shards']}_2").returncode == 0
    assert lab.slurm.wait(jobs["shards"]) == {"1": "COMPLETED", "2": "CANCELLED", "3": "COMPLETED"}
    assert lab.slurm.wait(jobs["gather"]) == {"": "CANCELLED"}
    assert not lab.sentinel.exists()
    last = json.loads([line for line in log.read_text().splitlines() if line.startswith("{")][-1])
    assert (last["event"], last["code"]) == ("end", 128 + signal.SIGTERM)
    assert not list((lab.slurm.folder.parent / "tmp").iterdir()), "scratch folders stayed"

    earlier = lab.shard_sentinels()
    assert set(earlier) == {"done.marker.1-of-3", "done.marker.3-of-3"}
    again = lab.submit("--redo")
    assert lab.slurm.wait(again["shards"]) == {"2": "COMPLETED"}
    assert lab.slurm.wait(again["gather"]) == {"": "COMPLETED"}
    assert json.loads(lab.sentinel.read_text())["recordings"] == len(MANY)
    now = lab.shard_sentinels()
    assert {name: now[name] for name in earlier} == earlier, "a shard that was done was done again"


def test_charliecloud(lab, charliecloud, recordings):
    lab.image = charliecloud
    lab.add(recordings / "movie.isxd", "a.isxd")
    refused = lab.try_to_submit()
    assert refused.returncode == 1
    assert f"Charliecloud cannot mount a path with a colon: {lab.input}" in refused.stderr
    plain = lab.input.parent.with_name("charliecloud, too")
    lab.input.parent.rename(plain)
    lab.input, lab.output = plain / "input", plain / "output"
    examples = shutil.copytree(EXAMPLES, plain / "recipes")
    jobs = lab.submit("--shards", 2, "--bind", examples, "--", "--recipe", examples / "local_correlation.toml")
    assert set(lab.slurm.wait(jobs["shards"]).values()) == {"COMPLETED"}
    assert lab.slurm.wait(jobs["gather"]) == {"": "COMPLETED"}
    assert json.loads(lab.sentinel.read_text())["recordings"] == 1
    assert "recipe local_correlation" in (lab.output / "summary.csv").read_text()


def test_a_lost_node(lab, recordings):
    """Its shard starts again on the other node; what it had finished stays."""
    lab.add(recordings / "movie.isxd", *MANY)
    jobs = lab.submit("--shards", 2, "--memory", "900M")
    wait_for("both shards", lambda: set(lab.slurm.states(jobs["shards"]).values()) == {"RUNNING"})
    lost = next(index for index, facts in lab.slurm.jobs(jobs["shards"]).items() if facts["BatchHost"] == "n2")
    log = lab.logs / f"{jobs['shards']}_{lost}.log"
    wait_for("a first result of the shard", lambda: log.exists() and "recording-done" in log.read_text(), 60)
    lab.slurm.lose_node("n2")
    try:
        assert set(lab.slurm.wait(jobs["shards"], 180).values()) == {"COMPLETED"}
        assert lab.slurm.wait(jobs["gather"]) == {"": "COMPLETED"}
    finally:
        lab.slurm.start_node("n2")
    facts = lab.slurm.jobs(jobs["shards"])[lost]
    assert (facts["BatchHost"], facts["Restarts"]) == ("n1", "1")
    assert json.loads(lab.sentinel.read_text())["recordings"] == len(MANY)
    assert '"unchanged": 0' not in log.read_text().splitlines()[-1], "what was finished was done again"


def test_nothing_outlives_who_started_it(slurm, workspace):
    """Not even where that is killed, and a job runs."""
    folder = workspace / "killed"
    code = f"import sys, slurm, pathlib; s = slurm.Slurm(pathlib.Path({str(folder)!r}), port=26917); s.start(); "
    code += "s.as_user('sbatch', '--output=/dev/null', '--wrap', 'sleep 1000'); print(); sys.stdin.read()"
    parent = subprocess.Popen(
        [sys.executable, "-c", code], cwd=Path(__file__).parent, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        parent.stdout.readline()
        other = Slurm(folder, 26917)
        wait_for("the job", lambda: "RUNNING" in other.command("squeue", "--format=%T"))
        started = descendants(parent.pid)
    finally:
        parent.kill()
        parent.communicate()
    assert len(started) >= 5
    wait_for("the end of all", lambda: not mentioning(str(folder)) and not any(map(is_alive, started)))


def mentioning(text: str) -> list[int]:
    """Processes whose command line or environment has this."""
    pids = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            known = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
        except OSError:
            continue
        if text.encode() in known:
            pids.append(int(process.name))
    return pids


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
