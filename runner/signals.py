"""SIGTERM and SIGINT: a run ends at the next step, not wherever it happens to be."""

from __future__ import annotations

import contextlib
import os
import signal


class Stopped(BaseException):
    """The run was told to end. Not an Exception: nothing that handles failures may swallow it."""

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.signum = signum


class Signals:
    """SIGTERM and SIGINT as a flag that is looked at between steps; any signal wakes the supervisor's select."""

    def __init__(self) -> None:
        self.received = 0
        self.wakeup, writer = os.pipe()
        for fd in (self.wakeup, writer):
            os.set_blocking(fd, False)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        for signum in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signum, self._stop)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def check(self) -> None:
        """Raises Stopped."""
        if self.received:
            raise Stopped(self.received)

    def drain(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while os.read(self.wakeup, 4096):
                pass

    def _stop(self, signum: int, _: object) -> None:
        self.received = self.received or signum
