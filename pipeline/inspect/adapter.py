"""One recording in, its results out."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from recording.job import Options
from recording.kinds import KINDS


@dataclass
class Context:
    """What a recording's results are made with.

    `progress` takes the fraction done, 0 to 1; `warn` takes a sentence for the report.
    """

    scratch: Path
    threads: int = 1
    options: Options = field(default_factory=Options)
    provenance: dict[str, Any] = field(default_factory=dict)
    progress: Callable[[float], None] = lambda fraction: None
    warn: Callable[[str], None] = lambda message: None
    also: Callable[[Path, str, str, Path, Context], None] | None = None  # writes more results; called as `adapt` is


@dataclass(frozen=True)
class Outcome:
    """What one kind's module found, besides the files that it wrote."""

    summary: str  # a short line for the report
    thumbnail: bytes  # a small PNG
    metadata: dict[str, Any]  # for the JSON


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
