#!/usr/bin/env python3
"""Build the image: the public isx, or IDPS where an installer is given or lies at the root of the project.

    build.py [target] [bake option...]

Works out what bake cannot (the installer's sha256 and version, the commit) and hands over to `docker buildx bake`.
Variables of docker-bake.hcl come from the environment, and INSTALLER=path names the installer. Standard library only.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "stages"))

from install_isx import BuildError, assert_version, name_and_version_in_stub, verify

PROJECT = Path(__file__).resolve().parent.parent
SECRET_LIMIT = 500 * 1024  # BuildKit's own
WAYS = ("INSTALLER", "INSTALLER_DIR", "INSTALLER_SECRET", "INSTALLER_URL")


def find_installer() -> Path | None:
    """INSTALLER, or, where none is named in any way, the one that lies at the root of the project."""
    named = [way for way in WAYS if os.environ.get(way)]
    if len(named) > 1:
        raise BuildError(f"Two installers or more: {' and '.join(named)} are set. Leave one.")
    if named:
        return file_of("INSTALLER") if named == ["INSTALLER"] else None
    found = sorted(PROJECT.glob("Inscopix*.sh"))
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise BuildError(
            f"Two installers or more lie at the root of the project: {names}. Name one with INSTALLER=path."
        )
    return found[0] if found else None


def file_of(variable: str) -> Path:
    path = Path(os.environ[variable]).expanduser().resolve()
    if not path.is_file():
        raise BuildError(f"{variable}={os.environ[variable]}: there is no such file.")
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
    name, version = name_and_version_in_stub(installer)
    assert_version(installer, version, os.environ.get("INSTALLER_VERSION", ""))
    if os.environ.get("ACCEPT_EULA", "").upper() not in ("Y", "YES"):
        raise BuildError(
            f"{installer.name} is {name} {version}. Its licence is not accepted: read the vendor's licence, then build "
            "with ACCEPT_EULA=Y."
        )
    return {"INSTALLER_SHA256": sha256, "INSTALLER_VERSION": version}


def of_commit() -> dict[str, str]:
    """REVISION and SOURCE_DATE_EPOCH of the last commit; nothing outside a git checkout."""

    def git(*arguments: str) -> str:
        if not shutil.which("git"):
            return ""
        done = subprocess.run(["git", "-C", PROJECT, *arguments], check=False, capture_output=True, text=True)
        return done.stdout.strip() if done.returncode == 0 else ""

    commit, seconds = git("rev-parse", "HEAD"), git("log", "-1", "--format=%ct")
    dirty = "-dirty" if git("status", "--porcelain", "--untracked-files=no") else ""
    known = {"REVISION": commit and commit + dirty, "SOURCE_DATE_EPOCH": seconds}
    return {name: os.environ.get(name) or value for name, value in known.items() if value}


def bake(target: str, options: list[str], variables: dict[str, str]) -> int:
    environment = {**os.environ, **of_commit(), **variables}
    # bake asks before it reads from outside the project; what the caller named is meant to be read.
    named = filter(
        None, map(environment.get, ("SSL_CERT_FILE", "PIP_CONFIG_FILE", "INSTALLER_DIR", "INSTALLER_SECRET"))
    )
    command = ["docker", "buildx", "bake", *(f"--allow=fs.read={path}" for path in named), target, *options]
    return subprocess.run(command, check=False, cwd=PROJECT, env=environment).returncode


def main(arguments: list[str]) -> int:
    try:
        if arguments and not arguments[0].startswith("-"):
            return bake(arguments[0], arguments[1:], {})
        installer = find_installer()
        if installer:
            variables = of_installer(installer)
            with tempfile.TemporaryDirectory(dir=PROJECT, prefix=".installer-") as folder:
                link_or_copy(installer, Path(folder))
                return bake("image-idps", arguments, {**variables, "INSTALLER_DIR": folder})
        if os.environ.get("INSTALLER_SECRET"):
            secret = file_of("INSTALLER_SECRET")
            assert_small_enough(secret)
            return bake("image-idps", arguments, {**of_installer(secret), "INSTALLER_SECRET": str(secret)})
        by_other_way = os.environ.get("INSTALLER_DIR") or os.environ.get("INSTALLER_URL")
        if os.environ.get("ACCEPT_EULA") and not by_other_way:
            print("No installer was named, and no Inscopix*.sh lies here: this is the public isx.", file=sys.stderr)
        return bake("image-idps" if by_other_way else "image", arguments, {})
    except BuildError as error:
        print(f"\nERROR: {error}\n", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
