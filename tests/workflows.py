#!/usr/bin/env python3
"""Runs the example for Snakemake with the image, as docs/platforms.md has it.

    workflows.py [--tools FOLDER]

Snakemake is installed into an environment of its own (--tools keeps it). Needs an engine, and IMAGE, as `make` does.
Exits with 1 if a run, a re-run or the answer to a failure is not as it should be.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SNAKEFILE = ROOT / "docs/examples/Snakefile"
IMAGE = os.environ.get("IMAGE", "isx") + ":latest"
DAYS = ("day1", "day2")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tools", type=Path, help="where Snakemake's environment is, or is to be")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=ROOT / "build" if (ROOT / "build").is_dir() else None) as folder:
        work = Path(folder)
        snakemake = tool("snakemake", options.tools or work / "tools")
        make_recordings(work)
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
    return 0


def tool(name: str, folder: Path) -> Path:
    python = folder / "bin/python"
    if not python.exists():
        venv.create(folder, with_pip=True)
    subprocess.run([python, "-m", "pip", "install", "--quiet", name], check=True)
    return folder / "bin" / name


def make_recordings(work: Path) -> None:
    """By the image itself, as the demonstration does."""
    made = work / "made"
    made.mkdir()
    user = f"{os.getuid()}:{os.getgid()}"
    mounts = ["-v", f"{made}:/made", "-v", f"{ROOT / 'scripts/simulate.py'}:/simulate.py:ro"]
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
