"""One session on its way into one file: its recordings, its clock, and what several of them share."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from hdmf.common import DynamicTable, VectorData
from pynwb import NWBFile, ProcessingModule, TimeSeries
from pynwb.device import Device, DeviceModel
from pynwb.ophys import ImageSegmentation, ImagingPlane, OpticalChannel, PlaneSegmentation

from open_engine.context import StepContext
from pipeline.inspect import optics
from pipeline.inspect.decisions import Verdict
from pipeline.inspect.opened import OpenRecording
from pipeline.nwb.fill import Fill
from pipeline.nwb.metadata import Metadata
from pipeline.pages.content import is_stated
from pipeline.pages.layout import TISSUE, PixelSize
from pipeline.toml_files import unfit
from recording.errors import Unusable
from recording.formats.fields import to_datetime

UNKNOWN = "unknown"  # NWB's word where it requires a text and nothing is known
NOT_STATED = float("nan")  # where it requires a number
MICROSECOND = Fraction(1, 1_000_000)
MOVIE = {  # what is said of a movie without its frames: what it means, and the value if it is not known
    "file": ("Name of the file, and how it was made", UNKNOWN),
    "bytes": ("Size of the file", -1),
    "n_frames": ("Frames, with those that were dropped, cropped or blank", -1),
    "width": ("px", -1),
    "height": ("px", -1),
    "pixel_type": ("Type of a pixel", UNKNOWN),
    "unit": ("Unit of a pixel's value", UNKNOWN),
    "starting_time": ("Seconds from the session's start to the first frame", NOT_STATED),
    "rate": ("Hz", NOT_STATED),
    "imaging_plane": ("Name of the imaging plane", UNKNOWN),
    "exposure_time": ("s", NOT_STATED),
    "intensity": ("Power of the excitation LED, mW/mm^2", NOT_STATED),
}
FOCUS = ("Microscope Focus", "efocus")
IDENTITY = ("Microscope Type", "Microscope Serial Number")
NOT_IN_NAMES = r"[/:\s\0]+"
PLANE = re.compile(r"-(green|red|efocus_\d+)(?=-|$)", re.ASCII)  # what de-interleaving adds to a name


@dataclass(frozen=True)
class Source:
    """A recording of the session."""

    path: Path
    kind: str
    label: str = ""  # tells it from others of its kind
    made_by: str = ""  # for products: how they came to be
    series: str = ""  # equal for the parts of one product
    part: int = 0  # of a series
    offset_us: int | None = None  # its start, from the session's; None: as the file states it
    decided: Mapping[str, Verdict] = field(default_factory=dict)  # cells by name: what somebody decided by eye
    is_of_session: bool = False  # of cell sets: whether they may be followed over the sessions of the animal

    @property
    def is_product(self) -> bool:
        return bool(self.made_by)


@dataclass
class Opened:
    """A recording of the session, on its clock."""

    source: Source
    opened: OpenRecording
    start: Fraction  # seconds since 1970
    utc_offset: int  # s
    acquisition: dict[str, Any]
    in_plane: bool = False  # whether it has an image of the tissue

    @property
    def handle(self) -> Any:
        return self.opened.handle

    @property
    def timing(self) -> Any:
        return self.opened.timing

    @property
    def footer(self) -> Mapping[str, Any]:
        return self.opened.footer

    @property
    def kind(self) -> str:
        return self.source.kind

    @property
    def name(self) -> str:
        return self.source.path.name

    @property
    def title(self) -> str:
        """Name and origin of the recording, for descriptions."""
        return f"{self.name}, {self.source.made_by}" if self.source.made_by else self.name

    @property
    def period(self) -> Fraction:
        period = self.timing.period._impl
        return Fraction(period.num, period.den or 1)

    @property
    def rate(self) -> float:
        """Hz, the double next to the exact value."""
        return float(1 / self.period)


def opened(source: Source, recording: OpenRecording, in_plane: bool) -> Opened:
    time = recording.timing.start._impl
    start = Fraction(time.secs_since_epoch.num, time.secs_since_epoch.den or 1)
    offset = time.utc_offset if abs(time.utc_offset) < 86400 else 0
    acquired = {name: value for name, value in recording.acquisition().items() if _can_be_written(value)}
    return Opened(source, recording, start, offset, acquired, in_plane)


def _can_be_written(value: Any) -> bool:
    """Whether it is a text or a number, and one that NWB takes."""
    return isinstance(value, (str, int, float)) and not unfit(value)


def on_one_clock(recordings: Sequence[Opened], start: datetime | None) -> list[Opened]:
    """Each begins where the session's clock has it, which may not be where its own file does.

    Where no start is known, the clock starts when the first recording says that it does.
    """
    zero = recordings[0].start - (recordings[0].source.offset_us or 0) * MICROSECOND
    if start is not None:
        zero = (start - datetime(1970, 1, 1, tzinfo=timezone.utc)) // timedelta(microseconds=1) * MICROSECOND
    return [
        one if one.source.offset_us is None else replace(one, start=zero + one.source.offset_us * MICROSECOND)
        for one in recordings
    ]


@dataclass
class SessionFile:
    """The file being made, and its clock."""

    file: NWBFile
    zero: Fraction  # session_start_time, in seconds since 1970
    metadata: Metadata
    embed: bool  # frames go into the file
    path: Path  # where it will be
    scratch: Path
    warn: Callable[[str], None]
    recordings: Sequence[Opened] = ()
    planes: dict[str, ImagingPlane] = field(default_factory=dict)
    segmentations: list[tuple[list[str], PlaneSegmentation]] = field(default_factory=list)  # with cells' names
    parts: dict[str, list[tuple[Opened, PlaneSegmentation]]] = field(default_factory=dict)  # by series
    fills: list[Fill] = field(default_factory=list)
    names: set[str] = field(default_factory=set)
    films: dict[str, Callable[[Path, StepContext], None]] = field(
        default_factory=dict
    )  # beside the file: names, what writes them
    originals: dict[int, TimeSeries] = field(default_factory=dict)  # recorded movies with frames, by part
    translations: list[Any] = field(default_factory=list)  # those that no series has yet
    described: dict[bool, list[dict[str, Any]]] = field(default_factory=dict)  # movies without frames: were they made?

    def seconds(self, start: Fraction) -> float:
        """Seconds from the session's start."""
        return float(start - self.zero)

    def times(self, offset_us: np.ndarray, start: Fraction) -> np.ndarray:
        """Seconds from the session's start of times in whole µs from another start."""
        shift = (start - self.zero) / MICROSECOND
        if shift.denominator == 1:  # exact until the division
            return (offset_us.astype(np.int64) + int(shift)) / 1e6
        return offset_us / 1e6 + float(start - self.zero)

    def name(self, base: str, label: str = "") -> str:
        """A name for an object that no other has; NWB forbids "/" and ":" in names."""
        wanted = re.sub(NOT_IN_NAMES, "-", base + label) or "unnamed"
        name, number = wanted, 1
        while name in self.names:
            number += 1
            name = f"{wanted}-{number}"
        self.names.add(name)
        return name

    def leave_out(self, recording: Opened, lacks: str) -> None:
        self.warn(f"{recording.name} has no {lacks}: it is left out of the NWB file, which cannot hold an empty table")

    def describe(self, movie: Opened, **facts: Any) -> None:
        """A movie whose frames are not in the file."""
        row = {"file": movie.title, "bytes": movie.source.path.stat().st_size}
        row |= {"starting_time": self.seconds(movie.start), "rate": movie.rate, **facts}
        self.described.setdefault(movie.source.is_product, []).append(row)

    def add_descriptions(self) -> None:
        """A table of the recorded ones, and one of those that were made of them."""
        for was_made, rows in self.described.items():
            columns = [
                VectorData(name=name, description=what, data=[row.get(name, default) for row in rows])
                for name, (what, default) in MOVIE.items()
                if any(row.get(name, default) is not default for row in rows)
            ]
            table = DynamicTable(
                name="Movies",
                description="Movies whose frames are not in this file",
                id=list(range(len(rows))),
                columns=columns,
            )
            self.ophys.add(table) if was_made else self.file.add_acquisition(table)

    def module(self, name: str, description: str) -> ProcessingModule:
        if name not in self.file.processing:
            self.file.create_processing_module(name, description)
        return self.file.processing[name]

    @property
    def ophys(self) -> ProcessingModule:
        return self.module("ophys", "What was computed from calcium imaging")

    def segmentation(self, recording: Opened, names: list[str], columns: list[Any], what: str) -> PlaneSegmentation:
        """A table of regions in the plane of a recording."""
        if "ImageSegmentation" not in self.ophys.data_interfaces:
            self.ophys.add(ImageSegmentation())
        table = PlaneSegmentation(
            name=self.name("PlaneSegmentation", recording.source.label),
            description=what,
            imaging_plane=self.plane(recording),
            id=list(range(len(names))),
            columns=columns,
        )
        self.ophys["ImageSegmentation"].add_plane_segmentation(table)
        self.segmentations.append((names, table))
        return table

    def plane(self, recording: Opened) -> ImagingPlane:
        """The imaging plane of a recording: one for all, but for those that a colour or a focus tells apart."""
        key = plane_key(recording)
        if key not in self.planes:
            self.planes[key] = _plane(self, recording, key)
        return self.planes[key]


def start_of(recordings: list[Opened], metadata: Metadata) -> datetime:
    """The earliest start, in its own offset from UTC; the metadata's where they give one. Raises Unusable."""
    given = metadata.get("NWBFile", "session_start_time")
    if given is not None:
        return given
    first = min(recordings, key=lambda recording: recording.start)
    start = to_datetime(first.start // MICROSECOND * MICROSECOND, first.utc_offset)  # a datetime holds no less
    if start is None:
        raise Unusable(
            "an NWB file needs a start, and the one that is stated is no date: "
            "give NWBFile.session_start_time in nwb.toml"
        )
    return start


def _plane(session: SessionFile, recording: Opened, key: str) -> ImagingPlane:
    given = session.metadata.section("ImagingPlane")
    channel = session.metadata.section("OpticalChannel")
    acquired = recording.acquisition
    what = f"Field of view of a miniature {'two-photon ' if is_two_photon(recording) else ''}microscope"
    if key:
        what += f", {key.replace('-', ' ')}"
    what += "".join(f"; {label}: {acquired[label]}" for label in FOCUS if acquired.get(label) is not None)
    sizes = [] if "grid_spacing" in given else _pixel_sizes(session, key)
    for size, name in sizes:
        where = size.where if size.where == TISSUE else "on the sensor, not in tissue"
        what += f"; a pixel of {name} is {size[0]:g} x {size[1]:g} micrometers {where}"
    optical = OpticalChannel(
        name="OpticalChannel",
        description=channel.get("description", "The microscope's emission channel"),
        emission_lambda=float(channel.get("emission_lambda", NOT_STATED)),
    )
    optional = {name: given[name] for name in given if name.startswith(("grid_", "origin_", "reference_"))}
    if len(sizes) == 1 and sizes[0][0].where == TISSUE:
        optional |= {"grid_spacing": list(sizes[0][0]), "grid_spacing_unit": "micrometers"}
    return session.file.create_imaging_plane(
        name="ImagingPlane" + (f"-{key}" if key else ""),
        optical_channel=optical,
        description=given.get("description", what),
        device=_device(session, recording),
        excitation_lambda=float(given.get("excitation_lambda", NOT_STATED)),
        indicator=given.get("indicator", UNKNOWN),
        location=given.get("location", UNKNOWN),
        **optional,
    )


def _pixel_sizes(session: SessionFile, key: str) -> list[tuple[PixelSize, str]]:
    """Those that occur in this plane, each with the first recording that has it: down-sampling makes others."""
    names: dict[PixelSize, str] = {}
    for recording in session.recordings:
        if recording.in_plane and plane_key(recording) == key:
            names.setdefault(optics.pixel_um(recording.opened), recording.name)
    return [*names.items()]


def plane_key(recording: Opened) -> str:
    """Colour or focus that a name tells, "" for most."""
    plane = PLANE.search(recording.source.path.stem)
    return plane[1].replace("_", "-") if plane else ""


def is_two_photon(recording: Opened) -> bool:
    return recording.in_plane and optics.is_two_photon(optics.noted(recording.opened))


def _device(session: SessionFile, recording: Opened) -> Device:
    if "Microscope" in session.file.devices:
        return session.file.devices["Microscope"]
    given, acquired = session.metadata.section("Device"), recording.acquisition
    settings = [f"{label}: {value}" for label, value in acquired.items() if _is_setting(label, value)]
    what = "; ".join(["Inscopix miniature microscope", *settings])
    stated = {
        "description": given.get("description", what),
        "serial_number": str(acquired.get("Microscope Serial Number") or "") or None,
    }
    kind = re.sub(NOT_IN_NAMES, "-", str(acquired.get("Microscope Type") or ""))
    if kind or "manufacturer" in given:
        model = DeviceModel(name=kind or "MicroscopeModel", manufacturer=given.get("manufacturer", "Inscopix"))
        session.file.add_device_model(model)
        stated["model"] = model
    device = Device(name="Microscope", **stated)
    session.file.add_device(device)
    return device


def _is_setting(label: str, value: Any) -> bool:
    """Whether it says something of the microscope or the probe that no other field holds."""
    if label.startswith("Probe"):
        return is_stated(label, value)
    is_of_device = label.startswith(("Microscope", "Exposure", "Trigger")) and label not in (*FOCUS, *IDENTITY)
    return is_of_device and is_stated(label, value)
