"""Vessel sets: diameter or blood cell velocity of each vessel over time, and the place of the measurement."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import isx
import numpy as np

from pipeline.inspect import consistency, figures, metadata, optics, quality, tables
from pipeline.inspect.context import Context, Outcome
from pipeline.inspect.opened import OpenRecording
from pipeline.inspect.pieces import times_s
from pipeline.pages.content import Figure, Measure
from pipeline.pages.layout import PixelSize

MEASURE = {  # the quantity, and its unit if the file states none (isxcore then takes pixels)
    isx.VesselSet.VesselSetType.VESSEL_DIAMETER: ("diameter", "px"),
    isx.VesselSet.VesselSetType.RBC_VELOCITY: ("velocity", "px_per_s"),
}
Reader = Callable[[int], np.ndarray]  # takes the index of a vessel, returns its trace
UNITS = {"pixels": "px", "microns": "um", "pixels per second": "px_per_s", "microns per second": "um_per_s"}


READ = isx.VesselSet.read


def write_results(recording: OpenRecording, stem: str, out: Path, context: Context) -> Outcome:
    vessel_set, footer = recording.handle, recording.footer
    timing, pixel_um = recording.timing, optics.pixel_um(recording)
    n = vessel_set.num_vessels
    if n == 0:
        context.warn("the vessel set has no vessels")
    readers = measured(vessel_set, footer)
    measure, unit = next(iter(readers))

    names = [vessel_set.get_vessel_name(i) for i in range(n)]
    status = [vessel_set.get_vessel_status(i) for i in range(n)]
    lines = [vessel_set.get_vessel_line_data(i) for i in range(n)]
    time_s = times_s(timing, context.offset_us)
    traces = {"_".join(quantity): metadata.traces(timing, n, read) for quantity, read in readers.items()}

    columns = {f"{name}_{what}": values[i] for what, values in traces.items() for i, name in enumerate(names)}
    tables.write_wide(out / f"{stem}-traces.csv", time_s, list(columns), np.array(list(columns.values())))
    tables.write(out / f"{stem}-vessels.csv", _vessel_columns(names, status, lines, traces))
    valid = metadata.valid_samples(timing)
    taken = [values[:, valid] for values in traces.values()]
    n_undefined = sum(int(np.isnan(values).sum()) for values in taken)
    figures.start_matplotlib(context.scratch)
    thumbnail = b""
    if n:
        image = vessel_set.get_vessel_image_data(0)  # one for all
        thumbnail = _draw_map(out / f"{stem}-map.png", image, lines, names, status, pixel_um)
    return Outcome(
        summary=f"{measure} of {n} vessels, {timing.num_samples} samples at {1 / timing.period.secs_float:.4g} Hz",
        thumbnail=thumbnail,
        measures=(
            Measure(
                "undefined_percent",
                "Measurements without a value",
                quality.percent(n_undefined, sum(values.size for values in taken)),
                "%",
                "NaN among the measurements of all vessels at valid times",
            ),
        ),
        figures=(Figure(f"{stem}-map.png", f"Where {measure} was measured, by status."),) if n else (),
        metadata={
            **metadata.timing(timing),
            **metadata.spacing(vessel_set.spacing),
            **optics.tissue(pixel_um),
            "n_vessels": n,
            "measure": measure,
            "unit": unit,
            **consistency.values("measurements", [values[~np.isnan(values)] for values in taken], context.warn),
            "n_undefined_values": n_undefined,
            "acquisition": recording.acquisition(context.warn),
            "file_metadata": footer,
        },
    )


def measured(vessel_set: isx.VesselSet, footer: Mapping[str, Any]) -> dict[tuple[str, str], Reader]:
    """What was measured of each vessel and in which unit, the main quantity first, and how to read it."""
    measure, default = MEASURE[vessel_set.get_vessel_set_type()]
    stated = footer["extraProperties"]["idps"]["vesselset"].get("units")  # the output_units that it was made with
    readers = {(measure, UNITS.get(str(stated), default)): vessel_set.get_vessel_trace_data}
    if footer.get("VesselCenterSaved"):
        readers["center", "px"] = vessel_set.get_vessel_center_trace_data
    if footer.get("VesselDirectionSaved"):
        readers["direction", "deg"] = vessel_set.get_vessel_direction_trace_data
    return readers


def _vessel_columns(names: list[str], status: list[str], lines: list[np.ndarray], traces: dict) -> dict:
    columns: dict[str, list] = {"name": names, "status": status}
    for corner in range(len(lines[0]) if lines else 2):
        columns[f"x{corner + 1}_px"] = [line[corner, 0] for line in lines]
        columns[f"y{corner + 1}_px"] = [line[corner, 1] for line in lines]
    (what, values), *_ = traces.items()
    finite = [trace[np.isfinite(trace)] for trace in values]
    columns[f"mean_{what}"] = [t.mean(dtype=np.float64) if t.size else np.nan for t in finite]
    columns[f"std_{what}"] = [t.std(dtype=np.float64) if t.size else np.nan for t in finite]
    columns["valid_fraction"] = [t.size / max(1, values.shape[1]) for t in finite]
    return columns


def _draw_map(
    path: Path,
    image: np.ndarray,
    lines: list[np.ndarray],
    names: list[str],
    status: list[str],
    pixel_um: PixelSize,
) -> bytes:
    across, down = pixel_um
    low, high = np.nanpercentile(image, (0.5, 99.5))
    drawn, axes = figures.field_of_view(image, pixel_um, cmap="gray", vmin=low, vmax=high)
    for line, name, state in zip(lines, names, status):
        colour = figures.STATUS_COLOUR[state]
        corners = np.vstack([line, line[:1]]) if len(line) > 2 else line
        axes.plot(corners[:, 0] * across, corners[:, 1] * down, color=colour, linewidth=1.5, marker="o", markersize=2)
        x, y = line.mean(axis=0) * (across, down)
        axes.annotate(name, (x, y), fontsize=8, xytext=(4, 4), textcoords="offset points", path_effects=figures.halo())
    figures.name_statuses(axes, status)
    return figures.save(drawn, path)
