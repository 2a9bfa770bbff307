"""Collects the contents of one job's NWB file: of a recording with its companions, or of a recipe's run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import tifffile

from pipeline.inspect.context import Context
from pipeline.inspect.decisions import verdicts
from pipeline.inspect.results import Summary
from pipeline.nwb import metadata
from pipeline.nwb.cells import rooms
from pipeline.nwb.kinds import IN_NWB
from pipeline.nwb.motion import Translations
from pipeline.nwb.session import Source
from pipeline.nwb.write import Contents, write
from protocol.copies import Copies
from protocol.job import Job, Member, Session
from recording.errors import Unusable
from recording.kinds import KINDS

PROJECTIONS = {
    "mean": "Mean of the valid frames",
    "std": "Standard deviation of the valid frames",
    "max": "Greatest values of the valid frames",
    "min": "Least values of the valid frames",
}
TRANSLATIONS = "-translations.csv"


@dataclass(frozen=True)
class Product:
    """A file that a step of a recipe made."""

    path: Path
    kind: str
    label: str  # what its name adds to the recording's
    part: int
    made_by: str
    beside: Path | None = None  # what the paths of its results begin with
    offset_us: int = 0  # its start, from the session's
    decided: Sequence[Mapping[str, str]] = ()  # on its cells, by eye


def write_inspected(job: Job, summaries: Sequence[Summary], context: Context) -> list[str]:
    """`<session>.nwb` of a session's recordings and the projections of its movies; returns the names of the files.

    `summaries` are those of the recordings that were inspected. Raises Unusable, BadRecording.
    """
    if job.kind not in IN_NWB:
        context.warn(f"{job.inputs[0].name} has no NWB file: NWB files do not support {KINDS[job.kind].a} yet")
        return []
    projections = {}
    movies = [summary for summary in summaries if summary.part.kind == "movie"]
    for number, summary in enumerate(movies, 1):
        label = f"-{number}" if len(movies) > 1 else ""
        projections |= {f"{name}{label}": Path(f"{summary.beside}-{name}.tif") for name in PROJECTIONS}
    decided = {
        path: verdicts(summary.part.cells.decided)
        for summary in summaries
        for path in summary.recordings
        if summary.part.cells
    }
    of_session = {
        path for summary in summaries if f"{job.stem}-cells.csv" in summary.products for path in summary.recordings
    }
    sources = [
        replace(source, decided=decided.get(source.path, {}), is_of_session=source.path in of_session)
        for source in _sources(job, context.warn)
    ]
    out = job.staging / f"{job.stem}.nwb"
    return [path.name for path in _write(out, sources, [], projections, job.session, context)]


def write_run(
    job: Job, products: Sequence[Product], responses: Sequence[Path], out: Path, context: Context
) -> list[Path]:
    """The NWB file of a recipe's run, `out`: the session, and what was made of it.

    `responses` are tables of cells around events. Returns it, and what was written beside it.
    """
    n_parts = len(job.inputs)
    sources = _sources(job, context.warn)
    translations, projections = [], {}
    for product in products:
        label = _numbered(product.label, product.part, n_parts)
        if product.kind in IN_NWB:
            sources.append(
                Source(
                    product.path,
                    product.kind,
                    label,
                    product.made_by,
                    product.label,
                    product.part,
                    product.offset_us,
                    verdicts(product.decided),
                    product.kind == "cell_set",
                )
            )
        elif product.path.name.endswith(TRANSLATIONS):
            movie = product.label.removesuffix(TRANSLATIONS.removesuffix(".csv"))
            translations.append(Translations(product.path, label, movie, product.part, product.made_by))
        if product.kind == "movie" and product.beside:
            projections |= {f"{name}{label}": Path(f"{product.beside}-{name}.tif") for name in PROJECTIONS}
    return _write(out, sources, translations, projections, job.session, context, responses)


def _sources(job: Job, warn: Callable[[str], None]) -> list[Source]:
    """The recordings of the session: its parts, and what belongs to them."""
    n_parts = len(job.inputs)
    members = job.session.members or [Member(path, job.kind, job.stem) for path in job.inputs]
    stems = [path.stem for path in job.inputs]
    sources = []
    for one in members:
        if one.kind not in IN_NWB:
            warn(f"{one.path.name} is left out of the NWB file, which does not support {KINDS[one.kind].a} yet")
            continue
        part = stems.index(one.path.stem) if one.path.stem in stems else one.part
        if one.path in job.inputs:
            label, part, made_by = "", job.inputs.index(one.path), ""
            sources.append(Source(one.path, one.kind, f"-{part + 1}", "", "", part, one.offset_us))
            continue
        origin = stems[min(part, n_parts - 1)]
        label = one.path.stem.removeprefix(origin) if one.is_made or one.path.stem.startswith(origin) else ""
        made_by = "found beside the recording" if one.is_made else ""
        sources.append(Source(one.path, one.kind, _numbered(label, part, n_parts), made_by, label, part, one.offset_us))
    return sources


def _numbered(label: str, part: int, n_parts: int) -> str:
    return f"{label}-{part + 1}" if n_parts > 1 else label


def _write(
    out: Path,
    sources: Sequence[Source],
    translations: Sequence[Translations],
    projections: dict[str, Path],
    session: Session,
    context: Context,
    responses: Sequence[Path] = (),
) -> list[Path]:
    try:
        known = metadata.read(session.metadata, Copies(session.copies))
    except metadata.MetadataMistakes as error:
        raise Unusable(str(error)) from error
    images = {
        name: (tifffile.imread(path), f"{PROJECTIONS[name.partition('-')[0]]}, {path.name}")
        for name, path in projections.items()
        if path.is_file()
    }
    identifier = str(context.provenance.get("fingerprint") or out.stem)
    contents = Contents(
        sources,
        identifier,
        known,
        images,
        translations,
        responses,
        embed=context.options.nwb_movie,
        advise=context.advise,
        start=session.start,
    )
    made = write(out, contents, context)
    context.rooms.extend(rooms(out))
    return made
