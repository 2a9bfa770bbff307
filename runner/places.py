"""Input, output and sentinel as a run is told them: what makes no sense is refused before anything is touched."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from recording.kinds import SUFFIXES
from recording.names import MAX_NAME, join, short
from runner import own
from runner.endings import UsageError
from runner.output_folder import hold
from runner.recordings import Recording
from study import names

_MARKER = "EXPECTED_OUTPUT_FILE names a marker that the run writes"


def problems(input: Path, output: Path, sentinel: Path) -> list[str]:
    """A sentence for each place that cannot be meant. Nothing is opened."""
    if below(input, output) == below(output, input) == "":
        is_one_name = os.path.normpath(input) == os.path.normpath(output)
        other = Path("/output" if input != Path("/output") else "/results") if is_one_name else output
        told = "" if other == output else f", and set OUTPUT_DIR={other}"
        return [
            f"the input {input} and the output {output} are the same folder: mount another one for the results, "
            f'-v "$PWD/input:{input}:ro" -v "$PWD/output:{other}"{told}'
        ]
    problem = _problem_of_sentinel(input, output, sentinel)
    return [f"{problem}: {_elsewhere(output)}"] if problem else []


def _elsewhere(output: Path) -> str:
    return f"give it another name or place, such as {output / own.DEFAULT_SENTINEL}"


def _problem_of_sentinel(input: Path, output: Path, sentinel: Path) -> str:
    name, in_output = sentinel.name, below(sentinel.parent, output)
    if name in ("", ".."):
        return f"{_MARKER}, and {str(sentinel)!r} is not a file name"
    if len(os.fsencode(name)) > MAX_NAME:
        return f"{_MARKER}; its name has more than {MAX_NAME} bytes"
    if name.lower().endswith(SUFFIXES):
        return f"{_MARKER}, and {sentinel} has the ending of a recording"
    if below(sentinel.parent, input) is not None and (in_output is None or below(output, input) is None):
        return f"{_MARKER}, and {sentinel} is in the input, where the run writes nothing"
    if in_output is not None and own.is_own((in_output or name).partition("/")[0]):
        return f"{_MARKER}, and {sentinel} is the place of one of the run's own files"
    return ""


def refuse_among(results: Iterable[tuple[str, str]], sentinel: Path, output: Path) -> None:
    """Raise UsageError if the sentinel lies where results go. At the top of the output, results give way.

    `results` are folders, relative to the output, and the recordings that they are of.
    """
    folder = below(sentinel.parent, output)
    if not folder:
        return
    path = f"{folder}/{sentinel.name}".casefold()
    for place, recording in results:
        other = place.casefold()
        if f"{path}/".startswith(f"{other}/") or other.startswith(f"{path}/"):
            where = f"{sentinel} is where the results of {recording} go"
            raise UsageError(f"{_MARKER}, and {where}: {_elsewhere(output)}")


def foreign_report(output: Path) -> str:
    """A sentence about a file that the report would overwrite, and that no run has written; "" if there is none."""
    for name, beginning in own.REPORT.items():
        with contextlib.suppress(OSError), hold(output) as folder:
            fd = folder.open(name, os.O_RDONLY)
            try:
                head = os.read(fd, len(beginning))
            finally:
                os.close(fd)
            if head != beginning:
                return (
                    f"{output / name} is not from an earlier run and would be overwritten: move it away, or choose "
                    "another folder for the results"
                )
    return ""


def possible_results(recordings: Iterable[Recording]) -> Iterator[tuple[str, str]]:
    """Of each recording its own folder, and those of sessions that it may be a part of, as far as names tell."""
    for recording in recordings:
        numbering = names.numbering(recording.stem)
        wholes = {names.without_stream(recording.stem), *([numbering.whole] if numbering else [])}
        for results in (recording.results, *(join(recording.place, short(whole)) for whole in sorted(wholes))):
            yield results, recording.relative


def below(folder: Path, top: Path) -> str | None:
    """The path from `top` to a folder, "" for itself; None if it does not lie there.

    The names decide, or the file system does: two mounts of one folder, or links, are no way around it.
    """
    for resolved in (os.path.abspath, os.path.realpath):
        place, root = Path(resolved(folder)), Path(resolved(top))
        if place == root or root in place.parents:
            return "/".join(place.relative_to(root).parts)
    for parent in (place, *place.parents):
        if _same(parent, root):
            return "/".join(place.relative_to(parent).parts)
    return None


def _same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False
