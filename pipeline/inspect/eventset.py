"""Event sets: each event, each cell's rate, and a raster."""

from __future__ import annotations

from pathlib import Path

import isx
import numpy as np

from pipeline.inspect import consistency, figures, metadata, packets, tables
from pipeline.inspect.context import Context, Outcome
from recording import formats


def adapt(recording: Path, stem: str, out: Path, context: Context) -> Outcome:
    event_set = isx.EventSet.read(str(recording))
    timing = event_set.timing
    cells = packets.channels(recording, event_set)
    footer = formats.read_footer(recording)
    consistency.packets(recording, footer, context.warn)
    duration_s = timing.num_samples * timing.period.secs_float
    counts = np.array([len(cell.value) for cell in cells], dtype=np.int64)

    tables.write(
        out / f"{stem}-events.csv",
        {
            "cell": np.repeat([cell.name for cell in cells], counts) if cells else [],
            "time_s": np.concatenate([cell.time_s for cell in cells]) if cells else [],
            "amplitude": np.concatenate([cell.value for cell in cells]) if cells else [],
        },
    )
    tables.write(
        out / f"{stem}-rates.csv",
        {
            "cell": [cell.name for cell in cells],
            "n_events": counts,
            "rate_hz": counts / duration_s if duration_s else np.full(len(cells), np.nan),
            "mean_amplitude": [cell.value.mean(dtype=np.float64) if len(cell.value) else np.nan for cell in cells],
            "median_interval_s": [np.median(np.diff(cell.time_s)) if len(cell.value) > 1 else np.nan for cell in cells],
        },
    )
    figures.start_matplotlib(context.scratch)
    thumbnail = _draw_raster(out / f"{stem}-raster.png", cells, duration_s)
    return Outcome(
        summary=f"{counts.sum()} events of {len(cells)} cells in {duration_s:.4g} s",
        thumbnail=thumbnail,
        metadata={
            **metadata.timing(timing),
            "n_cells": len(cells),
            "n_events": int(counts.sum()),
            "acquisition": metadata.acquisition(event_set),
            **consistency.values("amplitudes", [cell.value for cell in cells], context.warn),
            "file_metadata": footer,
        },
    )


def _draw_raster(path: Path, cells: list[packets.Channel], duration_s: float) -> bytes:
    drawn, (raster, rate) = figures.figure(
        9, max(3.5, min(9.0, 2 + 0.12 * len(cells))), rows=2, sharex=True, height_ratios=(4, 1)
    )
    raster.eventplot(
        [cell.time_s for cell in cells] or [[]],
        colors=figures.BLUE,
        linelengths=0.8,
        linewidths=0.8,
        lineoffsets=np.arange(max(1, len(cells))),
    )
    raster.set(ylabel="Cell, in the order of the file", ylim=(max(1, len(cells)) - 0.5, -0.5))
    if 0 < len(cells) <= 40:
        raster.set_yticks(np.arange(len(cells)), [cell.name for cell in cells])
    bin_s = figures.nice_length(max(duration_s / 100, 1e-3))
    edges = np.arange(0, duration_s + bin_s, bin_s)
    events, _ = np.histogram(np.concatenate([cell.time_s for cell in cells] or [[]]), edges)
    rate.stairs(events / bin_s / max(1, len(cells)), edges, color=figures.VERMILION)
    rate.set(
        xlabel="Time [s]", ylabel=f"Events per cell\nand second [Hz]\n({bin_s:g} s bins)", xlim=(0, duration_s or 1)
    )
    return figures.save(drawn, path)
