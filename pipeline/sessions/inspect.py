"""The recipe `inspect` on a session: every recording, and the tables, page and record of all of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from pipeline.inspect import metadata, quality
from pipeline.inspect.context import Context
from pipeline.inspect.results import Summary, write_results
from pipeline.pages import page
from pipeline.sessions import members, sets
from pipeline.sessions.events import with_events
from protocol.job import Job, Member, Result
from recording.errors import TooLittleMemory, Unusable


def run(job: Job, context: Context) -> Result:
    """Do a job. Raises Unusable, BadRecording."""
    mine = members.of(job)
    if len(mine) == 1:
        return _alone(job, mine[0], context)
    remembering, warnings = context.remembering()
    failed: dict[str, str] = {}
    summaries = _summaries(job, mine, remembering, failed)
    reported = remembering.decisions.report(job.staging, remembering.warn) if remembering.decisions else []
    shown = with_events(summaries)
    pages = page.Page(
        title=members.title(job),
        stem=job.stem,
        parts=shown,
        software=metadata.software(),
        provenance=context.provenance,
        warnings=warnings,
        session=members.facts(job.session),
        failure=job.failure,
    )
    products = [*reported, *(name for summary in summaries for name in summary.products)]
    products += sets.join_ttl(job.stem, products, job.staging)
    measures = {part.name: part.measures for part in shown if part.measures}
    quality.write(job.staging / f"{job.stem}-quality.csv", measures)
    products += [f"{job.stem}-quality.csv", *page.write(pages, job.staging)]
    if job.session.nwb:
        from pipeline.nwb.collect import write_inspected  # imported only when asked for

        products += write_inspected(job, summaries, remembering)
    lead = summaries[0]
    parts = [summary.part for summary in summaries]
    members.write_record(job, lead.part if len(job.inputs) == 1 else None, parts, measures, warnings, products)
    text = "; ".join([lead.text, *(f"{summary.part.name}: {summary.text}" for summary in summaries[1:3])])
    return Result((*sorted(set(products)), f"{job.stem}.json"), text, lead.picture, failed)


def _alone(job: Job, member: Member, context: Context) -> Result:
    """A recording that is a session by itself."""
    remembering, warnings = context.remembering()
    done = write_results(member.path, member.kind, job.stem, job.staging, remembering, with_page=True)
    products = [*done.products]
    if job.session.nwb:
        from pipeline.nwb.collect import write_inspected  # imported only when asked for

        made = write_inspected(job, [done], remembering)
        path = job.staging / f"{job.stem}.json"
        record = json.loads(path.read_text(encoding="utf-8"))
        metadata.write(path, {**record, "warnings": warnings, "results": sorted({*record["results"], *made})})
        products = [*made, *products]
    return Result(tuple(products), done.text, done.picture)


def _summaries(job: Job, mine: Sequence[Member], context: Context, failed: dict[str, str]) -> list[Summary]:
    """The last sets of cells and of events are those of the session."""
    summaries: list[Summary] = []
    first: Exception | None = None
    joined = {one.path: group for group in sets.last_sets(job) for one in group}
    done: set[Path] = set()
    for number, one in enumerate(mine):
        if one.path in done:
            continue
        part = members.context_for(one, context, number, len(mine))
        group = joined.get(one.path, [one])
        if one.path in joined:
            try:
                summaries.append(sets.adapt_together(group, job.stem, job.staging, part))
                done |= {member.path for member in group}
                continue
            except Unusable as error:
                part.warn(str(error))
        context.at(one.path)
        try:
            summaries.append(write_results(one.path, one.kind, one.stem, job.staging, part, is_part=True))
        except (MemoryError, TooLittleMemory):
            raise
        except Exception as error:  # one must not cost the others
            failed[str(one.path)] = members.reason(error)
            first = first or error
    context.at(None)
    if not summaries and first:
        raise first
    return summaries
