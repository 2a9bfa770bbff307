#!/usr/bin/env python3
"""Report known vulnerabilities of what the image's locks name, as the OSV database has them (https://osv.dev), and the
distribution's packages in the image that have newer versions (newer_packages.py).

    audit.py [export]    OSV's export for PyPI, all.zip; without one it is fetched

Exit code: 0 if none is known, 1 if some are, 2 if the database or the archive cannot be read: then nothing is known of
that half. Standard library only.
"""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
import urllib.request
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import newer_packages

PROJECT = Path(__file__).resolve().parent.parent
EXPORT = "https://osv-vulnerabilities.storage.googleapis.com/PyPI/all.zip"
Locked = dict[tuple[str, str], list[str]]  # (package, version): the locks that name it


class Unreadable(Exception):
    """The database cannot be read; the message says why."""


@dataclass(frozen=True)
class Finding:
    """One advisory that holds for one locked package, or may hold if it lists no versions."""

    package: str
    version: str
    advisory: str
    summary: str
    certain: bool


def locks() -> list[Path]:
    return sorted((PROJECT / "requirements").glob("python*.txt"))


def locked(files: list[Path]) -> Locked:
    releases: Locked = {}
    for file in files:
        for name, version in re.findall(r"^([\w.-]+)==(\S+)", file.read_text(encoding="utf-8"), re.MULTILINE):
            releases.setdefault((normalised(name), version), []).append(file.name)
    return releases


def normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def advisories(export: Path) -> Iterator[dict]:
    """The records of the export that were not withdrawn. Raises Unreadable."""
    try:
        with zipfile.ZipFile(export) as archive:
            for name in archive.namelist():
                record = json.loads(archive.read(name))
                if not record.get("withdrawn"):
                    yield record
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise Unreadable(f"{export.name} is no export of OSV: {error}") from None


def findings(records: Iterator[dict], packages: Locked) -> tuple[list[Finding], int, str]:
    """What holds for these packages, of how many advisories, and when the newest of those was changed."""
    names = {name for name, _ in packages}
    holding, count, newest = set(), 0, ""
    for record in records:
        count, newest = count + 1, max(newest, record.get("modified", ""))
        said = ", ".join([record["id"], *record.get("aliases", ())])
        for affected in record.get("affected", ()):
            name = normalised(affected.get("package", {}).get("name", ""))
            versions = affected.get("versions", ())
            for package, version in packages if name in names else ():
                if package == name and (version in versions or not versions):
                    holding.add(Finding(name, version, said, record.get("summary", ""), bool(versions)))
    return sorted(holding, key=lambda finding: (finding.package, finding.version, finding.advisory)), count, newest


def fetch(folder: Path) -> Path:
    target = folder / "all.zip"
    try:
        with urllib.request.urlopen(EXPORT, timeout=60) as answer, target.open("wb") as file:
            while block := answer.read(1 << 20):
                file.write(block)
    except OSError as error:
        reason = getattr(error, "reason", None) or error
        raise Unreadable(f"{EXPORT} cannot be fetched ({reason}). Fetch it where you can, and pass OSV=path") from None
    return target


def report(export: Path) -> int:
    releases = locked(locks())
    holding, count, newest = findings(advisories(export), releases)
    if not count:
        raise Unreadable(f"{export.name} holds no advisory")
    for finding in holding:
        where = ", ".join(releases[finding.package, finding.version])
        doubt = "" if finding.certain else " (lists no versions: look whether this one is meant)"
        print(f"{finding.package} {finding.version} ({where}): {finding.advisory}: {finding.summary}{doubt}")
    print(f"{len(releases)} releases in {len(locks())} locks, {count} advisories up to {newest}: {len(holding)} hold.")
    return 1 if holding else 0


def main(export: str = "") -> int:
    of_locks = audit_locks(export)
    return max(of_locks, newer_packages.report(os.environ.get("IMAGE") or "isx"))


def audit_locks(export: str) -> int:
    try:
        with tempfile.TemporaryDirectory() as folder:
            return report(Path(export) if export else fetch(Path(folder)))
    except Unreadable as error:
        print(f"\nERROR: nothing is known about the locks: {error}.\n", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
