"""What pynwb reads equals what isx reads, exactly, for every kind; pynwb's validation finds nothing."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path

import isx
import numpy as np
import pandas as pd
import pynwb
import pytest
from pynwb import NWBFile

from pipeline.inspect import mp4
from pipeline.inspect.context import Context
from pipeline.inspect.opened import OpenRecording
from pipeline.inspect.results import write_results
from pipeline.nwb import behavior_mp4, signals
from pipeline.nwb.behavior import ASKS_FOR_SAMPLES
from pipeline.nwb.events import HAS_EVENTS
from pipeline.nwb.metadata import Metadata
from pipeline.nwb.session import Source
from pipeline.nwb.write import Contents, write
from recording import formats
from recording.errors import BadRecording, Unusable
from samples import damage, recordings

START = datetime(2020, 9, 13, 13, 26, 40, tzinfo=timezone(timedelta(hours=1)))  # of the recordings that tests make
LATER = 7_300  # ms
MASK_AXES = (0, 2, 1)  # isx gives rows and columns, NWB wants x and y


@contextmanager
def written(path: Path, *sources: Source, **contents: object) -> Iterator[NWBFile]:
    """The session's file, validated and opened."""
    warnings: list[str] = []
    write(path, Contents(sources, "an identifier", **contents), Context(path.parent, 2, warnings.append))
    assert pynwb.validate(path=str(path)) == []
    with pynwb.NWBHDF5IO(str(path), "r") as io:
        yield io.read()


def frames_of(path: Path) -> np.ndarray:
    movie = isx.Movie.read(str(path))
    return np.array([movie.get_frame_data(i) for i in range(movie.timing.num_samples)])


# ---- movies


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
@pytest.mark.parametrize("shape", [(70, 24, 32), (33, 30, 140)])  # chunks that do not fit, in time and in space
def test_frames_are_those_that_isx_reads(tmp_path, dtype, shape):
    path = recordings.movie(tmp_path / "m.isxd", *shape, dtype=dtype, dropped=[2], cropped=[(4, 5)], blank=[7])
    with written(tmp_path / "m.nwb", Source(path, "movie"), embed=True) as file:
        series = file.acquisition["OnePhotonSeries"]
        assert series.data.dtype == dtype
        assert np.array_equal(series.data[:].transpose(MASK_AXES), frames_of(path))
        assert (series.starting_time, series.rate) == (0.0, 20.0)
        assert series.data.compression == "gzip"
        assert series.data.chunks[0] > 1
        assert series.data.chunks[1] == min(128, shape[2])
        times = file.invalid_times.to_dataframe()
        assert [tuple(tags) for tags in times["tags"]] == [
            (reason, "OnePhotonSeries") for reason in ("dropped", "cropped", "blank")
        ]
        assert times["start_time"].tolist() == [2 / 20, 4 / 20, 7 / 20]
        assert times["stop_time"].tolist() == [3 / 20, 6 / 20, 8 / 20]


def test_bytes_as_frames(tmp_path):
    path = recordings.movie_from(tmp_path / "m.isxd", recordings.frames(40, 24, 32, np.uint8), np.arange(40))
    with written(tmp_path / "m.nwb", Source(path, "movie"), embed=True) as file:
        data = file.acquisition["OnePhotonSeries"].data
        assert data.dtype == np.uint8
        assert np.array_equal(data[:].transpose(MASK_AXES), frames_of(path))


def test_a_movie_without_its_frames_is_described_and_nothing_refers_to_it(tmp_path):
    path = recordings.movie(tmp_path / "m.isxd", start_ms=recordings.START_MS + LATER, dropped=[2])
    made = recordings.movie(tmp_path / "m-BP.isxd", dtype=np.float32)
    sources = (Source(path, "movie", "-1"), Source(made, "movie", "-BP", "made by spatial_filter", "-BP"))
    with written(tmp_path / "m.nwb", *sources) as file:
        assert not any(getattr(entry, "external_file", None) for entry in file.objects.values())
        (recorded,) = file.acquisition["Movies"].to_dataframe().to_dict("records")
        assert recorded == {
            "file": "m.isxd",
            "bytes": path.stat().st_size,
            "n_frames": 12,
            "width": 32,
            "height": 24,
            "pixel_type": "uint16",
            "unit": "counts",
            "starting_time": LATER / 1000,
            "rate": 20.0,
            "imaging_plane": "ImagingPlane",
        }
        product = file.processing["ophys"]["Movies"].to_dataframe().iloc[0]
        assert (product["file"], product["pixel_type"]) == ("m-BP.isxd, made by spatial_filter", "float32")
        assert [tuple(tags) for tags in file.invalid_times.to_dataframe()["tags"]] == [("dropped", "m.isxd")]
        assert (tmp_path / "m.nwb").stat().st_size < 1e6


# ---- clocks


def test_seconds_count_from_the_earliest_start_which_has_its_zone(tmp_path):
    movie = recordings.movie(tmp_path / "m.isxd", start_ms=recordings.START_MS + LATER)
    cells = recordings.cell_set(tmp_path / "m-PCA-ICA.isxd")
    sources = (Source(movie, "movie"), Source(cells, "cell_set", "-PCA-ICA"))
    with written(tmp_path / "m.nwb", *sources, embed=True) as file:
        assert file.session_start_time == START
        assert file.session_start_time.utcoffset() == timedelta(hours=1)
        assert file.acquisition["OnePhotonSeries"].starting_time == LATER / 1000
        (traces,) = file.processing["ophys"]["Fluorescence"].roi_response_series.values()
        assert traces.starting_time == 0.0


def test_a_start_that_is_no_date_must_be_given(tmp_path):
    movie = recordings.movie(tmp_path / "m.isxd", start_ms=10**15)  # of seconds that no year holds
    with pytest.raises(Unusable, match=r"the one that is stated is no date: give NWBFile\.session_start_time"):
        write(tmp_path / "m.nwb", Contents([Source(movie, "movie")], "id", embed=True), Context(tmp_path))
    known = Metadata({"NWBFile": {"session_start_time": START}})
    with written(tmp_path / "m.nwb", Source(movie, "movie"), metadata=known, embed=True) as file:
        assert file.session_start_time == START


def test_a_start_that_the_metadata_give_is_that_of_the_earliest_recording(tmp_path):
    given = datetime(2024, 5, 31, 14, 30, tzinfo=timezone(timedelta(hours=2)))
    known = Metadata({"NWBFile": {"session_start_time": given}})
    movie = recordings.movie(tmp_path / "m.isxd")
    later = recordings.movie(tmp_path / "n.isxd", start_ms=recordings.START_MS + LATER)
    sources = (Source(movie, "movie", "-1"), Source(later, "movie", "-2"))
    with written(tmp_path / "m.nwb", *sources, metadata=known, embed=True) as file:
        assert file.session_start_time == given
        series = file.acquisition
        assert (series["OnePhotonSeries-1"].starting_time, series["OnePhotonSeries-2"].starting_time) == (0, 7.3)


# ---- cells and events


def test_cells_and_traces_are_those_that_isx_reads(tmp_path):
    path = recordings.cell_set(tmp_path / "c.isxd", n_cells=5)
    cells = isx.CellSet.read(str(path))
    valid = cells.timing.get_valid_samples_mask()
    with written(tmp_path / "c.nwb", Source(path, "cell_set")) as file:
        table = file.processing["ophys"]["ImageSegmentation"]["PlaneSegmentation"]
        (series,) = file.processing["ophys"]["Fluorescence"].roi_response_series.values()
        assert series.unit == "a.u."
        assert series.rois.table is table
        for i in range(5):
            assert np.array_equal(table["image_mask"][i].T, cells.get_cell_image_data(i))
            assert np.array_equal(series.data[valid, i], cells.get_cell_trace_data(i)[valid])
        assert np.isnan(series.data[~valid]).all()
        rows = table.to_dataframe()
        assert rows["cell_name"].tolist() == ["C0", "C1", "C2", "C3", "C4"]
        assert rows["status"].tolist() == ["accepted", "undecided", "rejected", "accepted", "undecided"]
        assert rows["Accepted"].tolist() == [True, False, False, True, False]
        assert rows["Rejected"].tolist() == [False, False, True, False, False]
        assert (rows[["noise", "snr", "area"]] > 0).all(axis=None)


def test_numbers_of_cells_are_those_of_the_table(tmp_path):
    path = recordings.cell_set(tmp_path / "c.isxd", n_cells=5)
    out = tmp_path / "out"
    out.mkdir()
    write_results(path, "cell_set", "c", out, Context(tmp_path))
    table = pd.read_csv(out / "c-cells.csv")
    names = {"area": "area_px", "noise": "noise"}
    names |= {"snr": "snr", "n_transients": "n_transients", "transient_rate": "transient_rate_hz"}
    with written(tmp_path / "c.nwb", Source(path, "cell_set")) as file:
        rows = file.processing["ophys"]["ImageSegmentation"]["PlaneSegmentation"].to_dataframe()
        for name, column in {**names, "half_decay": "half_decay_s"}.items():
            assert np.allclose(rows[name], table[column], rtol=1e-6, equal_nan=True), name
        assert rows["n_transients"].sum() > 0
        assert np.allclose(np.stack(rows["ROICentroids"]), table[["centroid_x_px", "centroid_y_px"]], rtol=1e-6)


def _with_unit(path: Path, unit: str) -> Path:
    data, text = recordings.split_footer(path.read_bytes())
    footer = json.loads(text)
    footer["extraProperties"] = {"idps": {"cellset": {"units": unit}}}
    path.write_bytes(data + recordings.footer_bytes(footer))
    return path


@pytest.mark.parametrize(
    ("unit", "holder"), [("dF over F", "DfOverF"), ("dF over noise", "Fluorescence"), ("counts", "Fluorescence")]
)
def test_the_unit_decides_where_traces_go(tmp_path, unit, holder):
    path = _with_unit(recordings.cell_set(tmp_path / "c.isxd"), unit)
    with written(tmp_path / "c.nwb", Source(path, "cell_set")) as file:
        (series,) = file.processing["ophys"][holder].roi_response_series.values()
        assert series.unit == unit


def test_parts_of_a_series_share_one_table_of_cells(tmp_path):
    first = recordings.cell_set(tmp_path / "part1-PCA-ICA.isxd")
    second = tmp_path / "part2-PCA-ICA.isxd"
    second.write_bytes(first.read_bytes())
    other = recordings.cell_set(tmp_path / "part3-PCA-ICA.isxd", seed=1)
    paths = (first, second, other)
    sources = [Source(path, "cell_set", f"-{n}", "made", "-PCA-ICA", n) for n, path in enumerate(paths, 1)]
    with written(tmp_path / "s.nwb", *sources) as file:
        tables = file.processing["ophys"]["ImageSegmentation"].plane_segmentations
        series = file.processing["ophys"]["Fluorescence"].roi_response_series
        assert set(tables) == {"PlaneSegmentation-1", "PlaneSegmentation-3"}
        assert [series[f"RoiResponseSeries-{n}"].rois.table.name[-1] for n in (1, 2, 3)] == ["1", "1", "3"]


@pytest.mark.skipif(not HAS_EVENTS, reason="pynwb 3, the last for Python 3.9, has no table of events")
def test_events_are_those_of_the_file_cell_by_cell(tmp_path):
    cells, path = recordings.cell_set(tmp_path / "c.isxd"), recordings.event_set(tmp_path / "e.isxd")
    events = isx.EventSet.read(str(path))
    stored = OpenRecording(path, "event_set", tmp_path).channels
    with written(tmp_path / "e.nwb", Source(cells, "cell_set"), Source(path, "event_set")) as file:
        table = file.events["Events"]
        rows = table.to_dataframe()
        assert table["cell"].table is file.processing["ophys"]["ImageSegmentation"]["PlaneSegmentation"]
        assert (np.diff(rows["timestamp"]) >= 0).all()
        for i in range(4):
            own = rows[rows["cell_name"] == f"C{i}"]
            offsets, amplitudes = events.get_cell_data(i)
            assert np.array_equal(own["amplitude"], amplitudes)
            assert np.array_equal(own["timestamp"], stored[i].offset_us / 1e6)
            assert np.abs(np.rint(own["timestamp"] * 1e6) - offsets).max() <= 1 or not len(own)  # isx rounds down
            assert set(table["cell"].data[:][own.index]) <= {i}
        assert table.description == "Events of e.isxd; without any: C3"


def test_events_for_a_pynwb_that_has_no_table_of_them(tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.nwb.events.HAS_EVENTS", False)
    cells, path = recordings.cell_set(tmp_path / "c.isxd"), recordings.event_set(tmp_path / "e.isxd")
    events = isx.EventSet.read(str(path))
    stored = OpenRecording(path, "event_set", tmp_path).channels
    with written(tmp_path / "e.nwb", Source(cells, "cell_set"), Source(path, "event_set")) as file:
        table = file.processing["ophys"]["Events"]
        assert table["cell_name"][:].tolist() == ["C0", "C1", "C2", "C3"]
        assert table["cell"].table is file.processing["ophys"]["ImageSegmentation"]["PlaneSegmentation"]
        for i in range(4):
            offsets, amplitudes = events.get_cell_data(i)
            assert np.array_equal(table["event_amplitudes"][i], amplitudes)
            assert np.array_equal(table["event_times"][i], stored[i].offset_us / 1e6)
            assert np.abs(np.rint(table["event_times"][i] * 1e6) - offsets).max(initial=0) <= 1  # isx rounds down
        assert len(table["event_times"][3]) == 0


# ---- other kinds


def test_gpio_channels_are_those_that_isx_reads(tmp_path):
    path = recordings.gpio_isxd(tmp_path / "g.isxd")
    gpio = isx.GpioSet.read(str(path))
    with written(tmp_path / "g.nwb", Source(path, "gpio")) as file:
        names = {gpio.get_channel_name(i): i for i in range(gpio.num_channels)}
        assert {"GPIO-1", "EX-LED"} <= set(file.acquisition)
        for name, series in file.acquisition.items():
            offsets, values = gpio.get_channel_data(names[name])
            assert np.array_equal(series.data[:], values)
            assert np.abs(times_of(series) * 1e6 - offsets).max() < 1.5
            assert series.continuity == "step"
            assert series.unit == ("mW/mm^2" if name == "EX-LED" else "unknown")


@pytest.mark.parametrize(
    ("channel", "unit"),
    [
        *((name, "mW/mm^2") for name in ("EX-LED", "OG-LED", "DI-LED", "EX_LED", "EX-LED-2", "OG LED")),
        *((name, "micrometers") for name in ("e-focus", "efocus")),
        *((name, "unknown") for name in ("GPIO-1", "BNC Sync Output", "BNC Trigger Input", "LED", "my e-focus")),
    ],
)
def test_units_of_channels(channel, unit):
    assert signals.unit_of(channel) == unit


def times_of(series: pynwb.TimeSeries) -> np.ndarray:
    if series.timestamps is not None:
        return series.timestamps[:]
    return series.starting_time + np.arange(len(series.data)) / series.rate


def test_imu_axes_are_those_that_isx_reads_from_the_box(tmp_path):
    path = recordings.imu(tmp_path / "i.imu")
    copy = tmp_path / "copy" / "i.imu"  # isx converts it to /tmp, by name
    copy.parent.mkdir()
    copy.write_bytes(path.read_bytes())
    imu = isx.GpioSet.read(str(copy))
    expected = {imu.get_channel_name(i): imu.get_channel_data(i) for i in range(imu.num_channels)}
    with written(tmp_path / "i.nwb", Source(path, "imu")) as file:
        assert set(file.acquisition) == {"Accelerometer", "Orientation", "Magnetometer"}
        accelerometer = file.acquisition["Accelerometer"]
        assert (accelerometer.unit, accelerometer.conversion) == ("m/s^2", 9.80665)
        for name, series in file.acquisition.items():
            axes = series.description.partition(" of ")[0].split(", ")
            assert series.data.shape[1] == len(axes) == 3
            for column, axis in enumerate(axes):
                assert np.array_equal(series.data[:, column], expected[axis][1]), name
                assert np.abs(times_of(series) * 1e6 - expected[axis][0]).max() < 1.5


@pytest.mark.parametrize(
    ("measure", "series", "unit"),
    [
        ("vessel diameter", {"VesselDiameter", "VesselCenter"}, "pixels"),
        ("rbc velocity", {"VesselVelocity", "VesselDirection"}, "pixels/s"),
    ],
)
def test_vessels_are_those_that_isx_reads(tmp_path, measure, series, unit):
    path = recordings.vessel_set(tmp_path / "v.isxd", measure)
    vessels = isx.VesselSet.read(str(path))
    valid = vessels.timing.get_valid_samples_mask()
    with written(tmp_path / "v.nwb", Source(path, "vessel_set")) as file:
        ophys = file.processing["ophys"]
        assert set(ophys.data_interfaces) == series | {"Vessels", "SegmentationImages"}
        table, traces = ophys["Vessels"], ophys[min(series & {"VesselDiameter", "VesselVelocity"})]
        assert traces.unit == unit
        for i in range(3):
            assert np.array_equal(table["corners"][i], vessels.get_vessel_line_data(i))
            assert np.array_equal(traces.data[valid, i], vessels.get_vessel_trace_data(i)[valid])
        assert table["status"][0] == "rejected"
        assert np.array_equal(ophys["SegmentationImages"]["v"].data[:].T, vessels.get_vessel_image_data(0))


def test_an_image_is_that_which_isx_reads(tmp_path):
    path = recordings.image(tmp_path / "i.isxd")
    with written(tmp_path / "i.nwb", Source(path, "image")) as file:
        images = file.processing["ophys"]["SegmentationImages"]
        assert np.array_equal(images["i"].data[:].T, isx.Image.read(str(path)).get_data())


def test_tracking_is_that_which_isx_exports(tmp_path):
    path = recordings.behavior_movie(tmp_path / "b.isxb", tracked=True)
    with written(tmp_path / "b.nwb", Source(path, "nvision")) as file:
        behavior = file.processing["behavior"]
        box, centre = behavior["Box"].data[:], behavior["Position"]["Centre"].data[:]
        is_tracked = np.isfinite(centre[:, 0])
        frames = np.flatnonzero(is_tracked)
        assert is_tracked.any()
        assert np.allclose(centre[is_tracked], (box[is_tracked][:, :2] + box[is_tracked][:, 2:]) / 2)
        assert np.array_equal(behavior["Confidence"].data[is_tracked, 0], 90 + np.array([1, *range(3, 11)]) / 2), frames


# ---- behaviour movies


@pytest.mark.parametrize("states", [(), ("spacingInfo", "timingInfo")])
def test_a_film_has_the_frames_as_stored_and_their_times(tmp_path, states):
    path = recordings.behavior_movie(tmp_path / "b.isxb", n=9, states=states)
    header = formats.read_isxb(path)[0]
    stored = path.read_bytes()[header.video_offset : header.video_offset + header.video_size]
    movie = isx.Movie.read(str(path))  # whose timing goes with it
    timing = movie.timing
    shown = np.flatnonzero(timing.get_valid_samples_mask())
    with written(tmp_path / "s.nwb", Source(path, "behavior_movie")) as file:
        series = file.acquisition["BehaviorMovie"]
        assert list(series.external_file) == ["s-behavior.mp4"]
        assert len(shown) == 9 < timing.num_samples
        assert np.abs(series.timestamps[:] - shown * timing.period.secs_float).max() < 1e-6
    stored_track, played_track = tracks_of(tmp_path / "s-behavior.mp4")
    frames, times, codec, _ = stored_track
    assert (codec, b"".join(frames)) == (b"mp4v", stored)
    assert all(frame.startswith(b"\xff\xd8") for frame in frames)
    assert np.abs(times - (shown - shown[0]) * timing.period.secs_float).max() < 1e-6
    played, played_times, codec, keyframes = played_track
    assert (codec, len(played), keyframes) == (b"av01", 9, [0])
    assert np.array_equal(played_times, times)


def tracks_of(path: Path) -> list[tuple[list[bytes], np.ndarray, bytes, list[int]]]:
    """For each track of an MP4 file: its frames, when each is shown (s), its codec and its keyframes."""
    data = path.read_bytes()
    boxes_of: list[dict[bytes, bytes]] = []
    for kind, start, end in mp4.boxes(data, 0, len(data)):
        if kind == b"trak":
            boxes_of.append({})
        elif boxes_of:
            boxes_of[-1][kind] = data[start:end]
    assert data[4:8] == b"ftyp"
    return [_track(data, boxes) for boxes in boxes_of]


def _track(data: bytes, boxes: dict[bytes, bytes]) -> tuple[list[bytes], np.ndarray, bytes, list[int]]:
    assert boxes[b"hdlr"][8:12] == b"vide"
    n = struct.unpack_from(">I", boxes[b"stsz"], 8)[0]
    sizes = np.frombuffer(boxes[b"stsz"], ">u4", n, 12)
    (start,) = struct.unpack_from(">Q", boxes[b"co64"], 8)
    ends = start + np.cumsum(sizes, dtype=np.int64)
    assert ends[-1] <= len(data)
    runs = np.frombuffer(boxes[b"stts"], ">u4", -1, 8).reshape(-1, 2)
    durations = np.repeat(runs[:, 1].astype(np.int64), runs[:, 0])
    rate = struct.unpack_from(">I", boxes[b"mdhd"], 20)[0]
    keyframes = np.frombuffer(boxes.get(b"stss", b""), ">u4")[2:].astype(int) - 1
    frames = [data[end - size : end] for end, size in zip(ends, sizes)]
    return frames, (np.cumsum(durations) - durations) / rate, boxes[b"stsd"][12:16], keyframes.tolist()


def test_a_film_is_the_same_whatever_the_threads_and_can_be_entered_at_keyframes(tmp_path, monkeypatch):
    monkeypatch.setattr(behavior_mp4, "GROUP", 4)
    path = recordings.behavior_movie(tmp_path / "b.isxb", n=9)
    for threads in (1, 3):
        means = Context(tmp_path, threads, pytest.fail)
        write(tmp_path / f"{threads}.nwb", Contents([Source(path, "behavior_movie")], "x"), means)
    one, other = (tmp_path / f"{threads}-behavior.mp4" for threads in (1, 3))
    assert one.read_bytes() == other.read_bytes()
    assert [(len(frames), keyframes) for frames, _, _, keyframes in tracks_of(one)] == [(9, []), (9, [0, 4, 8])]


def test_frames_that_are_no_pictures_are_black_for_browsers_alone(tmp_path):
    path = recordings.behavior_movie(tmp_path / "b.isxb", n=9)
    data, header = bytearray(path.read_bytes()), formats.read_isxb(path)[0]
    second = data.index(b"\xff\xd8\xff", header.video_offset + 3)
    data[second + 20 : second + 200] = bytes(180)  # its tables
    path.write_bytes(data)
    warnings: list[str] = []
    write(tmp_path / "s.nwb", Contents([Source(path, "behavior_movie")], "x"), Context(tmp_path, 1, warnings.append))
    said = "1 of 9 frames of b.isxb are no JPEG of 64 x 48 px: they are black in the track for browsers"
    assert warnings == [said]
    stored, played = tracks_of(tmp_path / "s-behavior.mp4")
    assert b"".join(stored[0]) == bytes(data[header.video_offset : header.meta_offset])
    assert len(played[0]) == 9


def test_a_film_without_gaps_has_a_rate(tmp_path):
    path = recordings.behavior_movie(tmp_path / "b.isxb")
    data = path.read_bytes()
    read_meta, with_meta = damage.PARTS[".isxb"]["meta"]
    meta = json.loads(read_meta(data))
    for counter, sample in enumerate(meta["samples"]):
        sample |= {"fc": counter, "tsc": 7_000_000 + 33_333 * counter}
    whole = with_meta(data, json.dumps({**meta, "droppedFrames": []}).encode())
    path.write_bytes(whole[:40] + bytes(8) + whole[48:])  # none dropped
    with written(tmp_path / "s.nwb", Source(path, "behavior_movie")) as file:
        series = file.acquisition["BehaviorMovie"]
        assert (series.starting_time, series.timestamps) == (0.0, None)
        assert not ASKS_FOR_SAMPLES or series.num_samples == 10
        assert series.rate == pytest.approx(1e6 / 33_333)
    assert [len(track[0]) for track in tracks_of(tmp_path / "s-behavior.mp4")] == [10, 10]


def test_frames_that_cannot_be_told_apart_are_described(tmp_path):
    path = recordings.behavior_movie(tmp_path / "b.isxb")
    data, header = path.read_bytes(), formats.read_isxb(path)[0]
    at = header.video_offset + 100  # a start of an image within the first one
    path.write_bytes(data[:at] + b"\xff\xd8\xff" + data[at + 3 :])
    warnings: list[str] = []
    made = write(
        tmp_path / "b.nwb",
        Contents([Source(path, "behavior_movie")], "x"),
        Context(tmp_path, 1, warnings.append),
    )
    assert made == [tmp_path / "b.nwb"]
    assert warnings == ["b.isxb has no MP4 beside the NWB file: its frames cannot be separated"]
    assert pynwb.validate(path=str(tmp_path / "b.nwb")) == []
    with pynwb.NWBHDF5IO(str(tmp_path / "b.nwb"), "r") as io:
        (row,) = io.read().acquisition["Movies"].to_dataframe().to_dict("records")
    assert (row["file"], row["n_frames"], row["width"], row["height"]) == ("b.isxb", 11, 64, 48)


# ---- planes, devices, metadata


def test_the_device_says_what_the_recording_says_of_it(tmp_path):
    path = recordings.stating(recordings.movie(tmp_path / "m.isxd"))
    with written(tmp_path / "m.nwb", Source(path, "movie"), embed=True) as file:
        device = file.devices["Microscope"]
        assert (device.serial_number, device.model.name, device.model.manufacturer) == (
            "11145510", "NVista3", "Inscopix",
        )  # fmt: skip
        assert device.description == (
            "Inscopix miniature microscope; Exposure Time (ms): 50; Microscope EX LED Power (mw/mm^2): 0.2; "
            "Microscope Gain: 4; Microscope OG LED Power (mw/mm^2): 0.1; Probe Diameter (mm): 0.5; "
            "Probe Length (mm): 4; Probe Type: Lens Probe"
        )
        assert (file.subject.subject_id, file.subject.sex) == ("m1", "F")
        assert file.subject.date_of_birth == datetime(2020, 5, 1, tzinfo=START.tzinfo)
        assert "Microscope Focus: 850" in file.imaging_planes["ImagingPlane"].description
        assert ["Inscopix Acquisition Software", "1.8.2"] in [list(software) for software in file.was_generated_by]
        assert file.acquisition["OnePhotonSeries"].exposure_time == 0.05


def test_colours_and_foci_have_planes_of_their_own(tmp_path):
    names = ("m-green", "m-red", "m-efocus_400", "m-efocus_800")
    sources = [Source(recordings.movie(tmp_path / f"{name}.isxd"), "movie", name[1:]) for name in names]
    with written(tmp_path / "m.nwb", *sources, embed=True) as file:
        assert set(file.imaging_planes) == {
            f"ImagingPlane-{key}" for key in ("green", "red", "efocus-400", "efocus-800")
        }
        assert file.acquisition["OnePhotonSeries-red"].imaging_plane.name == "ImagingPlane-red"


def test_what_the_files_do_not_say_comes_from_the_metadata(tmp_path):
    known = {
        "NWBFile": {"session_description": "Open field", "experimenter": ["Doe, Jane"], "keywords": ["calcium"]},
        "Subject": {"subject_id": "m1", "species": "Mus musculus", "sex": "F", "date_of_birth": datetime(2020, 5, 1)},
        "OpticalChannel": {"emission_lambda": 525},
        "ImagingPlane": {"indicator": "GCaMP6f", "grid_spacing": [0.9, 0.9], "grid_spacing_unit": "micrometers"},
    }
    movie = recordings.movie(tmp_path / "m.isxd")
    with written(tmp_path / "m.nwb", Source(movie, "movie"), metadata=Metadata(known)) as file:
        assert file.session_description == "Open field"
        assert list(file.experimenter) == ["Doe, Jane"]
        assert file.subject.date_of_birth == datetime(2020, 5, 1, tzinfo=START.tzinfo)
        plane = file.imaging_planes["ImagingPlane"]
        assert (plane.indicator, plane.location) == ("GCaMP6f", "unknown")
        assert plane.optical_channel[0].emission_lambda == 525
        assert np.isnan(plane.excitation_lambda)
        assert list(plane.grid_spacing) == [0.9, 0.9]


def test_nothing_is_invented_and_what_is_missing_is_named(tmp_path):
    movie = recordings.movie(tmp_path / "m.isxd")
    warnings: list[str] = []
    advice: list[str] = []
    contents = Contents([Source(movie, "movie")], "x", advise=advice.append)
    write(tmp_path / "m.nwb", contents, Context(tmp_path, 1, warnings.append))
    assert warnings == []
    assert advice == [
        "DANDI will refuse the NWB file without Subject.subject_id, Subject.species, Subject.sex, Subject.age; "
        "NWBFile.experimenter, NWBFile.institution, NWBFile.experiment_description, NWBFile.keywords, "
        "ImagingPlane.indicator, ImagingPlane.location, ImagingPlane.excitation_lambda, OpticalChannel.emission_lambda "
        "are unknown and left out: write them into nwb.toml in the input folder"
    ]
    with pynwb.NWBHDF5IO(str(tmp_path / "m.nwb"), "r") as io:
        file = io.read()
        assert file.subject is None
        assert file.imaging_planes["ImagingPlane"].grid_spacing is None  # the file's is that on the sensor
        assert "on the sensor, not in tissue" in file.imaging_planes["ImagingPlane"].description


# ---- files


def every_kind(folder: Path) -> list[Source]:
    kinds = {"movie_float": "movie", "velocity_set": "vessel_set", "gpio_isxd": "gpio", "imu_isxd": "imu"}
    return [Source(path, kinds.get(name, name), f"-{name}") for name, path in recordings.every_kind(folder).items()]


@pytest.mark.parametrize("embed", [False, True])
def test_the_same_contents_give_the_same_bytes(tmp_path, embed):
    sources = every_kind(tmp_path)
    places = [tmp_path / "1/s.nwb", tmp_path / "2/s.nwb"]
    for place, given in zip(places, (sources, reversed(sources))):
        place.parent.mkdir()
        with written(place, *given, embed=embed) as file:
            assert len({stored.object_id for stored in file.objects.values()}) == len(file.objects)
    first, second = ({path.name: path.read_bytes() for path in place.parent.glob("s*")} for place in places)
    assert len(first) == 3, "the file, and two films"
    assert first == second


def test_a_file_that_cannot_be_finished_leaves_nothing(tmp_path):
    """The movie is cut short while its frames are read."""
    path = recordings.movie(tmp_path / "m.isxd", 100)
    camera = recordings.behavior_movie(tmp_path / "m.isxb")
    means = Context(tmp_path, 1, progress=lambda fraction: fraction < 1 and os.truncate(path, 2000))  # the film is done
    with pytest.raises(BadRecording, match="the file became shorter while it was read"):
        sources = [Source(path, "movie"), Source(camera, "behavior_movie")]
        write(tmp_path / "m.nwb", Contents(sources, "x", embed=True), means)
    assert sorted(left.name for left in tmp_path.iterdir()) == ["m.isxb", "m.isxd"]


def test_empty_sets_are_left_out_with_a_word(tmp_path):
    path = recordings.cell_set(tmp_path / "c.isxd", n_cells=0)
    warnings: list[str] = []
    write(tmp_path / "c.nwb", Contents([Source(path, "cell_set")], "x"), Context(tmp_path, 1, warnings.append))
    assert pynwb.validate(path=str(tmp_path / "c.nwb")) == []
    assert warnings == ["c.isxd has no cells: it is left out of the NWB file, which cannot hold an empty table"]
