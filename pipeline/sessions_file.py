"""Sessions that a lab writes down by hand: sessions.toml beside the recordings.

    python -m pipeline.sessions_file FILE...

Prints a JSON object for each session on one line, or every mistake as FILE:LINE: message on standard error and exits
with 64. PID 1 asks: it knows no TOML.

    [[session]]
    name = "m1_day1"                          # optional
    recordings = ["a.isxd", "b.isxd", "*.gpio"]   # relative to the file; all of the session, and nothing else
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from pipeline.toml_files import Unreadable, decoded, parsed, read_bytes
from pipeline.words import did_you_mean, say
from protocol.copies import ORIGINALS

OK, BAD = 0, 64
KEYS = ("name", "recordings")


class Mistake(Exception):
    """A mistake in one session of the file."""


def read(path: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """The sessions of a file (`file`, `line`, `name`, `recordings`), and a message for each mistake."""
    try:
        text = decoded(read_bytes(path, ORIGINALS))
        content = parsed(text)
    except Unreadable as error:
        return [], [f"{path}:{error.line}: {error}"]
    unknown = [key for key in content if key != "session"]
    lines = [
        text[: heading.start()].count("\n") + 1
        for heading in re.finditer(r"^[ \t]*\[\[[ \t]*session[ \t]*\]\]", text, re.M)
    ]
    given = content.get("session", [])
    if unknown or not isinstance(given, list) or not all(isinstance(table, dict) for table in given):
        what = f"{unknown[0]} is not known{did_you_mean(unknown[0], ['session'])}" if unknown else "session is no list"
        return [], [f"{path}:1: {what}: write [[session]], and recordings = [...] under it"]
    sessions, mistakes = [], []
    for number, table in enumerate(given):
        line = lines[number] if number < len(lines) else 1
        try:
            sessions.append({"file": str(path), "line": line, **_session(table)})
        except Mistake as mistake:
            mistakes.append(f"{path}:{line}: {mistake}")
    return sessions, mistakes


def _session(given: dict[str, Any]) -> dict[str, Any]:
    for key in given:
        if key not in KEYS:
            raise Mistake(f"{key} is not known{did_you_mean(key, KEYS)}")
    name, recordings = given.get("name", ""), given.get("recordings")
    if not isinstance(name, str) or "/" in name or name.startswith(".") or "\0" in name:
        raise Mistake("name must be a string without / that does not begin with a dot")
    if (
        not isinstance(recordings, list)
        or not recordings
        or not all(isinstance(one, str) and one for one in recordings)
    ):
        raise Mistake('recordings must be a list of names, such as ["a.isxd", "b.isxd"]')
    return {"name": name, "recordings": recordings}


def main(names: list[str]) -> int:
    known, mistakes = [], []
    for name in names:
        sessions, messages = read(Path(name))
        known += sessions
        mistakes += messages
    if mistakes:
        say(mistakes)
        return BAD
    for session in known:
        print(json.dumps(session))  # noqa: T201 - the answer
    return OK


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
