"""Recipes and other TOML files: their text, their content, and the lines on which their keys stand."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


class Unreadable(Exception):
    """A file that cannot be read; says on which line, and why."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(reason)
        self.line = line


def read_bytes(path: Path) -> bytes:
    """Raises Unreadable."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise Unreadable(1, f"cannot be read: {error.strerror}") from None


def decoded(content: bytes) -> str:
    """Raises Unreadable."""
    try:
        return content.decode("utf-8-sig")  # Windows' Notepad puts a mark before the text
    except UnicodeDecodeError as error:
        raise Unreadable(content[: error.start].count(b"\n") + 1, "is not UTF-8 text: save it as such") from None


def parsed(text: str) -> dict[str, Any]:
    """Raises Unreadable."""
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        line = re.search(r"at line (\d+)", str(error))
        last = len(text.splitlines()) or 1
        raise Unreadable(int(line[1]) if line else last, f"is not valid TOML: {error}") from None


@dataclass
class Lines:
    """Lines of the top-level keys, of each [[step]] and its keys, and of the keys in each other [table]."""

    top: dict[str, int] = field(default_factory=dict)
    steps: list[tuple[int, dict[str, int]]] = field(default_factory=list)
    tables: dict[str, dict[str, int]] = field(default_factory=dict)


_TOKEN = re.compile(
    r'''
    (?P<comment> \#[^\n]* )
  | (?P<string> """ (?: \\. | [^\\] )*? "{3,5} (?!") | \'\'\' .*? \'{3,5} (?!\')
              | " (?: \\. | [^"\\\n] )* " | \' [^\'\n]* \' )
  | (?P<mark> [][{}=\n] )
  | (?P<bare> [^][{}=\n\s\#"\']+ )
  | (?P<space> [ \t\r]+ )
    ''',
    re.VERBOSE | re.DOTALL,
)


def find_lines(text: str) -> Lines:
    """Lines of the keys in a valid TOML document: Python's parser does not tell.

    A statement ends where a line ends outside of strings and brackets.
    """
    lines = Lines()
    keys = lines.top
    statement: list[str] = []
    line = first = 1
    depth = 0
    for match in [*_TOKEN.finditer(text), None]:
        token = match[0] if match else "\n"
        if match and match.lastgroup in ("comment", "space"):
            continue
        if token == "\n" and depth == 0:
            keys = _note_statement(statement, first, keys, lines)
            statement = []
        elif token != "\n":
            first = first if statement else line
            statement.append(token)
            is_mark = match is not None and match.lastgroup == "mark"
            depth += (token in "[{") - (token in "]}") if is_mark else 0
        line += token.count("\n")
    return lines


def _note_statement(statement: list[str], line: int, keys: dict[str, int], lines: Lines) -> dict[str, int]:
    """Note one key or one table; returns where the keys that follow belong."""
    if not statement:
        return keys
    if statement[0] != "[":
        keys.setdefault(_unquoted("".join(statement[: statement.index("=")])).partition(".")[0], line)
        return keys
    name = _unquoted("".join(statement).strip("[]"))
    if name == "step" and statement[1] == "[":
        lines.steps.append((line, {}))
        return lines.steps[-1][1]
    if name.startswith("step.") and lines.steps:  # a table inside a step: one parameter
        lines.steps[-1][1].setdefault(name.partition(".")[2], line)
        return {}
    lines.top.setdefault(name.partition(".")[0], line)
    return lines.tables.setdefault(name, {})


def _unquoted(key: str) -> str:
    return key.replace('"', "").replace("'", "")
