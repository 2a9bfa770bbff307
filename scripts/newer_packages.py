#!/usr/bin/env python3
"""Name the distribution's packages in the image of which the archive has newer versions.

    newer_packages.py [image]    default: IMAGE, or isx

The image has no apt: the base that its label names is asked, with the sources that the build used. Exit code: 0 if all
are the newest, 1 if some are not, 2 if the archive cannot be asked: then nothing is known. Standard library only.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass

BASE_LABEL = "org.opencontainers.image.base.name"
STATUS = "/var/lib/dpkg/status"
WAY_OUT = (
    "Build again, with the packages of today: docker buildx bake --set image.no-cache-filter=base,system-public\n"
    '(for make\'s own engine, eval "$(make engine-env)" first)'
)
# One line a package that is not the newest: name, version here, version there, suite.
ASK = r"""
set -eu
apt-get -o APT::Update::Error-Mode=any update > /tmp/said 2>&1 || { tail -n 3 /tmp/said >&2; exit 1; }
if grep -qE '^(W: Failed|E:|Err:)' /tmp/said; then grep -E '^(W|E|Err)' /tmp/said | head -n 3 >&2; exit 1; fi
apt-cache policy | grep -qE 'release .*[an]=[^,]*-security' \
  || { echo 'the base has no source of security updates' >&2; exit 1; }
while read -r package version; do
  newest=$(apt-cache policy "$package" | sed -n 's/^  Candidate: //p')
  if [ -n "$newest" ] && [ "$newest" != "(none)" ] && dpkg --compare-versions "$version" lt "$newest"; then
    suite=$(apt-cache madison "$package" | grep -F " $newest " | head -n 1 | awk '{print $6}')
    echo "$package $version $newest $suite"
  fi
done
"""


class CannotAsk(Exception):
    """The archive, the base or the image cannot be asked; the message says why."""


@dataclass(frozen=True)
class Outdated:
    package: str
    here: str
    newest: str
    suite: str

    def __str__(self) -> str:
        return f"{self.package} {self.here}: {self.suite or 'the archive'} has {self.newest}"


def installed(status: str) -> dict[str, str]:
    """Versions by package, from dpkg's records."""
    versions = {}
    for entry in status.split("\n\n"):
        fields = dict(re.findall(r"^(Package|Status|Version): (.*)$", entry, re.MULTILINE))
        if fields.get("Status", "").endswith(" installed"):
            versions[fields["Package"]] = fields["Version"]
    return versions


def outdated(image: str) -> tuple[list[Outdated], int]:
    """The packages that are not the newest, and how many there are. Raises CannotAsk."""
    packages = installed(docker("run", "--rm", "--entrypoint", "cat", image, STATUS))
    base = docker("image", "inspect", "--format", f'{{{{index .Config.Labels "{BASE_LABEL}"}}}}', image).strip()
    if not packages or not base:
        raise CannotAsk(f"{image} does not say what it is made of")
    asked = "".join(f"{package} {version}\n" for package, version in packages.items())
    answer = docker("run", "--rm", "--interactive", "--user", "0", "--entrypoint", "sh", base, "-c", ASK, given=asked)
    return list(parsed(answer.splitlines())), len(packages)


def parsed(answer: Iterable[str]) -> Iterable[Outdated]:
    for line in answer:
        package, here, newest, *suite = line.split(" ")
        yield Outdated(package, here, newest, "".join(suite).partition("/")[0])


def docker(*arguments: str, given: str = "") -> str:
    """Raises CannotAsk."""
    try:
        done = subprocess.run(["docker", *arguments], check=False, capture_output=True, text=True, input=given)
    except FileNotFoundError:
        raise CannotAsk("there is no docker here") from None
    if done.returncode:
        raise CannotAsk(" ".join(done.stderr.split()[-40:]) or f"docker {arguments[0]} ended with {done.returncode}")
    return done.stdout


def report(image: str) -> int:
    try:
        newer, count = outdated(image)
    except CannotAsk as error:
        print(f"\nERROR: nothing is known about the distribution's packages in {image}: {error}.\n", file=sys.stderr)
        return 2
    for package in newer:
        print(package)
    print(f"{count} packages of the distribution in {image}: {len(newer)} have newer versions.")
    if newer:
        print(WAY_OUT)
    return 1 if newer else 0


if __name__ == "__main__":
    sys.exit(report(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("IMAGE") or "isx"))
