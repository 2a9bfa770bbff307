"""Metrics of cells as a table, and the footprints' ones in the cell sets. Definitions: metrics.py."""

from __future__ import annotations

from dataclasses import astuple

from open_engine.context import StepContext
from open_engine.files.cellsets import edit_footer, listed, read_cell_set
from open_engine.files.whole import write_table
from open_engine.metrics import ImageMetrics, TraceMetrics, all_metrics, stored_metrics

COLUMNS = (
    "cellName",
    "snr",
    "mad",
    "eventRate",
    "eventAmpMedian",
    "eventAmpSD",
    "riseMedian",
    "riseSD",
    "decayMedian",
    "decaySD",
    "numContourComponents",
    "overallCenterInPixelsX",
    "overallCenterInPixelsY",
    "overallAreaInPixels",
    "overallMaxContourWidthInPixels",
    "largestComponentCenterInPixelsX",
    "largestComponentCenterInPixelsY",
    "largestComponentAreaInPixels",
    "largestComponentMaxContourWidthInPixels",
)


def cell_metrics(
    input_cell_set_files: str | list[str],
    input_event_set_files: str | list[str],
    output_metrics_file: str,
    recompute_metrics: bool = True,
    *,
    context: StepContext,
) -> None:
    """Write one row a cell, with the columns of IDPS and numbers of six digits, as it does.

    Several files are a series, in which a cell has one row. The footprints' metrics are also kept in the cell sets,
    which this changes in place. Without `recompute_metrics` the table holds what is kept in the cell sets and event
    sets; raises Unusable if there is nothing. What is not known of a cell is `nan`.
    """
    cells = read_cell_set(input_cell_set_files)
    if not cells.n_cells:
        context.warn("the cell set has no cells, so the table of metrics has no rows")
    of_cells = (all_metrics if recompute_metrics else stored_metrics)(cells, input_event_set_files)
    for what, unknown in (
        (
            "traces hold fewer than 3 numbers, so SNR, rates and times are",
            [trace.snr != trace.snr for trace, _ in of_cells],
        ),
        ("footprints are empty, so places are", [not image.n_components for _, image in of_cells]),
    ):
        if any(unknown):
            names = listed(name for name, is_unknown in zip(cells.names, unknown) if is_unknown)
            context.warn(f"cells whose {what} not known: {names}")
    rows = [[name, *map(float, _row(trace, image))] for name, (trace, image) in zip(cells.names, of_cells)]
    write_table(output_metrics_file, [COLUMNS, *rows])
    if recompute_metrics:
        for part in cells.parts:
            edit_footer(part.path, cellMetrics=[image.as_json() for _, image in of_cells] or None)


def _row(trace: TraceMetrics, image: ImageMetrics) -> tuple[float, ...]:
    overall = (image.n_components, *image.center, image.area, image.width)
    return (*astuple(trace), *overall, *image.largest_center, image.largest_area, image.largest_width)
