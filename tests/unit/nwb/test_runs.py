"""NWB files of whole runs: who writes one, when it is written again, and what stops a run before it begins."""

from __future__ import annotations

import json
import os
from datetime import timedelta
from pathlib import Path

import isx
import numpy as np
import pynwb
import pytest

from pipeline.nwb.metadata import NOT_READ
from pipeline.recipe.read import read
from recording import formats
from samples import damage, recordings
from tests import trees
from tests.launch import run
from tests.unit.test_run_recipe import Bench, api, bench  # noqa: F401 - fixtures

NWB = {"NWB": "1", "HOME": "/proc/none"}  # as in a container with any user and a read-only root


def nwb_files(output: Path) -> list[str]:
    return sorted(path.relative_to(output).as_posix() for path in output.rglob("*.nwb"))


@pytest.fixture
def mouse(input: Path) -> Path:
    folder = input / "day1"
    folder.mkdir()
    recordings.cell_set(folder / "mouse-PCA-ICA.isxd")
    recordings.event_set(folder / "mouse-PCA-ICA-ED.isxd")
    recordings.gpio(folder / "mouse.gpio")
    return recordings.movie(folder / "mouse.isxd", n=40)


def test_one_session_one_file(mouse, input, output):
    recordings.movie(input / "m_part1.isxd")
    recordings.movie(input / "m_part2.isxd", start_ms=recordings.START_MS + 10_000)
    recordings.movie(input / "other1.isxd")
    recordings.movie(input / "other2.isxd", start_ms=recordings.START_MS + 3_600_000)  # too late to be a part
    done = run(input, output, env={**NWB, "NWB_MOVIE": "1"})
    assert done.code == 0, done.stderr
    names = ("day1/mouse", "m", "other1", "other2")
    assert nwb_files(output) == [f"{name}/{Path(name).name}.nwb" for name in names]
    with pynwb.NWBHDF5IO(str(output / "day1/mouse/mouse.nwb"), "r") as io:
        file = io.read()
        assert set(file.acquisition) == {"OnePhotonSeries", "GPIO-1", "EX-LED"}
        ophys = file.processing["ophys"]
        assert set(ophys.data_interfaces) == {"ImageSegmentation", "Fluorescence", "SegmentationImages"}
        assert file.events["Events"]["cell"].table is ophys["ImageSegmentation"]["PlaneSegmentation"]
        frames = file.acquisition["OnePhotonSeries"].data[:]
        assert np.allclose(ophys["SegmentationImages"]["mean"].data[:], frames.mean(axis=0))
        assert np.array_equal(ophys["SegmentationImages"]["max"].data[:], frames.max(axis=0))
    with pynwb.NWBHDF5IO(str(output / "m/m.nwb"), "r") as io:
        series = io.read().acquisition
        assert {name: its.starting_time for name, its in series.items()} == {
            "OnePhotonSeries-1": 0.0,
            "OnePhotonSeries-2": 10.0,
        }


@pytest.mark.parametrize("name", ["m", "m_part1", "m_part2"])
def test_metadata_may_be_called_like_the_session_or_like_a_part(name, input, output):
    recordings.movie(input / "m_part1.isxd")
    recordings.movie(input / "m_part2.isxd", start_ms=recordings.START_MS + 10_000)
    (input / f"{name}.nwb.toml").write_text('[NWBFile]\nlab = "of the session"\n')
    done = run(input, output, env=NWB)
    assert done.code == 0, done.stderr
    with pynwb.NWBHDF5IO(str(output / "m/m.nwb"), "r") as io:
        assert io.read().lab == "of the session"
    (input / f"{name}.nwb.toml").write_text('[NWBFile]\nlabour = "a mistake"\n')
    again = run(input, output, env=NWB)
    assert again.code == 64 and f"{name}.nwb.toml:2: NWBFile has no field 'labour'" in again.end, again.stderr


def test_tracking_that_the_library_cannot_read_is_left_out(input, output):
    path = recordings.behavior_movie(input / "camera.isxb", tracked=True)
    read_meta, with_meta = damage.PARTS[".isxb"]["meta"]
    meta = json.loads(read_meta(path.read_bytes()))
    meta["samples"][3]["tracker"]["box"] = []
    path.write_bytes(with_meta(path.read_bytes(), json.dumps(meta).encode()))
    assert run(input, output, env=NWB).code == 0
    assert "its tracking is left out" in (output / "summary.csv").read_text()
    with pynwb.NWBHDF5IO(str(output / "camera/camera.nwb"), "r") as io:
        file = io.read()
        assert (set(file.acquisition), set(file.processing)) == ({"BehaviorMovie"}, set())


def test_none_is_written_unless_asked_for(mouse, input, output):
    (input / "nwb.toml").write_text("[Nonsense]\n")
    assert run(input, output).code == 0
    assert nwb_files(output) == []


def test_a_re_run_writes_it_again_only_if_something_changed(mouse, input, output):
    def n_unchanged() -> int:
        done = run(input, output, env=NWB)
        assert done.code == 0, done.stderr
        return done.events[-1]["unchanged"]

    file = output / "day1/mouse/mouse.nwb"
    assert n_unchanged() == 0
    first = file.read_bytes()
    assert n_unchanged() == 4
    (input / "nwb.toml").write_text('[Subject]\nsubject_id = "m1"\n')
    assert n_unchanged() == 0
    assert file.read_bytes() != first
    (input / "day1/mouse.nwb.toml").write_text('[Subject]\nsubject_id = "m2"\n')
    assert n_unchanged() == 0
    with pynwb.NWBHDF5IO(str(file), "r") as io:
        assert io.read().subject.subject_id == "m2"
    os.utime(input / "day1/mouse.gpio", (1, 1))
    assert n_unchanged() == 0  # a session is done as a whole
    (input / "nwb.toml").unlink()
    (input / "day1/mouse.nwb.toml").unlink()
    assert n_unchanged() == 0
    assert n_unchanged() == 4


def test_mistakes_in_the_metadata_stop_the_run_before_any_work(mouse, input, output):
    (input / "nwb.toml").write_text('[Subject]\nspecis = "Mus musculus"\nsex = "male"\n')
    (input / "day1/nwb.toml").write_text("[Sbject]\nsex = 'F'\n")
    (input / "day1/mouse.nwb.yaml").write_text("Subject:\n  sex: F\n")
    before = trees.tree(input)
    done = run(input, output, env=NWB)
    assert done.code == 64
    assert done.end == "the metadata cannot be used: 4 problems, listed above"
    assert [event["message"] for event in done.named("metadata-problem")] == [
        f"{input}/day1/mouse.nwb.yaml:1: {NOT_READ}",
        f"{input}/day1/nwb.toml:1: unknown section 'Sbject'; did you mean 'Subject'?",
        f"{input}/nwb.toml:2: Subject has no field 'specis'; did you mean 'species'?",
        f"{input}/nwb.toml:3: Subject.sex must be one of 'M', 'F', 'U' (unknown), 'O' (other), not 'male'",
    ]
    assert not (output / "day1").exists()
    assert trees.tree(input) == before


def test_a_damaged_companion_is_left_out_and_blocks_nothing(mouse, input, output):
    (input / "day1/mouse.gpio").write_bytes(b"damaged")
    done = run(input, output, env=NWB)
    assert done.code == 1
    assert [event["path"] for event in done.named("recording-failed")] == ["day1/mouse.gpio"]
    said = [event["message"] for event in done.named("recording-warning")]
    left_out = "day1/mouse.gpio is left out of the session: too short to hold a GPIO packet"
    assert f"day1/mouse.isxd and 2 more: {left_out}" in said
    assert nwb_files(output) == ["day1/mouse/mouse.nwb"]


# ---- recipes


def session_of(*paths: Path) -> dict:
    """As PID 1 describes it: by the starts that the recordings state."""
    infos = [formats.check(path) for path in paths]
    start = min(info.start for info in infos)
    members = [
        {
            "path": str(info.path),
            "kind": info.kind,
            "stem": f"{info.path.stem}{info.path.suffix if info.kind != 'movie' else ''}",
            "offset_us": (info.start - start) // timedelta(microseconds=1),
        }
        for info in infos
    ]
    return {"name": "mouse", "members": members, "start": start.isoformat(), "nwb": True}


STANDARD = """
group = "series"
nwb = true
[[step]]
use = "motion_correct"
[[step]]
use = "dff"
[[step]]
use = "pca_ica"
num_pcs = 3
num_ics = 3
[[step]]
use = "event_detection"
[[step]]
use = "auto_accept_reject"
"""


def test_a_recipe_asks_for_it(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text("version = 1\n" + STANDARD)
    assert read(path).nwb
    path.write_text("version = 1\nnwb = 1\n" + STANDARD.replace("nwb = true", ""))
    assert f"{path}:2: nwb must be true or false" in read(path).messages


def test_a_recipe_leaves_the_series_and_its_products_in_one_file(bench: Bench, tmp_path):  # noqa: F811
    parts = [
        recordings.movie(tmp_path / f"part{n}.isxd", n=30, start_ms=recordings.START_MS + 10_000 * n) for n in (1, 2)
    ]
    companions = [recordings.gpio(tmp_path / "part2.gpio"), recordings.behavior_movie(tmp_path / "part2.isxb")]
    done = bench.run(STANDARD, *parts, session=session_of(*parts, *companions))
    assert {"mouse.nwb", "mouse-behavior.mp4"} <= set(done.products)
    path = done.staging / "mouse.nwb"
    assert pynwb.validate(path=str(path)) == []
    with pynwb.NWBHDF5IO(str(path), "r") as io:
        file = io.read()
        assert set(file.acquisition) == {"Movies", "BehaviorMovie", "GPIO-1", "EX-LED"}
        assert file.acquisition["Movies"]["file"][:].tolist() == ["part1.isxd", "part2.isxd"]
        ophys = file.processing["ophys"]
        last = [f"part{n}-MC-DFF.isxd, made by dff (IDPS)" for n in (1, 2)]
        assert ophys["Movies"]["file"][:].tolist() == last
        for number in (1, 2):
            shifts = ophys[f"MotionTranslations-MC-translations-{number}"]
            table = np.loadtxt(done.staging / f"steps/part{number}-MC-translations.csv", delimiter=",", skiprows=1)
            assert np.array_equal(shifts.data[:], table[:, :2])
            assert shifts.starting_time == 10.0 * number  # after the GPIO recording
            assert shifts.rate == 20.0
        tables = ophys["ImageSegmentation"].plane_segmentations
        assert all(name.startswith("PlaneSegmentation-MC-DFF-PCA-ICA-AR") for name in tables)
        assert {f"mean-MC-DFF-{n}" for n in (1, 2)} <= set(ophys["SegmentationImages"].images)


def test_a_corrected_movie_lies_with_its_translations_and_the_recorded_one(bench: Bench, tmp_path):  # noqa: F811
    recipe = 'nwb = true\nengine = "open"\n[[step]]\nuse = "motion_correct"\n'
    movie = recordings.movie(tmp_path / "mouse.isxd", n=30)
    done = bench.run(recipe, movie, session=session_of(movie), options={"nwb": True, "nwb_movie": True})
    path = done.staging / "mouse.nwb"
    assert pynwb.validate(path=str(path)) == []
    with pynwb.NWBHDF5IO(str(path), "r") as io:
        file = io.read()
        stack = file.processing["ophys"]["MotionCorrection"]["CorrectedImageStack-MC"]
        assert stack.original is file.acquisition["OnePhotonSeries"]
        corrected = isx.Movie.read(str(done.staging / "mouse-movie.isxd"))
        frames = np.array([corrected.get_frame_data(i) for i in range(30)])
        assert np.array_equal(stack.corrected.data[:].transpose(0, 2, 1), frames)
        table = np.loadtxt(done.staging / "steps/mouse-MC-translations.csv", delimiter=",", skiprows=1)
        assert np.array_equal(stack.xy_translation.data[:], table[:, :2])
        assert not [name for name in file.processing["ophys"].data_interfaces if name.startswith("MotionTr")]


def test_the_record_of_a_recording_alone_lists_its_nwb_file(input, output):
    """And says what was said of it."""
    recordings.movie(input / "lone.isxd")
    done = run(input, output, "--nwb")
    assert done.code == 0, done.stderr
    record = json.loads((output / "lone/lone.json").read_text())
    assert {path.name for path in (output / "lone").iterdir()} == {*record["results"], "lone.json"}
