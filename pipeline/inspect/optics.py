"""What a recording states of its optics: the size of a pixel in the tissue, by the lens, and one photon or two.

The scale of each lens, at the two ends of the range of the focus, is that of Inscopix's isxcore (isxMetadata.h:
probeIdToBasePlate, integratedBasePlateToScaling, getMicronsPerPixel), which IDPS shows as "Microns per Pixel". Lenses
that are not integrated, and unknown ones, have none.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from pipeline.inspect import metadata
from pipeline.inspect.opened import OpenRecording
from pipeline.pages.layout import TISSUE, PixelSize

MOST = 64  # of down-sampling
FOCUS_RANGE = 1000  # of the electronic focus, in its own units
NO_LENS = {False: (0.82, 0.80), True: (1.41, 1.50)}  # cranial window or no lens, by whether the field is wide
NO_LENS_NAME = "Cranial Window or No Lens"
SCALES = {  # µm a pixel at focus 0 and 1000, by the number that IDPS gives the lens, and its part number
    (17, ""): NO_LENS[False],
    (38, ""): NO_LENS[True],
    (2, "1050-004417"): (0.67, 0.81),
    (3, "1050-004415"): (0.63, 0.79),
    (4, "1050-004414"): (0.62, 0.78),
    (5, "1050-004413"): (0.61, 0.69),
    (6, "1050-004637"): (0.77, 0.80),
    (7, "1050-004416"): (0.75, 0.78),
    (8, "1050-004418"): (0.76, 0.78),
    (9, "1050-004419"): (0.90, 0.97),
    (10, "1050-004420"): (0.90, 0.98),
    (13, "1050-005441"): (0.79, 0.80),
    (14, "1050-005442"): (0.80, 0.80),
    (15, "1050-005443"): (0.80, 0.80),
    (18, "1050-005473"): (0.77, 0.80),
    (16, "1050-005475"): (0.81, 0.80),
    (37, "1050-005474"): (0.81, 0.84),
}
BY_NUMBER: Mapping[float, tuple[float, float]] = {number: scale for (number, _), scale in SCALES.items()}
BY_PART = {part: scale for (_, part), scale in SCALES.items() if part}
TWO_PHOTON = re.compile(r"(?<!\d)2[ -]?p(hoton)?(?![a-z])|(two|multi)[ -]?photon", re.IGNORECASE)


def pixel_um(recording: OpenRecording) -> PixelSize:
    """Size of a pixel of an `.isxd` file, in µm."""
    sensor = metadata.spacing(recording.handle.spacing)
    width, height = sensor["pixel_width_um"], sensor["pixel_height_um"]
    tissue = um_per_px(noted(recording))
    if tissue is None or not width > 0:
        return PixelSize(width, height)
    return PixelSize(tissue, tissue * height / width, TISSUE)


def tissue(pixel: PixelSize) -> dict[str, float | None]:
    """Size of a pixel in the tissue, for the record."""
    return {"tissue_um_per_px": pixel[0] if pixel.where == TISSUE else None}


def noted(recording: OpenRecording) -> Mapping[str, Any]:
    """The acquisition software's metadata of an `.isxd` file; empty if there are none."""
    return _mapping(recording.footer.get("extraProperties"))


def um_per_px(properties: Mapping[str, Any]) -> float | None:
    """µm per pixel in the tissue, with the down-sampling that the file states. None if it does not state the lens."""
    idps, microscope = _mapping(properties.get("idps")), _mapping(properties.get("microscope"))
    scale = _scale(properties, idps, microscope)
    focus = _number(idps.get("efocus", microscope.get("focus", 0)))
    factor = _number(idps.get("spatialDownsampling", 1))
    if scale is None or focus is None or factor is None or not (0 <= focus <= FOCUS_RANGE and 1 <= factor <= MOST):
        return None
    return round((scale[0] + (scale[1] - scale[0]) * focus / FOCUS_RANGE) * factor, 9)


def _scale(
    properties: Mapping[str, Any], idps: Mapping[str, Any], microscope: Mapping[str, Any]
) -> tuple[float, float] | None:
    """IDPS's user can state another lens than the acquisition software noted."""
    number = _number(idps.get("integratedBasePlate"))
    if number is not None:
        return BY_NUMBER.get(number)
    probe = _mapping(properties.get("probe"))
    if probe.get("name") == NO_LENS_NAME:
        return NO_LENS[microscope.get("widefield") is True]
    return BY_PART.get(str(probe.get("id", "")))


def px_per_cm(session: object) -> float | None:
    """Scale of a behaviour camera, from the line of known length that the user drew, or from what IDPS was told.

    Follows getPixelsPerCm of isxcore's isxMetadata.h. None if the file states no scale.
    """
    held = _mapping(session)
    told = _number(_mapping(held.get("idps")).get("pixelsPerCm"))
    if told is None:
        camera = held.get("cameraName")
        known = _mapping(_mapping(held.get("processingInterface")).get(str(camera)))
        area = _tracking_area(held, known.get("cameraAlias") or camera)
        told = _per_cm(_mapping(area.get("scale")))
    return told if told and 0 < told < math.inf else None


def _tracking_area(session: Mapping[str, Any], camera: object) -> Mapping[str, Any]:
    interface = session.get("trackingInterface")
    sections = interface.values() if isinstance(interface, Mapping) else interface
    each_camera = map(_mapping, sections if isinstance(sections, Iterable) else ())
    mine = [section for section in each_camera if section.get("cameraName") == camera]
    return _mapping(mine[0].get("trackingArea")) if mine else {}


def _per_cm(scale: Mapping[str, Any]) -> float | None:
    length = _number(scale.get("length"))
    try:
        (x0, y0), (x1, y1) = _mapping(scale.get("geometry")).get("coordinates")
        return math.hypot(x1 - x0, y1 - y0) / length if length and length > 0 else None
    except (TypeError, ValueError):
        return None


def is_two_photon(properties: Mapping[str, Any]) -> bool:
    """Whether microscope or lens have a two-photon name, such as "nVista 2P". The format has no field for this."""
    microscope, probe = _mapping(properties.get("microscope")), _mapping(properties.get("probe"))
    return any(TWO_PHOTON.search(str(name)) for name in (microscope.get("type"), probe.get("name"), probe.get("type")))


def _number(value: Any) -> float | None:
    """Some versions keep numbers as text. None for what is none, or not finite."""
    try:
        number = float(value) if isinstance(value, (int, float, str)) and not isinstance(value, bool) else math.nan
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
