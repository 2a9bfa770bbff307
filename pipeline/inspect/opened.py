"""A recording that is open: what is read of it is read once, for its results, the page, the record and the NWB file."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.inspect import packets
from pipeline.inspect.acquisition import acquisition
from pipeline.inspect.packets import Channel
from recording import formats
from recording.findings import RecordingInfo
from recording.formats import MovieLayout
from recording.formats.isxb import IsxbHeader
from recording.kinds import KINDS

READ_AS_THEY_ARE = (".isxd", ".isxb")  # isx converts all others


def module_of(kind: str) -> Any:
    """The module of pipeline.inspect that makes the results of a kind."""
    return importlib.import_module(f"pipeline.inspect.{KINDS[kind].module}")


@dataclass
class OpenRecording:
    """One recording. Whatever raises says why it cannot be used: BadRecording, or what isx raises."""

    path: Path
    kind: str
    scratch: Path  # for what isx converts

    @property
    def name(self) -> str:
        return self.path.name

    @cached_property
    def stored(self) -> Path:
        """The file that isx reads: the recording itself, or for `.gpio` and `.imu` what isx converts it to."""
        if self.path.suffix.lower() in READ_AS_THEY_ARE:
            return self.path
        return module_of(self.kind).converted(self.path, self.scratch)

    @cached_property
    def handle(self) -> Any:
        """The recording as isx opens it."""
        return module_of(self.kind).READ(str(self.stored))

    @property
    def source(self) -> Any:
        """What states times and acquisition metadata: isx.Image keeps these in a movie."""
        return self.handle._impl if self.kind == "image" else self.handle

    @cached_property
    def timing(self) -> Any:
        """An isx.Timing."""
        return self.source.timing

    @cached_property
    def info(self) -> RecordingInfo:
        """The findings of the pre-check."""
        return formats.check(self.stored)

    @cached_property
    def footer(self) -> dict[str, Any]:
        """The footer of an `.isxd` file. Nobody may change it."""
        return formats.read_footer(self.stored)

    @cached_property
    def data_size(self) -> int:
        """Bytes before the footer."""
        return formats.data_size(self.stored)

    @cached_property
    def layout(self) -> MovieLayout:
        """Where the frames of an `.isxd` movie or image lie."""
        return formats.movie_layout(self.stored)

    @cached_property
    def camera(self) -> tuple[IsxbHeader, dict[str, Any], dict[str, Any]]:
        """Header, frame metadata and session of an `.isxb` file. Nobody may change them."""
        return formats.read_isxb(self.stored)

    @cached_property
    def packets(self) -> np.ndarray | None:
        """All packets of events, GPIO or IMU as they lie in the file; None of the oldest files, which have none."""
        return packets.stored(self.stored, self.footer, self.data_size)

    @cached_property
    def channels(self) -> list[Channel]:
        """Every channel of events, GPIO or IMU, on the recording's own clock."""
        return packets.channels(self.packets, self.footer, self.stored, self.handle)

    @cached_property
    def _acquired(self) -> tuple[dict[str, Any], list[str]]:
        doubts: list[str] = []
        return acquisition(self.source, self.stored, doubts.append), doubts

    def acquisition(self, warn: Callable[[str], None] = lambda message: None) -> Mapping[str, Any]:
        """What the acquisition software noted, by isx's names; empty if it noted nothing."""
        acquired, doubts = self._acquired
        for doubt in doubts:
            warn(doubt)
        return acquired


@dataclass
class OpenRecordings:
    """Those of one worker, by path, as long as their files are what they were."""

    keeps: bool = False  # whether anybody asks for one again
    _open: dict[Path, tuple[object, OpenRecording]] = field(default_factory=dict)

    def open(self, path: Path, kind: str, scratch: Path) -> OpenRecording:
        if not self.keeps:
            return OpenRecording(path, kind, scratch)
        status = path.stat()
        identity = (kind, status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
        if path not in self._open or self._open[path][0] != identity:
            self._open[path] = identity, OpenRecording(path, kind, scratch)
        return self._open[path][1]
