"""The results of each kind, opened as a lab would open them."""

from __future__ import annotations

import io
import json
import struct
from pathlib import Path

import isx
import numpy as np
import pandas as pd
import pytest
import tifffile
from PIL import Image

from pipeline.inspect import tiff
from pipeline.inspect.cellset import noise_of, snr_of
from pipeline.inspect.results import Context, Summary, write_results
from protocol.job import Options
from recording import formats
from recording.formats import file
from samples import recordings
from tests import films

GOLDEN = {  # kind: what is written after the stem
    "movie": "-frames.csv -intensity.png -max.tif -mean.tif -min.tif -preview.png -quality.csv -std.tif .json",
    "movie_float": "-frames.csv -intensity.png -max.tif -mean.tif -min.tif -preview.png -quality.csv -std.tif .json",
    "image": "-preview.png .tif .json",
    "cell_set": "-cellmap.png -cells.csv -footprints.tif -quality.csv -traces.csv -traces.png .json",
    "event_set": "-events.csv -quality.csv -raster.png -rates.csv .json",
    "vessel_set": "-map.png -quality.csv -traces.csv -vessels.csv .json",
    "velocity_set": "-map.png -quality.csv -traces.csv -vessels.csv .json",
    "gpio_isxd": "-gpio.csv -ttl.csv .png .json",
    "imu_isxd": "-imu.csv .png .json",
    "gpio": "-gpio.csv -ttl.csv .png .json",
    "imu": "-imu.csv .png .json",
    "behavior_movie": "-frames.csv -preview.png -quality.csv .json",
    "nvision": "-frames.csv -preview.png -quality.csv -tracking.csv .json",
}


class Adapted:
    """The results of one recording of each kind."""

    def __init__(self, folder: Path) -> None:
        self.inputs = folder / "in"
        self.inputs.mkdir()
        self.recordings = recordings.every_kind(self.inputs)
        self.out = {name: folder / "out" / name for name in self.recordings}
        self.warnings: dict[str, list[str]] = {name: [] for name in self.recordings}
        self.scratch = folder / "scratch"
        self.scratch.mkdir()
        self.summaries = {name: self.write_results(name) for name in self.recordings}

    def write_results(self, name: str) -> Summary:
        path, out = self.recordings[name], self.out[name]
        out.mkdir(parents=True)
        context = Context(self.scratch, provenance={"run": 7}, warn=self.warnings[name].append)
        return write_results(path, formats.check(path).kind, "s", out, context)

    def table(self, name: str, suffix: str) -> pd.DataFrame:
        return pd.read_csv(self.out[name] / f"s{suffix}")

    def json(self, name: str) -> dict:
        return json.loads((self.out[name] / "s.json").read_text(), parse_constant=pytest.fail)


@pytest.fixture(scope="module")
def adapted(tmp_path_factory: pytest.TempPathFactory) -> Adapted:
    return Adapted(tmp_path_factory.mktemp("adapted"))


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_listing(adapted, name):
    written = [f"s{suffix}" for suffix in GOLDEN[name].split()]
    assert sorted(path.name for path in adapted.out[name].iterdir()) == sorted(written)
    assert adapted.summaries[name].products == tuple(written)  # the JSON last
    assert adapted.warnings[name] == []


@pytest.mark.parametrize("name", GOLDEN)
def test_pictures_are_there_and_thumbnails_small(adapted, name):
    pictures = [path for path in adapted.out[name].iterdir() if path.suffix == ".png"]
    assert pictures
    for path in pictures:
        with Image.open(path) as picture:
            assert len(np.unique(np.asarray(picture.convert("L")))) > 10, f"{path.name} is blank"
            assert max(picture.size) <= 1700
    thumbnail = adapted.summaries[name].thumbnail
    with Image.open(io.BytesIO(thumbnail)) as picture:
        assert picture.width <= 240
    assert len(thumbnail) < 30_000


@pytest.mark.parametrize("name", GOLDEN)
def test_json_says_what_it_is_and_where_it_comes_from(adapted, name):
    record, path = adapted.json(name), adapted.recordings[name]
    assert record["kind"] == formats.check(path).kind
    assert record["input"]["name"] == path.name and record["input"]["size_bytes"] == path.stat().st_size
    assert record["software"]["isx"] == "2.1.0" and record["provenance"] == {"run": 7}
    assert record["results"] == [f"s{suffix}" for suffix in GOLDEN[name].split()[:-1]]
    assert record["n_samples"] > 0 and record["sampling_rate_hz"] > 0 and record["file_metadata"]
    if name != "image":
        assert record["start"] == "2020-09-13T13:26:40.000+01:00"


def test_inputs_are_left_as_they_were_and_nothing_else_is_written(adapted):
    assert sorted(path.name for path in adapted.inputs.iterdir()) == sorted(p.name for p in adapted.recordings.values())
    for path in adapted.recordings.values():
        for kind in ("gpio", "imu"):
            assert not Path(f"/tmp/{path.stem}_{kind}.isxd").exists()  # where the library would leave its own copy


def test_movie_frames(adapted):
    table = adapted.table("movie", "-frames.csv")
    assert list(table) == [
        "index",
        "time_s",
        "status",
        "mean_counts",
        "std_counts",
        "min_counts",
        "max_counts",
        "saturated_fraction",
    ]
    invalid = {2: "dropped", 4: "cropped", 5: "cropped", 7: "blank"}
    assert list(table["status"]) == [invalid.get(i, "valid") for i in range(12)]
    np.testing.assert_allclose(table["time_s"], np.arange(12) * 0.05)
    assert table.loc[list(invalid), "mean_counts":].isna().all(axis=None)
    movie = isx.Movie.read(str(adapted.recordings["movie"]))
    for i in set(range(12)) - set(invalid):
        frame = movie.get_frame_data(i)
        assert table["mean_counts"][i] == pytest.approx(frame.mean(), rel=1e-12)
        assert table["std_counts"][i] == pytest.approx(frame.std(), rel=1e-6)
        assert (table["min_counts"][i], table["max_counts"][i]) == (frame.min(), frame.max())
    record = adapted.json("movie")
    assert (record["n_dropped"], record["n_cropped"], record["n_blank"]) == (1, 2, 1)


def test_projections_leave_out_invalid_frames_and_know_their_scale(adapted):
    movie = isx.Movie.read(str(adapted.recordings["movie"]))
    valid = np.stack([movie.get_frame_data(i) for i in range(12) if i not in (2, 4, 5, 7)]).astype(np.float64)
    for name in ("mean", "std", "max", "min"):
        with tifffile.TiffFile(adapted.out["movie"] / f"s-{name}.tif") as tif:
            assert tif.is_imagej and tif.imagej_metadata["unit"] == "um"
            num, den = tif.pages[0].tags["XResolution"].value
            assert den / num == pytest.approx(3, rel=1e-6)  # µm a pixel
            image = tif.asarray()
        assert image.dtype == np.float32
        np.testing.assert_allclose(image, getattr(valid, name)(axis=0), rtol=1e-6)


def test_hardware_times(tmp_path):
    times = (1 << 40) + np.array([0, 50_000, 100_001, 200_000])
    path = recordings.movie_from(tmp_path / "m.isxd", recordings.frames(4, 8, 16), times, dropped=[3])
    out = tmp_path / "out"
    out.mkdir()
    write_results(path, "movie", "s", out, Context(tmp_path))
    times_us = pd.read_csv(out / "s-frames.csv")["hardware_time_us"]
    movie = isx.Movie.read(str(path))
    assert np.isnan(times_us[3])
    assert list(times_us.drop(3)) == [movie.get_frame_timestamp(i) for i in (0, 1, 2, 4)] == list(times)


def test_a_movie_without_valid_frames(tmp_path):
    path = recordings.movie_from(tmp_path / "m.isxd", np.empty((0, 8, 16), np.uint16), cropped=[(0, 4)])
    out, warnings = tmp_path / "out", []
    out.mkdir()
    done = write_results(path, "movie", "s", out, Context(tmp_path, warn=warnings.append))
    assert done.products == ("s-frames.csv", "s-quality.csv", "s.json") and done.thumbnail == b""
    assert warnings == ["no frame is valid: all were dropped, cropped or blank; there are no projections"]
    assert json.loads((out / "s.json").read_text())["warnings"] == warnings


def exported(tmp_path: Path, dtype: str = "uint16", n: int = 30) -> tuple[Path, Path]:
    path = recordings.movie_from(tmp_path / "m.isxd", recordings.frames(n, 48, 64, np.dtype(dtype).type), dropped=[4])
    out = tmp_path / "out"
    out.mkdir()
    write_results(path, "movie", "s", out, Context(tmp_path, options=Options(movie_tiff=True, movie_mp4=True)))
    return path, out


@pytest.mark.parametrize("dtype", ["uint16", "float32", "uint8"])
@pytest.mark.parametrize("largest", [tiff.LARGEST, 1])
def test_movie_as_tiff(tmp_path, monkeypatch, dtype, largest):
    monkeypatch.setattr(tiff, "LARGEST", largest)
    path, out = exported(tmp_path, dtype)
    source = isx.Movie.read(str(path))
    with tifffile.TiffFile(out / "s-movie.tif") as tif:
        pages, is_big = tif.asarray(), tif.is_bigtiff
        assert is_big == (largest == 1)
        if not is_big:
            assert tif.imagej_metadata["finterval"] == 0.05 and tif.imagej_metadata["frames"] == 31
    assert pages.dtype == dtype and pages.shape == (31, 48, 64)
    for i in (0, 3, 4, 5, 30):
        np.testing.assert_array_equal(pages[i], source.get_frame_data(i))
    assert not pages[4].any()  # dropped


def test_movie_as_mp4(tmp_path):
    _, out = exported(tmp_path)
    film = (out / "s-movie.mp4").read_bytes()
    clock = struct.unpack_from(">IQ", film, film.index(b"mdhd") + 24)
    assert clock == (20_000, 31_000)  # 20 frames a second, 31 frames
    shown = films.pictures(out / "s-movie.mp4")
    assert shown.shape == (31, 48, 64)
    brightness = shown[:, 24, 32].tolist()
    assert brightness[4] < 5 < min(brightness[:4] + brightness[5:])  # dropped: black
    assert np.ptp(brightness[5:]) > 50  # it pulses


def test_mp4_is_the_same_each_time(tmp_path):
    films = []
    for name in "ab":
        (tmp_path / name).mkdir()
        films.append((exported(tmp_path / name)[1] / "s-movie.mp4").read_bytes())
    assert films[0] == films[1]


def test_image(adapted):
    expected = isx.Image.read(str(adapted.recordings["image"])).get_data()
    np.testing.assert_array_equal(tifffile.imread(adapted.out["image"] / "s.tif"), expected)


def test_cell_set(adapted):
    cells, traces = adapted.table("cell_set", "-cells.csv"), adapted.table("cell_set", "-traces.csv")
    source = isx.CellSet.read(str(adapted.recordings["cell_set"]))
    assert list(cells["status"]) == ["accepted", "undecided", "rejected", "accepted"]
    assert list(traces) == ["time_s", *cells["name"]] == ["time_s", "C0", "C1", "C2", "C3"]
    assert traces.loc[10, "C0":].isna().all() and traces["C0"].notna().sum() == 199  # sample 10 was dropped
    footprints = tifffile.imread(adapted.out["cell_set"] / "s-footprints.tif")
    with tifffile.TiffFile(adapted.out["cell_set"] / "s-footprints.tif") as tif:
        assert tif.imagej_metadata["Labels"] == list(cells["name"])
    for i in range(4):
        footprint, trace = source.get_cell_image_data(i), source.get_cell_trace_data(i)
        np.testing.assert_array_equal(footprints[i], footprint)
        np.testing.assert_allclose(traces[f"C{i}"].drop(10), np.delete(trace, 10), rtol=1e-6)
        y, x = np.unravel_index(footprint.argmax(), footprint.shape)
        assert abs(cells["centroid_x_px"][i] - x) < 1 and abs(cells["centroid_y_px"][i] - y) < 1
        assert cells["area_px"][i] == (footprint >= footprint.max() / 2).sum()
        assert cells["area_um2"][i] == 9 * cells["area_px"][i]
        assert cells["centroid_x_um"][i] == pytest.approx(3 * cells["centroid_x_px"][i])


def test_noise_and_snr():
    rng = np.random.default_rng(0)
    trace = rng.normal(5, 2, 20_000)
    trace[::500] += 100  # transients are rare
    trace += np.linspace(0, 50, 20_000)  # and drift is slow
    trace[7] = np.nan
    assert noise_of(trace) == pytest.approx(2, rel=0.05)
    assert snr_of(np.array([0.0, 1, 2, 3, 10, np.nan]), noise=2) == 4
    assert np.isnan(noise_of(np.array([np.nan, 1]))) and np.isnan(snr_of(np.zeros(5), 0))


def test_event_set(adapted):
    events, rates = adapted.table("event_set", "-events.csv"), adapted.table("event_set", "-rates.csv")
    source = isx.EventSet.read(str(adapted.recordings["event_set"]))
    for i in range(4):
        offsets, amplitudes = source.get_cell_data(i)
        mine = events[events["cell"] == f"C{i}"]
        np.testing.assert_allclose(
            mine["time_s"], offsets / 1e6, rtol=0, atol=1.1e-6
        )  # the library cuts some 1 µs short
        np.testing.assert_allclose(mine["amplitude"], amplitudes, rtol=1e-6)
        assert rates["n_events"][i] == len(offsets) and rates["rate_hz"][i] == len(offsets) / 10
    assert rates["n_events"][3] == 0 and np.isnan(rates["mean_amplitude"][3])


@pytest.mark.parametrize("name", ["gpio", "gpio_isxd"])
def test_ttl_pulses_are_those_of_channels_with_two_levels(adapted, name):
    table = adapted.table(name, "-ttl.csv")
    assert set(table["channel"]) == {"GPIO-1"}, "not of the ramp on EX-LED"
    assert np.allclose(table["onset_s"], 0.01 + 0.02 * np.arange(25))
    assert np.allclose(table["offset_s"][:-1], table["onset_s"][:-1] + 0.01)
    assert np.isnan(table["offset_s"].iloc[-1]), "the recording ends before"


@pytest.mark.parametrize("name", ["gpio", "gpio_isxd"])
def test_gpio(adapted, name):
    table = adapted.table(name, "-gpio.csv")
    assert list(table) == ["time_s", "channel", "value"] and table["time_s"].is_monotonic_increasing
    square, ramp = (table[table["channel"] == channel] for channel in ("GPIO-1", "EX-LED"))
    np.testing.assert_allclose(square["value"], 60_000 * (np.arange(50) % 2))
    np.testing.assert_allclose(ramp["value"], np.arange(50) / 10, rtol=1e-6)
    np.testing.assert_allclose(ramp["time_s"], np.arange(50) * 0.01)


def test_packets_are_read_as_the_library_reads_them(adapted):
    source = isx.GpioSet.read(str(adapted.recordings["imu_isxd"]))
    table = adapted.table("imu_isxd", "-imu.csv")
    for i, (column, divisor) in enumerate(
        [("acc_x_g", 16384), ("acc_y_g", 16384), ("acc_z_g", 16384), ("ori_yaw_rad", 1)]
    ):
        offsets, values = source.get_channel_data(i)
        np.testing.assert_allclose(table["time_s"], offsets / 1e6)
        np.testing.assert_allclose(table[column], values / divisor, rtol=1e-6)


@pytest.mark.parametrize("name", ["imu", "imu_isxd"])
def test_imu(adapted, name):
    table = adapted.table(name, "-imu.csv")
    axes = [f"acc_{a}_g" for a in "xyz"] + [f"ori_{a}_rad" for a in ("yaw", "pitch", "roll")]
    assert list(table) == ["time_s", *axes, *(f"mag_{a}_raw" for a in "xyz")]
    np.testing.assert_allclose(table["acc_z_g"], 1)
    np.testing.assert_allclose(table["ori_yaw_rad"], np.sin(np.arange(100) / 10), atol=1e-3)
    field = table["mag_y_raw"].dropna()  # sampled 20 times as seldom
    assert list(field.index) == [0, 20, 40, 60, 80] and (field == 4096).all()


@pytest.mark.parametrize(("name", "what"), [("vessel_set", "diameter_px"), ("velocity_set", "velocity_px_per_s")])
def test_vessel_sets(adapted, name, what):
    vessels, traces = adapted.table(name, "-vessels.csv"), adapted.table(name, "-traces.csv")
    source = isx.VesselSet.read(str(adapted.recordings[name]))
    assert list(vessels["status"]) == ["rejected", "undecided", "undecided"]
    second = "center_px" if name == "vessel_set" else "direction_deg"
    assert list(traces) == ["time_s", *(f"V{i}_{what}" for i in range(3)), *(f"V{i}_{second}" for i in range(3))]
    for i in range(3):
        trace, line = np.delete(source.get_vessel_trace_data(i), 10), source.get_vessel_line_data(i)
        assert np.isnan(traces[f"V{i}_{what}"][10])  # dropped
        np.testing.assert_allclose(traces[f"V{i}_{what}"].drop(10), trace, rtol=1e-6)
        assert vessels[f"mean_{what}"][i] == pytest.approx(trace.mean(), rel=1e-6)
        assert [vessels["x2_px"][i], vessels["y2_px"][i]] == list(line[1])


@pytest.mark.parametrize(
    ("measure", "stated", "column"),
    [
        ("vessel diameter", "pixels", "diameter_px"),
        ("vessel diameter", "microns", "diameter_um"),
        ("rbc velocity", "pixels per second", "velocity_px_per_s"),
        ("rbc velocity", "microns per second", "velocity_um_per_s"),
    ],
)
def test_vessels_have_the_unit_that_the_file_states(tmp_path, measure, stated, column):
    path = recordings.vessel_set(tmp_path / "v.isxd", measure)
    data, footer = recordings.split_footer(path.read_bytes())
    content = json.loads(footer)
    content["extraProperties"]["idps"]["vesselset"]["units"] = stated
    path.write_bytes(data + recordings.footer_bytes(content))
    out = tmp_path / "out"
    out.mkdir()
    write_results(path, "vessel_set", "s", out, Context(tmp_path))
    assert f"V0_{column}" in pd.read_csv(out / "s-traces.csv")
    assert f"mean_{column}" in pd.read_csv(out / "s-vessels.csv")


@pytest.mark.parametrize("name", ["behavior_movie", "nvision"])
def test_behavior_frames(adapted, name):
    table = adapted.table(name, "-frames.csv")
    movie = isx.Movie.read(str(adapted.recordings[name]))
    assert list(table["status"]) == ["dropped" if i == 2 else "valid" for i in range(11)]
    for i in set(range(11)) - {2}:
        assert table["hardware_time_us"][i] == movie.get_frame_timestamp(i)
    assert np.isnan(table["hardware_time_us"][2])
    assert adapted.json(name)["is_tracked"] == (name == "nvision")


def test_tracking(adapted):
    table = adapted.table("nvision", "-tracking.csv")
    assert list(table)[:8] == [
        "index",
        "time_s",
        "box_left_px",
        "box_top_px",
        "box_right_px",
        "box_bottom_px",
        "center_x_px",
        "center_y_px",
    ]
    assert np.isnan(table["center_x_px"][0]) and np.isnan(table["center_x_px"][2])
    assert (table["box_left_px"][5], table["box_top_px"][5], table["confidence_percent"][5]) == (15, 10, 92.5)
    assert table["zone_name"][5] == "centre"


@pytest.mark.parametrize("name", ["é ü", "日本語", "a.b.c", "with space", "-dash"])
def test_any_name(tmp_path, name):
    """For the conversion of raw GPIO too, which the library names after the recording."""
    path = recordings.gpio(tmp_path / f"{name}.gpio")
    out, scratch = tmp_path / "out", tmp_path / "scratch"
    out.mkdir()
    scratch.mkdir()
    done = write_results(path, "gpio", name, out, Context(scratch))
    assert done.products == (f"{name}-gpio.csv", f"{name}-ttl.csv", f"{name}.png", f"{name}.json")


def test_results_are_the_same_each_time(adapted, tmp_path):
    path = adapted.recordings["movie"]
    again = tmp_path / "out"
    again.mkdir()
    write_results(path, "movie", "s", again, Context(tmp_path, provenance={"run": 7}))
    for result in again.iterdir():
        assert result.read_bytes() == (adapted.out["movie"] / result.name).read_bytes(), result.name


@pytest.mark.parametrize(
    ("make", "name", "kind"),
    [
        (recordings.event_set, "s.isxd", "event_set"),
        (recordings.movie, "s.isxd", "movie"),
        (recordings.cell_set, "s.isxd", "cell_set"),
        (recordings.vessel_set, "s.isxd", "vessel_set"),
        (recordings.behavior_movie, "s.isxb", "behavior_movie"),
    ],
)
def test_what_a_recording_states_is_parsed_once(tmp_path, monkeypatch, make, name, kind):
    parsed: list[str] = []
    loads, fromfile = json.loads, np.fromfile

    def counted(text, **options):
        if "parse_constant" in options:  # those of recordings
            parsed.append(text)
        return loads(text, **options)

    def read(path, *arguments, **options):
        parsed.append(f"packets of {path}")
        return fromfile(path, *arguments, **options)

    monkeypatch.setattr(file, "SETTLED_NS", -1)  # it was written a moment ago
    monkeypatch.setattr(file.json, "loads", counted)
    monkeypatch.setattr(np, "fromfile", read)
    recording = make(tmp_path / name)
    (tmp_path / "out").mkdir()
    parsed.clear()
    write_results(recording, kind, "s", tmp_path / "out", Context(tmp_path))
    assert parsed and len(parsed) == len(set(parsed)), sorted(text[:60] for text in parsed)


def test_a_recording_that_changed_is_parsed_again(tmp_path, monkeypatch):
    monkeypatch.setattr(file, "SETTLED_NS", -1)
    path = recordings.cell_set(tmp_path / "s.isxd")
    before = formats.read_footer(path)
    assert formats.read_footer(path) is before
    data, text = recordings.split_footer(path.read_bytes())
    path.write_bytes(data + recordings.footer_bytes({**json.loads(text), "note": "edited"}))
    assert formats.read_footer(path)["note"] == "edited"
    monkeypatch.setattr(file, "SETTLED_NS", 2_000_000_000)
    (fresh := tmp_path / "f.isxd").write_bytes(path.read_bytes())
    assert formats.read_footer(fresh) is not formats.read_footer(fresh), "it may change again in the same moment"
