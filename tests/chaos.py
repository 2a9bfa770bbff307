#!/usr/bin/env python3
"""Kill, starve and confuse runs, and see that each says so and that the next one completes the work.

    chaos.py [--seed N] [--only SCENARIO...] [--image NAME]

Of every disturbed run: the exit code, no sentinel without success, no file under a final name that is not whole. Of the
run after it: success, and the same tree as a run that nothing disturbed. The seed decides every moment, size and
damage; it is printed. Exits with 1 where an expectation fails. Standard library only.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(PROJECT), str(PROJECT / "bench"), str(PROJECT / "docker_engine")]

import engine  # noqa: E402  none is installed
import measure  # noqa: E402
from images import build, forget_all  # noqa: E402
from measure import ME, docker, inside, new_folder, say, workspace  # noqa: E402
from tests import fuzz  # noqa: E402
from tests.trees import tree, tree_with_rooms, without_times_of_steps  # noqa: E402

REPORTS = {"index.html", "summary.csv"}
SECONDS = 300  # for one run

# Beside the open engine's movie steps, one that warns: what it said must not be lost.
WARNING_STEP = """
[[step]]
python = "steps.py:warn"
suffix = "W"

[[step]]
use = "dff"
"""
STEPS = """
import shutil, time

def warn(inputs, outputs, context):
    context.warn("chaos is near")
    shutil.copyfile(inputs[0], outputs[0])
    time.sleep(0.2)
"""

KILL_A_WORKER = """
import os, pathlib, random, signal
workers = []
for entry in pathlib.Path("/proc").iterdir():
    try:
        if entry.name.isdigit() and os.readlink(entry / "fd/0").startswith("/memfd:job"):  # not what forks them
            workers.append(int(entry.name))
    except OSError:
        continue
if workers:
    os.kill(random.choice(workers), signal.SIGKILL)
print(len(workers))
"""


# --- runs ---------------------------------------------------------------------------------------------------------


@dataclass
class Ended:
    """How a run ended."""

    code: int
    events: list[dict]

    @property
    def reasons(self) -> dict[str, str]:
        """Why each recording failed that did."""
        return {event["path"]: event["reason"] for event in self.events if event["event"] == "recording-failed"}

    @property
    def last(self) -> dict:
        return self.events[-1] if self.events else {}


@dataclass
class Running:
    """A container under way; its log grows in a file."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    def wait_for(self, event: str) -> None:
        """Returns when the log has it, or the run is over."""
        while f'"event": "{event}"' not in self.log.read_text() and self.process.poll() is None:
            time.sleep(0.01)

    def end(self) -> Ended:
        code = self.process.wait(timeout=SECONDS)
        docker("rm", "--force", self.name)
        lines = self.log.read_text().splitlines()
        return Ended(code, [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")])


@dataclass
class Tally:
    """The outcome of a scenario."""

    codes: Counter = field(default_factory=Counter)
    completed: int = 0
    hits: int = 0  # disturbances that a run may survive
    failures: list[str] = field(default_factory=list)
    left_out: str = ""

    def expect(self, holds: bool, what: str) -> None:
        if not holds:
            self.failures.append(what)
            say(f"  FAILED: {what}")

    def expect_disturbance(self) -> None:
        """Where nothing was hit, nothing has been shown."""
        self.expect(bool(self.left_out or self.hits) or any(self.codes), "no run was disturbed")


@dataclass
class Chaos:
    """The means of all scenarios."""

    rng: random.Random
    folder: Path
    inputs: Path
    tally: Tally = field(default_factory=Tally)
    reference: dict[str, bytes] = field(default_factory=dict)
    seconds: float = 0.0  # of an undisturbed run, from its first line on
    tree: Callable[[Path], dict[str, bytes]] = tree  # what two runs must leave alike
    options: Sequence[str] = ()  # of every container
    arguments: Sequence[str] = ()  # of every run
    number: int = 0

    def new_output(self) -> Path:
        self.number += 1
        return new_folder(self.folder / f"output-{self.number}")

    def start(
        self,
        output: Path | str,
        *arguments: str,
        inputs: Path | None = None,
        options: Sequence[str] = (),
        mode: str = "rw",
    ) -> Running:
        """The image, confined as far as it goes, as the user who asks. `output` is a folder or a volume's name."""
        self.number += 1
        name = f"isx-chaos-{os.getpid()}-{self.number}"
        log = self.folder / f"{name}.log"
        confined = ("--cap-drop", "ALL", "--network", "none", "--read-only", "--tmpfs", "/tmp")
        mounts = ("-v", f"{inputs or self.inputs}:/data:ro", "-v", f"{output}:/output:{mode}")
        command = [
            "docker",
            "run",
            "--name",
            name,
            "--user",
            ME,
            *confined,
            *mounts,
            *self.options,
            *options,
            measure.IMAGE,
            *self.arguments,
            *arguments,
        ]
        with log.open("wb") as file:
            return Running(name, subprocess.Popen(command, stderr=file, stdout=file), log)

    def run(self, output: Path | str, *arguments: str, **options) -> Ended:
        return self.start(output, *arguments, **options).end()

    def a_moment(self, running: Running) -> None:
        """Wait for a moment within the time that an undisturbed run takes."""
        running.wait_for("start")
        time.sleep(self.rng.uniform(0, self.seconds))

    def judge(self, output: Path, ended: Ended, codes: set[int], reference: dict[str, bytes] | None = None) -> None:
        """A disturbed run: its code, the sentinel, and that whatever has its final name is whole."""
        tally, reference = self.tally, self.reference if reference is None else reference
        tally.codes[ended.code] += 1
        tally.expect(ended.code in codes, f"exit code {ended.code}, not one of {sorted(codes)}: {ended.last}")
        if (output / "done.marker").exists() != (ended.code == 0):
            late = ended.code == 137 and self.tree(output) == reference  # killed between the sentinel and its own end
            tally.expect(late, f"sentinel after exit code {ended.code}")
        for problem in half_written(output, reference, self.tree):
            tally.expect(False, problem)

    def complete(
        self, output: Path, *arguments: str, inputs: Path | None = None, beside: tuple[str, ...] = ()
    ) -> Ended:
        """A run that nothing disturbs, after those that were."""
        ended = self.run(output, *arguments, inputs=inputs)
        self.tally.expect(ended.code == 0, f"the next run ends with {ended.code}: {ended.last} {ended.reasons}")
        files = {
            name: content for name, content in self.tree(output).items() if not any(part in name for part in beside)
        }
        different = sorted(
            name for name in files.keys() | self.reference.keys() if files.get(name) != self.reference.get(name)
        )
        self.tally.expect(not different, f"the next run leaves another tree: {different[:5]}")
        self.tally.completed += ended.code == 0 and not different
        return ended


def half_written(
    output: Path, reference: dict[str, bytes], read: Callable[[Path], dict[str, bytes]] = tree
) -> Iterator[str]:
    """Files that an undisturbed run would not have left under this name; records, logs and hidden files aside."""
    files = read(output)
    for name, content in files.items():
        if name.startswith((".", "logs/", "damaged/", "done.marker")):
            continue
        if name in REPORTS:
            problem = damaged_report(output / name)
            if problem:
                yield f"{name} is not whole: {problem}"
        elif content != reference.get(name):
            yield f"{name} is not what an undisturbed run writes"
    for name in files:
        folder, _, file = name.rpartition("/")
        if folder and file == f"{folder.rpartition('/')[2]}.json" and not name.startswith((".", "damaged/")):
            missing = [other for other in reference if other.startswith(f"{folder}/") and other not in files]
            if missing:
                yield f"{name} says complete, but {missing} are missing"


def damaged_report(path: Path) -> str:
    """ "" where it is whole; `tree` does not look into what holds times."""
    try:
        text = path.read_text()
        if path.suffix == ".json":
            json.loads(text)
        elif path.suffix == ".csv":
            widths = {len(row) for row in csv.reader(text.splitlines())}
            return "" if len(widths) == 1 and text.endswith("\n") else f"rows of {sorted(widths)} columns"
        else:
            return "" if text.rstrip().endswith("</html>") else "it has no end"
    except (OSError, ValueError) as error:
        return str(error)
    return ""


# --- scenarios: each is one row of the table ------------------------------------------------------------------------


def container_killed(chaos: Chaos) -> None:
    """SIGKILL of the container at random moments"""
    output = chaos.new_output()
    for number in range(9):
        running = chaos.start(output)
        chaos.a_moment(running)
        with contextlib.suppress(RuntimeError):  # it may be over
            docker("kill", running.name)
        chaos.judge(output, running.end(), {0, 137})
        if number % 3 == 2:
            chaos.complete(output)
            output = chaos.new_output()


def kill_a_worker(running: Running) -> bool:
    """One that is at work by now, or the next one; False if the run came to its end first."""
    while running.process.poll() is None:
        with contextlib.suppress(RuntimeError):  # it may be over
            if int(docker("exec", running.name, "python", "-c", KILL_A_WORKER)):
                return True
    return False


def workers_killed(chaos: Chaos) -> None:
    """SIGKILL of workers at random moments"""
    for _ in range(5):  # one each: a recording that kills both workers is left out of its session, by design
        output = chaos.new_output()
        running = chaos.start(output)
        running.wait_for("found")
        time.sleep(chaos.rng.uniform(0, chaos.seconds))
        hits = kill_a_worker(running)
        ended = running.end()
        chaos.tally.hits += hits
        chaos.judge(output, ended, {0})
        said = sum(event["event"] in ("tried-again", "overview-failed") for event in ended.events)
        chaos.tally.expect(said == hits, f"{hits:d} workers killed, {said} said")
        chaos.complete(output)


def terminated(chaos: Chaos) -> None:
    """SIGTERM at random moments"""
    for _ in range(4):
        output = chaos.new_output()
        running = chaos.start(output)
        chaos.a_moment(running)
        with contextlib.suppress(RuntimeError):
            docker("kill", "--signal", "TERM", running.name)
        chaos.judge(output, running.end(), {0, 143})
        chaos.tally.expect(not (output / ".staging").exists(), "staging is left behind")
        chaos.complete(output)


def recipes_killed(chaos: Chaos) -> None:
    """SIGKILL of recipes, their workers and containers"""
    recipe, home = new_folder(chaos.folder / "recipe"), new_folder(chaos.folder / "recipes")
    (recipe / "recipe.toml").write_text(fuzz.RECIPE + WARNING_STEP)
    (recipe / "steps.py").write_text(STEPS)
    mount = ("-v", f"{recipe}:/recipe:ro")
    of_recipes = replace(
        chaos,
        folder=home,
        options=mount,
        arguments=("--recipe", "/recipe/recipe.toml"),
        tree=lambda output: without_times_of_steps(tree(output)),
    )
    undisturbed(of_recipes)
    said = [name for name, content in of_recipes.reference.items() if b"chaos is near" in content]
    chaos.tally.expect({"summary.csv", ".records/movie.isxd.json", "movie/movie.html"} <= {*said}, f"warned: {said}")
    for number in range(8):
        output = of_recipes.new_output()
        for _ in range(of_recipes.rng.randrange(1, 4)):
            running = of_recipes.start(output)
            of_recipes.a_moment(running)
            with contextlib.suppress(RuntimeError):  # it may be over
                if number % 2:
                    docker("exec", running.name, "python", "-c", KILL_A_WORKER)
                else:
                    docker("kill", running.name)
            of_recipes.tally.codes[running.end().code] += 1
        of_recipes.complete(output)


def killed_after_changes(chaos: Chaos) -> None:
    """SIGKILL after each single change to files"""
    home, program = new_folder(chaos.folder / "changes"), PROJECT / "tests/killed_after.py"
    inputs = new_folder(home / "input")
    inside("sessions", "/made", options=("-v", f"{inputs}:/made"))
    of_changes = replace(
        chaos,
        folder=home,
        inputs=inputs,
        options=("-v", f"{program}:/killed_after.py:ro"),
        arguments=("--nwb", "--workers=1"),
        tree=lambda output: without_zips(tree_with_rooms(output)),
    )

    def killed(change: int, output: Path) -> int:
        command = ("python", "-EsB", "/killed_after.py", str(change), "/output/count", "/app")
        return replace(of_changes, arguments=(*command, *of_changes.arguments)).run(output).code

    undisturbed(of_changes)
    counting = of_changes.new_output()
    chaos.tally.expect(killed(0, counting) == 0, "the run that counts its changes fails")
    for change in range(1, int((counting / "count").read_text()) + 1):
        output = of_changes.new_output()
        code = killed(change, output)
        of_changes.tally.codes[code] += 1
        of_changes.tally.expect(code == 137, f"exit code {code} instead of a sudden end after change {change}")
        late = not (output / "done.marker").exists() or of_changes.tree(output) == of_changes.reference
        of_changes.tally.expect(late, f"a sentinel of what is not complete, after change {change}")
        of_changes.complete(output)
        shutil.rmtree(output)


def without_zips(files: dict[str, bytes]) -> dict[str, bytes]:
    """A tree with the sizes of NWB files: zlib may write the same values in different bytes."""
    return {name: str(len(content)).encode() if name.endswith(".nwb") else content for name, content in files.items()}


def out_of_memory(chaos: Chaos) -> None:
    """Memory limit too small for a worker"""
    for _ in range(3):
        output = chaos.new_output()
        limit = f"{chaos.rng.randrange(40, 75)}m"
        ended = chaos.run(output, options=("--memory", limit, "--memory-swap", limit))
        chaos.judge(output, ended, {71})
        chaos.tally.expect(
            any("out of memory" in reason for reason in ended.reasons.values()), f"{limit}: no failure names the memory"
        )
        chaos.complete(output)


def disk_full(chaos: Chaos) -> None:
    """Output disk full (a small tmpfs)"""
    whole = sum(len(content) for content in chaos.reference.values())
    for _ in range(4):
        volume, size = f"isx-chaos-{os.getpid()}", chaos.rng.randrange(8, whole // 1024)
        copies = chaos.new_output()
        options = ("--opt", "type=tmpfs", "--opt", "device=tmpfs", "--opt", f"o=size={size}k,mode=1777")
        docker("volume", "create", *options, volume)
        wait = "import time; time.sleep(600)"  # keeps the tmpfs mounted after the run
        holder = docker(
            *("run", "-d", "--user", ME, "-v", f"{volume}:/output", "-v", f"{copies}:/copies"),
            *(measure.IMAGE, "python", "-c", wait),
        )
        try:
            ended = chaos.run(volume)
            copy = "import shutil; shutil.copytree('/output', '/copies/output')"
            docker("exec", holder, "python", "-c", copy)
        finally:
            docker("rm", "--force", holder)
            docker("volume", "rm", volume)
        chaos.judge(copies / "output", ended, {1, 73})
        said = [*ended.reasons.values(), ended.last.get("message", "")]
        chaos.tally.expect(any("space" in text for text in said), f"{size} KB: no failure names the disk: {said}")
        chaos.complete(copies / "output")


def output_read_only(chaos: Chaos) -> None:
    """Output read-only, new and done before"""
    done, new = chaos.new_output(), chaos.new_output()
    chaos.complete(done)
    before = tree(done)
    for output in (done, new):
        ended = chaos.run(output, mode="ro")
        chaos.tally.codes[ended.code] += 1
        chaos.tally.expect(ended.code == 73, f"exit code {ended.code}: {ended.last}")
        chaos.tally.expect("read-only" in ended.last.get("message", ""), f"the message is {ended.last}")
    chaos.tally.expect(tree(done) == before and not any(new.iterdir()), "something was written")
    chaos.complete(new)


def input_errors(chaos: Chaos) -> None:
    """Input: unreadable, cut short or removed during the run"""
    bad = ("forbidden.isxd", "dangling.isxd")
    for _ in range(2):
        inputs, output = chaos.folder / f"input-{chaos.number}", chaos.new_output()
        shutil.copytree(chaos.inputs, inputs)
        (inputs / "folder.isxd").mkdir()  # a folder like any other
        (inputs / "forbidden.isxd").write_bytes((inputs / "movie.isxd").read_bytes())
        (inputs / "forbidden.isxd").chmod(0)
        (inputs / "dangling.isxd").symlink_to("nowhere")
        cut, removed = chaos.rng.sample(sorted(path for path in chaos.inputs.iterdir()), 2)
        running = chaos.start(output, "--workers=1", inputs=inputs)
        running.wait_for("found")
        time.sleep(chaos.rng.uniform(0, chaos.seconds))
        os.truncate(inputs / cut.name, chaos.rng.randrange(cut.stat().st_size))
        (inputs / removed.name).unlink()
        ended = running.end()
        chaos.judge(output, ended, {1})
        chaos.tally.expect(set(bad) <= ended.reasons.keys(), f"not all bad ones reported: {sorted(ended.reasons)}")
        for name in bad:
            (inputs / name).unlink()
        for path in (cut, removed):
            shutil.copy2(path, inputs / path.name)
        chaos.complete(output, inputs=inputs, beside=tuple(name.partition(".")[0] for name in bad))


def clocks(chaos: Chaos) -> None:
    """Time stamps of the future and the past"""
    inputs, output = chaos.folder / "input-clocks", chaos.new_output()
    shutil.copytree(chaos.inputs, inputs)
    files = sorted(inputs.iterdir())
    for number, path in enumerate(files):
        os.utime(path, (chaos.rng.choice((0, 1, 4_102_444_800)) + number,) * 2)
    chaos.tally.codes[chaos.run(output, inputs=inputs).code] += 1
    for stamp in (0, 4_102_444_800):  # as if the clock had been wrong when results were written
        for path in output.rglob("*"):
            os.utime(path, (stamp, stamp))
        ended = chaos.run(output, inputs=inputs)
        chaos.tally.codes[ended.code] += 1
        unchanged = ended.last.get("unchanged")
        chaos.tally.expect((ended.code, unchanged) == (0, len(files)), f"{unchanged} of {len(files)} found done")
    for path in files:
        shutil.copystat(chaos.inputs / path.name, path)
    ended = chaos.complete(output, inputs=inputs)
    chaos.tally.expect(ended.last.get("unchanged") == 0, "recordings with other time stamps were taken for the same")


def damaged_files(chaos: Chaos) -> None:
    """2,000 damaged files beside sound ones (fuzz.py)"""
    fuzzed = fuzz.fuzz(new_folder(chaos.folder / "fuzz"), chaos.rng.randrange(1 << 32), fuzz.VARIANTS, measure.IMAGE)
    fuzz.print_tables(fuzzed)
    chaos.tally.codes += fuzzed.codes
    chaos.tally.failures += fuzzed.failures
    chaos.tally.completed += not fuzzed.failures


def two_at_once(chaos: Chaos) -> None:
    """Two runs on one output; two shards"""
    for _ in range(3):
        output = chaos.new_output()
        first = chaos.start(output)
        first.wait_for("found")
        time.sleep(chaos.rng.uniform(0, chaos.seconds / 4))
        docker("pause", first.name)  # or it is over before the second is there
        other = chaos.start(output).end()
        docker("unpause", first.name)
        one = first.end()
        chaos.tally.codes[other.code] += 1
        chaos.tally.expect(other.code == 75, f"the second run ends with {other.code}")
        chaos.judge(output, one, {0})
        chaos.complete(output)
    output = chaos.new_output()
    shards = [chaos.start(output, "--shard", f"{number}/2") for number in (1, 2)]
    for shard in shards:
        chaos.tally.codes[shard.end().code] += 1
    chaos.tally.expect(not (output / "done.marker").exists(), "a shard wrote the sentinel of all")
    chaos.judge(output, chaos.run(output, "--gather"), {0})


def engine_restarted(chaos: Chaos) -> None:
    """The engine restarted in the middle (an engine of its own)"""
    if os.environ.get("DOCKER_HOST") != f"unix://{engine.SOCKET}":
        chaos.tally.left_out = "the engine is not this project's own, and a second one is started only beside that"
        return
    image = chaos.folder / "image.tar"
    docker("save", "-o", image, measure.IMAGE)
    with second_engine(chaos.folder / "engine") as restart:
        docker("load", "-i", image)
        image.unlink()
        for hard in (False, True):
            output = chaos.new_output()
            running = chaos.start(output, "--workers=1")
            running.wait_for("found")
            time.sleep(chaos.rng.uniform(0, chaos.seconds / 2))
            restart(hard)
            code = running.process.wait(timeout=SECONDS)  # of the client, which the engine left alone
            state = json.loads(docker("inspect", "--format", "{{json .State}}", running.name))
            while state["Running"]:
                time.sleep(0.1)
                state = json.loads(docker("inspect", "--format", "{{json .State}}", running.name))
            ended = running.end()
            say(f"  {'killed' if hard else 'stopped'}: client {code}, container {state['ExitCode']}")
            ended.code = state["ExitCode"]
            if (output / "done.marker").exists():
                ended.code = 0  # it came to its end before the engine took notice
            chaos.judge(output, ended, {0, 137, 143, 255})
            chaos.complete(output)


@contextlib.contextmanager
def second_engine(home: Path) -> Iterator:
    """Another dockerd from the private engine's programs; yields a function that restarts it.

    It has no network, and a network namespace of its own: told `--bridge none`, dockerd removes the docker0 that it
    finds, which is the first engine's.
    """
    home.mkdir()
    socket, pidfile, log = home / "docker.sock", home / "docker.pid", home / "dockerd.log"
    command = (
        *("unshare", "--net", engine.ROOT / "usr/sbin/dockerd"),
        *("--host", f"unix://{socket}", "--pidfile", pidfile, "--bridge", "none"),
        *("--iptables=false", "--ip6tables=false", "--data-root", home / "data", "--exec-root", home / "exec"),
    )

    def start() -> subprocess.Popen[bytes]:
        daemon = engine.spawn(command, log)
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and daemon.poll() is None:
            with contextlib.suppress(RuntimeError):
                docker("version")
                return daemon
            time.sleep(0.1)
        raise RuntimeError("the second engine does not start:\n" + log.read_text()[-2000:])

    def restart(hard: bool) -> None:
        nonlocal daemon
        daemon.kill() if hard else daemon.terminate()
        daemon.wait(timeout=60)
        pidfile.unlink(missing_ok=True)
        daemon = start()

    before = os.environ["DOCKER_HOST"]
    os.environ["DOCKER_HOST"] = f"unix://{socket}"
    daemon = start()
    try:
        yield restart
    finally:
        for name in docker("ps", "-aq").split():
            docker("rm", "--force", name)
        os.environ["DOCKER_HOST"] = before
        daemon.terminate()
        daemon.wait(timeout=60)
        containerd = home / "exec/containerd/containerd.pid"
        if containerd.exists():
            engine.stop(int(containerd.read_text()))
        mounted = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
        for folder in reversed([place for place in mounted if place.startswith(f"{home}/")]):
            engine.quiet("umount", folder)


SCENARIOS = {
    "container-killed": container_killed,
    "workers-killed": workers_killed,
    "recipes-killed": recipes_killed,
    "killed-after-changes": killed_after_changes,
    "terminated": terminated,
    "memory": out_of_memory,
    "disk-full": disk_full,
    "read-only": output_read_only,
    "input-errors": input_errors,
    "clocks": clocks,
    "damaged": damaged_files,
    "two-at-once": two_at_once,
    "engine-restarted": engine_restarted,
}


# --- all of them ----------------------------------------------------------------------------------------------------


def undisturbed(chaos: Chaos) -> None:
    """The tree that an undisturbed run leaves, and how long it takes."""
    output = chaos.new_output()
    running = chaos.start(output)
    running.wait_for("start")
    started = time.monotonic()
    ended = running.end()
    if ended.code:
        raise RuntimeError(f"an undisturbed run ends with {ended.code}: {ended.last} {ended.reasons}")
    chaos.seconds = time.monotonic() - started
    chaos.reference = chaos.tree(output)


def print_table(tallies: dict[str, Tally]) -> None:
    print(f"\n{'scenario':58} {'runs':>4}  {'exit codes':26} {'completed':>9}  {'failed':>6}")
    for name, tally in tallies.items():
        title = (SCENARIOS[name].__doc__ or name).strip()
        codes = ", ".join(f"{code} × {count}" for code, count in sorted(tally.codes.items()))
        counts = f"{sum(tally.codes.values()):>4}  {codes:26} {tally.completed:>9}  {len(tally.failures):>6}"
        print(f"{title:58} " + (f"left out: {tally.left_out}" if tally.left_out else counts))


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--only", nargs="+", choices=SCENARIOS, default=list(SCENARIOS), metavar="SCENARIO")
    parser.add_argument("--image", help="an image that is there; built anew otherwise")
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    if options.image:
        measure.IMAGE = options.image
    else:
        build("image")
    tallies = {}
    with workspace() as folder:
        inputs = new_folder(folder / "input")
        inside("kinds", "/made", options=("-v", f"{inputs}:/made"))
        base = Chaos(random.Random(), folder, inputs)
        undisturbed(base)
        for name in options.only:
            started = time.monotonic()
            say(f"{name} ...")
            # A generator of its own for each, so that --only changes nothing.
            base.rng, base.tally = random.Random(f"{options.seed} {name}"), Tally()
            SCENARIOS[name](base)
            if name != "clocks":  # time stamps alone must not disturb
                base.tally.expect_disturbance()
            tallies[name] = base.tally
            say(f"  {time.monotonic() - started:.0f} s")
    print_table(tallies)
    return 1 if any(tally.failures for tally in tallies.values()) else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    finally:
        forget_all()
