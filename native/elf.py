"""The needs of a shared library, and whether they are met: the dynamic loader is asked, and runs nothing of it.

`python -m native.elf PATH` checks that a library, or the `libisxpublicapi.so` somewhere in a tree, finds everything
that it needs on this system, and names everything missing in one message.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

LIBRARY = "libisxpublicapi.so"
HEADER_SIZE = 64  # bytes, of a 64-bit ELF file
SYSTEM_FOLDERS = tuple(
    f"{top}{lib}{triplet}"
    for triplet in (f"/{os.uname().machine}-linux-gnu", "")
    for top in ("", "/usr")
    for lib in ("/lib", "/lib64")
)
# ld.so(8): list what is loaded (as ldd does), with versions on standard output and who needs what on standard error.
TRACE = {"LD_TRACE_LOADED_OBJECTS": "1", "LD_VERBOSE": "1", "LD_DEBUG": "files"}
TRACE_SECONDS = 60

_FOUND = re.compile(r"^\t(?:(\S.*) => )?(/.*) \(0x[0-9a-f]+\)$", re.MULTILINE)
_MISSING = re.compile(r"^\t(\S.*) => not found$", re.MULTILINE)
_VERSIONS = re.compile(r"^\t(\S.*):\n((?:\t\t.*\n)*)", re.MULTILINE)
_GLIBC = re.compile(r"\(GLIBC_(2[0-9.]*)\)")
_NEEDED_BY = re.compile(r"file=(.*) \[\d+\];  needed by (.*) \[\d+\]")
_VERSION_MISSING = re.compile(r"^.*: (.*): version `(.*)' not found \(required by (.*)\)$", re.MULTILINE)
_LOG_LINE = re.compile(r"^\s*\d+:\t.*\n?", re.MULTILINE)


class NotElf(Exception):
    """This is no shared library for this system; the message says why."""


@dataclass
class Closure:
    """Everything that a library pulls in, and what stands in its way."""

    paths: dict[str, Path] = field(default_factory=dict)  # name as needed -> file
    missing: dict[str, str] = field(default_factory=dict)  # name -> the first library that needs it
    versions_missing: list[tuple[str, str, str]] = field(default_factory=list)  # version, library, who needs it
    glibc_needed: str = ""  # by the libraries that do not come from the system

    @property
    def problems(self) -> list[str]:
        """One sentence for each thing that is missing."""
        sentences = [f"shared library {name} not found (needed by {who})" for name, who in self.missing.items()]
        for version, library, who in self.versions_missing:
            if version.startswith("GLIBC_"):
                sentences.append(f"glibc {version[6:]} needed by {who}, but this system has {system_glibc()}")
            else:
                sentences.append(f"{library} lacks version {version} (needed by {who})")
        return sentences


def system_glibc() -> str:
    """The version of this system's glibc, such as 2.36; "" on another C library."""
    try:
        return (os.confstr("CS_GNU_LIBC_VERSION") or "").rpartition(" ")[2]
    except (OSError, ValueError):
        return ""


def check_header(library: Path) -> None:
    """Raises NotElf, and OSError if it cannot be read."""
    with library.open("rb") as file:
        header = file.read(HEADER_SIZE)
    if len(header) < HEADER_SIZE:
        raise NotElf(f"{library} is too short for a shared library")
    if header[:6] != b"\x7fELF\x02\x01":
        raise NotElf(f"{library} is not a 64-bit little-endian ELF file")


def closure(library: Path) -> Closure:
    """Ask the loader of this process what a library would load. Raises NotElf, and OSError if it cannot be read."""
    check_header(library)
    traced = _trace(library)
    needs = dict(reversed(_NEEDED_BY.findall(traced.stderr)))
    listing, _, versions = traced.stdout.partition("\n\tVersion information:\n")
    if traced.returncode != 0:
        said = _LOG_LINE.sub("", traced.stderr).strip().rpartition(": ")[2]
        last = f" at {next(iter(needs))}" if needs and not said else ""  # a file cut short ends the loader itself
        raise NotElf(f"{library} is a damaged shared library: {said or f'the loader ends{last}'}")
    if "statically linked" in listing:
        raise NotElf(f"{library} is not a shared library: it has no dynamic section")
    glibc = [
        version
        for path, lines in _VERSIONS.findall(versions)
        if str(Path(path).parent) not in SYSTEM_FOLDERS
        for version in _GLIBC.findall(lines)
    ]
    return Closure(
        {name or Path(path).name: Path(path) for name, path in _FOUND.findall(listing)},
        {name: Path(needs.get(name, library)).name for name in _MISSING.findall(listing)},
        [(what, Path(of).name, Path(who).name) for of, what, who in _VERSION_MISSING.findall(traced.stderr)],
        max(glibc, key=version_key, default=""),
    )


def _trace(library: Path) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            [_loader(), os.path.abspath(library)],  # noqa: PTH100 - symbolic links are not followed, nor does the loader
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="surrogateescape",
            env={**os.environ, **TRACE},
            timeout=TRACE_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise NotElf(f"{library}: the loader did not finish within {TRACE_SECONDS} s") from None


def _loader() -> str:
    """The dynamic loader that has loaded this process. Raises NotElf."""
    maps = Path("/proc/self/maps").read_text(encoding="utf-8", errors="surrogateescape")
    path = re.search(r"/\S*/ld-linux[^/\s]*$", maps, re.MULTILINE)
    if not path:
        raise NotElf("this system has no glibc")
    return path[0]


def version_key(version: str) -> tuple[int, ...]:
    """A key that sorts versions such as 2.9 and 2.34."""
    return tuple(int(part) for part in version.split(".") if part.isdigit())


def find_library(tree: Path) -> list[Path]:
    """Every LIBRARY below a folder, each once even if symbolic links show it twice."""
    if tree.is_file():
        return [tree]
    files = sorted(tree.rglob(LIBRARY), reverse=True)
    return list({path.resolve(): path for path in files}.values())


def glibc_needed(tree: Path) -> str:
    """The newest glibc that any file of this name below a folder asks for; "" if that cannot be told."""
    asked = []
    for library in find_library(tree):
        try:
            needs = closure(library)
        except (NotElf, OSError):
            continue
        asked += [needs.glibc_needed, *(what[6:] for what, _, _ in needs.versions_missing if what.startswith("GLIBC_"))]
    return max(asked, key=version_key, default="")


def main(arguments: Sequence[str]) -> int:
    """The command line: 0 when all is found, 1 with one message when not, 64 on wrong usage."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m native.elf LIBRARY|TREE\n")
        return 64
    tree = Path(arguments[0])
    libraries = find_library(tree)
    if not libraries:
        sys.stderr.write(f"{tree}: no {LIBRARY} in it: this is not the tree of the isx API\n")
        return 1
    status = 0
    for library in libraries:
        try:
            result = closure(library)
        except (NotElf, OSError) as error:
            sys.stderr.write(f"{library}: {error}\n")
            status = 1
            continue
        if result.problems:
            sys.stderr.write(f"{library} cannot be loaded on this system: {'; '.join(result.problems)}\n")
            status = 1
        else:
            sys.stdout.write(
                f"{library}: all {len(result.paths)} shared libraries found; "
                f"needs glibc {result.glibc_needed or 'of any version'}, this system has {system_glibc()}\n"
            )
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
