"""The contract, by running PID 1 as it is run in the image."""

from __future__ import annotations

import contextlib
import csv
import ctypes
import json
import os
import re
import shutil
import stat
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import pytest

from open_engine.files.cellsets import write_cell_set
from recording import formats
from recording.kinds import SUFFIXES
from runner.settings import ACTIONS, OPTIONS
from samples import recordings
from tests.launch import API, ROOT, bootstrap, environment, interpreter, run, sentinel, tree

NOBODY = 65534
MS_REMOUNT = 32  # mount(2)


def put(samples: Path, name: str, *targets: Path) -> None:
    for target in targets:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(samples / name, target)


def rows(output: Path) -> dict[str, dict[str, str]]:
    with (output / "summary.csv").open(newline="", encoding="utf-8") as file:
        return {row["path"]: row for row in csv.DictReader(file)}


# ---- a run that succeeds


def test_results_for_each_recording_then_report_and_sentinel(samples, input, output):
    put(samples, "image.isxd", input / "day 1" / "mouse µ.isxd", input / "b.isxd")
    done = run(input, output, env={"CONTAINER_TAG": "isx:public", "CONTAINER_DIGEST": "sha256:1"})
    assert done.code == 0, done.stderr
    assert done.end == "2 recordings, all done"
    assert (output / "day 1/mouse µ/mouse µ.json").is_file()
    assert (output / "b/b.json").is_file()
    for name in ("index.html", "summary.csv", "logs", "done.marker"):
        assert (output / name).exists()
    said = json.loads((output / "done.marker").read_text())
    assert (said["version"], said["recordings"], said["failed"], said["shard"]) == (
        (ROOT / "VERSION").read_text().strip(), 2, 0, "1/1",
    )  # fmt: skip
    assert {path: row["status"] for path, row in rows(output).items()} == {
        "b.isxd": "done",
        "day 1/mouse µ.isxd": "done",
    }
    assert not list(output.glob("**/.staging"))
    assert said["software"]["isx"].startswith(said["isx"]["version"])
    assert said["container"] == {"Type": "docker", "Tag": "isx:public", "URI": "sha256:1"}
    assert not (output / "dataset_description.json").exists(), "dandi would take the folder for a BIDS dataset"


def test_first_event_and_preflight(samples, input, output):
    put(samples, "image.isxd", input / "a.isxd")
    done = run(input, output)
    assert done.events[0]["event"] == "start"
    (preflight,) = done.named("preflight")
    assert preflight["isx"]["source"] == "public"
    assert preflight["algorithms"] is False
    assert preflight["glibc"].startswith("2.")
    assert preflight["dependencies"]["numpy"]


def test_provenance_is_in_the_results(samples, input, output):
    put(samples, "image.isxd", input / "a.isxd")
    run(input, output, env={"CONTAINER_TAG": "isx:public"})
    provenance = json.loads((output / "a/a.json").read_text())["provenance"]
    assert provenance["container"] == {"Type": "docker", "Tag": "isx:public"}
    assert provenance["inputs"] == ["a.isxd"]
    assert len(provenance["fingerprint"]) == 64


def test_options_win_over_environment(samples, tmp_path, input, output):
    put(samples, "image.isxd", input / "a.isxd")
    env = {"INPUT_DIR": "/nowhere", "OUTPUT_DIR": str(output), "EXPECTED_OUTPUT_FILE": str(tmp_path / "x" / "finished")}
    done = bootstrap("--input-dir", input, env=env)
    assert done.code == 0, done.stderr
    assert (tmp_path / "x" / "finished").is_file()
    assert not (output / "done.marker").exists()


# ---- re-runs


def test_unchanged_recordings_are_skipped_and_the_tree_stays(samples, input, output):
    put(samples, "image.isxd", input / "a.isxd", input / "b.isxd")
    run(input, output)
    before = tree(output)
    times = {path: path.stat().st_mtime_ns for path in output.glob("[ab]/*")}
    done = run(input, output)
    assert done.end == "2 recordings, all done, 2 of them earlier"
    assert tree(output) == before
    assert {path: path.stat().st_mtime_ns for path in output.glob("[ab]/*")} == times
    assert run(input, output, "--force").end == "2 recordings, all done"


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda input, output: os.utime(input / "a.isxd", (1, 1)), id="input touched"),
        pytest.param(lambda input, output: next(output.glob("a/*.tif")).unlink(), id="product gone"),
        pytest.param(lambda input, output: next(output.glob("a/*.png")).write_bytes(b""), id="product cut"),
        pytest.param(lambda input, output: (output / "a/a.json").unlink(), id="json gone"),
        pytest.param(lambda input, output: (output / ".records/a.isxd.json").unlink(), id="record gone"),
        pytest.param(lambda input, output: (output / ".records/a.isxd.json").write_text("{"), id="record cut"),
    ],
)
def test_what_changed_is_done_again_and_only_that(samples, input, output, change):
    put(samples, "image.isxd", input / "a.isxd", input / "b.isxd")
    run(input, output)
    change(input, output)
    done = run(input, output)
    assert done.end == "2 recordings, all done, 1 of them earlier"
    assert [event["path"] for event in done.named("recording-done")] == ["a.isxd"]


def test_options_are_part_of_the_fingerprint(samples, input, output):
    put(samples, "image.isxd", input / "a.isxd")
    run(input, output)
    assert run(input, output, "--movie-tiff").end == "1 recording, all done"


def test_leftovers_are_removed_only_if_an_earlier_record_listed_them(samples, input, output):
    put(samples, "image.isxd", input / "a.isxd")
    run(input, output)
    record = json.loads((output / ".records/a.isxd.json").read_text())
    for name in ("a-old.csv", "notes.txt"):
        (output / "a" / name).write_text("x")
    record["products"]["a-old.csv"] = 999
    (output / ".records/a.isxd.json").write_text(json.dumps(record))
    assert run(input, output).code == 0
    assert not (output / "a/a-old.csv").exists()
    assert (output / "a/notes.txt").exists()


# ---- recordings that fail


def test_a_failure_is_named_and_the_rest_goes_on(samples, input, output):
    put(samples, "image.isxd", input / "good.isxd")
    (input / "empty.isxd").touch()
    (input / "cut.isxd").write_bytes((samples / "part1.isxd").read_bytes()[:-5])
    os.mkfifo(input / "fifo.isxd")
    (input / "nowhere.isxd").symlink_to("/does/not/exist.isxd")
    output.mkdir()
    (output / "done.marker").write_text(sentinel())
    done = run(input, output)
    assert done.code == 1
    assert done.end == "4 of 5 failed, 1 done; no sentinel"
    assert not (output / "done.marker").exists()
    reasons = {path: row["reason"] for path, row in rows(output).items()}
    assert reasons.pop("good.isxd") == ""
    assert "empty" in reasons["empty.isxd"]
    assert "cut short" in reasons["cut.isxd"]
    assert "regular file" in reasons["fifo.isxd"]
    assert "mount its target, too" in reasons["nowhere.isxd"]
    page = (output / "index.html").read_text()
    assert page.index("empty.isxd") < page.index("good.isxd"), "failures come first"


MINE = """
version = 1
description = "One step of my own"

[[step]]
python = "step.py:write"
makes = ".csv"
"""
STEP = "import os\n\ndef write(inputs, outputs, context):\n    "
FAILURES = {  # what a step does, options, the exit code, the end
    "killed for its memory": (
        "os.kill(os.getpid(), 9)",
        [],
        71,
        "; 1 failed because memory ran out: give the run more",
    ),
    "at its limit": (
        "bytearray(1 << 40)",
        ["--worker-memory=4G"],
        71,
        "; 1 failed because memory ran out: give the run",
    ),
    "of itself": ("raise ValueError('x')", [], 1, "; no sentinel"),
}


@pytest.mark.parametrize("body, options, code, end", FAILURES.values(), ids=FAILURES)
def test_a_want_of_memory_has_an_exit_code_of_its_own(samples, tmp_path, input, output, body, options, code, end):
    """A scheduler can then try again with more."""
    put(samples, "part1.isxd", input / "m.isxd")
    put(samples, "image.isxd", input / "a.isxd")
    (tmp_path / "step.py").write_text(STEP + body)
    (tmp_path / "mine.toml").write_text(MINE)
    done = run(input, output, "--recipe", str(tmp_path / "mine.toml"), *options)
    assert done.code == code, done.stderr
    assert done.end.startswith("1 of 2 failed, 1 done; no sentinel")
    assert end in done.end
    assert done.events[-1].get("out_of_memory", 0) == (code == 71)
    assert not (output / "done.marker").exists()
    assert (output / "a/a.json").is_file()


def test_names_that_the_library_cannot_take(samples, input, output):
    raw = os.fsencode(input) + b"/\xff.isxd"
    shutil.copy(samples / "image.isxd", raw)
    done = run(input, output)
    assert done.code == 1
    assert "not valid UTF-8" in done.named("recording-failed")[0]["reason"]


def test_names_that_clash_and_hidden_files(samples, input, output):
    put(samples, "image.isxd", input / "index.html.isxd", input / "a.isxd", input / "._a.isxd", input / ".trash/b.isxd")
    (input / "a.gpio").touch()
    done = run(input, output)
    assert rows(output).keys() == {"a.gpio", "a.isxd", "index.html.isxd"}
    assert (output / "a/a.json").is_file()
    assert (output / "index.html.isxd/index.html.isxd.json").is_file()
    assert (output / "index.html").is_file()
    assert done.code == 1


def test_html_escapes_foreign_names(samples, input, output):
    put(samples, "image.isxd", input / '<img src=x onerror="alert(1)">&.isxd')
    assert run(input, output).code == 0
    page = (output / "index.html").read_text()
    assert "<img src=x" not in page
    assert "&lt;img src=x onerror=&#34;alert(1)&#34;&gt;&amp;.isxd" in page


OF_ROOT = "is not readable for uid 65534: it belongs to uid 0, gid 0; run with `--user 0:0`, or give uid 65534 read"


def test_unreadable_files_and_folders_fail_aloud(samples, open_tmp):
    """Each is named with whose it is and the way out; what can be read is done."""
    input, output = open_tmp / "in", open_tmp / "out"
    kinds = {f"secret-{suffix[1:]}{suffix}": open_tmp for suffix in SUFFIXES}
    put(samples, "image.isxd", input / "open.isxd", input / "mine.isxd", input / "locked/x.isxd")
    put(samples, "image.isxd", open_tmp / "private/far.isxd", *(input / name for name in kinds))
    (input / "far.isxd").symlink_to(open_tmp / "private/far.isxd")
    for closed in (*(input / name for name in kinds), input / "mine.isxd", input / "locked", open_tmp / "private"):
        closed.chmod(0)
    os.chown(input / "mine.isxd", NOBODY, NOBODY)
    output.mkdir(mode=0o777)
    output.chmod(0o777)
    done = as_nobody("--input-dir", input, "--output-dir", output)
    assert done.returncode == 1, done.stderr
    reasons = {path: row["reason"] for path, row in rows(output).items() if row["status"] == "failed"}
    own = f"{input}/mine.isxd belongs to this user (uid {NOBODY}) but is not readable for it: chmod u+r"
    assert reasons == {
        **{name: f"Permission denied: {input}/{name} {OF_ROOT} permission" for name in kinds},
        "mine.isxd": f"Permission denied: {own}",
        "far.isxd": f"cannot be examined: Permission denied: {open_tmp}/private {OF_ROOT} permission",
        "locked/": f"the folder cannot be listed: Permission denied: {input}/locked {OF_ROOT} permission",
    }
    assert (output / "open/open.json").is_file()


PERI_EVENT = """\
version = 1
[[step]]
use = "peri_event"
engine = "open"
events = "stimuli.csv"
"""


@pytest.mark.parametrize(
    ("closed", "options", "code"),
    [
        ("in/sessions.toml", (), 64),
        ("in/nwb.toml", ("--nwb",), 64),
        ("in/a.decisions.csv", (), 64),
        ("recipe.toml", ("--recipe", "recipe.toml"), 64),
        ("step.py", ("--recipe", "python.toml"), 64),
        ("in/stimuli.csv", ("--recipe", "peri_event.toml"), 1),
    ],
)
def test_what_lies_beside_them_and_cannot_be_read(closed, options, code, samples, open_tmp):
    (open_tmp / "in").mkdir()
    if code == 1:
        movie = recordings.movie(open_tmp / "movie.isxd", 30, 6, 7, period_ms=100)
        footprints, traces = np.ones((1, 6, 7), np.float32), np.zeros((1, 30), np.float32)
        write_cell_set(str(open_tmp / "in/a.isxd"), [formats.read_footer(movie)], footprints, traces)
    else:
        shutil.copy(samples / "image.isxd", open_tmp / "in/a.isxd")
    (open_tmp / "python.toml").write_text('version = 1\n[[step]]\npython = "step.py:run"\ntakes = "movie"\n')
    (open_tmp / "peri_event.toml").write_text(PERI_EVENT)
    (open_tmp / closed).write_text("time_s\n1\n")
    (open_tmp / closed).chmod(0o600)
    (open_tmp / "out").mkdir()
    (open_tmp / "out").chmod(0o777)
    options = [open_tmp / option if option.endswith(".toml") else option for option in options]
    done = as_nobody("--input-dir", open_tmp / "in", "--output-dir", open_tmp / "out", *options)
    assert done.returncode == code, done.stderr
    assert f"cannot be read: Permission denied: {open_tmp / closed} {OF_ROOT} permission" in done.stderr
    assert (open_tmp / closed).read_text() == "time_s\n1\n"


def test_sessions_are_shown_together(samples, input, output):
    for name in ("part1", "part2", "part3"):
        put(samples, f"{name}.isxd", input / f"{name}.isxd")
    assert run(input, output).code == 0
    assert [(row["session"], row["part"]) for row in rows(output).values()] == [("part1.isxd", n) for n in "123"]
    assert {row["results"] for row in rows(output).values()} == {"part"}
    assert "3 parts" in (output / "index.html").read_text()


# ---- refusals


@pytest.mark.parametrize(
    ("arguments", "env", "message"),
    [
        (["--bogus"], {}, "unknown option '--bogus' (--help lists what there is)"),
        (["--nwb-moive"], {}, "unknown option '--nwb-moive': did you mean --nwb-movie?"),
        (["--recpie=cells"], {}, "unknown option '--recpie=cells': did you mean --recipe=cells?"),
        (["--Movie_TIFF"], {}, "unknown option '--Movie_TIFF': did you mean --movie-tiff?"),
        (["-force"], {}, "unknown option '-force': did you mean --force?"),
        (["--force", "cells"], {}, "unknown argument after options 'cells': did you mean --recipe cells?"),
        (["--force", "/tmp"], {}, "unknown argument after options '/tmp': did you mean --input-dir /tmp?"),
        (["--force", "gather"], {}, "unknown argument after options 'gather': did you mean --gather?"),
        (["--workers"], {}, "--workers needs a value: N"),
        (["--workers", "0"], {}, "WORKERS must be a whole number from 1, not '0'"),
        (["--workers", "9" * 5000], {}, "WORKERS must be a whole number of at most 5 digits, not '999"),
        (["--force=perhaps"], {}, "FORCE must be 1 or 0"),
        (["--check", "--gather"], {}, "--check and --gather cannot be combined"),
        (["--gather=now"], {}, "--gather takes no value"),
        (["-v", "x"], {}, "unknown argument after options 'x'"),
        ([""], {}, "unknown argument after options ''"),
        ([], {"SHARD": "3/2"}, "part 3 (counted from 1) of 2"),
        ([], {"LOG_FORMAT": "xml"}, "LOG_FORMAT must be one of text, json"),
        (
            [],
            {"RUN_ID": "a b"},
            "RUN_ID must be at most 64 letters, digits, dots, dashes and underscores, from a letter",
        ),
        (["--metrics=2"], {}, "METRICS must be 1 or 0, not '2'"),
        ([], {"WORKER_MEMORY": "much"}, "WORKER_MEMORY must be a size"),
        ([], {"WORKER_TIMEOUT": "-1"}, "WORKER_TIMEOUT must be a number of seconds"),
        ([], {"RECIPE": "no-such"}, "no recipe 'no-such': it is neither a file nor a shipped recipe (inspect"),
    ],
)
def test_wrong_usage(samples, input, output, arguments, env, message):
    put(samples, "image.isxd", input / "a.isxd")
    output.mkdir()
    (output / "done.marker").write_text(sentinel())
    env = {"INPUT_DIR": str(input), "OUTPUT_DIR": str(output), **env}
    done = bootstrap(*arguments, env=env)
    assert done.code == 64
    assert message in done.end
    if "--check" not in arguments:
        assert not (output / "done.marker").exists(), "a stale sentinel goes before anything can fail"


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([], "it is empty: is the right folder mounted?"),
        (["a.tif", "b.tif", "c"], "found only other files (2 .tif, 1 without suffix)"),
        ([".hidden.isxd"], "no recording found"),
    ],
)
def test_nothing_to_do(input, output, files, message):
    for name in files:
        (input / name).touch()
    output.mkdir()
    (output / "done.marker").write_text(sentinel())
    done = run(input, output)
    assert done.code == 66
    assert message in done.end
    assert not (output / "done.marker").exists()


def test_no_input_folder(tmp_path, output):
    done = run(tmp_path / "nowhere", output)
    assert (done.code, done.end) == (
        66,
        f"the input {tmp_path}/nowhere does not exist: mount the recordings there, or set INPUT_DIR",
    )
    assert not (output / ".staging").exists()


def broken_api(tmp_path: Path, how: str) -> Path:
    """A Python with an isx before the real one on the path, whose library is gone or no library."""
    package = tmp_path / "api" / "isx"
    (package / "lib").mkdir(parents=True)
    (package / "__init__.py").write_text("raise ImportError('half an API')\n")
    real = API / "isx/lib/libisxpublicapi.so"
    if how == "import fails":
        (package / "lib").rmdir()
        (package / "lib").symlink_to(real.parent)
    library = package / "lib" / real.name
    if how == "alone":
        shutil.copy(real, library)
    elif how == "garbage":
        library.write_bytes(b"not a library" * 100)
    return interpreter(tmp_path / "venv", tmp_path / "api")


@pytest.mark.parametrize(
    ("how", "messages"),
    [
        ("gone", ["missing file: libisxpublicapi.so", "Python 3."]),
        (
            "alone",
            ["shared library libQt5Core.so.5 not found (needed by libisxpublicapi.so)", "glibc: 2.34 needed, 2."],
        ),
        ("garbage", ["is not a 64-bit little-endian ELF file"]),
    ],
)
def test_isx_that_cannot_be_loaded(samples, tmp_path, input, output, how, messages):
    put(samples, "image.isxd", input / "a.isxd")
    done = run(input, output, python=broken_api(tmp_path, how))
    assert done.code == 69
    for message in messages:
        assert message in done.end
    assert not (output / "done.marker").exists()


def test_isx_whose_python_part_is_broken(samples, tmp_path, input, output):
    """Seen only when the first worker fails: the preflight would cost half a second each time."""
    put(samples, "image.isxd", input / "a.isxd", input / "b.isxd")
    python = broken_api(tmp_path, "import fails")
    done = run(input, output, python=python)
    assert done.code == 69
    assert "half an API" in done.end
    checked = bootstrap("--check", python=python)
    assert (checked.code, "half an API" in checked.end) == (69, True)


def as_nobody(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """A run as a user without rights, which root alone can start; with an interpreter that this user may execute."""
    if os.getuid() != 0:
        pytest.skip("only root can start a process as another user, and is itself denied nothing")
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        python = interpreter(Path(folder, "venv"))
        try:
            return subprocess.run(
                [python, ROOT / "bootstrap.py", *arguments],
                env=environment({"LOG_FORMAT": "text"}), user=NOBODY, group=NOBODY, extra_groups=[], cwd="/",
                capture_output=True, text=True, timeout=60, check=False,
            )  # fmt: skip
        except PermissionError:
            pytest.skip(f"no Python here that uid {NOBODY} may execute")


def test_input_below_a_folder_that_cannot_be_read(samples, open_tmp):
    put(samples, "image.isxd", open_tmp / "private/in/a.isxd")
    (open_tmp / "private").chmod(0o700)
    (open_tmp / "out").mkdir()
    (open_tmp / "out").chmod(0o777)
    done = as_nobody("--input-dir", open_tmp / "private/in", "--output-dir", open_tmp / "out")
    assert done.returncode == 66, done.stderr
    assert (
        f"the input {open_tmp}/private/in cannot be examined: Permission denied: {open_tmp}/private {OF_ROOT}"
        in done.stderr
    )


def test_the_root_of_a_disk(samples, open_tmp):
    """The system's own folder is left alone, any other that is closed is one failure, and all else is done."""
    put(samples, "image.isxd", *(open_tmp / "in" / folder / "a.isxd" for folder in ("lost+found", "private", "day1")))
    for closed in ("lost+found", "private"):
        (open_tmp / "in" / closed).chmod(0o700)
    (open_tmp / "out").mkdir()
    (open_tmp / "out").chmod(0o777)
    done = as_nobody("--input-dir", open_tmp / "in", "--output-dir", open_tmp / "out")
    assert done.returncode == 1, done.stderr
    assert "1 of 2 failed, 1 done; no sentinel" in done.stderr
    assert sum("lost+found" in line for line in done.stderr.splitlines()) == 1
    assert {path: row["reason"] for path, row in rows(open_tmp / "out").items() if row["status"] == "failed"} == {
        "private/": f"the folder cannot be listed: Permission denied: {open_tmp}/in/private {OF_ROOT} permission"
    }
    assert (open_tmp / "out/day1/a/a.json").is_file()


@pytest.mark.parametrize(
    ("owner", "mode", "message"),
    [
        (
            (1234, 1235),
            0o755,
            f"not writable for uid {NOBODY}: it belongs to uid 1234, gid 1235; run with `--user 1234:1235`",
        ),
        ((NOBODY, NOBODY), 0o555, f"belongs to this user (uid {NOBODY}) but is not writable for it: chmod u+rwx"),
    ],
)
def test_output_that_cannot_be_written(samples, open_tmp, owner, mode, message):
    put(samples, "image.isxd", open_tmp / "in/a.isxd")
    output = open_tmp / "out"
    output.mkdir()
    os.chown(output, *owner) if os.getuid() == 0 else None
    output.chmod(mode)
    for place in (output, output / "deeper"):
        done = as_nobody("--input-dir", open_tmp / "in", "--output-dir", place)
        assert done.returncode == 73, done.stderr
        assert f"{output} " in done.stderr
        assert message in done.stderr


ANOTHERS = {  # what the first user did, and which folder is named then
    "as usual": (lambda output: None, "logs"),
    "a subfolder of the logs": (lambda output: (output / "logs").chmod(0o777), "logs/day1"),
    "only the records": (lambda output: [(output / n).chmod(0o777) for n in ("logs", "logs/day1")], ".records"),
}


@pytest.mark.parametrize("options", [[], ["--force"], ["--movie-tiff"], ["--shard=1/2"]])
@pytest.mark.parametrize("prepare, named", ANOTHERS.values(), ids=ANOTHERS)
def test_output_of_another_user_in_a_folder_for_all(samples, open_tmp, options, prepare, named):
    """Each recording would fail, and the sentinel be gone."""
    put(samples, "image.isxd", open_tmp / "in/day1/a.isxd")
    output = open_tmp / "out"
    assert run(open_tmp / "in", output).code == 0
    output.chmod(0o777)
    (output / ".lock").chmod(0o666)
    prepare(output)
    before = {path: (path.stat().st_mtime_ns, path.is_file() and path.read_bytes()) for path in output.rglob("*")}
    done = as_nobody("--input-dir", open_tmp / "in", "--output-dir", output, *options)
    assert done.returncode == 73, done.stderr
    assert f"{output}/{named} is not writable for uid {NOBODY}: it belongs to uid {os.getuid()}, gid " in done.stderr
    after = {path: (path.stat().st_mtime_ns, path.is_file() and path.read_bytes()) for path in output.rglob("*")}
    assert {path: status for path, status in after.items() if not path.name.startswith(".lock-")} == before


def test_sentinel_and_lock_of_another_user_that_may_not_be_read(samples, open_tmp):
    put(samples, "image.isxd", open_tmp / "in/a.isxd")
    output = open_tmp / "out"
    assert run(open_tmp / "in", output).code == 0
    output.chmod(0o777)
    for name in ("done.marker", ".lock"):
        (output / name).chmod(0o600)
        done = as_nobody("--input-dir", open_tmp / "in", "--output-dir", output)
        assert done.returncode == 73, done.stderr
        assert f"{output}/{name} is not writable for uid {NOBODY}: it belongs to uid {os.getuid()}" in done.stderr
        (output / name).chmod(0o666)
    assert (output / "done.marker").is_file()


def test_a_run_without_anything_to_do_leaves_the_output_to_its_owner(samples, open_tmp):
    """As root in a clone that is not root's, where compose finds no recording; then as its owner."""
    if os.getuid() != 0:
        pytest.skip("only root can give a folder to somebody else")
    source, output = open_tmp / "in", open_tmp / "out"
    for folder in (source, output):
        folder.mkdir()
        os.chown(folder, NOBODY, NOBODY)
    assert run(source, output).code == 66
    assert not list(output.iterdir())
    put(samples, "image.isxd", source / "a.isxd")
    done = as_nobody("--input-dir", source, "--output-dir", output)
    assert done.returncode == 0, done.stderr
    assert (output / ".lock").stat().st_uid == NOBODY


def test_output_that_is_a_file(samples, input, output):
    put(samples, "image.isxd", input / "a.isxd")
    output.touch()
    done = run(input, output)
    assert (done.code, "File exists" in done.end) == (73, True)


def test_full_disk_is_a_clear_failure(samples, input, open_tmp):
    """On a file system of 40 KB, which root alone can mount."""
    put(samples, "part1.isxd", input / "a.isxd")
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"tmpfs", bytes(open_tmp), b"tmpfs", 0, b"size=40k"):
        pytest.skip(f"cannot mount a small file system: {os.strerror(ctypes.get_errno())}")
    try:
        done = run(input, open_tmp)
        assert done.code == 1, done.stderr
        reason = done.named("recording-failed")[0]["reason"]
        assert reason == "no space left on the output's disk: free some and run again"
        assert not (open_tmp / "done.marker").exists()
        with (open_tmp / "ballast").open("wb", buffering=0) as ballast, contextlib.suppress(OSError):
            while ballast.write(bytes(4096)):
                pass
        done = run(input, open_tmp)
        assert done.code == 73, done.stderr
        assert f"no space is left in {open_tmp}: free some and run again" in done.end
        (open_tmp / "ballast").unlink()
        assert libc.mount(b"tmpfs", bytes(open_tmp), b"tmpfs", MS_REMOUNT, b"size=16m") == 0
        assert run(input, open_tmp).code == 0
        assert not list(open_tmp.glob("a/.*")), "nothing half-written is left"
        for left in (0, 8, 16, 24, 32):  # KB: until there is room for the overview, of results that are all there
            (open_tmp / "index.html").unlink(missing_ok=True)
            free = os.statvfs(open_tmp)
            (open_tmp / "ballast").write_bytes(bytes(free.f_bavail * free.f_frsize - (left << 10)))
            done = run(input, open_tmp)
            (open_tmp / "ballast").unlink()
            said = done.named("overview-failed")
            assert (done.code, said, (open_tmp / "done.marker").exists()) in ((73, [], False), (0, [], True)), left
            assert left or done.code == 73
        assert run(input, open_tmp).code == 0
    finally:
        assert libc.umount2(bytes(open_tmp), 0) == 0


# ---- what is not a run


def test_help_names_every_option_and_variable():
    text = bootstrap("--help").stdout
    for option in OPTIONS:
        assert option.flag in text
        assert f"[{option.variable}]" in text
    assert all(action in text for action in ACTIONS)
    assert bootstrap("-h", env={"LOG_FORMAT": "json"}).stdout == text


def test_version_says_which_isx():
    done = bootstrap("--version")
    assert (done.code, done.stderr) == (0, "")
    assert done.stdout.startswith(f"isx image {(ROOT / 'VERSION').read_text()}isx ")
    assert "(public" in done.stdout


def test_baked_facts_win(tmp_path):
    api = tmp_path / "Inscopix Data Processing.linux" / "Contents" / "API" / "Python"
    (api / "isx").mkdir(parents=True)
    (api / "isx" / "__init__.py").touch()
    facts = {"source": "idps", "name": "Inscopix Data Processing", "version": "1.9.6", "sha256": "ab" * 32}
    (tmp_path / "isx.json").write_text(json.dumps(facts))
    done = bootstrap("--version", python=interpreter(tmp_path / "venv", api))
    assert f"Inscopix Data Processing 1.9.6 (idps, sha256 {'ab' * 32})" in done.stdout


def test_check_touches_nothing(output):
    done = bootstrap("--check", "--output-dir", output)
    assert (done.code, done.end) == (0, "isx can be imported: the image is sound")
    assert not output.exists()


@pytest.mark.parametrize(
    ("arguments", "code", "stdout"),
    [
        (["printf", "%s", "--gather"], 0, "--gather"),
        (["sh", "-c", "exit 7"], 7, ""),
        (["sh", "-c", "kill -PIPE $$; echo deaf to SIGPIPE"], -13, ""),
        (["no-such-command"], 127, ""),
    ],
)
def test_anything_else_is_a_command(arguments, code, stdout):
    done = bootstrap(*arguments)
    assert (done.code, done.stdout) == (code, stdout)


DOCKER = 'docker run --rm -v "$PWD/input:/data:ro" -v "$PWD/output:/output" isx'
ALONE = 'docker run --rm -v "{}:/data/{}:ro" -v "$PWD/output:/output" isx'
MEANT = {  # arguments with {lab} for a folder, and the answer
    "a recipe": (["cells"], f"cells is a recipe, not a command:\n  {DOCKER} --recipe cells"),
    "the first recipe": (
        ["inspect", "--force"], f"inspect is a recipe, not a command:\n  {DOCKER} --recipe inspect --force",
    ),
    "a recipe and folders": (
        ["standard", "{lab}", "--nwb"],
        f"standard is a recipe, not a command:\n  {DOCKER} --recipe standard --input-dir {{lab}} --nwb",
    ),
    "a recipe's file": (
        ["{lab}/mine.toml", "--force"],
        f"{{lab}}/mine.toml is a recipe, not a command:\n  {DOCKER} --recipe {{lab}}/mine.toml --force",
    ),
    "a folder": (["{lab}"], f"{{lab}} is a folder, not a command:\n  {DOCKER} --input-dir {{lab}}"),
    "as BIDS Apps are called": (
        ["{lab}", "{lab}/out put", "participant", "--recipe", "cells"],
        f"{{lab}} is a folder, not a command:\n  {DOCKER} --input-dir {{lab}} --output-dir '{{lab}}/out put' "
        "--recipe cells",
    ),
    "a recording": (
        ["{lab}/mouse.isxd", "--nwb"],
        "{lab}/mouse.isxd is a recording, not a command; mount it alone:\n  "
        + ALONE.format("{lab}/mouse.isxd", "mouse.isxd") + " --nwb",
    ),
    "one that may be executed": (
        ["{lab}/executable.isxd"],
        "{lab}/executable.isxd is a recording, not a command; mount it alone:\n  "
        + ALONE.format("{lab}/executable.isxd", "executable.isxd"),
    ),
    "one of the usual folder": (
        ["/data/day 1/mouse.GPIO"],
        "/data/day 1/mouse.GPIO is a recording, not a command; mount it alone:\n  "
        + ALONE.format("$PWD/input/day 1/mouse.GPIO", "mouse.GPIO"),
    ),
    "one whose name a shell would run": (
        ["/data/$(reboot).isxd"],
        "/data/$(reboot).isxd is a recording, not a command; mount it alone:\n  "
        """docker run --rm -v "$PWD/"'input/$(reboot).isxd:/data/$(reboot).isxd:ro' -v "$PWD/output:/output" isx""",
    ),
    "one of the host": (
        ["input/mouse.isxd"],
        "input/mouse.isxd is a recording, not a command; mount it alone:\n  "
        + ALONE.format("$PWD/input/mouse.isxd", "mouse.isxd"),
    ),
    "another file": (
        ["{lab}/notes.txt"],
        "{lab}/notes.txt is a file, not a command; recordings are given as a folder:\n  "
        + DOCKER + " --input-dir {lab}",
    ),
    "a script": (
        ["{lab}/x.py", "a b"],
        f"{{lab}}/x.py is not executable:\n  {DOCKER} python {{lab}}/x.py 'a b'",
    ),
    "an option without dashes": (["check"], f"check is an option, not a command:\n  {DOCKER} --check"),
}  # fmt: skip


@pytest.mark.parametrize("arguments, answer", MEANT.values(), ids=MEANT)
def test_an_argument_that_is_no_command_is_answered_with_the_one_that_does_it(samples, tmp_path, arguments, answer):
    put(samples, "image.isxd", tmp_path / "mouse.isxd", tmp_path / "executable.isxd")
    (tmp_path / "executable.isxd").chmod(0o755)
    (tmp_path / "out put").mkdir()
    for name in ("mine.toml", "notes.txt", "x.py"):
        (tmp_path / name).touch()
    before = tree(tmp_path)
    done = bootstrap(*[argument.format(lab=tmp_path) for argument in arguments], cwd=tmp_path)
    assert (done.code, done.stdout, done.stderr) == (64, "", answer.format(lab=tmp_path) + "\n")
    assert tree(tmp_path) == before


def test_a_word_that_is_like_one_that_is_known():
    done = bootstrap("cels")
    assert done.code == 127
    assert done.stderr.endswith(f"(see --help); if cells was meant:\n  {DOCKER} --recipe cells\n")
    done = bootstrap("/outptu")
    assert (done.code, done.stderr.splitlines()[1:]) == (127, []), "a path is no misspelt option"


@pytest.mark.parametrize("arguments", [["--check", "--recipe", "nope"], ["--recipe=nope", "--check"]])
def test_a_check_looks_at_the_recipe_too(arguments):
    done = bootstrap(*arguments)
    assert (done.code, done.end.partition(":")[0]) == (64, "no recipe 'nope'")


def test_log_on_request_as_text(samples, input, output):
    put(samples, "image.isxd", input / "a\x1b[31m.isxd")
    done = run(input, output, "--log-format=text")
    assert "starts" in done.stderr.splitlines()[0]
    assert "\x1b" not in done.stderr
    assert "a\\x1b[31m.isxd" in done.stderr


def test_each_line_says_which_run_on_which_host(samples, input, output):
    put(samples, "image.isxd", input / "a.isxd")
    done = run(input, output, env={"RUN_ID": "batch-7"})
    host = os.uname().nodename
    assert {(event["run"], event["host"]) for event in done.events} == {("batch-7", host)}
    said = json.loads((output / "done.marker").read_text())
    assert (said["run"], said["host"]) == ("batch-7", host)
    drawn = run(input, output), run(input, output)
    names = [{event["run"] for event in drawn_run.events} for drawn_run in drawn]
    assert all(re.fullmatch(r"[0-9a-f]{8}", *name) for name in names) and names[0] != names[1]
    lines = run(input, output, "--log-format=text", "--run-id=batch-8").stderr.splitlines()
    assert all(re.match(rf"\d\d:\d\d:\d\d {re.escape(host)} batch-8 ", line) for line in lines), lines


def test_modes_follow_the_umask(samples, input, output):
    put(samples, "image.isxd", input / "a.isxd")
    old = os.umask(0o027)
    try:
        run(input, output)
    finally:
        os.umask(old)
    assert stat.S_IMODE((output / "a/a.json").stat().st_mode) == 0o640
