"""Why a file or folder cannot be read or written, whose it is, and the way out that fits what runs the container."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Mapping
from pathlib import Path

from common.text import text_of

FULL = {errno.ENOSPC, errno.EDQUOT}
NO_SPACE = "no space left on the output's disk: free some and run again"
ALL_IDS = 4294967295  # how many the first user namespace knows


def why_unread(path: Path, error: OSError) -> str:
    """Why a file or folder of the input cannot be read; if its rights forbid it, whose it is and the way out."""
    forbidden = rights_forbid(path) if error.errno in (errno.EACCES, errno.EPERM) else ""
    return forbidden or error.strerror or str(error)


def rights_forbid(path: Path) -> str:
    """Why this user may not read a file or folder that is there, and the way out; "" if it may."""
    place = _in_the_way(Path(os.path.realpath(path)))
    if place is None:
        return ""
    try:
        owner = place.stat()
    except OSError:  # it has just gone
        return ""
    uid, denied = os.getuid(), f"{os.strerror(errno.EACCES)}: {place}"
    if owner.st_uid == uid:
        rights = "rx" if stat.S_ISDIR(owner.st_mode) else "r"
        return f"{denied} belongs to this user (uid {uid}) but is not readable for it: chmod u+{rights}"
    return f"{denied} is not readable for uid {uid}: {way_out(owner, 'read')}"


def _in_the_way(path: Path) -> Path | None:
    """The first folder on the way that this user may not enter; else the path, if it may not be read."""
    for folder in reversed(path.parents):
        if not os.access(folder, os.X_OK):
            return folder
    is_open = os.access(path, os.R_OK | os.X_OK if path.is_dir() else os.R_OK)
    return None if is_open else path


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
