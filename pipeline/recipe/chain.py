"""How steps follow from one another: which product each step reads, and what its own products are called."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.recipe.model import INPUT, Problem, Step
from pipeline.recipe.steps import FILE, Makes, Takes
from recording.kinds import BESIDE_KINDS, KINDS, Shape

COMPANIONS = -2  # in place of a step: recordings of the session that the recipe does not run on
PULSES = "pulses"  # label of companions that are given as tables of their TTL pulses


@dataclass(frozen=True)
class Stream:
    """One product: a file for each part of a recording, or (`once`) one for all."""

    step: int  # index of the step that makes it; -1 for the recording itself, or COMPANIONS
    kind: str
    chain: str = ""  # the ending of its files' names: "-PP-BP"
    extension: str = ".isxd"
    label: str = ""
    once: bool = False

    def names(self, stem: str, parts: Sequence[str]) -> list[str]:
        """File names; `parts` are the stems of the parts, `stem` is that of the whole."""
        return [f"{one}{self.chain}{self.extension}" for one in ([stem] if self.once else parts)]


@dataclass
class PlannedStep:
    """A step, with what it reads and makes."""

    step: Step
    inputs: list[tuple[Takes, list[Stream]]] = field(default_factory=list)
    outputs: list[tuple[Makes, Stream]] = field(default_factory=list)

    @property
    def read(self) -> list[Stream]:
        return [stream for _, streams in self.inputs for stream in streams]

    @property
    def made(self) -> list[Stream]:
        return [stream for _, stream in self.outputs]


def plan(steps: Sequence[Step], kind: str) -> tuple[list[PlannedStep], list[Problem]]:
    """Chain the steps for a recording of this kind."""
    latest: dict[str, list[Stream]] = {kind: [Stream(-1, kind)]}
    by_name = {INPUT: latest[kind]}
    taken = {""}
    planned, problems = [], []
    for index, step in enumerate(steps):
        current = PlannedStep(step)
        messages = _fill(current, latest, by_name)
        problems += [Problem(step.line_of("from"), message) for message in messages]
        if not messages:
            _name_outputs(current, index, taken)
        else:  # as if it had worked, so that what follows is not reported as well
            current.outputs = [(one, Stream(index, one.kind, label=one.label)) for one in step.contract.makes]
        planned.append(current)
        made: dict[str, list[Stream]] = {}
        for stream in current.made:
            if stream.kind != FILE:
                made.setdefault(stream.kind, []).append(stream)
        latest.update(made)
        by_name[step.name] = current.made
    return planned, problems


def latest(planned: Sequence[PlannedStep]) -> list[Stream]:
    """The last product of each kind, and focal plane: what a lab looks for.

    Several, if the step that makes it splits its input.
    """
    last = {(its.step.plane, stream.kind): stream.step for its in planned for stream in its.made}
    of_planes = {kind for plane, kind in last if plane}
    return [
        stream
        for planned_step in planned
        for stream in planned_step.made
        if stream.kind != FILE
        and last[planned_step.step.plane, stream.kind] == stream.step
        and (planned_step.step.plane or stream.kind not in of_planes)
    ]


def kept(planned: Sequence[PlannedStep], keep: str) -> set[Stream]:
    """The products that stay: all, or (`keep = "last"`) those that no later step used, and the latest of each kind."""
    used = {stream for planned_step in planned for stream in planned_step.read}
    last = set(latest(planned))
    return {
        stream
        for planned_step in planned
        for stream in planned_step.made
        if keep == "all" or stream.kind == FILE or stream not in used or stream in last
    }


def _fill(current: PlannedStep, latest: dict[str, list[Stream]], by_name: dict[str, list[Stream]]) -> list[str]:
    """Choose the inputs of a step: those that `from` names, then the latest product for each input still missing.

    Returns a message for each mistake.
    """
    step = current.step
    chosen, problems = _chosen(step, by_name)
    slots, not_taken = _sort_into_slots(chosen, step)
    problems += not_taken
    for slot, takes in zip(slots, step.contract.takes):
        if takes.companion:
            slot[:] = [Stream(COMPANIONS, kind, label=PULSES) for kind in takes.kinds]
        elif not slot and not takes.optional and set(takes.kinds) <= set(BESIDE_KINDS) - set(latest):
            slot.append(Stream(COMPANIONS, takes.kinds[0], once=True))
        if slot or takes.optional or problems:
            continue
        newest, problem = _newest(step, takes, latest, by_name)
        slot += newest
        problems += [problem] if problem else []
    current.inputs = [(takes, slot) for takes, slot in zip(step.contract.takes, slots) if slot]
    return problems


def _sort_into_slots(chosen: Sequence[Stream], step: Step) -> tuple[list[list[Stream]], list[str]]:
    """The streams for each input of a step, and a message for each mistake."""
    slots: list[list[Stream]] = [[] for _ in step.contract.takes]
    for stream in chosen:
        fits = (
            slot
            for slot, takes in zip(slots, step.contract.takes)
            if stream.kind in takes.kinds and not takes.companion and (takes.several or not slot)
        )
        next(fits, []).append(stream)
    used = {stream.step for slot in slots for stream in slot}
    problems = []
    for stream in chosen:  # of a step that makes several kinds, one that is taken suffices
        if stream.step not in used:
            used.add(stream.step)
            problems.append(f"from names {KINDS[stream.kind].a} that {step.name} does not take")
    return slots, problems


def _newest(
    step: Step, takes: Takes, latest: dict[str, list[Stream]], by_name: dict[str, list[Stream]]
) -> tuple[list[Stream], str]:
    """The latest product that an input takes. If there is none, or the choice is ambiguous, a message says so."""
    if sum(other.kinds == takes.kinds and not other.optional for other in step.contract.takes) > 1:
        return [], f"{step.name} takes two {KINDS[takes.kinds[0]].name}s: name both with from = [..., ...]"
    possible = [latest[kind] for kind in takes.kinds if kind in latest]
    if not possible:
        wanted = " or ".join(KINDS[kind].a for kind in takes.kinds)
        return [], f"{step.name} needs {wanted}, and no earlier step makes one"
    newest = max(possible, key=lambda streams: streams[0].step)
    if len(newest) > 1 and not takes.several:
        named = [f'"{name}.{one.label}"' for name, made in by_name.items() for one in made if one in newest]
        return [], f"{step.name} takes one of several products: choose it with from = one of {', '.join(named)}"
    return newest, ""


def _chosen(step: Step, by_name: dict[str, list[Stream]]) -> tuple[list[Stream], list[str]]:
    chosen: list[Stream] = []
    problems: list[str] = []
    for source in step.sources:
        name, _, label = source.partition(".")
        streams = [stream for stream in by_name.get(name, ()) if stream.kind != FILE]
        if label:
            labels = [stream.label for stream in streams]
            streams = [stream for stream in streams if stream.label == label]
            if not streams:
                has = f"it has {', '.join(filter(None, labels))}" if any(labels) else "it has none"
                problems.append(f"from names {source!r}, but {name} has no product {label!r}: {has}")
        elif name in by_name and not streams:
            problems.append(f"from names {name!r}, which makes nothing that a step can take")
        elif len({stream.kind for stream in streams}) < len(streams) and not any(
            takes.several for takes in step.contract.takes
        ):
            names = ", ".join(f'"{name}.{stream.label}"' for stream in streams)
            problems.append(f"from names {name!r}, which makes several products: choose one of {names}")
            streams = []
        chosen += streams
    return chosen, problems


def _name_outputs(current: PlannedStep, index: int, taken: set[str]) -> None:
    step = current.step
    first = current.inputs[0][1]
    once = len(first) > 1 or first[0].once
    given = {takes.parameter for takes, _ in current.inputs}
    for makes in step.contract.makes:
        if makes.needs and makes.needs not in given:
            continue
        for value in step.values.get(makes.split_by, [0]) if makes.split_by else [None]:
            values = {**step.values, makes.split_by: value}
            suffix = makes.suffix.format(**values)
            chain = _free(f"{first[0].chain}-{suffix}", makes.extension, taken)
            label = str(value) if makes.split_by else makes.label
            stream = Stream(index, makes.kind, chain, makes.extension, label, makes.once or once)
            current.outputs.append((makes, stream))


def _free(chain: str, extension: str, taken: set[str]) -> str:
    """Two products never share a name, nor does a file have one that the inspect results of a recording have."""
    number, free = 1, chain
    endings = (".isxd", ".json", ".tif", ".csv") if extension == ".isxd" else (extension,)
    while taken & (names := {free + ending for ending in endings}):
        number += 1
        free = f"{chain}-{number}"
    taken |= names
    return free


# ---- how much room the products need


def room(
    planned: Sequence[PlannedStep],
    recording: Shape,
    wanted: set[Stream],
    keep: set[Stream],
    estimated: Mapping[int, Mapping[str, Any]],
) -> int:
    """The most bytes that the products of the steps still to run (`wanted`) will take at any one time.

    estimated: values of steps, by their index, that the recipe leaves to the movie.
    """
    shapes = {-1: recording, COMPANIONS: recording}
    sizes: dict[Stream, int] = {}
    needed = peak = 0
    for index, planned_step in enumerate(planned):
        before = shapes[planned_step.read[0].step]
        values = {**planned_step.step.values, **estimated.get(index, {})}
        shapes[index] = after = planned_step.step.contract.shape(values, before)
        for stream in planned_step.made:
            if stream in wanted:
                sizes[stream] = KINDS.get(stream.kind, KINDS["image"]).n_bytes(after)
                needed += sizes[stream]
        peak = max(peak, needed)
        still_used = {stream for later in planned[index + 1 :] for stream in later.read}
        for stream in [stream for stream in sizes if stream not in keep and stream not in still_used]:
            needed -= sizes.pop(stream)
    return peak
