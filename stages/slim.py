#!/usr/bin/env python3
"""Make a tree small and the same on every build; runs in a builder stage of the Dockerfile.

    slim.py SECTION ROOT    purge packages (section rootfs), drop what slim.txt lists for SECTION, strip libraries
                            (section venv), compile Python, clamp time stamps

Python is compiled with unchecked hashes: byte code then stays valid whatever the time stamps, and is the same each
time. Standard library only.
"""

from __future__ import annotations

import compileall
import json
import multiprocessing
import os
import py_compile
import shutil
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

# Time stamps above are set to this: a constant, so that a new commit changes no layer but its own.
EPOCH = int(os.environ.get("LAYER_EPOCH", "1735689600"))  # 2025-01-01
SHARES = 4  # of the modules to compile,
FEW_MODULES = 500  # if they are not so few that starting processes takes longer
LIST = Path(__file__).with_name("slim.txt")
PACKAGES = Path("/usr/share/isx/packages.json")  # of packages.py
KINDS_NOT_NEEDED = ("recommends", "suggests", "conflicts", "breaks", "replaces", "enhances")


def patterns(section: str) -> list[str]:
    """The patterns that slim.txt lists under [section]."""
    listed, current = [], None
    for line in LIST.read_text().splitlines():
        line = line.split(" #")[0].strip()
        if line.startswith("["):
            current = line.strip("[]")
        elif line and not line.startswith("#") and current == section:
            listed.append(line)
    return listed


def drop(root: Path, section: str) -> int:
    """Remove what the list names; returns the bytes freed. A pattern that matches nothing is no error: bases differ."""
    freed = 0
    for pattern in patterns(section):
        for path in sorted(root.glob(pattern.lstrip("/"))):
            freed += size(path)
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)
    return freed


def purge_packages() -> None:
    """Purge what slim.txt lists under [packages], against the package manager's advice but through its records.

    What packages need that were asked for, or were installed for the product, stays.
    """
    installed = subprocess.run(["dpkg-query", "-W", "-f", "${Package}\n"], check=True, capture_output=True, text=True)
    asked = os.environ.get("RUNTIME_PACKAGES", "").split()
    added = json.loads(PACKAGES.read_text()) if PACKAGES.exists() else {}
    kept = needed_by([*asked, *added]) | set(asked)
    present = [
        name
        for name in [*patterns("drivers"), *patterns("packages")]
        if name in installed.stdout.split() and name not in kept
    ]
    force = ["--force-depends", "--force-remove-essential", "--force-remove-protected"]
    for name in present:  # one by one: dpkg would put them into an order of its own
        subprocess.run(["dpkg", "--purge", *force, name], check=True, stdout=subprocess.DEVNULL)


def needed_by(packages: Sequence[str]) -> set[str]:
    """The packages of libraries that these depend on, whatever stands between; but no driver, as nothing is drawn."""
    if not packages:
        return set()
    options = ["--recurse", "--installed", *(f"--no-{kind}" for kind in KINDS_NOT_NEEDED)]
    command = ["apt-cache", "depends", *options, *packages]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    names = {line for line in done.stdout.splitlines() if line.startswith("lib")}
    return names - set(patterns("drivers"))


def size(path: Path) -> int:
    if path.is_symlink() or not path.exists():
        return 0
    if path.is_dir():
        return sum(part.lstat().st_size for part in path.rglob("*") if part.is_file())
    return path.lstat().st_size


def strip(root: Path) -> int:
    """Strip shared libraries, except where the loader refuses the result; returns the bytes freed.

    Plain `strip` corrupts libraries that auditwheel patched: the dynamic loader is asked with --verify (0: a program,
    2: a library that it can load) before a stripped copy takes the place of the original.
    """
    loader = next(Path("/").glob("lib64/ld-linux-*.so.*"))

    def one(library: Path) -> int:
        copy = library.with_name(library.name + ".stripped")
        done = subprocess.run(["strip", "--strip-unneeded", "-o", copy, library], check=False, capture_output=True)
        verified = subprocess.run([loader, "--verify", copy], check=False, capture_output=True)
        if done.returncode or verified.returncode not in (0, 2):
            copy.unlink(missing_ok=True)
            return 0
        freed = library.stat().st_size - copy.stat().st_size
        shutil.copymode(library, copy)
        copy.replace(library)
        return freed

    libraries = [path for path in root.rglob("*.so*") if path.is_file() and not path.is_symlink()]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return sum(pool.map(one, libraries))


def compile_python(root: Path) -> None:
    """Compile every module; broken samples are no error.

    Byte code depends a little on what the same process compiled before. So that it is the same each time, each process
    has a fixed share in a fixed order, on any number of cores.
    """
    for stale in root.rglob("__pycache__"):
        shutil.rmtree(stale)
    modules = sorted(root.rglob("*.py"))
    if len(modules) < FEW_MODULES:
        _compile(modules)
        return
    spawn = multiprocessing.get_context("spawn")
    processes = [spawn.Process(target=_compile, args=(modules[number::SHARES],)) for number in range(SHARES)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        if process.exitcode:
            sys.exit(f"ERROR: a process that compiles the Python below {root} ended with {process.exitcode}")


def _compile(modules: list[Path]) -> None:
    mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
    for module in modules:  # the path in the byte code is where the tree stands in the image, which is where it is now
        compileall.compile_file(module, quiet=2, invalidation_mode=mode)


def clamp(root: Path) -> None:
    """Set every time stamp later than EPOCH to EPOCH, without crossing into another file system."""
    device = root.lstat().st_dev
    for folder, folders, files in os.walk(root, topdown=False):
        if os.lstat(folder).st_dev != device:
            continue
        for path in [Path(folder), *(Path(folder, name) for name in [*files, *folders])]:
            status = path.lstat()
            if status.st_dev == device and status.st_mtime > EPOCH:
                os.utime(path, (EPOCH, EPOCH), follow_symlinks=False)


def main(section: str, root: Path) -> int:
    if section == "rootfs":
        purge_packages()
    dropped = drop(root, section)
    stripped = strip(root) if section == "venv" else 0
    for folder in [root / "usr/lib", root / "usr/local/lib"] if root == Path("/") else [root]:
        compile_python(folder)
    clamp(root)
    if root != root.parent:  # the folder that holds it is copied along
        os.utime(root.parent, (EPOCH, EPOCH))
    print(f"{section}: dropped {dropped / 1e6:.1f} MB, stripped {stripped / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2])))
