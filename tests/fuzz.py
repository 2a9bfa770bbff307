#!/usr/bin/env python3
"""Damage recordings of every kind, run the image on them, and see that none stops, misleads or harms the run.

    fuzz.py [--seed N] [--variants N] [--ways WAY...] [--image IMAGE] [--keep FOLDER]

Sound recordings and variants of them (samples/damage.py) lie in one input folder. They are run in each of WAYS:
inspected, with every optional product, and through a recipe of the open engine; the sound ones by themselves first.
Then, of the run on all of them: PID 1 comes to its end, within limits of memory and time; each input has a row, in no
words of Python's, and each failure a reason that names what is wrong; nothing outside the output changes; nothing is
half-written; the results of the sound ones are byte for byte what they were. A variant that gives results gives the
sound file's, or a warning, or it differs in what no program can know (UNKNOWABLE). The seed decides everything; it is
printed. Exits with 1 if any of this does not hold. Standard library only.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(PROJECT), str(PROJECT / "bench")]

import measure  # noqa: E402  neither is installed
from measure import ME, docker, inside, new_folder, say  # noqa: E402
from tests.trees import tree, without_times_of_steps  # noqa: E402

VARIANTS = 2000
MEMORY = "1500m"  # of the container: a variant of a file of 50 KB must not need more
WORKER_SECONDS = 60
LARGEST = 64 << 20  # bytes of one variant's results
CANARY = "nobody writes here"

# Recordings have but six frames of 24 x 32 px.
RECIPE = """
version = 1
description = "The movie steps of the open engine"
engine = "open"

[[step]]
use = "preprocess"

[[step]]
use = "spatial_filter"

[[step]]
use = "project_movie"

[[step]]
use = "motion_correct"
from = "project_movie"
max_translation = 2

[[step]]
use = "dff"
"""
# By name: the options of a run.
WAYS = {
    "inspect": (),
    "products": ("-e", "MOVIE_TIFF=1", "-e", "MOVIE_MP4=1", "-e", "NWB=1", "-e", "NWB_MOVIE=1"),
    "recipe": ("-e", "RECIPE=/w/recipe.toml", "-e", "NWB=1"),
}

# A reason that names no fault of the file.
NO_REASON = re.compile(r"its log has the details|worker ended|not finished after|out of memory|needs more memory|^$")
PYTHONS = re.compile(  # names and sentences for the log, not for whoever recorded
    r"\b[A-Z][A-Za-z]*(Error|Exception|Warning)\b|\bException\b|NoneType|Traceback|object (is not|has no|cannot)"
    r"|indices must be|is not iterable|argument of type|unhashable|unsupported operand|could not convert"
    r"|invalid literal|not supported between|must be (str\b|real number|a bytes-like)|cannot (unpack|convert)"
    r"|(too many|not enough) values to unpack|out of range$|division by zero"
)

# What nothing in a file contradicts: each is a class of changes, and why nobody can know.
# A pattern for "kind: what was changed"; docs/results.md says the same in words.
UNKNOWABLE = {
    r".*: (data|values|value of a packet|values of a sample)": "a value that is plausible",
    r".*: (time|event) of a packet": "the time or the channel of one value, if the order stays",
    r"nvision: meta/samples/\*/tracker.*": "where the animal was, if it was in the frame",
    r".*: content of a frame of the video": "a picture that is not that of the page",
    r".*: footer/(CellNames|VesselNames|channel list)(/\*)?": "a name",
    r".*: (footer|session)/(timing ?[iI]nfo|global times).*/(start|secsSinceEpoch|utcOffset)\b.*": "when it was",
    r".*: (footer|session)/timing ?[iI]nfo.*/period(Ms)?\b.*": "the rate",
    r"gpio(_bare|_session)?: its beginning": "when it began: a raw GPIO file may begin with any packet",
    r"gpio_bare: its last packets": "how long it is: a raw GPIO file without a header may end with any packet",
    r"behavior_timing: meta as a whole": "what describes the frames: processed movies need none",
    r".*: (footer|session)/spacingInfo/(pixelSize|topLeft)/.*": "the size of a pixel, the place of the field of view",
    r".*: header (epoch_ms|utc_offset|utc_offset_min|start_num|start_den)": "when it began",
    r".*: (footer|session)/timingInfo/(dropped|cropped|blank)(/\*)?": "which samples are missing, if their number fits",
    r".*: footer/(Cell|Vessel)Statuses(/\*)?": "the status of a cell",
    r"behavior\w*: meta/samples/\*/tsc": "when a frame was taken, if the order stays",
    r".*: session/.*(cameraSerial|sensorParams)\b.*": "how the camera was set",
    r".*: (footer|session|meta)/.*(extraProperties|producer|cameraName|cameraAlias)\b.*": "passed on as it is",
}


# Keys of results, at any depth: which file it was, when it was worked on, and what is passed on as it is.
OF_THE_FILE = {"input", "inputs", "provenance", "file_metadata", "fingerprint", "products", "seconds"}


@dataclass
class Fuzzed:
    """What came of the variants."""

    failures: list[str] = field(default_factory=list)
    ends: Counter[tuple[str, str]] = field(default_factory=Counter)  # by what the variant is of, and how it ended
    silent: Counter[str] = field(default_factory=Counter)  # differ without a warning, by what was changed
    codes: Counter[int] = field(default_factory=Counter)  # exit codes of the runs
    seconds: float = 0.0

    def expect(self, holds: bool, what: str) -> None:
        if not holds:
            self.failures.append(what)
            say(f"  FAILED: {what}")


def fuzz(folder: Path, seed: int, n: int, image: str, ways: Sequence[str] = tuple(WAYS)) -> Fuzzed:
    """A run on n variants in each of these ways; `folder` is an empty one that any user may write to."""
    fuzzed = Fuzzed()
    inputs, canary = new_folder(folder / "input"), new_folder(folder / "canary")
    (canary / "canary").write_text(CANARY)
    (folder / "recipe.toml").write_text(RECIPE)
    made = json.loads(inside("variants", "/made", n, seed, options=("-v", f"{inputs}:/made")))
    for way in ways:
        say(f"  {way}")
        one_way(folder, way, made, image, fuzzed)
    return fuzzed


def one_way(folder: Path, way: str, made: list[dict[str, str]], image: str, fuzzed: Fuzzed) -> None:
    inputs, alone, output = folder / "input", new_folder(folder / f"alone-{way}"), new_folder(folder / f"output-{way}")
    before = contents(folder)
    for number in range(len(made)):  # out of sight, so that the paths of the sound ones are the same in both runs
        (inputs / str(number)).rename(inputs / f".{number}")
    code, end, died = run(folder, alone.name, image, way, 10 * WORKER_SECONDS)
    fuzzed.codes[code] += 1
    fuzzed.expect(not died, f"{way}: workers of sound recordings died: {died}")
    fuzzed.expect(code == 0, f"{way}: the sound recordings alone end with {code}: {end}")
    for number in range(len(made)):
        (inputs / f".{number}").rename(inputs / str(number))

    started = time.monotonic()
    code, end, died = run(folder, output.name, image, way, limit(alone))
    fuzzed.expect(not died, f"{way}: workers died, though they may have gone well when tried again: {died}")
    fuzzed.seconds += time.monotonic() - started
    fuzzed.codes[code] += 1
    fuzzed.expect(code == 1, f"{way}: the run ends with {code}: {end}")
    after = contents(folder)
    changed = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    fuzzed.expect(not changed, f"{way}: files outside the output changed: {changed[:5]}")

    trees = tree(alone), tree(output)
    judge_sound(*(map(without_times_of_steps, trees) if way == "recipe" else trees), fuzzed)
    for problem in half_written(output, steps_kept=way == "recipe"):
        fuzzed.expect(False, f"{way}: {problem}")
    judge_variants(way, made, output, fuzzed)


def limit(alone: Path) -> float:
    """Seconds for one worker: several times what the slowest sound recording took, as the machine may be busy."""
    with (alone / "summary.csv").open(newline="") as file:
        return max(WORKER_SECONDS, *(4 * float(row["seconds"]) for row in csv.DictReader(file)))


def run(folder: Path, output: str, image: str, way: str, seconds: float) -> tuple[int, str, list[str]]:
    """Exit code, last line of the log, and what it says of workers that died; these are tried again, so that no result
    shows it. What is beside the output can be written to, and must not be."""
    name = f"isx-fuzz-{os.getpid()}-{output}"
    limits = ("--memory", MEMORY, "--memory-swap", MEMORY, "--pids-limit", "200", "--network", "none")
    where = ("-v", f"{folder}:/w", "-e", "INPUT_DIR=/w/input", "-e", f"OUTPUT_DIR=/w/{output}", *WAYS[way])
    options = ("--user", ME, "--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "-e", "LOG_FORMAT=json")
    docker("run", "--detach", "--name", name, *options, *limits, *where, image, f"--worker-timeout={seconds:.0f}")
    try:
        code = int(docker("wait", name))
        killed = docker("inspect", "--format", "{{.State.OOMKilled}}", name) == "true"
        log = subprocess.run(["docker", "logs", name], check=True, capture_output=True, text=True).stderr.splitlines()
    finally:
        docker("rm", "--force", name)
    return code, "out of memory" if killed else "".join(log[-1:]), deaths(log)


def deaths(log: Iterable[str]) -> list[str]:
    """Of the lines of a log, the messages about workers that died and are tried again."""
    events = (json.loads(line) for line in log if line.startswith("{"))
    return [event["message"] for event in events if event["event"] == "tried-again"]


def contents(folder: Path) -> dict[str, tuple[int, bytes | int]]:
    """Each file below that is not in an output: its size, and its content unless it is large."""
    files: dict[str, tuple[int, bytes | int]] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and not name.startswith(("alone-", "output-")):
            files[name] = path.stat().st_size, path.read_bytes() if path.stat().st_size < 1 << 20 else 0
    return files


def judge_sound(alone: dict[str, bytes], output: dict[str, bytes], fuzzed: Fuzzed) -> None:
    for name, content in alone.items():
        if name.startswith("sound/"):
            fuzzed.expect(output.get(name) == content, f"{name} is not what it is without damaged files beside it")


def half_written(output: Path, steps_kept: bool = False) -> Iterator[str]:
    """Nothing temporary; JSON, CSV and HTML that is whole; all that a JSON lists, and nothing else.

    A recipe that did not end may have kept its steps.
    """
    staging = output / ".staging"
    if staging.exists() and not (steps_kept and [path.name for path in staging.iterdir()] == ["kept"]):
        yield ".staging is left behind"
    if (output / "done.marker").exists():
        yield "a sentinel, although recordings failed"
    for path in output.rglob("*"):
        name = path.relative_to(output).as_posix()
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            yield f"{name} is no file"
        elif path.is_file() and (problem := fault(path)):
            yield f"{name}: {problem}"


def fault(path: Path) -> str:
    """ "" if the file is whole."""
    content = path.read_bytes()
    if path.suffix == ".json" and path.stem == path.parent.name:
        listed = {*json.loads(content)["results"], path.name}
        there = {file.relative_to(path.parent).as_posix() for file in path.parent.rglob("*") if file.is_file()}
        return "" if listed == there else f"lists {sorted(listed ^ there)} that are not there, or not those"
    if path.suffix == ".csv":
        widths = {len(row) for row in csv.reader(content.decode().splitlines())}
        return "" if len(widths) == 1 and content.endswith(b"\n") else f"rows of {sorted(widths)} columns"
    if path.suffix == ".nwb":  # HDF5's superblock says where the file ends
        return "" if int.from_bytes(content[40:48], "little") == len(content) else "does not end where it says"
    if path.suffix == ".mp4":
        return "" if boxes_end(content) == len(content) else "does not end with a box"
    endings = {".html": b"</html>", ".png": b"IEND\xaeB`\x82"}
    if path.suffix in endings and not content.rstrip(b"\n").endswith(endings[path.suffix]):
        return "has no end"
    return "is temporary" if path.suffix == ".tmp" else ""


def boxes_end(content: bytes) -> int:
    """Where the boxes of an MP4 end, each of which begins with its size: 1 stands for one of 64 bits after the type."""

    def size_at(at: int) -> int:
        size = int.from_bytes(content[at : at + 4], "big")
        return int.from_bytes(content[at + 8 : at + 16], "big") if size == 1 else size

    at = 0
    while (size := size_at(at)) >= 8:
        at += size
    return at


# --- variants -------------------------------------------------------------------------------------------------------


def judge_variants(way: str, made: list[dict[str, str]], output: Path, fuzzed: Fuzzed) -> None:
    with (output / "summary.csv").open(newline="") as file:
        rows = {row["path"]: row for row in csv.DictReader(file)}
    for number, variant in enumerate(made):
        label = f"{way}: variant {number} ({variant['of']}, {variant['damage']}: {variant['where']})"
        row = rows.get(f"{number}/{variant['file']}")
        if row is None:
            fuzzed.expect(False, f"{label} has no row")
            continue
        end = judge(label, row, variant, output, fuzzed)
        fuzzed.ends[variant["of"], end] += 1


def judge(label: str, row: dict[str, str], variant: dict[str, str], output: Path, fuzzed: Fuzzed) -> str:
    """How it ended."""
    spoken = [cell for cell in row.values() if PYTHONS.search(cell)]
    fuzzed.expect(not spoken, f"{label} has Python's words in its row: {spoken}")
    folder = output / row["results"] if row["results"] else None
    if row["status"] == "failed":
        fuzzed.expect(not NO_REASON.search(row["reason"]), f"{label} fails and names no fault: {row['reason']!r}")
        left = output / Path(row["path"]).with_suffix("")
        is_inspected = label.startswith("recipe")  # what failed in a recipe shows what inspection can say
        fuzzed.expect(is_inspected or not left.exists(), f"{label} failed and left {left}")
        return "refused"
    assert folder, row
    size = sum(path.stat().st_size for path in folder.iterdir())
    fuzzed.expect(size < LARGEST, f"{label} gives {size} bytes of results")
    reference = output / "sound" / f"of {variant['file']}" / Path(variant["file"]).stem
    other = different(reference, folder)
    if row["warnings"]:
        return "warned"
    if not other:
        return "same"
    what = f"{variant['of']}: {variant['where']}"
    fuzzed.silent[what] += 1
    known = any(re.fullmatch(pattern, what) for pattern in UNKNOWABLE)
    fuzzed.expect(known, f"{label} gives other results without a warning: {', '.join(other[:4])}")
    return "differs"


def different(reference: Path, folder: Path) -> list[str]:
    """Results that are not as the sound recording's: files, or keys of the JSON. Pages and pictures show the same."""
    names = {path.name for place in (reference, folder) for path in place.iterdir() if path.suffix in (".csv", ".tif")}
    other = [
        name
        for name in sorted(names)
        if not (reference / name).exists()
        or not (folder / name).exists()
        or (reference / name).read_bytes() != (folder / name).read_bytes()
    ]
    mine, theirs = (properties(place / f"{folder.name}.json") for place in (folder, reference))
    return other + [key for key in sorted(mine.keys() | theirs.keys()) if mine.get(key) != theirs.get(key)]


def properties(path: Path) -> dict[str, Any]:
    """Less what says which file it was and when it was worked on, and its own metadata, which are passed on as is."""
    content: dict[str, Any] = comparable(json.loads(path.read_text()))
    return content


def comparable(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: comparable(part) for key, part in value.items() if key not in OF_THE_FILE}
    return [comparable(part) for part in value] if isinstance(value, list) else value


# --- all of it ------------------------------------------------------------------------------------------------------


def print_tables(fuzzed: Fuzzed) -> None:
    ends = ("refused", "same", "warned", "differs")
    print(f"\n{'variants of':22} " + " ".join(f"{end:>8}" for end in ends))
    for name in dict.fromkeys(name for name, _ in fuzzed.ends):
        print(f"{name:22} " + " ".join(f"{fuzzed.ends[name, end]:>8}" for end in ends))
    totals = [sum(count for (_, other), count in fuzzed.ends.items() if other == end) for end in ends]
    print(f"{'all':22} " + " ".join(f"{total:>8}" for total in totals))
    if fuzzed.silent:
        print("\nother results, no warning: what was changed")
    for what, count in sorted(fuzzed.silent.items()):
        print(f"{count:>4} × {what}")
    print(f"\n{sum(fuzzed.ends.values())} ends of variants in {fuzzed.seconds:.0f} s, {len(fuzzed.failures)} failures")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--variants", type=int, default=VARIANTS)
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=WAYS, help="run them in these ways only")
    parser.add_argument("--image", help="an image that is there; built anew otherwise")
    parser.add_argument("--keep", type=Path, help="a new folder in which input and output stay")
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    if options.image:
        measure.IMAGE = options.image
    else:
        from images import build

        build("image")
    with measure.workspace() as folder:
        fuzzed = fuzz(folder, options.seed, options.variants, measure.IMAGE, options.ways)
        if options.keep:
            shutil.copytree(folder, options.keep, symlinks=True)
    print_tables(fuzzed)
    return 1 if fuzzed.failures else 0


if __name__ == "__main__":
    sys.exit(main())
