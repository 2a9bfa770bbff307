"""Makes small recordings of every kind.

Kinds that isx writes are written by it. The others, and what isx cannot write into them (hardware times, IMU and GPIO
as the acquisition box leaves them, behaviour movies), are built from the format facts in recording/formats; the tests
read each back through isx. Every function writes one file and returns its path; `seed` decides what is in it.
"""

from __future__ import annotations

import io
import json
import struct
from pathlib import Path
from typing import Any

import isx
import numpy as np
from PIL import Image

START_MS = 1_600_000_000_000  # 2020-09-13 12:26:40 UTC
UTC_OFFSET = 3600


def timing(n_samples: int, period_ms: int = 50, start_ms: int = START_MS, **invalid: Any) -> isx.Timing:
    start = isx.Time._from_secs_since_epoch(isx.Duration.from_msecs(start_ms), utc_offset=UTC_OFFSET)
    return isx.Timing(n_samples, isx.Duration.from_msecs(period_ms), start, **invalid)


def frames(n: int, rows: int, columns: int, dtype: Any = np.uint16, seed: int = 0) -> np.ndarray:
    """Noise over a bright disc that pulses, shape (n, rows, columns); values as of a 12-bit sensor."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:rows, :columns]
    disc = (x - columns / 2) ** 2 + (y - rows / 2) ** 2 < (min(rows, columns) / 4) ** 2
    pulse = 1 + 0.3 * np.sin(np.arange(n) / 3)[:, None, None]
    values = 400 + 600 * disc * pulse + rng.normal(0, 20, (n, rows, columns))
    if dtype == np.uint8:
        values = values / 8
    return np.clip(values, 0, None).astype(dtype)


def movie(
    path: Path,
    n: int = 12,
    rows: int = 24,
    columns: int = 32,
    dtype: Any = np.uint16,
    seed: int = 0,
    start_ms: int = START_MS,
    period_ms: int = 50,
    **invalid: Any,
) -> Path:
    """A movie; `dropped`, `cropped` (pairs) and `blank` list frames that are missing."""
    when = timing(n, period_ms, start_ms, **invalid)
    written = isx.Movie.write(str(path), when, isx.Spacing((rows, columns)), dtype)
    for i in np.flatnonzero(when.get_valid_samples_mask()):
        written.set_frame_data(int(i), frames(n, rows, columns, dtype, seed)[i])
    written.flush()
    return path


def movie_from(path: Path, data: np.ndarray, hardware_times: np.ndarray | None = None, **invalid: Any) -> Path:
    """A movie of the given stored frames, built from the format facts: any size at the speed of the disk, and uint8.

    With `hardware_times` (µs, one a stored frame) each frame gets a header and a footer as the sensor leaves them.
    """
    n = len(data) + sum(last - first + 1 for first, last in invalid.get("cropped", ()))
    n += len(invalid.get("dropped", ())) + len(invalid.get("blank", ()))
    footer = {
        "type": 0 if n > 1 else 4,
        "dataType": {"uint16": 0, "float32": 1, "uint8": 2}[data.dtype.name],
        "fileVersion": 1,
        "hasFrameHeaderFooter": hardware_times is not None,
        "extraProperties": {"producer": {"version": "1.2.0"}} if hardware_times is not None else None,
        "timingInfo": _timing_json(n, 50, **invalid),
        "spacingInfo": _spacing_json(*data.shape[1:]),
    }
    with path.open("wb") as file:
        for i, frame in enumerate(data):
            if hardware_times is None:
                file.write(frame.tobytes())
            else:
                file.write(_sensor_header(int(hardware_times[i])) + frame.tobytes() + bytes(5120))
        file.write(footer_bytes(footer))
    return path


def image(path: Path, rows: int = 24, columns: int = 32, dtype: Any = np.float32, seed: int = 0) -> Path:
    isx.Image.write(str(path), isx.Spacing((rows, columns)), dtype, frames(1, rows, columns, dtype, seed)[0])
    return path


def cell_set(path: Path, n_cells: int = 4, n: int = 200, rows: int = 48, columns: int = 64, seed: int = 0) -> Path:
    """Round cells with transients; statuses go round accepted, undecided, rejected; sample 10 is dropped."""
    rng = np.random.default_rng(seed)
    when = timing(n, dropped=[10])
    written = isx.CellSet.write(str(path), when, isx.Spacing((rows, columns)))
    y, x = np.mgrid[:rows, :columns]
    for i in range(n_cells):
        cx, cy = rng.uniform(6, columns - 6), rng.uniform(6, rows - 6)
        footprint = np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / 18).astype(np.float32)
        spikes = (rng.random(n) < 0.02) * rng.uniform(5, 15, n)
        trace = np.convolve(spikes, np.exp(-np.arange(60) / 15))[:n] + rng.normal(0, 1, n)
        written.set_cell_data(i, footprint, trace.astype(np.float32), f"C{i}")
    written.flush()
    del written
    reopened = isx.CellSet.read(str(path), read_only=False)
    for i in range(n_cells):
        reopened.set_cell_status(i, ("accepted", "undecided", "rejected")[i % 3])
    del reopened
    return path


def event_set(path: Path, n_cells: int = 4, n: int = 200, seed: int = 0) -> Path:
    """Random events; the last cell has none."""
    rng = np.random.default_rng(seed)
    written = isx.EventSet.write(str(path), timing(n), [f"C{i}" for i in range(n_cells)])
    for i in range(n_cells):
        samples = np.flatnonzero(rng.random(n) < (0.1 if i < n_cells - 1 else 0))
        amplitude = rng.uniform(1, 5, len(samples)).astype(np.float32)
        written.set_cell_data(i, samples.astype(np.uint64) * 50_000, amplitude)
    written.flush()
    return path


def vessel_set(path: Path, measure: str = "vessel diameter", n_vessels: int = 3, n: int = 60, seed: int = 0) -> Path:
    """`measure` is "vessel diameter" or "rbc velocity"; the first vessel is rejected."""
    rng = np.random.default_rng(seed)
    rows, columns = 48, 64
    written = isx.VesselSet.write(str(path), timing(n, dropped=[10]), isx.Spacing((rows, columns)), measure)
    picture = frames(1, rows, columns, np.float32, seed)[0]
    for i in range(n_vessels):
        x, y = 5 + 12 * i, 8 + 8 * i
        trace = (20 + rng.normal(0, 1, n)).astype(np.float32)
        if measure == "vessel diameter":
            line = np.array([[x, y], [x + 12, y + 6]], np.int64)
            centre = rng.normal(6, 0.5, n).astype(np.float32)
            written.set_vessel_diameter_data(i, picture, line, trace, centre, f"V{i}")
        else:
            line = np.array([[x, y], [x + 12, y], [x + 12, y + 8], [x, y + 8]], np.int64)
            direction = rng.uniform(0, 360, n).astype(np.float32)
            written.set_rbc_velocity_data(i, picture, line, trace, direction, None, f"V{i}")
    written.flush()
    del written
    reopened = isx.VesselSet.read(str(path), read_only=False)
    reopened.set_vessel_status(0, "rejected")
    del reopened
    return path


def gpio(path: Path, n: int = 50) -> Path:
    """GPIO as the acquisition box writes it (`.gpio`): a square wave on GPIO-1, a ramp on EX-LED."""
    header = struct.pack("<QQiIQ", START_MS, 1000, UTC_OFFSET, 32, 2 * n)
    packets = []
    for i in range(n):
        tsc = 5_000_000 + 10_000 * i
        for event, value in ((0x4003, 60_000 * (i % 2)), (0x4008, i)):
            payload = struct.pack("<IIII", tsc >> 32, tsc & 0xFFFFFFFF, i, value)
            packets.append(struct.pack("<IIII", 0xAA55, event, len(packets), len(payload) // 4) + payload)
    path.write_bytes(header + b"".join(packets))
    return path


def imu(path: Path, n: int = 100) -> Path:
    """IMU as the acquisition box writes it (`.imu`): 50 Hz, the magnetometer at 2.5 Hz."""
    slow = n // 20
    swing = np.sin(np.arange(n) / 10)
    acceleration = _imu_samples(20, np.column_stack([2000 * swing, 1000 * swing, np.full(n, 16384)]))
    orientation = _imu_samples(20, np.column_stack([2048 * swing, 1024 * swing, -2048 * swing]))
    field = _imu_samples(400, np.column_stack([np.arange(slow) * 100, np.full(slow, 4096), np.full(slow, -4096)]))
    arrays = (acceleration, field, orientation)
    offsets = np.cumsum([112] + [len(each) for each in arrays])
    stated = {"dropped": []}
    session = {
        "timingInfo": {
            "start": _time_json(START_MS),
            "end": _time_json(START_MS + 20 * n),
            "accelerometer": {"periodMs": {"num": 20, "den": 1}, "numTimes": n, **stated},
            "magnetometer": {"periodMs": {"num": 400, "den": 1}, "numTimes": slow, **stated},
        }
    }
    text = json.dumps(session).encode()
    places = [number for each, at in zip(arrays, offsets) for number in (len(each) // 16, at, len(each))]
    header = struct.pack("<QQiHH11Q", START_MS, 1000, UTC_OFFSET, 0, 0, *places, offsets[-1], len(text))
    path.write_bytes(header + b"".join(arrays) + text)
    return path


def gpio_isxd(path: Path, kind: str = "gpio") -> Path:
    """GPIO or IMU as `.isxd`, converted by isx."""
    raw = path.with_name(f"{path.stem}.{kind}")
    (gpio if kind == "gpio" else imu)(raw)
    folder = path.parent / f"{path.stem}-converted"
    folder.mkdir()
    isx.export_gpio_to_isxd(str(raw), str(folder))
    (made,) = folder.iterdir()
    made.rename(path)
    folder.rmdir()
    raw.unlink()
    return path


def behavior_movie(path: Path, n: int = 10, rows: int = 48, columns: int = 64, tracked: bool = False) -> Path:
    """A behaviour movie (`.isxb`), whose third frame is dropped; `tracked` adds what nVision's tracking finds."""
    dropped = [2]
    counters = [i for i in range(n + len(dropped)) if i not in dropped]
    samples: list[dict[str, Any]] = [{"tsc": 7_000_000 + 33_333 * i, "fc": i} for i in counters]
    session: dict[str, Any] = {
        "cameraName": "camera-1",
        "processingInterface": {
            "camera-1": {
                "cameraAlias": "",
                "recordFov": {"width": columns, "height": rows, "originx": 0, "originy": 0},
            }
        },
    }
    if tracked:
        for sample in samples[1:]:  # nothing is found in the first frame
            at = sample["fc"]
            sample["tracker"] = {
                "box": [10 + at, 5 + at, 20 + at, 25 + at],
                "conf": 90.0 + at / 2,
                "zones": {"id": 7, "name": "centre"},
            }
        corners = [[10, 10], [40, 10], [40, 30], [10, 30]]
        zone = {"id": 7, "enable": True, "name": "centre", "description": ""}
        zone["geometry"] = {"type": "rectangle", "coordinates": corners}
        session["trackingInterface"] = {"camera-1": {"cameraName": "camera-1", "zones": [zone]}}
    video = b"".join(_jpeg(frame) for frame in frames(n, rows, columns, np.uint8))
    meta = json.dumps({"samples": samples, "droppedFrames": dropped}).encode()
    ending = json.dumps(session).encode()
    size = 96
    at_meta, at_session = size + len(video), size + len(video) + len(meta)
    header = struct.pack("<QQQq", 1, size, START_MS, UTC_OFFSET // 60)
    header += struct.pack("<8Q", n, len(dropped), size, len(video), at_meta, len(meta), at_session, len(ending))
    path.write_bytes(header + video + meta + ending + b"\0")
    return path


def every_kind(folder: Path) -> dict[str, Path]:
    """One recording of each kind and origin, by a name that says which."""
    return {
        "movie": movie(folder / "movie.isxd", dropped=[2], cropped=[(4, 5)], blank=[7]),
        "movie_float": movie(folder / "movie_float.isxd", dtype=np.float32),
        "image": image(folder / "image.isxd"),
        "cell_set": cell_set(folder / "cells.isxd"),
        "event_set": event_set(folder / "events.isxd"),
        "vessel_set": vessel_set(folder / "vessels.isxd"),
        "velocity_set": vessel_set(folder / "velocity.isxd", "rbc velocity"),
        "gpio_isxd": gpio_isxd(folder / "gpio.isxd"),
        "imu_isxd": gpio_isxd(folder / "imu.isxd", "imu"),
        "gpio": gpio(folder / "raw.gpio"),
        "imu": imu(folder / "raw_imu.imu"),
        "behavior_movie": behavior_movie(folder / "behavior.isxb"),
        "nvision": behavior_movie(folder / "tracked.isxb", tracked=True),
    }


# ---- parts of the formats


def footer_bytes(footer: Any) -> bytes:
    """What ends an `.isxd` file; `footer` is made JSON unless it is bytes already."""
    text = footer if isinstance(footer, bytes) else json.dumps(footer).encode()
    return text + b"\0" + struct.pack("<Q", len(text))


def split_footer(data: bytes) -> tuple[bytes, bytes]:
    """Data and JSON of an `.isxd` file."""
    (length,) = struct.unpack("<Q", data[-8:])
    return data[: -9 - length], data[-9 - length : -9]


def _time_json(ms: int) -> dict[str, Any]:
    return {"secsSinceEpoch": {"num": ms, "den": 1000}, "utcOffset": UTC_OFFSET}


def _timing_json(n: int, period_ms: int, dropped: Any = (), cropped: Any = (), blank: Any = ()) -> dict[str, Any]:
    return {
        "numTimes": n,
        "period": {"num": period_ms, "den": 1000},
        "start": _time_json(START_MS),
        "dropped": list(dropped),
        "cropped": [f"{first} - {last}" for first, last in cropped],
        "blank": list(blank),
    }


def _spacing_json(rows: int, columns: int) -> dict[str, Any]:
    def both(num: int) -> dict[str, Any]:
        return {axis: {"num": num, "den": 1} for axis in "xy"}

    return {"numPixels": {"x": columns, "y": rows}, "pixelSize": both(3), "topLeft": both(0)}


def _sensor_header(tsc: int) -> bytes:
    """Two lines of 1280 pixels; the time's four 16-bit words lie in the last 8 pixels of the first, 12 bits used."""
    pixels = np.zeros(2560, np.uint16)
    pixels[0] = 0x0A0
    for i in range(4):
        word = tsc >> (16 * i) & 0xFFFF
        pixels[1272 + 2 * i] = (word & 0xFF) << 4
        pixels[1273 + 2 * i] = (word >> 8) << 4
    return pixels.tobytes()


def _imu_samples(period_ms: int, values: np.ndarray) -> bytes:
    samples = np.zeros(len(values), np.dtype([("time", "<u8"), ("value", "<i2", 3), ("reserved", "<i2")]))
    samples["time"] = 1000 + period_ms * np.arange(len(values))
    samples["value"] = values.round()
    return samples.tobytes()


def _jpeg(frame: np.ndarray) -> bytes:
    data = io.BytesIO()
    Image.fromarray(frame).convert("RGB").save(data, "JPEG", quality=90)
    return data.getvalue()
