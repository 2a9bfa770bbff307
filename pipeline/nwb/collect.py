"""What belongs into the NWB file of one job: of a recording with its companions, or of a recipe's run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tifffile

from pipeline.inspect.adapter import Context
from pipeline.nwb import metadata
from pipeline.nwb.motion import Translations
from pipeline.nwb.session import READERS, Source
from pipeline.nwb.write import Contents, Means, write
from recording.errors import Unusable
from recording.formats import check
from recording.job import Session

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


def write_inspected(recording: Path, kind: str, stem: str, out: Path, session: Session, context: Context) -> None:
    """`<stem>.nwb` of a recording, its companions and its projections. Raises Unusable, BadRecording."""
    sources = [Source(recording, kind), *_companions(recording.stem, session.companions)]
    projections = {name: out / f"{stem}-{name}.tif" for name in PROJECTIONS}
    _write(out / f"{stem}.nwb", sources, [], projections if kind == "movie" else {}, session, context)


def write_run(
    inputs: Sequence[Path], kind: str, products: Sequence[Product], out: Path, session: Session, context: Context
) -> None:
    """The NWB file of a recipe's run, `out`: the recording or the parts of the series, and what was made of them."""
    several = len(inputs) > 1
    sources = [Source(path, kind, str(part) if several else "", part=part) for part, path in enumerate(inputs)]
    sources += _companions(inputs[0].stem, session.companions)
    translations, projections = [], {}
    for product in products:
        label = product.label + (f"-{product.part + 1}" if several else "")
        if product.kind in READERS:
            sources.append(Source(product.path, product.kind, label, product.made_by, product.label, product.part))
        elif product.path.name.endswith(TRANSLATIONS):
            translations.append(Translations(product.path, label, product.part, product.made_by))
        if product.kind == "movie":
            stem = product.path.stem
            projections |= {f"{name}{label}": out.parent / f"{stem}-{name}.tif" for name in PROJECTIONS}
    _write(out, sources, translations, projections, session, context)


def _companions(stem: str, paths: Sequence[Path]) -> list[Source]:
    found = []
    for path in paths:
        label = path.stem[len(stem) :] if path.stem.startswith(stem) else f"-{path.stem}"
        kind = check(path).kind
        is_derived = kind not in ("gpio", "imu", "behavior_movie", "nvision")
        found.append(Source(path, kind, label, "found beside the recording" if is_derived else ""))
    return found


def _write(
    out: Path,
    sources: Sequence[Source],
    translations: Sequence[Translations],
    projections: dict[str, Path],
    session: Session,
    context: Context,
) -> None:
    try:
        known = metadata.read(session.metadata)
    except metadata.BadMetadata as error:
        raise Unusable(str(error)) from error
    images = {
        name: (tifffile.imread(path), f"{PROJECTIONS[name.partition('-')[0]]}, {path.name}")
        for name, path in projections.items()
        if path.is_file()
    }
    identifier = str(context.provenance.get("fingerprint") or out.stem)
    contents = Contents(sources, identifier, known, images, translations, embed=context.options.nwb_movie)
    write(out, contents, Means(context.scratch, context.threads, context.warn, context.progress))
