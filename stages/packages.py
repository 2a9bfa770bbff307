#!/usr/bin/env python3
"""Packages of the distribution with shared libraries that the product needs and does not bring; runs in a stage of the
Dockerfile, whose package manager installs them.

    packages.py TREE RECORD    for the API in TREE/api; writes RECORD, the packages and their versions, if there are any

The archive's index of contents says which package holds a library. Standard library and `native.elf` only.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from libraries import unmet
from native import elf  # the project is not installed where this runs

LISTS = Path("/var/lib/apt/lists")
INDEX = """
Acquire::IndexTargets::deb::Contents {
  MetaKey "$(COMPONENT)/Contents-$(NATIVE_ARCHITECTURE)"; ShortDescription "Contents"; Description "Contents"; };
Acquire::IndexTargets::deb::Contents-of-all {
  MetaKey "Contents-$(NATIVE_ARCHITECTURE)"; ShortDescription "Contents"; Description "Contents"; };
"""  # Debian has one for each component, Ubuntu one for all


def needs(tree: Path) -> dict[str, str]:
    """The libraries that neither the system nor the tree has, by name: who needs it."""
    needed_by: dict[str, str] = {}
    for library in elf.find_library(tree / "api/"):
        try:
            needed_by |= unmet(library, tree)
        except (elf.NotElf, OSError):  # the proof ends the build with its message
            continue
    return needed_by


def providers(names: Iterable[str], index: Iterable[bytes]) -> dict[str, str]:
    """The package of each library, from the lines of an index of contents: "path  section/package,...".

    Only what lies where the loader looks counts; packages for developers do if nothing else holds it.
    """
    folders = "|".join(re.escape(str(folder).lstrip("/")) for folder in elf.SYSTEM_FOLDERS)
    wanted = {name.encode(): name for name in names}
    line_of = re.compile(rf"(?:\./)?(?:{folders})/([^/\s]+)\s+(\S+)".encode())
    packages_of: dict[str, list[str]] = {}
    for line in index:
        if b".so" in line and (match := line_of.match(line)) and match[1] in wanted:
            packages = [place.decode().rpartition("/")[2] for place in match[2].split(b",")]
            packages_of.setdefault(wanted[match[1]], []).extend(packages)
    return {
        name: min(holders, key=lambda package: (package.endswith("-dev"), package))
        for name, holders in packages_of.items()
    }


def index_of_contents() -> Iterator[bytes]:
    """Its lines; none if the archive has no index."""
    with tempfile.NamedTemporaryFile("w", suffix=".conf") as more:
        more.write(INDEX)
        more.flush()
        subprocess.run(["apt-get", "update"], check=True, env={**os.environ, "APT_CONFIG": more.name})
    for path in sorted(LISTS.glob("*Contents-*")):
        with subprocess.Popen(["/usr/lib/apt/apt-helper", "cat-file", path], stdout=subprocess.PIPE) as process:
            yield from process.stdout or ()


def install(packages: Iterable[str]) -> dict[str, str]:
    """Returns their versions."""
    names = sorted(set(packages))
    subprocess.run(["apt-get", "install", "-y", "--no-install-recommends", *names], check=True)
    show = ["dpkg-query", "-W", "-f", "${Package} ${Version}\\n", *names]
    done = subprocess.run(show, check=True, capture_output=True, text=True)
    return dict(line.split(" ", 1) for line in done.stdout.splitlines())


def explain(missing: Mapping[str, str]) -> str:
    named = "; ".join(f"{name} (needed by {who})" for name, who in missing.items())
    return (
        f"no package of this distribution has {named}. If the installer should have brought it, check that it is "
        'complete. If a package has it under another name, add that with RUNTIME_PACKAGES="name ...". Else take a '
        "BASE_IMAGE that has it."
    )


def main(tree: Path, record: Path) -> int:
    missing = needs(tree)
    if not missing:
        return 0
    packages = providers(missing, index_of_contents())
    versions = install(packages.values()) if packages else {}
    for name, package in sorted(packages.items()):
        print(
            f"{name}, which {missing[name]} needs and the product does not bring: {package} {versions[package]}",
            flush=True,
        )
    record.parent.mkdir(parents=True, exist_ok=True)
    record.write_text(json.dumps(versions, indent=1, sort_keys=True) + "\n")
    left = needs(tree)
    if left:
        print(f"\nERROR: {explain(left)}\n", file=sys.stderr)
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
