"""Signals, kills, locks and shards: what happens when a run does not have the output to itself, or to the end."""

from __future__ import annotations

import fcntl
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from runner.own import STAGING
from tests.launch import bootstrap, run, sentinel, start, tree

SEED = 20260101
KILLS = 20


@pytest.fixture
def recordings(samples: Path, input: Path) -> Path:
    """Three recordings in two folders."""
    (input / "sub").mkdir()
    shutil.copy(samples / "image.isxd", input / "a.isxd")
    shutil.copy(samples / "image.isxd", input / "sub" / "b.isxd")
    shutil.copy(samples / "part1.isxd", input / "c.isxd")
    return input


def began(process: subprocess.Popen[str]) -> None:
    """Wait for the event after which workers run."""
    for line in process.stderr:
        if json.loads(line)["event"] == "found":
            return
    raise AssertionError("the run ended before it began")


def members(group: int) -> list[int]:
    """Living processes whose parent is the given one."""
    living = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
            except OSError:
                continue
            if int(parent) == group and state != "Z":
                living.append(int(entry.name))
    return living


def cmdline(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_stops_the_run_and_its_workers(recordings, output, signum, code):
    process = start("--input-dir", recordings, "--output-dir", output)
    began(process)
    while len(workers := members(process.pid)) < 2:  # the fork server is one
        assert process.poll() is None
    process.send_signal(signum)
    rest = process.stderr.read()
    assert process.wait(timeout=10) == code
    end = json.loads(rest.splitlines()[-1])
    assert (end["event"], end["code"]) == ("end", code)
    assert end["message"] == f"stopped by {signal.Signals(signum).name}; run again to complete what is missing"
    assert not any(Path(f"/proc/{pid}").exists() for pid in workers)
    assert not (output / "done.marker").exists()
    assert not (output / STAGING).exists()
    assert run(recordings, output).code == 0


def test_killed_at_any_moment_a_rerun_completes_the_same_tree(recordings, tmp_path, output):
    reference = tmp_path / "reference"
    began_at = time.monotonic()
    assert run(recordings, reference).code == 0
    whole = time.monotonic() - began_at
    expected = tree(reference)
    moments = random.Random(SEED)
    print(f"seed {SEED}")
    for number in range(KILLS):
        moment = moments.uniform(0, whole)
        print(f"kill {number} after {moment:.3f} s")
        process = start("--input-dir", recordings, "--output-dir", output)
        try:
            process.wait(timeout=moment)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stderr.close()
        if number % 5 == 4:
            assert run(recordings, output).code == 0
            assert tree(output) == expected
            shutil.rmtree(output)


def test_workers_die_with_pid_1(recordings, output):
    process = start("--input-dir", recordings, "--output-dir", output)
    began(process)
    while len(workers := members(process.pid)) < 2:  # the fork server is one
        assert process.poll() is None
    process.kill()
    process.wait()
    process.stderr.close()
    deadline = time.monotonic() + 10
    while any(Path(f"/proc/{pid}/exe").exists() for pid in workers):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_without_the_fork_server_workers_start_by_themselves(recordings, output):
    process = start("--input-dir", recordings, "--output-dir", output)
    began(process)
    while not (server := [pid for pid in members(process.pid) if b"--fork-server" in cmdline(pid)]):
        assert process.poll() is None
    os.kill(server[0], signal.SIGKILL)
    rest = process.stderr.read()
    assert process.wait(timeout=60) == 0, rest
    assert (output / "done.marker").exists()
    assert "the process that forks workers ended" in rest


def test_a_second_run_on_one_output_says_so(recordings, output):
    assert run(recordings, output).code == 0
    with (output / ".lock").open("rb+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for arguments in ([], ["--shard", "1/2"], ["--gather"]):
            second = run(recordings, output, *arguments)
            assert second.code == 75
            assert f"another run is working on {output}: wait for it" in second.end
            assert (output / "done.marker").exists(), "it is not the second run's to remove"
    assert run(recordings, output).code == 0


def test_shards_share_an_output_but_not_a_shard(recordings, output):
    output.mkdir()
    with (output / ".lock").open("wb+") as lock, (output / ".lock-1-of-2").open("wb+") as shard_lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        fcntl.flock(shard_lock, fcntl.LOCK_EX)
        assert "shard 1/2" in run(recordings, output, "--shard", "1/2").end
        assert run(recordings, output, "--shard", "2/2").code == 0
        assert run(recordings, output).code == 75


def test_input_that_changes_or_vanishes_while_it_is_worked_on(samples, input, output):
    """Both are found when the worker has ended; one worker at a time, so that the second still waits."""
    shutil.copy(samples / "larger.isxd", input / "first.isxd")
    for name in ("changes", "vanishes"):
        shutil.copy(samples / "image.isxd", input / f"{name}.isxd")
    process = start("--input-dir", input, "--output-dir", output, "--workers", "1")
    began(process)
    os.utime(input / "changes.isxd", (1, 1))
    (input / "vanishes.isxd").unlink()
    events = [json.loads(line) for line in process.stderr]
    assert process.wait() == 1
    reasons = {event["path"]: event["reason"] for event in events if event["event"] == "recording-failed"}
    assert "changed during the run; run again" in reasons["changes.isxd"]
    assert "disappeared during the run" in reasons["vanishes.isxd"]
    assert not (output / "changes").exists()


# ---- shards


def test_shards_cover_everything_once_and_gather_ends_the_run(recordings, tmp_path, output):
    reference = tmp_path / "reference"
    assert run(recordings, reference).code == 0
    count = 4
    handled = []
    for index in range(count):
        env = {"SHARD_INDEX": str(index), "SHARD_COUNT": str(count)}
        shard = run(recordings, output, env=env)
        assert shard.code == 0, shard.stderr
        handled += [event["path"] for event in shard.named("recording-done")]
        sentinel = json.loads((output / f"done.marker.{index + 1}-of-{count}").read_text())
        assert sentinel["shard"] == f"{index + 1}/{count}"
        assert not (output / "done.marker").exists()
        assert not (output / "index.html").exists(), "only the gather step knows all"
        assert (output / STAGING).is_dir(), "another shard may just be making a folder in it"
    assert sorted(handled) == ["a.isxd", "c.isxd", "sub/b.isxd"]
    gathered = run(recordings, output, "--gather")
    assert (gathered.code, gathered.end) == (0, "3 recordings, all done")
    assert json.loads((output / "done.marker").read_text())["shards"] == count
    assert not (output / STAGING).exists()
    mine = {name: content for name, content in tree(output).items() if "-of-" not in name}
    assert mine == tree(reference)


@pytest.mark.parametrize(
    "scheduler",
    [
        {"SLURM_ARRAY_TASK_ID": "1", "SLURM_ARRAY_TASK_COUNT": "2", "SLURM_ARRAY_TASK_MIN": "1"},
        {"JOB_COMPLETION_INDEX": "1"},
    ],
)
def test_an_array_job_of_somebody_elses_is_no_shard(recordings, output, scheduler):
    """Each of its tasks has an input of its own: all of it is done."""
    done = run(recordings, output, env=scheduler)
    assert (done.code, done.end) == (0, "3 recordings, all done"), done.stderr
    assert [path.name for path in output.glob("done.marker*")] == ["done.marker"]
    (said,) = done.named("not-sharded")
    assert said["message"].startswith(
        f"{next(iter(scheduler))} is 1, but no shard was requested: this run processes all"
    )
    asked = run(recordings, output, "--shard=1/2", env=scheduler)
    assert (asked.code, asked.named("not-sharded")) == (0, [])
    assert (output / "done.marker.1-of-2").exists()


@pytest.mark.parametrize("option", [["--shard=1/99999999999999999999"], ["--gather", "--shard=1/100001"]])
def test_more_shards_than_anybody_has_cost_nothing(recordings, output, option):
    enough = 500 << 20  # bytes of address space
    arguments = ("--input-dir", recordings, "--output-dir", output, *option)
    done = bootstrap(*arguments, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (enough, enough)))
    assert (done.code, "there may be 1 to 100000" in done.end) == (64, True), done.stderr
    assert not output.exists()


def test_a_planted_sentinel_of_too_many_shards_costs_nothing(recordings, output):
    assert run(recordings, output, "--shard=1/1").code == 0
    for count in ("99999999999", "99999"):
        (output / f"done.marker.1-of-{count}").write_text(sentinel(f"1/{count}"))
    gathered = run(recordings, output, "--gather")
    assert (gathered.code, "99998 of 99999 shards are not done: 2, 3," in gathered.end) == (1, True)


def test_gather_says_which_shards_differ(recordings, output):
    for number, environment in enumerate([{}, {}, {"MOVIE_TIFF": "1"}], 1):
        assert run(recordings, output, "--shard", f"{number}/3", env=environment).code == 0
    gathered = run(recordings, output, "--gather")
    assert gathered.code == 0
    (said,) = gathered.named("mixed")
    assert said["message"] == "shards differ in recipe, options or software: 1, 2; 3; so do their results"
    assert run(recordings, output, "--shard", "3/3").code == 0
    assert not run(recordings, output, "--gather").named("mixed")


def test_gather_after_a_single_shard(recordings, output):
    """One of one is no shard: it leaves no sentinel of its own."""
    missing = run(recordings, output, "--gather", "--shard", "1/1")
    assert (missing.code, missing.end) == (1, "3 of 3 failed, 0 done; no sentinel")
    assert run(recordings, output, "--shard", "1/1").code == 0
    assert run(recordings, output, "--gather", "--shard", "1/1").code == 0
    assert (output / "done.marker").exists()


def test_gather_names_what_is_missing(recordings, output):
    assert run(recordings, output, "--shard", "2/3").code == 0
    gathered = run(recordings, output, "--gather", env={"SHARD_COUNT": "3"})
    assert gathered.code == 1
    assert gathered.end == "2 of 3 shards are not done: 1, 3; run them again, then gather"
    assert "no shard has finished it" in (output / "summary.csv").read_text()
    for shard in ("1/3", "3/3"):
        assert run(recordings, output, "--shard", shard).code == 0
    assert run(recordings, output, "--gather").code == 0
    assert run(recordings, output, "--shard", "1/3").code == 0
    assert not (output / "done.marker").exists(), "a shard that runs again takes the whole back"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda input, output: shutil.copy(input / "a.isxd", input / "new.isxd"), "no shard has finished it"),
        (lambda input, output: os.utime(input / "a.isxd", (1, 1)), "it changed after its shard was done"),
        (lambda input, output: (output / "a/a.json").unlink(), "some of its results are gone"),
    ],
)
def test_gather_trusts_nothing(recordings, output, change, message):
    for shard in ("1/2", "2/2"):
        assert run(recordings, output, "--shard", shard).code == 0
    change(recordings, output)
    gathered = run(recordings, output, "--gather")
    assert gathered.code == 1
    assert message in gathered.named("recording-failed")[0]["reason"]
    assert not (output / "done.marker").exists()


def test_gather_without_any_shard_asks_how_many(recordings, output):
    gathered = run(recordings, output, "--gather")
    assert (gathered.code, "the number of shards is unknown" in gathered.end) == (64, True)


def test_a_failed_shard_has_no_sentinel(recordings, output):
    (recordings / "bad.isxd").touch()
    codes = {shard: run(recordings, output, "--shard", shard).code for shard in ("1/2", "2/2")}
    assert sorted(codes.values()) == [0, 1]
    (failed,) = [shard[0] for shard, code in codes.items() if code]
    assert not (output / f"done.marker.{failed}-of-2").exists()
    gathered = run(recordings, output, "--gather")
    assert f"1 of 2 shards are not done: {failed};" in gathered.end
    assert "the file is empty" in (output / "summary.csv").read_text()


def test_other_ways_of_sharding_leave_no_sentinels(recordings, output):
    for shard in ("1/3", "2/3", "1/2"):
        assert run(recordings, output, "--shard", shard).code == 0
    assert [path.name for path in output.glob("done.marker*")] == ["done.marker.1-of-2"]
    assert run(recordings, output).code == 0
    assert [path.name for path in output.glob("done.marker*")] == ["done.marker"]
