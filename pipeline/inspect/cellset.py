"""Cell sets: traces, footprints, and what can be said of each cell. Rejected cells stay, with their status."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import isx
import numpy as np

from pipeline.inspect import consistency, figures, metadata, tables, tiff
from pipeline.inspect.context import Context, Outcome
from recording import formats

MOST_LINES = 40  # traces that can be told apart in one plot
MOST_NAMES = 60  # of usual size on a map


@dataclass(frozen=True)
class Cell:
    """What is known of one cell; its footprint is only kept where it is not zero."""

    name: str
    status: str
    centroid: tuple[float, float]  # x, y in px; NaN for an empty footprint
    area: int  # px
    outline: np.ndarray  # the footprint around the cell, for its contour
    corner: tuple[int, int]  # row, column of that in the field of view


def adapt(recording: Path, stem: str, out: Path, context: Context) -> Outcome:
    cell_set = isx.CellSet.read(str(recording))
    footer = formats.read_footer(recording)
    timing, (width_um, height_um) = cell_set.timing, metadata.pixel_um(cell_set.spacing)
    n = cell_set.num_cells
    if n == 0:
        context.warn("the cell set has no cells")

    time_s = metadata.sample_times(timing)
    valid = timing.get_valid_samples_mask() if timing.num_samples else np.zeros(0, bool)
    traces = np.full((n, timing.num_samples), np.nan, np.float32)
    for i in range(n):
        traces[i, valid] = cell_set.get_cell_trace_data(i)[valid]
    names = [cell_set.get_cell_name(i) for i in range(n)]
    tables.write_wide(out / f"{stem}-traces.csv", time_s, names, traces)

    cells: list[Cell] = []
    together = np.zeros(cell_set.spacing.num_pixels, np.float32)  # each cell's footprint up to 1, the largest on top

    def footprints():
        for i in range(n):
            footprint = cell_set.get_cell_image_data(i)
            cells.append(describe(names[i], cell_set.get_cell_status(i), footprint))
            peak = np.nanmax(footprint)
            if peak > 0:
                np.fmax(together, footprint / peak, out=together)
            context.progress(0.8 * (i + 1) / n)
            yield footprint

    if n:
        tiff.write_pages(
            out / f"{stem}-footprints.tif",
            footprints(),
            (n, *together.shape),
            np.float32,
            (width_um, height_um),
            compression="zlib",  # mostly zeros
            axes="ZYX",
            Labels=names,
        )
    noise = np.array([noise_of(trace) for trace in traces])
    unit = trace_unit(footer)
    tables.write(
        out / f"{stem}-cells.csv",
        {
            "name": names,
            "status": [cell.status for cell in cells],
            "centroid_x_px": [cell.centroid[0] for cell in cells],
            "centroid_y_px": [cell.centroid[1] for cell in cells],
            "centroid_x_um": [cell.centroid[0] * width_um for cell in cells],
            "centroid_y_um": [cell.centroid[1] * height_um for cell in cells],
            "area_px": [cell.area for cell in cells],
            "area_um2": [cell.area * width_um * height_um for cell in cells],
            "noise": noise,
            "snr": [snr_of(trace, sigma) for trace, sigma in zip(traces, noise)],
            "trace_unit": [unit] * n,
        },
    )
    figures.start_matplotlib(context.scratch)
    thumbnail = _draw_map(out / f"{stem}-cellmap.png", cells, together, (width_um, height_um))
    _draw_traces(out / f"{stem}-traces.png", time_s, traces, noise, cells, unit)

    counts = {status: sum(cell.status == status for cell in cells) for status in figures.STATUS_COLOUR}
    rate = 1 / timing.period.secs_float
    return Outcome(
        summary=f"{n} cells ({_counted(counts)}), {timing.num_samples} samples at {rate:.4g} Hz",
        thumbnail=thumbnail,
        metadata={
            **metadata.timing(timing),
            **metadata.spacing(cell_set.spacing),
            "n_cells": n,
            "n_accepted": counts["accepted"],
            "n_undecided": counts["undecided"],
            "n_rejected": counts["rejected"],
            "trace_unit": unit,
            "acquisition": metadata.acquisition(cell_set),
            **consistency.values("values of traces", traces[:, valid], context.warn),
            "file_metadata": footer,
        },
    )


def noise_of(trace: np.ndarray) -> float:
    """Standard deviation of the noise of a trace, shape (samples,), NaN where samples are missing.

    The median absolute deviation of the finest Haar wavelet coefficients, (x[i+1] - x[i]) / sqrt(2), divided by 0.6745
    (Donoho and Johnstone, 1994, Biometrika 81:425): slow changes hardly enter it, and transients, being
    rare, not either.
    """
    details = np.diff(trace.astype(np.float64)) / np.sqrt(2)
    details = details[np.isfinite(details)]
    if not details.size:
        return float("nan")
    return float(np.median(np.abs(details - np.median(details))) / 0.6745)


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
    weights = np.nan_to_num(np.maximum(footprint, 0))
    peak = weights.max()
    if peak <= 0:
        return Cell(name, status, (np.nan, np.nan), 0, np.zeros((0, 0)), (0, 0))
    inside = weights >= peak / 2
    core = np.where(inside, weights, 0)
    x = np.average(np.arange(core.shape[1]), weights=core.sum(axis=0, dtype=np.float64))
    y = np.average(np.arange(core.shape[0]), weights=core.sum(axis=1, dtype=np.float64))
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    top, left = max(0, rows[0] - 1), max(0, columns[0] - 1)
    outline = weights[top : rows[-1] + 2, left : columns[-1] + 2] / peak
    return Cell(name, status, (float(x), float(y)), int(inside.sum()), outline, (top, left))


def trace_unit(footer: dict) -> str:
    """As Inscopix's own software states it, or au (arbitrary units)."""
    try:
        return str(footer["extraProperties"]["idps"]["cellset"]["units"])
    except (KeyError, TypeError):
        return "au"


def _draw_map(path: Path, cells: list[Cell], together: np.ndarray, pixel_um: tuple[float, float]) -> bytes:
    across, down = pixel_um
    rows, columns = together.shape
    drawn, axes = figures.figure(7, 1 + 6 * min(2.0, rows * down / (columns * across)))
    if len(cells) > MOST_NAMES:
        drawn.set_dpi(200)  # so that small names can be read
    extent = (-across / 2, (columns - 0.5) * across, (rows - 0.5) * down, -down / 2)
    axes.imshow(together, cmap="gray_r", vmin=0, vmax=1.6, extent=extent, interpolation="nearest")
    for cell in cells:
        if not cell.area:
            continue
        colour = figures.STATUS_COLOUR[cell.status]
        height, width = cell.outline.shape
        if min(height, width) >= 2:
            x, y = (np.arange(width) + cell.corner[1]) * across, (np.arange(height) + cell.corner[0]) * down
            axes.contour(x, y, cell.outline, levels=[0.5], colors=[colour], linewidths=1.0)
        axes.text(
            cell.centroid[0] * across,
            cell.centroid[1] * down,
            cell.name,
            color="black",
            fontsize=7 if len(cells) <= MOST_NAMES else 4,
            ha="center",
            va="center",
            path_effects=figures.halo(),
        )
    for status, colour in figures.STATUS_COLOUR.items():
        count = sum(cell.status == status for cell in cells)
        if count:
            axes.plot([], [], color=colour, label=f"{status} ({count})")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, frameon=False)
    axes.set(xlabel=f"x [{figures.UM}]", ylabel=f"y [{figures.UM}]")
    return figures.save(drawn, path)


def _draw_traces(
    path: Path, time_s: np.ndarray, traces: np.ndarray, noise: np.ndarray, cells: list[Cell], unit: str
) -> None:
    n = len(cells)
    drawn, axes = figures.figure(9, max(2.5, min(9.0, 1 + 0.28 * n)))
    axes.set_xlabel("Time [s]")
    if n and n <= MOST_LINES:
        step = figures.stacked(axes, time_s, traces, [figures.STATUS_COLOUR[cell.status] for cell in cells])
        axes.set_yticks(-np.arange(n), [cell.name for cell in cells])
        axes.set_xlim(0, time_s[-1] if len(time_s) > 1 else 1)
        axes.set_ylabel("Cell")
        axes.set_title(f"Distance between lines: {step:.3g} {unit}", loc="right", fontsize=8)
        for status, colour in figures.STATUS_COLOUR.items():
            if any(cell.status == status for cell in cells):
                axes.plot([], [], color=colour, label=status)
        figures.legend_outside(axes)
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
