"""Cell sets: traces, footprints, and what can be said of each cell. Rejected cells stay, with their status."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import isx
import numpy as np
from PIL import Image

from open_engine import robust
from open_engine.files.cellsets import reasons_of
from pipeline.inspect import consistency, decisions, figures, metadata, optics, quality, tables, tiff
from pipeline.inspect.candidates import STATUS, Candidates
from pipeline.inspect.context import Context, Outcome
from pipeline.inspect.decisions import CellSetId, Decision, Present
from pipeline.inspect.footprints import Core, around
from pipeline.inspect.opened import OpenRecording
from pipeline.inspect.pieces import Piece, continuing, first_samples, stretches, with_gaps
from pipeline.pages.cells import Cells, box
from pipeline.pages.content import Figure, Measure
from pipeline.pages.layout import PixelSize, place_labels
from recording import formats
from recording.errors import Unusable

MOST_LINES = 40  # traces that can be told apart in one plot
MOST_NAMES = 60  # of usual size on a map
MOST_LISTED = 20  # cells in a warning
MAP_POINTS = 6 * 72  # length of a map's longer side, about


@dataclass(frozen=True)
class Cell:
    """One cell; of its footprint, only the part that is not zero."""

    name: str
    status: str
    centroid: tuple[float, float]  # x, y in px; NaN for an empty footprint
    area: int  # px
    outline: np.ndarray  # the footprint around the cell, for its contour
    corner: tuple[int, int]  # row, column of that in the field of view

    @property
    def core(self) -> tuple[int, int, np.ndarray]:
        """Row, column and values of the footprint where it reaches half its maximum, 0 around it."""
        return (*self.corner, np.where(self.outline >= 0.5, self.outline, 0))

    @property
    def pixels(self) -> Core:
        return Core(*self.corner, self.outline >= 0.5)


@dataclass(frozen=True)
class Activity:
    """Numbers from the trace of each cell, in the order of the file."""

    noise: np.ndarray  # standard deviation, in the unit of the traces
    snr: np.ndarray
    transients: list[quality.Events]
    rate_hz: np.ndarray  # of transients, over the time for which the trace has values; NaN if it tells no noise
    half_decay_s: np.ndarray

    @property
    def is_known(self) -> np.ndarray:
        """Whether the trace of each cell tells its noise: not if it hardly holds a number, or never two in a row."""
        return np.isfinite(self.noise)

    @property
    def n_transients(self) -> list[int | None]:
        """None if that is not known."""
        return [len(its.peaks) if known else None for its, known in zip(self.transients, self.is_known)]


def activity(traces: np.ndarray, timing: isx.Timing) -> Activity:
    """Activity in traces, shape (cells, samples), NaN if a sample is missing."""
    period_s = timing.period.secs_float
    return _activity(traces, period_s)


def _activity(traces: np.ndarray, period_s: float) -> Activity:
    known_s = np.isfinite(traces).sum(axis=1) * period_s
    noise = np.array([noise_of(trace) for trace in traces])
    transients = [quality.transients(trace, sigma, period_s) for trace, sigma in zip(traces, noise)]
    return Activity(
        noise,
        np.array([snr_of(trace, sigma) for trace, sigma in zip(traces, noise)]),
        transients,
        np.array(
            [
                len(cell_transients.peaks) / seconds if np.isfinite(sigma) else np.nan
                for cell_transients, sigma, seconds in zip(transients, noise, known_s)
            ]
        ),
        np.array([cell_transients.half_decay_s for cell_transients in transients]),
    )


METHODS = (  # for a paper; in braces, keys of references.bib
    "The noise of a trace was estimated from its successive differences [{donoho1994}]. Transients were stretches "
    "more than 2.5 noise standard deviations above the median that reached 5. Overlapping cells whose traces "
    "correlated with r > 0.8, the value at which CaImAn merges components [{giovannucci2019}], were marked as "
    "possibly the same cell."
)
READ = isx.CellSet.read


def write_results(recording: OpenRecording, stem: str, out: Path, context: Context) -> Outcome:
    return write_of_series([Piece(recording, context.offset_us)], stem, out, context)


def write_of_series(pieces: Sequence[Piece], stem: str, out: Path, context: Context) -> Outcome:
    """Results of the same cells in each part of a session, as one; footprints and statuses are those of the first part.

    Raises Unusable if the parts name other cells.
    """
    sets, recording = [piece.recording.handle for piece in context.in_turn(pieces)], pieces[0].recording
    cell_set, footer = recording.handle, recording.footer
    timing, pixel_um = recording.timing, optics.pixel_um(recording)
    n, unit, period_s = cell_set.num_cells, trace_unit(footer), timing.period.secs_float
    if n == 0:
        context.warn("the cell set has no cells")
    names = [cell_set.get_cell_name(i) for i in range(n)]
    for other in sets[1:]:
        if names != [other.get_cell_name(i) for i in range(other.num_cells)]:
            raise Unusable("its parts have different cells: their traces cannot form one table")

    times = [piece.times_s(one.timing) for one, piece in zip(sets, pieces)]
    parts = [
        piece.filled(metadata.traces(one.timing, n, one.get_cell_trace_data))
        for one, piece in zip(sets, context.in_turn(pieces))
    ]
    context.at(recording.path)
    tables.write_wide(out / f"{stem}-traces.csv", np.concatenate(times), names, np.concatenate(parts, axis=1))
    count = consistency.Count()
    for one, part, piece in zip(sets, parts, pieces):
        count.add(part[:, piece.before : part.shape[1] - piece.after][:, metadata.valid_samples(one.timing)])
    candidates = context.candidates
    cells, together, identity, digests = _write_footprints(
        out / f"{stem}-footprints.tif", cell_set, pixel_um, count, context
    )
    decided = _decided(identity, cells, digests, context)
    reasons = [_reason(decided.get(name), noted) for name, noted in zip(names, reasons_of(footer))]
    cells = [replace(cell, status=decided[cell.name].status) if cell.name in decided else cell for cell in cells]

    known = [of_piece for of_piece in times if len(of_piece)]
    starts, ends = [of_piece[0] for of_piece in known], [of_piece[-1] + period_s for of_piece in known]
    continues = continuing(starts, ends, period_s)
    continues = continues if len(known) == len(times) else [False] * (len(times) - 1)
    parts, times = stretches(parts, continues), stretches(times, continues)
    traces = with_gaps(parts)
    of_cells = _activity(traces, period_s)
    unknown = [name for name, known in zip(names, of_cells.is_known) if not known]
    if unknown and any(metadata.valid_samples(one.timing).any() for one in sets):
        context.warn(f"{len(unknown)} of {n} cells have traces without information: {_listed(unknown)}")
    pairs = quality.overlaps([cell.core for cell in cells], traces)
    nearest = _nearest(n, pairs)
    alike = [pair for pair in pairs if pair.is_alike]
    tables.write(out / f"{stem}-cells.csv", _table(cells, decided, reasons, of_cells, nearest, unit, pixel_um))
    figures.start_matplotlib(context.scratch)
    thumbnail = _draw_map(out / f"{stem}-cellmap.png", cells, together, pixel_um)
    gaps = with_gaps([piece_times[np.newaxis] for piece_times in times])[0]
    _draw_traces(out / f"{stem}-traces.png", _over_gaps(gaps), traces, of_cells.noise, cells, unit)

    counts = {status: sum(cell.status == status for cell in cells) for status in figures.STATUS_COLOUR}
    shown = Cells(
        names,
        [cell.status for cell in cells],
        {
            "SNR": of_cells.snr,
            "Rate [1/min]": 60 * of_cells.rate_hz,
            "Half decay [s]": of_cells.half_decay_s,
            "Area [px]": [cell.area for cell in cells],
            "Overlap": _overlaps(cells, nearest),
        },
        traces,
        period_s,
        unit,
        [cell_transients.peaks for cell_transients in of_cells.transients],
        f"transients above {quality.EVENT_START:g} noise standard deviations",
        [cell.core for cell in cells],
        _background(together),
        together.shape,
        pixel_um,
        _doubt(cells, of_cells, alike),
        decisions.for_page(decided),
        identity,
        reasons=reasons,
        pieces=tuple(
            zip(first_samples([part.shape[1] for part in parts]), (float(time_s[0]) for time_s in times if len(time_s)))
        ),
    )
    if candidates:
        shown = _with_candidates(shown, candidates, pieces, continues)
    n_samples = sum(part.shape[1] for part in parts)
    whole = {} if len(pieces) == 1 else {"n_samples": n_samples, "n_parts": len(pieces)}
    return Outcome(
        summary=f"{n} cells ({_counted(counts)}), {n_samples} samples at {1 / period_s:.4g} Hz",
        thumbnail=thumbnail,
        measures=_measures(cells, of_cells, nearest, [(names[pair.first], names[pair.second]) for pair in alike]),
        methods=METHODS,
        figures=_figures(stem, n),
        cells=shown if n else None,
        metadata={
            **metadata.timing(timing),
            **whole,
            **metadata.spacing(cell_set.spacing),
            **optics.tissue(pixel_um),
            "n_cells": n,
            "cell_set_id": identity,
            "n_decided_by_hand": len(decided),
            **({"n_candidates": len(candidates.left)} if candidates else {}),
            **{f"n_{status}": counts[status] for status in ("accepted", "undecided", "rejected")},
            "trace_unit": unit,
            "columns": _columns(stem, unit),
            "pairs_alike": [
                {
                    "cells": [names[pair.first], names[pair.second]],
                    "overlap": pair.cosine,
                    "correlation": pair.correlation,
                }
                for pair in alike
            ],
            "acquisition": recording.acquisition(context.warn),
            **count.report("values of traces and footprints", context.warn),
            "file_metadata": footer,
        },
    )


def _decided(identity: str, cells: Sequence[Cell], digests: Sequence[str], context: Context) -> dict[str, Decision]:
    """Decisions by eye, by the name of the cell or candidate."""
    if not context.decisions:
        return {}
    candidates = context.candidates.present() if context.candidates else []
    theirs = {candidate.name for candidate in candidates}
    own = [
        Present(cell.name, identity, digest, cell.status, cell.pixels)
        for cell, digest in zip(cells, digests)
        if cell.name not in theirs
    ]
    return context.decisions.on([*own, *candidates])


def _reason(decision: Decision | None, noted: str) -> str:
    """Why a cell has its status, as far as anybody has said so."""
    if not decision:
        return noted
    return f"joined with {decision.joined_with}" if decision.joined_with else ""


def _with_candidates(shown: Cells, candidates: Candidates, pieces: Sequence[Piece], continues: Sequence[bool]) -> Cells:
    """What the explorer shows, and after it those candidates that are no cells."""
    left = candidates.left
    filled = [piece.filled(part[left]) for piece, part in zip(pieces, candidates.pieces())]
    traces = with_gaps(stretches(filled, continues))
    of_cells = _activity(traces, shown.period_s)
    names = [candidates.cells.names[i] for i in left]
    cells = [describe(name, STATUS, candidates.cells.images[i]) for i, name in zip(left, names)]
    numbers = {
        "SNR": of_cells.snr,
        "Rate [1/min]": 60 * of_cells.rate_hz,
        "Half decay [s]": of_cells.half_decay_s,
        "Area [px]": [cell.area for cell in cells],
    }
    unknown = [float("nan")] * len(left)
    rank = np.nan_to_num(of_cells.snr).argsort().argsort() / max(1, len(left) - 1)
    return replace(
        shown,
        names=[*shown.names, *names],
        status=[*shown.status, *[STATUS] * len(left)],
        columns={name: [*values, *numbers.get(name, unknown)] for name, values in shown.columns.items()},
        traces=np.concatenate([shown.traces, traces]),
        events=[*shown.events, *[np.empty(0, np.int64)] * len(left)],
        cores=[*shown.cores, *(cell.core for cell in cells)],
        doubt=[*shown.doubt, *rank.tolist()],
        reasons=[*shown.reasons, *(candidates.reasons[i] for i in left)],
        n_candidates=len(left),
        candidates_id=candidates.cell_set_id,
        of_candidates=frozenset(candidates.cells.names),
    )


def _doubt(cells: list[Cell], of_cells: Activity, alike: list[quality.Overlap]) -> list[float]:
    """How much a look would be worth, 0 to 2: accepted cells with a low SNR, rejected ones with a high SNR, undecided
    ones, and pairs that look like one."""
    snr = np.nan_to_num(np.asarray(of_cells.snr, float))
    rank = snr.argsort().argsort() / max(1, len(snr) - 1)
    of_status = {"accepted": 1 - rank, "rejected": rank, "undecided": np.full(len(rank), 1.0)}
    paired = {i for pair in alike for i in (pair.first, pair.second)}
    return [float(of_status[cell.status][i]) + (i in paired) for i, cell in enumerate(cells)]


def _over_gaps(time_s: np.ndarray) -> np.ndarray:
    """Times with those between parts filled in, so that they rise."""
    missing = np.flatnonzero(np.isnan(time_s))
    filled = time_s.copy()
    filled[missing] = (time_s[missing - 1] + time_s[missing + 1]) / 2
    return filled


def _write_footprints(
    path: Path, cell_set: isx.CellSet, pixel_um: PixelSize, count: consistency.Count, context: Context
) -> tuple[list[Cell], np.ndarray, str, list[str]]:
    """Write a page for each cell; returns the cells, all footprints in one image, each up to 1, `cell_set_id` and, if
    somebody has decided on cells, digests of them.

    Cells that were candidates have no part in the identity: that of the others stays as it was.
    """
    n, cells, digests = cell_set.num_cells, [], []
    added = context.candidates.taken if context.candidates else ()
    together = np.zeros(cell_set.spacing.num_pixels, np.float32)
    identity = CellSetId()

    def footprints() -> Iterator[np.ndarray]:
        for i in range(n):
            footprint = cell_set.get_cell_image_data(i)
            count.add(footprint)
            name = cell_set.get_cell_name(i)
            if name not in added:
                identity.add(name, footprint)
            if context.decisions:
                digests.append(decisions.digest_of(name, footprint))
            cells.append(describe(name, cell_set.get_cell_status(i), footprint))
            peak = np.nanmax(footprint)
            if peak > 0:
                part = around(footprint)
                together[part] = np.fmax(together[part], footprint[part] / peak)
            context.progress(0.8 * (i + 1) / n)
            yield footprint

    if n:
        tiff.write_pages(
            path,
            footprints(),
            (n, *together.shape),
            np.float32,
            pixel_um,
            compression="zlib",  # mostly zeros
            threads=context.threads,
            axes="ZYX",
            Labels=[cell_set.get_cell_name(i) for i in range(n)],
        )
    empty = [cell.name for cell in cells if not cell.area]
    if empty:
        context.warn(f"{len(empty)} of {n} cells have no footprint: {_listed(empty)}")
    return cells, together, str(identity), digests


def _listed(names: list[str]) -> str:
    return ", ".join(names[:MOST_LISTED]) + (
        f" and {len(names) - MOST_LISTED} more" if len(names) > MOST_LISTED else ""
    )


def _overlaps(cells: list[Cell], nearest: list[quality.Overlap | None]) -> list[float]:
    """NaN for a cell without footprint."""
    return [pair.cosine if pair else 0.0 if cell.area else np.nan for cell, pair in zip(cells, nearest)]


def _table(
    cells: list[Cell],
    decided: Mapping[str, Decision],
    reasons: Sequence[str],
    of_cells: Activity,
    nearest: list[quality.Overlap | None],
    unit: str,
    pixel_um: PixelSize,
) -> dict[str, Sequence[Any]]:
    across, down = pixel_um
    names = [cell.name for cell in cells]
    return {
        "name": names,
        "status": [cell.status for cell in cells],
        "decided_by": [decided[name].by or decisions.HAND if name in decided else "" for name in names],
        "status_reason": reasons,
        "centroid_x_px": [cell.centroid[0] for cell in cells],
        "centroid_y_px": [cell.centroid[1] for cell in cells],
        "centroid_x_um": [round(cell.centroid[0] * across, 6) for cell in cells],
        "centroid_y_um": [round(cell.centroid[1] * down, 6) for cell in cells],
        "area_px": [cell.area for cell in cells],
        "area_um2": [round(cell.area * across * down, 6) for cell in cells],
        "noise": of_cells.noise,
        "snr": of_cells.snr,
        "trace_unit": [unit] * len(cells),
        "n_transients": of_cells.n_transients,
        "transient_rate_hz": of_cells.rate_hz,
        "half_decay_s": of_cells.half_decay_s,
        "overlap": _overlaps(cells, nearest),
        "overlaps_most_with": [names[pair.other(i)] if pair else "" for i, pair in enumerate(nearest)],
        "correlation_with_it": [pair.correlation if pair else np.nan for pair in nearest],
    }


def _columns(stem: str, unit: str) -> dict[str, dict[str, dict[str, str]]]:
    """Unit and meaning of the columns whose names do not tell, as BIDS's sidecars state them."""
    trace = {"Description": "each other column is the trace of the cell whose name it has", "Units": unit}
    return {
        f"{stem}-traces.csv": {"*": trace},
        f"{stem}-cells.csv": {
            "noise": {"Description": "standard deviation of the trace's noise", "Units": unit},
            "snr": {"Description": "(maximum - median) / noise", "Units": "1"},
            "overlap": {"Description": "cosine of the footprint and the one that it overlaps most", "Units": "1"},
            "correlation_with_it": {"Description": "Pearson's r of the traces of these two", "Units": "1"},
        },
    }


def _figures(stem: str, n: int) -> tuple[Figure, ...]:
    """The map is not among them: the page draws its own, which can be explored."""
    if not n:
        return ()
    return (
        Figure(
            f"{stem}-traces.png",
            "Traces, in the order of the file."
            if n <= MOST_LINES
            else "All traces as a heat map, in the order of the file: each above its median, in standard deviations of "
            "its noise. Where samples share a column, the greatest is shown.",
        ),
    )


def _measures(
    cells: list[Cell], of_cells: Activity, nearest: list[quality.Overlap | None], alike: list[tuple[str, str]]
) -> tuple[Measure, ...]:
    """Quality of the cell set; medians are over all cells but rejected ones. See docs/quality.md."""
    kept = np.array([cell.status != "rejected" for cell in cells], bool)
    areas = np.array([cell.area for cell in cells], float)
    overlap = np.array(_overlaps(cells, nearest))
    said = ", ".join(f"{first} and {second}" for first, second in alike[:8]) + (", ..." if len(alike) > 8 else "")
    which = "median over the cells that are not rejected"
    return (
        Measure(
            "snr_median",
            "SNR",
            quality.median(of_cells.snr[kept]),
            "",
            f"(maximum - median) / noise of a trace; {which}",
        ),
        Measure(
            "transient_rate_median_per_min",
            "Transients",
            quality.median(60 * of_cells.rate_hz[kept]),
            "1/min",
            f"stretches that rise above {quality.EVENT_START:g} noise standard deviations over the median, until they "
            f"fall under {quality.EVENT_END:g}; {which}",
        ),
        Measure(
            "half_decay_median_s",
            "Half decay",
            quality.median(of_cells.half_decay_s[kept]),
            "s",
            f"time from a transient's peak to half of it, median of each cell; {which}",
        ),
        Measure(
            "area_median_px",
            "Footprint",
            quality.median(areas[kept & (areas > 0)]),
            "px",
            f"pixels where the footprint reaches half its maximum; {which}",
        ),
        Measure(
            "overlapping_percent",
            "Cells that overlap another",
            quality.percent(float((overlap > 0).sum()), len(cells)),
            "%",
            "whose footprint shares pixels with another cell's, where each reaches half its maximum; of all cells",
        ),
        Measure(
            "pairs_alike",
            "Pairs that look like one",
            len(alike),
            "",
            f"overlapping cells whose traces correlate with r > {quality.ALIKE_CORRELATION} "
            "(CaImAn merges those: Giovannucci et al. 2019)",
            said,
        ),
    )


def _nearest(n: int, pairs: list[quality.Overlap]) -> list[quality.Overlap | None]:
    """For each cell, the pair in which it overlaps most."""
    nearest: list[quality.Overlap | None] = [None] * n
    for pair in sorted(pairs, key=lambda pair: pair.cosine):
        nearest[pair.first] = nearest[pair.second] = pair
    return nearest


def _background(together: np.ndarray) -> bytes:
    """All footprints as a PNG, dark where there is none: for the page's map."""
    data = io.BytesIO()
    Image.fromarray((255 * np.clip(np.nan_to_num(together), 0, 1)).astype(np.uint8)).save(data, "PNG", optimize=True)
    return data.getvalue()


def noise_of(trace: np.ndarray) -> float:
    """Standard deviation of the noise of a trace, shape (samples,), NaN where samples are missing.

    The median absolute deviation of the finest Haar wavelet coefficients, (x[i+1] - x[i]) / sqrt(2), as a standard
    deviation (Donoho and Johnstone, 1994, Biometrika 81:425): slow changes hardly enter it, and transients, being rare,
    not either.
    """
    details = np.diff(trace.astype(np.float64)) / np.sqrt(2)
    details = details[np.isfinite(details)]
    if details.size < 2:  # one has no spread
        return float("nan")
    return robust.spread(details)


def snr_of(trace: np.ndarray, noise: float) -> float:
    """Peak above the median, in standard deviations of the noise."""
    finite = trace[np.isfinite(trace)].astype(np.float64)
    if not finite.size or not noise > 0:
        return float("nan")
    return float((finite.max() - np.median(finite)) / noise)


def describe(name: str, status: str, footprint: np.ndarray) -> Cell:
    """Area and centroid, weighted with the footprint, of where it reaches half its maximum.

    Beyond, footprints of PCA-ICA carry a faint background over the whole field of view, which would draw the centroid
    to its middle.
    """
    part = around(footprint, margin=1)  # of a pixel that is dark, so that outlines are closed
    weights = np.nan_to_num(np.maximum(footprint[part], 0))
    peak = weights.max(initial=0)
    if peak <= 0:
        return Cell(name, status, (np.nan, np.nan), 0, np.zeros((0, 0)), (0, 0))
    inside = weights >= peak / 2
    core = np.where(inside, weights, 0)
    x = np.average(np.arange(core.shape[1]), weights=core.sum(axis=0, dtype=np.float64))
    y = np.average(np.arange(core.shape[0]), weights=core.sum(axis=1, dtype=np.float64))
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    top, left = max(0, rows[0] - 1), max(0, columns[0] - 1)
    outline = weights[top : rows[-1] + 2, left : columns[-1] + 2] / peak
    first_row, first_column = int(part[0].start), int(part[1].start)
    centre = float(x) + first_column, float(y) + first_row
    return Cell(name, status, centre, int(inside.sum()), outline, (int(top) + first_row, int(left) + first_column))


def trace_unit(footer: dict) -> str:
    """Unit of the traces as Inscopix's own software states it, or au (arbitrary units)."""
    noted = formats.extra_properties(footer).get("idps", {}).get("cellset")
    return str(noted["units"]) if isinstance(noted, dict) and "units" in noted else "au"


def _draw_map(path: Path, cells: list[Cell], together: np.ndarray, pixel_um: PixelSize) -> bytes:
    drawn, axes = figures.field_of_view(together, pixel_um, cmap="gray_r", vmin=0, vmax=1.6)
    if len(cells) > MOST_NAMES:
        drawn.set_dpi(200)  # so that small names can be read
    drawn_cells = [cell for cell in cells if cell.area]
    for status, colour in figures.STATUS_COLOUR.items():
        figures.lines(axes, _outlines([cell for cell in drawn_cells if cell.status == status], pixel_um), colour, 1.0)
    _write_names(axes, drawn_cells, len(cells), pixel_um)
    figures.name_statuses(axes, [cell.status for cell in cells])
    return figures.save(drawn, path)


def _outlines(cells: list[Cell], pixel_um: PixelSize) -> list[np.ndarray]:
    """Where each footprint has half its maximum, (points, 2) x, y in µm."""
    from contourpy import contour_generator

    outlines = []
    for cell in cells:
        if min(cell.outline.shape) >= 2:
            lines = contour_generator(z=cell.outline).lines(0.5)
            outlines += [(line + cell.corner[::-1]) * pixel_um for line in lines]
    return outlines


def _write_names(axes: Any, cells: list[Cell], n: int, pixel_um: PixelSize) -> None:
    """Inside the outline, or beside it and tied to it by a line."""
    size = 7 if n <= MOST_NAMES else 4  # points
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    point = max((right - left) / MAP_POINTS, (bottom - top) / MAP_POINTS)  # in µm, about
    boxes = np.array([box(cell.core) for cell in cells]).reshape(-1, 4) * (*pixel_um, *pixel_um)
    names = [cell.name for cell in cells]
    places = place_labels(names, boxes, 0.62 * size * point, 1.1 * size * point, (left, top, right, bottom))
    middles = (boxes[:, :2] + boxes[:, 2:]) / 2
    beside = {status: [] for status in figures.STATUS_COLOUR}
    for cell, (west, north, east, south), middle, (x, y) in zip(cells, boxes, middles, places):
        if not (west <= x <= east and north <= y <= south):
            half = np.array([0.62 * len(cell.name), 1.1]) * size * point / 2
            to_name = np.array([x, y]) - middle
            reached = 1 - min(1.0, float(np.min(half / np.maximum(np.abs(to_name), 1e-9))))
            beside[cell.status].append(np.array([middle, middle + reached * to_name]))
        named = axes.text(x, y, cell.name, color="black", fontsize=size, ha="center", va="center")
        named.set(path_effects=figures.halo(), in_layout=False)
    for status, lines in beside.items():
        figures.lines(axes, lines, figures.STATUS_COLOUR[status], 0.5)


def _draw_traces(
    path: Path, time_s: np.ndarray, traces: np.ndarray, noise: np.ndarray, cells: list[Cell], unit: str
) -> None:
    n = len(cells)
    drawn, axes = figures.figure(9, max(2.5, min(9.0, 1 + 0.28 * n)))
    axes.set_xlabel("Time [s]")
    if n and n <= MOST_LINES:
        places = figures.stacked(axes, time_s, traces, [figures.STATUS_COLOUR[cell.status] for cell in cells])
        axes.set_yticks(places, [cell.name for cell in cells])
        axes.set_xlim(0, time_s[-1] if len(time_s) > 1 else 1)
        axes.set_ylabel("Cell")
        figures.scale_bar(axes, unit)
        statuses = [cell.status for cell in cells]
        figures.name_statuses(axes, statuses, counted=False, loc="lower right", bbox_to_anchor=(1, 1))
    elif n:
        in_noise = (traces - np.nanmedian(traces, axis=1, keepdims=True)) / np.where(noise > 0, noise, np.nan)[:, None]
        thinned = figures.peaks(in_noise, 2000)
        image = axes.imshow(
            thinned,
            aspect="auto",
            cmap="cividis",
            vmin=0,
            vmax=np.nanpercentile(thinned, 99.5),
            extent=(0, time_s[-1] if len(time_s) else 1, n - 0.5, -0.5),
            interpolation="nearest",
        )
        axes.set_ylabel("Cell, in the order of the file")
        drawn.colorbar(image, label="Above the median [standard deviations of the noise]")
    figures.save(drawn, path)


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {status}" for status, count in counts.items() if count) or "none"
