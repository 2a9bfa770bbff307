"""What a recording states of its origin, from the acquisition software's metadata (isxcore, isxMetadata.h).

These metadata are optional and differ from version to version: what is missing, or of another type, says nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from recording.findings import Origin

MAX_TEXT = 200  # characters
SETTINGS = {"integratedBasePlate", "pixelsPerCm"}  # that IDPS's user can state about a raw movie, too
_NOTHING = {"", "none", "unknown", "null"}


def of_acquisition(properties: Any, **more: Any) -> Origin:
    """Origin from `extraProperties` of `.isxd`, or the session in `.gpio` and `.imu`. `more` are further fields."""
    held = _mapping(properties)
    microscope, idps = _mapping(held.get("microscope")), _mapping(held.get("idps"))
    colour, n_colours = _colours(_mapping(microscope.get("dualColor")), idps)
    facts = {
        "uuid": _text(held, "processingInterface", "recordingUUID"),
        "animal": _text(held, "animal", "id"),
        "microscope": _text(microscope, "serial"),
        "system": _text(microscope, "systemSerial"),
        "session": _text(held, "name") or _text(held, "session", "name"),
        "colour": colour,
        "n_colours": n_colours,
        "planes": () if "efocus" in idps else _planes(_mapping(microscope.get("multiplane"))),
        "is_made": bool(idps.keys() - SETTINGS),
    }
    return Origin(**{**facts, **more})


def of_camera(session: Any, clock_us: int | None) -> Origin:
    """Origin from the session of an `.isxb`."""
    held = _mapping(session)
    system = _mapping(_mapping(held.get("processingInterface")).get("system"))
    return Origin(
        uuid=_text(held, "processingInterface", "recordingUUID"),
        animal=_text(held, "userInterface", "animal", "id") or _text(held, "animal", "id"),
        system=_text(system, "miniscope", "system", "systemSerial"),
        session=_text(system, "miniscope", "system", "sessionName"),
        clock_us=clock_us,
    )


def _colours(dual: Mapping[str, Any], idps: Mapping[str, Any]) -> tuple[str, int]:
    """The colour of all frames, and how many alternate; de-interleaving states `channel`."""
    channel = _text(idps, "channel")
    if channel or dual.get("enabled") is False:
        return channel, 1
    if dual.get("mode") == "multiplexing":
        return "", 2
    return (_text(dual, "single", "channel") if dual.get("enabled") and dual.get("mode") == "single" else ""), 1


def _planes(multiplane: Mapping[str, Any]) -> tuple[int, ...]:
    """The focus of each plane, in the order in which frames alternate between them; () if they do not."""
    if multiplane.get("enabled") is not True:
        return ()
    planes = _mapping(multiplane.get("planes"))
    active = multiplane.get("activePlanes")
    used = [
        plane["focus"]
        for _, plane in sorted(planes.items())
        if isinstance(plane, dict) and plane.get("enabled") and _is_focus(plane.get("focus"))
    ]
    if isinstance(active, int) and 0 < active < len(used):
        used = used[:active]
    return tuple(round(focus) for focus in used) if len(used) > 1 else ()


def _is_focus(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= 65535


def _text(holder: Any, *keys: str) -> str:
    """The text, or number, that is found under these keys; "" for what says nothing."""
    for key in keys:
        holder = _mapping(holder).get(key)
    if isinstance(holder, bool) or not isinstance(holder, (str, int)):
        return ""
    text = str(holder).strip()[:MAX_TEXT]
    return "" if text.casefold() in _NOTHING else text


def _mapping(value: Any) -> Mapping[str, Any]:
    """Some versions keep JSON in a text."""
    if isinstance(value, str) and value.startswith("{"):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return {}
    return value if isinstance(value, dict) else {}
