#!/usr/bin/env python3
"""No image comes out of a build in which the API, its dependencies or its algorithms do not work; runs in the runtime's
own root, without network.

    prove.py libraries     every shared library that the API needs is there, and the C library is new enough
    prove.py load          the API and all dependencies: healthcheck.py --deep
    prove.py algorithms    those of IDPS: the recipe `standard` on a small synthetic movie, as the image will run it, by
                           a user who may write nothing but /tmp
    prove.py movie FILE    makes that movie

What the product says when it refuses ends the build, with the way out. PROOF=load leaves the algorithms out. LICENCE
names a licence file, if one was passed.
"""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import watched

USER = 1000
SECONDS = 600
LAST_OUTPUT = 1 << 20  # bytes
APP = Path("/app")
FEWER = {"num_pcs = 150": "num_pcs = 8", "num_ics = 120": "num_ics = 6"}  # cells of the small movie
NO_ALGORITHMS = 3
BASES = {  # by their glibc; each with a Python that a lock is for
    "2.36": "debian:bookworm-slim",
    "2.41": "python:3.11-slim-trixie",
}
WAYS_OUT = {
    r"activat|licen[cs]e": (
        "If it wants a licence file, pass it with LICENCE=path: the build uses it for this proof alone, and runs need "
        "it again (docs/build.md)."
    ),
    r"No module named": (
        'If it needs a Python package that the image lacks: PYTHON_PACKAGES="name==version --hash=sha256:...".'
    ),
    r"numpy|\bnp\.": "If it needs a NumPy of before 2: build with NUMPY=1.",
    r"python ?\d|python version|syntax ?error|bad magic number|undefined symbol: _?Py|cannot import name": (
        f"This image has Python {platform.python_version()}; Inscopix documents 3.7 to 3.9 for IDPS. If it needs "
        "another Python: build with BASE_IMAGE=python:3.9-slim-bookworm, or as docs/build.md says."
    ),
}
ALL_THE_SAME = "To build the image anyway: PROOF=load."


def prove_libraries() -> int:
    from native import elf

    tree = "/opt/inscopix/api/"
    if elf.main([tree]) == 0:
        return 0
    needed = elf.glibc_needed(Path(tree))
    present = elf.system_glibc()
    if elf.version_key(needed) > elf.version_key(present):
        message = f"isx needs glibc {needed}, and this BASE_IMAGE has {present}: {newer_base(needed, elf.version_key)}"
    else:
        message = (
            "isx does not load on this BASE_IMAGE. A missing or damaged library: check that the installer is complete, "
            "or take a base that has the library."
        )
    print(f"\nERROR: {message}\n", file=sys.stderr)
    return 1


def newer_base(glibc: str, key: Callable[[str], tuple[int, ...]]) -> str:
    """The oldest base that is known to have it."""
    fitting = [base for version, base in BASES.items() if key(version) >= key(glibc)]
    newest = list(BASES)[-1]
    return f"take BASE_IMAGE={fitting[0]}." if fitting else f"no base is known that has it; the newest has {newest}."


def prove_load() -> int:
    done = run(str(APP / "healthcheck.py"), "--deep")
    print(done.stdout, end="", flush=True)
    return refuse("isx does not work in this image", done.stdout) if done.returncode else 0


def prove_algorithms() -> int:
    proof = os.environ.get("PROOF") or "algorithms"
    if proof == "load":
        return 0
    if proof != "algorithms":
        print(f"\nERROR: PROOF={proof}: there are only algorithms and load.\n", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        for path in (folder, folder / "input", folder / "output"):
            path.mkdir(exist_ok=True)
            os.chown(path, USER, USER)
        made = run(__file__, "movie", str(folder / "input/movie.isxd"), user=USER)
        print(made.stdout, end="", flush=True)
        if made.returncode == NO_ALGORITHMS:
            return 0
        options = ("--recipe", str(smaller_recipe(folder)), "--engine", "idps", "--log-format", "json")
        folders = ("--input-dir", str(folder / "input"), "--output-dir", str(folder / "output"))
        done = run(str(APP / "bootstrap.py"), *options, *folders, user=USER)
        if done.returncode == 0:
            print("the recipe standard runs with the algorithms of this product")
            return 0
        said = "\n".join([*(log.read_text() for log in folder.glob("output/logs/**/*.log")), *errors(done.stdout)])
    print(said or done.stdout, flush=True)
    return refuse("the algorithms of this product do not run in this image", said or done.stdout, ALL_THE_SAME)


def run(*command: str, user: int | None = None) -> subprocess.CompletedProcess[str]:
    """Python, and the last of what it says; as another user if one is given."""
    as_user = {"user": user, "group": user, "extra_groups": []} if user else {}
    environment = {**os.environ, "HOME": "/tmp", "PYTHONFAULTHANDLER": "1"}
    python = [sys.executable, *command]
    ended = watched.run(python, SECONDS, LAST_OUTPUT, env=environment, cwd="/tmp", **as_user)
    if ended.code is None:
        return subprocess.CompletedProcess(python, 1, f"{ended.said}\nIt did not finish within {SECONDS} s.\n")
    return subprocess.CompletedProcess(python, ended.code, ended.said)


def smaller_recipe(folder: Path) -> Path:
    """The shipped one, with no more components than the movie has cells for."""
    text = (APP / "recipes/standard.toml").read_text(encoding="utf-8")
    for usual, fewer in FEWER.items():
        assert usual in text, usual
        text = text.replace(usual, fewer)
    recipe = folder / "standard.toml"
    recipe.write_text(text, encoding="utf-8")
    return recipe


def errors(log: str) -> list[str]:
    """What the run's log reports as errors, one event a line."""
    messages = []
    for line in log.splitlines():
        if line.startswith("{"):
            event = json.loads(line)
            if event.get("level") == "error":
                messages.append(event["message"])
    return messages


def refuse(what: str, said: str, *ways_out: str) -> int:
    fitting = [way for pattern, way in WAYS_OUT.items() if re.search(pattern, said, re.IGNORECASE)]
    message = " ".join([f"{what}: see its answer above.", *fitting, *ways_out])
    print(f"\nERROR: {message}\n", file=sys.stderr)
    return 1


def write_movie(path: Path) -> int:
    """Six blinking cells in noise, 96 x 96 pixels, 20 s at 10 Hz; nothing if the product has no algorithms."""
    import isx
    import isx._internal
    import numpy as np

    if not isx._internal.is_with_algos:
        print("no licensed algorithms in this product: nothing to test")
        return NO_ALGORITHMS
    random = np.random.default_rng(1)
    y, x = np.mgrid[:96, :96]
    centres = [(24, 24), (24, 70), (48, 47), (72, 24), (72, 70), (40, 80)]
    footprints = np.array([np.exp(-((y - row) ** 2 + (x - column) ** 2) / 32) for row, column in centres])
    events = (random.random((200, len(centres))) < 0.05).astype(float)
    traces = np.array([np.convolve(train, np.exp(-np.arange(30) / 7))[:200] for train in events.T]).T
    frames = random.poisson(300 + 200 * np.tensordot(traces, footprints, 1)).astype(np.uint16)
    timing = isx.Timing(num_samples=len(frames), period=isx.Duration.from_msecs(100))
    movie = isx.Movie.write(str(path), timing, isx.Spacing(num_pixels=frames.shape[1:]), np.uint16)
    for number, frame in enumerate(frames):
        movie.set_frame_data(number, frame)
    movie.flush()
    return 0


if __name__ == "__main__":
    if sys.argv[1] == "movie":
        sys.exit(write_movie(Path(sys.argv[2])))
    sys.exit({"libraries": prove_libraries, "load": prove_load, "algorithms": prove_algorithms}[sys.argv[1]]())
