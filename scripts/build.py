#!/usr/bin/env python3
"""Build the image: the public isx, or IDPS if its installer is named or lies at the root of the project.

    build.py [target] [bake option...]

Says at once what the build would refuse, works out what bake cannot (the installer's sha256 and version, the commit)
and hands over to `docker buildx bake`. Variables of docker-bake.hcl come from the environment, and INSTALLER=path names
the installer. Standard library only.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "stages"))

from installer import (
    Asked,
    BuildError,
    asked,
    assert_version,
    choose,
    find,
    name_and_version,
    record_of_latest,
    verify,
)

PROJECT = Path(__file__).resolve().parent.parent
SECRET_LIMIT = 500 * 1024  # BuildKit's own


def build(options: list[str]) -> int:
    """The image, from whatever was dropped in or named."""
    wanted = asked(os.environ, held=idps_in_latest())
    with tempfile.TemporaryDirectory(dir=PROJECT, prefix=".installer-") as folder:
        slot = slot_for(wanted, Path(folder))
        if choose(wanted, slot) == "public":
            variables = {"INSTALLER": "", "INSTALLER_DIR": "", "INSTALLER_SECRET": "", "INSTALLER_URL": ""}
            return note_latest(wanted, bake("image", options, variables), "")
        variables = {"INSTALLER": ""}
        product = "IDPS"
        if "INSTALLER_URL" not in wanted.ways:
            installer = file_of("INSTALLER_SECRET") if wanted.elsewhere else find(slot, wanted.named)
            variables.update(of_installer(installer))
            product = " ".join(name_and_version(installer))
        if wanted.named:
            variables["INSTALLER_DIR"] = str(slot)
        if wanted.ways == ("INSTALLER_SECRET",):
            options = [*options, *secrets("image", installer), *secrets("found-packages", installer)]
        code = bake("found-packages", options, variables)
        if code == 0:
            code = bake("image", options, {**variables, "FOUND_PACKAGES": found_packages()})
        return note_latest(wanted, code, product)


def found_packages() -> str:
    """The distribution's packages, and their versions, that the build has just found for the product; often none."""
    record = PROJECT / "build/found/packages.json"
    if not record.is_file():
        return ""
    text = record.read_text()
    record.unlink()  # so that nobody takes it for another build's
    return " ".join(f"{name}={version}" for name, version in json.loads(text).items())


def secrets(target: str, installer: Path) -> list[str]:
    """The installer as a secret, beside those that bake passes: not from docker-bake.hcl, as nothing there can check
    its size, and BuildKit's own message does not say what to do."""
    passed = {"installer": str(installer)}
    passed.update({"ca": os.environ.get("SSL_CERT_FILE", ""), "pip": os.environ.get("PIP_CONFIG_FILE", "")})
    passed["licence"] = os.environ.get("LICENCE", "")
    return [
        part for name, path in passed.items() if path for part in ("--set", f"{target}.secrets=id={name},src={path}")
    ]


def idps_in_latest() -> str:
    """The IDPS that the image's tag latest holds now; empty if it holds none, or there is no such image."""
    labels = '{{index .Config.Labels "isx.source"}} {{index .Config.Labels "isx.version"}}'
    image = (os.environ.get("IMAGE") or "isx") + ":latest"
    done = subprocess.run(
        ["docker", "image", "inspect", "--format", labels, image], check=False, capture_output=True, text=True
    )
    source, _, version = done.stdout.strip().partition(" ")
    return f"IDPS {version}".strip() if source == "idps" else ""


def note_latest(wanted: Asked, code: int, product: str) -> int:
    """Say if the tag latest is something else now, and write it down for bake and compose, which cannot look."""
    record = record_of_latest(PROJECT, wanted.image)
    if code == 0 and product:
        record.parent.mkdir(exist_ok=True)
        record.write_text(product + "\n")
    elif code == 0:
        record.unlink(missing_ok=True)
    if code == 0 and bool(product) != bool(wanted.held):
        held = wanted.held or "not IDPS"
        print(f"{wanted.image}:latest now holds {product or 'the public isx'} (before: {held}).", file=sys.stderr)
    return code


def slot_for(wanted: Asked, folder: Path) -> Path:
    """Where to look for the installer: the root of the project, the folder that is named, or an empty one with a link
    to the file that is named, so that nothing beside it is sent to the builder."""
    if wanted.ways == ("INSTALLER_DIR",):
        return folder_of("INSTALLER_DIR")
    if wanted.ways == ("INSTALLER_SECRET",):
        assert_small_enough(file_of("INSTALLER_SECRET"))
    if wanted.ways == ("INSTALLER",):
        link_or_copy(file_of("INSTALLER"), folder)
        return folder
    return PROJECT


def file_of(variable: str) -> Path:
    path = Path(os.environ[variable]).expanduser().resolve()
    if path.is_dir():
        raise BuildError(f"{variable}={os.environ[variable]} is a folder: name the installer's file in it.")
    if not path.is_file():
        raise BuildError(f"{variable}={os.environ[variable]}: there is no such file.")
    return path


def folder_of(variable: str) -> Path:
    path = Path(os.environ[variable]).expanduser().resolve()
    if path.is_file():
        raise BuildError(f"{variable}={os.environ[variable]} is a file: name its folder, or use INSTALLER=path.")
    if not path.is_dir():
        raise BuildError(f"{variable}={os.environ[variable]}: there is no such folder.")
    if path == PROJECT or path in PROJECT.parents:
        raise BuildError(
            f"{variable}={os.environ[variable]} holds the whole project: leave {variable} out if the installer lies at "
            "the root of the project."
        )
    return path


def assert_small_enough(secret: Path) -> None:
    if secret.stat().st_size > SECRET_LIMIT:
        raise BuildError(
            f"{secret} is too large for a BuildKit secret ({secret.stat().st_size} bytes; at most {SECRET_LIMIT}): "
            "pass it with INSTALLER=path, which bind-mounts it, or as INSTALLER_URL with INSTALLER_SHA256."
        )


def link_or_copy(installer: Path, folder: Path) -> None:
    """A build context that holds the installer alone, so that nothing beside it is sent to the builder."""
    try:
        os.link(installer, folder / installer.name)
    except OSError:
        shutil.copy2(installer, folder / installer.name)


def of_installer(installer: Path) -> dict[str, str]:
    """The bake variables for an installer; it is checked here too, before anything is built."""
    sha256 = verify(installer, os.environ.get("INSTALLER_SHA256", ""))
    _, version = name_and_version(installer)
    assert_version(installer, version, os.environ.get("INSTALLER_VERSION", ""))
    return {"INSTALLER_SHA256": sha256, "INSTALLER_VERSION": version}


def of_commit() -> dict[str, str]:
    """REVISION, SOURCE_DATE_EPOCH and SOURCE_URL of the last commit; nothing outside a git checkout."""

    def git(*arguments: str) -> str:
        if not shutil.which("git"):
            return ""
        done = subprocess.run(["git", "-C", PROJECT, *arguments], check=False, capture_output=True, text=True)
        return done.stdout.strip() if done.returncode == 0 else ""

    commit, seconds = git("rev-parse", "HEAD"), git("log", "-1", "--format=%ct")
    dirty = "-dirty" if git("status", "--porcelain", "--untracked-files=no") else ""
    known = {"REVISION": commit and commit + dirty, "SOURCE_DATE_EPOCH": seconds}
    known["SOURCE_URL"] = web_address(git("remote", "get-url", "origin"))
    return {name: os.environ.get(name) or value for name, value in known.items() if value}


def web_address(remote: str) -> str:
    """Where a browser finds a repository of git; empty if it is on this machine, or its address holds a password."""
    by_ssh = re.fullmatch(r"(?:ssh://)?git@([\w.-]+)[:/]([\w./-]+?)(?:\.git)?/?", remote)
    if by_ssh:
        return f"https://{by_ssh[1]}/{by_ssh[2]}"
    by_https = re.fullmatch(r"(https://[\w.-]+/[\w./-]+?)(?:\.git)?/?", remote)
    return by_https[1] if by_https else ""


def bake(target: str, options: list[str], variables: dict[str, str]) -> int:
    environment = {**os.environ, **of_commit(), **variables}
    # bake asks before it reads from outside the project; what the caller named is meant to be read.
    named = filter(
        None, map(environment.get, ("SSL_CERT_FILE", "PIP_CONFIG_FILE", "LICENCE", "INSTALLER_DIR", "INSTALLER_SECRET"))
    )
    command = ["docker", "buildx", "bake", *(f"--allow=fs.read={path}" for path in named), target, *options]
    return subprocess.run(command, check=False, cwd=PROJECT, env=environment).returncode


def main(arguments: list[str]) -> int:
    try:
        if arguments and not arguments[0].startswith("-"):
            return bake(arguments[0], arguments[1:], {})
        return build(arguments)
    except (BuildError, OSError) as error:
        print(f"\nERROR: {error}\n", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
