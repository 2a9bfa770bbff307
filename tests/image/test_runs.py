"""Runs of the image as a user starts them: results, sentinel, exit codes, confinement."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from harness import CODE, IMAGE, PROJECT, PUBLIC, container, docker, environment, events, last_event, mounts, sentinel

VERSION = (PROJECT / "VERSION").read_text().strip()
MANY = 24
CONFINEMENTS = {
    "as any user": ["--user", "12345:23456"],
    "with a read-only root": ["--read-only", "--tmpfs", "/tmp"],
    "without network": ["--network", "none"],
    "without capabilities": ["--cap-drop", "ALL"],
    "without new privileges": ["--security-opt", "no-new-privileges"],
}
CONFINEMENTS["all at once"] = [option for options in list(CONFINEMENTS.values()) for option in options]


def run_on(recordings: Path, output: Path, *arguments: str, options: tuple[str, ...] | list[str] = (), **rest: object):
    return container(*arguments, options=[*mounts(recordings, output), *options], **rest)


def listing(output: Path) -> list[str]:
    """Every file, hidden ones of the run's own left out."""
    files = (path.relative_to(output) for path in output.rglob("*") if path.is_file())
    return sorted(path.as_posix() for path in files if not path.parts[0].startswith("."))


def golden_listing() -> list[str]:
    """What a run on the recordings of these tests writes, in full."""
    every = [".html", ".json", "-citations.bib", "-methods.md", "-quality.csv"]
    movie = ["-frames.csv", "-intensity.png", "-max.tif", "-mean.tif", "-min.tif", "-preview.png", "-std.tif", *every]
    cells = ["-cellmap.png", "-cells.csv", "-footprints.tif", "-traces.csv", "-traces.png", *every]
    events = ["-events.csv", "-raster.png", "-rates.csv", *every]
    names = {"movie": movie, "Maus 7, größte Pause/réponse ß & co": movie, "cells": cells, "events": events}
    results = [f"{name}/{Path(name).name}{ending}" for name, endings in names.items() for ending in endings]
    logs = [f"logs/{name}.isxd.log" for name in names]
    return sorted([*results, *logs, "done.marker", "index.html", "summary.csv"])


# --- results and sentinel -----------------------------------------------------------------------------------------


def test_results_of_every_recording_then_the_sentinel(recordings, output):
    done = run_on(recordings, output)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert listing(output) == golden_listing()

    said = json.loads((output / "done.marker").read_text())
    assert said["version"] == VERSION
    assert (said["recordings"], said["failed"], said["shard"]) == (4, 0, "1/1")
    assert 0 < said["seconds"] < 600
    assert said["isx"]["source"] == "public"


def test_the_log_begins_at_once_and_ends_with_the_exit_code(movie, output):
    log = list(events(run_on(movie, output)))
    assert log[0]["event"] == "start"
    assert log[0]["version"] == VERSION
    assert (log[-1]["event"], log[-1]["code"], log[-1]["recordings"]) == ("end", 0, 1)


def test_a_second_run_does_nothing_again(movie, output):
    assert run_on(movie, output).returncode == 0
    before = {path: path.stat().st_mtime_ns for path in (output / "movie").iterdir()}
    done = run_on(movie, output)
    assert done.returncode == 0
    assert last_event(done)["unchanged"] == 1
    assert before == {path: path.stat().st_mtime_ns for path in (output / "movie").iterdir()}


def test_recordings_are_left_as_they_are(recordings, output, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(recordings, copy)
    before = {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}
    done = container(options=["-v", f"{copy}:/data", "-v", f"{output}:/output", "--user", "0"])  # writable, and as root
    assert done.returncode == 0, done.stderr
    assert before == {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}


def test_folders_with_spaces_and_accents(movie, tmp_path):
    recordings, output = tmp_path / "Fälle von Maus 7", tmp_path / "résultats à lire"
    shutil.copytree(movie, recordings)
    output.mkdir()
    output.chmod(0o777)
    assert run_on(recordings, output).returncode == 0
    assert (output / "done.marker").is_file()


def test_sentinel_and_folders_elsewhere(movie, output):
    options = ["-v", f"{movie}:/in/a b:ro", "-v", f"{output}:/out/c d", "-e", "INPUT_DIR=/in/a b"]
    done = container("--output-dir=/out/c d", options=[*options, "-e", "EXPECTED_OUTPUT_FILE=/out/c d/flags/ready"])
    assert done.returncode == 0, done.stderr
    assert (output / "flags/ready").is_file()
    assert not (output / "done.marker").exists()


@pytest.mark.parametrize("options", CONFINEMENTS.values(), ids=CONFINEMENTS)
def test_confined(options, movie, output):
    done = run_on(movie, output, options=options)
    assert done.returncode == 0, done.stderr
    uid, gid = (12345, 23456) if "--user" in options else (1000, 1000)
    owners = {(path.stat().st_uid, path.stat().st_gid) for path in output.rglob("*")}
    assert owners == {(uid, gid)}
    assert (output / "done.marker").is_file()


def test_every_product_in_an_output_of_another_user(movie, output):
    """Libraries keep caches: some refuse to below a folder that everybody may write to, as this one."""
    wanted = ["-e", "NWB=1", "-e", "NWB_MOVIE=1", "-e", "MOVIE_TIFF=1", "-e", "MOVIE_MP4=1"]
    done = run_on(movie, output, options=[*CONFINEMENTS["all at once"], *wanted])
    assert done.returncode == 0, done.stderr
    assert not [event for event in events(done) if event["level"] != "info" and "NWB" not in event["message"]]
    made = {path.suffix for path in (output / "movie").iterdir() if path.stat().st_size}
    assert made >= {".nwb", ".mp4", ".tif"}
    assert (output / "movie/movie-movie.tif").is_file()


# --- exit codes ---------------------------------------------------------------------------------------------------


def test_a_damaged_recording_fails_and_the_rest_is_done(movie, output, tmp_path):
    recordings = tmp_path / "recordings"
    shutil.copytree(movie, recordings)
    (recordings / "cut.isxd").write_bytes((movie / "movie.isxd").read_bytes()[:-100])
    (output / "done.marker").write_text(sentinel())
    done = run_on(recordings, output)
    assert done.returncode == 1
    assert not (output / "done.marker").exists()
    assert (output / "movie/movie.json").is_file()
    failures = [event for event in events(done) if event["event"] == "recording-failed"]
    assert [event["path"] for event in failures] == ["cut.isxd"]
    assert last_event(done)["message"] == "1 of 2 failed, 1 done; no sentinel"


USAGE_ERRORS = {
    "unknown option": (["--nonsense"], "unknown option '--nonsense'"),
    "workers": (["--workers=none"], "WORKERS must be a whole number from 1, not 'none'"),
    "shard": (["--shard", "3/2"], "SHARD asks for part 3 (counted from 1) of 2"),
    "no such recipe": (["--recipe", "/nowhere.toml"], "/nowhere.toml"),
}


@pytest.mark.parametrize("arguments, message", USAGE_ERRORS.values(), ids=USAGE_ERRORS)
def test_usage_errors(arguments, message, movie, output):
    (output / "done.marker").write_text(sentinel())
    done = run_on(movie, output, *arguments)
    assert done.returncode == 64
    assert message in last_event(done)["message"]
    assert listing(output) == []


def test_no_recording(output, tmp_path):
    (tmp_path / "empty").mkdir()
    done = run_on(tmp_path / "empty", output)
    assert done.returncode == 66
    assert last_event(done)["message"].startswith("no recording found in /data: looked for .isxd")


def test_no_input_folder(output):
    done = container(options=["-v", f"{output}:/output"])
    assert done.returncode == 66
    assert last_event(done)["message"].startswith("the input /data does not exist: mount the recordings there")


@pytest.mark.parametrize("options", [[], ["--user", "0:0"], ["--read-only"]], ids=["as it is", "root", "read-only"])
def test_no_output_folder(options, movie):
    done = container(options=["-v", f"{movie}:/data:ro", *options])
    assert done.returncode == 73
    message = last_event(done)["message"]
    assert message.startswith("nothing is mounted at /output, and results inside the container are lost")
    assert 'add `-v "$PWD/output:/output"`' in message


@pytest.mark.parametrize("sentinel", ["done.marker", "/flags/ready"])
def test_a_sentinel_in_the_container(sentinel, movie, output):
    done = run_on(movie, output, options=["--env", f"EXPECTED_OUTPUT_FILE={sentinel}"])
    assert done.returncode == 73
    assert "a sentinel inside the container is lost with it" in last_event(done)["message"]
    assert not list(output.iterdir())


def test_output_of_another_user_names_the_way_out(movie, tmp_path):
    output = tmp_path / "output"
    output.mkdir(mode=0o755)
    os.chown(output, 4321, 8765)
    done = run_on(movie, output)
    assert done.returncode == 73
    message = last_event(done)["message"]
    assert (
        "/output is not writable for uid 1000: it belongs to uid 4321, gid 8765; run with `--user 4321:8765`" in message
    )
    assert run_on(movie, output, options=["--user", "4321:8765"]).returncode == 0


def test_read_only_output(movie, output):
    done = container(options=["-v", f"{movie}:/data:ro", "-v", f"{output}:/output:ro"])
    assert done.returncode == 73
    assert last_event(done)["message"] == "/output is mounted read-only: mount the output without ':ro'"


def test_a_full_disk(movie):
    done = container(options=["-v", f"{movie}:/data:ro", "--tmpfs", "/output:size=8k,mode=777"])
    assert done.returncode in (1, 73), done.stderr
    assert "no space left on the output's disk: free some and run again" in done.stderr


# --- in the middle of a run -----------------------------------------------------------------------------------------


@pytest.fixture
def many(movie, tmp_path) -> Path:
    """Recordings for several seconds: half a one each."""
    folder = tmp_path / "recordings"
    folder.mkdir()
    for number in range(MANY):
        shutil.copy(movie / "movie.isxd", folder / f"{number:02}.isxd")
    return folder


@contextmanager
def run_in_progress(recordings: Path, output: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The name and the process of a run that has finished its first recording."""
    name = f"{IMAGE}-{os.getpid()}"
    command = ["docker", "run", "--name", name, *mounts(recordings, output), PUBLIC, "--workers=1"]
    process = subprocess.Popen(command, env=environment(), stderr=subprocess.PIPE, text=True)
    try:
        assert any(json.loads(line)["event"] == "recording-done" for line in process.stderr)
        yield name, process
    finally:
        docker("rm", "--force", name)
        process.communicate()


def finished(output: Path) -> int:
    return len(list(output.glob("[0-9]*/*.json")))


@pytest.mark.parametrize("sign, code", [("TERM", 143), ("INT", 130)])
def test_stopped_then_completed(sign, code, many, output):
    (output / "done.marker").write_text(sentinel())
    with run_in_progress(many, output) as (name, process):
        started = time.monotonic()
        docker("kill", "--signal", sign, name)
        last = [json.loads(line) for line in process.stderr][-1]
        assert process.wait() == code
        assert time.monotonic() - started < 10, "docker stop would have killed it"
    assert (last["message"], last["code"]) == (f"stopped by SIG{sign}; run again to complete what is missing", code)
    assert not (output / "done.marker").exists()
    before = finished(output)
    assert 1 <= before < MANY

    done = run_on(many, output)
    assert done.returncode == 0, done.stderr
    assert before - 1 <= last_event(done)["unchanged"] <= before  # one may have been cut short in its last step
    assert finished(output) == MANY


def test_a_run_is_alive_and_has_the_output_to_itself(many, movie, output):
    with run_in_progress(many, output) as (name, _):
        alive = json.loads(docker("exec", name, "python", "/app/healthcheck.py").stdout)
        second = run_on(movie, output)
        still_there = docker("inspect", "--format", "{{.State.Running}}", name).stdout.strip()
    assert alive["healthy"] is True
    assert alive["run"].startswith("alive, last sign of life ")
    assert second.returncode == 75
    assert still_there == "true"


# --- commands -----------------------------------------------------------------------------------------------------


def test_a_command_takes_over_and_its_exit_code_comes_through(public):
    done = container(*CODE, "import isx, os, sys; print(os.getpid(), isx.Movie.__name__); sys.exit(7)")
    assert done.returncode == 7
    assert done.stdout == "1 Movie\n"


def test_a_command_that_does_not_exist(public):
    done = container("nonsense")
    assert done.returncode == 127
    assert done.stderr == "nonsense: no such command in this image; options start with '-' (see --help)\n"


def test_help(public):
    done = container("--help")
    assert done.returncode == 0
    assert done.stdout.startswith("Usage: docker run")


def test_version(public):
    done = container("--version")
    assert done.returncode == 0
    assert f"isx image {VERSION}" in done.stdout
    assert "2.1.0" in done.stdout


def test_check_is_the_preflight_alone(public):
    done = container("--check", options=["--network", "none", "--read-only"])
    assert done.returncode == 0, done.stderr
    preflight = next(event for event in events(done) if event["event"] == "preflight")
    assert preflight["isx"]["version"] == "2.1.0"
    assert preflight["algorithms"] is False
    assert preflight["python"].startswith("3.")
    assert f"numpy=={preflight['dependencies']['numpy']} " in (PROJECT / "requirements.txt").read_text()


def test_idps_says_which_it_is(idps):
    done = container("--check", image=idps)
    assert done.returncode == 0, done.stderr
    preflight = next(event for event in events(done) if event["event"] == "preflight")
    assert (preflight["isx"]["source"], preflight["isx"]["version"]) == ("idps", "1.9.6")
    assert preflight["examples"] == ["isx/examples/example_preprocessing.py"]


def test_idps_handles_recordings(idps, recordings, output):
    done = run_on(recordings, output, image=idps, options=CONFINEMENTS["all at once"])
    assert done.returncode == 0, done.stderr
    assert json.loads((output / "done.marker").read_text())["isx"]["name"] == "Inscopix Data Processing"
