"""One recording in, its results out."""

from __future__ import annotations

import importlib
from collections.abc import Callable
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


def adapt(
    recording: Path, kind: str, stem: str, out: Path, context: Context, write_page: Callable[[Part], None] | None = None
) -> Summary:
    """Write every result of one recording as `out/<stem>...`.

    `write_page` is given what a page shows of it, before the JSON is written, by which results count as complete.

    Raises BadRecording or Unusable with a reason for the user; anything else is a fault of the library,
    the machine or this program.
    """
    from pipeline.inspect import metadata

    warnings: list[str] = []

    def warn(message: str) -> None:
        warnings.append(message)
        context.warn(message)

    module = importlib.import_module(f"pipeline.inspect.{KINDS[kind].module}")
    before = {path.name for path in out.iterdir()}
    outcome = module.adapt(recording, stem, out, replace(context, warn=warn))
    if outcome.measures:
        quality.write(out / f"{stem}-quality.csv", {recording.name: outcome.measures})
    if context.also:
        context.also(recording, kind, stem, out, replace(context, warn=warn))
    record = metadata.common(recording, kind) | outcome.metadata
    record |= {
        "quality": quality.to_json(outcome.measures),
        "warnings": warnings,
        "software": metadata.software(),
        "provenance": context.provenance,
    }
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
    if write_page:
        write_page(part)
    results = sorted(path.name for path in out.iterdir() if path.name not in before)
    metadata.write(out / f"{stem}.json", {**record, "results": results})
    context.progress(1.0)
    return Summary(outcome.summary, outcome.thumbnail, (*results, f"{stem}.json"), part)
