"""The stream of frames against isx: what it reads, and what isx reads of what it wrote."""

from __future__ import annotations

import threading
from pathlib import Path

import isx
import numpy as np
import pytest

from open_engine.files import frames
from recording import formats
from recording.errors import BadRecording, Unusable
from samples import recordings

GAPS = {"dropped": [2], "cropped": [(4, 5)], "blank": [7]}


def seen_by_isx(path: Path) -> tuple[isx.Movie, np.ndarray]:
    """The movie, to which timing and spacing belong, and all its frames."""
    movie = isx.Movie.read(str(path))
    return movie, np.array([movie.get_frame_data(i) for i in range(movie.timing.num_samples)])


def copied(source: Path, target: Path, dtype: str, megabytes: float = 0.01) -> Path:
    with frames.open_movie(source) as movie:
        blocks = (movie.read(*cut) for cut in frames.chunks(movie, megabytes))
        frames.write_movie(target, movie, blocks, dtype)
    return target


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_reads_what_isx_reads(tmp_path: Path, dtype: str) -> None:
    path = recordings.movie(tmp_path / "a.isxd", dtype=np.dtype(dtype).type, **GAPS)
    theirs, data = seen_by_isx(path)
    with frames.open_movie(path) as movie:
        assert movie.shape == (24, 32)
        assert movie.n_frames == 12
        np.testing.assert_array_equal(movie.valid, theirs.timing.get_valid_samples_mask())
        np.testing.assert_array_equal(movie.read(0, 12), data)
        np.testing.assert_array_equal(movie.read(3, 9), data[3:9])
        np.testing.assert_array_equal(movie.stored(3, 9), data[[3, 6, 8]])
        assert movie.read(5, 5).shape == (0, 24, 32)


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_isx_reads_what_is_written(tmp_path: Path, dtype: str) -> None:
    path = recordings.movie(tmp_path / "a.isxd", dtype=np.dtype(dtype).type, **GAPS)
    copy = copied(path, tmp_path / "b.isxd", dtype)
    (theirs, data), (ours, data_2) = seen_by_isx(path), seen_by_isx(copy)
    assert ours.timing == theirs.timing
    assert ours.spacing == theirs.spacing
    np.testing.assert_array_equal(data_2, data)
    assert formats.check(copy).n_samples == 12


def test_uint8(tmp_path: Path) -> None:
    data = np.arange(5 * 6 * 7, dtype=np.uint8).reshape(5, 6, 7)
    copy = copied(recordings.movie_from(tmp_path / "a.isxd", data), tmp_path / "b.isxd", "uint8")
    np.testing.assert_array_equal(seen_by_isx(copy)[1], data)


def test_frame_headers_are_skipped_and_their_clock_kept(tmp_path: Path) -> None:
    data = np.arange(5 * 6 * 7, dtype=np.uint16).reshape(5, 6, 7)
    clock = np.array([1_000_000, 1_050_007, 1_150_003, 1_200_001, 1_250_019])
    path = recordings.movie_from(tmp_path / "a.isxd", data, clock, dropped=[2])
    copy = copied(path, tmp_path / "b.isxd", "uint16")
    (theirs, data), (ours, data_2) = seen_by_isx(path), seen_by_isx(copy)
    np.testing.assert_array_equal(data_2, data)
    assert ours.timing.period.secs_float == theirs.timing.period.secs_float != 0.05
    assert ours.timing == theirs.timing


def test_extra_properties_survive(tmp_path: Path) -> None:
    path = recordings.movie(tmp_path / "a.isxd")
    animal = {"id": "m1", "sex": "f", "dob": 0, "species": "", "weight": 20, "description": ""}
    extra = {"animal": animal, "idps": {"mc_padding": False, "pre_mc": {"width": 40}}}
    with frames.open_movie(path) as movie:
        frames.write_movie(tmp_path / "b.isxd", movie, [movie.read(0, 12)], extra=extra)
    copy = copied(tmp_path / "b.isxd", tmp_path / "c.isxd", "float32")
    assert formats.read_footer(copy)["extraProperties"] == extra
    info = isx.Movie.read(str(copy)).get_acquisition_info()
    assert info["Animal ID"] == "m1"
    assert info["Motion correction padding"] is False
    changed = frames.with_idps(extra, mc_padding=True)
    assert changed["idps"] == {"mc_padding": True, "pre_mc": {"width": 40}}
    assert extra["idps"]["mc_padding"] is False


def test_image(tmp_path: Path) -> None:
    path = recordings.movie(tmp_path / "a.isxd", **GAPS)
    with frames.open_movie(path) as movie:
        frames.write_image(tmp_path / "b.isxd", movie, movie.read(0, 1)[0])
    image = isx.Image.read(str(tmp_path / "b.isxd"))
    np.testing.assert_array_equal(image.get_data(), seen_by_isx(path)[1][0])
    with frames.open_movie(tmp_path / "b.isxd") as again:
        assert again.n_frames == 1


def test_series_reads_as_one(tmp_path: Path) -> None:
    paths = [recordings.movie(tmp_path / f"{i}.isxd", n=7 + i, seed=i, dropped=[i]) for i in range(3)]
    data = np.concatenate([seen_by_isx(path)[1] for path in paths])
    with frames.open_series(paths) as series:
        assert series.n_frames == 24
        assert series.bounds == ((0, 7), (7, 15), (15, 24))
        np.testing.assert_array_equal(series.read(0, 24), data)
        np.testing.assert_array_equal(series.read(5, 16), data[5:16])
        np.testing.assert_array_equal(series.stored(5, 16), data[5:16][series.valid[5:16]])
        cuts = list(frames.chunks(series, 4 * 24 * 32 * 4 / 2**20))
        assert cuts[:4] == [(0, 4), (4, 7), (7, 11), (11, 15)]  # a chunk does not reach across parts
        assert cuts[-1][1] == 24


def test_parts_of_different_fields_are_refused(tmp_path: Path) -> None:
    paths = [recordings.movie(tmp_path / "a.isxd"), recordings.movie(tmp_path / "b.isxd", rows=20)]
    with pytest.raises(Unusable, match=r"b\.isxd has 32 x 20 px but a\.isxd has 32 x 24 px"), frames.open_series(paths):
        pass


def test_integers_are_rounded_and_cut_off() -> None:
    values = np.array([-1, 0.5, 1.5, 65534.6, 7e4, np.nan, np.inf], np.float32)
    np.testing.assert_array_equal(frames.converted(values, np.dtype("uint16")), [0, 0, 2, 65535, 65535, 0, 65535])
    assert np.isnan(values[5])  # the frames themselves are left alone


def test_a_movie_that_fails_leaves_nothing(tmp_path: Path) -> None:
    path = recordings.movie(tmp_path / "a.isxd")
    with frames.open_movie(path) as movie, pytest.raises(ValueError, match="5 frames for a movie of 12"):
        frames.write_movie(tmp_path / "b.isxd", movie, [movie.read(0, 5)])
    assert [path_left.name for path_left in tmp_path.iterdir()] == ["a.isxd"]


def test_a_file_that_becomes_shorter_is_reported(tmp_path: Path) -> None:
    path = recordings.movie(tmp_path / "a.isxd")
    with frames.open_movie(path) as movie:
        with path.open("r+b") as file:
            file.truncate(3000)
        with pytest.raises(BadRecording, match="became shorter"):
            movie.read(0, 12)


@pytest.mark.parametrize("threads", [1, 3])
def test_in_order(threads: int) -> None:
    at_work, most, lock = 0, 0, threading.Lock()

    def work(item: int) -> int:
        nonlocal at_work, most
        with lock:
            at_work += 1
            most = max(most, at_work)
        with lock:
            at_work -= 1
        return item * item

    assert list(frames.in_order(work, range(50), threads)) == [i * i for i in range(50)]
    assert 1 <= most <= threads
