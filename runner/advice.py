"""What to type instead, for an argument that is no option and no command of the image."""

from __future__ import annotations

import difflib
import re
import shlex
from collections.abc import Collection, Iterable, Sequence
from itertools import takewhile
from pathlib import Path

from protocol.job import INSPECT
from recording.kinds import SUFFIXES
from runner import recipe

INPUT, OUTPUT = '-v "$PWD/input:/data:ro"', '-v "$PWD/output:/output"'


def nearest(word: str, known: Iterable[str]) -> str:
    """The known word that was most likely meant; "" if it is like none."""
    return next(iter(difflib.get_close_matches(word.lower().replace("_", "-"), list(known), 1, 0.7)), "")


def instead_of(arguments: Sequence[str], flags: Collection[str]) -> str:
    """What the first argument is, and the command that does what was meant; "" if it is nothing that is known here."""
    first = arguments[0]
    words = list(takewhile(lambda word: not word.startswith("-"), arguments))
    rest = arguments[len(words) :]
    if first.lower().endswith(SUFFIXES) and not Path(first).is_dir():
        return f"{first} is a recording, not a command; mount it alone:\n  {_docker(_alone(first), [], rest)}"
    if what := _what(first, flags):
        return f"{first} is {what}, not a command:\n  {_docker(INPUT, as_options(words, flags), rest)}"
    if Path(first).is_file():
        program = {".py": "python", ".sh": "sh"}.get(Path(first).suffix)
        if program:
            return f"{first} is not executable:\n  {_docker(INPUT, [program, *arguments], [])}"
        folder = ["--input-dir", str(Path(first).parent)]
        return f"{first} is a file, not a command; recordings are given as a folder:\n  {_docker(INPUT, folder, rest)}"
    return ""


def as_options(words: Iterable[str], flags: Collection[str]) -> list[str]:
    """Recipes, folders (input, then output) and options without their dashes, as options; other words are left out."""
    options: list[str] = []
    folders = iter(["--input-dir", "--output-dir"])
    for word in words:
        what = _what(word, flags)
        if what == "a folder":
            flag = next(folders, "")
            options += [flag, word] if flag else []
        elif what == "a recipe":
            options += ["--recipe", word]
        elif what:
            options.append(f"--{word}")
    return options


def guess(word: str, flags: Collection[str]) -> str:
    """For an unknown word, the sentence that names what it may be a misspelling of."""
    known = [] if "/" in word else [INSPECT, *recipe.shipped(), *(flag[2:] for flag in flags)]
    meant = nearest(word, known)
    return f"; if {meant} was meant:\n  {_docker(INPUT, as_options([meant], flags), [])}" if meant else ""


def _what(word: str, flags: Collection[str]) -> str:
    if word == INSPECT or word in recipe.shipped() or (word.endswith(".toml") and Path(word).is_file()):
        return "a recipe"
    if f"--{word}" in flags:
        return "an option"
    return "a folder" if Path(word).is_dir() else ""


def _alone(recording: str) -> str:
    """The option that mounts one recording: by its path on the host, as far as the usual mount tells it."""
    path = Path(recording)
    in_input = path.is_absolute() and path.parts[1] == "data"
    host = f"input/{path.relative_to('/data')}" if in_input else recording
    mount = f"{host}:/data/{path.name}:ro"
    here = "" if host.startswith("/") else "$PWD/"
    if re.search(r'["$`\\!]', mount):  # what a shell would not leave as it is
        return f'-v "{here}"{shlex.quote(mount)}' if here else f"-v {shlex.quote(mount)}"
    return f'-v "{here}{mount}"'


def _docker(input: str, arguments: Iterable[str], rest: Iterable[str]) -> str:
    return f"docker run --rm {input} {OUTPUT} isx {shlex.join([*arguments, *rest])}".rstrip()
