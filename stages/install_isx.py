#!/usr/bin/env python3
"""Bake the isx API into a folder; runs in a builder stage of the Dockerfile.

    install_isx.py public TARGET    the package `isx` that Inscopix publishes
    install_isx.py idps TARGET      the IDPS installer (a CPack STGZ archive) from the slot or a secret

Both end with the same tree: TARGET/<IDPS layout>, TARGET/api (a link to its API/Python folder, so that no path with
spaces is needed) and TARGET/isx.json (source, name, version, sha256). Whatever is amiss ends the build with one
message: what was found, and what to do. Standard library and `native.elf` only.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import watched
from download import download
from installer import HOW, SECRETS, BuildError, asked_in_a_stage, assert_version, find, parse_version, verify
from libraries import brought
from native import elf  # the project is not installed where this runs
from watched import Ended
from with_secrets import run_again

LAYOUT = Path("Inscopix Data Processing.linux/Contents/API/Python")
SLOT = Path("/installer")
DOWNLOAD = Path(tempfile.gettempdir(), "installer.sh")
LAST_OUTPUT = 1 << 16  # bytes
LONGEST = 1e9  # seconds
LICENCE = re.compile("licen[cs]e|copying|copyright|notice|eula", re.IGNORECASE)


@dataclass(frozen=True)
class Product:
    """What is baked in; `sha256` is of the wheel or the installer."""

    source: str
    name: str
    version: str
    sha256: str


# --- the public package -------------------------------------------------------------------------------------------


def install_public(target: Path) -> tuple[Product, Path]:
    version, api = os.environ["ISX_VERSION"], target / LAYOUT
    with tempfile.TemporaryDirectory() as folder:
        wheel = download_wheel(version, os.environ["ISX_SHA256"].split(), Path(folder))
        # By name, not by path: pip would leave the path, which differs each time, in the installed metadata.
        options = ["--no-index", "--find-links", wheel.parent, "--no-deps", "--no-compile", "--target", api]
        pip = [sys.executable, "-m", "pip", "install", *options, f"isx=={version}"]  # of a file that is here
        done = subprocess.run(pip, check=False, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        if done.returncode:
            raise BuildError(f"{wheel.name} could not be installed.\n{done.stderr.strip()}")
        sha256 = hashlib.sha256(wheel.read_bytes()).hexdigest()
    drop_unreached_libraries(api)
    return Product("public", "isx", version, sha256), api


def download_wheel(version: str, hashes: list[str], folder: Path) -> Path:
    """The wheel for this Python, which must have one of these sha256."""
    pin = folder / "isx.txt"
    pin.write_text(f"isx=={version} " + " ".join(f"--hash=sha256:{sha256}" for sha256 in hashes) + "\n")
    options = ["--no-deps", "--require-hashes", "--only-binary", ":all:", "--dest", folder, "-r", pin]
    done = run_again([sys.executable, "-m", "pip", "download", *options])
    if done.returncode:
        raise BuildError(
            f"isx {version} could not be downloaded.\n{done.stderr.strip()}\n"
            f"This base has Python {sys.version_info[0]}.{sys.version_info[1]} and glibc {elf.system_glibc()}. If the "
            "sha256 differs: each Python has a wheel of its own, and ISX_SHA256 must list this one's. If nothing was "
            "found: the index does not offer it, or only for a newer glibc; take a newer BASE_IMAGE, such as Debian 12."
        )
    return next(folder.glob("*.whl"))


def drop_unreached_libraries(api: Path) -> None:
    """The wheel carries several libraries twice; only those stay that the loader reaches, whatever their names."""
    needed = brought(native_library(api / "isx"), api)
    for library in [*api.glob("isx/lib/*.so*"), *api.glob("isx.libs/*.so*")]:
        if library.resolve() not in needed:
            library.unlink()


# --- the IDPS installer -------------------------------------------------------------------------------------------


def install_idps(target: Path) -> tuple[Product, Path]:
    tree = os.environ.get("ISX_TREE") or "full"
    if tree not in ("full", "api"):
        raise BuildError(f"ISX_TREE={tree}: there are only full and api.")
    installer = find_installer()
    sha256 = verify(installer, os.environ.get("INSTALLER_SHA256", ""))
    name, version = name_and_version(installer)
    assert_version(installer, version, os.environ.get("INSTALLER_VERSION", ""))
    unpack(installer, target)
    DOWNLOAD.unlink(missing_ok=True)  # or it would stay in the layer of this stage, which a cache may export
    api = find_api(target, name, version)
    if tree == "api":
        keep_api_only(target, api)
    return Product("idps", name, version, sha256), api


def find_installer() -> Path:
    """The one installer: from the address in a secret, the secret itself, or the slot."""
    wanted = asked_in_a_stage(os.environ, SLOT)
    if "INSTALLER_URL" in wanted.ways:
        if not os.environ.get("INSTALLER_SHA256"):
            raise BuildError("INSTALLER_URL needs INSTALLER_SHA256: it checks the download and keys the cache.")
        return download(secret("installer_url").read_text().strip(), DOWNLOAD)
    if "INSTALLER_SECRET" in wanted.ways:
        return secret("installer")
    installer = find(SLOT, wanted.named)
    if installer is None:
        raise BuildError(f"No IDPS installer was passed. {HOW}")
    return installer


def secret(name: str) -> Path:
    path = SECRETS / name
    if not path.exists():
        raise BuildError(f"The secret {name} was not passed to the build. {HOW}")
    return path


def run_stub(installer: Path, *arguments: str) -> Ended:
    """Run the installer; it would ask, in an endless loop, if anybody could answer. Raises BuildError in time."""
    ended = watched.run(["sh", installer, *arguments], seconds := time_limit(), LAST_OUTPUT)
    if ended.code is None:
        raise BuildError(
            f"{installer.name} {' '.join(arguments)} did not finish within {seconds:.0f} s: it may be "
            "waiting for an answer. Give it longer with INSTALLER_TIMEOUT, or report the installer's version."
            f"{ended.quoted}"
        )
    return ended


def time_limit() -> float:
    given = os.environ.get("INSTALLER_TIMEOUT") or "900"
    try:
        seconds = float(given)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < LONGEST:
        raise BuildError(f"INSTALLER_TIMEOUT={given[:40]}: it must be a number of seconds.")
    return seconds


def name_and_version(installer: Path) -> tuple[str, str]:
    """Name and version that the stub reports with --version (it exits with 2)."""
    return parse_version(installer, run_stub(installer, "--version").said)


def unpack(installer: Path, target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    done = run_stub(installer, "--skip-license", f"--prefix={target}", "--exclude-subdir")
    if done.code:
        raise BuildError(f"{installer.name} failed with {done.how}:{done.quoted or ' it said nothing.'}")


def find_api(target: Path, name: str, version: str) -> Path:
    """The folder of the Python API, wherever the tree has it: it holds the package isx, and the native library in it or
    beside it. Raises BuildError where there is none, or more than one."""
    packages = sorted(init.parent for init in target.rglob("isx/__init__.py"))
    folders = {package.parent.resolve(): package.parent for package in packages if native_library(package)}
    if len(folders) == 1:
        return next(iter(folders.values()))
    if folders:
        places = ", ".join(str(path.relative_to(target)) for path in folders.values())
        raise BuildError(f"{name} {version} has the Python API more than once: {places}. Please report it.")
    libraries = [str(path.relative_to(target)) for path in elf.find_library(target)]
    there = sorted(str(path.relative_to(target)) for path in target.glob("*/*"))[:10]
    if packages:
        missing = f"no {elf.LIBRARY} in {packages[0].relative_to(target)} or beside it"
    else:
        missing = "no package isx (isx/__init__.py)"
    raise BuildError(
        f"{name} {version} has another layout than expected: {missing}. "
        f"Found: {', '.join(libraries + there) or 'nothing'}. Is it IDPS for Linux?"
    )


def native_library(package: Path) -> Path | None:
    """Where isx looks for its native library: the public one in isx/lib, that of IDPS beside the package."""
    places = (package / "lib" / elf.LIBRARY, package / elf.LIBRARY, package.parent / elf.LIBRARY)
    return next((place for place in places if place.exists()), None)


def keep_api_only(target: Path, api: Path) -> None:
    """Keep the Python API, the shared libraries that it reaches, and licences; drop the rest (GUI, MATLAB API)."""
    needed = brought(native_library(api / "isx"), target)
    for path in sorted(target.rglob("*"), reverse=True):
        if path.is_dir() and not path.is_symlink():
            if not any(path.iterdir()):
                path.rmdir()
        elif api not in path.parents and path.resolve() not in needed and not LICENCE.search(path.name):
            path.unlink()


# --- both ---------------------------------------------------------------------------------------------------------


def finish(target: Path, product: Product, api: Path) -> None:
    """Make every file readable by any user, and write down what this is."""
    for path in [target, *target.rglob("*")]:
        if not path.is_symlink():
            executable = path.is_dir() or path.stat().st_mode & 0o111
            path.chmod(0o755 if executable else 0o644)
    (target / "api").symlink_to(api.relative_to(target))
    (target / "isx.json").write_text(json.dumps(asdict(product), indent=1) + "\n")
    print(json.dumps(asdict(product)))


def main(arguments: list[str]) -> int:
    source, target = arguments[0], Path(arguments[1])
    try:
        product, api = {"public": install_public, "idps": install_idps}[source](target)
        finish(target, product, api)
    except BuildError as error:
        print(f"\nERROR: {error}\n", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
