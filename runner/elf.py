"""What a shared library needs, read from its ELF file without loading it: 64-bit little-endian only.

`python -m runner.elf PATH` checks that a library, or the `libisxpublicapi.so` somewhere in a tree, finds everything
that it needs on this system, and says in one message what is missing.
"""

from __future__ import annotations

import glob
import mmap
import os
import struct
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

LIBRARY = "libisxpublicapi.so"
SYSTEM_FOLDERS = tuple(
    f"{top}{lib}{triplet}"
    for triplet in (f"/{os.uname().machine}-linux-gnu", "")
    for top in ("", "/usr")
    for lib in ("/lib", "/lib64")
)

_PT_LOAD, _PT_DYNAMIC = 1, 2
_DT_NEEDED, _DT_STRTAB, _DT_SONAME, _DT_RPATH, _DT_RUNPATH = 1, 5, 14, 15, 29
_DT_VERDEF, _DT_VERDEFNUM, _DT_VERNEED, _DT_VERNEEDNUM = 0x6FFFFFFC, 0x6FFFFFFD, 0x6FFFFFFE, 0x6FFFFFFF
_VER_FLG_WEAK = 2


class NotElf(Exception):
    """This is no shared library for this kind of machine; the message says what it is."""


@dataclass(frozen=True)
class Elf:
    """The dynamic section of one library."""

    path: Path
    machine: int
    soname: str
    needed: tuple[str, ...]
    rpath: tuple[str, ...]
    runpath: tuple[str, ...]
    versions_needed: tuple[tuple[str, str], ...]  # (library, version), weak ones left out
    versions_defined: frozenset[str]


@dataclass
class Closure:
    """Everything that a library pulls in, and what stands in its way."""

    found: dict[str, Path] = field(default_factory=dict)  # name as needed -> file
    missing: dict[str, str] = field(default_factory=dict)  # name -> the first library that needs it
    versions_missing: list[tuple[str, str, str]] = field(default_factory=list)  # version, library, who needs it
    glibc_needed: str = ""

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


def read(path: Path) -> Elf:
    """Raises NotElf, and OSError where the file cannot be read."""
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_size < 64:
            raise NotElf(f"{path} is too short for a shared library")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            try:
                return _parse(path, data)
            except (struct.error, IndexError, ValueError) as error:
                raise NotElf(f"{path} is a damaged shared library: {error}") from error


def closure(library: Path) -> Closure:
    """Follow NEEDED as the dynamic loader does (ld.so(8)). Raises NotElf or OSError for the library itself."""
    top = read(library)
    result = Closure()
    loaded = {name: top for name in {top.soname, library.name} if name}
    queue: list[tuple[Elf, tuple[str, ...]]] = [(top, ())]  # with the RPATH of those that pulled it in
    elfs = [top]
    for elf, inherited in queue:  # grows while it is walked: breadth first, as the loader goes
        rpath = () if elf.runpath else elf.rpath + inherited
        for name in elf.needed:
            if name in loaded:
                continue
            found = _find(name, elf, rpath, top.machine)
            if found is None:
                result.missing.setdefault(name, elf.path.name)
                continue
            result.found[name] = found.path
            loaded[name] = loaded[found.soname or name] = found
            elfs.append(found)
            queue.append((found, rpath))
    for elf in elfs:
        for name, version in elf.versions_needed:
            provider = loaded.get(name)
            if provider and provider.versions_defined and version not in provider.versions_defined:
                result.versions_missing.append((version, name, elf.path.name))
    glibc = [version for elf in _vendored(elfs) for _, version in elf.versions_needed]
    result.glibc_needed = max((v[6:] for v in glibc if v.startswith("GLIBC_2")), key=version_key, default="")
    return result


def version_key(version: str) -> tuple[int, ...]:
    """For comparing versions such as 2.9 and 2.34."""
    return tuple(int(part) for part in version.split(".") if part.isdigit())


def find_library(tree: Path, name: str = LIBRARY) -> list[Path]:
    """Every file of this name below a folder, each once even where symbolic links show it twice."""
    if tree.is_file():
        return [tree]
    found = sorted(tree.rglob(name))
    return list({path.resolve(): path for path in reversed(found)}.values())


def main(arguments: Sequence[str]) -> int:
    """The command line: 0 when all is found, 1 with one message when not, 64 on wrong usage."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m runner.elf LIBRARY|TREE\n")
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
                f"{library}: all {len(result.found)} shared libraries found; "
                f"needs glibc {result.glibc_needed or 'of any version'}, this system has {system_glibc()}\n"
            )
    return status


def _vendored(elfs: Sequence[Elf]) -> list[Elf]:
    """Those that the vendor ships: what comes from the system agrees with the system's glibc anyway."""
    system = (*SYSTEM_FOLDERS, *_configured_folders())
    return [elf for elf in elfs if elf is elfs[0] or str(elf.path.parent) not in system]


def _find(name: str, elf: Elf, rpath: tuple[str, ...], machine: int) -> Elf | None:
    if "/" in name:
        candidates = [Path(name)]
    else:
        environment = tuple(filter(None, os.environ.get("LD_LIBRARY_PATH", "").split(":")))
        folders = (*rpath, *environment, *elf.runpath, *_configured_folders(), *SYSTEM_FOLDERS)
        candidates = [Path(folder, name) for folder in folders]
    for candidate in candidates:
        try:
            found = read(candidate)
        except (OSError, NotElf):
            continue
        if found.machine == machine:
            return found
    return None


def _configured_folders() -> tuple[str, ...]:
    """What ldconfig would search: /etc/ld.so.conf and what it includes."""

    def folders(file: str) -> Iterator[str]:
        try:
            lines = Path(file).read_text().splitlines()
        except OSError:
            return
        for line in lines:
            line = line.partition("#")[0].strip()
            if line.startswith("include"):
                for pattern in line.split()[1:]:
                    for included in sorted(glob.glob(os.path.join("/etc", pattern))):  # noqa: PTH118, PTH207 - a foreign pattern
                        yield from folders(included)
            elif line:
                yield line

    return tuple(folders("/etc/ld.so.conf"))


def _parse(path: Path, data: mmap.mmap) -> Elf:
    if data[:6] != b"\x7fELF\x02\x01":
        raise NotElf(f"{path} is not a 64-bit little-endian ELF file")
    (machine,) = struct.unpack_from("<H", data, 18)
    (table,) = struct.unpack_from("<Q", data, 32)
    entry_size, n_entries = struct.unpack_from("<HH", data, 54)
    segments = [struct.unpack_from("<IIQQQQ", data, table + i * entry_size) for i in range(n_entries)]

    def offset_of(address: int) -> int:
        for kind, _, offset, start, _, size in segments:
            if kind == _PT_LOAD and start <= address < start + size:
                return offset + address - start
        raise ValueError(f"address {address:#x} lies in no segment")

    tags: list[tuple[int, int]] = []
    for kind, _, offset, _, _, size in segments:
        if kind == _PT_DYNAMIC:
            tags = [struct.unpack_from("<QQ", data, at) for at in range(offset, offset + size, 16)]
    first = dict(reversed(tags))
    if _DT_STRTAB not in first:
        raise NotElf(f"{path} is not a shared library: it has no dynamic section")
    strings = offset_of(first[_DT_STRTAB])

    def text(offset: int) -> str:
        return os.fsdecode(data[strings + offset : data.find(b"\0", strings + offset)])

    def folders(tag: int) -> tuple[str, ...]:
        origin = str(path.absolute().parent)  # as the loader has it: symbolic links are not followed
        parts = text(first[tag]).split(":") if tag in first else ()
        return tuple(part.replace("${ORIGIN}", "$ORIGIN").replace("$ORIGIN", origin) for part in parts if part)

    def needed_versions() -> Iterator[tuple[str, str]]:
        at = offset_of(first[_DT_VERNEED]) if _DT_VERNEED in first else 0
        for _ in range(first.get(_DT_VERNEEDNUM, 0)):
            _, count, file, aux, following = struct.unpack_from("<HHIII", data, at)
            aux_at = at + aux
            for _ in range(count):
                _, flags, _, name, next_aux = struct.unpack_from("<IHHII", data, aux_at)
                if not flags & _VER_FLG_WEAK:
                    yield text(file), text(name)
                aux_at += next_aux
            at += following

    def defined_versions() -> Iterator[str]:
        at = offset_of(first[_DT_VERDEF]) if _DT_VERDEF in first else 0
        for _ in range(first.get(_DT_VERDEFNUM, 0)):
            *_, aux, following = struct.unpack_from("<HHHHIII", data, at)
            yield text(struct.unpack_from("<II", data, at + aux)[0])
            at += following

    return Elf(
        path=path,
        machine=machine,
        soname=text(first[_DT_SONAME]) if _DT_SONAME in first else "",
        needed=tuple(text(value) for tag, value in tags if tag == _DT_NEEDED),
        rpath=folders(_DT_RPATH),
        runpath=folders(_DT_RUNPATH),
        versions_needed=tuple(needed_versions()),
        versions_defined=frozenset(defined_versions()),
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
