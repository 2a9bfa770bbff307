"""A Slurm with two nodes on this host, each with one core, that leaves no process behind.

Everything runs in a process namespace of its own, daemons and jobs alike. Its first process dies with the process that
started it, and the kernel then ends all the others: whatever happens, nothing stays.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "docker_engine"))

import cluster

NOBODY = 65534
NODES = ("n1", "n2")
MEMORY = 5000  # MiB a node, whatever the host has
CGROUPS = Path("/sys/fs/cgroup")
CGROUP_CONF = "CgroupPlugin=cgroup/v1\nCgroupAutomount=no\nConstrainRAMSpace=yes\nConstrainSwapSpace=no\n"
REAPER = "import os, time\nwhile True:\n try: os.wait()\n except ChildProcessError: time.sleep(0.2)"
ENDED = {"COMPLETED", "FAILED", "CANCELLED", "OUT_OF_MEMORY", "TIMEOUT", "NODE_FAIL", "DEADLINE"}


def has_memory_limits() -> bool:
    """Slurm's memory limits need control groups; version 2 would need systemd as well."""
    return (CGROUPS / "memory/tasks").exists()


def cores() -> list[int]:
    """A core for each node; on a machine with one they share it."""
    available = sorted(os.sched_getaffinity(0))
    return [available[number % len(available)] for number in range(len(NODES))]


@contextlib.contextmanager
def fuse_for_all() -> Iterator[None]:
    """Apptainer mounts images as whoever calls it: distributions open this device to all, bare machines may not."""
    device = Path("/dev/fuse")
    if not device.exists():
        yield
        return
    mode = stat.S_IMODE(device.stat().st_mode)
    device.chmod(0o666)
    try:
        yield
    finally:
        device.chmod(mode)


@dataclass
class Slurm:
    """A running cluster; `folder` holds its configuration, state and logs."""

    folder: Path
    port: int = 26817  # and the two after it
    init: subprocess.Popen[bytes] | None = None
    daemons: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    # --- start and stop

    def start(self) -> None:
        self.configure()
        command = ["setpriv", "--pdeathsig", "KILL", "unshare", "--pid", "--fork", "--mount-proc", "--kill-child=KILL"]
        self.init = subprocess.Popen([*command, sys.executable, "-c", REAPER], stdin=subprocess.DEVNULL)
        wait_for("the process namespace", lambda: self.inside() is not None)
        sbin = cluster.ROOT / "usr/sbin"
        munge = self.folder / "munge"
        places = [f"--socket={munge}/socket", f"--key-file={munge}/key", f"--pid-file={munge}/pid"]
        places += [f"--log-file={munge}/log", f"--seed-file={munge}/seed"]
        self.run_daemon("munged", sbin / "munged", "--foreground", "--force", *places)
        wait_for("munged", (munge / "socket").exists)
        self.run_daemon("slurmctld", sbin / "slurmctld", "-D")
        for node in NODES:
            self.start_node(node)
        wait_for("both nodes", lambda: self.command("sinfo", "--noheader", "--format=%T %D").strip() == "idle 2")

    def stop(self) -> None:
        """Idempotent."""
        if self.init:
            self.init.kill()  # unshare; the kernel then ends the namespace
            self.init.wait()
            for daemon in self.daemons.values():
                daemon.wait()
        remove_cgroups()

    def inside(self) -> int | None:
        """The first process of the namespace, as its number is outside."""
        return next(iter(children(self.init.pid)), None)

    def run_daemon(self, name: str, *command: object) -> None:
        enter = ["nsenter", f"--target={self.inside()}", "--pid", "--mount", "--", *map(str, command)]
        with (self.folder / f"{name}.out").open("ab") as log:
            self.daemons[name] = subprocess.Popen(
                enter, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.environment()
            )

    def start_node(self, node: str) -> None:
        core = cores()[NODES.index(node)]
        sbin = cluster.ROOT / "usr/sbin"
        slurmd = (sbin / "slurmd", "-D", "-N", node, "-d", sbin / "slurmstepd")
        self.run_daemon(node, "taskset", "--cpu-list", core, *slurmd)

    def lose_node(self, node: str) -> None:
        """As when a machine loses power: its slurmd and all that its jobs are."""
        enter = self.daemons.pop(node)
        doomed = [enter.pid, *descendants(enter.pid), *self.tasks_of(node)]
        for pid in doomed:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        enter.wait()

    def tasks_of(self, node: str) -> list[int]:
        """The processes of a node's jobs, as they are numbered outside; those that would report first."""

        def is_there(pid: int) -> bool:
            return environ(pid).get(b"SLURMD_NODENAME") == node.encode()

        # slurmstepd itself does not say where it is; what it starts does.
        return [pid for pid in descendants(self.inside()) if is_there(pid) or any(map(is_there, children(pid)))]

    def configure(self) -> None:
        (self.folder / "munge").mkdir(parents=True)
        (self.folder / "munge").chmod(0o755)
        key = self.folder / "munge/key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o600)
        limits = has_memory_limits()
        (self.folder / "slurm.conf").write_text(self.slurm_conf(limits))
        (self.folder / "cgroup.conf").write_text(CGROUP_CONF if limits else "")

    def slurm_conf(self, limits: bool) -> str:
        nodes = "".join(
            f"NodeName={node} NodeHostname={os.uname().nodename} NodeAddr=127.0.0.1 Port={self.port + 1 + number} "
            f"CPUs=1 RealMemory={MEMORY}\n"
            for number, node in enumerate(NODES)
        )
        folder = self.folder
        return f"""\
ClusterName=test
SlurmctldHost={os.uname().nodename}(127.0.0.1)
SlurmctldPort={self.port}
SlurmUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge/socket,cred_expire=20
PluginDir={cluster.ROOT / cluster.LIBRARIES}/slurm-wlm
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.%n.log
ProctrackType=proctrack/{"cgroup" if limits else "linuxproc"}
TaskPlugin=task/{"cgroup" if limits else "none"}
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SlurmdParameters=config_overrides
ReturnToService=2
SlurmdTimeout=15
KillWait=10
MinJobAge=3600
MpiDefault=none
SwitchType=switch/none
SchedulerParameters=batch_sched_delay=0,sched_interval=5
{nodes}PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""

    # --- jobs, as a plain user has them

    def environment(self) -> dict[str, str]:
        paths = [os.environ.get("PATH", os.defpath), *map(str, cluster.PATHS)]
        return {
            "PATH": ":".join(paths),
            "SLURM_CONF": str(self.folder / "slurm.conf"),
            "LANG": "C.UTF-8",
            "HOME": "/nonexistent",
            "USER": "nobody",
            "TMPDIR": str(self.folder.parent / "tmp"),
            "XDG_STATE_HOME": str(self.folder.parent / "state"),
        }

    def as_user(self, *command: object) -> subprocess.CompletedProcess[str]:
        words = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", *map(str, command)]
        return subprocess.run(
            words,
            check=False,
            capture_output=True,
            text=True,
            env=self.environment(),
            cwd="/",
            timeout=120,
            stdin=subprocess.DEVNULL,
        )

    def command(self, *command: object) -> str:
        done = self.as_user(*command)
        return done.stdout if done.returncode == 0 else ""

    def jobs(self, job: str) -> dict[str, dict[str, str]]:
        """What Slurm knows of a job, or of each task of an array by its index; "" is a job that is none."""
        tasks = {}
        for line in self.command("scontrol", "--oneliner", "show", "job", job).splitlines():
            facts = dict(word.partition("=")[::2] for word in line.split())
            for index in indices(facts.get("ArrayTaskId", "")):
                tasks[index] = facts
        return tasks

    def states(self, job: str) -> dict[str, str]:
        return {index: facts["JobState"] for index, facts in self.jobs(job).items()}

    def wait(self, job: str, seconds: float = 120) -> dict[str, str]:
        """The states of a job, or of each task of an array, when all have ended."""

        def all_ended() -> bool:
            states = self.states(job).values()
            return bool(states) and set(states) <= ENDED

        wait_for(f"job {job}", all_ended, seconds, lambda: f"{self.states(job)}\n{self.command('squeue')}")
        return self.states(job)


def indices(text: str) -> Iterator[str]:
    """The tasks of an array that one line speaks for: "" for no array, 1-3,7 or 1-3%2."""
    if not text:
        yield ""
    for part in re.sub(r"%.*", "", text).split(",") if text else ():
        first, _, last = part.partition("-")
        yield from map(str, range(int(first), int(last or first) + 1))


def wait_for(
    what: str, holds: Callable[[], bool], seconds: float = 30, explain: Callable[[], object] = lambda: ""
) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {seconds} s. {explain()}")
        time.sleep(0.1)


def children(pid: int) -> list[int]:
    pids = []
    for tasks in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            pids += map(int, tasks.read_text().split())
    return pids


def descendants(pid: int) -> list[int]:
    """Parents before their children."""
    pids = children(pid)
    for child in pids[:]:
        pids += descendants(child)
    return pids


def environ(pid: int) -> Mapping[bytes, bytes]:
    with contextlib.suppress(OSError):
        words = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        return dict(word.partition(b"=")[::2] for word in words)
    return {}


def remove_cgroups() -> None:
    """The empty control groups that slurmd leaves; those of a Slurm that runs are not empty and stay."""
    for top in CGROUPS.glob("*/slurm*_n[12]"):
        for folder, _, _ in os.walk(top, topdown=False):
            with contextlib.suppress(OSError):
                Path(folder).rmdir()
