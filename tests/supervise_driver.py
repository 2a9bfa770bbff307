"""Supervises stand-in workers, which misbehave as no real one can be made to; prints how each ended.

Usage: supervise_driver.py FOLDER JOBS fork|new, with JOBS a JSON list of {"code": ..., and fields of Task}. A process
of its own, because PID 1 never has isx imported, and a test process may.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

from protocol.job import INSPECT, Job, Options
from runner.output_folder import hold
from runner.signals import Signals
from runner.workers import supervise
from runner.workers.processes import ForkServer
from runner.workers.supervise import Supervisor, Task

WORKER = "import json, os, sys; job = json.load(sys.stdin); exec(job['provenance']['code'])"
FORK_SERVER = """
import json, os, sys
from pipeline import fork_server

def work(events):
    job = json.load(sys.stdin) | {"events_fd": events}
    try:
        exec(job["provenance"]["code"], {"job": job, "json": json, "os": os, "sys": sys})
    except SystemExit as end:
        return end.code
    return 0

fork_server.serve(int(sys.argv[1]), work)
"""


def main() -> None:
    folder, specs = Path(sys.argv[1]), json.loads(sys.argv[2])
    verdicts, beats = {}, []
    supervise.EVERY = 0.5  # seconds between two looks: tests do not wait for long
    server = None
    if sys.argv[3] == "fork":
        server = ForkServer((sys.executable, "-c", FORK_SERVER), folder / "fork-server")

    def tasks():
        for number, spec in enumerate(specs):
            scratch = folder / str(number)
            scratch.mkdir()
            yield Task(
                name=str(number),
                job=Job((), "", "", scratch, scratch, INSPECT, Options(), {"code": spec["code"]}),
                log=hold(folder).create(f"logs/{number}.log"),
                address_space=spec.get("address_space"),
                time_limit=spec.get("time_limit"),
                idle_limit=spec.get("idle_limit"),
                weight=100,
                may_fork=spec.get("may_fork", True),
            )

    command = (sys.executable, "-c", WORKER)
    Supervisor(slots=2, cores=4, signals=Signals(), command=command, fork_server=server).work_through(
        tasks(),
        len(specs),
        on_verdict=lambda task, verdict: verdicts.__setitem__(task.name, _flat(asdict(verdict))),
        on_beat=lambda n_done, weight: beats.append((n_done, weight)),
    )
    if server:
        server.stop()
    print(json.dumps({"verdicts": [verdicts[str(number)] for number in range(len(specs))], "beats": beats}))


def _flat(verdict: dict) -> dict:
    return {**verdict, **verdict.pop("result")}


if __name__ == "__main__":
    main()
