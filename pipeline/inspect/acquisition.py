"""What the acquisition software and IDPS noted of a recording: animal, experimenter, microscope, processing.

isx reads it, and nothing of it if one key is missing. Then it is read here, in the same words.
Format: isxcore, isxDataSet.cpp, getAcquisitionInfoFromExtraProps and getNVisionAcquisitionInfoFromExtraProps.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from recording import formats
from recording.formats import isxb

# Keys that isx requires of a part that is there, and its names for them.
ANIMAL = {
    "sex": "Animal Sex",
    "dob": "Animal Date of Birth",
    "id": "Animal ID",
    "species": "Animal Species",
    "weight": "Animal Weight",
    "description": "Animal Description",
}
PARTS: Mapping[str, Mapping[str, str]] = {
    "animal": ANIMAL,
    "microscope": {
        "focus": "Microscope Focus",
        "gain": "Microscope Gain",
        "serial": "Microscope Serial Number",
        "type": "Microscope Type",
        "exp": "Exposure Time (ms)",
    },
    "personnel": {"name": "Experimenter Name"},
    "probe": {
        "diameter": "Probe Diameter (mm)",
        "flip": "Probe Flip",
        "length": "Probe Length (mm)",
        "pitch": "Probe Pitch",
        "rotation": "Probe Rotation (degrees)",
        "type": "Probe Type",
    },
}
SYSTEM = "processingInterface.system"
CAMERA_PARTS: Mapping[str, Mapping[str, str]] = {  # of nVision, besides the camera's own
    "userInterface.animal": ANIMAL,
    f"{SYSTEM}.behavior.system": {"sessionName": "Behavior Session Name"},
    f"{SYSTEM}.behavior.software": {"behaviorIdas": "Behavior Acquisition SW Version"},
}
PAIRED_PARTS: Mapping[str, Mapping[str, str]] = {
    f"{SYSTEM}.behavior": {"synced": "Miniscope Synced"},
    f"{SYSTEM}.miniscope.system": {"sessionName": "Miniscope Session Name", "systemSerial": "Miniscope Serial Number"},
    f"{SYSTEM}.miniscope.software": {"miniscopeIdas": "Miniscope Acquisition SW Version"},
}
CAMERA = {"cameraAlias": "Camera Name", "cameraSerial": "Camera Serial Number"}
SENSOR = {name: f"Camera {name.capitalize()}" for name in ("brightness", "contrast", "saturation", "gain")}
# What may be there besides: path, isx's name, how it says it.
OPTIONAL: tuple[tuple[str, str, Callable[[Any], Any]], ...] = (
    ("name", "Session Name", lambda value: value),
    ("microscope.widefield", "Wide Field", lambda value: str(_a(bool, value))),
    ("producer.versionBE", "Acquisition SW Version", lambda value: _a(str, value).partition("-")[0]),
    ("idps.efocus", "efocus", lambda value: _a(int, value)),
    ("idps.channel", "channel", lambda value: _a(str, value)),
    ("idps.interpolatedFrames", "Interpolated Samples", lambda value: "".join(f"{_a(int, i)} " for i in value)),
    ("idps.mc_padding", "Motion correction padding", lambda value: _a(bool, value)),
    ("idps.cellset.method", "Cell Identification Method", lambda value: _a(str, value)),
    ("idps.cellset.units", "Trace Units", lambda value: _a(str, value)),
    ("idps.vesselset.type", "Vessel Set Type", lambda value: _a(str, value)),
    ("idps.vesselset.units", "Trace Units", lambda value: _a(str, value)),
    ("idps.vesselset.timeIncrement", "Time Increment (s)", float),
    ("idps.vesselset.timeWindow", "Time Window (s)", float),
    ("idps.vesselset.estimationMethod", "Vessel Diameter Estimation Method", lambda value: _a(str, value)),
    (
        "idps.vesselset.invalidWindows",
        "Windows with Invalid Frame Error",
        lambda value: "".join(f"{_a(int, i)} " for i in value),
    ),
    ("processingInterface.recordingUUID", "Recording UUID", lambda value: _a(str, value)),
)
VESSEL_ERRORS = {
    "clippedVessels": "Vessels with Clipping Error",
    "noSignificantVessels": "Vessels with No Significant Pixels Error",
    "directionChangedVessels": "Vessels with Direction Change Error",
}


# What must be an object, or a text that holds one, and what a text or a whole number.
OBJECTS = (
    *PARTS,
    *("microscope.customMetadata", "microscope.dualColor", "microscope.led", "microscope.multiplane"),
    *("producer", "processingInterface", "idps", "idps.cellset", "idps.vesselset"),
)
CAMERA_OBJECTS = ("userInterface", "processingInterface", SYSTEM, *CAMERA_PARTS, *PAIRED_PARTS, "animal")
IDENTITIES = ("animal.id", "microscope.serial", "microscope.systemSerial", "name", "processingInterface.recordingUUID")
CAMERA_IDENTITIES = ("userInterface.animal.id", "animal.id", "processingInterface.recordingUUID")


def acquisition(source: Any, stored: Path, warn: Callable[[str], None] = lambda message: None) -> dict[str, Any]:
    """Acquisition metadata, by isx's names; empty if there is none. `source` is the file `stored`, opened by isx."""
    noted, lacking = _noted(stored), list[str]()
    try:
        if is_camera(stored) and lacks_sensor(noted):
            raise LookupError("no sensorParams")
        acquired = source.get_acquisition_info() or {}
    except Exception as error:  # isx raises nothing narrower
        why = str(error).strip().rpartition("\n")[2]
        if not isinstance(noted, Mapping):
            warn(f"its acquisition metadata cannot be read: {why}")
            return {}
        of_camera = read_camera if is_camera(stored) else read
        acquired = dict(sorted(of_camera(noted, lacking), key=lambda item: item[0]))
        lacks = ", ".join(lacking) or f"something ({why})"
    else:
        lacks = camera_that_is_not_there(noted) if is_camera(stored) else ""
    if lacks:
        warn(f"its acquisition metadata lack {lacks}: only the rest of them is known")
    misfits = [path for path in misfit(noted, is_camera(stored)) if not any(path in other for other in lacking)]
    if misfits:
        warn(f"its acquisition metadata hold {', '.join(misfits)} in a form that cannot be read: it is not known")
    return acquired


def lacks_sensor(noted: Any) -> bool:
    """Whether the camera's sensorParams are missing, in which isx looks for the exposure without asking: now and then
    that ends the process (isxcore, getNVisionAcquisitionInfoFromExtraProps).
    """
    camera = camera_of(noted)
    return isinstance(camera, Mapping) and "sensorParams" not in camera


def misfit(noted: Any, of_camera: bool) -> Iterator[str]:
    """What is there and of a type that says nothing, where something else would."""
    if noted and not isinstance(noted, Mapping):
        yield "no object"
    for path in CAMERA_OBJECTS if of_camera else OBJECTS:
        if (value := _at(noted, path)) and not is_object(value):
            yield path
    for path in CAMERA_IDENTITIES if of_camera else IDENTITIES:
        value = _at(noted, path)
        if isinstance(value, bool) or (value and not isinstance(value, (str, int))):
            yield path


def is_object(value: Any) -> bool:
    """Some versions keep JSON in a text."""
    if isinstance(value, str) and value.startswith("{"):
        with contextlib.suppress(ValueError, RecursionError):  # then it is none
            value = json.loads(value)
    return isinstance(value, Mapping)


def is_camera(stored: Path) -> bool:
    return stored.suffix.lower() == ".isxb"


def read(noted: Mapping[str, Any], lacking: list[str]) -> Iterator[tuple[str, Any]]:
    """isx's names and values; keys that are missing, or hold what isx does not take, are added to `lacking`."""
    for part in filter(noted.__contains__, PARTS):
        yield from _part(noted[part], part, PARTS[part], lacking)
    yield from _lights(noted, lacking)
    yield from _items(_at(noted, "microscope.customMetadata"))
    for path, label, said in OPTIONAL:
        value = _at(noted, path)
        if value is not None:
            try:
                yield label, said(value)
            except (TypeError, ValueError):
                lacking.append(path)
    if isinstance(_at(noted, "idps.vesselset"), Mapping):
        for key, label in VESSEL_ERRORS.items():
            yield label, _at(noted, f"idps.vesselset.{key}") or "{}"


def read_camera(noted: Mapping[str, Any], lacking: list[str]) -> Iterator[tuple[str, Any]]:
    """The same of a movie of nVision's."""
    for path in (path for path in CAMERA_PARTS if _at(noted, path)):
        yield from _part(_at(noted, path), path, CAMERA_PARTS[path], lacking)
    for name, custom in _items(_at(noted, "userInterface.customMetadata")):
        yield from _part(custom, f"userInterface.customMetadata.{name}", {"value": name}, lacking)
    if (recording := _at(noted, "processingInterface.recordingUUID")) is not None:
        yield "Recording UUID", recording
    if _at(noted, SYSTEM) is not None:
        paired = _at(noted, f"{SYSTEM}.behavior.paired") if _at(noted, f"{SYSTEM}.behavior") is not None else False
        if isinstance(paired, bool):
            yield "Miniscope Paired", paired
        else:
            lacking.append(f"{SYSTEM}.behavior.paired")
        for path in (path for path in PAIRED_PARTS if paired is True and _at(noted, path) is not None):
            yield from _part(_at(noted, path), path, PAIRED_PARTS[path], lacking)
    path, camera = f"processingInterface.{noted.get('cameraName')}", camera_of(noted)
    if camera is not None:
        yield from _part(camera, path, CAMERA, lacking)
        sensor, exposure = _at(camera, "sensorParams"), _at(camera, "sensorParams.exposure")
        if sensor is None:
            lacking.append(f"{path}.sensorParams")
        else:
            yield from _part(sensor, f"{path}.sensorParams", SENSOR, lacking)
        if _at(exposure, "type") == "manual":
            yield from _part(exposure, f"{path}.sensorParams.exposure", {"value": "Camera Exposure Time (ms)"}, lacking)


def camera_of(noted: Any) -> Any:
    """What is noted of the camera, whose name may have dots; None if there is nothing."""
    interface = _at(noted, "processingInterface")
    name = noted.get("cameraName") if isinstance(interface, Mapping) else None
    return interface.get(name) if isinstance(name, str) else None


def camera_that_is_not_there(noted: Any) -> str:
    """Where the camera that is named should be described and is not, "" if it is; isx passes over that."""
    name = noted.get("cameraName") if isinstance(noted, Mapping) else None
    return f"processingInterface.{name}" if isinstance(name, str) and name and camera_of(noted) is None else ""


def _part(holder: Any, path: str, keys: Mapping[str, str], lacking: list[str]) -> Iterator[tuple[str, Any]]:
    for key, label in keys.items():
        if isinstance(holder, Mapping) and key in holder:
            yield label, holder[key]
        else:
            lacking.append(f"{path}.{key}")


def _lights(noted: Mapping[str, Any], lacking: list[str]) -> Iterator[tuple[str, Any]]:
    """Power of the LEDs; a microscope of two colours has other ones."""
    if "microscope" not in noted:
        return
    two_colours = _at(noted, "microscope.dualColor") is not None
    both = _at(noted, "microscope.dualColor.enabled") if two_colours else False
    first, second = ("EX LED 1", "EX LED 2") if two_colours else ("EX LED", "OG LED")
    powers = {"microscope.led.exPower": first}
    if isinstance(both, bool):
        powers["microscope.led.exPower2" if both else "microscope.led.ogPower"] = second
    else:
        lacking.append("microscope.dualColor.enabled")
    for path, name in powers.items():
        power = _at(noted, path)
        if power is None:
            lacking.append(path)
        else:
            yield f"Microscope {name} Power (mw/mm^2)", power


def _items(custom: Any) -> Iterator[tuple[str, Any]]:
    yield from custom.items() if isinstance(custom, Mapping) else ()


def _at(noted: Any, path: str) -> Any:
    """None if it is not there."""
    for key in path.split("."):
        noted = noted.get(key) if isinstance(noted, Mapping) else None
    return noted


def _a(kind: type, value: Any) -> Any:
    if type(value) is not kind:
        raise TypeError
    return value


def _noted(stored: Path) -> Any:
    if is_camera(stored):
        return isxb.read_isxb(stored)[2]
    return formats.read_footer(stored).get("extraProperties")
