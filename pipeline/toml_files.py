"""Recipes and other TOML files: their text, their content, and the lines on which their keys stand."""

from __future__ import annotations

import contextlib
import re
import resource
import signal
import sys
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common.ownership import why_unread
from protocol.copies import Copies

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


MAX_BYTES = 1 << 20
PARSE_SECONDS = 10  # of processor time
PYTHONS = {  # words of Python's in errors, and ours
    "maximum recursion depth": "its values are nested too deeply",
    "integer string conversion": "a number has too many digits",
}
PARSE_MEMORY = 256 << 20  # bytes of address space


class Unreadable(Exception):
    """A file that cannot be read; says on which line, and why."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(reason)
        self.line = line


def read_bytes(path: Path, copies: Copies) -> bytes:
    """Raises Unreadable."""
    try:
        content = copies.read(path, MAX_BYTES + 1)
    except OSError as error:
        raise Unreadable(1, f"cannot be read: {why_unread(path, error)}") from None
    if len(content) > MAX_BYTES:
        raise Unreadable(1, f"is larger than {MAX_BYTES >> 20} MB")
    return content


def decoded(content: bytes) -> str:
    """Raises Unreadable."""
    try:
        return content.decode("utf-8-sig")  # Windows' Notepad puts a mark before the text
    except UnicodeDecodeError as error:
        raise Unreadable(content[: error.start].count(b"\n") + 1, "is not UTF-8 text: save it as such") from None


def parsed(text: str) -> dict[str, Any]:
    """Raises Unreadable: for what is not TOML, and for values that nothing could be done with."""
    try:
        with _little_time_and_memory():
            document = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        line = re.search(r"at line (\d+)", str(error))
        why = next((words for python, words in PYTHONS.items() if python in str(error)), str(error))
        raise Unreadable(int(line[1]) if line else _reached(error, text), f"is not valid TOML: {why}") from None
    except (MemoryError, TimeoutError) as error:
        most = f"{PARSE_SECONDS} s" if isinstance(error, TimeoutError) else f"{PARSE_MEMORY >> 20} MB"
        raise Unreadable(_reached(error, text), f"takes more than {most} to read: a key with too many dots?") from None
    for path, value in _leaves(document):
        wrong = unfit(value)
        if wrong:
            name = ".".join(key for key in path if isinstance(key, str))
            raise Unreadable(find_lines(text).of(path), f"{name} {wrong}")
    return document


@contextlib.contextmanager
def _little_time_and_memory() -> Iterator[None]:
    """Each dot of a key costs as much as all dots before it: a few hundred kilobytes can take any amount of both.

    Raises MemoryError or TimeoutError.
    """

    def stop(*_: object) -> None:
        raise TimeoutError

    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + PARSE_MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (most if soft == resource.RLIM_INFINITY else min(most, soft), hard))
    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, PARSE_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _reached(error: BaseException, text: str) -> int:
    """The line of the statement at which Python's parser was, or the last one if it does not show."""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if frame.f_code.co_name == "loads" and "pos" in frame.f_locals:
            return text.replace("\r\n", "\n").count("\n", 0, frame.f_locals["pos"]) + 1
    return len(text.splitlines()) or 1


def _leaves(document: Any) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """The values of a document that hold no others, with the keys and list positions that lead there."""
    waiting: list[tuple[tuple[Any, ...], Any]] = [((), document)]
    while waiting:
        path, value = waiting.pop()
        if isinstance(value, (dict, list)):
            parts = value.items() if isinstance(value, dict) else enumerate(value)
            waiting += [((*path, key), part) for key, part in reversed([*parts])]
        else:
            yield path, value


_HALF = re.compile("[\ud800-\udfff]")  # JSON can spell these; TOML cannot


def unfit(value: Any) -> str:
    """Why neither isx nor HDF5 can take a value, whatever it stands for; "" if they can."""
    if isinstance(value, str) and "\0" in value:
        return "holds the character NUL, which no text may have"
    if isinstance(value, str) and _HALF.search(value):
        return "holds half of a character, which no text may have"
    if isinstance(value, int) and not -(1 << 63) <= value < 1 << 63:
        return "is a whole number that does not fit 64 bits"
    return ""


@dataclass
class Lines:
    """Lines of the top-level keys, of each [[step]] and its keys, and of the keys in each other [table]."""

    top: dict[str, int] = field(default_factory=dict)
    steps: list[tuple[int, dict[str, int]]] = field(default_factory=list)
    tables: dict[str, dict[str, int]] = field(default_factory=dict)

    def of(self, path: Sequence[Any]) -> int:
        """The line of the key that stands at this path of the document, or of the nearest above that is known."""
        if path[0] == "step" and len(path) > 2 and path[1] in range(len(self.steps)):
            line, keys = self.steps[path[1]]
            return keys.get(path[2], line)
        return self.tables.get(path[0], {}).get("".join(map(str, path[1:2])), self.top.get(path[0], 1))


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
        key, _, rest = _unquoted("".join(statement[: statement.index("=")])).partition(".")
        keys.setdefault(key, line)
        if rest and keys is lines.top:  # Subject.sex = "F" is a table's key, too
            lines.tables.setdefault(key, {}).setdefault(rest.partition(".")[0], line)
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
