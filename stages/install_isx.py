#!/usr/bin/env python3
"""Bake the isx API into a folder; runs in a builder stage of the Dockerfile.

    install_isx.py public TARGET    the package `isx` that Inscopix publishes
    install_isx.py idps TARGET      the IDPS installer (a CPack STGZ archive) from the slot or a secret

Both end with the same tree: TARGET/<IDPS layout>, TARGET/api (a link to its API/Python folder, so that no path with
spaces is needed) and TARGET/isx.json (source, name, version, sha256). Whatever is amiss ends the build with one
message: what was found, and what to do. Standard library and `runner.elf` only.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import urllib.request
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from runner import elf  # the project is not installed where this runs

LAYOUT = Path("Inscopix Data Processing.linux/Contents/API/Python")
SLOT = Path(os.environ.get("INSTALLER_SLOT", "/installer"))
SECRETS = Path(os.environ.get("SECRETS", "/run/secrets"))
DOWNLOAD = Path(tempfile.gettempdir(), "installer.sh")
HOW = (
    "Pass it with 'make image INSTALLER=path/to/Inscopix_Data_Processing_X.Y.Z.sh ACCEPT_EULA=Y' "
    "or 'INSTALLER_DIR=folder ACCEPT_EULA=Y docker buildx bake image-idps'."
)
BLOCK = 1 << 20
LICENCE = re.compile("licen[cs]e|copying|copyright|notice|eula", re.IGNORECASE)


class BuildError(Exception):
    """The image cannot be built; the message says what was found and what to do."""


@dataclass(frozen=True)
class Product:
    """What is baked in; `sha256` is of the wheel or the installer."""

    source: str
    name: str
    version: str
    sha256: str


# --- the public package -------------------------------------------------------------------------------------------


def install_public(target: Path) -> Product:
    version, sha256 = os.environ["ISX_VERSION"], os.environ["ISX_SHA256"]
    api = target / LAYOUT
    with tempfile.TemporaryDirectory() as folder:
        pin = Path(folder, "isx.txt")
        pin.write_text(f"isx=={version} --hash=sha256:{sha256}\n")
        command = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-compile", "--require-hashes"]
        command += ["--only-binary", ":all:", "--target", str(api), "-r", str(pin)]
        done = with_retries(command)
    if done.returncode:
        raise BuildError(
            f"isx {version} could not be installed.\n{done.stderr.strip()}\n"
            f"This base has Python {sys.version_info[0]}.{sys.version_info[1]} and glibc {elf.system_glibc()}. If the "
            "sha256 differs: each Python has a wheel of its own; set PYTHON_VERSION to the base's. If nothing was "
            "found: the index does not offer it, or only for a newer glibc; take a newer BASE_IMAGE, such as Debian 12."
        )
    drop_unreached_libraries(api)
    return Product("public", "isx", version, sha256)


def with_retries(pip: list[str]) -> subprocess.CompletedProcess[str]:
    """pip gives up on a download that stalls half-way; only what a new attempt cannot change is final."""
    for _ in range(4):
        done = subprocess.run(pip, check=False, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        if done.returncode == 0 or "DO NOT MATCH THE HASHES" in done.stderr or "No matching" in done.stderr:
            break
        print(done.stderr, file=sys.stderr)
    return done


def drop_unreached_libraries(api: Path) -> None:
    """The wheel carries several libraries twice; only those stay that the loader reaches, whatever their names."""
    needed = reached(api)
    for library in [*api.glob("isx/lib/*.so*"), *api.glob("isx.libs/*.so*")]:
        if library.resolve() not in needed:
            library.unlink()


def reached(api: Path) -> set[Path]:
    """The native library and all that the loader reaches from it."""
    (library,) = elf.find_library(api)
    return {library.resolve(), *(path.resolve() for path in elf.closure(library).found.values())}


# --- the IDPS installer -------------------------------------------------------------------------------------------


def install_idps(target: Path) -> Product:
    tree = os.environ.get("ISX_TREE") or "full"
    if tree not in ("full", "api"):
        raise BuildError(f"ISX_TREE={tree}: there are only full and api.")
    installer = find_installer()
    sha256 = verify(installer, os.environ.get("ISX_SHA256", ""))
    name, version = name_and_version(installer)
    assert_version(installer, version, os.environ.get("ISX_VERSION", ""))
    if os.environ.get("ACCEPT_EULA", "").upper() not in ("Y", "YES"):
        raise BuildError(
            f"The licence of {name} {version} is not accepted: read the vendor's licence, then build with "
            "ACCEPT_EULA=Y."
        )
    unpack(installer, target)
    DOWNLOAD.unlink(missing_ok=True)  # or it would stay in the layer of this stage, which a cache may export
    assert_layout(target, name, version)
    if tree == "api":
        keep_api_only(target)
    return Product("idps", name, version, sha256)


def find_installer() -> Path:
    """The one installer, from the slot, the secret or the address in a secret."""
    slot = sorted(path for path in SLOT.rglob("*") if path.is_file() and not path.name.startswith("."))
    secret = [path for path in (SECRETS / "installer",) if path.exists()]
    address = SECRETS / "installer_url"
    found = slot + secret
    if len(found) + address.exists() > 1:
        names = [*(str(path) for path in found), *(["the secret installer_url"] if address.exists() else [])]
        more = f" and {len(names) - 5} more" if len(names) > 5 else ""
        raise BuildError(f"Two installers or more, or other files beside one: {', '.join(names[:5])}{more}. Leave one.")
    if address.exists():
        return download(address.read_text().strip())
    if not found:
        raise BuildError(f"No IDPS installer was passed. {HOW}")
    return found[0]


def download(address: str) -> Path:
    """Fetch the installer from a signed address; the address itself never appears in a message."""
    if not os.environ.get("ISX_SHA256"):
        raise BuildError(
            "With the secret installer_url, INSTALLER_SHA256 is needed: it checks the download and keys the cache."
        )
    for attempt in (1, 2, 3):
        try:
            with urllib.request.urlopen(address, timeout=60) as response, DOWNLOAD.open("wb") as out:
                shutil.copyfileobj(response, out, BLOCK)
            return DOWNLOAD
        except (OSError, ValueError) as error:
            print(f"download of the installer, attempt {attempt} of 3: {type(error).__name__}", file=sys.stderr)
            reason = str(getattr(error, "reason", "") or type(error).__name__).replace(address, "(address)")
    raise BuildError(f"The installer could not be fetched from the secret installer_url: {reason}. Is it still valid?")


def verify(installer: Path, expected: str) -> str:
    """Check the bytes before any of them runs; returns their sha256.

    The archive is a shell stub followed by a gzip stream. The stub does not notice a lost end (it exits with 0), so
    the stream is read to its checksum here.
    """
    digest = hashlib.sha256()
    with installer.open("rb") as file:
        head = file.read(BLOCK)
        start = head.find(b"\n\x1f\x8b\x08") + 1
        is_stub = head.startswith(b"#!") and start > 0 and b"--skip-license" in head[:start]
        stream = zlib.decompressobj(wbits=31)
        block, rest = head, head[start:]
        try:
            while block:
                digest.update(block)
                if is_stub and not stream.eof:
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
    if not is_stub:
        raise BuildError(f"{installer.name} is not an IDPS installer (no self-extracting CPack archive). {HOW}")
    if not stream.eof:
        raise BuildError(f"{installer.name} is truncated ({installer.stat().st_size} bytes): download it again.")
    return actual


def run_stub(installer: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the installer with standard input closed (it would ask, in an endless loop) and a time limit."""
    given = os.environ.get("INSTALLER_TIMEOUT") or "900"
    try:
        seconds = float(given)
    except ValueError:
        raise BuildError(f"INSTALLER_TIMEOUT={given}: it must be a number of seconds.") from None
    command = ["sh", str(installer), *arguments]
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    try:
        return subprocess.run(command, check=False, timeout=seconds, text=True, errors="replace", **pipes)
    except subprocess.TimeoutExpired:
        raise BuildError(
            f"{installer.name} {' '.join(arguments)} did not end within {seconds:.0f} s: it may be waiting for an "
            "answer. Give it longer with INSTALLER_TIMEOUT, or report the installer's version."
        ) from None


def name_and_version(installer: Path) -> tuple[str, str]:
    """As the stub reports them with --version (it exits with 2)."""
    return parse_version(installer, run_stub(installer, "--version").stdout)


def name_and_version_in_stub(installer: Path) -> tuple[str, str]:
    """The same, read from the text of the stub: nothing of the vendor's runs outside the build."""
    with installer.open("rb") as file:
        return parse_version(installer, file.read(BLOCK).split(b"\n\x1f\x8b\x08")[0].decode(errors="replace"))


def parse_version(installer: Path, text: str) -> tuple[str, str]:
    """From CPack's line "<name> Installer Version: <version>, Copyright (c) <vendor>"."""
    for line in text.splitlines():
        name, found, rest = line.partition(" Installer Version: ")
        if found:
            return name.split("echo")[-1].strip(" \"'"), rest.split(",")[0].strip()
    raise BuildError(f"{installer.name} reports no name and version (it said: {text.strip()[:200]!r}). {HOW}")


def assert_version(installer: Path, version: str, expected: str) -> None:
    if expected and version != expected:
        raise BuildError(
            f"{installer.name} reports version {version}, but INSTALLER_VERSION says {expected}: correct it."
        )


def unpack(installer: Path, target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    done = run_stub(installer, "--skip-license", f"--prefix={target}", "--exclude-subdir")
    if done.returncode:
        tail = "\n".join(done.stdout.strip().splitlines()[-10:])
        raise BuildError(f"{installer.name} failed with exit code {done.returncode}:\n{tail}")


def assert_layout(target: Path, name: str, version: str) -> None:
    api = target / LAYOUT
    present = {elf.LIBRARY: bool(elf.find_library(api)), "isx/__init__.py": (api / "isx/__init__.py").is_file()}
    missing = [str(LAYOUT / part) for part, there in present.items() if not there]
    if missing:
        there = sorted(str(path.relative_to(target)) for path in target.glob("*/*"))[:10]
        raise BuildError(
            f"{name} {version} has another layout than expected: no {', '.join(missing)}. "
            f"Found: {', '.join(there) or 'nothing'}. Is it IDPS for Linux? "
            "Versions with the API in this place are supported."
        )


def keep_api_only(target: Path) -> None:
    """Keep the Python API, the shared libraries that it reaches, and licences; drop the rest (GUI, MATLAB API)."""
    api = target / LAYOUT
    needed = reached(api)
    for path in sorted(target.rglob("*"), reverse=True):
        if path.is_dir() and not path.is_symlink():
            if not any(path.iterdir()):
                path.rmdir()
        elif api not in path.parents and path.resolve() not in needed and not LICENCE.search(path.name):
            path.unlink()


# --- both ---------------------------------------------------------------------------------------------------------


def finish(target: Path, product: Product) -> None:
    """Make every file readable by any user, and write down what this is."""
    for path in [target, *target.rglob("*")]:
        if not path.is_symlink():
            executable = path.is_dir() or path.stat().st_mode & 0o111
            path.chmod(0o755 if executable else 0o644)
    (target / "api").symlink_to(LAYOUT)
    (target / "isx.json").write_text(json.dumps(asdict(product), indent=1) + "\n")
    print(json.dumps(asdict(product)))


def main(arguments: list[str]) -> int:
    source, target = arguments[0], Path(arguments[1])
    try:
        product = {"public": install_public, "idps": install_idps}[source](target)
        finish(target, product)
    except BuildError as error:
        print(f"\nERROR: {error}\n", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
