#!/usr/bin/env python3
"""The cost of Slurm and Apptainer, and the gain of a second node, against one container on the same cores.

A Slurm of two nodes with one core each is started on this host, as the cluster tests do it (root on Debian). Rounds are
interleaved, and the ratios are of the medians. Every contender starts with an empty output and ends with the final
sentinel.

- container: `docker run` on both cores, two recordings at a time
- one node: shards on the first node alone, and gather
- two nodes: the same shards on both
- empty shards: shards and gather over recordings that are done, on one node: what a shard costs by itself
- start: the image's `true`, by `docker run` and by Apptainer

    python bench/scaleout.py [--recordings 16] [--shards 4] [--rounds 3] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests/cluster"))

from measure import PROJECT, docker, interleaved, seconds_of
from slurm import NOBODY, Slurm, cluster, cores, fuse_for_all

IMAGE = os.environ.get("IMAGE", "isx") + ":latest"
MAKE_MOVIE = """
import isx, numpy
timing = isx.Timing(num_samples=100, period=isx.Duration.from_msecs(50))
movie = isx.Movie.write("/made/movie.isxd", timing, isx.Spacing(num_pixels=(500, 500)), numpy.uint16)
rng = numpy.random.default_rng(0)
for number in range(100):
    movie.set_frame_data(number, rng.integers(400, 1200, (500, 500), numpy.uint16))
movie.flush()
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--recordings", type=int, default=16)
    parser.add_argument("--shards", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with bench(options.recordings) as lab:
        seconds = lab.measure(options.shards, options.rounds)
    report = summarise(seconds, options.shards)
    print(json.dumps(report) if options.json else "\n".join(f"{name:36} {value}" for name, value in report.items()))


def summarise(seconds: dict[str, list[float]], shards: int) -> dict[str, float]:
    median = {name: statistics.median(runs) for name, runs in seconds.items()}
    report = {f"{name} (s)": round(value, 2) for name, value in median.items()}
    report["seconds per empty shard"] = round(median["empty shards"] / shards, 2)
    report["one node / two nodes"] = round(median["one node"] / median["two nodes"], 2)
    report["two nodes / container"] = round(median["two nodes"] / median["container"], 2)
    return report


class Lab:
    def __init__(self, folder: Path, slurm: Slurm) -> None:
        self.folder, self.slurm = folder, slurm
        self.sif, self.input, self.output = folder / "isx.sif", folder / "input", folder / "output"

    def measure(self, shards: int, rounds: int) -> dict[str, list[float]]:
        contenders: dict[str, Callable[[], object]] = {
            "start of docker": lambda: container("--entrypoint", "true", IMAGE),
            "start of apptainer": lambda: check(
                self.slurm.as_user("apptainer", "--quiet", "exec", "--containall", self.sif, "true")
            ),
            "container": self.container,
            "two nodes": lambda: self.cluster(shards),
            "one node": lambda: self.cluster(shards, "--sbatch=--nodelist=n1"),
            "empty shards": lambda: self.cluster(shards, "--sbatch=--nodelist=n1"),
        }

        def measured(name: str) -> float:
            if name != "empty shards":
                self.clear()
            return seconds_of(contenders[name])

        return interleaved({name: lambda name=name: measured(name) for name in contenders}, rounds)

    def clear(self) -> None:
        shutil.rmtree(self.output, ignore_errors=True)
        self.output.mkdir()
        os.chown(self.output, NOBODY, NOBODY)

    def container(self) -> None:
        cpus = ",".join(map(str, cores()))
        mounts = ["-v", f"{self.input}:/data:ro", "-v", f"{self.output}:/output"]
        container(f"--cpuset-cpus={cpus}", f"--user={NOBODY}:{NOBODY}", *mounts, IMAGE)
        assert (self.output / "done.marker").exists()

    def cluster(self, shards: int, *options: str) -> None:
        command = ("/usr/bin/python3", self.folder / "deploy/submit.py", self.sif, self.input, self.output)
        done = check(self.slurm.as_user(*command, "--shards", shards, "--memory", "2G", *options))
        gather = done.stdout.splitlines()[-1].split()[1]
        assert self.slurm.wait(gather, 900) == {"": "COMPLETED"}
        assert (self.output / "done.marker").exists()


def check(done: subprocess.CompletedProcess[str]) -> subprocess.CompletedProcess[str]:
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def container(*arguments: str) -> None:
    docker("run", "--rm", "--network=none", *arguments)


@contextmanager
def bench(n_recordings: int) -> Iterator[Lab]:
    folder = Path(tempfile.mkdtemp(prefix="isx-bench-", dir="/var/tmp"))
    slurm = Slurm(folder / "slurm")
    try:
        folder.chmod(0o755)
        for name in ("tmp", "made", "input"):
            (folder / name).mkdir()
            (folder / name).chmod(0o777)
        shutil.copytree(PROJECT / "deploy/slurm", folder / "deploy")
        container("-v", f"{folder / 'made'}:/made", IMAGE, "python", "-c", MAKE_MOVIE)
        for number in range(n_recordings):
            shutil.copy(folder / "made/movie.isxd", folder / f"input/mouse{number}-{number}.isxd")
        subprocess.run([sys.executable, PROJECT / "scripts/sif.py", folder / "isx.sif"], check=True, stdout=sys.stderr)
        cluster.install()
        slurm.start()
        with fuse_for_all():
            yield Lab(folder, slurm)
    finally:
        slurm.stop()
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
