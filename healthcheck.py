"""Is this image sound, and is the run in it alive? One line of JSON on standard output, exit code 0 or 1.

The quick form, for every 30 seconds: the native library loads with all that it needs, the code can be read, and the
run, if there is one, has shown a sign of life in time. `--deep`, for the build: everything in the lock is imported and
a recording is written and read back; a run is not looked at.
"""

from __future__ import annotations

from common.alone import restart_alone

if __name__ == "__main__":
    restart_alone()

import json
import os
import sys
from pathlib import Path
from typing import Any

from common import APP
from native import loading

USAGE = "usage: healthcheck.py [--deep] [--pid PID]"
CODE = ("bootstrap.py", "healthcheck.py", "VERSION", "common", "recording", "protocol", "native", "study")
CODE += ("runner", "following", "open_engine", "pipeline", "recipes")


def main(arguments: list[str]) -> int:
    rest = list(arguments)
    deep = "--deep" in rest
    if deep:
        rest.remove("--deep")
    pids = None
    if len(rest) == 2 and rest[0] == "--pid" and rest[1].isdigit():
        pids, rest = [int(rest[1])], []
    if rest:
        sys.stderr.write(USAGE + "\n")
        return 64
    api = loading.find_api()
    problems = permission_problems(api) or library_problems(api)
    if deep and not problems:
        problems = import_problems() or recording_problems()
    run, workers, run_problems = ("not looked at", {}, []) if deep else run_state(pids)
    problems += run_problems
    answer: dict[str, Any] = {"healthy": not problems, "isx": str(api), "run": run, **workers}
    if problems:
        answer["problems"] = problems
    print(json.dumps(answer))  # noqa: T201 - the answer
    return 1 if problems else 0


def library_problems(api: loading.Api) -> list[str]:
    """The loader itself is asked: nothing else knows all that it looks at. A file cut short would end this process."""
    if api.library is None:
        return [loading.diagnosis(api)]
    loaded = loading.finish_probe(loading.start_probe(api))
    return [loading.diagnosis(api, loaded.error)] if loaded.error else []


def permission_problems(api: loading.Api) -> list[str]:
    """Whether this user may read everything that a run needs."""
    needed = [APP / name for name in CODE if (APP / name).exists()]
    needed += [path for path in (api.library, api.folder and api.folder / "isx" / "__init__.py") if path]
    unreadable = [path for path in needed if not os.access(path, os.R_OK | (os.X_OK if path.is_dir() else 0))]
    return [f"{path} cannot be read by uid {os.getuid()}, gid {os.getgid()}" for path in unreadable]


def run_state(pids: list[int] | None) -> tuple[str, dict[str, Any], list[str]]:
    """The state by the run's heartbeat, what its workers are at, and what is wrong.

    A container that runs another command has no heartbeat, and is healthy without.
    """
    from runner import heartbeat  # the build asks without a runner

    beat = heartbeat.find(heartbeat.candidates() if pids is None else pids)
    if beat is None:
        return "none", {}, []
    if beat.age > beat.within:
        return (
            "hung",
            {},
            [
                f"the run (pid {beat.pid}) hangs: no sign of life for {beat.age:.0f} s, "
                f"expected every {beat.within:.0f} s"
            ],
        )
    workers = [{"recording": pulse.name, "idle_s": round(pulse.idle)} for pulse in beat.workers]
    problems = [
        f"the worker of {pulse.name} hangs: it has not computed, read or written anything for {pulse.idle:.0f} s"
        for pulse in beat.hung
    ]
    return f"alive, last sign of life {max(0.0, beat.age):.1f} s ago", {"workers": workers}, problems


def import_problems() -> list[str]:
    """Import every package of everything that the lock names."""
    import importlib

    installed = loading.dependencies()
    problems = [f"{name} is in the lock, but not installed" for name in loading.locked() if name not in installed]
    for distribution in installed:
        for module in _top_level(distribution):
            try:
                importlib.import_module(module)
            except Exception as error:
                problems.append(f"{distribution}: `import {module}` fails: {error!r}")
    return problems


def recording_problems() -> list[str]:
    """Write a movie with isx, read it back, compare."""
    import tempfile

    try:
        import isx
        import numpy as np

        frames = np.arange(3 * 4 * 5, dtype=np.uint16).reshape(3, 4, 5)
        with tempfile.TemporaryDirectory() as folder:
            path = str(Path(folder, "healthcheck.isxd"))
            timing = isx.Timing(num_samples=len(frames), period=isx.Duration.from_msecs(50))
            movie = isx.Movie.write(path, timing, isx.Spacing(num_pixels=frames.shape[1:]), np.uint16)
            for number, frame in enumerate(frames):
                movie.set_frame_data(number, frame)
            movie.flush()
            del movie
            movie = isx.Movie.read(path)
            same = all(np.array_equal(movie.get_frame_data(number), frame) for number, frame in enumerate(frames))
            del movie
    except Exception as error:
        return [f"a recording cannot be written and read with isx: {error!r}"]
    return [] if same else ["isx reads back other pixels than it wrote"]


def _top_level(distribution: str) -> list[str]:
    """The names under which a distribution is imported, from the list of its files."""
    from importlib import metadata

    names = set()
    for file in metadata.files(distribution) or ():
        top = file.parts[0]
        if len(file.parts) == 2 and file.parts[1] == "__init__.py":
            names.add(top)
        elif len(file.parts) == 1 and file.suffix in (".py", ".so"):
            names.add(top.partition(".")[0])
    return sorted(name for name in names if name.isidentifier())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
