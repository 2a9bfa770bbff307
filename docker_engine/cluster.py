#!/usr/bin/env python3
"""Slurm and Apptainer for machines that have none (Debian, root, x86-64), to build a .sif and for the cluster tests.

    cluster.py env     print the PATH of `apptainer` and Slurm's commands; of Charliecloud's `ch-run` instead if
                       Apptainer is not available; nothing if the machine has an Apptainer of its own

They are Debian's packages, unpacked into a folder of this project, not installed. Apptainer is only in unstable and
needs a newer C library than that of Debian 12, so it brings its own. Standard library only.
"""

from __future__ import annotations

import fcntl
import os
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from debian import Apt, HostApt, Unavailable, empty, refuse_elsewhere, run, say

HOME = Path(os.environ.get("ISX_CLUSTER_HOME", "/var/lib/isx-cluster"))
ROOT = HOME / "root"  # from the host's own release
NEWER = HOME / "newer"  # from unstable
LIBRARIES = Path("usr/lib/x86_64-linux-gnu")
APPTAINER = NEWER / "usr/bin/apptainer"
SLURM_DAEMONS = ("slurmctld", "slurmd", "slurmstepd")  # each decides by its name what it may do
PATHS = (NEWER / "usr/bin", ROOT / "usr/bin", ROOT / "bin")

NEWER_PACKAGES = ("apptainer", "libc6", "libseccomp2", "libsqlite3-0")
HOST_PACKAGES = (
    *("slurm-wlm", "munge"),
    *("squashfuse", "squashfs-tools", "uidmap", "fuse3"),  # programs that Apptainer calls
    *("charliecloud-runtime", "patchelf"),
)
# Apptainer looks for its parts relative to itself; these links put its /etc and /var there.
MENDING_LINKS = {"usr/etc": "../etc", "usr/var": "../var", "usr/lib/etc": "../../etc", "usr/lib/var": "../../var"}


def own_apptainer() -> str | None:
    return shutil.which("apptainer") or shutil.which("singularity")


def apptainer() -> str | None:
    """The program; None if only Charliecloud is available. Raises Unavailable if neither is."""
    if not own_apptainer():
        install()
    return own_apptainer() or (str(APPTAINER) if APPTAINER.exists() else None)


def refuse_other_machines() -> None:
    """Raise Unavailable, with every reason, where `install` cannot work."""
    refuse_elsewhere(
        "There is no Apptainer, and no private one is available",
        "Install Apptainer (https://apptainer.org/docs/admin/main/installation.html).",
    )


def install() -> None:
    """Unpack Slurm, Charliecloud and, if it runs, Apptainer, once. A folder gets its final name when it works."""
    refuse_other_machines()
    HOME.mkdir(parents=True, exist_ok=True)
    with (HOME / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        install_what_is_missing()


def install_what_is_missing() -> None:
    if not ROOT.exists():
        partial = empty(ROOT)
        HostApt(HOME).unpack(HOST_PACKAGES, partial)
        for program in elf_programs(partial):
            use_libraries(program, own_libraries(ROOT))
        for daemon in SLURM_DAEMONS:
            (partial / "usr/sbin" / daemon).symlink_to(f"{daemon}-wlm")
        partial.rename(ROOT)
        run(ROOT / "usr/sbin/slurmctld", "-V")
    if not NEWER.exists():
        try:
            install_apptainer()
        except Unavailable as error:
            say(f"Apptainer is not available; Charliecloud is used instead. {error}")
    shutil.rmtree(HOME / "apt", ignore_errors=True)


def install_apptainer() -> None:
    partial = empty(NEWER)
    Apt("unstable", HOME).unpack(NEWER_PACKAGES, partial)
    for link, target in MENDING_LINKS.items():
        (partial / link).symlink_to(target)
    for program in (partial / "usr/bin/apptainer", partial / LIBRARIES / "apptainer/bin/starter"):
        use_libraries(program, [NEWER / LIBRARIES], interpreter=NEWER / LIBRARIES / "ld-linux-x86-64.so.2")
    partial.rename(NEWER)
    try:
        say(f"Apptainer {run(APPTAINER, 'version').stdout.strip()} from Debian unstable.")
    except Unavailable:
        shutil.rmtree(NEWER)
        raise


def own_libraries(root: Path) -> list[Path]:
    return [root / LIBRARIES, root / "lib/x86_64-linux-gnu", root / LIBRARIES / "slurm-wlm"]


def elf_programs(root: Path) -> Iterator[Path]:
    """The programs from packages, except patchelf, which must not change itself."""
    for folder in ("bin", "sbin", "usr/bin", "usr/sbin"):
        for file in sorted((root / folder).glob("*")):
            if not file.is_symlink() and file.name != "patchelf" and file.read_bytes()[:4] == b"\x7fELF":
                yield file


def use_libraries(program: Path, folders: list[Path], interpreter: Path | None = None) -> None:
    """Make a program find its libraries in these folders in any environment, since plain users run it too."""
    patchelf = next(root / "usr/bin/patchelf" for root in (ROOT, ROOT.with_suffix(".partial")) if root.exists())
    loader = ("--set-interpreter", interpreter) if interpreter else ()
    run(patchelf, *loader, "--force-rpath", "--set-rpath", ":".join(map(str, folders)), program)


def main(arguments: list[str]) -> int:
    if arguments != ["env"]:
        say(__doc__ or "")
        return 64
    try:
        if not own_apptainer():
            install()
            print(f'export PATH="$PATH":{shlex.quote(":".join(map(str, PATHS)))}')
    except Unavailable as error:
        say(str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
