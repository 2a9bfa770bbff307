"""Sets of cells, and of their events, that are one over the parts of a series."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pipeline.inspect.pieces import Piece
from pipeline.recipe.chain import Stream, latest
from pipeline.recipe.state import Run, offset_us
from recording.formats import check
from recording.kinds import JOINED_KINDS


def joined(
    this: Run, keepers: Sequence[Stream], names: Sequence[str], titles: Mapping[str, tuple[str, str]]
) -> dict[Stream, list[Piece]]:
    """Sets of cells, and of their events, that name the same cells in each part: they are one for the session."""
    pieces = {}
    for stream in latest(this.planned):
        files = [name for name in this.names(stream) if name in names]
        if stream in keepers and stream.kind in JOINED_KINDS and len(files) == len(this.inputs) > 1:
            paths = [this.store.staging / name for name in files]
            if len({check(path).names for path in paths}) == 1:
                pieces[stream] = [_piece(this, stream, name, titles) for name in files]
    return pieces


def _piece(this: Run, stream: Stream, name: str, titles: Mapping[str, tuple[str, str]]) -> Piece:
    """A product of one part, with how many samples of the part it lacks; with the cells that were accepted by eye."""
    with_accepted = this.job.staging / titles[name][0] if name in titles else None
    path, whole = this.store.staging / name, check(this.inputs[this.names(stream).index(name)])
    product, before, after = check(path), 0, 0
    if whole.start and product.start and product.period_s and whole.period_s:
        n_whole = whole.n_samples // max(1, round(product.period_s / whole.period_s))
        lacks = (product.start - whole.start).total_seconds() / product.period_s
        if abs(lacks - round(lacks)) < 0.01 and 0 <= round(lacks) <= n_whole - product.n_samples:
            before = round(lacks)
            after = n_whole - product.n_samples - before
    path = with_accepted if with_accepted and with_accepted.exists() else path
    return Piece(this.context.open(path, stream.kind), offset_us(this, stream, name), before, after)
