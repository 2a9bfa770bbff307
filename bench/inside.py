"""Runs inside the image: makes recordings, goes through a movie in one way, measures commands.

inside.py small FOLDER N               N small movies
inside.py kinds FOLDER                 one recording of each of some kinds
inside.py sessions FOLDER              a session of several recordings, and an animal with two sessions
inside.py variants FOLDER N SEED       sound recordings of every kind in sound/, N damaged variants in 0/, 1/, ...: JSON
inside.py movie FILE GIGABYTES DTYPE   a movie of 800 x 1280 px
inside.py measure WAY FILE             go through a movie: JSON with wall and CPU seconds and peak memory in MB
inside.py commands ROUNDS              the health check and `import isx`, in turns: JSON
inside.py WAY FILE                     one of naive, floor, isx, memmap: go through a movie
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from measure import interleaved

HERE = Path(__file__).resolve().parent
APP = Path("/app")
sys.path[:0] = [str(HERE), str(HERE.parent)]  # movie_pass; samples.recordings

ROWS, COLUMNS = 800, 1280
KINDS = ("movie", "movie_float", "image", "cell_set", "event_set", "vessel_set", "gpio", "behavior_movie")
DIFFERENT = 20  # frames, over and over
SAMPLE_SECONDS = 0.02


# --- recordings -------------------------------------------------------------------------------------------------


class Frames:
    """As many frames as asked for, in the memory of a few: what recordings.movie_from needs of an array."""

    def __init__(self, n: int, dtype: str) -> None:
        from samples import recordings

        self.different = recordings.frames(DIFFERENT, ROWS, COLUMNS, dtype)
        self.n, self.dtype, self.shape = n, self.different.dtype, (n, ROWS, COLUMNS)

    def __len__(self) -> int:
        return self.n

    def __iter__(self) -> Iterator:
        return (self.different[i % DIFFERENT] for i in range(self.n))


def make_movie(path: Path, gigabytes: float, dtype: str) -> None:
    """On disk when this returns, so that nothing is written while something is measured."""
    import numpy as np

    from samples import recordings

    n = round(gigabytes * 1e9 / (ROWS * COLUMNS * np.dtype(dtype).itemsize))
    recordings.movie_from(path, Frames(n, dtype))
    with path.open("rb") as file:
        os.fsync(file.fileno())


def make_small(folder: Path, n: int) -> None:
    from samples import recordings

    content = recordings.movie(folder / "0000.isxd").read_bytes()
    for number in range(1, n):
        (folder / f"{number:04}.isxd").write_bytes(content)


def make_kinds(folder: Path) -> dict[str, Path]:
    from samples import recordings

    made = recordings.every_kind(folder)
    for kind, path in made.items():
        if kind not in KINDS:
            path.unlink()
    return {kind: made[kind] for kind in KINDS}


def make_sessions(folder: Path) -> None:
    """Two parts with GPIO, and an animal's cells on two days."""
    from samples import recordings

    recordings.movie(folder / "m_part1.isxd")
    recordings.movie(folder / "m_part2.isxd", start_ms=recordings.START_MS + 5000)
    recordings.gpio(folder / "m.gpio")
    for day in ("day1", "day2"):
        (folder / f"a/{day}").mkdir(parents=True)
        recordings.cell_set(folder / f"a/{day}/cells.isxd")
    (folder / "a/nwb.toml").write_text('[Subject]\nsubject_id = "a"\n')


def make_variants(folder: Path, n: int, seed: int) -> list[dict[str, str]]:
    """What each variant is; it has the name of the sound recording, so that results can be compared byte by byte."""
    from samples import damage, recordings

    sound = folder / "sound"
    sound.mkdir()
    kinds = recordings.every_version(sound)
    for path in {*kinds.values()}:  # each by itself: of one folder, some would be one session
        alone = sound / f"of {path.name}"
        path.rename(sound / ".moved")
        alone.mkdir()
        (sound / ".moved").rename(alone / path.name)
    kinds = {name: sound / f"of {path.name}" / path.name for name, path in kinds.items()}
    made = []
    for number, variant in enumerate(damage.variants(kinds, seed, n)):
        path = folder / str(number) / kinds[variant.name].name
        path.parent.mkdir()
        path.write_bytes(variant.data)
        made.append({"of": variant.name, "file": path.name, "damage": variant.label, "where": variant.where})
    return made


# --- ways through a movie ---------------------------------------------------------------------------------------


def by_memmap(path: Path) -> None:
    import numpy as np

    from recording.formats import movie_layout

    layout = movie_layout(path)
    movie = np.memmap(path, layout.dtype, "r", layout.offset, (layout.n_stored, layout.rows, layout.columns))
    frame = np.empty(movie.shape[1:], movie.dtype)
    for stored in movie:
        np.copyto(frame, stored)


def by_isx(path: Path) -> None:
    import isx

    movie = isx.Movie.read(str(path))
    for i in range(movie.timing.num_samples):
        movie.get_frame_data(i)


def by_part(name: str, path: Path) -> None:
    """`naive` and `floor` of movie_pass.py, on one core."""
    import movie_pass
    from recording.formats import movie_layout

    layout = movie_layout(path)
    movie_pass.PARTS[name](path, 0, layout.n_stored, layout.dtype, layout.stride)


WAYS = {
    "naive": lambda path: by_part("naive", path),
    "floor": lambda path: by_part("floor", path),
    "isx": by_isx,
    "memmap": by_memmap,
}


# --- measuring ----------------------------------------------------------------------------------------------------


def measure(way: str, path: Path) -> dict[str, float]:
    """A process of its own, from its start to its end; `run` is PID 1's program, sentinel included."""
    command = [sys.executable, __file__, way, str(path)]
    with tempfile.TemporaryDirectory() as output:
        if way == "run":
            command = [
                sys.executable,
                str(APP / "bootstrap.py"),
                "--input-dir",
                str(path.parent),
                "--output-dir",
                output,
            ]
        peak, done = 0, threading.Event()

        def watch() -> None:
            nonlocal peak
            while not done.wait(SAMPLE_SECONDS):
                peak = max(peak, anonymous_memory())

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            measured = timed(command)
        finally:
            done.set()
            watcher.join()
        assert way != "run" or Path(output, "done.marker").is_file()
    return {**measured, "peak": peak / 1e6}


def timed(command: list[str]) -> dict[str, float]:
    """Wall and CPU seconds of a command and all that it started."""
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, command
    return {"seconds": seconds, "cpu": usage.ru_utime + usage.ru_stime}


def anonymous_memory() -> int:
    """Bytes that all other processes of the container hold; pages of files, which the kernel can drop, not counted."""
    total = 0
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                text = (entry / "status").read_text()
            except OSError:
                continue
            total += 1024 * sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("RssAnon:"))
    return total


def commands(rounds: int) -> dict[str, list[dict[str, float]]]:
    contenders = {
        "healthcheck": [sys.executable, str(APP / "healthcheck.py")],
        "import_isx": [sys.executable, "-c", "import isx"],
        "python": [sys.executable, "-c", ""],
    }
    return interleaved({name: lambda command=command: timed(command) for name, command in contenders.items()}, rounds)


def main(arguments: list[str]) -> None:
    verb, *rest = arguments
    if verb == "small":
        make_small(Path(rest[0]), int(rest[1]))
    elif verb == "sessions":
        make_sessions(Path(rest[0]))
    elif verb == "kinds":
        make_kinds(Path(rest[0]))
    elif verb == "variants":
        print(json.dumps(make_variants(Path(rest[0]), int(rest[1]), int(rest[2]))))
    elif verb == "movie":
        make_movie(Path(rest[0]), float(rest[1]), rest[2])
    elif verb == "measure":
        print(json.dumps(measure(rest[0], Path(rest[1]))))
    elif verb == "commands":
        print(json.dumps(commands(int(rest[0]))))
    else:
        WAYS[verb](Path(rest[0]))


if __name__ == "__main__":
    main(sys.argv[1:])
