#!/usr/bin/env python3
"""Run the image on a Slurm cluster: an array of jobs, each with a part of the recordings, then a job that gathers.

    submit.py isx.sif INPUT OUTPUT --shards 50 --memory 8G --time 4:00:00 --sbatch=--partition=long -- --movie-tiff

Options after `--` go to the image (see `docker run isx --help`). The command prints the ids of the jobs. If every shard
succeeds, the gather job runs and writes the final sentinel; if not, Slurm cancels it. `--redo` submits only the shards
that have no sentinel. `--redo` and `--gather` reuse the earlier `--bind` and the options after `--`, unless you give
new ones; they are kept in the caller's home folder, where nobody else can change them. So are the logs of the jobs:
Slurm follows links, and whoever may write to the output could plant one there. Needs `sbatch`; standard library only.
"""

from __future__ import annotations

import argparse
import contextlib
import grp
import hashlib
import json
import os
import pwd
import re
import shlex
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
SENTINEL = "done.marker"
MOST_SHARDS = 100_000
MOST_OF_SENTINEL = 1 << 20  # bytes; they need some thousands


class SubmitError(Exception):
    """Nothing can be submitted; the message says why."""


def main(arguments: list[str]) -> int:
    try:
        options = parse(arguments)
        check(options)
        indices = to_run(options)
        if not options.dry_run:
            prepare(options, indices)
        submit(options, indices)
    except SubmitError as error:
        print(f"submit.py: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"submit.py: {error.filename}: {error.strerror}", file=sys.stderr)
        return 1
    return 0


def parse(arguments: list[str]) -> argparse.Namespace:
    arguments, for_image = split_at_dashes(arguments)
    summary, _, description = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        usage="submit.py IMAGE INPUT OUTPUT [--shards N] [OPTION...] [-- OPTION of the image...]",
        description=f"{summary}\n\n{description}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("image", type=Path, help="a .sif file (Apptainer), or a folder (Charliecloud)")
    parser.add_argument("input", type=Path, help="the folder of recordings")
    parser.add_argument("output", type=Path, help="the folder of results, on a file system that all nodes share")
    parser.add_argument("--shards", type=shards, help="number of parts of the recordings")
    parser.add_argument("--memory", default="4G", help="memory of each shard (default: %(default)s)")
    parser.add_argument("--time", help="time limit of each shard, such as 4:00:00 (default: the partition's)")
    parser.add_argument("--cpus", type=positive, default=1, help="cores of each shard (default: %(default)s)")
    parser.add_argument("--at-once", type=positive, help="run at most this many shards at a time")
    parser.add_argument("--bind", type=Path, action="append", default=[], help="another folder that the image may read")
    parser.add_argument(
        "--logs", type=Path, help="folder of the jobs' logs, which all nodes see (default: in your home)"
    )
    parser.add_argument("--sbatch", action="append", default=[], metavar="OPTION", help="any other option of sbatch")
    parser.add_argument("--redo", action="store_true", help="run only the shards that are not done, then gather")
    parser.add_argument("--gather", action="store_true", help="only gather: write the report, even if shards failed")
    parser.add_argument("--dry-run", action="store_true", help="print the commands and submit nothing")
    options = parser.parse_args(arguments)
    options.for_image = for_image
    for name in ("image", "input", "output"):
        setattr(options, name, getattr(options, name).resolve())
    options.bind = [Path(os.path.normpath(folder.absolute())) for folder in options.bind]  # its name inside
    options.shards = options.shards or shards_of_earlier_run(options)
    if options.redo or options.gather:
        recall(options)
    options.logs = (options.logs or remembered(options.output).with_suffix("")).resolve()
    return options


def split_at_dashes(arguments: list[str]) -> tuple[list[str], list[str]]:
    at = arguments.index("--") if "--" in arguments else len(arguments)
    return arguments[:at], arguments[at + 1 :]


def positive(text: str) -> int:
    if not re.fullmatch(r"0*[1-9]\d{0,8}", text, re.ASCII):
        raise argparse.ArgumentTypeError(f"must be a whole number from 1, not {text[:20]!r}")
    return int(text)


def shards(text: str) -> int:
    count = positive(text)
    if count > MOST_SHARDS:
        raise argparse.ArgumentTypeError(f"must be at most {MOST_SHARDS}, not {count}")
    return count


def recall(options: argparse.Namespace) -> None:
    """Another recipe for some shards than for the others would be a mistake."""
    memory = remembered(options.output)
    if memory.parent.is_dir() and (place := open_to_others(memory.parent.resolve())):
        raise SubmitError(f"{memory} is not used, as others may write to {place}: take that right from them")
    try:
        earlier = json.loads(memory.read_text())
        bind, for_image, logs = earlier["bind"], earlier["for_image"], earlier["logs"]
        if not all(isinstance(text, str) for text in (*bind, *for_image, logs)):
            raise TypeError
    except (OSError, ValueError, KeyError, TypeError) as error:
        if not (options.bind and options.for_image):
            missing = "this user has not submitted to it before"
            why = missing if isinstance(error, FileNotFoundError) else f"{memory} cannot be read"
            note = f"{why}: if --bind or options after -- were used, give them again"
            print(f"{options.output}: {note}", file=sys.stderr)
        return
    again = []
    if not options.bind and bind:
        options.bind = list(map(Path, bind))
        again += [f"--bind={folder}" for folder in options.bind]
    if not options.for_image and for_image:
        options.for_image = for_image
        again += ["--", *options.for_image]
    options.logs = options.logs or Path(logs)
    if again:
        print(f"as before: {shlex.join(again)}", file=sys.stderr)


def remember(options: argparse.Namespace) -> None:
    """Store options for `--redo` and `--gather`. A user without a home folder must give them again."""
    memory = remembered(options.output)
    told = {"bind": list(map(str, options.bind)), "for_image": options.for_image, "logs": str(options.logs)}
    try:
        make_private(memory.parent)
        memory.write_text(json.dumps({"output": str(options.output), **told}))
    except OSError as error:
        note = f"{error.strerror}; give --redo and --gather the same --bind and options after --"
        print(f"{memory} cannot be written: {note}", file=sys.stderr)


def remembered(output: Path) -> Path:
    """Where it is kept what the image was told for this output, and may see: out of reach of who writes to the output.

    A folder that is bound and an option such as a recipe decide what runs as this user.
    """
    state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state")
    return state / "isx-submit" / f"{hashlib.sha256(os.fsencode(output)).hexdigest()[:32]}.json"


def make_private(folder: Path) -> None:
    """With the folders above it that are missing, for this user alone."""
    umask = os.umask(0o077)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    finally:
        os.umask(umask)


def open_to_others(folder: Path) -> Path | None:
    """The folder itself or one above it in which others could put a link in place of what is there, if there is one.

    A sticky folder, such as /tmp, keeps others from replacing what is this user's, but not from adding to it.
    """
    for place in (folder, *folder.parents):
        status = place.stat()
        is_sticky = place != folder and status.st_mode & stat.S_ISVTX
        is_theirs = place == folder and status.st_uid != os.geteuid()
        if is_theirs or (not is_sticky and writable_by_others(status)):
            return place
    return None


def writable_by_others(status: os.stat_result) -> bool:
    return bool(status.st_mode & stat.S_IWOTH or (status.st_mode & stat.S_IWGRP and not is_of_one(status.st_gid)))


def is_of_one(gid: int) -> bool:
    """Whether a group is a user's private group, as many systems give to each user."""
    try:
        group, name = grp.getgrgid(gid), pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return False
    return group.gr_name == name and set(group.gr_mem) <= {name}


def check(options: argparse.Namespace) -> None:
    """Fail here, once, instead of on every node. Raises SubmitError."""
    if not options.image.exists():
        raise SubmitError(f"there is no image {options.image}: 'make sif' builds one")
    for folder in (options.input, *options.bind):
        if not folder.is_dir():
            raise SubmitError(f"{folder} is not a folder")
    if options.output in (options.logs, *options.logs.parents):
        raise SubmitError(
            f"--logs {options.logs} lies in the output, where others could plant links that Slurm follows"
        )
    if not options.dry_run and not shutil.which("sbatch"):
        raise SubmitError("there is no sbatch: submit from a machine of the cluster, or see --dry-run")
    if options.image.is_dir():
        with_colon = [path for path in (options.input, options.output, *options.bind) if ":" in str(path)]
        if with_colon:
            raise SubmitError(f"Charliecloud cannot mount a path with a colon: {with_colon[0]}")


# --- which shards ---------------------------------------------------------------------------------------------------


def sentinels(output: Path) -> dict[Path, tuple[int, int]]:
    """The shards' sentinels, each with its index, from 1, and the number of shards."""
    pattern = re.compile(re.escape(SENTINEL) + r"\.([1-9]\d{0,5})-of-([1-9]\d{0,5})", re.ASCII)
    matches = {file: pattern.fullmatch(file.name) for file in output.glob(SENTINEL + ".*")}
    shard_of = {file: (int(match[1]), int(match[2])) for file, match in matches.items() if match}
    return {
        file: (index, count)
        for file, (index, count) in shard_of.items()
        if index <= count <= MOST_SHARDS and (said := sentinel(file)) and said["shard"] == f"{index}/{count}"
    }


def sentinel(file: Path) -> dict[str, object] | None:
    """What a sentinel says; None if there is none, or another file, a link or a FIFO of its name. As runner/own.py."""
    says = {"version": str, "finished": str, "recordings": int, "failed": int, "shard": str, "isx": dict}
    try:
        with open(os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as opened:  # noqa: PTH123 - no link
            said = json.loads(opened.read(MOST_OF_SENTINEL))
    except (OSError, ValueError, RecursionError):
        return None
    sound = isinstance(said, dict) and all(isinstance(said.get(key), kind) for key, kind in says.items())
    return said if sound else None


def refuse_foreign(file: Path) -> None:
    """Raise SubmitError if something stands there that is no sentinel: it is not ours to remove."""
    if os.path.lexists(file) and not sentinel(file):
        raise SubmitError(f"{file} is not a sentinel of an earlier run and is not touched: move it away")


def shards_of_earlier_run(options: argparse.Namespace) -> int:
    counts = {count for _, count in sentinels(options.output).values()}
    if not (options.redo or options.gather):
        return 1
    if len(counts) != 1:
        raise SubmitError(f"{options.output} does not state how many shards there were: give --shards")
    return counts.pop()


def to_run(options: argparse.Namespace) -> list[int]:
    """The shards to run, from 1: a task's index in Slurm is that of its shard."""
    if options.gather:
        return []
    done = set(sentinels(options.output).values()) if options.redo else set()
    if done and changed_since(options):
        print("the input has changed since: all shards run again and skip what is done", file=sys.stderr)
        done = set()
    return [index for index in range(1, options.shards + 1) if (index, options.shards) not in done]


def changed_since(options: argparse.Namespace) -> bool:
    """Whether the input changed after a shard was done: recordings may then move between shards."""
    first_done = min(file.stat().st_mtime for file in sentinels(options.output))
    for folder, folders, files in os.walk(options.input):
        if Path(folder) == options.output:
            folders.clear()
            continue
        for path in (Path(folder), *(Path(folder, name) for name in files)):
            with contextlib.suppress(OSError):
                if max(path.stat().st_mtime, path.stat().st_ctime) > first_done:
                    return True
    return False


def ranges(indices: Iterable[int]) -> str:
    """The indices in Slurm's format, such as 1-3,7."""
    runs: list[list[int]] = []
    for index in indices:
        if runs and index == runs[-1][-1] + 1:
            runs[-1].append(index)
        else:
            runs.append([index])
    return ",".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)


# --- the submission -------------------------------------------------------------------------------------------------


def container(options: argparse.Namespace) -> list[str]:
    """The command that runs the image as `docker run` would: of the node it sees only these folders."""
    mounts = [(options.input, "/data", True), (options.output, "/output", False)]
    mounts += [(folder.resolve(), str(folder), True) for folder in options.bind]
    if options.image.is_dir():
        binds = [f"--bind={source}:{target}" for source, target, _ in mounts]
        environment = ["--unset-env=*", f"--set-env={options.image}/ch/environment"]
        command = ["ch-run", *environment, *binds, "--cd=/tmp", str(options.image), "--"]
        command += ["python", "-EsB", "/app/bootstrap.py"]
    else:
        program = next(filter(shutil.which, ("apptainer", "singularity")), "apptainer")
        command = [program, "--quiet", "run", "--containall", "--no-eval", "--pwd", "/tmp"]
        for source, target, read_only in mounts:
            places = (f"source={source}", f"destination={target}")  # in a line of CSV
            quoted = ['"' + place.replace('"', '""') + '"' for place in places]
            command += ["--mount", ",".join(["type=bind", *quoted, *(["ro"] if read_only else [])])]
        command.append(str(options.image))
    return [str(HERE / "with-scratch.sh"), *command, *options.for_image]


def sbatch(script: str, options: argparse.Namespace, *of_sbatch: str) -> list[str]:
    log = str(options.logs).replace("%", "%%")
    number = "%A_%a" if script == "array.sh" else "%j"
    common = ["--parsable", f"--output={log}/{number}.log", "--open-mode=append", f"--mem={options.memory}"]
    return [
        *("sbatch", *common, *of_sbatch, *options.sbatch),
        *(str(HERE / script), str(options.shards), *container(options)),
    ]


def array_command(options: argparse.Namespace, indices: Sequence[int]) -> list[str]:
    array = f"--array={ranges(indices)}" + (f"%{options.at_once}" if options.at_once else "")
    limit = [f"--time={options.time}"] if options.time else []
    return sbatch("array.sh", options, array, f"--cpus-per-task={options.cpus}", *limit)


def gather_command(options: argparse.Namespace, after: str) -> list[str]:
    dependency = [f"--dependency=afterok:{after}", "--kill-on-invalid-dep=yes"] if after else []
    return sbatch("gather.sh", options, *dependency)


def prepare(options: argparse.Namespace, indices: Sequence[int]) -> None:
    """Make the folders, and remove the sentinels of an earlier run. Raises SubmitError before that."""
    for name in (SENTINEL, *(f"{SENTINEL}.{index}-of-{options.shards}" for index in indices)):
        refuse_foreign(options.output / name)
    if options.image.is_dir():  # Charliecloud mounts only onto a folder that exists
        for place in (options.image / folder.relative_to("/") for folder in options.bind):
            try:
                place.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise SubmitError(f"--bind needs a folder in the image, {place}: {error.strerror}") from error
    options.output.mkdir(parents=True, exist_ok=True)
    try:
        make_private(options.logs)
    except OSError as error:
        why = f"{options.logs} cannot be made: {error.strerror}"
        raise SubmitError(f"the folder {why}; give another with --logs") from error
    if place := open_to_others(options.logs):
        raise SubmitError(
            f"the folder of logs {options.logs} is not safe: others may write to {place} and could plant links, which "
            "Slurm follows; give another with --logs"
        )
    remember(options)
    (options.output / SENTINEL).unlink(missing_ok=True)
    for file, (index, count) in sentinels(options.output).items():
        if count != options.shards or index in indices:
            file.unlink()


def submit(options: argparse.Namespace, indices: Sequence[int]) -> None:
    array = ""
    if indices:
        array = run(array_command(options, indices), options.dry_run, "ARRAY")
        print(f"shards {array} ({ranges(indices)} of {options.shards})")
    print(f"gather {run(gather_command(options, array), options.dry_run, 'GATHER')}")
    print(f"logs {options.logs}")


def run(command: list[str], dry_run: bool, name: str) -> str:
    """Submit, and return the job's id."""
    if dry_run:
        print(shlex.join(command))
        return name
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise SubmitError(f"sbatch refuses ({done.returncode}): {done.stderr.strip()}")
    return done.stdout.strip().partition(";")[0]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
