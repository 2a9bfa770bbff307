"""What files say about themselves and do not keep is warned of, and counted."""

from __future__ import annotations

import csv
import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import isx
import numpy as np
import pytest

from pipeline.inspect import export
from pipeline.inspect.context import Context
from pipeline.inspect.opened import OpenRecording
from pipeline.inspect.results import write_results
from pipeline.reasons import reason
from pipeline.sessions import inspect
from protocol.job import INSPECT, Job, Options, Session
from recording import formats
from recording.errors import BadRecording, Unusable
from samples import damage, recordings
from tests.fuzz import PYTHONS


def adapted(path: Path) -> tuple[list[str], dict[str, Any]]:
    """Its warnings, and its JSON."""
    out = path.parent / "out"
    out.mkdir()
    warnings: list[str] = []
    write_results(path, formats.check(path).kind, "s", out, Context(path.parent, warn=warnings.append))
    record = json.loads((out / "s.json").read_text())
    assert record["warnings"] == warnings
    return warnings, record


def changed(path: Path, data: bytes | None = None, **footer: Any) -> Path:
    """Other data, or fields of the footer."""
    old, text = recordings.split_footer(path.read_bytes())
    content = json.loads(text)
    for name, value in footer.items():
        content[name] = {**content[name], **value} if isinstance(value, dict) else value
    path.write_bytes((old if data is None else data) + recordings.footer_bytes(content))
    return path


def floats(path: Path, offset: int, *values: float) -> bytes:
    """The data with these float32 at a place."""
    data = recordings.split_footer(path.read_bytes())[0]
    return data[:offset] + struct.pack(f"<{len(values)}f", *values) + data[offset + 4 * len(values) :]


def test_a_movie_that_holds_more_than_it_claims(tmp_path):
    path = changed(recordings.movie(tmp_path / "m.isxd"), timingInfo={"numTimes": 11})
    assert adapted(path)[0] == [
        "it holds 1536 bytes more than the 11 frames that it claims, as much as 1 of them: "
        "its number of frames or their size may be wrong"
    ]


def test_a_movie_whose_width_is_wrong(tmp_path):
    path = changed(recordings.movie(tmp_path / "m.isxd"), spacingInfo={"numPixels": {"x": 31, "y": 24}})
    assert "bytes more than the 12 frames that it claims" in adapted(path)[0][0]


def test_a_movie_of_absurd_values(tmp_path):
    path = recordings.movie(tmp_path / "m.isxd", dtype=np.float32)
    warnings, record = adapted(changed(path, floats(path, 400, 1e30)))
    assert warnings == ["1 of 24 extremes of frames are beyond 1e+12: the file may be damaged"]
    assert (record["n_implausible_values"], record["n_non_finite_values"]) == (1, 0)


@pytest.mark.parametrize("data", [lambda old: old[:-20], lambda old: old + old[-20:-12] + old[8:16] + old[-4:]])
def test_events_that_are_missing_or_too_many(tmp_path, data):
    path = recordings.event_set(tmp_path / "e.isxd")
    old = recordings.split_footer(path.read_bytes())[0]
    path = changed(path, data(old))
    if len(data(old)) < len(old):  # the pre-check sees no more packets claimed for one channel than there are at all
        assert formats.check(path).kind == "event_set"
    assert adapted(path)[0][0].startswith("1 of 4 channels do not hold as many values as they claim: C")


def test_events_of_absurd_values_and_times(tmp_path):
    path = recordings.event_set(tmp_path / "e.isxd")
    data = bytearray(floats(path, 16, float("nan")))
    data[20:28] = struct.pack("<Q", 1 << 50)
    warnings, record = adapted(changed(path, bytes(data)))
    assert record["n_non_finite_values"] == 1
    assert [warning.partition(":")[0] for warning in warnings] == [
        "1 of 54 values lie after the end that the file states",
        "1 of 4 channels have values that are earlier than the one before",
        "1 of 54 amplitudes are not finite numbers",
    ]


def test_traces_of_absurd_values(tmp_path):
    path = recordings.cell_set(tmp_path / "c.isxd")
    size = len(recordings.split_footer(path.read_bytes())[0])
    warnings, record = adapted(changed(path, floats(path, size - 12, float("inf"), -1e20, float("nan"))))
    assert (record["n_non_finite_values"], record["n_implausible_values"]) == (2, 1)
    assert len(warnings) == 2


def test_gpio_of_absurd_values(tmp_path):
    path = recordings.gpio_isxd(tmp_path / "g.isxd")
    _, record = adapted(changed(path, floats(path, 16, float("-inf"))))
    assert record["n_non_finite_values"] == 1


def test_missing_frames_are_in_proportion_to_the_file(tmp_path):
    """Each would get a row in the tables: 938 MB were made of a file of 2 MB."""
    path = recordings.movie(tmp_path / "m.isxd")
    day = 24 * 3600 * 30
    changed(path, timingInfo={"numTimes": day + 12, "cropped": [f"12 - {day + 11}"]})
    assert formats.check(path).n_samples == day + 12
    changed(path, timingInfo={"numTimes": 30_000_012, "cropped": ["12 - 30000011"]})
    with pytest.raises(BadRecording, match="claims 30000000 frames that are dropped, cropped or blank, in a file of"):
        formats.check(path)


def test_an_image_of_absurd_values(tmp_path):
    path = recordings.image(tmp_path / "i.isxd")
    warnings, record = adapted(changed(path, floats(path, 40, float("nan"), 1e20)))
    assert (record["n_non_finite_values"], record["n_implausible_values"]) == (1, 1)
    assert [warning.partition(":")[0] for warning in warnings] == [
        "1 of 768 pixels are not finite numbers",
        "1 of 768 pixels are beyond 1e+12",
    ]


@pytest.mark.parametrize("measure", ["vessel diameter", "rbc velocity"])
def test_a_vessel_set_of_absurd_values(tmp_path, measure):
    """NaN is what there is where nothing could be measured: it is counted, and no reason to warn."""
    path = recordings.vessel_set(tmp_path / "v.isxd", measure)
    data = np.frombuffer(recordings.split_footer(path.read_bytes())[0], np.float32).copy()
    before = adapted(path)
    shutil.rmtree(tmp_path / "out")
    start = first_measurement(path)
    data[start : start + 3] = np.nan, np.inf, -1e20
    warnings, record = adapted(changed(path, data.tobytes()))
    assert before[0] == []
    assert record["n_undefined_values"] == before[1]["n_undefined_values"] + 1
    assert (record["n_non_finite_values"], record["n_implausible_values"]) == (1, 1)
    assert record["quality"]["undefined_percent"]["value"] > 0
    assert len(warnings) == 2


def first_measurement(path: Path) -> int:
    """The place of the first vessel's first value among the floats of the file."""
    data = np.frombuffer(recordings.split_footer(path.read_bytes())[0], np.float32)
    trace = isx.VesselSet.read(str(path)).get_vessel_trace_data(0)
    return next(i for i in range(len(data)) if np.array_equal(data[i : i + 10], trace[:10]))


@pytest.mark.parametrize("make", [recordings.cell_set, recordings.vessel_set])
def test_samples_of_nothing_are_in_proportion_to_the_file(tmp_path, make):
    """The table of traces has a row for each, and no column: two billion rows were claimed by a few bytes."""
    path = make(tmp_path / "s.isxd")
    footer = json.loads(recordings.split_footer(path.read_bytes())[1])
    of_each = [name for name in footer if name.startswith(("Cell", "Vessel")) and isinstance(footer[name], list)]
    changed(path, **{name: [] for name in of_each}, timingInfo={"numTimes": 2_000_000_000})
    with pytest.raises(BadRecording, match="claims 2000000000 samples, but no "):
        formats.check(path)


def test_a_name_is_not_written_beside_each_value_if_it_is_absurd(tmp_path):
    path = recordings.event_set(tmp_path / "e.isxd", n_cells=1)
    changed(path, **{"channel list": ["x" * 1001]})
    with pytest.raises(BadRecording, match="channel list has a name of 1001 characters"):
        formats.check(path)


def test_an_imu_of_many_channels(tmp_path):
    """Its table has a column for each channel and a row for the times of all of them."""
    path = recordings.gpio_isxd(tmp_path / "i.isxd", "imu")
    footer = json.loads(recordings.split_footer(path.read_bytes())[1])
    lists = ("channel list", "signalSteps", "signalTypes", "startOffsets", "numSamples")
    changed(path, **{name: (footer[name] * 101)[:101] for name in lists})
    with pytest.raises(BadRecording, match="lists 101 channels, more than an IMU has"):
        formats.check(path)


@pytest.mark.parametrize("options", [{"movie_tiff": True}, {"movie_mp4": True}, {"nwb_movie": True}])
def test_frames_that_are_not_stored_do_not_fill_the_disk(tmp_path, options):
    """Each is a black frame in other formats: a file of 2 MB would become 6 TB."""
    path = recordings.movie(tmp_path / "m.isxd", rows=100, columns=100)
    changed(path, timingInfo={"numTimes": 1_000_012, "cropped": ["12 - 1000011"]})
    layout = formats.movie_layout(path)
    assert layout.n_samples == 1_000_012
    with pytest.raises(Unusable, match="1000000 of its 1000012 frames are not stored, and would take 20 GB"):
        export.refuse_mostly_black(layout)
    out = tmp_path / "out"
    out.mkdir()
    session = Session(nwb="nwb_movie" in options)
    job = Job((path,), "movie", "s", out, tmp_path, INSPECT, Options(**options), {}, session=session)
    context = Context(tmp_path, warn=lambda _: None, options=job.options)
    with pytest.raises(Unusable, match="would take 20 GB in another format"):
        inspect.run(job, context)
    assert sum(file.stat().st_size for file in out.iterdir()) < 300 << 20


@pytest.mark.parametrize("num, den", [(1, 10**7), (1 << 20, 1)])
def test_a_rate_that_no_film_can_have(tmp_path, num, den):
    path = changed(recordings.movie(tmp_path / "m.isxd"), timingInfo={"period": {"num": num, "den": den}})
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(Unusable, match=r"an MP4 cannot have .* frames a second: the recording's rate is damaged"):
        write_results(path, "movie", "s", out, Context(tmp_path, options=Options(movie_mp4=True)))


def test_a_movie_that_is_mostly_cropped_can_still_be_exported():
    """Nine tenths of an hour at 30 Hz."""
    export.refuse_mostly_black(formats.MovieLayout("<u2", 800, 1280, 0, 0, n_samples=108_000, n_stored=10_800))


# ---- each of these was found by make fuzz, or is a sibling of what it found


def in_json(part: str, change: Callable[[dict[str, Any]], Any]) -> Callable[[bytes, str], bytes]:
    """Something else in the JSON of a part."""

    def changed(data: bytes, suffix: str) -> bytes:
        read, with_ = damage.PARTS[suffix][part]
        content = json.loads(read(data))
        change(content)
        return with_(data, json.dumps(content).encode())

    return changed


def footer(**fields: Any) -> Callable[[bytes, str], bytes]:
    return in_json("footer", lambda content: content.update(fields))


def timing(**fields: Any) -> Callable[[bytes, str], bytes]:
    return in_json("footer", lambda content: content["timingInfo"].update(fields))


def packet(number: int, **fields: float) -> Callable[[bytes, str], bytes]:
    def changed(data: bytes, suffix: str) -> bytes:
        at = damage.PACKET.size * number
        values = dict(zip(("time", "channel", "value"), damage.PACKET.unpack_from(data, at)))
        return data[:at] + damage.PACKET.pack(*(values | fields).values()) + data[at + damage.PACKET.size :]

    return changed


def appended(data: bytes, suffix: str) -> bytes:
    if suffix != ".isxd":
        return data + bytes(16)
    stored, text = recordings.split_footer(data)
    return stored + bytes(7) + recordings.footer_bytes(text)


def sample(i: int, **fields: Any) -> Callable[[bytes, str], bytes]:
    return in_json("meta", lambda meta: meta["samples"][i].update(fields))


def image_again(data: bytes, suffix: str) -> bytes:
    video = damage.video_of(data)
    return damage.with_isxb(data, video=video + video[: video.index(b"\xff\xd8", 2)])


def one_gpio_packet_less(data: bytes, suffix: str) -> bytes:
    first = data.index(damage.SYNC)
    return data[:first] + data[data.index(damage.SYNC, first + 4) :]


def swapped_gpio_packets(data: bytes, suffix: str) -> bytes:
    head, first, second, *rest = data.split(damage.SYNC)
    return damage.SYNC.join((head, second, first, *rest))


def imu_time(data: bytes, suffix: str) -> bytes:
    return data[:112] + struct.pack("<Q", 1 << 40) + data[120:]


def imu_header(i: int, value: int) -> Callable[[bytes, str], bytes]:
    def changed(data: bytes, suffix: str) -> bytes:
        fields = list(damage.IMU.unpack_from(data))
        fields[i] = value
        return damage.IMU.pack(*fields) + data[damage.IMU.size :]

    return changed


def session_of_imu(**fields: Any) -> Callable[[bytes, str], bytes]:
    return in_json("session", lambda session: session["timingInfo"]["accelerometer"].update(fields))


def parts(change: Callable[[int, int], int]) -> Callable[[bytes, str], bytes]:
    """Other times of the values, by their number in the channel, of the first kind of file."""

    def changed(data: bytes, suffix: str) -> bytes:
        stored, text = recordings.split_footer(data)
        stored = bytearray(stored)
        for place in json.loads(text)["channel offsets"].values():
            first = stored.index(b"\0", place) + 1
            for number in range(json.loads(stored[place : first - 1])["Number of Packets"]):
                (time_us,) = struct.unpack_from("<Q", stored, first + 16 * number)
                struct.pack_into("<Q", stored, first + 16 * number, change(number, time_us))
        return bytes(stored) + recordings.footer_bytes(text)

    return changed


OTHER_STEP = {"num": 60, "den": 1000}
START = {"secsSinceEpoch": {"num": 1 << 33, "den": 1}, "utcOffset": 0}
CONTRADICTIONS = {
    "another start of a channel": ("event_set", footer(startOffsets=[0] * 4), "channels do not begin when they claim"),
    "more of a list": ("event_set", footer(startOffsets=[100_000, 50_000, 1_000_000, 0, 0]), "states 5 startOffsets"),
    "another rate of a cell": (
        "event_set",
        in_json("footer", lambda content: content["signalSteps"].__setitem__(0, OTHER_STEP)),
        "its cells have different sampling rates",
    ),
    "a channel of the first kind of file less": (
        "event_set_v1",
        in_json("footer", lambda content: content["channel offsets"].pop("C1")),
        "bytes belong to none of its 1 channels",
    ),
    "no channel of the first kind of file": (
        "event_set_v1",
        in_json("footer", lambda content: content.update({"channel offsets": {}})),
        "bytes belong to none of its 0 channels",
    ),
    "values of the first kind of file that begin late": (
        "gpio_v1",
        parts(lambda number, time_us: time_us + 4_000_000_000),
        "39 of 39 values lie after the end that the file states",
    ),
    "one of them": (
        "event_set_v1",
        parts(lambda number, time_us: time_us + (12_000_000 if number == 19 else 0)),
        "1 of 39 values lie after the end that the file states",
    ),
    "one before the start, in the first kind of file": (
        "gpio_v1",
        parts(lambda number, time_us: time_us - (5_000_000 if number == 0 else 0)),
        "2 of 39 values lie before the start that the file states, and are left out: it may be damaged",
    ),
    "one of them by a microsecond": (
        "event_set_v1",
        parts(lambda number, time_us: time_us - (number == 0)),
        "2 of 39 values lie before the start that the file states, and are left out: it may be damaged",
    ),
    "all of them": (
        "gpio_v1",
        parts(lambda number, time_us: time_us - 5_000_000),
        "39 of 39 values lie before the start that the file states, and are left out: it may be damaged",
    ),
    "back in time, in the first kind of file": (
        "gpio_v1",
        parts(lambda number, time_us: time_us - (150_000 if number == 5 else 0)),
        "2 of 2 channels have values that are earlier than the one before: C0 1; C1 1",
    ),
    "at one time, in the first kind of file": (
        "gpio_v1",
        parts(lambda number, time_us: time_us - (100_000 if number == 5 else 0)),
        "2 of 2 channels have other values at the time of the one before: C0 1; C1 1",
    ),
    "at one time": ("gpio_isxd", packet(3, time=20_000), "channels have other values at the time of the one before"),
    "another name of a channel in the first kind of file": (
        "event_set_v1",
        in_json("footer", lambda content: content["channel offsets"].update(D0=content["channel offsets"].pop("C0"))),
        "the channel D0 calls itself 'C0'",
    ),
    "back in time": ("event_set", packet(3, time=1), "1 of 4 channels have values that are earlier"),
    "off the samples": ("imu_isxd", packet(3, time=60_100), "not at the times of their samples: Acc x 1"),
    "a sample twice": ("imu_isxd", packet(3, time=40_000), "not at the times of their samples: Acc x 1"),
    "twice as fast": (
        "imu_isxd",
        in_json("footer", lambda content: content["signalSteps"][4].update(den=2000)),
        "not at the times of their samples: Ori pitch 99",
    ),
    "too short for its end": (
        "imu_isxd",
        in_json("footer", lambda content: content["signalSteps"].__setitem__(0, OTHER_STEP)),
        "do not last as long as the recording: Acc x +4 s",
    ),
    "a name twice": (
        "cell_set",
        footer(CellNames=["a", "b", "a", ""]),
        "1 of its 4 names occur more than once, and 1",
    ),
    "a missing sample twice": ("cell_set", timing(dropped=[10, 10]), "lists 1 of its missing samples more than once"),
    "no date": ("movie_float", timing(start=START), "it starts at 2242-"),
    "an absurd rate": (
        "movie_float",
        timing(period={"num": 1 << 30, "den": 1000}),
        "its samples are 1.07374e+06 s apart",
    ),
    "an absurd pixel": (
        "image",
        in_json("footer", lambda content: content["spacingInfo"]["pixelSize"]["x"].update(num=1 << 20)),
        "its pixels measure 1.04858e+06 × 3 µm, which is impossible",
    ),
    "bytes after an image": ("image", appended, "it holds 7 bytes more than the 1 frames that it claims"),
    "names of channels that no IMU has": (
        "imu_isxd",
        in_json("footer", lambda content: content["channel list"].reverse()),
        "its channels are not those of an IMU: Mag z, Mag y, Mag x, Ori roll",
    ),
    "a channel without name": (
        "imu_isxd",
        in_json("footer", lambda content: content["channel list"].__setitem__(3, "")),
        "its channels are not those of an IMU",
    ),
    "an offset from UTC that no place has": (
        "movie_float",
        in_json("footer", lambda content: content["timingInfo"]["start"].update(utcOffset=65535)),
        "its offset from UTC is 18.2 h, which no place has",
    ),
    "a packet less": ("gpio", one_gpio_packet_less, "it holds 99 of the 100 packets that its header counts"),
    "packets changed about": ("gpio", swapped_gpio_packets, "packets are missing in 2 places, by their own count"),
    "bytes after packets": ("gpio", appended, "16 bytes belong to no packet, or are missing from the last one"),
    "two bytes of a packet": (
        "gpio_bare",
        lambda data, suffix: data[:-30],
        "2 bytes belong to no packet, or are missing",
    ),
    "acquisition metadata that were cut short": (
        "gpio_session",
        lambda data, suffix: data[:-5],
        "its acquisition metadata are not known: its session is damaged: ",
    ),
    "acquisition metadata that were cut off": (
        "gpio_session",
        lambda data, suffix: data[: data.index(b'{"adMode"')],
        "its acquisition metadata are not known: they should follow its packets: it was cut short",
    ),
    "acquisition metadata that are a list": (
        "gpio_session",
        lambda data, suffix: data[: data.index(b'{"adMode"')] + b"[]",
        "its acquisition metadata are not known: its session is damaged: not a JSON object",
    ),
    "fewer samples claimed": (
        "imu",
        session_of_imu(numTimes=99),
        "100 samples of its accelerometer, but its session counts 99",
    ),
    "samples that were dropped": ("imu", session_of_imu(dropped=[3]), "but its session counts 99"),
    "a sample of another time": ("imu", imu_time, "1 of 100 samples of its accelerometer are not later than"),
    "two starts": ("imu", imu_header(0, 1), "its header and its session state different starts"),
    "samples of one sensor for another's": ("imu", imu_header(6, 1712), "do not lie one after another"),
    "a picture too many": ("behavior_movie", image_again, "its video holds 11 frames, but it claims 10"),
    "a counter that goes back": ("behavior_movie", sample(4, fc=1), "1 of 10 frames have no fc after the one before"),
    "a clock that goes back": ("behavior_movie", sample(4, tsc=1), "1 of 10 frames have no tsc after the one before"),
    "another frame dropped": (
        "behavior_movie",
        in_json("meta", lambda meta: [one.update(fc=one["fc"] + 1) for one in meta["samples"][5:]]),
        "2 frames are missing by its frame counter, 1 by its list",
    ),
    "a dropped frame that is listed twice": (
        "behavior_movie",
        in_json("meta", lambda meta: meta.update(droppedFrames=[2, 2])),
        "1 frames are missing by its frame counter, 2 by its list",
    ),
    "a box without numbers": (  # the library takes them all the same, and crashes
        "nvision",
        in_json("meta", lambda meta: meta["samples"][3]["tracker"].update(box=[])),
        "its tracking is left out: a box does not have four numbers",
    ),
    "a box that cannot be": (
        "nvision",
        in_json("meta", lambda meta: meta["samples"][3]["tracker"].update(box=[30, 5, 20, 25])),
        "1 of 9 positions have an impossible box, confidence or zone",
    ),
    "a zone that is not there": (
        "nvision",
        in_json("meta", lambda meta: meta["samples"][3]["tracker"]["zones"].update(name="edge")),
        "1 of 9 positions have an impossible",
    ),
    "nothing of the frames": (
        "behavior_timing",
        in_json("meta", lambda meta: meta.pop("samples")),
        "its frame metadata describe no frame: when each was taken is not known",
    ),
    "dropped frames that are a number": (
        "behavior_timing",
        in_json("meta", lambda meta: meta.update(droppedFrames=5)),
        "its list of dropped frames is no list",
    ),
    "zones that are a number": (
        "nvision",
        in_json("session", lambda session: session["trackingInterface"]["camera-1"].update(zones=5)),
        "9 of 9 positions have an impossible box, confidence or zone",
    ),
    "a zone with a list as its number": (
        "nvision",
        in_json("session", lambda session: session["trackingInterface"]["camera-1"]["zones"][0].update(id=[7])),
        "9 of 9 positions have an impossible box, confidence or zone",
    ),
}


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return recordings.every_version(tmp_path_factory.mktemp("every-version"))


@pytest.mark.parametrize("name, change, warning", CONTRADICTIONS.values(), ids=CONTRADICTIONS)
def test_contradictions(name, change, warning, kinds, tmp_path):
    path = tmp_path / kinds[name].name
    path.write_bytes(change(kinds[name].read_bytes(), path.suffix))
    warnings, _ = adapted(path)
    assert any(warning in said for said in warnings), warnings


@pytest.mark.parametrize("is_analog", [True, False])
@pytest.mark.parametrize("kind", [3, 5])
def test_values_before_the_start_are_all_that_is_left_out(tmp_path, kind, is_analog):
    """Of files of the first kind, isx refuses a whole channel for one of them; the rest is as isx reads it without."""
    path = recordings.events_v1(tmp_path / "events.isxd", kind)
    data, text = recordings.split_footer(path.read_bytes())
    rng = np.random.default_rng(0)
    stored = bytearray(data)
    for place in json.loads(text)["channel offsets"].values():
        first = stored.index(b"\0", place) + 1
        for number in range(json.loads(stored[place : first - 1])["Number of Packets"]):
            time_us = 1000 * recordings.START_MS + 100_000 * int(rng.integers(0, 12))  # some at one time, unordered
            struct.pack_into("<Qf", stored, first + 16 * number, time_us, rng.choice([-2.5, -1, -0.0, 0, 1, 3.5]))

    def channels() -> list[tuple[str, list[int], list[float]]]:
        with_footer = json.loads(text) | {"analog": is_analog}
        path.write_bytes(bytes(stored) + recordings.footer_bytes(with_footer))
        read = OpenRecording(path, {3: "gpio", 5: "event_set"}[kind], tmp_path).channels
        return [(channel.name, channel.offset_us.tolist(), channel.value.tolist()) for channel in read]

    def first_time(time_us: int) -> None:
        struct.pack_into("<Q", stored, stored.index(b"\0") + 1, time_us)

    first_time(1000 * recordings.START_MS + 2_000_000)  # the last, of all
    whole = channels()
    first_time(1000 * recordings.START_MS - 1)
    (name, times, values), other = whole
    assert times[-1] == 2_000_000
    assert channels() == [(name, times[:-1], values[:-1]), other]


def test_sound_files_contradict_nothing(tmp_path):
    folders = {}
    for name, path in recordings.every_version(tmp_path).items():
        folders[name] = tmp_path / name
        folders[name].mkdir()
        warnings, _ = adapted(path.rename(folders[name] / path.name))
        assert warnings == (["the cell set has no cells"] if name == "cell_set_empty" else []), name


def test_an_animal_in_several_zones(kinds, tmp_path):
    """nVision then lists them."""
    path = tmp_path / "tracked.isxb"
    inside = [{"id": 7, "name": "centre", "event": "e"}, {"id": 7, "name": "centre", "event": "x"}]
    several = in_json("meta", lambda meta: meta["samples"][3]["tracker"].update(zones=inside))
    path.write_bytes(several(kinds["nvision"].read_bytes(), ".isxb"))
    warnings, record = adapted(path)
    assert (warnings, record["is_tracked"]) == ([], True)


@pytest.mark.parametrize("name", ["left, near", 'a "b"', "a\nb", 'a","b', "NaN", "", "a,b,c,d,e,f,g", '",'])
def test_a_zone_of_any_name(kinds, tmp_path, name):
    """The library writes it into its table as it is."""
    path = tmp_path / "tracked.isxb"

    def rename(part: str, change: Callable[[Any], Any], data: bytes) -> bytes:
        return in_json(part, change)(data, ".isxb")

    def renamed_in_frames(meta: Any) -> None:
        for sample in meta["samples"][1:]:
            sample["tracker"]["zones"]["name"] = name

    def renamed_in_session(session: Any) -> None:
        session["trackingInterface"]["camera-1"]["zones"][0]["name"] = name

    data = rename("meta", renamed_in_frames, kinds["nvision"].read_bytes())
    path.write_bytes(rename("session", renamed_in_session, data))
    warnings, record = adapted(path)
    assert (warnings, record["is_tracked"]) == ([], True)
    with (path.parent / "out/s-tracking.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["index"] for row in rows] == [str(i) for i in range(11)]
    assert (rows[5]["center_x_px"], rows[5]["zone_id"], rows[5]["zone_name"]) == ("20.0", "7", name)
    assert (rows[2]["center_x_px"], rows[2]["zone_name"]) == ("", "")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda tracker: tracker.pop("conf"), "key 'conf' not found"),
        (lambda tracker: tracker["zones"].update(event="enter"), "Failed to recognize zone event from str: enter"),
        (lambda tracker: tracker["zones"].update(id="x"), "type must be number, but is string"),
        (lambda tracker: tracker.update(zones=None), "cannot use at() with null"),
    ],
)
def test_tracking_that_the_library_cannot_read_is_left_out_alone(kinds, tmp_path, change, why):
    path = tmp_path / "tracked.isxb"
    damaged = in_json("meta", lambda meta: change(meta["samples"][3]["tracker"]))
    path.write_bytes(damaged(kinds["nvision"].read_bytes(), ".isxb"))
    warnings, record = adapted(path)
    assert f"its tracking is left out: isx cannot read it: {why}" in warnings
    assert (record["is_tracked"], record["n_samples"]) == (False, 11)


def _raised(code: str, module: str) -> Exception:
    try:
        exec(compile(code, "x.py", "exec"), {"__name__": module})
    except Exception as error:
        return error
    raise AssertionError(code)


@pytest.mark.parametrize(
    ("code", "module", "said"),
    [
        ("[][0]", "pipeline.inspect.movie", "it holds something that pipeline.inspect.movie does not expect: "),
        ("{}['x']", "elsewhere", "it holds something that this program does not expect: "),
        ("raise ValueError('no such unit')", "isx.core", "isx cannot read it: no such unit"),
        ("raise KeyError", "isx.core", "isx cannot read it: it is not as isx expects"),
        ("x = None; x[0]", "isx.core", "isx cannot read it: it is not as isx expects"),
        ("{}['x']", "isx.core", "isx cannot read it: it is not as isx expects"),
        ("''.x", "isx.core", "isx cannot read it: it is not as isx expects"),
        ("1.0 / float(0)", "isx.core", "isx cannot read it: it is not as isx expects"),
        ("raise Exception('Error calling C library function x.\\nbad\\n')", "isx.core", "isx cannot read it: bad"),
    ],
)
def test_no_reason_is_in_pythons_words(code, module, said):
    told = reason(_raised(code, module))
    assert told.startswith(said)
    assert not PYTHONS.search(told)


@pytest.mark.parametrize("channel", [0, 1])
def test_text_that_is_not_utf_8(channel, kinds, tmp_path):
    """The library quotes it in a message that is no text then."""
    path = tmp_path / "g.isxd"
    first, second, third = kinds["gpio_v1"].read_bytes().split(b'"OUTPUT MODE", "GP')
    between = [b'"OUTPUT MODE", "GP'] * 2
    between[channel] = b'"OUTPUT MODE",\xca\xf2Iq'
    path.write_bytes(first + between[0] + second + between[1] + third)
    with pytest.raises(Exception) as raised:
        adapted(path)
    assert reason(raised.value) == "isx cannot read it: it holds text that is not UTF-8"


def test_footprints_of_absurd_values(tmp_path):
    path = recordings.cell_set(tmp_path / "c.isxd")
    warnings, record = adapted(changed(path, floats(path, 400, float("nan"), 1e30)))
    assert (record["n_non_finite_values"], record["n_implausible_values"]) == (1, 1)
    assert "1 of 13084 values of traces and footprints are not finite numbers: the file may be damaged" in warnings


def test_a_cell_without_footprint(tmp_path):
    path = recordings.cell_set(tmp_path / "c.isxd")
    data = recordings.split_footer(path.read_bytes())[0]
    size = 4 * 48 * 64
    assert "1 of 4 cells have no footprint: C0" in adapted(changed(path, bytes(size) + data[size:]))[0]


def test_a_video_with_too_few_frames_is_refused(tmp_path):
    """The library looks for the missing one for ever."""
    path = recordings.behavior_movie(tmp_path / "b.isxb")
    video = damage.video_of(path.read_bytes())
    path.write_bytes(damage.with_isxb(path.read_bytes(), video=video[: video.rindex(b"\xff\xd8")]))
    with pytest.raises(BadRecording, match="its video holds 9 of the 10 frames that it should"):
        adapted(path)


def test_samples_that_an_imu_recording_does_not_hold(tmp_path):
    """The library gave what lay behind its array in memory for the 101st, and crashed at the 100,000th."""
    path = recordings.imu(tmp_path / "i.imu")
    path.write_bytes(session_of_imu(numTimes=101)(path.read_bytes(), ".imu"))
    with pytest.raises(BadRecording, match="claims 101 accelerometer samples but holds 100"):
        formats.check(path)
