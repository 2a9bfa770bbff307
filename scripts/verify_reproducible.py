#!/usr/bin/env python3
"""Build the image twice without any cache and show that both have one digest.

The second build starts in another second, in another folder, with another umask. If the digests differ, this prints
which files differ in which layer, and how. It builds the public isx; other variables of docker-bake.hcl come from the
environment. Standard library only.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

from build import of_commit

PROJECT = Path(__file__).resolve().parent.parent
NAME = "isx-reproducible"


def build(project: Path, tag: str, umask: int, commit: dict[str, str]) -> str:
    """Build in a folder, with a commit's variables; returns the image's digest."""
    command = [sys.executable, project / "scripts/build.py", "image", "--no-cache", "--set", f"image.tags={NAME}:{tag}"]
    started = time.monotonic()
    environment = {**os.environ, **commit, "ISX_SOURCE": "public"}
    subprocess.run(command, check=True, preexec_fn=lambda: os.umask(umask), stdin=subprocess.DEVNULL, env=environment)
    digest = docker("image", "inspect", "--format", "{{.Id}}", f"{NAME}:{tag}")
    print(f"{tag} build: {digest} ({time.monotonic() - started:.0f} s)", flush=True)
    return digest


def docker(*arguments: str) -> str:
    return subprocess.run(["docker", *arguments], check=True, capture_output=True, text=True).stdout.strip()


def copy_of_project(folder: Path) -> Path:
    """The files of the working tree that git knows, elsewhere, with other permissions and time stamps."""
    command = ["git", "-C", PROJECT, "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, check=True, capture_output=True, text=True)
    for name in filter(None, listed.stdout.split("\0")):
        if (PROJECT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(PROJECT / name, folder / name)
    return folder


# --- the differences ----------------------------------------------------------------------------------------------


def layers(tag: str, folder: Path) -> list[dict[str, tuple]]:
    """For each layer of the image, the properties of each path: type, mode, owner, time stamp, link, size, checksum."""
    archive = folder / f"{tag}.tar"
    docker("save", "-o", str(archive), f"{NAME}:{tag}")
    with tarfile.open(archive) as image:
        manifest = json.load(image.extractfile("manifest.json"))[0]
        return [entries(image.extractfile(name)) for name in manifest["Layers"]]


def entries(layer) -> dict[str, tuple]:
    with tarfile.open(fileobj=layer) as files:
        return {
            member.name: (
                *(member.type.decode(), oct(member.mode), member.uid, member.gid, member.mtime, member.linkname),
                member.size,
                hashlib.sha256(files.extractfile(member).read()).hexdigest()[:16] if member.isfile() else "",
            )
            for member in files
        }


def print_differences(folder: Path) -> None:
    fields = ("type", "mode", "uid", "gid", "mtime", "link", "size", "content")
    for number, (one, other) in enumerate(zip(layers("first", folder), layers("second", folder))):
        for path in sorted(one.keys() | other.keys()):
            if path not in one or path not in other:
                print(f"layer {number}: {path}: only in the {'first' if path in one else 'second'} build")
            elif one[path] != other[path]:
                changed = [f"{n} {a} / {b}" for n, a, b in zip(fields, one[path], other[path]) if a != b]
                print(f"layer {number}: {path}: {', '.join(changed)}")
    configs = [
        docker("image", "inspect", "--format", "{{.Created}} {{json .Config}}", f"{NAME}:{tag}")
        for tag in ("first", "second")
    ]
    if configs[0] != configs[1]:
        print("configuration:", *configs, sep="\n  ")


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        commit = of_commit()  # the other folder is no git checkout
        first = build(PROJECT, "first", 0o022, commit)
        second = build(copy_of_project(Path(folder, "elsewhere")), "second", 0o077, commit)
        if first == second:
            docker("image", "rm", f"{NAME}:first", f"{NAME}:second")
            print(f"reproducible: {first}")
            return 0
        print("NOT reproducible:")
        print_differences(Path(folder))
        return 1


if __name__ == "__main__":
    sys.exit(main())
