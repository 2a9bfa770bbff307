"""Damaged variants of sound recordings: a seed and a number decide all of one.

Most damages know the format: they change one field, packet or frame and leave the rest as it should be, which goes
deeper than noise. Standard library only, apart from the recordings that the variants are made of.
"""

from __future__ import annotations

import json
import os
import random
import re
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from samples import recordings

Damaged = tuple[bytes, str]  # and what was changed; "" if its place says so
Damage = Callable[[bytes, random.Random], Damaged]

ISXB = struct.Struct("<QQQq8Q")
IMU = struct.Struct("<QQiHH11Q")
GPIO = struct.Struct("<QQiIQ")
HEADER_FIELDS = {
    ".isxb": (
        *("version", "header_size", "epoch_ms", "utc_offset_min", "n_frames", "n_dropped", "video_offset"),
        *("video_size", "meta_offset", "meta_size", "session_offset", "session_size"),
    ),
    ".imu": (
        *("start_num", "start_den", "utc_offset", "file_format", "reserved"),
        *(f"{sensor}_{what}" for sensor in ("acc", "mag", "ori") for what in ("count", "offset", "size")),
        *("session_offset", "session_size"),
    ),
    ".gpio": ("start_num", "start_den", "utc_offset", "event_offset", "event_count"),
}
HEADERS = {".isxb": ISXB, ".imu": IMU, ".gpio": GPIO}
SYNC = struct.pack("<I", 0xAA55)
PACKET = struct.Struct("<QQf")

BARE_PACKET = 32  # bytes of each in a GPIO file as samples/recordings.py makes it
NUMBERS = (-1, 0, 1, 7, 255, 1 << 31, 1 << 40, (1 << 63) - 1, 1 << 70, 0.5, 1e300)
TYPES: tuple[Any, ...] = ([], {}, "x", None, True, [[]], {"num": 1}, -0.0)
TEXTS = (
    *("", "=cmd|' /C calc'!A0", "../../../canary", "/etc/passwd", "a/b", "\x00", "\x1b[31m\r\n", "\u202etxt.exe"),
    *("\ud800", "<script>alert(1)</script>", "x" * 100_000, "{0}%s", "index.html", "0", "NaN"),
    *("left, near", 'a "b"', "a\n3,0,3,"),
)
FLOATS = (float("nan"), float("inf"), float("-inf"), 1e30, -1e30, 3e38)


@dataclass(frozen=True)
class Variant:
    name: str  # of the sound recording that it is made of
    label: str  # of the damage
    where: str  # what was changed
    data: bytes


def variants(sound: Mapping[str, Path], seed: int, n: int) -> Iterator[Variant]:
    """Number i of a seed is the same whatever n is. All kinds take turns."""
    files = {name: path.read_bytes() for name, path in sound.items()}
    names = list(files)
    for number in range(n):
        yield variant(names[number % len(names)], sound, files, f"{seed} {number}")


def variant(name: str, sound: Mapping[str, Path], files: Mapping[str, bytes], seed: str) -> Variant:
    rng, suffix = random.Random(seed), sound[name].suffix
    ways = damages(suffix, name)
    label = rng.choice(list(ways))
    data, where = ways[label](files[name], rng)
    return Variant(name, label, where or _place(suffix, files[name], data), data)


def corpus(sound: Mapping[str, Path], folder: Path, seed: int, n: int) -> Iterator[Path]:
    """Write n variants, and what is no file at all; yield the paths."""
    for number, damaged in enumerate(variants(sound, seed, n)):
        path = folder / f"{damaged.name}-{damaged.label}-{number}{sound[damaged.name].suffix}"
        path.write_bytes(damaged.data)
        yield path
    yield from not_files(folder)


def not_files(folder: Path) -> Iterator[Path]:
    for suffix in (".isxd", ".isxb", ".gpio", ".imu"):
        fifo, directory, dangling = (folder / f"{kind}{suffix}" for kind in ("fifo", "directory", "dangling"))
        os.mkfifo(fifo)
        directory.mkdir()
        dangling.symlink_to("nowhere")
        yield from (fifo, directory, dangling)


def damages(suffix: str, name: str) -> dict[str, Damage]:
    kinds: dict[str, Damage] = {
        "truncated": lambda data, rng: (data[: rng.randrange(len(data))], "its end"),
        "without_beginning": lambda data, rng: (data[rng.randrange(1, len(data)) :], "its beginning"),
        "appended": lambda data, rng: (data + rng.randbytes(rng.randrange(1, 64)), "its end"),
        "garbage": _garbage,
        "bit": _bit,
        "block": _block,
    }
    for part in PARTS[suffix]:
        kinds |= {
            f"{part}_number": _leaf(suffix, part, (int, float), _number),
            f"{part}_type": _leaf(suffix, part, object, lambda value, rng: rng.choice(TYPES)),
            f"{part}_text": _leaf(suffix, part, str, lambda value, rng: rng.choice(TEXTS)),
            f"{part}_holder": _holder(suffix, part),
            f"{part}_dropped": _field_dropped(suffix, part),
            f"{part}_list": _list(suffix, part),
            f"{part}_json": _not_json(suffix, part),
        }
    if name == "gpio_bare":
        kinds["truncated"] = _cut_bare
    elif suffix in HEADERS:
        kinds["header"] = _header(suffix)
    kinds |= _DATA.get(suffix, {})
    if suffix == ".isxd":
        kinds["length"] = _length
        kinds |= _PACKETS if name in ("event_set", "gpio_isxd", "imu_isxd") else _ARRAYS
    return kinds


# ---- any file


def _cut_bare(data: bytes, rng: random.Random) -> Damaged:
    """Without a header, nothing but a packet that is not whole tells that packets are missing."""
    cut = data[: rng.randrange(len(data))]
    return cut, "its end" if len(cut) % BARE_PACKET else "its last packets"


def _garbage(data: bytes, rng: random.Random) -> Damaged:
    return rng.choice((rng.randbytes(len(data)), bytes(len(data)), b"")), "everything"


def _bit(data: bytes, rng: random.Random) -> Damaged:
    at = rng.randrange(len(data))
    changed = bytearray(data)
    changed[at] ^= 1 << rng.randrange(8)
    return bytes(changed), ""


def _block(data: bytes, rng: random.Random) -> Damaged:
    """As disks lose and mix up sectors."""
    size = rng.choice((64, 512, 4096))
    first, second = (rng.randrange(0, len(data), size) for _ in range(2))
    there = data[first : first + size]
    with_ = rng.choice((bytes(len(there)), data[second : second + size], b""))
    return data[:first] + with_ + data[first + len(there) :], ""


def _place(suffix: str, old: bytes, new: bytes) -> str:
    """Where the first difference lies: "data", a field of the header, or a part of JSON and its field."""
    at = next((i for i, (one, other) in enumerate(zip(old, new)) if one != other), min(len(old), len(new)))
    for part, (read, _) in PARTS[suffix].items():
        text = read(old)
        start = old.rindex(text)
        if start <= at < start + len(text):
            return part + _differing(text, read(new))
    if suffix in HEADERS and not old.startswith(SYNC) and at < HEADERS[suffix].size:
        return "header"
    return "data" if suffix != ".isxd" or at < len(recordings.split_footer(old)[0]) else "length of the footer"


def _differing(old: bytes, new: bytes) -> str:
    """The field of JSON that differs, if that is all."""
    try:
        before, after = (
            {path: holder[key] for holder, key, path in leaves(json.loads(text), entry="")} for text in (old, new)
        )
    except (ValueError, TypeError):
        return " as a whole"
    paths = [path for path in before.keys() | after.keys() if before.get(path) != after.get(path)]
    return re.sub(r"/\d+", "/*", min(paths)) if paths else ""


# ---- JSON in it


def _footer(data: bytes) -> bytes:
    return recordings.split_footer(data)[1]


def _with_footer(data: bytes, text: bytes) -> bytes:
    return recordings.split_footer(data)[0] + recordings.footer_bytes(text)


def _isxb_part(first: int) -> Callable[[bytes], bytes]:
    def part(data: bytes) -> bytes:
        header = ISXB.unpack_from(data)
        return data[header[first] : header[first] + header[first + 1]]

    return part


video_of, session_of = _isxb_part(6), _isxb_part(10)


def with_isxb(data: bytes, **parts: bytes) -> bytes:
    """With other parts, where they belong."""
    header = list(ISXB.unpack_from(data))
    at, content = ISXB.size, b""
    for first, name in ((6, "video"), (8, "meta"), (10, "session")):
        part = parts.get(name, _isxb_part(first)(data))
        header[first : first + 2] = at + len(content), len(part)
        content += part
    return ISXB.pack(*header) + content + b"\0"


def _imu_session(data: bytes) -> bytes:
    at, size = IMU.unpack_from(data)[-2:]
    return data[at : at + size]


def _with_imu_session(data: bytes, text: bytes) -> bytes:
    header = IMU.unpack_from(data)
    return IMU.pack(*header[:-1], len(text)) + data[IMU.size : header[-2]] + text


PARTS: dict[str, dict[str, tuple[Callable[[bytes], bytes], Callable[[bytes, bytes], bytes]]]] = {
    ".isxd": {"footer": (_footer, _with_footer)},
    ".isxb": {
        "meta": (_isxb_part(8), lambda data, text: with_isxb(data, meta=text)),
        "session": (_isxb_part(10), lambda data, text: with_isxb(data, session=text)),
    },
    ".imu": {"session": (_imu_session, _with_imu_session)},
    ".gpio": {},
}


def _json(content: Any) -> bytes:
    return json.dumps(content).encode()  # surrogates and NaN included


def leaves(value: Any, path: str = "", entry: str = "*") -> Iterator[tuple[Any, Any, str]]:
    """Holder, key and path of each value that holds no other; entries of lists are called `entry`, else by number."""
    for key in list(value) if isinstance(value, dict) else range(len(value)):
        inner = f"{path}/{key}" if isinstance(value, dict) else f"{path}/{entry or key}"
        if isinstance(value[key], (dict, list)) and value[key]:
            yield from leaves(value[key], inner, entry)
        else:
            yield value, key, inner


def _leaf(suffix: str, part: str, wanted: Any, change: Callable[[Any, random.Random], Any]) -> Damage:
    read, with_ = PARTS[suffix][part]

    def damage(data: bytes, rng: random.Random) -> Damaged:
        content = json.loads(read(data))
        places = [leaf for leaf in leaves(content or {}) if isinstance(leaf[0][leaf[1]], wanted)]
        if not places:
            return _bit(data, rng)
        holder, key, path = rng.choice(places)
        holder[key] = change(holder[key], rng)
        return with_(data, _json(content)), f"{part}{path}"

    return damage


def _number(value: Any, rng: random.Random) -> Any:
    return rng.choice((*NUMBERS, value + 1, value - 1, 2 * value, value + 1, value - 1))


def _holders(value: Any, path: str = "") -> Iterator[tuple[dict[str, Any], str]]:
    if isinstance(value, dict):
        if value:
            yield value, path
        for key, child in value.items():
            yield from _holders(child, f"{path}/{key}")
    elif isinstance(value, list):
        for child in value:
            yield from _holders(child, f"{path}/*")


def fields(content: Any) -> Iterator[tuple[dict[str, Any], str, str]]:
    """Holder, name and path of each field of an object; of entries in lists, those of the first."""
    seen = set()
    for holder, path in _holders(content):
        for name in list(holder):
            where = f"{path}/{name}"
            if where not in seen:
                seen.add(where)
                yield holder, name, where


def _field_dropped(suffix: str, part: str) -> Damage:
    read, with_ = PARTS[suffix][part]

    def damage(data: bytes, rng: random.Random) -> Damaged:
        content = json.loads(read(data))
        holders = list(_holders(content))
        if not holders:
            return _bit(data, rng)
        holder, path = rng.choice(holders)
        name = rng.choice(list(holder))
        del holder[name]
        return with_(data, _json(content)), f"{part}{path}/{name}"

    return damage


def nodes(value: Any, path: str = "") -> Iterator[tuple[Any, Any, str]]:
    """Holder, key and path of each value, whether it holds others or not."""
    for key in list(value) if isinstance(value, dict) else range(len(value)):
        inner = f"{path}/{key if isinstance(value, dict) else '*'}"
        yield value, key, inner
        if isinstance(value[key], (dict, list)):
            yield from nodes(value[key], inner)


def _holder(suffix: str, part: str) -> Damage:
    """Another type where objects and lists belong, or objects and lists where they do not."""
    read, with_ = PARTS[suffix][part]

    def damage(data: bytes, rng: random.Random) -> Damaged:
        content = json.loads(read(data))
        places = [node for node in nodes(content or {}) if isinstance(node[0][node[1]], (dict, list))]
        if not places:
            return _bit(data, rng)
        holder, key, path = rng.choice(places)
        holder[key] = rng.choice((*TYPES, 5, [5, None], {"a": []}))
        return with_(data, _json(content)), f"{part}{path}"

    return damage


def _list(suffix: str, part: str) -> Damage:
    """One entry less, one twice, two changed about, or none."""
    read, with_ = PARTS[suffix][part]

    def damage(data: bytes, rng: random.Random) -> Damaged:
        content = json.loads(read(data))
        lists = [
            (holder, name, f"{path}/{name}")
            for holder, path in _holders(content)
            for name, value in holder.items()
            if isinstance(value, list)
        ]
        if not lists:
            return _bit(data, rng)
        holder, name, path = rng.choice(lists)
        old = holder[name]
        i = rng.randrange(len(old) + 1)
        holder[name] = rng.choice((old[:i] + old[i + 1 :], old[:i] + old[i - 1 : i] + old[i:], old[i:] + old[:i], []))
        return with_(data, _json(content)), f"{part}{path}"

    return damage


def _not_json(suffix: str, part: str) -> Damage:
    read, with_ = PARTS[suffix][part]

    def damage(data: bytes, rng: random.Random) -> Damaged:
        text = read(data)
        depth = rng.randrange(90, 200_000)
        bad = (
            *(b"[]", b"{}", b"null", b"{", b'{"type": NaN}', b"[" * depth, b'{"a":' * depth),
            *(text.decode().encode("utf-16"), b"\xef\xbb\xbf" + text, text + b" x", text + text, text[:-1]),
            *(b'{"x":[' + b"{}," * 300_000 + b"0]," + text.lstrip()[1:], text + b" " * 10_000),
            *(text.replace(b"0", b"1e999", 1), text.replace(b":", b":0", 1), b'{"x": ' + b"9" * 10_000 + b"}"),
        )
        text = rng.choice(bad)
        return with_(data, text), "" if text in bad[-3:-1] else f"{part} as a whole"

    return damage


def _length(data: bytes, rng: random.Random) -> Damaged:
    (length,) = struct.unpack("<Q", data[-8:])
    claims = (0, 1, length - 1, length + 1, len(data), len(data) - 8, 1 << 32, (1 << 64) - 1)
    return data[:-8] + struct.pack("<Q", rng.choice(claims)), "length of the footer"


# ---- headers


def _header(suffix: str) -> Damage:
    form, names = HEADERS[suffix], HEADER_FIELDS[suffix]

    def damage(data: bytes, rng: random.Random) -> Damaged:
        fields = list(form.unpack_from(data))
        i = rng.randrange(len(fields))
        old = fields[i]
        claims = [0, 1, old + 1, old - 1, old + 16, 2 * old, len(data), 65535, (1 << 31) - 1, (1 << 63) - 1]
        for claim in rng.sample(claims, len(claims)):
            fields[i] = claim
            try:
                return form.pack(*fields) + data[form.size :], f"header {names[i]}"
            except struct.error:
                continue
        return data, "nothing"

    return damage


# ---- data


def _changed_items(items: list[bytes], rng: random.Random) -> list[bytes]:
    """One less, one twice, or two changed about."""
    i, j = rng.randrange(len(items)), rng.randrange(len(items))
    one_less, twice = items[:i] + items[i + 1 :], items[: i + 1] + items[i:]
    swapped = list(items)
    swapped[i], swapped[j] = items[j], items[i]
    return rng.choice((one_less, twice, swapped))


def _packets(data: bytes, rng: random.Random) -> Damaged:
    stored, footer = recordings.split_footer(data)
    packets = [stored[i : i + PACKET.size] for i in range(0, len(stored), PACKET.size)]
    return b"".join(_changed_items(packets, rng)) + recordings.footer_bytes(footer), "packets"


def _packet_field(field: int, what: str, claims: tuple[Any, ...]) -> Damage:
    def damage(data: bytes, rng: random.Random) -> Damaged:
        at = PACKET.size * rng.randrange(len(recordings.split_footer(data)[0]) // PACKET.size)
        fields = list(PACKET.unpack_from(data, at))
        fields[field] = rng.choice(claims)
        return data[:at] + PACKET.pack(*fields) + data[at + PACKET.size :], what

    return damage


_PACKETS: dict[str, Damage] = {
    "packets": _packets,
    "packet_time": _packet_field(0, "time of a packet", (0, 1, 123_456, 1 << 32, 1 << 50, (1 << 64) - 1)),
    "packet_channel": _packet_field(1, "channel of a packet", (0, 1, 3, 9, 17, 255, 1 << 16, 1 << 32, (1 << 64) - 1)),
    "packet_value": _packet_field(2, "value of a packet", (*FLOATS, 0.0, 123.0)),
}


def _values(data: bytes, rng: random.Random) -> Damaged:
    """As float32, whatever it is."""
    size = len(recordings.split_footer(data)[0]) // 4 * 4
    if not size:
        return _bit(data, rng)
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 5))):
        struct.pack_into("<f", changed, 4 * rng.randrange(size // 4), rng.choice(FLOATS))
    return bytes(changed), "values"


def _frames(data: bytes, rng: random.Random) -> Damaged:
    """Bytes as of a frame, or of part of one, missing or too many."""
    stored, footer = recordings.split_footer(data)
    width = rng.choice((1, 2, 20, 64, 24 * 32 * 2, 24 * 32 * 4, len(stored)))
    at = rng.randrange(len(stored))
    less, more = stored[:at] + stored[at + width :], stored[:at] + stored[:width] + stored[at:]
    return rng.choice((less, more)) + recordings.footer_bytes(footer), "number of bytes"


_ARRAYS: dict[str, Damage] = {"values": _values, "frames": _frames}


def _jpegs(data: bytes, rng: random.Random) -> Damaged:
    video = video_of(data)
    images = [b"\xff\xd8" + image for image in video.split(b"\xff\xd8")[1:]]
    if rng.random() < 0.5:
        return with_isxb(data, video=b"".join(_changed_items(images, rng))), "frames of the video"
    i = rng.randrange(len(images))
    at = rng.randrange(2, len(images[i]))
    cut, noise = images[i][:at], images[i][:at] + rng.randbytes(8) + images[i][at + 8 :]
    images[i] = rng.choice((cut, noise, images[i][:2] + rng.randbytes(20)))
    return with_isxb(data, video=b"".join(images)), "content of a frame of the video"


def _gpio_packets(data: bytes, rng: random.Random) -> Damaged:
    header, *parts = data.split(SYNC)
    packets = [SYNC + part for part in parts]
    if rng.random() < 0.4:
        return header + b"".join(_changed_items(packets, rng)), "packets"
    i = rng.randrange(len(packets))
    word = rng.randrange(len(packets[i]) // 4)
    names = ("sync word", "event", "sequence", "size", "tsc_high", "tsc_low", "counter", "value")
    value = struct.pack(
        "<I", rng.choice((0, 1, 0x4001, 0x4002, 0x400B, 0x400E, 0x4010, 0xFFFF, 1 << 31, (1 << 32) - 1))
    )
    packets[i] = packets[i][: 4 * word] + value + packets[i][4 * word + 4 :]
    return header + b"".join(packets), f"{names[word]} of a packet"


def _imu_samples(data: bytes, rng: random.Random) -> Damaged:
    header = IMU.unpack_from(data)
    sensor = rng.randrange(3)
    count, offset, _ = header[5 + 3 * sensor : 8 + 3 * sensor]
    at = offset + 16 * rng.randrange(count)
    if rng.random() < 0.5:
        time = struct.pack("<Q", rng.choice((0, 1, 1 << 40, (1 << 64) - 1)))
        return data[:at] + time + data[at + 8 :], "time of a sample"
    return data[: at + 8] + rng.randbytes(6) + data[at + 14 :], "values of a sample"


_DATA: dict[str, dict[str, Damage]] = {
    ".isxb": {"video": _jpegs, "video_again": _jpegs},
    ".gpio": {"packets": _gpio_packets, "packets_again": _gpio_packets, "packets_once_more": _gpio_packets},
    ".imu": {"samples": _imu_samples},
}
