"""The output as others may have left it, and as they may change it while a run writes to it.

Whoever can write to the output may put anything there at any moment: a link to somebody's data in the place of a
folder, a FIFO in that of a log. A folder is therefore opened once, and all below it is reached from its descriptor:
part by part, never through a link, never waited for, never read whole.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

MAX_READ = 4 << 20  # bytes of a record, a sentinel or a table of measures; they need thousands
TO_PASS = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC  # needs no right to list a folder
EVERYBODY, ONLY_MINE = 0o777, 0o700  # of new folders, before the umask


@dataclass(frozen=True)
class Folder:
    """A folder that is held open. Names below it are relative, with `/` between their parts.

    Every method raises an OSError that names the whole path: that of a link, if one is part of it.
    """

    path: Path  # as the caller named it, for messages
    fd: int

    def __enter__(self) -> Folder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        os.close(self.fd)

    @property
    def anywhere(self) -> Path:
        """A path by which every process of this user reaches this very folder, whatever becomes of its name."""
        try:  # not os.getpid(): /proc may be that of another namespace
            path = Path(f"/proc/{os.readlink('/proc/self')}/fd/{self.fd}")  # noqa: PTH115
            if os.path.samestat(path.stat(), os.fstat(self.fd)):
                return path
        except OSError:
            pass
        return self.path.absolute()

    # ---- folders

    def folder(self, relative: str, make: int | None = None) -> Folder:
        """One below, to be closed by the caller. What is missing is made, with these rights, if there are any."""
        here = Folder(self.path, os.dup(self.fd))
        for part in relative.split("/") if relative else ():
            with here:
                here = here._enter(part, make)
        return here

    def _enter(self, part: str, make: int | None) -> Folder:
        path = self.path / part
        with _naming(path):
            if part in ("", ".", ".."):
                raise OSError(errno.EINVAL, "it leads out of the output")
            if make is not None:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(part, make, dir_fd=self.fd)
            try:
                return Folder(path, os.open(part, TO_PASS | os.O_NOFOLLOW, dir_fd=self.fd))
            except NotADirectoryError:
                if stat.S_ISLNK(os.lstat(part, dir_fd=self.fd).st_mode):
                    what = "it is a symbolic link, and links in the output are not followed"
                    raise OSError(errno.ELOOP, what) from None
                raise

    def names(self, relative: str = "") -> list[str]:
        """What is in a folder, sorted."""
        with self.folder(relative) as folder, _naming(folder.path), folder._readable() as fd:
            return sorted(entry.name for entry in os.scandir(fd))

    def folders(self) -> list[str]:
        """The folders in this one, no links, sorted."""
        with _naming(self.path), self._readable() as fd:
            return sorted(entry.name for entry in os.scandir(fd) if entry.is_dir(follow_symlinks=False))

    def sync(self) -> None:
        """Make renames in it last. Some network file systems cannot, and need not."""
        with contextlib.suppress(OSError), self._readable() as fd:
            os.fsync(fd)

    @contextlib.contextmanager
    def _readable(self) -> Iterator[int]:
        """A descriptor that can be listed and synced; the one that is held can only be passed."""
        fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self.fd)
        try:
            yield fd
        finally:
            os.close(fd)

    def empty(self) -> None:
        """Remove the content. What cannot be removed stays, without an error."""
        with contextlib.suppress(OSError):
            for name in self.names():
                self.remove_tree(name)

    def remove_tree(self, name: str) -> None:
        """Remove a file, or a folder with its content. Nothing happens if it does not exist or cannot be removed."""
        with contextlib.suppress(OSError):
            os.unlink(name, dir_fd=self.fd)
        shutil.rmtree(self.anywhere / name, ignore_errors=True)  # which follows no link

    def remove_if_empty(self, relative: str) -> None:
        """A folder; one that is not empty, or cannot be removed, stays."""
        with contextlib.suppress(OSError), self._at(relative) as (fd, name):
            os.rmdir(name, dir_fd=fd)

    # ---- files

    @contextlib.contextmanager
    def _at(self, relative: str, make: int | None = None) -> Iterator[tuple[int, str]]:
        """The open folder in which something lies, and its name there."""
        above, _, name = relative.rpartition("/")
        with self.folder(above, make) as folder, _naming(folder.path / name):
            yield folder.fd, name

    def status(self, relative: str) -> os.stat_result:
        """Status of the entry itself: a link is not followed."""
        with self._at(relative) as (fd, name):
            return os.lstat(name, dir_fd=fd)

    def open(self, relative: str, flags: int, mode: int = 0o666) -> int:
        """A regular file, whether it is new or there already."""
        with self._at(relative) as (parent, name):
            how = flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            fd = os.open(name, how, mode, dir_fd=parent)
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                os.close(fd)
                raise OSError(errno.EINVAL, "it is not a regular file: remove it")
            return fd

    def read(self, relative: str) -> bytes:
        """A small regular file."""
        with open(self.open(relative, os.O_RDONLY), "rb") as file:  # noqa: PTH123 - a descriptor
            content = file.read(MAX_READ + 1)
        if len(content) > MAX_READ:
            raise OSError(errno.EFBIG, f"it is larger than {MAX_READ} bytes", str(self.path / relative))
        return content

    def create(self, relative: str) -> int:
        """A new file, open to write and read, and folders for it: what had its name, a FIFO perhaps, is gone."""
        with self._at(relative, EVERYBODY) as (parent, name):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name, dir_fd=parent)
            how = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            return os.open(name, how, 0o666, dir_fd=parent)

    def write(self, relative: str, content: bytes) -> None:
        with self.replacing(relative) as file:
            file.write(content)

    @contextlib.contextmanager
    def replacing(self, relative: str) -> Iterator[BinaryIO]:
        """A file to write to that is under another name, then on disk, then renamed: readers see the old content or the
        new, after a crash too."""
        above, _, name = relative.rpartition("/")
        with self.folder(above, EVERYBODY) as folder:
            temporary = f".{name}.tmp"
            try:
                with open(folder.create(temporary), "wb") as file:  # noqa: PTH123 - a descriptor
                    yield file
                    file.flush()
                    os.fsync(file.fileno())
                with _naming(folder.path / name):
                    os.rename(temporary, name, src_dir_fd=folder.fd, dst_dir_fd=folder.fd)
            except OSError:
                folder.remove_tree(temporary)
                raise
            folder.sync()

    def take(self, file: Path) -> None:
        """Move a file to here, under its own name."""
        try:
            os.rename(file, file.name, dst_dir_fd=self.fd)
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self.path / file.name)) from error

    def take_all(self, files: Iterable[Path]) -> None:
        """Move files to here, and make that last."""
        for file in files:
            self.take(file)
        self.sync()

    def rename(self, old: str, new: str) -> None:
        """A file in a folder below, to a name in the same one that is free."""
        with self._at(old) as (fd, name):
            os.rename(name, new.rpartition("/")[2], src_dir_fd=fd, dst_dir_fd=fd)

    def remove(self, relative: str) -> None:
        """A file or a link, if it is there."""
        with contextlib.suppress(FileNotFoundError), self._at(relative) as (fd, name):
            os.unlink(name, dir_fd=fd)


def hold(path: Path) -> Folder:
    """The top, by the way that the caller names, links and all."""
    return Folder(path, os.open(path, TO_PASS))


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    """An OSError of a call that knows only the last part of a path names all of it."""
    try:
        yield
    except OSError as error:
        if error.filename is not None and Path(os.fsdecode(error.filename)).is_absolute():
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error
