"""Whose a folder is that cannot be written, and the way out that fits what runs the container."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from runner.machine import text_of

ALL_IDS = 4294967295  # how many the first user namespace knows


def way_out(
    owner: os.stat_result, to: str = "write", root: Path = Path("/"), environment: Mapping[str, str] = os.environ
) -> str:
    """Who it belongs to, and what lets this user write or read there."""
    uid, limited = os.getuid(), _in_user_namespace(root)
    unknown = limited and owner.st_uid == _overflow_id(root, "uid")
    whose = f"it belongs to uid {owner.st_uid}, gid {owner.st_gid}"
    if unknown:
        whose = f"it belongs to a user whom the container does not know, shown as uid {owner.st_uid}"
    if "APPTAINER_CONTAINER" in environment or "SINGULARITY_CONTAINER" in environment:
        return f"{whose}; Apptainer runs as you: ask its owner for {to} permission, or bind a folder of your own"
    if not unknown:
        no_group = limited and owner.st_gid == _overflow_id(root, "gid")  # such a number stands for no group
        user = f"{owner.st_uid}" if no_group else f"{owner.st_uid}:{owner.st_gid}"
        return f"{whose}; run with `--user {user}`, or give uid {uid} {to} permission"
    if (root / "run/.containerenv").exists():
        return (
            f"{whose}; on the host, `ls -ld` shows its owner: if you may {to} there, run with "
            f"`--userns=keep-id --group-add keep-groups`, else ask the owner for {to} permission"
        )
    return f"{whose}; on the host, `ls -ld` shows its owner: give all users {to} permission, or mount another"


def _overflow_id(root: Path, kind: str) -> int:
    """The uid or gid that the kernel shows for one outside the user namespace."""
    text = text_of(root / f"proc/sys/kernel/overflow{kind}").strip()
    return int(text) if text.isdigit() else 65534


def _in_user_namespace(root: Path) -> bool:
    """Whether not every user of the host is known here (user_namespaces(7))."""
    ranges = [line.split() for line in text_of(root / "proc/self/uid_map").splitlines()]
    return bool(ranges) and ranges != [["0", "0", str(ALL_IDS)]]
