"""From recordings to sessions: parts in order, what was recorded beside them, and what was made of them.

Facts decide, names are the last resort. Facts that contradict each other (animal, microscope, session name, UUID; a
start that one knows and the other does not) keep recordings apart, whatever their names. Facts that agree join them:
one UUID; one session name and one microscope, with times that fit. Every decision has a sentence. `Said` overrules all.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from fnmatch import fnmatchcase

from recording.findings import RecordingInfo
from study import names
from study.facts import AROUND, UUID, Member, Stated, gap, said
from study.products import Made, Search, root

SHORT = timedelta(minutes=10)  # between parts that a bare number, or a session name, alone makes such
LONG = timedelta(days=1)  # between parts that the acquisition software numbered, or that state their animal too
OVERLAP = "overlap in time"
LOOK_BACK = 16  # unfinished sessions that recordings of one name may belong to
BY_HAND = "to join them, list them under [[session]] in sessions.toml beside them"


@dataclass(frozen=True)
class Said:
    """A session as somebody wrote it down: all of it, and nothing else."""

    folder: str  # of the file that says so, relative to the input
    recordings: tuple[str, ...]  # paths relative to that folder, or patterns with * and ?
    name: str = ""
    where: str = ""  # file and line, for messages


@dataclass(frozen=True)
class Session:
    """Recordings on one clock. All paths are relative to the input folder."""

    name: str
    folder: str
    streams: tuple[tuple[str, ...], ...]  # parts in order of start; several streams: colours, planes
    companions: tuple[str, ...] = ()  # GPIO, IMU, cameras
    products: tuple[str, ...] = ()  # made of the parts
    reasons: tuple[str, ...] = ()  # why these are one session, a sentence each
    animal: str = ""  # as the recordings state it
    start: datetime | None = None

    @property
    def parts(self) -> tuple[str, ...]:
        return self.streams[0]

    @property
    def members(self) -> tuple[str, ...]:
        return (*(path for stream in self.streams for path in stream), *self.companions, *self.products)


@dataclass(frozen=True)
class Study:
    """All sessions of a run."""

    sessions: tuple[Session, ...]
    made_from: Mapping[str, str]  # products, by path: the recording that they were made from
    made: Mapping[str, Made] = field(default_factory=dict)  # the same, with the reason
    near_misses: tuple[str, ...] = ()  # what looks like one session and is none, a sentence each


def relate(infos: Mapping[str, RecordingInfo], by_hand: Sequence[Said] = ()) -> Study:
    """Sessions of recordings that are known by their paths. The result does not depend on their order."""
    return _Relating([Member(path, infos[path]) for path in sorted(infos)], by_hand).study()


@dataclass
class _Group:
    """Recordings that are one session, or a stream of one, as far as is known yet."""

    members: list[Member]  # parts in order of start
    stated: Stated
    reasons: list[str] = field(default_factory=list)
    others: list[_Group] = field(default_factory=list)  # further streams
    companions: list[Member] = field(default_factory=list)
    products: list[Member] = field(default_factory=list)
    name: str = ""

    @property
    def first(self) -> Member:
        return self.members[0]

    @property
    def last(self) -> Member:
        return self.members[-1]

    @property
    def folder(self) -> str:
        return self.first.folder

    @property
    def end(self) -> datetime | None:
        return self.last.end

    @property
    def only_number(self) -> names.Numbering | None:
        """That of a single part, as the acquisition software writes it."""
        number = self.first.numbering if len(self.members) == 1 else None
        return number if number and number.is_acquisitions else None

    def names(self) -> list[str]:
        """That a companion's may begin with, or the other way round; the most telling first."""
        stems = [member.stem for group in (self, *self.others) for member in group.members]
        numberings = [member.numbering for member in self.members if member.numbering]
        wholes = [number.whole for number in numberings if len(self.members) > 1 or self.only_number]
        return list(dict.fromkeys([*stems, *wholes, *map(names.without_stream, stems)]))


def _alone(member: Member) -> _Group:
    return _Group([member], member.stated)


@dataclass
class _Miss:
    """Recordings whose names suggest one session, and why they are none."""

    members: list[Member]
    reason: str
    fits_two: str = ""
    n_more: int = 0  # of such names

    def __str__(self) -> str:
        first, second = self.members[:2]
        if self.fits_two:
            return f"{self.fits_two}that of {first.file} and that of {second.file}: it is left by itself; {BY_HAND}"
        more = f" (and {self.n_more} more of such names)" if self.n_more else ""
        return f"{first.path} and {second.file}{more} are kept apart: they {self.reason}; {BY_HAND}"


class _Relating:
    def __init__(self, members: Sequence[Member], by_hand: Sequence[Said]) -> None:
        self.made: dict[str, Made] = {}
        self.misses: dict[Hashable, _Miss] = {}
        self.given = [(entry, [one for one in members if _is_listed(one, entry)]) for entry in by_hand]
        listed = {one.path for _, listed_here in self.given for one in listed_here}
        self.free = [one for one in members if one.path not in listed]

    def study(self) -> Study:
        groups = [self._by_hand(entry, listed) for entry, listed in self.given if listed]
        groups += self._by_facts(self.free)
        sessions = sorted(map(_session, groups), key=lambda session: (session.folder, session.parts))
        made_from = {path: made.parent.path for path, made in self.made.items()}
        return Study(tuple(sessions), made_from, self.made, tuple(map(str, self.misses.values())))

    def _by_hand(self, given: Said, listed: list[Member]) -> _Group:
        """Movies, or what there is in their place, are the parts; those of one time are streams."""
        acquired = [one for one in listed if one.is_companion]
        rest = [one for one in listed if not one.is_companion]
        made = self._made(rest)
        roots = sorted([one for one in rest if one.path not in made] or acquired, key=_movies_by_start)
        group = replace(_alone(roots[0]), name=given.name, reasons=[f"{given.where} lists them as one session"])
        for one in roots[1:]:
            is_kin = one.info.series_key == group.first.info.series_key
            if is_kin and (gap(group.last, one) is not None or not (group.last.start and one.start)):
                group.members.append(one)
            elif one.is_companion:
                group.companions.append(one)
            else:
                group.others.append(_alone(one))
        group.companions += [one for one in acquired if one not in roots]
        group.products = [product.product for product in made.values()]
        for one in listed:
            group.stated = group.stated.and_(one.stated)
        return group

    def _made(self, members: Sequence[Member]) -> dict[str, Made]:
        """Products among these recordings, by path."""
        made: dict[str, Made] = {}
        by_folder: dict[str, list[Member]] = {}
        for one in members:
            by_folder.setdefault(one.folder, []).append(one)
        for here in by_folder.values():
            search = Search(here)
            for one in here:
                made_of = search.parent(one)
                if made_of:
                    made[one.path] = made_of
                for other, against in search.contradicting(one):
                    self._missed((one.folder, one.path), [other, one], against)
        self.made |= made
        return made

    # ---- by facts, then by names

    def _by_facts(self, members: Sequence[Member]) -> list[_Group]:
        made = self._made([one for one in members if not one.is_companion])
        roots = [_alone(one) for one in members if not one.is_companion and one.path not in made]
        sessions = self._with_streams(self._with_parts(roots))
        left = self._attach([one for one in members if one.is_companion], sessions)
        sessions += self._together(self._with_parts([_alone(one) for one in left]))
        home = {one.path: group for group in sessions for stream in (group, *group.others) for one in stream.members}
        for product in made.values():
            group = home[root(made, product.parent).path]
            group.products.append(product.product)
            group.reasons.append(f"{product.product.file} was made from {product.parent.file}: {product.reason}")
        return sessions

    def _with_parts(self, groups: Sequence[_Group]) -> list[_Group]:
        """Parts of one recording, joined by UUID, then by session name and microscope, then by their numbers."""
        joined = list(groups)
        for key, reason in ((_uuid, _why_uuid), (_session_key, _why_session), (_number, _why_number)):
            joined = self._joined(joined, key, reason)
        return joined

    def _joined(
        self,
        groups: Sequence[_Group],
        key: Callable[[_Group], Hashable],
        why: Callable[[_Group, _Group], tuple[str, str]],
    ) -> list[_Group]:
        """Groups of one key follow one another if `why` finds a reason, and nothing against it."""
        buckets: dict[Hashable, list[_Group]] = {}
        done = []
        for group in groups:
            place = key(group)
            if place is None:
                done.append(group)
            else:
                buckets.setdefault((place, group.first.kind, group.first.info.series_key), []).append(group)
        for place, bucket in buckets.items():
            chains: list[_Group] = []
            for group in sorted(bucket, key=_by_start):
                against = []
                for chain in reversed(chains[-LOOK_BACK:]):
                    for_it, not_it = why(chain, group)
                    not_it = chain.stated.contradiction(group.stated) or not_it
                    if not not_it:
                        _append(chain, group, for_it)
                        break
                    against.append((chain, not_it))
                else:
                    chains.append(group)
                    if against and why is _why_number and against[0][1] != OVERLAP:
                        self._missed((place, "parts"), [against[0][0].last, group.first], against[0][1])
            done += chains
        return sorted(done, key=lambda group: group.first.path)

    def _with_streams(self, groups: Sequence[_Group]) -> list[_Group]:
        """Colours and planes, and products of one movie that is not here: other recordings of the same time."""
        sessions: dict[Hashable, list[_Group]] = {}
        done = []
        for group in sorted(groups, key=lambda group: (group.first.kind != "movie", group.first.path)):
            for place in _stream_keys(group):
                near = [session for session in sessions.get(place, ())[-LOOK_BACK:] if _one_time(session, group)]
                lead = next((session for session in near if not session.stated.contradiction(group.stated)), None)
                if lead:
                    shared = lead.stated.agreement(group.stated)
                    what = f"with the same {shared}" if shared else "with names that differ only by colour or focus"
                    lead.reasons += [*group.reasons, f"{group.first.file} was recorded with {lead.first.file}, {what}"]
                    lead.others.append(group)
                    lead.stated = lead.stated.and_(group.stated)
                    break
            else:
                done.append(group)
                for place in _stream_keys(group):
                    sessions.setdefault(place, []).append(group)
        return done

    def _attach(self, companions: Sequence[Member], sessions: Sequence[_Group]) -> list[Member]:
        """Give each companion to the session that it fits best; returns those that fit none, or two alike."""
        by_uuid: dict[str, list[_Group]] = {}
        by_folder: dict[str, list[_Group]] = {}
        for group in sessions:
            by_folder.setdefault(group.folder, []).append(group)
            if group.stated.uuid:
                by_uuid.setdefault(group.stated.uuid.casefold(), []).append(group)
        indices = {folder: _Index(groups) for folder, groups in by_folder.items()}
        left = []
        for one in companions:
            near = by_uuid.get(one.origin.uuid.casefold(), []) if one.origin.uuid else []
            near = [group for group in near if group.folder == one.folder] or near
            candidates = {id(group): group for group in near}
            if one.folder in indices:
                candidates |= {id(group): group for group in indices[one.folder].like(one)}
            best = self._best(one, list(candidates.values()))
            if best:
                group, reason = best
                group.companions.append(one)
                group.stated = group.stated.and_(one.stated)
                group.reasons.append(f"{one.file} belongs to it: {reason}")
            else:
                left.append(one)
        return left

    def _best(self, one: Member, groups: Sequence[_Group]) -> tuple[_Group, str] | None:
        ranked: list[tuple[tuple[int, int], _Group, str]] = []
        misses: list[tuple[_Group, str]] = []
        for group in groups:
            shared, named = group.stated.agreement(one.stated), _shared_name(one, group)
            against = group.stated.contradiction(one.stated)
            if shared != UUID:  # which is stronger than the clocks of two computers
                against = against or _out_of_time(one, group)
            if against:
                if named:
                    misses.append((group, against))
                continue
            rank = 2 if shared == UUID else 1 if shared else 0
            if rank or named:
                reason = f"the same {shared}" if shared else "its name begins alike"
                ranked.append(((rank, named), group, f"{reason}, and {_time_fits(one, group)}"))
        ranked.sort(key=lambda candidate: candidate[0], reverse=True)
        if len(ranked) > 1 and ranked[0][0] == ranked[1][0]:
            firsts = [group.first for _, group, _ in ranked[:2]]
            self.misses[one.folder, one.path] = _Miss(
                [*firsts, one], "", f"{one.path} fits two sessions equally well, "
            )
            return None
        if misses and not ranked:
            self._missed((one.folder, one.path), [misses[0][0].first, one], misses[0][1])
        return (ranked[0][1], ranked[0][2]) if ranked else None

    def _together(self, groups: Sequence[_Group]) -> list[_Group]:
        """Companions without a movie: those of one UUID, or of one name and time."""
        done: list[_Group] = []
        places: dict[Hashable, list[_Group]] = {}
        for group in groups:
            first = group.first
            keys: list[Hashable] = [(first.folder, names.common(group.names()).casefold())]
            keys += [("uuid", group.stated.uuid.casefold())] if group.stated.uuid else []
            near = [session for key in keys for session in places.get(key, ())[-LOOK_BACK:]]
            lead = next(
                (
                    session
                    for session in near
                    if not session.stated.contradiction(group.stated)
                    and not any(_out_of_time(one, session) for one in group.members)
                    and first.kind not in {one.kind for one in (*session.members, *session.companions)}
                ),
                None,
            )
            if lead:
                lead.companions += group.members
                lead.stated = lead.stated.and_(group.stated)
                shared = lead.stated.agreement(group.stated)
                why = f"the same {shared}" if shared else "the same name"
                lead.reasons.append(f"{first.file} belongs to it: {why}, and {_time_fits(first, lead)}")
            else:
                done.append(group)
                for key in keys:
                    places.setdefault(key, []).append(group)
        return done

    # ---- near misses

    def _missed(self, place: Hashable, members: list[Member], reason: str) -> None:
        """Note once why recordings of this place are kept apart; further ones are counted."""
        if place in self.misses:
            self.misses[place].n_more += 1
        else:
            self.misses[place] = _Miss(members, reason)


# ---- parts


def _movies_by_start(one: Member) -> tuple[object, ...]:
    return (one.kind != "movie", one.start is None, one.start.timestamp() if one.start else 0, one.path)


def _by_start(group: _Group) -> tuple[object, ...]:
    first = group.first
    return (first.start is None, first.start.timestamp() if first.start else 0, first.path)


def _append(chain: _Group, group: _Group, reason: str) -> None:
    pause = gap(chain.last, group.first)
    after = f" after {said(pause)}" if pause is not None and pause > timedelta(seconds=1) else ""
    chain.reasons += [*group.reasons, f"{group.first.file} follows {chain.last.file}{after}: {reason}"]
    chain.members += group.members
    chain.stated = chain.stated.and_(group.stated)


def _uuid(group: _Group) -> Hashable:
    return group.stated.uuid.casefold() if group.stated.uuid and not group.first.origin.is_made else None


def _session_key(group: _Group) -> Hashable:
    stated = group.stated
    device = stated.microscope or stated.system
    if group.first.origin.is_made or not (stated.session and device):
        return None
    return (group.folder, stated.session.casefold(), device.casefold())


def _number(group: _Group) -> Hashable:
    number = group.first.numbering
    return (group.folder, number.base) if number else None


def _why_uuid(chain: _Group, group: _Group) -> tuple[str, str]:
    if gap(chain.last, group.first) is None:
        return "", OVERLAP
    return f"the same {UUID}", ""


def _why_session(chain: _Group, group: _Group) -> tuple[str, str]:
    pause, shared = gap(chain.last, group.first), chain.stated.agreement(group.stated)
    if pause is None:
        return "", OVERLAP
    longest = LONG if shared.startswith("animal") else SHORT
    if pause > longest:
        return "", f"are {said(pause)} apart"
    return f"the same {shared}", "" if shared else "do not state the same session"


def _why_number(chain: _Group, group: _Group) -> tuple[str, str]:
    before, after = chain.last.numbering, group.first.numbering
    if not (before and after):
        return "", "have no numbers"
    if not (chain.last.start and group.first.start):
        return "", "do not know when they began"
    pause = gap(chain.last, group.first)
    if pause is None:
        return "", OVERLAP
    if after.numbers <= before.numbers:
        return "", "are numbered against the order in which they began"
    if after.is_acquisitions:
        return "numbered as parts by the acquisition software", "" if pause <= LONG else f"are {said(pause)} apart"
    if pause > SHORT:
        return "", f"differ only by a number and are {said(pause)} apart"
    if after.numbers[-1] - before.numbers[-1] > 1:
        return "", "differ only by a number, and not by one"
    return "the next number, and a short gap", ""


# ---- streams


def _stream_keys(group: _Group) -> list[Hashable]:
    """Under which the streams of one session are found."""
    stated, first = group.stated, group.first
    keys: list[Hashable] = []
    if stated.uuid:
        keys.append(("uuid", group.folder, stated.uuid.casefold()))
    if stated.session and (stated.microscope or stated.system):
        keys.append(("session", group.folder, stated.session.casefold(), stated.microscope or stated.system))
    plain = names.without_stream(first.stem)
    if plain != first.stem:
        keys.append(("name", group.folder, plain))
    return keys


def _one_time(lead: _Group, group: _Group) -> bool:
    """Whether two groups cover the same time: not one after the other."""
    if group.first.is_timeless or lead.first.is_timeless:
        return True
    a, b = lead.first.info, group.first.info
    if not (a.start and a.end and b.start and b.end):
        return False
    return a.start < (group.last.info.end or b.end) and b.start < (lead.last.info.end or a.end)


# ---- companions


class _Index:
    """The sessions of a folder whose names begin like a recording's, or that state the same session."""

    def __init__(self, groups: Sequence[_Group]) -> None:
        self.by_name: dict[str, list[_Group]] = {}
        self.by_beginning: dict[str, list[_Group]] = {}
        self.by_session: dict[str, list[_Group]] = {}
        for group in groups:
            for name in group.names():
                self.by_name.setdefault(name, []).append(group)
                for beginning in names.beginnings(name):
                    self.by_beginning.setdefault(beginning, []).append(group)
            if group.stated.session:
                self.by_session.setdefault(group.stated.session.casefold(), []).append(group)

    def like(self, one: Member) -> Iterable[_Group]:
        for beginning in (one.stem, *names.beginnings(one.stem)):
            yield from self.by_name.get(beginning, ())
        yield from self.by_beginning.get(one.stem, ())
        if one.origin.session:
            yield from self.by_session.get(one.origin.session.casefold(), ())


def _shared_name(one: Member, group: _Group) -> int:
    """How much of the name tells that they belong together: characters, and one more for the whole; 0: nothing."""
    best, only = 0, group.only_number
    for name in group.names():
        if only and name == only.whole and one.numbering and one.numbering.is_acquisitions:
            continue  # it is numbered itself, as another part
        if one.stem == name:
            best = max(best, len(name) + 1)
        elif names.extends(one.stem, name) or names.extends(name, one.stem):
            best = max(best, min(len(one.stem), len(name)))
    return best


def _out_of_time(one: Member, group: _Group) -> str:
    """Why a companion is not of a session's time; "" if it may be."""
    start, end = group.first.start, group.end
    if not (one.start and start and end):
        return ""
    if one.start > end + AROUND:
        return f"are {said(one.start - end)} apart"
    if (one.end or one.start) < start - AROUND:
        return f"are {said(start - (one.end or one.start))} apart"
    return ""


def _time_fits(one: Member, group: _Group) -> str:
    if not (one.start and group.first.start):
        return "no start is known"
    later = one.start - group.first.start
    if abs(later) < timedelta(seconds=1):
        return "they begin together"
    return f"it begins {said(later)} {'later' if later > timedelta(0) else 'earlier'}"


# ---- the end


def _is_listed(one: Member, given: Said) -> bool:
    folder = f"{given.folder}/" if given.folder else ""
    if not one.path.startswith(folder):
        return False
    return any(fnmatchcase(one.path[len(folder) :], pattern) for pattern in given.recordings)


def _session(group: _Group) -> Session:
    streams = [group, *sorted(group.others, key=lambda stream: (stream.first.kind != "movie", stream.first.path))]
    starts = [one.start for one in (*(m for s in streams for m in s.members), *group.companions) if one.start]
    return Session(
        name=group.name or _name(group),
        folder=group.folder,
        streams=tuple(tuple(one.path for one in stream.members) for stream in streams),
        companions=tuple(sorted(one.path for one in group.companions)),
        products=tuple(sorted(one.path for one in group.products)),
        reasons=tuple(dict.fromkeys(group.reasons)),
        animal=group.stated.animal,
        start=min(starts, default=None),
    )


def _name(group: _Group) -> str:
    """What the parts have in common without their numbers; the stem of a recording that is alone.

    A single part has its number left out too where a companion's name has none.
    """
    stems = [one.stem for one in group.members]
    if len(stems) > 1:
        wholes = {one.numbering.whole for one in group.members if one.numbering}
        if len(wholes) == 1 and all(one.numbering for one in group.members):
            return wholes.pop()
        return names.common(stems)
    if group.others:
        plain = {names.without_stream(stem) for stem in [*stems, *(stream.first.stem for stream in group.others)]}
        return plain.pop() if len(plain) == 1 else stems[0]
    number = group.only_number
    beside = [one.stem for one in group.companions if not one.stem.startswith(stems[0])]
    if number and any(names.begin_alike(stem, number.whole) for stem in beside):
        return number.whole
    return stems[0]
