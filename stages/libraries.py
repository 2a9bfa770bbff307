#!/usr/bin/env python3
"""Shared libraries that the loader misses although the product brings them; runs in a stage of the Dockerfile.

    libraries.py TREE LINKS    for the API in TREE/api; writes the links for the image below LINKS

Each becomes a symbolic link in /usr/lib, the last folder that the loader searches on its own: nobody needs
LD_LIBRARY_PATH, nothing of the system's is replaced, and no file of the vendor's is changed. Standard library and
`native.elf` only.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from native import elf  # the project is not installed where this runs
from slim import EPOCH

SEARCHED = Path("/usr/lib")


def link_missing(library: Path, tree: Path, folder: Path) -> list[Path]:
    """Link into a folder that the loader searches what it misses and the tree holds; returns the links.

    What a linked library needs in turn is looked for in the same way: a link's own folder is where the loader takes it
    to lie, so its RPATH may lead nowhere.
    """
    links: list[Path] = []
    while True:
        in_the_tree = {name: path for name in elf.closure(library).missing if (path := in_tree(name, tree))}
        new = {folder / name: path for name, path in in_the_tree.items() if folder / name not in links}
        if not new:
            return links
        for link, path in new.items():
            link.symlink_to(path)
        links += new


def in_tree(name: str, tree: Path) -> Path | None:
    """The library of this name that lies least deep in the tree."""
    for path in sorted(tree.rglob(name), key=lambda path: (len(path.parts), path)):
        try:
            elf.check_header(path)
        except (elf.NotElf, OSError):
            continue
        return path
    return None


def brought(library: Path, tree: Path) -> set[Path]:
    """The files in the tree that a library reaches, also those that the loader needs a link for."""
    with _linked(library, tree) as links:
        loaded = {path.resolve() for path in elf.closure(library).paths.values()}
        return {library.resolve(), *loaded, *(link.resolve() for link in links)}


def unmet(library: Path, tree: Path) -> dict[str, str]:
    """What a library needs, by name, that neither the system nor the tree has: who needs it."""
    with _linked(library, tree):
        return elf.closure(library).missing


@contextlib.contextmanager
def _linked(library: Path, tree: Path) -> Iterator[list[Path]]:
    """Libraries as with the links that the image will have."""
    before = os.environ.get("LD_LIBRARY_PATH")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["LD_LIBRARY_PATH"] = folder
        try:
            yield link_missing(library, tree, Path(folder))
        finally:
            os.environ.pop("LD_LIBRARY_PATH")
            if before is not None:
                os.environ["LD_LIBRARY_PATH"] = before


def main(tree: Path, target: Path) -> int:
    folder = target / SEARCHED.relative_to("/")
    folder.mkdir(parents=True)
    for library in elf.find_library(tree / "api/"):
        try:
            links = link_missing(library, tree, SEARCHED)
        except (elf.NotElf, OSError) as error:
            print(f"{library}: {error}", file=sys.stderr)  # the proof ends the build with its message
            continue
        for link in links:
            print(f"{link.name} is not where the loader looks: {link} leads to {link.readlink()}")
            (folder / link.name).symlink_to(link.readlink())
    for path in [*folder.iterdir(), folder, *folder.relative_to(target).parents]:
        os.utime(target / path, (EPOCH, EPOCH), follow_symlinks=False)
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
