"""A worker: one job from standard input, results in its staging folder, events on a file descriptor.

With --fork-server [--nwb] FD, a process that forks such workers. The protocol is described in docs/architecture.md.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import tempfile
import time
import traceback
import warnings
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline import fork_server
from pipeline.reasons import reason
from pipeline.when_used import import_when_used
from protocol.job import (
    ANIMAL,
    INSPECT,
    OVERVIEW,
    Advice,
    At,
    Caution,
    Event,
    Failure,
    Job,
    Progress,
    Result,
    event_to_json,
)
from recording.errors import ProcessKilled, TooLittleMemory

if TYPE_CHECKING:
    from pipeline.inspect.context import Context  # imports what a worker needs, which takes a second


def main() -> int:
    import_when_used("pandas")
    if sys.argv[1:2] == ["--fork-server"]:
        _import_what_workers_need(nwb="--nwb" in sys.argv)
        fork_server.serve(int(sys.argv[-1]), lambda events: do_job(replace(_job(), events_fd=events)))
        return 0
    return do_job(_job())


def _job() -> Job:
    return Job.from_json(sys.stdin.read())


def _import_what_workers_need(nwb: bool) -> None:
    """All but isx, and what imports it. Leaves nothing on the output's disk."""
    from open_engine import statistics  # noqa: F401
    from pipeline.inspect import export, figures, metadata, movie_quality, tables, tiff  # noqa: F401
    from pipeline.pages import overview, page  # noqa: F401

    sys.modules["mpl_toolkits.mplot3d"] = None  # type: ignore[assignment]  # no figure has three dimensions
    with tempfile.TemporaryDirectory() as scratch, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Matplotlib misses it
        figures.warm_up(Path(scratch))
        if nwb:
            _keep_caches_in(scratch)
            import pynwb  # noqa: F401 - takes a second
    page.warm_up()
    metadata.software()
    gc.freeze()  # a collection in a worker would copy the pages of all that is imported


def do_job(job: Job) -> int:
    """Do the job and return the exit code."""
    _set_environment(job)
    events = EventStream(job.events_fd)
    try:
        events.send(_run(job, events))
    except ProcessKilled:
        os.kill(os.getpid(), signal.SIGKILL)  # for the supervisor, it is as if this process had been meant
    except Exception as error:
        traceback.print_exc()
        events.send(Failure(reason(error), isinstance(error, (MemoryError, TooLittleMemory))))
        return 1
    return 0


def _set_environment(job: Job) -> None:
    """Set the environment before any library is imported, because each reads it once."""
    os.environ["LC_ALL"] = "C.UTF-8"  # otherwise the library fails on names that are not ASCII
    os.environ["TMPDIR"] = tempfile.tempdir = str(job.scratch)  # Python may have looked already, before a fork
    _keep_caches_in(str(job.scratch))
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_MAX_THREADS"):
        os.environ[name] = str(job.threads)


def _keep_caches_in(folder: str) -> None:
    """pynwb makes a folder for its cache when it is imported, but whoever runs may have no home that is writable."""
    os.environ["XDG_CACHE_HOME"] = folder
    os.environ["PYNWB_NO_CACHE_DIR"] = "1"  # and puts a pickle there, which only its next import would want


def _run(job: Job, events: EventStream) -> Result:
    if job.kind == OVERVIEW:
        from pipeline.pages import overview

        return overview.run(job)
    from pipeline.inspect.context import Context
    from pipeline.inspect.opened import OpenRecordings

    context = Context(
        scratch=job.scratch,
        threads=job.threads,
        options=job.options,
        provenance=dict(job.provenance),
        progress=events.progress,
        warn=lambda message: events.send(Caution(message)),
        advise=lambda message: events.send(Advice(message)),
        at=lambda path: events.send(At(path)),
        recordings=OpenRecordings(keeps=job.session.nwb or job.recipe != INSPECT),
    )
    if job.session.decisions or job.edited:
        from pipeline.inspect import decisions

        context.decisions = decisions.read(job.session.decisions, job.session.name, job.edited, job.results)
    return replace(_carry_out(job, context), rooms=tuple(context.rooms))


def _carry_out(job: Job, context: Context) -> Result:
    if job.kind == ANIMAL:
        from pipeline.animals import stage

        return stage.run(job, context)
    if job.recipe != INSPECT:
        from pipeline.recipe import run as run_recipe

        return run_recipe.run(job, context)
    from pipeline.sessions import inspect

    context.failure = job.failure
    return inspect.run(job, context)


class EventStream:
    """JSON lines to the supervisor."""

    def __init__(self, fd: int) -> None:
        self.fd, self.last_progress = fd, 0.0

    def send(self, event: Event) -> None:
        line = memoryview(event_to_json(event))
        while line:
            line = line[os.write(self.fd, line) :]

    def progress(self, fraction: float) -> None:
        """Send the fraction done, at most ten times a second."""
        now = time.monotonic()
        if now - self.last_progress >= 0.1 or fraction >= 1:
            self.last_progress = now
            self.send(Progress(round(min(max(fraction, 0.0), 1.0), 4)))


if __name__ == "__main__":
    sys.exit(main())
