"""Adapts recording after recording in one process, for tests; stops where one ends the process.

Usage: python inspect_all.py OUT SECONDS RECORDING... ; one line of JSON a recording: name, and reason or null.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
from pathlib import Path

os.environ["LC_ALL"] = "C.UTF-8"

from pipeline.inspect.results import Context, write_results
from pipeline.reasons import reason
from recording import formats

resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
report = os.fdopen(os.dup(1), "w", buffering=1)
os.dup2(2, 1)  # the library writes to standard output
out, seconds = Path(sys.argv[1]), int(sys.argv[2])
for path in map(Path, sys.argv[3:]):
    results, scratch = out / path.name, out / "scratch"
    for folder in (results, scratch):
        folder.mkdir(parents=True, exist_ok=True)
    signal.alarm(seconds)  # ends the process: a library that hangs cannot be interrupted otherwise
    try:
        write_results(path, formats.check(path).kind, "x", results, Context(scratch))
        told = None
    except Exception as error:
        told = reason(error)
    signal.alarm(0)
    print(json.dumps({"name": path.name, "reason": told}), file=report)
