"""How far a run is, for Prometheus: a file in its text format, which node exporter's textfile collector reads.

It follows the log, so that both say the same. Each shard has a file of its own, told apart by a label.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from typing import Any

from runner.events import Log
from runner.output_folder import Folder
from runner.own import LOGS
from runner.shards import Shard

EVERY = 10.0  # seconds between two versions of the file
MEANING = {  # by name without the prefix `isx_`: what a value is; all are gauges
    "start_time_seconds": "When the run started, seconds since 1970",
    "updated_time_seconds": "When this file was written, seconds since 1970",
    "recordings": "Recordings that this run or shard processes",
    "recordings_failed": "Of these, those that have failed so far",
    "tasks": "Sessions, or parts of them, that no earlier run has finished",
    "tasks_done": "Of these, those that have ended, whether done or failed",
    "work_ratio": "Fraction of these that is done, by bytes of recordings, from 0 to 1",
    "shards": "Shards that a gather step looked for",
    "shards_missing": "Of these, those that are not done",
    "ended": "1 if the run has ended, else 0",
    "exit_code": "Its exit code, once it has ended",
}


class Metrics:
    """A follower of the log that keeps the file."""

    def __init__(self, output: Folder, shard: Shard | None, log: Log) -> None:
        self.output, self.log = output, log
        self.name = f"{LOGS}/isx{f'.{shard.name}' if shard else ''}.prom"
        self.labels = {"run": log.run, "host": log.host, "shard": str(shard or "1/1")}
        self.values: dict[str, float] = {"start_time_seconds": time.time(), "recordings_failed": 0, "ended": 0}
        self.written = float("-inf")
        self._write()

    def __call__(self, event: str, facts: Mapping[str, Any]) -> None:
        if event == "found":
            self.values["recordings"] = facts["selected"]
        elif event == "recording-failed":
            self.values["recordings_failed"] += 1
        elif event == "progress":
            self.values |= {"tasks": facts["total"], "tasks_done": facts["done"], "work_ratio": facts["fraction"]}
        elif event == "end":
            self._end(facts)
        if event in ("found", "end") or time.monotonic() - self.written >= EVERY:
            self._write()

    def _end(self, facts: Mapping[str, Any]) -> None:
        """What the log's last line says counts: failed folders are among the failures."""
        self.values |= {"ended": 1, "exit_code": facts["code"]}
        for name, fact in (("recordings", "recordings"), ("recordings_failed", "failed")):
            if fact in facts:
                self.values[name] = facts[fact]
        if "shards" in facts:
            self.values |= {"shards": facts["shards"], "shards_missing": len(facts.get("missing", ()))}

    def _write(self) -> None:
        """Replace the whole file, or nothing. A full disk is no reason to stop here; the run reports it itself."""
        self.written = time.monotonic()
        self.values["updated_time_seconds"] = time.time()
        with contextlib.suppress(OSError):
            self.output.write(self.name, text(self.values, self.labels).encode())


def text(values: Mapping[str, float], labels: Mapping[str, str]) -> str:
    told = ",".join(f'{name}="{_quoted(value)}"' for name, value in labels.items())
    lines = []
    for name in (name for name in MEANING if name in values):
        lines += [f"# HELP isx_{name} {MEANING[name]}", f"# TYPE isx_{name} gauge"]
        lines.append(f"isx_{name}{{{told}}} {round(values[name], 4):.15g}")
    return "\n".join(lines) + "\n"


def _quoted(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
