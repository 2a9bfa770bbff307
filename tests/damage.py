"""Damaged variants of sound recordings, the same ones for the same seed."""

from __future__ import annotations

import json
import os
import random
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests import recordings

Damage = Callable[[bytes, random.Random], bytes]


def corpus(sound: dict[str, Path], folder: Path, seed: int = 0) -> Iterator[Path]:
    """Write variant after variant of each sound recording, and yield its path."""
    for name, path in sound.items():
        data = path.read_bytes()
        for label, damage, count in _damages(path.suffix, name):
            for i in range(count):
                variant = folder / f"{name}-{label}-{i}{path.suffix}"
                variant.write_bytes(damage(data, random.Random(f"{seed} {variant.name}")))
                yield variant
    yield from _not_files(folder)


def _damages(suffix: str, name: str) -> Iterator[tuple[str, Damage, int]]:
    yield "truncated", lambda data, rng: data[: rng.randrange(len(data))], 6
    yield "without_beginning", lambda data, rng: data[rng.randrange(1, len(data)) :], 2
    yield "garbage_appended", lambda data, rng: data + rng.randbytes(rng.randrange(1, 64)), 2
    yield "garbage", lambda data, rng: rng.randbytes(len(data)), 1
    yield "zeros", lambda data, rng: bytes(len(data)), 1
    yield "empty", lambda data, rng: b"", 1
    if suffix != ".isxd":
        yield "flipped_header", lambda data, rng: _flipped(data, 0, 112, rng), 8
        yield "flipped", lambda data, rng: _flipped(data, 0, len(data), rng), 3
        return
    yield "flipped_footer", lambda data, rng: _flipped(data, len(recordings.split_footer(data)[0]), len(data), rng), 8
    yield "number_changed", _number_changed, 10
    yield "field_dropped", _field_dropped, 6
    yield "field_of_wrong_type", _field_of_wrong_type, 6
    yield "length", _length, 3
    yield (
        "nested",
        lambda data, rng: _with_footer(data, rng.choice((b"[", b'{"a":')) * rng.randrange(2_000, 200_000)),
        2,
    )
    yield "not_json", lambda data, rng: _with_footer(data, rng.choice((b"[]", b"{}", b"null", b'{"type": NaN}'))), 2
    if name in ("event_set", "gpio_isxd", "imu_isxd"):
        yield "channel", _channel, 8
        yield "flipped_packets", lambda data, rng: _flipped(data, 0, len(recordings.split_footer(data)[0]), rng), 8


def _flipped(data: bytes, first: int, last: int, rng: random.Random) -> bytes:
    changed = bytearray(data)
    changed[rng.randrange(first, min(last, len(data)))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _with_footer(data: bytes, footer: Any) -> bytes:
    return recordings.split_footer(data)[0] + recordings.footer_bytes(footer)


def _number_changed(data: bytes, rng: random.Random) -> bytes:
    claims = (-1, 0, 1, 7, 255, 1 << 31, 1 << 40, (1 << 63) - 1, 1 << 70, 0.5, 1e300)
    return _with_leaf(data, rng, lambda value: rng.choice(claims), wanted=(int, float))


def _field_of_wrong_type(data: bytes, rng: random.Random) -> bytes:
    return _with_leaf(data, rng, lambda value: rng.choice(([], {}, "x", None, True, [[]], {"num": 1})))


def _with_leaf(data: bytes, rng: random.Random, change: Callable[[Any], Any], wanted: Any = object) -> bytes:
    content = json.loads(recordings.split_footer(data)[1])
    places = [(holder, key) for holder, key in _leaves(content) if isinstance(holder[key], wanted)]
    holder, key = rng.choice(places)
    holder[key] = change(holder[key])
    return _with_footer(data, content)


def _field_dropped(data: bytes, rng: random.Random) -> bytes:
    content = json.loads(recordings.split_footer(data)[1])
    holders = [content] + [value for value in content.values() if isinstance(value, dict)]
    holder = rng.choice([each for each in holders if each])
    del holder[rng.choice(list(holder))]
    return _with_footer(data, content)


def _leaves(value: Any) -> Iterator[tuple[Any, Any]]:
    for key in list(value) if isinstance(value, dict) else range(len(value)):
        if isinstance(value[key], (dict, list)) and value[key]:
            yield from _leaves(value[key])
        else:
            yield value, key


def _length(data: bytes, rng: random.Random) -> bytes:
    (length,) = struct.unpack("<Q", data[-8:])
    claims = (0, 1, length - 1, length + 1, len(data), len(data) - 8, 1 << 32, (1 << 64) - 1)
    return data[:-8] + struct.pack("<Q", rng.choice(claims))


def _channel(data: bytes, rng: random.Random) -> bytes:
    """Of one packet, so that it names a channel that is not there."""
    packet = rng.randrange(len(recordings.split_footer(data)[0]) // 20)
    channel = rng.choice((9, 17, 255, 1 << 16, 1 << 32, (1 << 64) - 1))
    return data[: 20 * packet + 8] + struct.pack("<Q", channel) + data[20 * packet + 16 :]


def _not_files(folder: Path) -> Iterator[Path]:
    for suffix in (".isxd", ".isxb", ".gpio", ".imu"):
        fifo, directory, dangling = (folder / f"{kind}{suffix}" for kind in ("fifo", "directory", "dangling"))
        os.mkfifo(fifo)
        directory.mkdir()
        dangling.symlink_to("nowhere")
        yield from (fifo, directory, dangling)
