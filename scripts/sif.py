#!/usr/bin/env python3
"""Make the cluster's image, build/isx.sif, from the local Docker image, with Apptainer.

    sif.py [FILE]                  IMAGE names a local image other than isx:latest
    sif.py --charliecloud FOLDER   make a folder for Charliecloud instead; also done if Apptainer is not available

A machine without Apptainer gets a private one (cluster.py). Needs a running Docker engine. Standard library only.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "docker_engine"))

import cluster
from debian import Unavailable, run, say

PROJECT = Path(__file__).resolve().parent.parent
IMAGE = os.environ.get("IMAGE", "isx") + ":latest"
# Several times faster than Apptainer's default.
COMPRESSION = "-comp zstd -Xcompression-level 1"
MOUNT_POINTS = ("data", "output", "tmp", "dev", "proc", "sys")


def make_sif(target: Path, apptainer: str) -> None:
    partial = target.with_name(f".{target.name}.partial")
    partial.unlink(missing_ok=True)
    path = ":".join([os.environ.get("PATH", os.defpath), *map(str, cluster.PATHS)])
    command = (apptainer, "build", "--disable-cache", "--mksquashfs-args", COMPRESSION, partial)
    run(*command, f"docker-daemon:{IMAGE}", env={**os.environ, "PATH": path})
    partial.chmod(0o755)
    partial.replace(target)


def make_folder(target: Path) -> None:
    """Make the folder for Charliecloud: the image's files, its mount points and its environment."""
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    container = run("docker", "create", IMAGE).stdout.strip()
    archive = partial.with_suffix(".tar")
    try:
        run("docker", "export", "--output", archive, container)
    finally:
        run("docker", "rm", container)
    run("tar", "--extract", "--exclude=dev/*", "--no-same-owner", "--file", archive, "--directory", partial)
    archive.unlink()
    for name in (*MOUNT_POINTS, "ch"):
        (partial / name).mkdir(exist_ok=True)
    variables = json.loads(run("docker", "image", "inspect", "--format", "{{json .Config.Env}}", IMAGE).stdout)
    (partial / "ch/environment").write_text("".join(f"{variable}\n" for variable in variables))
    shutil.rmtree(target, ignore_errors=True)
    partial.rename(target)


def main(arguments: list[str]) -> int:
    as_folder = arguments[:1] == ["--charliecloud"]
    rest = arguments[as_folder:]
    if len(rest) > 1 or any(argument.startswith("-") for argument in rest) or (as_folder and not rest):
        say(__doc__ or "")
        return 64
    target = Path(rest[0]) if rest else PROJECT / "build/isx.sif"
    started = time.monotonic()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        apptainer = None if as_folder else cluster.apptainer()
        if apptainer:
            make_sif(target, apptainer)
        else:
            target = target if as_folder else target.with_suffix("")
            make_folder(target)
    except Unavailable as error:
        say(str(error))
        return 1
    print(f"{target} of {IMAGE}, in {time.monotonic() - started:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
