"""Reads and writes cell sets: one file, or the files of a series as one set of cells.

A cell set file holds for each cell its footprint (rows x columns, float32) and then its trace (samples, float32), and a
JSON footer with names, statuses, timing, spacing and the extra properties (acquisition data and what IDPS notes of the
processing). Files are written from these facts rather than through `isx`, which unpacks each pixel in Python and drops
the extra properties. Format: https://github.com/inscopix/isxcore; `runner.isxd` checks it.
"""

from __future__ import annotations

import copy
import json
import os
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Union

import numpy as np

from open_engine.files.frames import Movie, Timing, with_idps
from open_engine.files.whole import complete
from recording import formats
from recording.errors import BadRecording, Unusable

STATUSES = ("accepted", "undecided", "rejected")  # by their number in the file
FILE_VERSION = 5
WHITE = 0xFFFFFFFF
MOST_LISTED = 20
CANDIDATES = "-candidates.isxd"  # what the name of a file of what was not taken ends with
REASONS = "CellStatusReasons"  # entries of the footer, this project's own
SCALES = "CellTraceScales"
SAMPLES_OF_A_PEAK = 3  # one before it, itself, one after
PRODUCER = {"name": "open engine", "version": [1, 0, 0]}

Paths = Union[str, os.PathLike, Sequence[Union[str, os.PathLike]]]


@dataclass(frozen=True)
class Part:
    """One file of a series: where its samples lie among all, and its footer."""

    path: Path
    start: int
    stop: int
    footer: dict[str, Any]


@dataclass(frozen=True)
class CellSet:
    """Cells over all parts of a series.

    `images` may be mapped from the file: index it cell by cell where a field is large. Samples in which nothing was
    recorded (dropped, cropped or blank frames) are False in `valid`; what `traces` holds there means nothing.
    """

    names: tuple[str, ...]
    statuses: tuple[str, ...]  # of STATUSES
    images: np.ndarray  # (cells, rows, columns), float32
    traces: np.ndarray  # (cells, samples of all parts), float32
    valid: np.ndarray  # (samples of all parts), bool
    parts: tuple[Part, ...]

    @property
    def n_cells(self) -> int:
        return len(self.names)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of a footprint."""
        return self.images.shape[1:]

    @property
    def period_s(self) -> float:
        """Seconds from one sample to the next."""
        return period_of(self.parts[0].footer)

    @property
    def footer(self) -> dict[str, Any]:
        """That of the first part."""
        return self.parts[0].footer

    @property
    def kind(self) -> str:
        """Analog or binary footprints, as IDPS notes it; without a note, nothing but 0 and 1 is binary."""
        noted = noted_of(self.footer).get("type")
        if noted in ("analog", "binary"):
            return noted
        zero_or_one = self.n_cells > 0 and all(np.isin(image[~np.isnan(image)], (0, 1)).all() for image in self.images)
        return "binary" if zero_or_one else "analog"

    def chosen(self, keep: Iterable[int]) -> CellSet:
        """The cells of these indices, in this order."""
        keep = list(keep)
        return replace(
            self,
            names=tuple(self.names[i] for i in keep),
            statuses=tuple(self.statuses[i] for i in keep),
            images=self.images[keep],
            traces=self.traces[keep],
        )

    def without_values(self) -> list[int]:
        """Indices of the cells of whose traces fewer recorded samples hold a number than a peak has: nothing can be
        said of them."""
        return [i for i, trace in enumerate(self.traces) if np.isfinite(trace[self.valid]).sum() < SAMPLES_OF_A_PEAK]

    def without_footprint(self) -> list[int]:
        """Indices of the cells of whose footprints no pixel is above 0."""
        with np.errstate(invalid="ignore"):
            return [i for i, image in enumerate(self.images) if not (image > 0).any()]

    def usable(self, accepted_cells_only: bool) -> list[int]:
        """Indices of the accepted cells, or of all that were not rejected."""
        wanted = STATUSES[:1] if accepted_cells_only else STATUSES[:2]
        return [i for i, status in enumerate(self.statuses) if status in wanted]


def read_cell_set(paths: Paths) -> CellSet:
    """The cell set of one file, or of the files of a series in order.

    Footprints, names and statuses are those of the first part, as all parts share them. Raises Unusable if a file is no
    sound cell set or the parts do not fit each other.
    """
    files = as_list(paths)
    parts: list[Part] = []
    images, traces, valid = None, [], []
    for file in files:
        footer = _checked_footer(file)
        data = _mapped(file, footer)
        start = parts[-1].stop if parts else 0
        parts.append(Part(file, start, start + footer["timingInfo"]["numTimes"], footer))
        if images is None:
            images = data["image"]
        _refuse_misfits(parts[0], parts[-1])
        traces.append(np.array(data["trace"]))
        valid.append(valid_samples(footer))
    first = parts[0].footer
    return CellSet(
        names=tuple(first["CellNames"]),
        statuses=tuple(STATUSES[status] for status in first["CellStatuses"]),
        images=images,
        traces=np.concatenate(traces, axis=1),
        valid=np.concatenate(valid),
        parts=tuple(parts),
    )


def write_cell_set(
    paths: Paths,
    like: Sequence[Mapping[str, Any]],
    images: Iterable[np.ndarray],
    traces: np.ndarray,
    names: Sequence[str] = (),
    statuses: Sequence[str] = (),
    noted: Mapping[str, str] | None = None,
    spacing: Mapping[str, Any] | None = None,
    **fields: Any,
) -> None:
    """Write one file for each part of a series, with the same footprints, names and statuses in each.

    Parameters
    ----------
    paths : where to write, one a part; a file appears under its name when it is complete.
    like : footers of the movies (`footer_like`) or cell sets (`Part.footer`) that the cells come from, one a part:
        timing, spacing and extra properties are carried on from there.
    images : (cells, rows, columns), float32; walked through once a part.
    traces : (cells, samples of all parts); NaN is written where no sample is valid, as `isx` does.
    names : C0, C1, ..., padded with zeros to one length, unless given.
    statuses : undecided unless given.
    noted : what IDPS keeps in `idps.cellset`: method, type and units.
    spacing : `spacingInfo` of the footer, where it differs from that of `like`.
    fields : further entries of the footer (Matches, cellMetrics, ...).
    """
    files = as_list(paths)
    names = list(names) or default_names(len(traces))
    statuses = list(statuses) or [STATUSES[1]] * len(names)
    lengths = [footer["timingInfo"]["numTimes"] for footer in like]
    if len(files) != len(like) or traces.shape != (len(names), sum(lengths)) or len(statuses) != len(names):
        raise ValueError(f"{len(files)} files, {len(like)} parts, {len(names)} names do not fit {traces.shape} traces")
    stop = 0
    for file, source, length in zip(files, like, lengths):
        start, stop = stop, stop + length
        valid = valid_samples(source)
        footer = _new_footer(source, names, statuses, noted, spacing, fields)
        with complete(file) as partial, partial.open("wb") as out:
            written = 0
            for image, trace in zip(images, traces[:, start:stop]):
                written += 1
                out.write(np.ascontiguousarray(image, "<f4").tobytes())
                out.write(np.where(valid, trace, np.nan).astype("<f4").tobytes())
            if written < len(names):
                raise ValueError(f"{written} footprints for {len(names)} names")
            out.write(_footer_bytes(footer))


def write_like(paths: Paths, source: CellSet, **changes: Any) -> None:
    """Write a cell set that differs from `source` in what is named: arguments of `write_cell_set`."""
    given: dict[str, Any] = {
        "like": [part.footer for part in source.parts],
        "images": source.images,
        "traces": source.traces,
        "names": source.names,
        "statuses": source.statuses,
    }
    write_cell_set(paths, **{**given, **changes})


def footer_like(movie: Movie, **idps: Any) -> dict[str, Any]:
    """Footer for `write_cell_set`: an open movie's timing, spacing and extra properties. `idps` adds to IDPS's own."""
    return {
        "timingInfo": movie.timing.as_json(),
        "spacingInfo": movie.spacing.as_json(),
        "extraProperties": with_idps(movie.extra, **idps) if idps else movie.extra or None,
    }


def edit_footer(path: Path, **fields: Any) -> None:
    """Change entries of a file's footer in place; footprints and traces stay as they are."""
    footer = {**formats.read_footer(path), **fields}
    with path.open("r+b") as file:
        file.seek(formats.data_size(path))
        file.write(_footer_bytes(footer))
        file.truncate()


def status_numbers(statuses: Sequence[str]) -> list[int]:
    """Statuses as the numbers in the footer's CellStatuses."""
    return [STATUSES.index(status) for status in statuses]


def valid_samples(footer: Mapping[str, Any]) -> np.ndarray:
    """Which samples were recorded, shape (samples): neither dropped, nor cropped, nor blank."""
    return Timing.of(footer["timingInfo"]).valid


def period_of(footer: Mapping[str, Any]) -> float:
    """Seconds from one sample to the next."""
    period = footer["timingInfo"]["period"]
    return period["num"] / period["den"]


def noted_of(footer: Mapping[str, Any]) -> dict[str, Any]:
    """What IDPS notes of a cell set: method, type and units."""
    noted = idps_of(footer).get("cellset")
    return dict(noted) if isinstance(noted, dict) else {}


def warn_of_unmatched(cells: CellSet, warn: Callable[[str], None]) -> None:
    """Cells that are compared by footprints that they do not have."""
    empty = [cells.names[i] for i in cells.without_footprint()]
    if empty:
        warn(f"cells of {cells.parts[0].path.name} match none, because their footprints are empty: {listed(empty)}")


def listed(names: Iterable[str]) -> str:
    """Cells in a warning."""
    names = list(names)
    return ", ".join(names[:MOST_LISTED]) + (
        f" and {len(names) - MOST_LISTED} more" if len(names) > MOST_LISTED else ""
    )


def default_names(n: int, letter: str = "C") -> list[str]:
    """C0, C1, ..., padded with zeros to one length, as IDPS names cells."""
    width = len(str(max(n - 1, 0)))
    return [f"{letter}{i:0{width}}" for i in range(n)]


def candidates_of(path: Path) -> Path:
    """Where the step that finds the cells of a file writes what it looked at and did not take."""
    return path.with_name(f"{path.stem}{CANDIDATES}")


def with_reasons(reasons: Sequence[str]) -> dict[str, list[str]]:
    """Entries of a footer: why each cell has the status that it has, "" where nothing is to be said."""
    return {REASONS: list(reasons)}


def scales_of(footer: Mapping[str, Any]) -> list[float] | None:
    """What each trace is multiplied by to be in the units of the movie; None where no step has noted it."""
    scales = footer.get(SCALES)
    if not isinstance(scales, list) or len(scales) != len(footer["CellNames"]):
        return None
    are_scales = all(isinstance(scale, (int, float)) and scale > 0 for scale in scales)
    return [float(scale) for scale in scales] if are_scales else None


def reasons_of(footer: Mapping[str, Any]) -> list[str]:
    """Why each cell has its status, as far as whoever set it has said so."""
    reasons = footer.get(REASONS)
    n = len(footer["CellNames"])
    return [str(reason) for reason in reasons] if isinstance(reasons, list) and len(reasons) == n else [""] * n


def as_list(paths: Paths) -> list[Path]:
    """isx.algo takes one path or a list of them."""
    return [Path(paths)] if isinstance(paths, (str, os.PathLike)) else [Path(path) for path in paths]


def idps_of(footer: Mapping[str, Any]) -> dict[str, Any]:
    """The extra properties in which IDPS notes what it did; empty if there are none."""
    return formats.extra_properties(footer).get("idps", {})


def _checked_footer(path: Path) -> dict[str, Any]:
    try:
        info = formats.check(path)
        if info.kind != "cell_set":
            raise Unusable(f"{path.name} is not a cell set but holds data of kind {info.kind}: give a cell set")
        return formats.read_footer(path)
    except BadRecording as error:
        raise Unusable(f"{path.name} cannot be used: {error.reason}") from None


def _mapped(path: Path, footer: Mapping[str, Any]) -> np.ndarray:
    pixels = footer["spacingInfo"]["numPixels"]
    shape = (pixels["y"], pixels["x"])
    layout = np.dtype([("image", "<f4", shape), ("trace", "<f4", (footer["timingInfo"]["numTimes"],))])
    n_cells = len(footer["CellNames"])
    return np.memmap(path, layout, "r", shape=(n_cells,)) if n_cells else np.zeros(0, layout)


def _refuse_misfits(first: Part, other: Part) -> None:
    for what, key in (("cells", "CellNames"), ("spacing", "spacingInfo")):
        if first.footer[key] != other.footer[key]:
            raise Unusable(
                f"{other.path.name} does not have the {what} of {first.path.name}, so they are not parts of one "
                "series: process them separately"
            )


def _new_footer(
    source: Mapping[str, Any],
    names: Sequence[str],
    statuses: Sequence[str],
    noted: Mapping[str, str] | None,
    spacing: Mapping[str, Any] | None,
    fields: Mapping[str, Any],
) -> dict[str, Any]:
    extra = copy.deepcopy(formats.extra_properties(source))
    if noted:
        extra["idps"] = {**idps_of(source), "cellset": {**noted_of(source), **noted}}
    efocus = idps_of(source).get("efocus")
    return {
        "type": 1,
        "dataType": "float",
        "fileVersion": FILE_VERSION,
        "producer": PRODUCER,
        "timingInfo": source["timingInfo"],
        "spacingInfo": spacing or source["spacingInfo"],
        "CellNames": list(names),
        "CellStatuses": status_numbers(statuses),
        "CellColors": [WHITE] * len(names),
        "CellActivity": [True] * len(names),
        "isRoiSet": False,
        "SizeGlobalCS": 0,
        "Matches": [],
        "PairScores": [],
        "CentroidDistances": [],
        "cellMetrics": None,
        "efocusValues": source.get("efocusValues") or [efocus if isinstance(efocus, int) else 0],
        "extraProperties": extra or None,
        **fields,
    }


def _footer_bytes(footer: Mapping[str, Any]) -> bytes:
    text = json.dumps(footer).encode()
    return text + b"\0" + struct.pack("<Q", len(text))
