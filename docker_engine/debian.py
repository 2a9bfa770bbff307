"""Programs from Debian's packages, unpacked into a private folder, not installed. Standard library only."""

from __future__ import annotations

import contextlib
import os
import platform
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


class Unavailable(Exception):
    """Something is not available on this machine; the message says why, and the way out."""


def say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def run(*command: str | Path, **options: object) -> subprocess.CompletedProcess[str]:
    """Run a command quietly; show its output only if it fails. Raises Unavailable."""
    try:
        done = subprocess.run(
            [str(part) for part in command],
            check=False,
            **{
                "stdin": subprocess.DEVNULL,
                "stdout": subprocess.PIPE,
                "stderr": subprocess.STDOUT,
                "text": True,
                **options,
            },
        )
    except FileNotFoundError:
        raise Unavailable(f"there is no {command[0]} here, which this needs") from None
    if done.returncode:
        raise Unavailable(f"{shlex.join(map(str, command))} failed ({done.returncode}):\n{(done.stdout or '').strip()}")
    return done


def quiet(*command: str) -> bool:
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        return (
            subprocess.run(command, check=False, capture_output=True, stdin=subprocess.DEVNULL, timeout=30).returncode
            == 0
        )
    return False


def refuse_elsewhere(what: str, way_out: str) -> None:
    """Raise Unavailable, with every reason, where a daemon from packages cannot run."""
    release = platform.freedesktop_os_release() if hasattr(platform, "freedesktop_os_release") else {}
    system = release.get("PRETTY_NAME", platform.system())
    reasons = {
        "this is not root": os.geteuid() != 0,
        f"this is {system}, not Debian": release.get("ID") != "debian",
        f"this is {platform.machine()}, not x86-64": platform.machine() != "x86_64",
    }
    if any(reasons.values()):
        raise Unavailable(f"{what}: {'; '.join(reason for reason, holds in reasons.items() if holds)}.\n{way_out}")


def empty(final: Path) -> Path:
    """A new folder, to be renamed to the final one when all in it works."""
    partial = final.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    return partial


def host_sources() -> dict[str, str]:
    """The mirrors of the host's own apt: suite -> address, the suites of its own release first."""
    targets = run("apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE) $(COMPONENT)", "Created-By: Packages")
    rows = (line.split() for line in targets.stdout.splitlines())
    return {release: uri for uri, release, component in rows if component == "main"}


def host_release() -> str:
    return platform.freedesktop_os_release()["VERSION_CODENAME"]


def mirror() -> str:
    """The address of the host's Debian mirror, which has every suite."""
    try:
        return host_sources()[host_release()]
    except KeyError:
        raise Unavailable(f"apt's sources name no mirror for Debian {host_release()}: add it to /etc/apt.") from None


class Apt:
    """A private apt for one suite. It has the host's mirror and keys, but its own lists, cache and state."""

    def __init__(self, suite: str, home: Path, uri: str = "") -> None:
        self.uri = uri  # of the archive, if not the host's mirror
        self.folder = home / "apt" / suite
        for part in ("lists/partial", "cache/archives/partial", "debs"):
            (self.folder / part).mkdir(parents=True, exist_ok=True)
        (self.folder / "status").touch()
        places = {
            "Dir::State": self.folder,
            "Dir::State::lists": self.folder / "lists",
            "Dir::Cache": self.folder / "cache",
            "APT::Sandbox::User": "root",
            "Acquire::Retries": "3",
            **self.sources_and_status(suite),
        }
        self.options = [part for key, value in places.items() for part in ("-o", f"{key}={value}")]

    def sources_and_status(self, suite: str) -> dict[str, object]:
        signed = f"[signed-by={KEYRING}] " if KEYRING.exists() else ""
        (self.folder / "sources.list").write_text(f"deb {signed}{self.uri or mirror()} {suite} main\n")
        return {
            "Dir::State::status": self.folder / "status",
            "Dir::Etc::sourcelist": self.folder / "sources.list",
            "Dir::Etc::sourceparts": "/dev/null",
        }

    def update(self) -> None:
        """Raises Unavailable if the archive does not answer."""
        run("apt-get", *self.options, "-o", "APT::Update::Error-Mode=any", "update")

    def unpack(self, packages: tuple[str, ...], target: Path) -> None:
        """Unpack these packages alone, without their dependencies."""
        run("apt-get", *self.options, "update")
        run("apt-get", *self.options, "download", *packages, cwd=self.folder / "debs")
        unpack_all(self.folder / "debs", target)


class HostApt(Apt):
    """Like Apt, but with the host's own sources and its record of installed packages. It installs nothing."""

    def __init__(self, home: Path) -> None:
        super().__init__("host", home)

    def sources_and_status(self, suite: str) -> dict[str, object]:
        return {"Dir::State::status": "/var/lib/dpkg/status"}

    def unpack(self, packages: tuple[str, ...], target: Path) -> None:
        """Unpack these packages, and those of their dependencies that the host lacks."""
        run("apt-get", *self.options, "update")
        quick = ("--download-only", "--reinstall", "--no-install-recommends", "--yes")
        run("apt-get", *self.options, "install", *quick, *packages)
        unpack_all(self.folder / "cache/archives", target)


def unpack_all(debs: Path, target: Path) -> None:
    for package in sorted(debs.glob("*.deb")):
        run("dpkg", "-x", package, target)
