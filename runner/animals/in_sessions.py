"""What the results of sessions say of the animal whose cells were followed over them: the numbers of its cells."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from protocol.overview import Followed
from recording.names import join
from runner.animals import numbers
from runner.output.publish import withdraw
from runner.own import ANIMALS, RECORDS
from runner.recordings import Recording
from runner.records import Record, read_record, table_of_cells
from runner.state import RunState


def number(
    recordings: Sequence[Recording], records: Sequence[Record], followed: Sequence[Followed], state: RunState
) -> list[Followed]:
    """Bring the numbers of the animals' cells into the results of their sessions.

    Sessions of an animal that could not be followed keep those that they have, as the animal keeps its results.
    """
    by_path = {recording.relative: recording for recording in recordings}
    kept = {one.animal for one in followed if one.status != "done"}
    animal_of = {session: one for one in followed if one.status == "done" for session in one.sessions}
    known: dict[str, dict[str, dict[str, int]]] = {}
    problems: dict[str, str] = {}
    for session, its in _by_results(records).items():
        state.tick()
        now = animal_of.get(session)
        animal, mark = (now.animal, now.fingerprint) if now else ("", "")
        if numbers.is_up_to_date(its[0], animal, mark) or (not now and its[0].followed in kept):
            continue
        try:
            if now and animal not in known:
                known[animal] = numbers.of_sessions(state.output, now.results)
            inputs = [(record, [by_path[path] for path in record.inputs if path in by_path]) for record in its]
            numbers.write(state.output, inputs, known[animal].get(session, {}) if now else {}, animal, mark)
        except (numbers.Unreadable, OSError) as error:
            why = f"{error.strerror} ({error.filename})" if isinstance(error, OSError) else str(error)
            reason = f"the numbers of its cells cannot be written into {session}: {why}"
            state.log("animal-failed", reason, "error", path=session, reason=reason)
            problems.setdefault(animal or its[0].followed, reason)
    return [
        replace(one, status="failed", reason=problems[one.animal]) if one.animal in problems else one
        for one in followed
    ]


def _by_results(records: Iterable[Record]) -> dict[str, list[Record]]:
    """All that tell of one folder, those that are done first."""
    by_folder: dict[str, list[Record]] = {}
    for record in records:
        its = by_folder.setdefault(record.results, [])
        if record not in its and table_of_cells(record):
            its.append(record)
    return {folder: sorted(its, key=lambda record: record.status != "done") for folder, its in by_folder.items() if its}


def forget_others(records: Sequence[Record], followed: Sequence[Followed], state: RunState) -> None:
    """Withdraw results of animals that are followed no longer, if this run has all of their sessions."""
    here = {record.results for record in records}
    now = {animal.animal for animal in followed}
    try:
        names = state.output.names(join(RECORDS, ANIMALS))
    except FileNotFoundError:
        return
    for animal in sorted({name.removesuffix(".json") for name in names if name.endswith(".json")} - now):
        place = place_of(animal)
        old = read_record(state.output, place)
        if old and old.results == place.results and old.sessions and {*old.sessions} <= here:
            try:
                withdraw(state.output, old)
                state.output.remove(place.noted_in(RECORDS, ".json"))
            except OSError as error:
                why = f"its cells are no longer followed, but its results cannot be removed: {error.strerror or error}"
                state.log("animal-kept", f"{place.relative}: {why}", "warning", path=place.relative)
                continue
            state.output.remove_if_empty(ANIMALS)
            state.log("animal-forgotten", f"{place.relative}: its cells are no longer followed", path=place.relative)


def place_of(animal: str) -> Recording:
    return Recording(f"{ANIMALS}/{animal}", name=animal, place=ANIMALS)
