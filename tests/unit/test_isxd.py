"""The pre-check: what it tells of sound files, and why it refuses others."""

from __future__ import annotations

import json
import os
import struct
from datetime import timedelta
from itertools import islice
from pathlib import Path

import isx
import numpy as np
import pytest

from recording import formats
from recording.errors import BadRecording
from recording.formats import isxd
from samples import damage, recordings
from tests.fuzz import PYTHONS


@pytest.fixture(scope="module")
def every_kind(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return recordings.every_kind(tmp_path_factory.mktemp("every-kind"))


@pytest.mark.parametrize(
    ("name", "kind", "n_samples", "size"),
    [
        ("movie", "movie", 12, (32, 24)),
        ("movie_float", "movie", 12, (32, 24)),
        ("image", "image", 1, (32, 24)),
        ("cell_set", "cell_set", 200, (64, 48)),
        ("event_set", "event_set", 200, (0, 0)),
        ("vessel_set", "vessel_set", 60, (64, 48)),
        ("velocity_set", "vessel_set", 60, (64, 48)),
        ("gpio_isxd", "gpio", 491, (0, 0)),
        ("imu_isxd", "imu", 100, (0, 0)),
        ("gpio", "gpio", 0, (0, 0)),
        ("imu", "imu", 100, (0, 0)),
        ("behavior_movie", "behavior_movie", 11, (64, 48)),
        ("nvision", "nvision", 11, (64, 48)),
    ],
)
def test_sound_recordings(every_kind, name, kind, n_samples, size):
    info = formats.check(every_kind[name])
    assert (info.kind, info.n_samples, (info.width, info.height)) == (kind, n_samples, size)
    assert info.size == every_kind[name].stat().st_size
    if name != "image":  # isx gives images no time
        assert info.start.isoformat() == "2020-09-13T13:26:40+01:00"


@pytest.mark.parametrize("name", ["movie", "cell_set", "event_set", "vessel_set", "gpio_isxd", "imu_isxd", "nvision"])
def test_timing_agrees_with_the_library(every_kind, name):
    info = formats.check(every_kind[name])
    reader = {
        "movie": isx.Movie,
        "cell_set": isx.CellSet,
        "event_set": isx.EventSet,
        "vessel_set": isx.VesselSet,
        "gpio": isx.GpioSet,
        "imu": isx.GpioSet,
        "nvision": isx.Movie,
    }[info.kind]
    source = reader.read(str(every_kind[name]))  # its timing points into it: it must live as long
    timing = source.timing
    assert info.n_samples == timing.num_samples
    assert info.period_s == pytest.approx(timing.period.secs_float)
    assert info.start.timestamp() == timing.start._to_secs_since_epoch().secs_float


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_layout_finds_the_frames_that_isx_reads(tmp_path, dtype):
    path = recordings.movie(tmp_path / "m.isxd", dtype=dtype, dropped=[0, 6], cropped=[(2, 3)], blank=[9])
    layout, movie = formats.movie_layout(path), isx.Movie.read(str(path))
    stored = np.flatnonzero(movie.timing.get_valid_samples_mask())
    assert layout.n_stored == len(stored)
    data = path.read_bytes()
    for i, frame in enumerate(stored):
        at = layout.offset + i * layout.stride
        pixels = np.frombuffer(data, layout.dtype, layout.rows * layout.columns, at)
        np.testing.assert_array_equal(pixels.reshape(layout.rows, layout.columns), movie.get_frame_data(int(frame)))


def test_layout_of_frames_with_header_and_footer(tmp_path):
    frames, times = recordings.frames(4, 8, 16), np.arange(4) * 50_000 + (1 << 33)
    path = recordings.movie_from(tmp_path / "m.isxd", frames, times, dropped=[1])
    layout, movie = formats.movie_layout(path), isx.Movie.read(str(path))
    assert (layout.offset, layout.stride, layout.has_timestamps) == (5120, 10240 + frames[0].nbytes, True)
    np.testing.assert_array_equal(movie.get_frame_data(2), frames[1])


def test_parts_of_a_series_share_their_key_and_follow_each_other(tmp_path):
    first = formats.check(recordings.movie(tmp_path / "a.isxd"))
    second = formats.check(recordings.movie(tmp_path / "b.isxd", start_ms=recordings.START_MS + 600))
    wider = formats.check(recordings.movie(tmp_path / "c.isxd", columns=40))
    slower = formats.check(recordings.movie(tmp_path / "d.isxd", period_ms=100))
    assert first.series_key == second.series_key
    assert len({first.series_key, wider.series_key, slower.series_key}) == 3
    assert first.end == first.start + timedelta(seconds=0.6) == second.start


REFUSALS = [
    ("empty.isxd", b"", "the file is empty"),
    ("short.isxd", b"abc", "too short to be a recording (3 bytes)"),
    ("text.isxd", b"x" * 200, "no footer at its end: the recording was cut short, or this is not an Inscopix file"),
    ("metrics.isxd", recordings.footer_bytes({"type": 6}), "holds data of type 6, which cannot be read here"),
    ("list.isxd", recordings.footer_bytes([1]), "its footer is damaged: not a JSON object"),
    ("nan.isxd", recordings.footer_bytes(b'{"type": NaN}'), "its footer is damaged: NaN is not JSON"),
    ("deep.isxd", recordings.footer_bytes(b"[" * 1_000_000), "its footer is nested more than 100 deep"),
    ("zero.isxb", bytes(96), "its session should lie at bytes 0 to 0 of 96: it was cut short"),
    ("none.gpio", struct.pack("<QQiIQ", 1, 1000, 0, 0, 0), "holds no GPIO packet"),
    ("zero.gpio", bytes(64), "not a GPIO recording: its header holds no start time"),
    ("zero.imu", bytes(200), "not an IMU recording: its header states no samples"),
    ("notes.txt", b"x", "not a recording: its name ends in none of .isxd, .isxb, .gpio, .imu"),
]


@pytest.mark.parametrize(("name", "data", "reason"), REFUSALS, ids=[name for name, *_ in REFUSALS])
def test_refusals(tmp_path, name, data, reason):
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(BadRecording) as refused:
        formats.check(path)
    assert refused.value.reason.startswith(reason)
    assert refused.value.path == path


def test_depth_does_not_count_brackets_in_text(tmp_path):
    data, footer = recordings.split_footer(recordings.movie(tmp_path / "m.isxd").read_bytes())
    path = tmp_path / "brackets.isxd"
    path.write_bytes(data + recordings.footer_bytes(b'{"note": "' + b'[{\\"' * 500 + b'", ' + footer[1:]))
    assert formats.check(path).kind == "movie"


def test_truncated_movie_says_how_many_frames_are_left(tmp_path):
    data, footer = recordings.split_footer(recordings.movie(tmp_path / "m.isxd").read_bytes())
    path = tmp_path / "cut.isxd"
    path.write_bytes(data[: 5 * 24 * 32 * 2 + 7] + recordings.footer_bytes(footer))
    with pytest.raises(BadRecording, match="holds 5 of the 12 frames that it should"):
        formats.check(path)


@pytest.mark.parametrize("channel", [4, 1 << 8, 1 << 32, (1 << 64) - 1])
def test_packet_of_a_missing_channel(tmp_path, channel):
    path = recordings.event_set(tmp_path / "e.isxd")
    data = bytearray(path.read_bytes())
    data[28:36] = struct.pack("<Q", channel)
    path.write_bytes(data)
    with pytest.raises(BadRecording, match="an event names a channel that is not among its 4"):
        formats.check(path)


def test_packets_beyond_the_first_chunk_are_checked(tmp_path, monkeypatch):
    monkeypatch.setattr(isxd, "CHUNK", 3 * formats.PACKET_SIZE)
    path = recordings.event_set(tmp_path / "e.isxd")
    formats.check(path)
    data, footer = recordings.split_footer(path.read_bytes())
    path.write_bytes(data[:-12] + struct.pack("<Qf", 9, 0.0) + recordings.footer_bytes(footer))
    with pytest.raises(BadRecording, match="names a channel"):
        formats.check(path)


def test_behavior_movie_that_claims_more_dropped_frames_than_it_lists(tmp_path):
    path = recordings.behavior_movie(tmp_path / "b.isxb")
    data = bytearray(path.read_bytes())
    data[40] = 129  # the library aborts: it looks for frames that are not there
    path.write_bytes(data)
    with pytest.raises(BadRecording, match="lists 1 dropped frames but claims 129"):
        formats.check(path)


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: path.symlink_to("/dev/zero")])
def test_what_is_no_regular_file_is_refused_without_waiting(tmp_path, make):
    path = tmp_path / "x.isxd"
    make(path)
    with pytest.raises(BadRecording, match="not a regular file"):
        formats.check(path)


def test_a_file_that_cannot_be_opened(tmp_path):
    with pytest.raises(BadRecording, match="cannot be opened: No such file or directory"):
        formats.check(tmp_path / "gone.isxd")


def test_metadata_of_an_unexpected_type_are_damage_and_no_fault(tmp_path):
    path = recordings.vessel_set(tmp_path / "v.isxd", "rbc velocity")
    data, footer = recordings.split_footer(path.read_bytes())
    path.write_bytes(
        data
        + recordings.footer_bytes(footer.replace(b'"VesselNames"', b'"VesselCorrelationSizes":[1,2,3],"VesselNames"'))
    )
    with pytest.raises(BadRecording, match="damaged"):
        formats.check(path)


OTHER_TYPES = (None, [], {}, 5, [5], {"a": []}, 10**400)


@pytest.mark.parametrize("name", ["movie", "cell_set", "vessel_set", "gpio_isxd", "imu", "behavior_movie", "nvision"])
def test_no_value_of_another_type_is_answered_in_pythons_words(every_kind, tmp_path, name):
    """Each value, list and object in turn."""
    suffix, sound, n = every_kind[name].suffix, every_kind[name].read_bytes(), 0
    path = tmp_path / every_kind[name].name
    for part, (read, with_) in damage.PARTS[suffix].items():
        for place, _ in enumerate(damage.nodes(json.loads(read(sound)))):
            for value in OTHER_TYPES:
                content = json.loads(read(sound))
                holder, key, where = next(islice(damage.nodes(content), place, None))
                holder[key] = value
                path.write_bytes(with_(sound, json.dumps(content).encode()))
                try:
                    formats.check(path)
                except BadRecording as error:
                    assert not PYTHONS.search(error.reason), (part, where, value)
                    n += 1
    assert n > 10


def spaced(path: Path, pixels: dict | None, *without: str) -> Path:
    """A behaviour movie of 64 x 48 px, whose session states its size as newer software does."""
    recordings.behavior_movie(path)
    data = path.read_bytes()
    header = list(struct.unpack("<QQQq8Q", data[:96]))
    session = json.loads(data[header[10] : sum(header[10:])])
    for name in without:
        del session[name]
    if pixels:
        ratio = {"num": 3, "den": 1}
        sizes = {"pixelSize": {"x": ratio, "y": ratio}, "topLeft": {"x": ratio, "y": ratio}}
        session["spacingInfo"] = {"numPixels": pixels, **sizes}
    text = json.dumps(session).encode()
    header[11] = len(text)
    path.write_bytes(struct.pack("<QQQq8Q", *header) + data[96 : header[10]] + text + b"\0")
    return path


SPACED = {
    "both": ({"x": 64, "y": 48}, ()),
    "no processing interface": ({"x": 64, "y": 48}, ("processingInterface",)),
    "no camera either": ({"x": 64, "y": 48}, ("processingInterface", "cameraName")),
    "neither": (None, ("processingInterface",)),
}


@pytest.mark.parametrize("pixels, without", SPACED.values(), ids=SPACED)
def test_behavior_movies_are_refused_only_where_the_library_refuses_them(tmp_path, pixels, without):
    path = spaced(tmp_path / "b.isxb", pixels, *without)
    try:
        movie = isx.Movie.read(str(path))
    except Exception as error:
        assert "processingInterface" in str(error)
        with pytest.raises(BadRecording, match="no processingInterface"):
            formats.check(path)
    else:
        info = formats.check(path)
        assert (info.height, info.width) == movie.spacing.num_pixels == movie.get_frame_data(0).shape


def test_a_cell_set_without_cells_is_sound(tmp_path):
    """isx reads it; it writes such a footer twice."""
    info = formats.check(recordings.cell_set(tmp_path / "none.isxd", n_cells=0))
    assert (info.kind, info.names) == ("cell_set", ())
