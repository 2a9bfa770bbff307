"""From the input to units of work, each with its state: done by an earlier run, or to be done.

A pure function of the input, the conditions and the records of earlier runs. What one worker handles is a unit: a
session, or what is left of it where a recipe works on each part, or colour, by itself. Units are formed from all
sessions, whatever was done earlier: the results do not depend on history.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from protocol.job import Member
from protocol.job import Session as JobSession
from recording.kinds import JOINED_KINDS, KINDS
from recording.names import short
from runner.input import metadata
from runner.input.earlier import Earlier
from runner.input.read import Input
from runner.input.relate import Related
from runner.input.tables import Reader
from runner.recipe import RecipeChoice
from runner.records import Record
from runner.state import Conditions
from runner.work.groups import origin, run_on
from runner.work.unit import Unit
from study import names
from study.clock import clock_of
from study.relations import Session

OF_SESSION = tuple(ending for kind in JOINED_KINDS for ending in KINDS[kind].results)


def units_of(input: Input, conditions: Conditions, earlier: Earlier) -> list[Unit]:
    """All units, in the order of the sessions."""
    maker = _Maker(input, conditions, earlier)
    units = [unit for session in input.sessions for unit in _units(session, maker)]
    return [replace(unit, done=_done(unit, earlier.records)) for unit in units]


def folders_of_steps(unit: Unit, related: Related) -> set[str]:
    """Folders of results for which finished steps may be kept that its results make superfluous."""
    return {unit.results, *(related.own[recording.relative] for recording in unit.recordings)}


def tried_again(unit: Unit, log: int) -> Unit:
    """The unit once more, after its worker died: what killed it may be over, such as a lack of memory."""
    return replace(unit, is_retried=True, log=log)


def without(unit: Unit, unusable: Mapping[str, str], input: Input, conditions: Conditions, earlier: Earlier) -> Unit:
    """The session as if these recordings of it, given with the reasons, could not be read; others are left.

    Where no part is left, another recording leads; no recipe failed on that one.
    """
    gone = {*unit.left_out, *unusable}
    whole = next(one for one in input.sessions if unit.parts[0].relative in one.members)
    left = [one.relative for one in unit.recordings if one.relative not in gone]
    session = _less(whole, gone)
    parts = [one.relative for one in unit.parts if one.relative in left]
    failure = unit.failure if parts else ""
    parts = parts or [path for path in session.parts if path in left] or left[:1]
    rest = _Maker(input, conditions, earlier).unit(session, left, parts, unit.recipe, unit.results)
    said = [f"{path} is left out of the session: {reason}" for path, reason in unusable.items()]
    warnings = (*(unit.warnings if failure == unit.failure else rest.warnings), *said)
    rest = replace(rest, is_retried=True, left_out=tuple(sorted(gone)), warnings=warnings)
    return inspected_instead(rest, failure, warnings, None) if failure else rest


def _less(session: Session, gone: set[str]) -> Session:
    """The session without these members; if no part is left, the first of the others leads."""

    def left(paths: Sequence[str]) -> tuple[str, ...]:
        return tuple(path for path in paths if path not in gone)

    streams = [*filter(None, map(left, session.streams))]
    companions, products = left(session.companions), left(session.products)
    if not streams and companions:
        streams, companions = [companions[:1]], companions[1:]
    elif not streams:
        streams, products = [products[:1]], products[1:]
    return replace(session, streams=tuple(streams), companions=companions, products=products)


def inspected_instead(unit: Unit, failure: str, warnings: Sequence[str], log: int | None) -> Unit:
    """The unit as an inspection, after its recipe failed: the page may show what is wrong with its recordings."""
    return replace(
        unit,
        recipe=RecipeChoice(),
        fingerprint=f"{unit.fingerprint} inspected",
        warnings=tuple(warnings),
        failure=failure,
        log=log,
    )


def _done(unit: Unit, records: Mapping[str, Record]) -> Record | None:
    """The record, if an earlier run did just this and put it on record for every recording of the unit."""
    names = {recording.relative for recording in unit.recordings}
    earlier = [records.get(name) for name in names]
    if all(record and record.fingerprint == unit.fingerprint and set(record.inputs) == names for record in earlier):
        return records[unit.recordings[0].relative]
    return None


def _units(session: Session, maker: _Maker) -> list[Unit]:
    """One for the whole session; more where a recipe works on each part, colour or plane by itself."""
    wanted = maker.conditions.recipe
    groups = [] if wanted.is_inspect else run_on(session, wanted, maker.related)
    if not groups:
        return [maker.unit(session, session.members, session.parts, RecipeChoice())]
    if not wanted.works_on_series:
        groups = [(path,) for group in groups for path in group]
    lead, *rest = groups
    elsewhere = {path for group in rest for path in group}
    mine = [path for path in session.members if path not in elsewhere]
    return [
        maker.unit(session, mine, lead, wanted),
        *(maker.unit(session, group, group, wanted) for group in rest),
    ]


@dataclass(frozen=True)
class _Maker:
    input: Input
    conditions: Conditions
    earlier: Earlier

    @property
    def related(self) -> Related:
        return self.input.related

    def unit(
        self, session: Session, paths: Sequence[str], parts: Sequence[str], used: RecipeChoice, folder: str = ""
    ) -> Unit:
        """A unit of these recordings. Results go to the session's folder if they hold all parts or the first one."""
        related, leads = self.related, session.parts[0] in paths or len(parts) < len(paths)
        mine = [*parts, *(path for path in paths if path not in parts)]
        nwb = self.input.beside.metadata is not None and leads
        beside = [path for path in session.members if path not in mine] if nwb else []
        folder = folder or (related.folders[session.parts[0]] if leads else related.own[parts[0]])
        described = self._describe(session, mine, beside, len(parts), folder, nwb)
        everyone = [related.recordings[path] for path in (*mine, *beside)]
        place = self.input.root / session.folder
        tables = [Reader(place, described.name, name) for name in used.beside]
        stamps = self.input.beside.stamps(tables)
        facts = [_facts(described), *stamps, *(metadata.facts(described.metadata, described.copies) if nwb else [])]
        edited = self.earlier.edited.get(folder, ())
        facts += [list(edited)] if edited else []
        n, m = len(parts), len(mine)
        return Unit(
            tuple(everyone[:n]),
            tuple(everyone[n:m]),
            tuple(everyone[m:]),
            related.infos[parts[0]].kind,
            self.conditions.fingerprint(everyone, used, facts),
            folder,
            described,
            used,
            tuple(_left_out(session, related)) if leads else (),
            tuple(tables),
            edited=tuple(name for name, _, _ in edited),
        )

    def _describe(
        self, session: Session, mine: Sequence[str], beside: Sequence[str], n_parts: int, folder: str, nwb: bool
    ) -> JobSession:
        related, here = self.related, self.input.beside
        clock = clock_of(session, related.infos, related.study.made_from)
        name = folder.rpartition("/")[2]
        stems = _stems(mine, n_parts, name, related)
        members = tuple(
            Member(
                path=(self.input.root / path).absolute(),
                kind=related.infos[path].kind,
                stem=stems.get(path, ""),
                offset_us=clock.places[path].offset_us,
                placed_by=clock.places[path].by,
                part=session.parts.index(first) if (first := origin(path, related)) in session.parts else 0,
                is_made=path in session.products,
                only_for_nwb=path in beside,
            )
            for path in (*mine, *beside)
        )
        called = [session.name, *_file_stems(session.parts)]
        several = len(session.members) > 1
        return JobSession(
            name=name,
            members=members,
            start=clock.start,
            animal=session.animal,
            reasons=(*session.reasons, *([clock.sentence()] if several else [])),
            nwb=nwb,
            metadata=tuple(here.metadata.of(session.folder, called)) if here.metadata else (),
            copies=here.metadata.copies if here.metadata else None,
            decisions=here.decisions.get((session.folder, name), ""),
        )


def _stems(paths: Sequence[str], n_parts: int, session: str, related: Related) -> dict[str, str]:
    """What the results of each are called: like the recording, if no two files of one name come of it."""
    used = {(session.casefold(), ending) for ending in OF_SESSION}
    stems = {}
    for number, path in enumerate(paths):
        recording, results = related.recordings[path], KINDS[related.infos[path].kind].results
        wanted = [session] if n_parts == 1 and number == 0 else [short(recording.stem), short(recording.file)]
        free = (
            stem for stem in wanted if not any((stem.casefold(), ending) in used for ending in results) or number == 0
        )
        stems[path] = next(free, f"{wanted[-1]}-{number}")
        used |= {(stems[path].casefold(), ending) for ending in results}
    return stems


def _file_stems(paths: Sequence[str]) -> list[str]:
    return [path.rpartition("/")[2].rpartition(".")[0] for path in paths]


def _facts(session: JobSession) -> object:
    """What of a session decides its results, beside the recordings' own stamps."""
    return [
        [session.name, session.animal, session.start.isoformat() if session.start else "", list(session.reasons)],
        [[one.path.name, one.stem, one.offset_us, one.part, one.is_made, one.only_for_nwb] for one in session.members],
        *([session.decisions] if session.decisions else []),
    ]


def _left_out(session: Session, related: Related) -> list[str]:
    """Recordings that cannot be read and would belong to it, as far as their names tell."""
    parts = [related.recordings[path].stem for path in session.parts]
    numbers = [names.numbering(stem) for stem in parts]
    bases = {numbering.base for numbering in numbers if numbering and (numbering.is_acquisitions or len(parts) > 1)}
    stems = [*parts, *(numbering.whole for numbering in numbers if numbering and len(parts) > 1)]
    sentences = []
    for path, problem in related.problems.items():
        other = related.recordings[path]
        theirs = names.numbering(other.stem)
        is_part = theirs is not None and theirs.base in bases
        if other.folder == session.folder and (is_part or any(names.begin_alike(other.stem, stem) for stem in stems)):
            sentences.append(f"{path} is left out of the session: {problem}")
    return sentences
