"""What a step reads of the session beside the recordings that the recipe runs on: pulses of GPIO channels, tables."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from open_engine import event_times
from open_engine.context import table_beside
from pipeline.inspect import gpio, tables
from pipeline.inspect.context import Context
from pipeline.recipe.chain import COMPANIONS, PlannedStep
from pipeline.recipe.store import stamp
from protocol.job import Job, Member, Session
from recording.errors import Unusable
from recording.kinds import KINDS


def has(planned: PlannedStep) -> bool:
    return any(stream.step == COMPANIONS for stream in planned.read)


def check(planned: PlannedStep, job: Job, context: Context) -> None:
    """Whether a step will find what it reads: before hours of work, not after. Raises Unusable."""
    try:
        _check(planned, job, context)
    except Unusable as error:
        raise Unusable(f"{planned.step.label}: {error}") from error


def _check(planned: PlannedStep, job: Job, context: Context) -> None:
    step, lead = planned.step, job.inputs[0]
    for path in _tables(planned, job):
        if not path.is_file():
            raise Unusable(f"{path.name} is not there: it belongs beside {lead.name}")
        event_times.read_times(path, job.session.name)
    for stream in planned.read:
        if stream.step != COMPANIONS or step.files_beside:
            continue
        if not of_kind(stream.kind, job.session, job.inputs):
            way_out = ": give events = a table of times" if step.contract.beside else ", which the step takes"
            raise Unusable(f"the session of {lead.name} has no {KINDS[stream.kind].name}{way_out}")
        if channel := step.values.get(step.contract.channel):
            pulses = tables_of_pulses(stream.kind, job.session, job.inputs, context)
            event_times.read_edges(pulses, channel, step.values["edge"])


def of_kind(kind: str, session: Session, inputs: Sequence[Path]) -> list[Member]:
    """Members of a kind, in order of their starts."""
    members = [one for one in session.members if one.kind == kind and one.path not in inputs]
    return sorted(members, key=lambda one: one.offset_us)


def _tables(planned: PlannedStep, job: Job) -> list[Path]:
    return [table_beside(job.inputs[0].parent, job.session.name, name) for name in planned.step.files_beside]


def _members(planned: PlannedStep, job: Job) -> list[Member]:
    kinds = [stream.kind for stream in planned.read if stream.step == COMPANIONS]
    return [one for kind in kinds for one in of_kind(kind, job.session, job.inputs)]


def facts(planned: PlannedStep, job: Job) -> dict[str, Any]:
    """Facts for a step's fingerprint: what its products depend on beside other products. Empty for most steps."""
    if not has(planned):
        return {}
    files = _tables(planned, job)
    files += [one.path for one in _members(planned, job)]
    return {
        "companions": [[path.name, *(stamp(path) or [])] for path in files],
        "clock": [[one.path.name, one.offset_us] for one in job.session.members],
    }


def begins_us(session: Session) -> dict[str, int]:
    """When each recording begins, by path, from the session's start."""
    return {str(one.path): one.offset_us for one in session.members}


def tables_of_pulses(kind: str, session: Session, inputs: Sequence[Path], context: Context) -> list[Path]:
    """A table for each such recording of the session: its pulses on the session's clock, in the scratch folder."""
    return [_table(one, number, context) for number, one in enumerate(of_kind(kind, session, inputs))]


def _table(one: Member, number: int, context: Context) -> Path:
    path = context.scratch / f"pulses-{number}" / f"{one.stem or one.path.stem}-ttl.csv"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        tables.write(path, gpio.pulses(context.open(one.path, one.kind), one.offset_us))
    return path
