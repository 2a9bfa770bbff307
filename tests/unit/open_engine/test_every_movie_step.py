"""What holds for every step that makes a movie: the same bytes on any number of cores, with or without a file, and for
movies that are hardly any, a product or one sentence.
"""

from __future__ import annotations

import dataclasses
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from open_engine import steps
from open_engine.context import StepContext
from open_engine.files import frames
from open_engine.files.frames import Deferred, Source
from recording.errors import Unusable
from samples import recordings
from samples import simulate as synthetic

STEPS: dict[str, tuple[str, dict[str, Any]]] = {
    "preprocess": ("preprocess", {}),
    "preprocess in bins": ("preprocess", {"spatial_downsample_factor": 2, "temporal_downsample_factor": 2}),
    "spatial_filter": ("spatial_filter", {}),
    "spatial_filter, float": ("spatial_filter", {"subtract_global_minimum": False}),
    "spatial_filter, mean": ("spatial_filter", {"subtract_global_minimum": False, "retain_mean": True}),
    "motion_correct": ("motion_correct", {}),
    "motion_correct, padded": ("motion_correct", {"preserve_input_dimensions": True, "low_bandpass_cutoff": None}),
    "dff": ("dff", {}),
    "trim_movie": ("trim_movie", {"crop_segments": [[1, 1]]}),
    "interpolate_movie": ("interpolate_movie", {}),
    "de_interleave": ("de_interleave", {"in_efocus_values": [10]}),
}
FOLDER = Path(steps.__file__).parent
GAPS: dict[str, Any] = {"dropped": [3], "blank": [50], "cropped": [(20, 22)]}


def run(name: str, source: Source, target: Source, context: StepContext) -> None:
    step, parameters = STEPS[name]
    one = step == "trim_movie"
    function = getattr(import_module(f"open_engine.steps.{step}"), step)
    function(source if one else [source], target if one else [target], **parameters, context=context)


@pytest.fixture(scope="module")
def moving(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Large enough for several blocks, with gaps."""
    made = synthetic.recording(seed=7, seconds=9, shape=(200, 240), n_cells=20, motion_px=1.5)
    path = tmp_path_factory.mktemp("moving") / "moving.isxd"
    return recordings.movie_from(path, np.delete(made.movie, [3, 20, 21, 22, 50], axis=0), **GAPS)


MODULES = {path.stem: import_module(f"open_engine.steps.{path.stem}") for path in sorted(FOLDER.glob("[!_]*.py"))}


@pytest.mark.parametrize("step", MODULES)
def test_a_step_is_the_one_public_function_of_its_module(step: str) -> None:
    defined = [
        name for name, it in vars(MODULES[step]).items() if getattr(it, "__module__", "") == MODULES[step].__name__
    ]
    assert [name for name in defined if not name.startswith("_")] == [step]


def test_the_table_is_complete() -> None:
    made = {step for step, module in MODULES.items() if getattr(module, "FRAME_BY_FRAME", False)}
    assert {step for step, _ in STEPS.values()} == made


@pytest.mark.parametrize("name", STEPS)
def test_same_bytes_on_any_number_of_cores(tmp_path: Path, context: StepContext, moving: Path, name: str) -> None:
    made = []
    for threads in (1, 2, 3):
        run(name, moving, tmp_path / "made.isxd", dataclasses.replace(context, threads=threads))
        made.append((tmp_path / "made.isxd").read_bytes())
    assert made[0] == made[1] == made[2]


@pytest.mark.parametrize("name", STEPS)
@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_a_deferred_movie_is_the_one_that_would_be_written(
    tmp_path: Path, context: StepContext, moving: Path, name: str, dtype: str
) -> None:
    source = tmp_path / "a.isxd"
    with frames.open_movie(moving) as movie:
        frames.write_movie(source, movie, [movie.read(0, movie.n_frames)], dtype)
    deferred = Deferred("made.isxd")
    run(name, source, tmp_path / "made.isxd", context)
    run(name, source, deferred, context)
    with frames.open_movie(tmp_path / "made.isxd") as expected, frames.open_movie(deferred) as computed:
        for what in ("timing", "spacing", "dtype", "extra"):
            assert getattr(computed, what) == getattr(expected, what), what
        assert computed.path.name == "made.isxd"
        np.testing.assert_array_equal(computed.samples(0, computed.n_frames), expected.samples(0, expected.n_frames))
        np.testing.assert_array_equal(computed.read(18, 27), expected.read(18, 27))
        np.testing.assert_array_equal(computed.stored(18, 27), expected.stored(18, 27))


def test_a_chain_of_deferred_movies(tmp_path: Path, context: StepContext, moving: Path) -> None:
    """Step by step to files, and at once: the same bytes in the end."""
    chain = ("preprocess in bins", "spatial_filter", "motion_correct", "interpolate_movie", "dff")
    source: Source = moving
    for i, name in enumerate(chain):
        run(name, source, tmp_path / f"{i}.isxd", context)
        source = tmp_path / f"{i}.isxd"
    source = moving
    for i, name in enumerate(chain[:-1]):
        target = Deferred(f"{i}.isxd")
        run(name, source, target, context)
        source = target
    run(chain[-1], source, tmp_path / "at-once.isxd", context)
    assert (tmp_path / "at-once.isxd").read_bytes() == (tmp_path / "4.isxd").read_bytes()


@pytest.mark.parametrize("stat_type", ["mean", "min", "max", "standard_deviation"])
def test_a_projection_of_a_deferred_movie(tmp_path: Path, context: StepContext, moving: Path, stat_type: str) -> None:
    deferred, step = Deferred("f.isxd"), import_module("open_engine.steps.project_movie").project_movie
    run("spatial_filter", moving, tmp_path / "f.isxd", context)
    run("spatial_filter", moving, deferred, context)
    made = []
    for source in (tmp_path / "f.isxd", deferred):
        step([source], tmp_path / "image.isxd", stat_type, context=context)
        made.append((tmp_path / "image.isxd").read_bytes())
    assert made[0] == made[1]


def odd_movies() -> dict[str, tuple[np.ndarray, dict[str, Any]]]:
    rng = np.random.default_rng(0)
    plain = rng.integers(200, 400, (12, 40, 48)).astype(np.uint16)
    with_nan = plain.astype(np.float32)
    with_nan[3] = np.nan
    with_nan[:, 7, 9] = np.nan
    infinite = plain.astype(np.float32)
    infinite[5, 4, 4] = np.inf
    saturated = np.full_like(plain, 4095)
    return {
        "NaN": (with_nan, {}),
        "all NaN": (np.full((6, 40, 48), np.nan, np.float32), {}),
        "infinity": (infinite, {}),
        "constant": (np.full_like(plain, 300), {}),
        "dark": (np.zeros_like(plain), {}),
        "saturated": (saturated, {}),
        "the whole range": (np.where(plain > 300, 65535, 0).astype(np.uint16), {}),
        "one frame": (plain[:1], {}),
        "two frames": (plain[:2], {}),
        "one pixel": (plain[:, :1, :1], {}),
        "one row": (plain[:, :1], {}),
        "a field smaller than any filter": (plain[:, :3, :4], {}),
        "one recorded frame": (plain[:1], {"dropped": [0, 2, 3]}),
        "all dropped": (plain[:0], {"dropped": [0, 1, 2, 3]}),
        "all cropped": (plain[:0], {"cropped": [(0, 5)]}),
    }


ODD = odd_movies()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("what", ODD)
@pytest.mark.parametrize("name", STEPS)
def test_a_product_or_one_sentence(tmp_path: Path, context: StepContext, name: str, what: str) -> None:
    """Products hold as many frames as they say; where no pixel was NaN or infinite, none becomes it."""
    data, gaps = ODD[what]
    source, target = recordings.movie_from(tmp_path / "odd.isxd", data, **gaps), tmp_path / "made.isxd"
    try:
        run(name, source, target, context)
    except Unusable as error:
        assert "odd.isxd" in str(error) or "crop_segments" in str(error)
        assert "\n" not in str(error)
        assert not list(tmp_path.glob("*made*")) and not list(tmp_path.glob(".*"))
        return
    with frames.open_movie(target) as made:
        values = made.read(0, made.n_frames)
        assert len(made.stored(0, made.n_frames)) == made.valid.sum()
        if np.isfinite(data).all():
            assert np.isfinite(values).all()
