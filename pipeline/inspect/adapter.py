"""One recording in, its results out."""

from __future__ import annotations

import importlib
from base64 import b64encode
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.inspect import quality
from pipeline.inspect.context import Context
from pipeline.pages.content import Part
from recording.kinds import KINDS


@dataclass(frozen=True)
class Summary:
    text: str
    thumbnail: bytes
    products: tuple[str, ...]  # file names in `out`; the JSON, by which results count as complete, is last
    part: Part  # for the page
    beside: Path  # what the paths of the files begin with

    @property
    def picture(self) -> str | None:
        """The thumbnail in base64."""
        return b64encode(self.thumbnail).decode() if self.thumbnail else None


def adapt(
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
    from pipeline.inspect import consistency, metadata

    context, warnings = context.remembering()
    module = importlib.import_module(f"pipeline.inspect.{KINDS[kind].module}")
    before = {path.name for path in out.iterdir()}
    outcome = module.adapt(recording, stem, out, context)
    if outcome.measures and not is_part:
        quality.write(out / f"{stem}-quality.csv", {recording.name: outcome.measures})
    if context.session:
        from pipeline.nwb.collect import write_inspected  # imported only when asked for

        write_inspected(context.session, recording, kind, stem, out, context)
    consistency.stated(outcome.metadata, context.warn)
    record = metadata.common(recording, kind) | outcome.metadata
    record |= {
        "quality": quality.to_json(outcome.measures),
        "warnings": warnings,
        "software": metadata.software(),
        "provenance": context.provenance,
    }
    if context.failure:
        record["failure"] = context.failure
    part = Part(
        name=recording.name,
        kind=kind,
        summary=outcome.summary,
        record=record,
        figures=outcome.figures,
        measures=outcome.measures,
        cells=outcome.cells,
        film=f"{stem}-movie.mp4" if (out / f"{stem}-movie.mp4").exists() else "",
        warnings=tuple(warnings),
    )
    if with_page:
        from pipeline.pages import page

        shown = page.Page(part.name, stem, [part], metadata.software(), context.provenance, warnings=warnings)
        shown = replace(shown, failure=context.failure)
        page.write(shown, out)
    results = sorted(path.name for path in out.iterdir() if path.name not in before)
    if not is_part:
        metadata.write(out / f"{stem}.json", {**record, "results": results})
        results.append(f"{stem}.json")
    context.progress(1.0)
    return Summary(outcome.summary, outcome.thumbnail, tuple(results), part, out / stem)
