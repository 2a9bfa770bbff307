"""Collects the contents of one job's NWB file: of a recording with its companions, or of a recipe's run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import tifffile

from open_engine.context import StepContext
from pipeline.inspect.context import Context
from pipeline.nwb import metadata
from pipeline.nwb.motion import Translations
from pipeline.nwb.session import READERS, Source
from pipeline.nwb.write import Contents, write
from recording.copies import Copies
from recording.errors import BadRecording, Unusable
from recording.formats import check
from recording.job import Session
from recording.kinds import KINDS

PROJECTIONS = {
    "mean": "Mean of the valid frames",
    "std": "Standard deviation of the valid frames",
    "max": "Greatest values of the valid frames",
    "min": "Least values of the valid frames",
}
ACQUIRED = ("gpio", "imu", "behavior_movie", "nvision")  # never made from another recording
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


def write_inspected(session: Session, recording: Path, kind: str, stem: str, out: Path, context: Context) -> None:
    """`<stem>.nwb` of a recording, its companions and its projections. Raises Unusable, BadRecording."""
    if kind not in READERS:
        context.warn(f"{recording.name} has no NWB file: NWB files take no {KINDS[kind].name} yet")
        return
    sources = [Source(recording, kind, "-1"), *_companions([recording], session.companions, context.warn)]
    projections = {name: out / f"{stem}-{name}.tif" for name in PROJECTIONS}
    _write(out / f"{stem}.nwb", sources, [], projections if kind == "movie" else {}, session, context)


def write_run(
    inputs: Sequence[Path], kind: str, products: Sequence[Product], out: Path, session: Session, context: Context
) -> list[Path]:
    """The NWB file of a recipe's run, `out`: the recording or the parts of the series, and what was made of them.

    Returns it, and what was written beside it.
    """
    n_parts = len(inputs)
    sources = [Source(path, kind, f"-{part + 1}", part=part) for part, path in enumerate(inputs)]
    sources += _companions(inputs, session.companions, context.warn)
    translations, projections = [], {}
    for product in products:
        label = _numbered(product.label, product.part, n_parts)
        if product.kind in READERS:
            sources.append(Source(product.path, product.kind, label, product.made_by, product.label, product.part))
        elif product.path.name.endswith(TRANSLATIONS):
            movie = product.label.removesuffix(TRANSLATIONS.removesuffix(".csv"))
            translations.append(Translations(product.path, label, movie, product.part, product.made_by))
        if product.kind == "movie" and product.beside:
            projections |= {f"{name}{label}": Path(f"{product.beside}-{name}.tif") for name in PROJECTIONS}
    return _write(out, sources, translations, projections, session, context)


def _companions(inputs: Sequence[Path], paths: Sequence[Path], warn: Callable[[str], None]) -> list[Source]:
    """Other recordings of the session: parts, and what is called after the inputs or the parts."""
    stems = dict.fromkeys(path.stem for path in (*inputs, *paths))
    origins = {stem: next(each for each in stems if _extends(stem, each)) for stem in stems}
    parts = list(dict.fromkeys(origins.values()))
    found = []
    for path in paths:
        try:
            kind = check(path).kind
        except BadRecording as error:
            warn(f"{path.name} is left out of the NWB file: {error.reason}")
            continue
        if kind not in READERS:
            warn(f"{path.name} is left out of the NWB file, which takes no {KINDS[kind].name} yet")
            continue
        origin = origins[path.stem]
        label, part = path.stem[len(origin) :], parts.index(origin)
        made_by = "found beside the recording" if label and kind not in ACQUIRED else ""
        found.append(Source(path, kind, _numbered(label, part, len(parts)), made_by, label, part))
    return found


def _extends(stem: str, origin: str) -> bool:
    return stem == origin or stem.startswith((f"{origin}-", f"{origin}_"))


def _numbered(label: str, part: int, n_parts: int) -> str:
    return f"{label}-{part + 1}" if n_parts > 1 else label


def _write(
    out: Path,
    sources: Sequence[Source],
    translations: Sequence[Translations],
    projections: dict[str, Path],
    session: Session,
    context: Context,
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
    contents = Contents(sources, identifier, known, images, translations, embed=context.options.nwb_movie)
    return write(out, contents, StepContext(context.scratch, context.threads, context.warn, context.progress))
