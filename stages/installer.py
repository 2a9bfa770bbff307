#!/usr/bin/env python3
"""Which isx a build bakes, the public one or IDPS, and what an IDPS installer is.

The same code answers on the host (scripts/build.py) and in the Dockerfile's stage `choice`, so that Make, bake and
compose take the same decision and refuse in the same words. In that stage:

    installer.py SLOT TARGET    write "public" or "idps" to TARGET, or end the build with one message

An installer is a CPack STGZ archive: a shell script followed by a gzip stream. It is recognised by its content, not by
its name. Standard library only.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

BLOCK = 1 << 20
GZIP = b"\n\x1f\x8b\x08"  # where the script ends and the archive begins
NAMED_LIKE_ONE = re.compile(r"inscopix|idps", re.IGNORECASE)
# Of the files at the root of a project, those that are looked at. Docker and git read patterns of their own: a test
# checks that .dockerignore sends the same files to the builder, and that .gitignore keeps them out of commits.
CANDIDATE = re.compile(rf"\.sh(\..*)?$|{NAMED_LIKE_ONE.pattern}", re.IGNORECASE)
SECRETS = Path("/run/secrets")
WAYS = ("INSTALLER", "INSTALLER_DIR", "INSTALLER_SECRET", "INSTALLER_URL")
CONTEXT = "--build-context installer=folder"  # of plain docker build, where the folder is not the root of the project
HOW = (
    "Put the installer of IDPS for Linux at the root of the project, or name it: 'make image INSTALLER=path "
    "ACCEPT_EULA=Y', or INSTALLER_DIR=folder with bake and compose."
)
PUBLIC = "For the public isx, leave ACCEPT_EULA out."
PUBLIC_ALL_THE_SAME = "To build the public isx anyway, set ISX_SOURCE=public."
ACCEPT = f"read the vendor's licence, then build with ACCEPT_EULA=Y. {PUBLIC_ALL_THE_SAME}"


NO_CONTEXT = (
    "This build does not know where to look for an installer: plain 'docker build' passes no context for it. Build "
    "with 'make image', 'docker buildx bake' or 'docker compose build'. Or pass '--build-context installer=.', and for "
    "IDPS '--build-arg ACCEPT_EULA=Y'; for the public isx, '--build-arg ISX_SOURCE=public' is enough."
)


class BuildError(Exception):
    """The image cannot be built; the message says what was found and what to do."""


@dataclass(frozen=True)
class Asked:
    """What the builder asked for, by variables."""

    source: str = ""  # ISX_SOURCE
    eula: str = ""  # ACCEPT_EULA
    ways: tuple[str, ...] = ()  # which of WAYS were used
    image: str = "isx"  # IMAGE
    held: str = ""  # the IDPS that its tag latest holds, if it does

    @property
    def accepted(self) -> bool:
        return self.eula.upper() in ("Y", "YES")

    @property
    def elsewhere(self) -> bool:
        """Whether the installer comes by a secret, which only the stage that runs it can see."""
        return bool({"INSTALLER_SECRET", "INSTALLER_URL"} & set(self.ways))

    @property
    def named(self) -> str:
        """The variable that names the installer, where that leads to a file in the slot."""
        return "" if self.elsewhere or not self.ways else self.ways[0]


def asked(variables: Mapping[str, str], held: str = "") -> Asked:
    """INSTALLER_WAYS names the ways where their values are not at hand, as in a stage of the Dockerfile."""
    ways = variables.get("INSTALLER_WAYS", "").split() or [way for way in WAYS if variables.get(way)]
    get = variables.get
    return Asked(get("ISX_SOURCE", ""), get("ACCEPT_EULA", ""), tuple(ways), get("IMAGE") or "isx", held)


def asked_in_a_stage(variables: Mapping[str, str], slot: Path, held: str = "") -> Asked:
    """Of the root of the project, .dockerignore itself is always in the slot; any other folder was named."""
    wanted = asked(variables, held)
    is_root = (slot / ".dockerignore").is_file()
    return wanted if wanted.ways or is_root else replace(wanted, ways=(CONTEXT,))


def record_of_latest(project: Path, image: str) -> Path:
    """Where scripts/build.py notes which IDPS an image's tag latest holds: a build cannot look into the engine."""
    return project / "build" / f"latest-{image.replace('/', '_')}"


# --- which isx ----------------------------------------------------------------------------------------------------


def choose(asked: Asked, slot: Path) -> str:
    """ "public" or "idps". Raises BuildError where the licence, what was dropped in and what is asked for disagree.

    Args:
        slot: the root of the project, a folder that INSTALLER_DIR names, or what the builder was sent of either.
    """
    if asked.source not in ("", "public", "idps"):
        raise BuildError(f"ISX_SOURCE={asked.source}: there are only public and idps.")
    if asked.source == "public":
        return "public"
    if len(asked.ways) > 1:
        raise BuildError(f"There are several installers: {' and '.join(asked.ways)} are set. Leave one.")
    if asked.eula and not asked.accepted:
        raise BuildError(f"ACCEPT_EULA={asked.eula} is not valid: Y accepts the vendor's licence. {PUBLIC}")
    if asked.elsewhere:
        if not asked.accepted:
            raise BuildError(f"{asked.ways[0]} names an IDPS installer. Its licence is not accepted: {ACCEPT}")
        return "idps"
    installer = find(slot, asked.named)
    if installer is None:
        if asked.source == "idps" or asked.accepted:
            why = "ACCEPT_EULA=Y accepts the licence of IDPS" if asked.accepted else "ISX_SOURCE=idps asks for IDPS"
            public = PUBLIC if asked.accepted else "For the public isx, leave ISX_SOURCE out."
            raise BuildError(f"{why}, but there is no installer of it. {HOW} {public}")
        if asked.held:
            raise BuildError(
                f"{asked.image}:latest holds {asked.held}, and its installer is not here: this build would put the "
                "public isx in its place. If that is meant, build with ISX_SOURCE=public; for IDPS, name its installer."
            )
        return "public"
    if not asked.accepted:
        name, version = name_and_version(installer)
        raise BuildError(f"{installer.name} is {name} {version}. Its licence is not accepted: {ACCEPT}")
    return "idps"


def find(slot: Path, named: str = "") -> Path | None:
    """The one installer in a folder, or None. Raises BuildError where there are two, or what looks like one is none.

    Args:
        named: the variable that names the folder: it must then hold one.
    """
    files = sorted(path for path in slot.rglob("*") if path.is_file()) if named else candidates(slot)
    files = [path for path in files if not path.name.startswith(".")]
    installers = [path for path in files if is_installer(path)]
    if len(installers) > 1:
        names = ", ".join(path.name for path in installers)
        raise BuildError(f"There are several installers: {names}. Leave one, or name one with INSTALLER=path.")
    if installers:
        return installers[0]
    for path in files:
        if NAMED_LIKE_ONE.search(path.name) or (named and len(files) == 1):
            raise BuildError(f"{path.name} is not an IDPS installer ({what_else(path)}). {HOW} {PUBLIC_ALL_THE_SAME}")
    if named:
        holds = ", ".join(path.name for path in files[:5]) + (" and more" if len(files) > 5 else "")
        raise BuildError(f"{named} holds no IDPS installer; it holds: {holds or 'nothing'}. {HOW}")
    return None


def candidates(project: Path) -> list[Path]:
    """The files at the root of a project that may be installers."""
    return sorted(path for path in project.iterdir() if CANDIDATE.search(path.name) and path.is_file())


# --- what an installer is -----------------------------------------------------------------------------------------


def is_installer(path: Path) -> bool:
    """Whether this is a self-extracting archive of CPack's, sound or not."""
    with path.open("rb") as file:
        start = file.read(2)
        return start == b"#!" and start_of_archive(start + file.read(BLOCK)) > 0


def start_of_archive(head: bytes) -> int:
    """Where the gzip stream begins in the first bytes of an installer; 0 where they are not those of one."""
    start = head.find(GZIP) + 1
    return start if head.startswith(b"#!") and b"--skip-license" in head[:start] else 0


def what_else(path: Path) -> str:
    """What a file that is no installer is."""
    with path.open("rb") as file:
        head = file.read(BLOCK)
    if not head:
        return "the file is empty: download it again"
    if re.match(rb"\s*(<!doctype|<html|<\?xml)", head, re.IGNORECASE):
        return "it is a web page, perhaps that of a login: download it again in a browser that is logged in"
    kinds = {b"PK\x03\x04": "a ZIP archive: unpack it", b"\x1f\x8b": "a gzip archive: unpack it", b"MZ": "for Windows"}
    kinds.update({b"\xcf\xfa\xed\xfe": "for macOS", b"xar!": "for macOS"})
    for magic, kind in kinds.items():
        if head.startswith(magic):
            return f"it is {kind}"
    if head.startswith(b"#!") and b"--skip-license" in head:
        return "its archive is missing: download it again"
    return "not a self-extracting CPack archive"


def verify(installer: Path, expected: str) -> str:
    """Check the bytes before any of them runs; returns their sha256.

    The archive is a shell stub followed by a gzip stream. The stub does not notice a lost end (it exits with 0), so
    the stream is read to its checksum here.
    """
    digest = hashlib.sha256()
    with installer.open("rb") as file:
        head = file.read(BLOCK)
        start = start_of_archive(head)
        stream = zlib.decompressobj(wbits=31)
        block, rest = head, head[start:]
        try:
            while block:
                digest.update(block)
                if start and not stream.eof:
                    stream.decompress(rest)
                block = rest = file.read(BLOCK)
        except zlib.error as error:
            raise BuildError(f"{installer.name} is damaged ({error}): download it again.") from None
    actual = digest.hexdigest()
    expected = expected.strip().lower()
    if expected and actual != expected:
        raise BuildError(
            f"{installer.name} has sha256 {actual}, but INSTALLER_SHA256 says {expected}: download it again, or "
            "correct it."
        )
    if not start:
        raise BuildError(f"{installer.name} is not an IDPS installer ({what_else(installer)}). {HOW}")
    if not stream.eof:
        raise BuildError(f"{installer.name} is truncated ({installer.stat().st_size} bytes): download it again.")
    return actual


def name_and_version(installer: Path) -> tuple[str, str]:
    """Name and version from the text of the stub, without running any of the vendor's code."""
    with installer.open("rb") as file:
        return parse_version(installer, file.read(BLOCK).split(GZIP)[0].decode(errors="replace"))


def parse_version(installer: Path, text: str) -> tuple[str, str]:
    """Name and version from CPack's line "<name> Installer Version: <version>, Copyright (c) <vendor>"."""
    for line in text.splitlines():
        name, separator, rest = line.partition(" Installer Version: ")
        if separator:
            return name.split("echo")[-1].strip(" \"'"), rest.split(",")[0].strip()
    raise BuildError(f"{installer.name} reports no name and version (it said: {text.strip()[:200]!r}). {HOW}")


def assert_version(installer: Path, version: str, expected: str) -> None:
    if expected and version != expected:
        raise BuildError(
            f"{installer.name} reports version {version}, but INSTALLER_VERSION says {expected}: correct it."
        )


def main(slot: Path, target: Path) -> int:
    try:
        record = record_of_latest(slot, os.environ.get("IMAGE") or "isx")
        wanted = asked_in_a_stage(os.environ, slot, held=record.read_text().strip() if record.is_file() else "")
        if wanted.source != "public" and wanted.ways == (CONTEXT,) and not any(slot.iterdir()):
            raise BuildError(NO_CONTEXT)
        if "INSTALLER" in wanted.ways:
            raise BuildError(f"INSTALLER=path is for Make alone. {HOW}")
        if "INSTALLER_SECRET" in wanted.ways and not (SECRETS / "installer").exists():
            raise BuildError(f"INSTALLER_SECRET=path is for Make alone, as a secret holds at most 500 KiB. {HOW}")
        target.write_text(choose(wanted, slot))
    except BuildError as error:
        print(f"\nERROR: {error}\n", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
