"""Sessions with cells, and whose they are."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from native import loading
from recording.names import short
from runner.events import counted
from runner.input import precheck
from runner.input.metadata import MetadataFiles
from runner.recordings import Recording
from runner.records import CELLS, Record, digest, table_of_cells
from runner.state import RunState

ASK = (sys.executable, "-m", "pipeline.animals")
ASK_SECONDS = 120


@dataclass(frozen=True)
class WithCells:
    """A session that has cells."""

    results: str  # folder, relative to the output
    source: Path  # the cell set that was in the input, or `<stem>.json` of what a recipe made
    start: str  # as ISO 8601, or ""
    stated: str  # the animal, as the recordings say; "" if they do not
    metadata: tuple[Path, ...]  # files such as nwb.toml; later ones override earlier ones
    fingerprint: str  # equal as long as its results are
    table: str  # of its cells, among its results


def with_cells(recordings: Sequence[Recording], records: Iterable[Record], state: RunState) -> list[WithCells]:
    """Sessions with cells, one for each folder of results, from the records of what is done."""
    by_path = {recording.relative: recording for recording in recordings}
    known = MetadataFiles(state.settings.input_dir)
    sessions: dict[str, WithCells] = {}
    for record in records:
        first = by_path.get(record.inputs[0])
        table = table_of_cells(record)
        if record.status != "done" or not first or not table:
            continue
        stem = record.results.rpartition("/")[2]
        source = None if _made_cells(record) else _cell_set(record, state.settings.input_dir)
        content = digest([record.fingerprint, sorted(record.products.items())])
        sessions[record.results] = WithCells(
            record.results,
            (source or state.output.anywhere / record.results / f"{stem}.json").absolute(),
            record.start,
            record.animal,
            tuple(known.of(first.folder, [stem, first.stem])),
            content,
            table,
        )
    return sorted(sessions.values(), key=lambda session: (session.start, session.results))


def _cell_set(record: Record, folder: Path) -> Path | None:
    """The cell set of the input whose tables the session shows: that of the most steps, as its name tells."""
    sets = [path for path, info in record.infos.items() if isinstance(info, dict) and info.get("kind") == "cell_set"]
    return folder / max(sets, key=lambda path: (len(path), path)) if sets else None


def _made_cells(record: Record) -> bool:
    return any(name.endswith(f"{CELLS.removesuffix('.csv')}.isxd") for name in record.products)


def by_animal(those: Sequence[WithCells], state: RunState) -> dict[str, list[WithCells]]:
    files = sorted({path for session in those for path in session.metadata})
    subjects = _subjects(files, state)
    of_animal: dict[str, list[WithCells]] = {}
    nameless = []
    for session in those:
        named = [subjects.get(str(path), "") for path in session.metadata]
        animal = next((name for name in reversed(named) if name), session.stated)
        if animal:
            of_animal.setdefault(_folder_name(animal), []).append(session)
        else:
            nameless.append(session.results)
    if nameless:
        state.log(
            "no-animal",
            f"{counted(len(nameless), 'session')} with cells state no animal: to follow cells across sessions, "
            'put an nwb.toml with [Subject] and subject_id = "..." into the folder of each animal',
            sessions=nameless[:20],
        )
    return of_animal


def _subjects(files: Sequence[Path], state: RunState) -> dict[str, str]:
    """Animals stated in metadata files, by path. A separate process reads them, since PID 1 does not read TOML."""
    if not files:
        return {}
    try:
        answer = loading.ask((*ASK, *map(str, files)), ASK_SECONDS, state.tick, precheck.memory())
        subjects = json.loads(answer.stdout.strip().rpartition("\n")[2]) if answer.returncode == 0 else None
    except (subprocess.TimeoutExpired, ValueError):
        subjects = None
    if not isinstance(subjects, dict):
        state.log("no-animal", "metadata cannot be read: animals are named as the recordings state", "warning")
        return {}
    return {path: name for path, name in subjects.items() if isinstance(name, str)}


def _folder_name(animal: str) -> str:
    """A name that any file system takes; two animals never share one."""
    plain = re.sub(r"[^\w.-]+", "_", animal).strip("._")
    if plain != animal:
        plain = f"{plain}-{hashlib.sha256(animal.encode()).hexdigest()[:6]}"
    return short(plain)
