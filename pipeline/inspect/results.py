"""One recording in, its results out."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.inspect import consistency, metadata, quality
from pipeline.inspect.context import Context, Outcome
from pipeline.inspect.opened import module_of
from pipeline.inspect.pieces import Piece
from pipeline.pages.content import Film, Part


@dataclass(frozen=True)
class Summary:
    text: str
    thumbnail: bytes
    products: tuple[str, ...]  # file names in `out`; the JSON, by which results count as complete, is last
    part: Part  # for the page
    beside: Path  # what the paths of the files begin with
    recordings: tuple[Path, ...] = ()

    @property
    def picture(self) -> str | None:
        """The thumbnail in base64."""
        return b64encode(self.thumbnail).decode() if self.thumbnail else None


def write_results(
    recording: Path,
    kind: str,
    stem: str,
    out: Path,
    context: Context,
    with_page: bool = False,
    is_part: bool = False,
) -> Summary:
    """Write every result of one recording as `out/<stem>...`; the JSON, by which results count as complete, is last.

    `is_part`: of results that have a JSON and a table of quality for all of them, so none is written here.

    Raises BadRecording or Unusable with a reason for the user; anything else is a fault of the library, the machine or
    this program.
    """
    context, warnings = context.remembering()
    before = _names(out)
    outcome = module_of(kind).write_results(context.open(recording, kind), stem, out, context)
    consistency.stated(outcome.metadata, context.warn)
    if with_page and context.decisions:
        context.decisions.report(out, context.warn)
    part = _part(outcome, recording, recording.name, kind, out / stem, context, warnings)
    if outcome.measures and not is_part:
        quality.write(out / f"{stem}-quality.csv", {recording.name: outcome.measures})
    if with_page:
        from pipeline.pages import page

        shown = page.Page(part.name, stem, [part], metadata.software(), context.provenance, warnings=warnings)
        shown = replace(shown, failure=context.failure)
        page.write(shown, out)
    results = sorted(_names(out) - before)
    if not is_part:
        metadata.write(out / f"{stem}.json", {**part.record, "results": results})
        results.append(f"{stem}.json")
    context.progress(1.0)
    return Summary(outcome.summary, outcome.thumbnail, tuple(results), part, out / stem, (recording,))


def write_of_series(pieces: Sequence[Piece], kind: str, name: str, stem: str, out: Path, context: Context) -> Summary:
    """Write the results of a session's parts, which have the same cells, as one part called `name`.

    Raises Unusable, before anything is written, if the parts have other cells each.
    """
    context, warnings = context.remembering()
    before = _names(out)
    outcome = module_of(kind).write_of_series(pieces, stem, out, context)
    consistency.stated(outcome.metadata, context.warn)
    part = _part(outcome, pieces[0].recording.path, name, kind, out / stem, context, warnings)
    results = tuple(sorted(_names(out) - before))
    recordings = tuple(piece.recording.path for piece in pieces)
    return Summary(outcome.summary, outcome.thumbnail, results, part, out / stem, recordings)


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def _part(
    outcome: Outcome,
    recording: Path,
    name: str,
    kind: str,
    beside: Path,
    context: Context,
    warnings: list[str],
) -> Part:
    record = metadata.common(recording, kind) | outcome.metadata
    record |= {
        "quality": quality.to_json(outcome.measures),
        "warnings": warnings,
        "software": metadata.software(),
        "provenance": context.provenance,
    }
    if context.failure:
        record["failure"] = context.failure
    return Part(
        name=name,
        kind=kind,
        summary=outcome.summary,
        record=record,
        figures=outcome.figures,
        measures=outcome.measures,
        methods=outcome.methods,
        cells=outcome.cells,
        film=_film(Path(f"{beside}-movie.mp4")),
        warnings=tuple(warnings),
    )


def _film(path: Path) -> Film | None:
    caption = "The movie, from the file beside this page. Frames that are missing are black."
    return Film(path.name, caption) if path.exists() else None
