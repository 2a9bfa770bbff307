"""The recordings of a job's session, and what its record says of them."""

from __future__ import annotations

import traceback
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pipeline import reasons
from pipeline.inspect import metadata, quality
from pipeline.inspect.context import Context
from pipeline.pages.content import Measure, Part
from protocol.job import Job, Member, Session


def of(job: Job) -> list[Member]:
    """Those whose results this job makes: its inputs first."""
    members = [one for one in job.session.members if not one.only_for_nwb]
    return members or [Member(path, job.kind, job.stem) for path in job.inputs]


def others(job: Job) -> list[Member]:
    """All but the inputs."""
    return [one for one in of(job) if one.path not in job.inputs]


def title(job: Job) -> str:
    return job.session.name if len(job.inputs) > 1 else job.inputs[0].name


def context_for(one: Member, context: Context, number: int, total: int) -> Context:
    """Context of a member, on the session's clock. Warnings name the recording."""
    return replace(
        context,
        offset_us=one.offset_us,
        warn=lambda text: context.warn(f"{one.path.name}: {text}"),
        progress=lambda fraction: context.progress((number + min(max(fraction, 0.0), 1.0)) / total),
    )


def reason(error: Exception) -> str:
    """Why a recording of the session has no results; its log has the rest."""
    traceback.print_exception(type(error), error, error.__traceback__)
    return reasons.reason(error)


def facts(session: Session) -> dict[str, Any]:
    """Facts of the session, for the JSON and the page."""
    return {
        "name": session.name,
        "animal": session.animal,
        "start": session.start.isoformat(timespec="milliseconds") if session.start else None,
        "recordings": [
            {"name": one.path.name, "kind": one.kind, "start_s": one.offset_us / 1e6, "placed_by": one.placed_by}
            for one in session.members
        ],
        "reasons": list(session.reasons),
    }


def write_record(
    job: Job,
    lead: Part | None,
    parts: Sequence[Part],
    measures: Mapping[str, Sequence[Measure]],
    warnings: Sequence[str],
    products: Sequence[str],
) -> None:
    """`<session>.json`: what is known of the recording that leads, if it is one, and of each."""
    record = {
        "schema_version": metadata.SCHEMA_VERSION,
        "kind": job.kind,
        "inputs": [metadata.common(path, job.kind)["input"] for path in job.inputs],
        **(lead.record if lead else {}),
        **({"failure": job.failure} if job.failure else {}),
        "session": facts(job.session),
        "recordings": {part.name: part.record for part in parts},
        "quality": {name: quality.to_json(its) for name, its in measures.items()},
        "warnings": list(warnings),
        "results": sorted(set(products)),
        "software": metadata.software(),
        "provenance": job.provenance,
    }
    metadata.write(job.staging / f"{job.stem}.json", record)
