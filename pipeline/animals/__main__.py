"""Which animal each file of metadata names: a line of JSON, {file: Subject.subject_id}, "" if it names none."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from pipeline.toml_files import Unreadable, decoded, parsed, read_bytes
from protocol.copies import ORIGINALS


def subject(path: Path) -> str:
    """What cannot be read names nobody: where metadata are used, their own check says what is wrong."""
    try:
        stated = parsed(decoded(read_bytes(path, ORIGINALS))).get("Subject", {})
    except (Unreadable, OSError):
        return ""
    name = stated.get("subject_id", "") if isinstance(stated, dict) else ""
    return name.strip() if isinstance(name, str) else ""


if __name__ == "__main__":
    print(json.dumps({name: subject(Path(name)) for name in sys.argv[1:]}))  # noqa: T201
