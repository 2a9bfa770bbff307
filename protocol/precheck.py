"""The pre-check as a process of its own: a path a line in, what was found a line out, both JSON in ASCII.

PID 1 talks to it through runner/precheck.py, so that nothing of a recording is read or parsed in PID 1.
"""

from __future__ import annotations

import gc
import json
import sys
from pathlib import Path

from protocol.findings import TOO_MUCH_MEMORY
from protocol.message import to_json
from recording.errors import BadRecording
from recording.formats import check, file

MAX_REASON = 500  # characters


def main() -> None:
    file.PARSED.room = 0  # each recording is opened once, and memory is short
    gc.disable()  # JSON holds no circles, and looking for them among millions of objects takes most of the time
    for line in sys.stdin.buffer:
        path = Path(json.loads(line))
        try:
            answer = check(path).facts
        except BadRecording as error:
            answer = {"reason": error.reason[:MAX_REASON]}
        except MemoryError:
            answer = {"reason": TOO_MUCH_MEMORY}
        sys.stdout.buffer.write(to_json(answer) + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
