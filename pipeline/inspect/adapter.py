"""One recording in, its results out."""

from __future__ import annotations

import importlib
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.inspect.context import Context
from recording.kinds import KINDS


@dataclass(frozen=True)
class Summary:
    text: str
    thumbnail: bytes
    products: tuple[str, ...]  # file names in `out`; the JSON, by which results count as complete, is last


def adapt(recording: Path, kind: str, stem: str, out: Path, context: Context) -> Summary:
    """Write every result of one recording as `out/<stem>...`.

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
    if context.also:
        context.also(recording, kind, stem, out, replace(context, warn=warn))
    results = sorted(path.name for path in out.iterdir() if path.name not in before)
    record = metadata.common(recording, kind) | outcome.metadata
    record |= {
        "results": results,
        "warnings": warnings,
        "software": metadata.software(),
        "provenance": context.provenance,
    }
    metadata.write(out / f"{stem}.json", record)
    context.progress(1.0)
    return Summary(outcome.summary, outcome.thumbnail, (*results, f"{stem}.json"))
