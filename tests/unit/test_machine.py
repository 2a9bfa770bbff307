"""What the machine allows, as /proc and /sys tell: cores, memory, processes, workers."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from runner import machine
from runner.endings import UsageError
from runner.preflight import refuse_too_few_processes

HOST = len(os.sched_getaffinity(0))


def fake_root(tmp_path: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    return tmp_path


V2 = {"proc/self/cgroup": "0::/\n"}
V1 = {"proc/self/cgroup": "5:memory:/docker/x\n3:cpu,cpuacct:/docker/x\n0::/system.slice\n"}


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({}, HOST),
        ({**V2, "sys/fs/cgroup/cpu.max": "max 100000\n"}, HOST),
        ({**V2, "sys/fs/cgroup/cpu.max": "100000 100000\n"}, 1),
        ({**V2, "sys/fs/cgroup/cpu.max": "20000 100000\n"}, 1),
        ({**V2, "sys/fs/cgroup/cpu.max": "9900000 100000\n"}, HOST),
        (
            {"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/cpu.max": "50000 100000\n", "sys/fs/cgroup/a/b/x": ""},
            1,
        ),
        (
            {
                **V1,
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "9",
            },
            HOST,
        ),
        (
            {**V1, "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "100000\n", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n"},
            1,
        ),
    ],
)
def test_cores(tmp_path, files, cores):
    assert machine.cores(fake_root(tmp_path, files)) == cores


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        ({**V2, "sys/fs/cgroup/memory.max": "536870912\n"}, 512 << 20),
        ({**V1, "sys/fs/cgroup/memory/memory.limit_in_bytes": "536870912\n"}, 512 << 20),
        ({**V1, "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n"}, None),
        ({**V2, "sys/fs/cgroup/memory.max": "max\n"}, None),
        ({}, None),
    ],
)
def test_memory_limit(tmp_path, files, limit):
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert machine.memory_limit(fake_root(tmp_path, files)) == (limit or physical)


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        ({**V2, "sys/fs/cgroup/pids.max": "5\n"}, 5),
        ({**V2, "sys/fs/cgroup/pids.max": "max\n"}, None),
        ({"proc/self/cgroup": "7:pids:/docker/x\n", "sys/fs/cgroup/pids/pids.max": "12\n"}, 12),
        ({}, None),
    ],
)
def test_process_limit(tmp_path, files, limit):
    assert machine.process_limit(fake_root(tmp_path, files)) == limit


def test_too_few_processes_are_refused_at_once(tmp_path):
    root = fake_root(tmp_path, {**V2, "sys/fs/cgroup/pids.max": "5\n", "sys/fs/cgroup/cpu.max": "100000 100000\n"})
    with pytest.raises(UsageError, match="only 5 processes and threads are allowed here, and up to 12 are needed"):
        refuse_too_few_processes(1, root)
    (root / "sys/fs/cgroup/pids.max").write_text("15\n")
    refuse_too_few_processes(1, root)
    refuse_too_few_processes(2, root)
    with pytest.raises(UsageError):
        refuse_too_few_processes(3, root)


def test_oom_kills_are_counted(tmp_path):
    root = fake_root(tmp_path, {**V2, "sys/fs/cgroup/memory.events": "low 0\noom 3\noom_kill 2\noom_group_kill 9\n"})
    assert machine.oom_kills(root) == 2


@pytest.mark.parametrize(
    ("cores", "memory", "workers"), [(8, 512 << 20, 1), (8, 64 << 30, 8), (1, 1, 1), (4, 1 << 30, 2)]
)
def test_workers(cores, memory, workers):
    assert machine.workers(cores, memory) == workers
