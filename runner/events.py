"""One event a line on standard error: text for people, JSON for machines."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence

from common.text import duration, printable

FORMATS = ("text", "json")
BAR_WIDTH = 30
MANY = 20  # names in a message
PROGRESS_EVERY = 10.0  # seconds between progress lines, if there is no terminal for a bar


def counted(number: int, noun: str) -> str:
    """1 recording, 2 recordings."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def new_run() -> str:
    """Draws a name for a run that has none."""
    return os.urandom(4).hex()


def listed(names: Sequence[object]) -> str:
    more = f" and {len(names) - MANY} more" if len(names) > MANY else ""
    return ", ".join(map(str, names[:MANY])) + more


class Log:
    """Writes events; on a terminal it also keeps a progress bar on the last line.

    Lines that others may gather from many machines say which run on which host wrote them: all but text on a terminal.
    """

    def __init__(self, format: str | None = None, fd: int = 2, run: str = "") -> None:
        self.fd = fd
        self.run, self.host = run or new_run(), os.uname().nodename
        self.on_terminal = os.isatty(fd)
        self.format = format or ("text" if self.on_terminal else "json")
        self.followers: list[Callable[[str, Mapping[str, object]], None]] = []  # get each event and its fields
        self._bar_drawn = False
        self._last_progress = time.monotonic()

    def __call__(self, event: str, message: str, level: str = "info", **fields: object) -> None:
        self._write_line(event, message, level, fields)
        self._tell(event, fields)

    def _tell(self, event: str, fields: Mapping[str, object]) -> None:
        for follower in self.followers:
            follower(event, fields)

    def _write_line(self, event: str, message: str, level: str, fields: Mapping[str, object]) -> None:
        now = time.time()
        if self.format == "json":
            stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now % 1 * 1000):03d}Z"
            origin = {"run": self.run, "host": self.host}
            record = {"time": stamp, "level": level, "event": event, "message": message, **origin, **fields}
            line = json.dumps(record, default=str)  # ASCII: survives any locale and any file name
        else:
            mark = "" if level == "info" else f"{level}: "
            origin = "" if self.on_terminal else f"{printable(self.host)} {self.run} "
            line = f"{time.strftime('%H:%M:%S', time.localtime(now))} {origin}{mark}{printable(message)}"
        self._write(("\r\x1b[K" if self._bar_drawn else "") + line + "\n")
        self._bar_drawn = False

    def progress(self, fraction: float, done: int, total: int, seconds_left: float | None) -> None:
        """Draw the bar, or now and then write a line."""
        left = "" if seconds_left is None else f", {duration(seconds_left)} left"
        rounded = None if seconds_left is None else round(seconds_left)
        facts = {"done": done, "total": total, "fraction": round(fraction, 4), "seconds_left": rounded}
        self._tell("progress", facts)
        if self.on_terminal and self.format == "text":
            filled = round(fraction * BAR_WIDTH)
            self._write(f"\r\x1b[K[{'#' * filled}{' ' * (BAR_WIDTH - filled)}] {done} of {total}{left}")
            self._bar_drawn = True
        elif time.monotonic() - self._last_progress >= PROGRESS_EVERY:
            self._last_progress = time.monotonic()
            self._write_line("progress", f"{done} of {total} ({fraction:.0%}){left}", "info", facts)

    def _write(self, text: str) -> None:
        with contextlib.suppress(OSError):  # nobody listens any more: no reason to stop the work
            os.write(self.fd, text.encode("utf-8", "backslashreplace"))
