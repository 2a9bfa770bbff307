"""Behaviour movies of nVision cameras (`.isxb`), with the results of nVision's tracking if it ran."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import isx
import numpy as np

from pipeline.inspect import consistency, figures, metadata, optics, quality, tables
from pipeline.inspect.context import Context, Outcome
from pipeline.inspect.opened import OpenRecording
from pipeline.inspect.pieces import times_s
from pipeline.pages.content import Figure, Measure
from pipeline.pages.layout import PixelSize

if TYPE_CHECKING:
    import pandas as pd

TRACKING_COLUMNS = {  # names in the library's export: names here
    "Local Frame Number": "index",
    "Bounding Box Left": "box_left_px",
    "Bounding Box Top": "box_top_px",
    "Bounding Box Right": "box_right_px",
    "Bounding Box Bottom": "box_bottom_px",
    "Bounding Box Center X": "center_x_px",
    "Bounding Box Center Y": "center_y_px",
    "Confidence": "confidence_percent",
    "Zone ID": "zone_id",
    "Zone Name": "zone_name",
    "Zone Event": "zone_event",
    "Zone Trigger": "zone_trigger",
}


READ = isx.Movie.read


def write_results(recording: OpenRecording, stem: str, out: Path, context: Context) -> Outcome:
    movie = recording.handle
    header, frame_metadata, session = recording.camera
    consistency.video(recording.path, header, frame_metadata, session, context.warn)
    samples, px_per_cm = frame_metadata.get("samples", []), optics.px_per_cm(session)
    timing = recording.timing
    valid = metadata.valid_samples(timing)
    time_s = times_s(timing, context.offset_us)
    tables.write(
        out / f"{stem}-frames.csv",
        {
            "index": np.arange(timing.num_samples),
            "time_s": time_s,
            "hardware_time_us": _hardware_times(samples, valid),
            "status": np.where(valid, "valid", "dropped"),
        },
    )
    tracking = tracking_table(recording.path, samples, context.scratch, context.warn)
    is_tracked = tracking is not None and bool(tracking["center_x_px"].notna().any())
    if tracking is not None and is_tracked:
        tracking.insert(1, "time_s", time_s[tracking["index"]])
        if px_per_cm:
            for axis in "xy":
                tracking[f"center_{axis}_cm"] = tracking[f"center_{axis}_px"] / px_per_cm
        tables.write(out / f"{stem}-tracking.csv", {name: tracking[name] for name in tracking})
    thumbnail = _preview(out / f"{stem}-preview.png", movie, valid, time_s, tracking if is_tracked else None)
    rows, columns = movie.spacing.num_pixels
    return Outcome(
        summary=(
            f"{timing.num_samples} frames of {columns} × {rows} px at {1 / timing.period.secs_float:.4g} Hz"
            f"{', tracked' if is_tracked else ''}{f', {header.n_dropped} dropped' if header.n_dropped else ''}"
        ),
        thumbnail=thumbnail,
        measures=(
            Measure(
                "dropped_percent",
                "Dropped frames",
                quality.percent(header.n_dropped, timing.num_samples),
                "%",
                "frames that the recording says were dropped, of all",
            ),
        ),
        figures=(
            Figure(
                f"{stem}-preview.png",
                f"The valid frame nearest to the middle{', with the way of the animal' if is_tracked else ''}.",
            ),
        ),
        metadata={
            **metadata.timing(timing),
            "width_px": columns,
            "height_px": rows,
            "is_tracked": is_tracked,
            "px_per_cm": px_per_cm,
            "acquisition": recording.acquisition(context.warn),
            "file_metadata": {"header": asdict(header), "session": session},
        },
    )


def _hardware_times(samples: list[dict[str, Any]], valid: np.ndarray) -> list[int | None]:
    """Microseconds of the acquisition hardware's clock, one for each frame, None if it was dropped."""
    times = np.full(len(valid), None, dtype=object)
    places = np.flatnonzero(valid)[: len(samples)]
    ticks = [sample.get("tsc") if isinstance(sample, dict) else None for sample in samples[: len(places)]]
    times[places] = [tick if isinstance(tick, int) else None for tick in ticks]
    return times.tolist()


def tracking_table(
    recording: Path, samples: list[Any], scratch: Path, warn: Callable[[str], None]
) -> pd.DataFrame | None:
    """Box, zone and confidence of each frame, read by the library from the frames' metadata, which are `samples`.

    None if frames are not described; with a warning if the library cannot read how.
    """
    if not samples:
        return None
    if not consistency.has_boxes(samples):  # asked for these, the library ends the process
        warn("its tracking is left out: a box does not have four numbers, and the library would fail")
        return None
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        path = Path(folder) / "tracking.csv"
        try:
            isx.export_nvision_movie_tracking_frame_data_to_csv([str(recording)], str(path))
        except Exception as error:  # isx raises nothing narrower
            warn(f"its tracking is left out: isx cannot read it: {str(error).strip().rpartition(chr(10))[2]}")
            return None
        try:
            table = _rows(path.read_bytes().decode("utf-8", "replace"))
        except ValueError:
            warn("its tracking is left out: its texts break the table that isx makes of it")
            return None
    return table[list(TRACKING_COLUMNS)].rename(columns=TRACKING_COLUMNS)


def _rows(text: str) -> pd.DataFrame:
    """The library's table, whose names of zones are as they are: commas, quotes and ends of lines, too.

    A row begins with its own number, the number of the movie and its own number again. Numbers come first; the last
    four fields are of the zone, quoted only if there are several.
    """
    import pandas as pd  # here, as importing it takes a while

    header, _, text = text.partition("\n")
    columns = header.split(",")
    starts = [0]
    while (match := re.compile(rf"^{len(starts)},0,{len(starts)},", re.MULTILINE).search(text, starts[-1])) is not None:
        starts.append(match.start())
    rows = [text[start:end].rstrip("\n") for start, end in zip(starts, [*starts[1:], len(text)])]
    n_numbers = columns.index("Zone ID")
    fields = [row.split(",", n_numbers) for row in rows]
    table = pd.DataFrame([[*numbers, *_zone(zone)] for *numbers, zone in fields], columns=columns)
    table = table.replace("", np.nan)
    return table.assign(**{name: pd.to_numeric(table[name]) for name in columns[:n_numbers]})


def _zone(text: str) -> list[str]:
    """ID, name, event and trigger."""
    if text.startswith('"'):
        first, *name, event, trigger = text[1:-1].split('","')
        return [first, '","'.join(name), event, trigger]
    first, _, rest = text.partition(",")
    return [first, *rest.rsplit(",", 2)]


def _preview(
    path: Path, movie: isx.Movie, valid: np.ndarray, time_s: np.ndarray, tracking: pd.DataFrame | None
) -> bytes:
    """Draw the valid frame nearest to the middle, and the animal's track."""
    frames = np.flatnonzero(valid)
    middle = int(frames[len(frames) // 2])
    track, caption = None, f"Frame at {time_s[middle]:.4g} s [counts]"
    if tracking is not None:
        track = tracking[["center_x_px", "center_y_px"]].dropna().to_numpy()
        caption += ", orange: track"
    return figures.preview(path, movie.get_frame_data(middle), PixelSize(0, 0), caption, track)
