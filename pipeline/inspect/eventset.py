"""Event sets: each event, each cell's rate, and a raster."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import isx
import numpy as np

from pipeline.inspect import consistency, figures, metadata, packets, quality, tables
from pipeline.inspect.context import Context, Outcome
from pipeline.inspect.opened import OpenRecording
from pipeline.inspect.pieces import Piece, continuing, stretches
from pipeline.pages.content import Figure, Measure
from pipeline.pages.layout import nice_length
from recording.errors import Unusable

LINES_A_ROW = 120  # events of one cell beyond which they merge in a picture of this width
MOST_ROWS = 200  # cells beyond which a row is too low for a line
COLUMNS = 200  # of the density


READ = isx.EventSet.read


def write_results(recording: OpenRecording, stem: str, out: Path, context: Context) -> Outcome:
    return write_of_series([Piece(recording, context.offset_us)], stem, out, context)


def write_of_series(pieces: Sequence[Piece], stem: str, out: Path, context: Context) -> Outcome:
    """Results of the same cells in each part of a session, as one. Raises Unusable if the parts name other cells."""
    parts = []
    for piece in context.in_turn(pieces):
        parts.append(piece.recording.channels)
        consistency.packets(piece.recording, context.warn)
    first, timings = pieces[0].recording, [piece.recording.timing for piece in pieces]
    cells = _joined(parts, [piece.offset_us for piece in pieces])
    durations_s = [metadata.duration_s(timing) for timing in timings]
    duration_s = sum(durations_s)
    counts = np.array([len(cell.value) for cell in cells], dtype=np.int64)

    tables.write(
        out / f"{stem}-events.csv",
        {
            "cell": np.repeat([cell.name for cell in cells], counts) if cells else [],
            "time_s": np.concatenate([cell.time_s for cell in cells]) if cells else [],
            "amplitude": np.concatenate([cell.value for cell in cells]) if cells else [],
        },
    )
    rates = counts / duration_s if duration_s else np.full(len(cells), np.nan)
    begins = [piece.offset_us / 1e6 for piece in pieces]
    ends = [begin + duration for begin, duration in zip(begins, durations_s)]
    continues = continuing(begins, ends, first.timing.period.secs_float)
    by_cell = [[part[i].time_s + begin for part, begin in zip(parts, begins)] for i in range(len(cells))]
    intervals = np.array([_median_interval(stretches(times, continues)) for times in by_cell])
    tables.write(
        out / f"{stem}-rates.csv",
        {
            "cell": [cell.name for cell in cells],
            "n_events": counts,
            "rate_hz": rates,
            "mean_amplitude": [cell.value.mean(dtype=np.float64) if len(cell.value) else np.nan for cell in cells],
            "median_interval_s": intervals,
        },
    )
    figures.start_matplotlib(context.scratch)
    thumbnail = _draw_raster(out / f"{stem}-raster.png", cells, max(ends))
    return Outcome(
        summary=f"{counts.sum()} events of {len(cells)} cells in {duration_s:.4g} s",
        thumbnail=thumbnail,
        measures=(
            Measure(
                "event_rate_median_per_min",
                "Event rate",
                quality.median(60 * rates),
                "1/min",
                "number of a cell's events over the whole duration, median over cells",
            ),
            Measure(
                "silent_cells_percent",
                "Cells without events",
                quality.percent(float((counts == 0).sum()), len(cells)),
                "%",
                "of all cells",
            ),
            Measure(
                "interval_median_s",
                "Interval between events",
                quality.median(intervals),
                "s",
                "median of each cell, median over cells",
            ),
        ),
        figures=(Figure(f"{stem}-raster.png", _caption(cells, max(ends))),),
        metadata={
            **metadata.timing(first.timing),
            "n_cells": len(cells),
            "n_events": int(counts.sum()),
            "acquisition": first.acquisition(context.warn),
            **consistency.values("amplitudes", [cell.value for cell in cells], context.warn),
            "file_metadata": first.footer,
        },
    )


def _joined(parts: Sequence[list[packets.Channel]], offsets_us: Sequence[int]) -> list[packets.Channel]:
    """Raises Unusable."""
    names = [cell.name for cell in parts[0]]
    if any([cell.name for cell in part] != names for part in parts):
        raise Unusable("its parts have different cells: their events cannot form one table")
    if len(parts) == 1 and not offsets_us[0]:
        return parts[0]
    return [
        packets.Channel(
            name,
            np.concatenate([part[i].offset_us.astype(np.int64) + offset for part, offset in zip(parts, offsets_us)]),
            np.concatenate([part[i].value for part in parts]),
        )
        for i, name in enumerate(names)
    ]


def _median_interval(times: Sequence[np.ndarray]) -> float:
    """Median interval, in s, between events without a gap between them."""
    intervals = np.concatenate([np.diff(cell_times) for cell_times in times])
    return float(np.median(intervals)) if intervals.size else float("nan")


def _is_dense(cells: list[packets.Channel]) -> bool:
    """Whether lines, one an event, would merge into bars: a row in ten has more events than it has room for lines."""
    most = np.percentile([len(cell.value) for cell in cells], 90) if cells else 0
    return bool(most > LINES_A_ROW) or len(cells) > MOST_ROWS


def _caption(cells: list[packets.Channel], duration_s: float) -> str:
    rate = "Below, the rate of all cells."
    if _is_dense(cells):
        bins = nice_length(max(duration_s / COLUMNS, 1e-3))
        return f"Events of each cell in bins of {bins:g} s: lines, one an event, would merge. {rate}"
    return f"Each line is an event. {rate}"


def _draw_raster(path: Path, cells: list[packets.Channel], duration_s: float) -> bytes:
    n = max(1, len(cells))
    drawn, (raster, rate) = figures.figure(
        9, max(3.5, min(9.0, 2 + 0.14 * n)), rows=2, sharex=True, height_ratios=(max(3, min(8, n / 12)), 1)
    )
    if _is_dense(cells):
        _draw_density(drawn, raster, cells, duration_s)
    else:
        raster.eventplot(
            [cell.time_s for cell in cells] or [[]],
            colors=figures.BLUE,
            linelengths=0.8,
            linewidths=0.8,
            lineoffsets=np.arange(n),
        )
    raster.set(ylabel="Cell, in the order of the file", ylim=(n - 0.3, -0.7))
    if 0 < len(cells) <= 40:
        raster.set_yticks(np.arange(len(cells)), [cell.name for cell in cells])
    bin_s = nice_length(max(duration_s / 100, 1e-3))
    edges = np.arange(0, duration_s + bin_s, bin_s)
    events, _ = np.histogram(np.concatenate([cell.time_s for cell in cells] or [[]]), edges)
    rate.stairs(events / bin_s / n, edges, color=figures.VERMILION, fill=True, alpha=0.35)
    rate.stairs(events / bin_s / n, edges, color=figures.VERMILION, linewidth=0.8)
    rate.set(
        xlabel="Time [s]", ylabel=f"Events per cell\nand second [Hz]\n({bin_s:g} s bins)", xlim=(0, duration_s or 1)
    )
    return figures.save(drawn, path)


def _draw_density(drawn: Any, axes: Any, cells: list[packets.Channel], duration_s: float) -> None:
    """How many events each cell has in each bin."""
    bin_s = nice_length(max(duration_s / COLUMNS, 1e-3))
    edges = np.arange(0, duration_s + bin_s, bin_s)
    counts = np.array([np.histogram(cell.time_s, edges)[0] for cell in cells])
    image = axes.imshow(
        counts,
        aspect="auto",
        cmap="Blues",
        vmin=0,
        vmax=max(1, float(np.percentile(counts[counts > 0], 99)) if counts.any() else 1),
        extent=(0, edges[-1], len(cells) - 0.5, -0.5),
        interpolation="nearest",
    )
    drawn.colorbar(image, ax=axes, label=f"Events in {bin_s:g} s", shrink=0.6, pad=0.01)
