"""Movies: statistics of every frame and of every pixel, and, on request, the movie in other formats."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import isx
import numpy as np

from open_engine.files.movies import StoredFrames, open_frames
from open_engine.statistics import MovieStatistics, movie_statistics
from pipeline.inspect import consistency, export, figures, metadata, movie_quality, optics, tables, tiff
from pipeline.inspect.context import Context, Outcome
from pipeline.inspect.opened import OpenRecording
from pipeline.inspect.pieces import times_s
from pipeline.pages.content import Figure
from pipeline.pages.layout import PixelSize
from recording import formats
from recording.findings import Origin

METHODS = (  # for a paper; in braces, keys of references.bib
    "Frames were considered outliers if their sharpness or shift had a modified z-score beyond 3.5 "
    "[{iglewicz1993}]. The crispness of the mean image was computed as in [{pnevmatikakis2017}], divided by its "
    "contrast."
)
READ = isx.Movie.read


def write_results(recording: OpenRecording, stem: str, out: Path, context: Context) -> Outcome:
    spacing = recording.handle.spacing  # by isx before our own reader: its reasons are those that a lab knows
    with open_frames(recording.path, recording.layout) as frames:
        return _of_frames(recording, frames, metadata.spacing(spacing), stem, out, context)


def _alternating(origin: Origin) -> str:
    """What frames alternate between; "" for nothing."""
    if origin.n_colours > 1:
        return "two colours"
    return f"{len(origin.planes)} focal planes ({', '.join(map(str, origin.planes))})" if origin.planes else ""


def _of_frames(
    recording: OpenRecording, frames: StoredFrames, spacing: dict[str, Any], stem: str, out: Path, context: Context
) -> Outcome:
    layout, timing, pixel_um = recording.layout, recording.timing, optics.pixel_um(recording)
    consistency.frames(recording, context.warn)
    status = sample_status(layout)
    valid = frames.valid
    n_valid = int(valid.sum())
    if n_valid == 0:
        context.warn("no frame is valid: all were dropped, cropped or blank; there are no projections")
    origin = recording.info.origin
    alternating = _alternating(origin)
    if alternating:
        context.warn(
            f"its frames alternate between {alternating}: projections and traces of the whole movie mean nothing"
        )
    unit = "counts" if layout.dtype != "<f4" else "au"

    statistics = movie_statistics(frames, context.threads, context.progress) if n_valid else None
    extremes = [statistics.frame_min, statistics.frame_max] if statistics else []
    time_s = times_s(timing, context.offset_us)
    columns = {"index": np.arange(layout.n_samples), "time_s": time_s}
    if layout.has_timestamps:
        columns["hardware_time_us"] = _spread_integers(frames.clock_us(range(layout.n_stored)), valid)
    elif layout.offset and not formats.states_version(recording.footer):
        context.warn(
            "it lacks producer.version, which is needed to read its frames' headers: hardware times are unknown"
        )
    columns["status"] = status
    columns |= {name: _spread(values, valid) for name, values in _frame_columns(statistics, unit).items()}
    tables.write(out / f"{stem}-frames.csv", columns)

    thumbnail, caption = b"", ""
    if statistics:
        for name in ("mean", "std", "max", "min"):
            tiff.write(out / f"{stem}-{name}.tif", getattr(statistics, name), pixel_um)
        image, caption = _picture(statistics, n_valid)
        thumbnail = figures.preview(out / f"{stem}-preview.png", image, pixel_um, f"{caption} [{unit}]")
        figures.start_matplotlib(context.scratch)
        _draw_intensity(out / f"{stem}-intensity.png", time_s, status, columns, unit, timing.period.secs_float)

    measures = movie_quality.measures(frames, status, times_s(timing, 0), statistics, unit)
    source = export.Source(frames, timing.period.secs_float)
    _export(source, statistics, out / f"{stem}-movie", pixel_um, context)
    size = f"{layout.columns} × {layout.rows} px"
    rate = 1 / timing.period.secs_float
    return Outcome(
        summary=f"{layout.n_samples} frames of {size} at {rate:.4g} Hz"
        + (f", {alternating} in turn" if alternating else "")
        + _missing(status),
        thumbnail=thumbnail,
        measures=measures,
        methods=METHODS,
        figures=_figures(stem, caption, unit, pixel_um) if statistics else (),
        metadata={
            **metadata.timing(timing),
            **spacing,
            **optics.tissue(pixel_um),
            "data_type": np.dtype(layout.dtype).name,
            "unit": unit,
            "n_colours": origin.n_colours,
            "planes": list(origin.planes),
            **consistency.values("extremes of frames", extremes, context.warn),
            "saturation_level_counts": statistics.saturation_level if statistics else None,
            "acquisition": recording.acquisition(context.warn),
            "file_metadata": recording.footer,
        },
    )


def _picture(statistics: MovieStatistics, n_valid: int) -> tuple[np.ndarray, str]:
    """The image that shows most, and what it is: the mean of ΔF/F is but noise."""
    if movie_quality.is_flat(statistics):
        return statistics.max, f"Maximum of {n_valid} frames"
    return statistics.mean, f"Mean of {n_valid} frames"


def _figures(stem: str, caption: str, unit: str, pixel_um: PixelSize) -> tuple[Figure, ...]:
    return (
        Figure(f"{stem}-preview.png", f"{caption}. The bar is a length {pixel_um.where}."),
        Figure(
            f"{stem}-intensity.png",
            f"Mean of each frame [{unit}] over time. Frames that were dropped, cropped or blank are shaded.",
        ),
    )


def _export(
    source: export.Source, statistics: MovieStatistics | None, target: Path, pixel_um: PixelSize, context: Context
) -> None:
    """The movie in other formats, as asked for; `target` lacks only its suffix."""
    if context.options.movie_tiff:
        export.to_tiff(source, target.with_name(f"{target.name}.tif"), pixel_um, context.progress)
    if context.options.movie_mp4 and statistics:
        grey_range = (float(np.nanpercentile(statistics.min, 0.5)), float(np.nanpercentile(statistics.max, 99.5)))
        film = target.with_name(f"{target.name}.mp4")
        export.to_mp4(source, film, grey_range, context.threads, context.progress)


def sample_status(layout: formats.MovieLayout) -> np.ndarray:
    """For each sample "valid", "dropped", "cropped" or "blank", as the recording's timing says."""
    status = np.full(layout.n_samples, "valid", dtype="<U7")
    status[list(layout.blank)] = "blank"
    for first, last in layout.cropped:
        status[first : last + 1] = "cropped"
    status[list(layout.dropped)] = "dropped"
    return status


def _frame_columns(statistics: MovieStatistics | None, unit: str) -> dict[str, np.ndarray]:
    none = np.empty(0)
    return {
        f"mean_{unit}": statistics.frame_mean if statistics else none,
        f"std_{unit}": statistics.frame_std if statistics else none,
        f"min_{unit}": statistics.frame_min if statistics else none,
        f"max_{unit}": statistics.frame_max if statistics else none,
        "saturated_fraction": statistics.frame_saturated if statistics else none,
    }


def _spread(values: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """One value a sample, NaN where the sample is invalid."""
    spread = np.full(len(valid), np.nan)
    spread[valid] = values
    return spread


def _spread_integers(values: np.ndarray, valid: np.ndarray) -> list[int | None]:
    spread = np.full(len(valid), None, dtype=object)
    spread[valid] = values
    return spread.tolist()


def _draw_intensity(
    path: Path, time_s: np.ndarray, status: np.ndarray, columns: dict, unit: str, period_s: float
) -> None:
    drawn, axes = figures.figure(9, 3)
    line = figures.envelope(time_s, columns[f"mean_{unit}"])
    axes.plot(*line, color=figures.BLUE, linewidth=0.8, marker=".", markersize=2)  # frames between gaps are dots
    figures.mark_invalid(axes, status, period_s)
    axes.set(xlabel="Time [s]", ylabel=f"Mean of the frame [{unit}]", xlim=(0, len(status) * period_s))
    figures.legend_outside(axes)
    figures.save(drawn, path)


def _missing(status: np.ndarray) -> str:
    counts = [(name, int((status == name).sum())) for name in ("dropped", "cropped", "blank")]
    return "".join(f", {count} {name}" for name, count in counts if count)
