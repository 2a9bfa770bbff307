"""What the caller's environment may not do: run other code, change results, or end a run without its cause."""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from common.alone import FLAGS
from runner import machine
from tests.launch import ROOT, bootstrap, environment, run, tree

STARTS = {"as the image does": (sys.executable, FLAGS), "by hand": (sys.executable,)}


@pytest.fixture
def foreign(tmp_path: Path) -> dict[str, str]:
    """Variables as of a host's Python, each of which would change what runs."""
    path, home = tmp_path / "path", tmp_path / "home"
    for name in ("numpy", "json", "isx", "common", "recording", "pipeline", "sitecustomize"):
        (path / f"{name}.py").parent.mkdir(exist_ok=True)
        (path / f"{name}.py").write_text("raise SystemExit('foreign code ran')\n")
    user = home / f".local/lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"
    user.mkdir(parents=True)
    (user / "usercustomize.py").write_text("raise SystemExit('foreign code ran')\n")
    (path / "matplotlibrc").write_text("savefig.dpi: 7\nfont.size: 40\nfigure.facecolor: red\n")
    return {
        "PYTHONPATH": str(path),
        "PYTHONSTARTUP": str(path / "numpy.py"),
        "PYTHONINSPECT": "1",
        "PYTHONWARNINGS": "error",
        "PYTHONOPTIMIZE": "2",
        "PYTHONHASHSEED": "1",
        "PYTHONUSERBASE": str(home / ".local"),
        "PYTHONVERBOSE": "1",
        "PYTHONDEVMODE": "1",
        "PYTHONPYCACHEPREFIX": str(tmp_path / "cache"),
        "HOME": str(home),
        "MPLBACKEND": "no such backend",
        "MATPLOTLIBRC": str(path),
    }


def launch(start: tuple[str, ...], program: str, *arguments: str | Path, env: dict[str, str]):
    command = [*start, ROOT / program, *arguments]
    return subprocess.run(command, env=environment(env), capture_output=True, text=True, timeout=120, check=False)


def test_no_variable_of_the_caller_s_python_reaches_the_run(samples, input, output, tmp_path, foreign):
    shutil.copy2(samples / "part1.isxd", input)
    shutil.copy2(samples / "image.isxd", input)
    assert run(input, tmp_path / "plain").code == 0
    done = launch(
        STARTS["as the image does"], "bootstrap.py", "--input-dir", input, "--output-dir", output, env=foreign
    )
    assert done.returncode == 0, done.stderr
    assert all(line.startswith('{"time"') for line in done.stderr.splitlines())
    assert tree(output) == tree(tmp_path / "plain")


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("name", ["PYTHONPATH", "PYTHONINSPECT", "PYTHONWARNINGS", "PYTHONSTARTUP"])
def test_nor_one_alone(start, name, foreign, tmp_path):
    if name == "PYTHONPATH" and start == "by hand":  # Python itself reads these before any script
        for early in ("sitecustomize", "common"):
            (tmp_path / f"path/{early}.py").unlink()
    for program, arguments in (("bootstrap.py", ["--version"]), ("healthcheck.py", [])):
        done = launch(STARTS[start], program, *arguments, env={name: foreign[name]})
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
    assert json.loads(done.stdout)["healthy"] is True


def test_a_home_that_is_no_python_does_not_matter(tmp_path):
    done = launch(STARTS["as the image does"], "bootstrap.py", "--version", env={"PYTHONHOME": str(tmp_path)})
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("variable", ["LD_PRELOAD", "LD_AUDIT"])
@pytest.mark.parametrize("file", ["missing", "text"])
def test_what_the_loader_cannot_load_is_named(variable, file, samples, input, output, tmp_path):
    shutil.copy2(samples / "image.isxd", input)
    (tmp_path / "text").write_text("no library")
    done = run(input, output, env={variable: str(tmp_path / file)})
    assert done.code == 69, done.stderr
    assert f"ld.so: object '{tmp_path / file}'" in done.end
    assert "Unset it" in done.end
    if variable == "LD_PRELOAD":
        assert variable in done.end
    assert not (output / "done.marker").exists()
    answer = json.loads(launch(STARTS["by hand"], "healthcheck.py", env={variable: str(tmp_path / file)}).stdout)
    assert f"{tmp_path / file}" in answer["problems"][0]


def limited(files: int):
    return lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))


@pytest.mark.parametrize("files", [10, 16, 64])
def test_too_few_open_files_are_named(files, samples, input, output):
    shutil.copy2(samples / "image.isxd", input)
    done = run(input, output, preexec_fn=limited(files))
    assert done.code == 64, done.stderr
    assert done.end.startswith(
        f"only {files} open files are allowed here, and up to {machine.files_needed(1)} are needed"
    )


def test_as_many_open_files_as_are_asked_for_suffice(samples, input, output):
    for name in ("image", "part1", "larger"):
        shutil.copy2(samples / f"{name}.isxd", input)
    done = run(input, output, "--nwb", preexec_fn=limited(machine.files_needed(1)))
    assert (done.code, done.end) == (0, "3 recordings, all done")


def test_a_low_limit_is_raised_as_far_as_it_may_be(samples, input, output):
    shutil.copy2(samples / "image.isxd", input)
    done = run(input, output, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (16, 4096)))
    assert done.code == 0, done.stderr


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("WORKER_MEMORY", "99999999999999999999T", "WORKER_MEMORY must be a size of at most 1024T, not '9999"),
        ("WORKER_MEMORY", "1025T", "WORKER_MEMORY must be a size of at most 1024T"),
        ("WORKER_MEMORY", "9" * 400, "WORKER_MEMORY must be a size of at most 1024T"),
        ("WORKER_TIMEOUT", "9" * 400, "WORKER_TIMEOUT must be a number of seconds of at most 1000000000"),
        ("WORKER_IDLE", "1" + "0" * 10, "WORKER_IDLE must be a number of seconds of at most 1000000000"),
    ],
)
def test_numbers_beyond_all_machines(variable, value, message, output):
    done = bootstrap("--output-dir", output, env={variable: value})
    assert (done.code, done.end.startswith(message)) == (64, True), done.end


def test_the_greatest_memory_is_accepted(samples, input, output):
    shutil.copy2(samples / "image.isxd", input)
    assert run(input, output, env={"WORKER_MEMORY": "1024T"}).code == 0
