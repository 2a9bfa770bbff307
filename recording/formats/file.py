"""A recording's file: read at given places, and never waited for."""

from __future__ import annotations

import json
import os
import re
import stat
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path
from typing import Any, NoReturn

from recording.errors import BadRecording
from recording.findings import RecordingInfo

MAX_JSON = 64 << 20
SETTLED_NS = 2_000_000_000
MAX_DEPTH = 100  # the native parser recurses; real footers stay below 20


class Damaged(Exception):
    """Why a recording cannot be used; `opened` adds which one it is."""


class Parsed:
    """The JSON of files that were opened before: a recording is opened for many purposes, and parsed once.

    What is kept is shared: nobody may change it. At most `room` bytes of text are kept, the latest.
    """

    def __init__(self, room: int) -> None:
        self.room = room
        self._kept: OrderedDict[object, tuple[dict[str, Any], int]] = OrderedDict()
        self._n_bytes = 0

    def get(self, key: object) -> dict[str, Any] | None:
        content, _ = self._kept.get(key, (None, 0))
        return content

    def keep(self, key: object, content: dict[str, Any], n_bytes: int) -> None:
        if n_bytes > self.room:
            return
        self._n_bytes += n_bytes - self._kept.get(key, (None, 0))[1]
        self._kept[key] = content, n_bytes
        while self._n_bytes > self.room:
            self._n_bytes -= self._kept.popitem(last=False)[1][1]


PARSED = Parsed(16 << 20)


class File:
    """A regular file, opened for reading at given places."""

    def __init__(self, path: Path, fd: int, status: os.stat_result) -> None:
        self.path, self.fd = path, fd
        self.size, self.mtime_ns = status.st_size, status.st_mtime_ns
        self._identity = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        # One that changed a moment ago may change again within one tick of the clock that stamps it.
        self._is_settled = time.time_ns() - max(status.st_mtime_ns, status.st_ctime_ns) > SETTLED_NS

    def info(self, kind: str, **more: Any) -> RecordingInfo:
        return RecordingInfo(self.path, kind, self.size, self.mtime_ns, **more)

    def read(self, offset: int, n_bytes: int) -> bytes:
        parts = []
        while n_bytes > 0:
            part = os.pread(self.fd, n_bytes, offset)
            if not part:
                raise Damaged("the file became shorter while it was read")
            parts.append(part)
            offset, n_bytes = offset + len(part), n_bytes - len(part)
        return b"".join(parts)

    def chunks(self, start: int, end: int, n_bytes: int = 1 << 20) -> Iterator[bytes]:
        for offset in range(start, end, n_bytes):
            yield self.read(offset, min(n_bytes, end - offset))

    def shallow(self, offset: int, length: int, what: str) -> bytes:
        """JSON, or what may be, that no parser comes to harm by."""
        if length > MAX_JSON:
            raise Damaged(f"its {what} claims {length} bytes, more than any recording needs")
        text = self.read(offset, length)
        if _depth(text) > MAX_DEPTH:
            raise Damaged(f"its {what} is nested more than {MAX_DEPTH} deep, which no recording is")
        return text

    def json(self, offset: int, length: int, what: str, alone: bool = True) -> dict[str, Any]:
        """The object that these bytes are; unless it is `alone`, the one that they begin with. Nobody may change it."""
        key = (self._identity, offset, length, alone)
        known = PARSED.get(key)
        if known is not None:
            return known
        text = self.shallow(offset, length, what).rstrip(b"\0")
        try:
            if alone:
                content = json.loads(text.decode(), parse_constant=_no_constant)
            else:
                decoder = json.JSONDecoder(parse_constant=_no_constant)
                content, _ = decoder.raw_decode(text.decode(errors="replace").lstrip())
        except ValueError as error:
            raise Damaged(f"its {what} is damaged: {error}") from None
        if not isinstance(content, dict):
            raise Damaged(f"its {what} is damaged: not a JSON object")
        if self._is_settled:
            PARSED.keep(key, content, length)
        return content


@contextmanager
def opened(path: str | os.PathLike[str]) -> Iterator[File]:
    """Raises BadRecording if the file cannot be opened, and in place of a Damaged that is raised in the block.

    Only regular files are opened, and never waited for: a FIFO would block, a device could do anything.
    """
    path = Path(path)
    try:
        with _descriptor(path) as fd:
            yield File(path, fd, os.fstat(fd))
    except Damaged as damage:
        raise BadRecording(path, str(damage)) from None


@contextmanager
def _descriptor(path: Path) -> Iterator[int]:
    try:
        _must_be_regular(path.stat())
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise Damaged(f"cannot be opened: {error.strerror}") from None
    except ValueError as error:  # a NUL in the name
        raise Damaged(f"cannot be opened: {error}") from None
    try:
        _must_be_regular(os.fstat(fd))
        yield fd
    finally:
        os.close(fd)


def _must_be_regular(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise Damaged("not a regular file")


_STRINGS = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


def _depth(text: bytes) -> int:
    """How deep JSON is nested, found without recursion."""
    if text.count(b"[") + text.count(b"{") <= MAX_DEPTH:
        return 0
    brackets = _STRINGS.sub(b"", text).translate(None, _NOT_BRACKETS)
    return max(accumulate(1 if bracket in b"[{" else -1 for bracket in brackets), default=0)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
