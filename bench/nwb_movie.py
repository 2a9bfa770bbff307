"""How fast a movie's frames get into an NWB file (NWB_MOVIE=1), and in how much memory, against h5py.

- nwb: what the worker does. A whole NWB file, its frames in chunks that are compressed on several threads.
- h5py: the same frames, chunks and compression, written by h5py, which compresses on one thread.

Both read the same recording, which is in the page cache, each in a process of its own. Rounds are interleaved, so that
a busy machine slows both alike, and the ratios are of the medians. Memory is what comes on top of the libraries. At the
end the frames of both are compared.

    python bench/nwb_movie.py [--frames 500] [--size 800x1280] [--dtype uint16] [--threads 2] [--rounds 3] [--json]
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

from measure import interleaved, movie_options

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))


def main() -> None:
    options = movie_options(__doc__, frames=500, rounds=3, workers="threads")
    rows, columns = (int(side) for side in options.size.split("x"))
    with tempfile.TemporaryDirectory(dir=options.dir) as folder:
        movie = _make_movie(Path(folder) / "movie.isxd", options.frames, rows, columns, options.dtype)
        ways = {name: partial(_in_process, name, movie, options.threads) for name in WAYS}
        measured = interleaved(ways, options.rounds)
        _compare(movie)
        sizes = {name: movie.with_suffix(f".{name}.nwb").stat().st_size for name in WAYS}
        n_bytes = movie.stat().st_size
    given = {"threads": options.threads, "size": options.size, "dtype": options.dtype}
    report = _report(measured, sizes, n_bytes) | given
    print(json.dumps(report) if options.json else _table(report))


def _make_movie(path: Path, n: int, rows: int, columns: int, dtype: str) -> Path:
    """A bright disc with the noise of a sensor; 20 different frames, over and over."""
    import numpy as np

    from samples import recordings

    different = recordings.frames(20, rows, columns, np.dtype(dtype))
    frames = np.lib.stride_tricks.as_strided(different, (n // 20, *different.shape), (0, *different.strides))
    return recordings.movie_from(path, _Repeated(frames))


class _Repeated:
    """Frames of which many are the same memory: what recordings.movie_from needs of an array."""

    def __init__(self, blocks) -> None:
        self.blocks, self.dtype = blocks, blocks.dtype
        self.shape = (blocks.shape[0] * blocks.shape[1], *blocks.shape[2:])

    def __len__(self) -> int:
        return self.shape[0]

    def __iter__(self):
        return (frame for block in self.blocks for frame in block)


def _in_process(name: str, movie: Path, threads: int) -> tuple[float, float, float]:
    """Wall seconds, processor seconds and peak memory in MB of one way."""
    command = [sys.executable, __file__, "--way", name, str(movie), str(threads)]
    home = {"XDG_CACHE_HOME": str(movie.parent), "PYNWB_NO_CACHE_DIR": "1"}  # as a worker does
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, env={**os.environ, **home})
    return tuple(json.loads(done.stdout))


def nwb(movie: Path, out: Path, threads: int) -> None:
    from pipeline.inspect.context import Context
    from pipeline.nwb.session import Source
    from pipeline.nwb.write import Contents, write

    write(out, Contents([Source(movie, "movie")], "bench", embed=True), Context(movie.parent, threads))


def h5py(movie: Path, out: Path, threads: int) -> None:
    import h5py

    from pipeline.nwb.fill import DEFLATE
    from pipeline.nwb.movies import chunks_of, slabs
    from recording.formats import movie_layout

    layout = movie_layout(movie)
    shape = (layout.n_samples, layout.columns, layout.rows)
    chunks = chunks_of(shape)
    with h5py.File(out, "w") as file:
        filters = {"compression": "gzip", "compression_opts": DEFLATE, "shuffle": True}
        data = file.create_dataset("data", shape, layout.dtype, chunks=chunks, **filters)
        first = 0
        for slab in slabs(movie, chunks[0]):
            data[first : first + len(slab)] = slab
            first += len(slab)


WAYS = {"nwb": nwb, "h5py": h5py}


def _way(name: str, movie: Path, threads: int) -> None:
    out = movie.with_suffix(f".{name}.nwb")
    out.unlink(missing_ok=True)
    import pipeline.nwb.write  # noqa: F401 - imports are not measured

    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    before = _memory("VmRSS")
    started, worked = time.perf_counter(), time.process_time()
    WAYS[name](movie, out, threads)
    with out.open("rb") as file:
        os.fsync(file.fileno())
    print(json.dumps([time.perf_counter() - started, time.process_time() - worked, _memory("VmHWM") - before]))


def _memory(what: str) -> float:
    """MB, as the kernel counts for this process; getrusage's peak includes that of the parent."""
    line = next(entry for entry in Path("/proc/self/status").read_text().splitlines() if entry.startswith(what))
    return int(line.split()[1]) * 1024 / 1e6


def _compare(movie: Path) -> None:
    import h5py
    import numpy as np

    with h5py.File(movie.with_suffix(".nwb.nwb")) as ours, h5py.File(movie.with_suffix(".h5py.nwb")) as theirs:
        one, other = ours["acquisition/OnePhotonSeries/data"], theirs["data"]
        assert one.shape == other.shape
        for first in range(0, one.shape[0], one.chunks[0]):
            assert np.array_equal(one[first : first + one.chunks[0]], other[first : first + one.chunks[0]])


def _report(by_way: dict[str, list], sizes: dict[str, int], n_bytes: int) -> dict[str, float]:
    wall, processor, peak = (
        {name: statistics.median(run[what] for run in measured) for name, measured in by_way.items()}
        for what in range(3)
    )
    report: dict[str, float] = {}
    for name in WAYS:
        report[f"{name}_mb_per_s"] = round(n_bytes / wall[name] / 1e6)
        report[f"{name}_peak_mb"] = round(peak[name])
        report[f"{name}_file_mb"] = round(sizes[name] / 1e6)
    report["movie_mb"] = round(n_bytes / 1e6)
    report["nwb_to_h5py"] = round(wall["h5py"] / wall["nwb"], 2)
    report["nwb_to_h5py_processor"] = round(processor["h5py"] / processor["nwb"], 2)
    return report


def _table(report: dict[str, float]) -> str:
    lines = [f"{report['movie_mb']} MB of {report['size']} {report['dtype']}, {report['threads']} threads"]
    for name in WAYS:
        speed, peak, size = (report[f"{name}_{what}"] for what in ("mb_per_s", "peak_mb", "file_mb"))
        lines.append(f"{name:>6} {speed:>6} MB/s, {peak} MB of memory at most, a file of {size} MB")
    lines.append(f"  nwb / h5py {report['nwb_to_h5py']} ({report['nwb_to_h5py_processor']} by processor time)")
    return "\n".join(lines)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--way"]:
        _way(sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]))
    else:
        main()
