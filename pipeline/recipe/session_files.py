"""What a session has one of, after a recipe: its page, its NWB file and its record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipeline.inspect import figures, metadata, quality, tissue
from pipeline.inspect.results import Summary
from pipeline.pages.content import Measure
from pipeline.pages.page import Page
from pipeline.recipe import page, peri_event
from pipeline.recipe.chain import kept
from pipeline.recipe.decided import with_decisions
from pipeline.recipe.names import titles
from pipeline.recipe.page import Made
from pipeline.recipe.state import Run, offset_us
from pipeline.recipe.steps import FILE
from pipeline.sessions import members


def write_nwb(
    this: Run,
    made: Mapping[str, Made],
    names: Sequence[str],
    decided: Mapping[str, Sequence[Mapping[str, str]]],
    around_events: Sequence[str],
) -> list[str]:
    """One file of the recording or series and the last products of each kind, and films beside it; returns names."""
    from pipeline.nwb.collect import Product, write_run  # imported only when asked for

    last, tops = kept(this.planned, "last"), titles(this)
    out = this.job.staging / f"{this.stem}.nwb"
    products = [
        Product(
            with_decisions(this, tops, name),
            stream.kind,
            stream.chain,
            part,
            f"made by {planned_step.step.function} ({planned_step.step.bound.title})",
            made[name].summary.beside if name in made else None,
            offset_us(this, stream, name) if stream.kind != FILE else 0,
            decided.get(name, ()),
        )
        for planned_step in this.planned
        for stream in planned_step.made
        if stream in last
        for part, name in enumerate(this.names(stream))
        if name in names
    ]
    responses = [this.job.staging / f"{table}.csv" for table in around_events]
    return [path.name for path in write_run(this.job, products, responses, out, this.context)]


def page_of(
    this: Run,
    made: Mapping[str, Made],
    of_session: Mapping[str, Made],
    beside: Sequence[Summary],
    results: Sequence[str],
) -> Page:
    """Everything that the page of this run shows."""
    steps, inputs = this.store.staging, {path.name: path for path in this.inputs}
    done = [
        (planned_step.step.number, planned_step.step.bound.title, this.store.entries[fingerprint])
        for planned_step, fingerprint in zip(this.planned, this.fingerprints)
        if fingerprint in this.store.entries
    ]

    def find(name: str) -> Path | None:
        path = inputs.get(name, steps / name)
        return path if path.is_file() else None

    corrections = [entry for _, _, entry in done if entry.function == "motion_correct"]
    figures.start_matplotlib(this.context.scratch)
    around_events = peri_event.parts(results, this.stem, this.job.staging)
    threads = max(1, this.context.threads) if this.context.options.film else 0
    motions = [
        page.motion(entry, find, this.stem, this.job.staging, this.context.warn, threads) for entry in corrections[-1:]
    ]
    shown = page.shown_parts(of_session)
    for plane in {product.plane for product in of_session.values()}:
        of_plane = {product.summary.part.name for product in of_session.values() if product.plane == plane}
        shown = page.with_tissue(shown, of_plane, _behind_cells(this, made, plane))
    return Page(
        title=members.title(this.job),
        stem=this.stem,
        parts=[*shown, *around_events, *filter(None, motions), *(summary.part for summary in beside)],
        software=metadata.software(),
        provenance=this.context.provenance,
        steps=page.shown_steps(done, made, page.pictures(this.inputs, this.job.kind)),
        recipe=this.recipe.path.stem,
        warnings=this.warnings,
        session=members.facts(this.job.session) if len(this.job.session.members) > 1 else None,
    )


def _behind_cells(this: Run, made: Mapping[str, Made], plane: str) -> list[tissue.Inspected]:
    """The files of a plane's movie after its last motion correction, else of the movie that cells were found in.

    That may be the recording itself. Empty if the movie was not kept.
    """
    steps = [planned_step for planned_step in this.planned if planned_step.step.plane == plane]
    cells = [planned_step for planned_step in steps if any(stream.kind == "cell_set" for stream in planned_step.made)]
    corrections = [planned_step for planned_step in steps if planned_step.step.function == "motion_correct"]
    candidates = [
        *(stream for planned_step in reversed(cells) for stream in planned_step.read),
        *(stream for correction in corrections for stream in correction.made),
    ]
    movies = [stream for stream in candidates if stream.kind == "movie"]
    for stream in reversed(movies):
        names = this.names(stream)
        if stream.step < 0:
            return [tissue.Inspected(path, None) for path in this.inputs]
        if set(names) <= set(made):
            return [tissue.Inspected(this.store.staging / name, made[name].summary.beside) for name in names]
    return []


def write_record(
    this: Run,
    products: list[str],
    measures: Mapping[str, Sequence[Measure]],
    records: Mapping[str, Mapping[str, Any]],
) -> None:
    record = {
        "schema_version": metadata.SCHEMA_VERSION,
        "kind": this.job.kind,
        "inputs": [metadata.common(path, this.job.kind)["input"] for path in this.inputs],
        "recipe": {
            "name": this.recipe.path.stem,
            "sha256": this.recipe.sha256,
            "text": this.recipe.text,
        },
        "steps": [asdict(entry) for entry in this.entries_done()],
        "session": members.facts(this.job.session),
        "recordings": records,
        "results": products,
        "quality": {name: quality.to_json(its) for name, its in measures.items()},
        "software": metadata.software(),
        "provenance": this.context.provenance,
    }
    metadata.write(this.job.staging / f"{this.stem}.json", record)
