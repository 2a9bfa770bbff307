"""Before the work: is there room for workers, and can isx be loaded?"""

from __future__ import annotations

import platform
from pathlib import Path

from native import elf, loading
from runner import machine
from runner.endings import NoApi, UsageError
from runner.events import Log


def refuse_too_few_processes(workers: int, root: Path = Path("/")) -> None:
    """A worker that cannot have a thread of its own waits for it for ever. Raises UsageError."""
    limit, needed = machine.process_limit(root), machine.processes_needed(workers, machine.cores(root))
    if limit and limit < needed:
        raise UsageError(
            f"only {limit} processes and threads are allowed here, and up to {needed} are needed: "
            "raise --pids-limit (of docker run) or the limit of the pod, or lower WORKERS"
        )


def refuse_too_few_files(workers: int) -> None:
    """Raises UsageError."""
    limit, needed = machine.raise_file_limit(), machine.files_needed(workers)
    if limit < needed:
        raise UsageError(
            f"only {limit} open files are allowed here, and up to {needed} are needed: raise the limit "
            "(ulimit -n, or --ulimit nofile of docker run), or lower WORKERS"
        )


def report_preflight(api: loading.Api, probe: loading.Probe, log: Log) -> None:
    """Log the contents of the image. Raises NoApi if isx cannot be loaded."""
    if probe.error:
        raise NoApi(loading.diagnosis(api, probe.error))
    log(
        "preflight",
        f"{api}, {'with' if probe.with_algorithms else 'without'} the licensed algorithms; "
        f"Python {platform.python_version()}; glibc {elf.system_glibc()}",
        isx=api.facts,
        algorithms=probe.with_algorithms,
        python=platform.python_version(),
        glibc=elf.system_glibc(),
        dependencies=loading.dependencies(),
        examples=loading.example_scripts(api),
    )
