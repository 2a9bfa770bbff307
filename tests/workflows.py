#!/usr/bin/env python3
"""Runs the examples for Snakemake, Inscopix's IDEAS and Nextflow with the image, as docs/platforms.md has them.

    workflows.py [--tools FOLDER]

Snakemake and Inscopix's own command line for IDEAS are installed into an environment of their own (--tools keeps it).
Needs an engine, and IMAGE, as `make` does. Exits with 1 if a run, a re-run or the answer to a failure is not as it
should be.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SNAKEFILE = ROOT / "docs/examples/Snakefile"
NEXTFLOW = ROOT / "docs/examples/main.nf"
IMAGE = os.environ.get("IMAGE", "isx") + ":latest"
DAYS = ("day1", "day2")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tools", type=Path, help="where the tools' environment is, or is to be")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=ROOT / "build" if (ROOT / "build").is_dir() else None) as folder:
        work, tools = Path(folder), options.tools or Path(folder) / "tools"
        make_recordings(work)
        read_by_a_parser_of_nextflow(tool("reftrace", "python", tools))
        with_nextflow(work)
        with_ideas(tool("ideas-python", "ideas", tools), work)
        with_snakemake(tool("snakemake", "snakemake", tools), work)
    return 0


def with_snakemake(snakemake: Path, work: Path) -> None:
    done = run(snakemake, work)
    expect(done, 0, "rule isx:")
    sentinels = [work / f"results/{day}/done.marker" for day in DAYS]
    assert all(path.is_file() for path in sentinels), [*work.rglob("done.marker")]
    expect(run(snakemake, work), 0, "Nothing to be done")
    (work / "recordings/day2/simulated.isxd").write_bytes(b"damaged")
    done = run(snakemake, work)
    expect(done, 1, "simulated.isxd")
    assert [path.is_file() for path in sentinels] == [True, False], "a run that failed has no sentinel"
    print("Snakemake: two folders, a re-run, a failure: as they should be")


def read_by_a_parser_of_nextflow(python: Path) -> None:
    """RefTrace's, which is not Nextflow's own: the example is in its language, and has the process that it names."""
    check = "import sys; from reftrace import Module; read = Module.from_file(sys.argv[1]); "
    check += "print(getattr(read, 'error', None) or [each.name for each in read.processes])"
    done = subprocess.run([python, "-c", check, NEXTFLOW], stdout=subprocess.PIPE, text=True, check=True)
    assert done.stdout == "['isx']\n", done.stdout


def with_nextflow(work: Path) -> None:
    """The script of the example's process in a container as Nextflow starts one; Nextflow itself cannot be had."""
    process = NEXTFLOW.read_text()
    (script,) = re.findall(r'"""(.+?)"""', process, re.DOTALL)
    (options,) = re.findall(r"containerOptions '(.+)'", process)
    outputs = re.findall(r'^\s+path "(.+?)"', process, re.MULTILINE)
    options = options.replace("$(id -u):$(id -g)", f"{os.getuid()}:{os.getgid()}").split()
    for name, code in (("made", 0), ("nothing", 66)):
        task = work / "nextflow" / name
        task.mkdir(parents=True)
        (work / name).mkdir(exist_ok=True)
        (task / name).symlink_to(work / name)
        filled = script.replace("${recordings}", name).replace("${params.recipe}", "inspect")
        (task / ".command.sh").write_text(f"#!/bin/bash -ue\n{filled}")
        mounts = ["-v", f"{work}:{work}", "-w", task]
        shell = ["/bin/bash", "-ue", task / ".command.sh"]
        done = subprocess.run(["docker", "run", "-i", "--rm", *options, *mounts, IMAGE, *shell], check=False)
        assert done.returncode == code, done
        made = [(task / output.replace("${recordings}", name)).exists() for output in outputs]
        assert outputs and made == ([True] * len(outputs) if not code else [True, False]), made
    print("Nextflow's task, without Nextflow: a run, a failure: as they should be")


def with_ideas(command: Path, work: Path) -> None:
    """The description against Inscopix's schemas; the tool as their command line runs it; a file that is damaged."""
    folder = shutil.copytree(ROOT / "deploy/ideas", work / "ideas")
    spec = folder / ".ideas/cells/tool_spec.json"
    check = "import json, sys; from ideas_schemas import schemas; schemas.validate_v3_tool_spec(json.load(sys.stdin))"
    subprocess.run([command.with_name("python"), "-c", check], input=spec.read_text(), text=True, check=True)
    configuration = folder / ".ideas/cells/config.json"
    configuration.write_text(json.dumps({**json.loads(configuration.read_text()), "container": IMAGE}))
    for name, code in (("simulated.isxd", 0), ("damaged.isxd", 1)):
        recording = work / "made" / name
        if code:
            recording.write_bytes(b"damaged")
        given = json.loads((folder / ".ideas/cells/inputs.json").read_text()) | {"recordings": [str(recording)]}
        (work / "inputs.json").write_text(json.dumps(given))
        line = [command, "tools", "run", "cells", "--non-interactive", "--inputs", work / "inputs.json"]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        home = {**os.environ, "HOME": str(work), "COLUMNS": "200"}
        done = subprocess.run(line, cwd=folder, env=home, text=True, check=False, **pipes)
        assert bool(done.returncode) is bool(code), done.stdout
        assert "simulated-cells.isxd" in done.stdout if not code else "1 of 1 failed" in done.stdout, done.stdout
    (cells,) = folder.glob("outputs/cells/*/simulated/simulated-cells.isxd")
    assert (cells.parents[1] / "done.marker").is_file()
    print("IDEAS: the schema, a run, a failure: as they should be")


def tool(package: str, name: str, folder: Path) -> Path:
    python = folder / "bin/python"
    if not python.exists():
        venv.create(folder, with_pip=True)
    subprocess.run([python, "-m", "pip", "install", "--quiet", package], check=True)
    return folder / "bin" / name


def make_recordings(work: Path) -> None:
    """By the image itself, as the demonstration does."""
    made = work / "made"
    made.mkdir()
    user = f"{os.getuid()}:{os.getgid()}"
    mounts = ["-v", f"{made}:/made", "-v", f"{ROOT / 'samples/simulate.py'}:/simulate.py:ro"]
    command = ["docker", "run", "--rm", "--user", user, *mounts, IMAGE, "python", "/simulate.py", "/made"]
    subprocess.run(command, check=True)
    for day in DAYS:
        (work / "recordings" / day).mkdir(parents=True)
        shutil.copy(made / "simulated.isxd", work / "recordings" / day)


def run(snakemake: Path, work: Path) -> subprocess.CompletedProcess[str]:
    command = [snakemake, "--snakefile", SNAKEFILE, "--directory", work, "--cores", "2", "--config", f"image={IMAGE}"]
    environment = {**os.environ, "XDG_CACHE_HOME": str(work / "cache")}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    return subprocess.run(command, cwd=work, env=environment, text=True, check=False, **pipes)


def expect(done: subprocess.CompletedProcess[str], code: int, said: str) -> None:
    assert (done.returncode, said in done.stdout) == (code, True), done.stdout


if __name__ == "__main__":
    sys.exit(main())
