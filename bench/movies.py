"""Sections about recordings: throughput and memory of one movie, cost of many small recordings."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import minisim_movies
import peer
import peri_event_peer
from measure import (
    CODE,
    IMAGE,
    ME,
    PROJECT,
    docker,
    inside,
    interleaved,
    new_folder,
    rounded,
    say,
    seconds_of,
    spread,
    workspace,
)

GIGABYTES, QUICK_GIGABYTES = (0.5, 2, 8), (0.1,)
DTYPES = ("uint16", "float32")
MANY, QUICK_MANY = (1, 10, 100, 1000), (1, 10)
SEED = 311
QUICK_CONDITIONS = (f"base-{SEED}", f"no_waves-{SEED}")
KINDS, QUICK_KINDS = ("easy", "ca1", "dense", "lowsnr", "shaky", "cortex", "own", "own_shaky"), ("easy",)
ALONE = ("naive", "floor", "isx", "memmap")


def section_movie(quick: bool) -> dict[str, Any]:
    """One movie in the page cache, gone through by PID 1 on one core and on two, and by others on one core."""
    cores = sorted(os.sched_getaffinity(0))
    by_movie: dict[str, Any] = {}
    for gigabytes in QUICK_GIGABYTES if quick else GIGABYTES:
        for dtype in DTYPES:
            say(f"  {gigabytes} GB of {dtype}")
            with workspace() as folder:
                if shutil.disk_usage(folder).free < 1.2e9 * gigabytes:
                    say(f"  left out: {folder.parent} has no room for it")
                    continue
                inside("movie", "/data/movie.isxd", gigabytes, dtype, options=("-v", f"{folder}:/data"))
                size = (folder / "movie.isxd").stat().st_size
                key = f"{dtype}_{str(gigabytes).replace('.', '_')}gb"
                by_movie[key] = one_movie(folder, size, cores, 2 if quick or gigabytes > 2 else 3)
    return by_movie


def one_movie(folder: Path, size: int, cores: list[int], rounds: int) -> dict[str, Any]:
    def way(name: str, n_cores: int) -> dict[str, float]:
        cpuset = ",".join(map(str, cores[:n_cores]))
        options = ("--cpuset-cpus", cpuset, "-v", f"{folder}:/data:ro", "--tmpfs", "/tmp")  # /tmp takes the results
        return json.loads(inside("measure", name, "/data/movie.isxd", options=options))

    ways = {f"run_{n}": lambda n=n: way("run", n) for n in (1, 2) if n <= len(cores)}
    ways.update({name: lambda name=name: way(name, 1) for name in ALONE})
    with (folder / "movie.isxd").open("rb") as movie:  # into the page cache
        while movie.read(1 << 24):
            pass
    measured = interleaved(ways, rounds)
    by_way: dict[str, Any] = {
        name: {
            "mb_per_s": spread([size / 1e6 / one["seconds"] for one in runs]),
            "peak_mb": spread([one["peak"] for one in runs]),
        }
        for name, runs in measured.items()
    }
    for name in ("naive", "floor"):
        by_way[f"run_1_to_{name}"] = rounded(by_way["run_1"]["mb_per_s"]["median"] / by_way[name]["mb_per_s"]["median"])
    return by_way


def section_nwb(quick: bool) -> dict[str, Any]:
    """Frames into NWB, against h5py writing the same: bench/nwb_movie.py in the image."""
    frames = ("--frames", 200 if quick else 1000, "--json")
    with workspace() as folder:
        place = ("-v", f"{folder}:/bench", "-e", "TMPDIR=/bench")
        command = ("python", "/app/bench/nwb_movie.py", *frames)
        return json.loads(docker("run", "--rm", "--user", ME, *CODE, *place, IMAGE, *command))


def section_pages(quick: bool) -> dict[str, Any]:
    """The cost of a page on top of a recording's results: bench/pages.py in the image."""
    return json.loads(docker("run", "--rm", "--user", ME, *CODE, IMAGE, "python", "/app/bench/pages.py", "--json"))


def section_movie_steps(quick: bool) -> dict[str, Any]:
    """The open engine's movie steps against reading plus writing: bench/movie_steps.py in the image, at two lengths."""
    lengths = (100, 200) if quick else (500, 2000)
    return {
        name: in_image("movie_steps.py", "--frames", n, "--size", 400, 640)
        for name, n in zip(("short", "long"), lengths)
    }


def section_long(quick: bool) -> dict[str, Any]:
    """A field of 1280 x 800 px through whole recipes: bench/long_movie.py in the image."""
    return in_image("long_movie.py", "--frames", 100 if quick else 1000)


def section_sessions(quick: bool) -> dict[str, Any]:
    """A session against its recordings one by one, and ten thousand recordings: sessions.py in the image."""
    return in_image("sessions.py", "--frames", 50 if quick else 400, "--recordings", 100 if quick else 10_000)


def section_peri_event(quick: bool) -> dict[str, Any]:
    """Cells that respond to events, and false ones, beside Inscopix's own tool; the cost of many: peri_event.py."""
    seeds = range(1000, 1002 if quick else 1020)
    with workspace() as folder:
        mounts = (*CODE, "-v", f"{folder}:/made")
        command = ("run", "--rm", "--user", ME, *mounts, IMAGE, "python", "/app/bench/peri_event.py", "/made", "--json")
        options = ("--first", seeds.start, "--seeds", len(seeds))
        docker(*command, *options, "--make")
        of_peer: dict[str, Any] = {}
        try:
            peri_event_peer.run(folder, [str(seed) for seed in seeds])
        except peri_event_peer.NotHere as reason:
            of_peer["peer_left_out"] = str(reason)
        return {**of_peer, **json.loads(docker(*command, *options)), "cost": json.loads(docker(*command, "--cost"))}


def in_image(script: str, *options: object) -> dict[str, Any]:
    """What a script of this folder reports in the image, with a disk of its own to write to."""
    with workspace() as folder:
        place = ("-v", f"{folder}:/bench", "-e", "TMPDIR=/bench", "-v", f"{PROJECT / 'scripts'}:/app/scripts:ro")
        command = ("python", f"/app/bench/{script}", *options, "--json")
        return json.loads(docker("run", "--rm", "--user", ME, *CODE, *place, IMAGE, *command))


def section_many(quick: bool) -> dict[str, Any]:
    """Seconds of `docker run` as small recordings grow in number, and of a second run that finds all done."""
    numbers = QUICK_MANY if quick else MANY
    spreads: dict[str, Any] = {}
    with workspace() as folder:
        for n in numbers:
            say(f"  {n} recordings")
            inputs = new_folder(folder / f"input-{n}")
            inside("small", "/made", n, options=("-v", f"{inputs}:/made"))
            rounds = 1 if n >= 100 else 3

            def run(output: Path, inputs: Path = inputs) -> float:
                mounts = ("-v", f"{inputs}:/data:ro", "-v", f"{output}:/output")
                seconds = seconds_of(lambda: docker("run", "--rm", "--user", ME, *mounts, IMAGE))
                assert (output / "done.marker").is_file()
                return seconds

            outputs = [new_folder(folder / f"output-{n}-{number}") for number in range(rounds)]
            spreads[f"n_{n}"] = spread([run(output) for output in outputs])
            spreads[f"again_{n}"] = spread([run(output) for output in outputs])
    first, last = numbers[0], numbers[-1]
    for name in ("n", "again"):
        difference = spreads[f"{name}_{last}"]["median"] - spreads[f"{name}_{first}"]["median"]
        spreads["each" if name == "n" else "each_again"] = rounded(difference / (last - first))
    return spreads


def section_accuracy(quick: bool) -> dict[str, Any]:
    """Cells found in recordings whose truth is known, by the open engine and its peers: see accuracy.py."""
    folder = PROJECT / "build/minisim"  # recordings, and what the peer found, are kept for the next time
    names = [f"{kind}-{SEED}" for kind in (QUICK_KINDS if quick else KINDS)]
    try:
        minisim_movies.made(folder, [name for name in names if not name.startswith("own")])
    except minisim_movies.NotHere as reason:
        return {"left_out": str(reason)}
    mounts = (*CODE, "-v", f"{PROJECT / 'scripts'}:/app/scripts:ro", "-v", f"{folder}:/made")
    command = ("run", "--rm", "--user", ME, *mounts, IMAGE, "python", "/app/bench/accuracy.py", "/made")
    report: dict[str, Any] = {}
    try:
        if not quick:
            docker(*command, "--align", *names)
            peer.run(folder, names)
    except peer.NotHere as reason:
        report["peer_left_out"] = str(reason)
    report["recordings"] = json.loads(docker(*command, "--json", *names))
    whole = docker(*command, "--json", "--recipe", *(QUICK_CONDITIONS if quick else ()))
    return {**report, "conditions": json.loads(whole)}
