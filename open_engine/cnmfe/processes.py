"""Patches are worked on by this process and by others.

Most of NumPy's calls are short here, so that threads would wait for the interpreter's lock a third of the time. The
movies of patches lie in memory that all of these processes map; what they find comes back through pipes.
"""

from __future__ import annotations

import mmap
import os
import pickle
import queue
import resource
import subprocess
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field

import numpy as np

from open_engine import other_process
from open_engine.cnmfe import patches
from open_engine.cnmfe.extraction import Extracted, Settings
from open_engine.cnmfe.patches import Tile

PROCESS_BYTES = 128 << 20  # of patches; with less, another process does not pay
LIBRARIES = 600 << 20  # bytes of address space that another process takes for them


@dataclass(frozen=True)
class Work:
    """What is to be done with each patch of a movie."""

    settings: Settings
    shape: tuple[int, int]  # of the field
    n_frames: int

    def cells(self, movie: np.ndarray, tile: Tile) -> Extracted:
        return patches.cells_of(movie, tile, self.shape, self.settings)

    def floats(self, tile: Tile) -> int:
        return tile.shape[0] * tile.shape[1] * self.n_frames


@dataclass
class Room:
    """Memory for the movies of some patches, one after another, which other processes can map."""

    fd: int
    size: int  # bytes for each
    memory: mmap.mmap

    @classmethod
    @contextmanager
    def of(cls, n: int, size: int) -> Iterator[Room]:
        size += -size % mmap.ALLOCATIONGRANULARITY
        fd = os.memfd_create("patches")  # unlike /dev/shm, it is as large as memory
        try:
            os.ftruncate(fd, n * size)
            yield cls(fd, size, mmap.mmap(fd, n * size))
        finally:
            os.close(fd)

    def movies(self, tiles: Sequence[Tile], n_frames: int) -> list[np.ndarray]:
        """One for each patch, (rows, columns, frames) float32, not filled."""
        return [_movie(self.memory, i * self.size, tile, n_frames) for i, tile in enumerate(tiles)]


def _movie(memory: mmap.mmap, offset: int, tile: Tile, n_frames: int) -> np.ndarray:
    count = tile.shape[0] * tile.shape[1] * n_frames
    return np.frombuffer(memory, np.float32, count, offset).reshape(*tile.shape, n_frames)


@dataclass
class Team:
    """This process and others; whoever is free takes the next patch."""

    work: Work
    room: Room | None
    free: queue.SimpleQueue[subprocess.Popen[bytes] | None] = field(default_factory=queue.SimpleQueue)

    def movies(self, tiles: Sequence[Tile]) -> list[np.ndarray]:
        """Where the movies of these patches are to lie."""
        if self.room:
            return self.room.movies(tiles, self.work.n_frames)
        return [np.empty((*tile.shape, self.work.n_frames), np.float32) for tile in tiles]

    def cells(self, number: int, tile: Tile, movie: np.ndarray) -> Extracted:
        """The cells of the patch that lies there with this number. Raises what extraction raises."""
        member = self.free.get()
        try:
            if member is None:
                return self.work.cells(movie, tile)
            return _asked(member, (self.work, number * self.room.size, tile))
        finally:
            self.free.put(member)


@contextmanager
def team(work: Work, tiles: Sequence[Tile], at_once: int, members: int, share: float) -> Iterator[Team]:
    """So many members, each in a process of its own where that pays and the system allows it.

    `at_once` patches are read at a time; `share` is the memory, bytes, that each member may use to work on one.
    """
    size = 4 * max(map(work.floats, tiles))
    others = min(members - 1, 4 * sum(map(work.floats, tiles)) // PROCESS_BYTES)
    if share < LIBRARIES + work.settings.working_copies * size:
        others = 0
    made, started = Team(work, None), []
    with ExitStack() as stack:
        if others > 0:
            made.room = stack.enter_context(Room.of(min(at_once, len(tiles)), size))
            limit = stack.enter_context(_less_memory(others, int(share)))
            stack.callback(_end, started)
            with suppress(OSError):  # no room for another process: threads do
                for _ in range(others):
                    started.append(other_process.start(serve, made.room.fd, limit, fds=[made.room.fd]))
        for member in [*started, *[None] * (members - len(started))]:
            made.free.put(member)
        yield made


@contextmanager
def _less_memory(others: int, share: int) -> Iterator[int]:
    """Take the others' shares off this process's limit of address space, so that it holds for all of them together.

    Gives the limit for each of them, 0 if there is none.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    if soft == resource.RLIM_INFINITY:
        yield 0
        return
    resource.setrlimit(resource.RLIMIT_AS, (soft - others * share, hard))
    try:
        yield share
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _asked(member: subprocess.Popen[bytes], job: tuple[Work, int, Tile]) -> Extracted:
    try:
        pickle.dump(job, member.stdin)
        member.stdin.flush()
        answer = pickle.load(member.stdout)
    except (EOFError, OSError, ValueError, pickle.UnpicklingError):
        raise other_process.failure(member.wait(), "run_cnmfe") from None
    if isinstance(answer, Exception):
        raise answer
    return answer


def _end(members: list[subprocess.Popen[bytes]]) -> None:
    for member in members:
        member.kill()
    for member in members:
        member.wait()
        member.stdout.close()
        with suppress(OSError):  # what it did not read
            member.stdin.close()


def serve(fd: int, limit: int) -> None:
    """Run in another process: work on one patch after another."""
    if limit:
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    jobs, answers = sys.stdin.buffer, other_process.answers()
    while True:
        try:
            job: tuple[Work, int, Tile] = pickle.load(jobs)
        except EOFError:
            return
        pickle.dump(_answer(fd, *job), answers)
        answers.flush()


def _answer(fd: int, work: Work, offset: int, tile: Tile) -> Extracted | Exception:
    try:
        memory = mmap.mmap(fd, 4 * work.floats(tile), offset=offset)
        return work.cells(_movie(memory, 0, tile, work.n_frames), tile)
    except MemoryError as error:
        return MemoryError(str(error))
    except Exception as error:
        traceback.print_exc()  # to the log: the parent raises the error without it
        return error
