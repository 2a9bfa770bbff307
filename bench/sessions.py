"""What sessions cost: sessions.py [--parts N] [--frames N] [--recordings N] [--json]

Processor time, from start to sentinel, of a run over a session (a movie in parts, with GPIO beside it), against the sum
of runs over each of its recordings alone; both with and without NWB files. And of a run that finds, checks and relates
many recordings, of which it works on one (the last of as many shards). Runs where the image's modules are.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from samples import recordings  # noqa: E402

ROUNDS = 3
FOLDERS = 100  # in which many recordings lie


def run(source: Path, output: Path, **environment: str) -> float:
    """Processor time in s of PID 1 and all that it starts."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    places = {"INPUT_DIR": str(source), "OUTPUT_DIR": str(output), "EXPECTED_OUTPUT_FILE": str(output / "done.marker")}
    command = [sys.executable, "-EsB", str(ROOT / "bootstrap.py")]
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, **places, **environment})
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def session(folder: Path, parts: int, frames: int) -> list[Path]:
    folder.mkdir()
    parts_written = []
    for part in range(parts):
        start = recordings.START_MS + part * (frames * 50 + 10_000)
        path = folder / f"m_part{part + 1}.isxd"
        parts_written.append(recordings.movie(path, frames, 200, 260, start_ms=start))
    return [*parts_written, recordings.gpio(folder / "m.gpio", n=400)]


def whole_and_parts(work: Path, parts: int, frames: int) -> dict[str, float]:
    together = work / "together"
    alone = []
    for number, path in enumerate(session(together, parts, frames)):
        folder = work / f"alone-{number}"
        folder.mkdir()
        os.link(path, folder / path.name)
        alone.append(folder)
    report: dict[str, float] = {"parts": parts, "frames": frames}
    for name, environment in (("plain", {}), ("nwb", {"NWB": "1"})):
        whole, one_by_one = [], []
        for round_ in range(ROUNDS):
            whole.append(run(together, work / f"{name}-{round_}", **environment))
            one_by_one.append(sum(run(one, work / f"{name}-{round_}-{one.name}", **environment) for one in alone))
        report |= {f"{name}_whole_s": round(min(whole), 2), f"{name}_sum_s": round(min(one_by_one), 2)}
    return report


def many(work: Path, n: int) -> dict[str, float]:
    made = recordings.movie(work / "one.isxd", 3, 6, 7)
    content = made.read_bytes()
    for number in range(n):
        folder = work / f"many/d{number % FOLDERS}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"r{number}_video.isxd").write_bytes(content)
    seconds = run(work / "many", work / "many-out", SHARD=f"{n}/{n}")
    return {"recordings": n, "seconds": round(seconds, 2), "ms_a_recording": round(1000 * seconds / n, 3)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", type=int, default=4)
    parser.add_argument("--frames", type=int, default=400)
    parser.add_argument("--recordings", type=int, default=10_000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        report = {
            "session": whole_and_parts(Path(folder), options.parts, options.frames),
            "many": many(Path(folder), options.recordings),
        }
    print(json.dumps(report, indent=None if options.json else 1))


if __name__ == "__main__":
    main()
