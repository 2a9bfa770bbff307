"""Recipes run in a worker, as PID 1 starts it.

The licensed algorithms cannot be had here: tests/installer/algorithms stands in for them. It has their signatures and
reads and writes real recordings, so what is proved is the runner, not the algorithms.
"""

from __future__ import annotations

import importlib.util
import inspect
import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import isx
import isx.algo
import numpy as np
import pytest
import tifffile
from scipy.ndimage import gaussian_filter

from pipeline.engines import isx_api
from pipeline.recipe import steps as table
from samples import recordings
from tests import launch

ROOT = Path(__file__).resolve().parents[2]
STAND_IN = ROOT / "tests/installer/algorithms"
TOP = "version = 1\n"


@pytest.fixture(scope="session")
def api(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for PYTHONPATH, with the isx at hand and the stand-in laid over it."""
    folder = tmp_path_factory.mktemp("api")
    (folder / "isx").mkdir()
    real = Path(importlib.util.find_spec("isx").origin).parent
    for source in [*real.iterdir(), *STAND_IN.glob("*.py")]:
        target = folder / "isx" / source.name
        if source.name != "__pycache__":
            target.unlink(missing_ok=True)
            target.symlink_to(source)
    return folder


@dataclass
class Done:
    """What a worker left."""

    code: int
    events: list[dict[str, Any]]
    log: str
    staging: Path

    @property
    def last(self) -> dict[str, Any]:
        return self.events[-1]

    @property
    def products(self) -> list[str]:
        assert self.code == 0, self.log
        return self.last["products"]

    @property
    def reason(self) -> str:
        assert (self.code, self.last["event"]) == (1, "error")
        return self.last["reason"]

    @property
    def steps_run(self) -> list[str]:
        lines = self.log.splitlines()
        return [
            line.split("(")[1].split(")")[0] for line in lines if line.startswith("step ") and line.endswith("begins")
        ]

    @property
    def warnings(self) -> list[str]:
        return [event["message"] for event in self.events if event["event"] == "warning"]

    def json(self, name: str) -> Any:
        return json.loads((self.staging / name).read_text("utf-8"))


@dataclass
class Bench:
    """Runs workers as PID 1 does: staging lasts until it is published."""

    folder: Path
    api: Path

    def __post_init__(self) -> None:
        self.staging, self.results = self.folder / "staging", self.folder / "output" / "mouse"
        self.steps = self.staging / "steps"
        self.steps.mkdir(parents=True)

    def recipe(self, text: str) -> Path:
        path = self.folder / "mine.toml"
        path.write_text(TOP + text, encoding="utf-8")
        return path

    def job(self, recipe: Path, inputs: list[Path], kind: str, **more: Any) -> dict[str, Any]:
        scratch = self.folder / "scratch"
        subprocess.run(["rm", "-rf", str(scratch)], check=True)
        scratch.mkdir()
        return {
            "inputs": [str(path) for path in inputs],
            "kind": kind,
            "stem": "mouse",
            "staging": str(self.staging),
            "scratch": str(scratch),
            "results": str(self.results),
            "threads": 1,
            "recipe": str(recipe),
            "options": {"movie_tiff": False, "movie_mp4": False},
            "provenance": {"fingerprint": "f", "software": {"isx": "stand-in"}},
            **more,
        }

    def start(
        self, recipe: Path, *inputs: Path, kind: str = "movie", api: bool = True, **more: Any
    ) -> subprocess.Popen:
        reader, writer = os.pipe()
        job = self.job(recipe, list(inputs), kind, events_fd=writer, **more)
        process = subprocess.Popen(
            [sys.executable, "-m", "pipeline"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=(writer,),
            cwd=job["scratch"],
            env={**os.environ, "PYTHONPATH": f"{self.api}:{ROOT}" if api else str(ROOT), "LC_ALL": "C.UTF-8"},
        )
        os.close(writer)
        process.stdin.write(json.dumps(job).encode())
        process.stdin.close()
        process.stdin, process.events = None, reader
        return process

    def run(self, recipe: Path | str, *inputs: Path, **more: Any) -> Done:
        path = self.recipe(recipe) if isinstance(recipe, str) else recipe
        process = self.start(path, *inputs, **more)
        log = process.communicate()[0].decode()
        with os.fdopen(process.events) as file:
            events = [json.loads(line) for line in file]
        return Done(process.returncode, events, log, self.staging)

    def publish(self, done: Done) -> None:
        """As PID 1 does in the end; what the worker listed and nothing else."""
        (self.results / "steps").mkdir(parents=True, exist_ok=True)
        for name in done.products:
            (self.staging / name).replace(self.results / name)
        shutil.rmtree(self.staging)
        self.steps.mkdir(parents=True)


@pytest.fixture
def bench(tmp_path: Path, api: Path) -> Bench:
    return Bench(tmp_path, api)


@pytest.fixture(scope="session")
def movie(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return recordings.movie(tmp_path_factory.mktemp("movies") / "mouse.isxd", n=24)


@pytest.fixture(scope="session")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return recordings.cell_set(tmp_path_factory.mktemp("cells") / "mouse.isxd", n=100, rows=24, columns=32)


def of_steps(names: list[str]) -> set[str]:
    return {name[len("steps/") :] for name in names if name.startswith("steps/")}


def recordings_among(names: list[str]) -> list[str]:
    """Those that steps made; the last of each kind have a second name at the top."""
    return sorted(name for name in of_steps(names) if name.endswith(".isxd"))


# ---- the stand-in


def test_the_stand_in_has_the_real_signatures(api: Path) -> None:
    program = (
        "import inspect, json, isx, isx.algo\n"
        "found = inspect.getmembers(isx.algo, inspect.isfunction)\n"
        "print(json.dumps({name: str(inspect.signature(f)) for name, f in found if f.__module__ == 'isx.algo'}))"
    )
    environment = {**os.environ, "PYTHONPATH": str(api)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, check=True)
    stand_in = {name: text for name, text in json.loads(done.stdout).items() if not name.startswith("_")}
    real = {
        name: str(inspect.signature(function))
        for name, function in inspect.getmembers(isx.algo, inspect.isfunction)
        if function.__module__ == "isx.algo"
    }
    assert stand_in == real


# ---- the shipped recipes

STANDARD = ["-PP", "-PP-BP", "-PP-BP-mean_image", "-PP-BP-MC", "-PP-BP-MC-DFF", "-PP-BP-MC-DFF-PCA-ICA"]
CNMFE = ["-PP", "-PP-BP", "-PP-BP-mean_image", "-PP-BP-MC", "-PP-BP-MC-CNMFE"]
SHIPPED = {
    "standard": [*STANDARD, "-PP-BP-MC-DFF-PCA-ICA-ED", "-PP-BP-MC-DFF-PCA-ICA-AR"],
    "cnmfe": [*CNMFE, "-PP-BP-MC-CNMFE-ED", "-PP-BP-MC-CNMFE-AR"],
}


@pytest.fixture(scope="session")
def standard(tmp_path_factory: pytest.TempPathFactory, api: Path, movie: Path) -> Done:
    return Bench(tmp_path_factory.mktemp("standard"), api).run(ROOT / "recipes/standard.toml", movie)


def test_every_shipped_recipe_is_run_somewhere() -> None:
    """`cells` asks a movie for its cells, of which this one has none; tests/image/test_recipes.py runs it."""
    assert {path.stem for path in (ROOT / "recipes").glob("*.toml")} == {*SHIPPED, "cells"}


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_recipes(bench: Bench, movie: Path, standard: Done, name: str) -> None:
    done = standard if name == "standard" else bench.run(ROOT / f"recipes/{name}.toml", movie)
    assert recordings_among(done.products) == sorted(f"mouse{ending}.isxd" for ending in SHIPPED[name])
    tables = {
        f"mouse{ending}" for ending in ("-cells.csv", "-traces.csv", "-footprints.tif", "-events.csv", "-mean.tif")
    }
    files = {f"mouse-{kind}.isxd" for kind in ("cells", "events", "movie", "image")}
    assert tables | files <= set(done.products)
    assert {path.name for path in done.staging.glob("*.isxd")} == files
    assert "steps/mouse-PP-BP-MC-translations.csv" in done.products
    assert done.last["summary"].startswith(f"recipe {name}: ")
    assert done.last["thumbnail"]
    corrected = isx.Movie.read(str(done.staging / "steps/mouse-PP-BP-MC.isxd"))
    assert corrected.timing.num_samples == 12
    assert corrected.spacing.num_pixels == (12, 16)
    before, after = (isx.CellSet.read(str(done.staging / f"steps/mouse{SHIPPED[name][i]}.isxd")) for i in (-3, -1))
    assert {before.get_cell_status(i) for i in range(before.num_cells)} == {"undecided"}
    assert "undecided" not in {after.get_cell_status(i) for i in range(after.num_cells)}
    top, step = done.staging / "mouse-cells.isxd", done.staging / f"steps/mouse{SHIPPED[name][-1]}.isxd"
    assert top.read_bytes() == step.read_bytes() and not top.samefile(step), "who edits one leaves the other"


def test_a_series_is_worked_on_together(bench: Bench) -> None:
    parts = [
        recordings.movie(
            bench.folder / f"part{number}.isxd", n=24, seed=number, start_ms=recordings.START_MS + 5000 * number
        )
        for number in (1, 2)
    ]
    done = bench.run(ROOT / "recipes/standard.toml", *parts)
    products = recordings_among(done.products)
    assert [name for name in products if name.endswith("-ED.isxd")] == [
        "part1-PP-BP-MC-DFF-PCA-ICA-ED.isxd",
        "part2-PP-BP-MC-DFF-PCA-ICA-ED.isxd",
    ]
    assert "mouse-PP-BP-mean_image.isxd" in products
    assert "steps/mouse-PP-BP-MC-crop_rect.csv" in done.products
    assert done.products[-1] == "mouse.json"


def test_provenance_of_each_product(standard: Done, movie: Path) -> None:
    done = standard
    step = done.json("steps/mouse-PP-BP-MC.json")["provenance"]["step"]
    assert step["function"] == "motion_correct"
    assert step["parameters"] == {
        "max_translation": 20,
        "low_bandpass_cutoff": None,
        "high_bandpass_cutoff": None,
    }
    assert step["inputs"] == {
        "input_movie_files": ["mouse-PP-BP.isxd"],
        "reference_file_name": ["mouse-PP-BP-mean_image.isxd"],
    }
    assert step["software"] == {"isx": "stand-in", "algorithms": True}
    whole = done.json("mouse.json")
    assert [step_done["step"] for step_done in whole["steps"]][:2] == ["preprocess", "spatial_filter"]
    assert whole["recipe"]["name"] == "standard"
    assert "num_pcs = 150" in whole["recipe"]["text"]
    assert whole["inputs"][0]["size_bytes"] == movie.stat().st_size
    assert set(whole["results"]) == set(done.products) - {"mouse.json"}


# ---- every algorithm

MOVIES = """
[[step]]
use = "interpolate_movie"
[[step]]
use = "trim_movie"
crop_segments = [[0, 1]]
[[step]]
use = "project_movie"
stat_type = "standard_deviation"
[[step]]
use = "estimate_num_ics"
average_diameter = 4
[[step]]
use = "de_interleave"
in_efocus_values = [100, 900]
from = "input"
[[step]]
use = "de_interleave_dualcolor"
from = "input"
[[step]]
use = "apply_rois"
from = "input"
rois = [[[2, 2], [8, 9]], [[10, 10], [14, 12], [12, 15]]]
cell_names = ["a", "b"]
[[step]]
use = "apply_cell_set"
threshold = 0.5
from = "input"
[[step]]
use = "estimate_vessel_diameter"
lines = [[[2, 2], [8, 9]]]
from = "input"
[[step]]
use = "estimate_rbc_velocity"
rois = [[[2, 2], [8, 2], [8, 9], [2, 9]]]
from = "input"
[[step]]
use = "estimate_vessel_diameter_single_vessel"
line = [[2, 2], [8, 9]]
start_frame = 0
end_frame = 3
from = "input"
[[step]]
use = "export_movie_to_tiff"
from = "de_interleave.900"
[[step]]
use = "export_movie_to_mp4"
from = "input"
"""
SESSIONS = """group = "series"
[[step]]
use = "apply_rois"
rois = [[[2, 2], [8, 9]], [[10, 10], [14, 12], [12, 15]]]
[[step]]
use = "apply_cell_set"
threshold = 0.5
[[step]]
use = "longitudinal_registration"
from = ["apply_cell_set", "input"]
"""
CELL_SETS = """
[[step]]
use = "deconvolve_cellset"
[[step]]
use = "cell_metrics"
[[step]]
use = "export_event_set_to_csv"
[[step]]
use = "export_cell_contours"
threshold = 0.5
[[step]]
use = "create_neural_activity_movie"
[[step]]
use = "binarize_cell_set"
threshold = 0.2
[[step]]
use = "crop_cell_set"
crop = [1, 2, 3, 4]
[[step]]
use = "transform_cell_set"
[[step]]
use = "compute_spatial_overlap_cell_set"
from = ["input", "deconvolve_cellset"]
[[step]]
use = "register_cellsets"
from = ["input", "deconvolve_cellset"]
[[step]]
use = "multicolor_registration"
from = ["input", "deconvolve_cellset"]
[[step]]
use = "multiplane_registration"
from = ["input", "deconvolve_cellset"]
[[step]]
use = "create_cell_map"
from = "input"
rgb = "green"
"""


def uses(text: str) -> set[str]:
    return {line.split('"')[1] for line in text.splitlines() if line.startswith("use = ")}


def test_every_algorithm_is_run_below_or_by_a_shipped_recipe() -> None:
    texts = [MOVIES, SESSIONS, CELL_SETS, *((ROOT / f"recipes/{name}.toml").read_text("utf-8") for name in SHIPPED)]
    run = set().union(*map(uses, texts))
    licensed = {name for name, contract in table.STEPS.items() if isx_api.is_licensed(name) and not contract.unusable}
    # The public library lacks what these two need, and the stand-in covers isx.algo only.
    assert licensed - run == {"export_cell_set_to_csv_tiff", "export_vessel_set_to_csv_tiff"}


def test_algorithms_on_movies(bench: Bench, movie: Path) -> None:
    done = bench.run(MOVIES, movie)
    endings = {name.removeprefix("mouse") for name in of_steps(done.products)}
    assert {
        "-INT.isxd",
        "-INT-TPC.isxd",
        "-INT-TPC-standard_deviation_image.isxd",
        "-INT-TPC-standard_deviation_image-num_ics.json",
        "-efocus_0100.isxd",
        "-efocus_0900.isxd",
        "-efocus_0900-frames.tif",
        "-green.isxd",
        "-red.isxd",
        "-ROI.isxd",
        "-AC.isxd",
        "-VD.isxd",
        "-RBCV.isxd",
        "-diameter.json",
    } <= endings
    profile, fit, estimate = done.json("steps/mouse-diameter.json")
    assert len(profile) == 8
    assert fit == {"amplitude": None}  # not a number
    assert estimate == {"length": 8.0, "center": 4.0}
    assert isinstance(done.json("steps/mouse-INT-TPC-standard_deviation_image-num_ics.json"), int)
    plane = isx.Movie.read(str(bench.steps / "mouse-efocus_0900.isxd"))
    whole = isx.Movie.read(str(movie))
    assert np.array_equal(plane.get_frame_data(3), whole.get_frame_data(7))


def test_algorithms_on_sessions(bench: Bench) -> None:
    parts = [recordings.movie(bench.folder / f"mouse{i}.isxd", n=4, seed=i) for i in (1, 2)]
    products = of_steps(bench.run(SESSIONS, *parts).products)
    wanted = {f"mouse{i}-AC-LR{kind}.isxd" for i in (1, 2) for kind in ("", "_movie")}
    assert wanted | {f"mouse-AC-LR-{table}.csv" for table in ("matches", "transforms", "crop_rect")} <= products


def test_one_session_is_not_registered_to_itself(bench: Bench, movie: Path) -> None:
    done = bench.run(SESSIONS, movie)
    message = f"step 3 (longitudinal_registration) compares at least 2 recordings, and there is only {movie.name}: "
    assert done.code == 1 and done.events[-1]["reason"].startswith(message)
    assert done.steps_run == [] and not any(bench.staging.rglob("*.isxd"))


def test_algorithms_on_cell_sets(bench: Bench, cells: Path) -> None:
    before = cells.read_bytes()
    done = bench.run(CELL_SETS, cells, kind="cell_set")
    endings = {name.removeprefix("mouse") for name in of_steps(done.products)}
    assert {
        "-DEN.isxd",
        "-SPK.isxd",
        "-DEN-metrics.csv",
        "-SPK-event_table.csv",
        "-DEN-contours.json",
        "-DEN-NAM.isxd",
        "-DEN-BIN.isxd",
        "-DEN-BIN-CROP.isxd",
        "-DEN-BIN-CROP-TF.isxd",
        "-overlap.csv",
        "-REG-overlap.csv",
        "-REG-matrix.csv",
        "-REG-maps-cellmap.csv",
        "-MCR-matched.isxd",
        "-MPR.isxd",
        "-cell_map.isxd",
        "-cell_map-rgb.tif",
    } <= endings
    assert isx.CellSet.read(str(bench.steps / "mouse-MPR.isxd")).num_cells == 8
    assert cells.read_bytes() == before


@pytest.mark.parametrize("kind, step", [("event_set", "export_event_set_to_csv"), ("gpio", "export_gpio_set_to_csv")])
def test_names_are_no_formulas_in_the_tables_that_the_library_exports(bench: Bench, tmp_path: Path, kind, step) -> None:
    path = tmp_path / "mouse.isxd"
    (recordings.event_set if kind == "event_set" else recordings.gpio_isxd)(path)
    data, text = recordings.split_footer(path.read_bytes())
    footer = json.loads(text)
    footer["channel list"][0] = "=1+1"
    path.write_bytes(data + recordings.footer_bytes(footer))
    done = bench.run(f'[[step]]\nuse = "{step}"\n', path, kind=kind)
    assert done.code == 0, done.log
    texts = [(bench.staging / name).read_text() for name in done.products if name.endswith(".csv")]
    cells = [cell for text in texts for line in text.splitlines() for cell in line.split(",")]
    assert "=1+1" in " ".join(cells)
    assert not [cell for cell in cells if cell.strip().startswith("=")]


def test_no_convergence_is_a_warning(bench: Bench, movie: Path) -> None:
    done = bench.run('[[step]]\nuse = "pca_ica"\nnum_pcs = 5\nnum_ics = 4\nmax_iterations = 1\n', movie)
    assert "step 1 (pca_ica): PCA-ICA did not converge: raise max_iterations, or lower num_ics" in done.warnings


# ---- steps in Python

STEPS = """import isx
import numpy as np
import helper


def brighten(inputs, outputs, context, factor=2.0):
    assert context.scratch.is_dir() and context.threads == 1
    for number, (source, target) in enumerate(zip(inputs, outputs)):
        movie = isx.Movie.read(str(source))
        written = isx.Movie.write(str(target), movie.timing, movie.spacing, np.float32)
        for i in range(movie.timing.num_samples):
            written.set_frame_data(i, helper.times(movie.get_frame_data(i), factor))
        written.flush()
        context.progress((number + 1) / len(inputs))
    context.warn("brightened")


def table(inputs, outputs, context):
    outputs[0].write_text("files\\n" + "\\n".join(path.name for path in inputs))


def fails(inputs, outputs, context):
    outputs[0].write_bytes(b"half")
    raise ValueError("no cells")


def forgets(inputs, outputs, context):
    pass


def mistakes(inputs, outputs, context):
    isx.Image.write(str(outputs[0]), isx.Spacing((4, 4)), np.float32, np.zeros((4, 4), np.float32))


def dies(inputs, outputs, context):
    import os
    outputs[0].write_bytes(b"half")
    os.kill(os.getpid(), 9)


def quits(inputs, outputs, context):
    raise SystemExit("enough")


def garbage(inputs, outputs, context):
    outputs[0].write_bytes(b"garbage")


def more(inputs, outputs, context):
    outputs[0].write_bytes(b"product")
    outputs[0].with_name("more.txt").write_bytes(b"also kept")
    (outputs[0].parent / "folder").mkdir()


def links(inputs, outputs, context):
    outputs[0].symlink_to(inputs[0])


def interrupts(inputs, outputs, context):
    raise KeyboardInterrupt
"""


@pytest.fixture
def steps(bench: Bench) -> Path:
    (bench.folder / "helper.py").write_text(
        "def times(frame, factor):\n    return (frame * factor).astype('float32')\n"
    )
    path = bench.folder / "steps.py"
    path.write_text(STEPS)
    return path


BRIGHTEN = '[[step]]\npython = "steps.py:brighten"\nsuffix = "BR"\nfactor = {}\n'
TABLE = '[[step]]\npython = "steps.py:table"\nmakes = ".csv"\n'


def test_a_step_in_python_without_any_licence(bench: Bench, steps: Path, movie: Path) -> None:
    done = bench.run(BRIGHTEN.format(3) + TABLE, movie, api=False)
    assert {"mouse-movie.isxd", "mouse-mean.tif", "steps/mouse-BR-table.csv", "mouse.json"} <= set(done.products)
    assert (bench.steps / "mouse-BR-table.csv").read_text() == "files\nmouse-BR.isxd"
    assert "step 1 (brighten): brightened" in done.warnings
    before, after = isx.Movie.read(str(movie)), isx.Movie.read(str(bench.staging / "mouse-movie.isxd"))
    assert np.array_equal(after.get_frame_data(5), 3.0 * before.get_frame_data(5))


def test_several_kinds_come_in_the_order_of_takes(bench: Bench, steps: Path, movie: Path) -> None:
    pick = '[[step]]\npython = "steps.py:table"\ntakes = ["cell_set", "movie"]\nmakes = ".csv"\n'
    rois = '[[step]]\nuse = "apply_rois"\nrois = [[[1, 1], [5, 5]]]\n'
    done = bench.run(rois + pick, movie)
    assert (bench.steps / "mouse-ROI-table.csv").read_text() == "files\nmouse-ROI.isxd\nmouse.isxd", done.log


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        ("fails", "step 1 (fails) failed: no cells (ValueError in steps.py, line 24)"),
        ("forgets", "step 1 (forgets): it ended without an error, but wrote no mouse-forgets.isxd"),
        ("mistakes", "step 1 (mistakes): it should write a movie, but mouse-mistakes.isxd is an image"),
        ("quits", "step 1 (quits) failed: enough (SystemExit in steps.py, line 42)"),
        ("interrupts", "step 1 (interrupts) failed: KeyboardInterrupt"),
        ("garbage", "step 1 (garbage) left an unusable mouse-garbage.isxd: "),
    ],
)
def test_a_step_that_fails(bench: Bench, steps: Path, movie: Path, function: str, reason: str) -> None:
    done = bench.run(f'[[step]]\npython = "steps.py:{function}"\n', movie, api=False)
    assert done.reason.startswith(reason)
    assert not [*bench.staging.glob("*.isxd"), *bench.steps.glob("*.isxd")]


def test_what_a_step_writes_beside_its_products(bench: Bench, steps: Path, movie: Path) -> None:
    done = bench.run('[[step]]\npython = "steps.py:more"\nmakes = ".csv"\n', movie, api=False)
    page = ["mouse-citations.bib", "mouse-methods.md"]
    made = ["steps/more.txt", "steps/mouse-more.csv"]
    assert done.products == [*page, "mouse-quality.csv", "mouse.html", *made, "mouse.json"]
    assert all((bench.staging / name).is_file() for name in done.products)
    assert done.warnings == ["step 1 (more): folder, which it made beside its products, is not a file and was not kept"]


def test_a_link_as_product_becomes_what_it_leads_to(bench: Bench, steps: Path, movie: Path) -> None:
    done = bench.run('[[step]]\npython = "steps.py:links"\n', movie, api=False)
    product = bench.steps / "mouse-links.isxd"
    assert f"steps/{product.name}" in done.products, done.log
    assert not product.is_symlink()
    assert product.read_bytes() == movie.read_bytes()


def test_the_example_of_the_docs(bench: Bench) -> None:
    """A disc that pulses over noise: it goes along with itself, the noise does not."""
    data = recordings.frames(40, 24, 32, seed=5)
    movie = recordings.movie(bench.folder / "mouse.isxd", n=40, seed=5, dropped=[3])
    done = bench.run(ROOT / "docs/examples/local_correlation.toml", movie, api=False)
    image = tifffile.imread(bench.staging / "mouse-image.tif")
    assert {"steps/mouse-CORR.isxd", "mouse-image.isxd", "mouse-image-preview.png"} <= set(done.products)
    valid = np.array([frame - gaussian_filter(frame, 8) for frame in np.delete(data, 3, axis=0).astype(float)])
    neighbours = [
        np.corrcoef(valid[:, 12, 16], valid[:, 12 + dy, 16 + dx])[0, 1]
        for dy in (-1, 0, 1)
        for dx in (-1, 0, 1)
        if dy or dx
    ]
    assert image[12, 16] == pytest.approx(np.mean(neighbours), abs=1e-5)
    assert image[12, 16] > np.mean(image[:4]) + 0.3


# ---- what is finished is not done again


def test_a_change_further_down_leaves_the_steps_before_it(bench: Bench, steps: Path, movie: Path) -> None:
    first = bench.run(BRIGHTEN.format(2) + TABLE, movie)
    assert first.steps_run == ["brighten", "table"]
    bench.publish(first)
    stamp = (bench.results / "steps/mouse-BR.isxd").stat().st_mtime_ns
    other = TABLE.replace('makes = ".csv"', 'makes = ".txt"')
    second = bench.run(BRIGHTEN.format(2) + other, movie)
    assert second.steps_run == ["table"]
    assert {"steps/mouse-BR.isxd", "mouse-mean.tif", "steps/mouse-BR-table.txt"} <= set(second.products)
    assert "steps/mouse-BR-table.csv" not in second.products
    bench.publish(second)
    assert (bench.results / "steps/mouse-BR.isxd").stat().st_mtime_ns == stamp
    third = bench.run(BRIGHTEN.format(5) + other, movie)
    assert third.steps_run == ["brighten", "table"]


def test_a_step_is_done_again_when_its_code_its_input_or_its_product_changes(
    bench: Bench, steps: Path, movie: Path
) -> None:
    source = bench.folder / "mouse.isxd"
    source.write_bytes(movie.read_bytes())
    bench.run(BRIGHTEN.format(2), source)
    assert bench.run(BRIGHTEN.format(2), source).steps_run == []
    steps.write_text(STEPS + "\n# changed\n")
    assert bench.run(BRIGHTEN.format(2), source).steps_run == ["brighten"]
    os.utime(source, ns=(1, 1))
    assert bench.run(BRIGHTEN.format(2), source).steps_run == ["brighten"]
    product = bench.steps / "mouse-BR.isxd"
    product.write_bytes(product.read_bytes()[:-1])
    assert bench.run(BRIGHTEN.format(2), source).steps_run == ["brighten"]


def test_without_an_earlier_result_nothing_is_taken_from_it(bench: Bench, steps: Path, movie: Path) -> None:
    """--force: PID 1 names no results and an empty staging folder."""
    bench.publish(bench.run(BRIGHTEN.format(2), movie))
    assert bench.run(BRIGHTEN.format(2), movie, results="").steps_run == ["brighten"]


@pytest.mark.parametrize("ending", ["dies", "fails"])
def test_finished_steps_outlast_a_worker(bench: Bench, steps: Path, movie: Path, ending: str) -> None:
    cut_short = bench.run(BRIGHTEN.format(2) + f'[[step]]\npython = "steps.py:{ending}"\n', movie)
    assert cut_short.code in (1, -signal.SIGKILL)
    again = bench.run(BRIGHTEN.format(2) + TABLE, movie)
    assert again.steps_run == ["table"]
    (bench.folder / "elsewhere").mkdir()
    elsewhere = Bench(bench.folder / "elsewhere", bench.api)
    undisturbed = elsewhere.run(bench.folder / "mine.toml", movie)
    assert undisturbed.steps_run == ["brighten", "table"]
    assert again.products == undisturbed.products
    for name in again.products:
        if not name.endswith((".json", ".html")):  # these hold times
            assert (again.staging / name).read_bytes() == (undisturbed.staging / name).read_bytes(), name


def test_killed_while_publishing(bench: Bench, steps: Path, movie: Path) -> None:
    """Some products are published already, others are not, the record is not: nothing is done again or lost."""
    done = bench.run(BRIGHTEN.format(2) + TABLE, movie)
    (bench.results / "steps").mkdir(parents=True)
    for name in ("steps/mouse-BR.isxd", "mouse-mean.tif"):
        (bench.staging / name).replace(bench.results / name)
    again = bench.run(BRIGHTEN.format(2) + TABLE, movie)
    assert again.steps_run == []
    assert again.products == done.products
    assert all((bench.staging / name).is_file() for name in again.products)


def test_what_nothing_vouches_for_is_removed(bench: Bench, steps: Path, movie: Path) -> None:
    (bench.staging / "mouse-movie.isxd").write_bytes(b"half")
    (bench.steps / "mouse-BR.isxd").write_bytes(b"half")
    (bench.steps / ".unfinished").mkdir()
    (bench.steps / ".unfinished" / "x.isxd").write_bytes(b"half")
    (bench.steps / ".steps.json").write_text("[{")
    done = bench.run(BRIGHTEN.format(2), movie)
    assert done.steps_run == ["brighten"]
    files = {str(path.relative_to(bench.staging)) for path in bench.staging.rglob("*") if path.is_file()}
    assert files == {*done.products, "steps/.steps.json"}


def test_keep_last(bench: Bench, steps: Path, movie: Path) -> None:
    again = BRIGHTEN.replace('"BR"', '"TWO"')
    text = 'keep = "last"\n' + BRIGHTEN.format(2) + again.format(3) + TABLE
    done = bench.run(text, movie)
    assert recordings_among(done.products) == ["mouse-BR-TWO.isxd"]
    assert "steps/mouse-BR-mean.tif" not in done.products
    assert "steps/mouse-BR-TWO-table.csv" in done.products
    bench.publish(done)
    further = bench.run(text.replace('makes = ".csv"', 'makes = ".txt"'), movie)
    assert further.steps_run == ["table"]
    bench.publish(further)
    before = bench.run('keep = "last"\n' + BRIGHTEN.format(2) + again.format(4) + TABLE, movie)
    assert before.steps_run == ["brighten", "brighten", "table"]


MOVIE_STEPS = """engine = "open"
group = "series"
[[step]]
use = "preprocess"
spatial_downsample_factor = 2
[[step]]
use = "spatial_filter"
[[step]]
use = "project_movie"
[[step]]
use = "motion_correct"
from = "project_movie"
max_translation = 5
[[step]]
use = "dff"
"""


def test_keep_last_writes_no_movie_that_nobody_keeps(bench: Bench) -> None:
    """And what is kept is the same, to the byte. A step that is done again has its movies computed again."""
    parts = [recordings.movie(bench.folder / f"mouse{i}.isxd", rows=80, columns=96, seed=i) for i in (1, 2)]
    every = bench.run(MOVIE_STEPS, *parts)
    all_products = {name: (bench.steps / name).read_bytes() for name in recordings_among(every.products)}
    assert {name[7:] for name in all_products} >= {"PP.isxd", "PP-BP.isxd", "PP-BP-MC.isxd", "PP-BP-MC-DFF.isxd"}
    shutil.rmtree(bench.steps)
    last = bench.run('keep = "last"\n' + MOVIE_STEPS, *parts)
    kept = recordings_among(last.products)
    assert [name for name in kept if "DFF" in name] == ["mouse1-PP-BP-MC-DFF.isxd", "mouse2-PP-BP-MC-DFF.isxd"]
    assert {name: (bench.steps / name).read_bytes() for name in kept} == {name: all_products[name] for name in kept}
    written = {step["step"]: set(step["products"]) for step in last.json("mouse.json")["steps"]}
    assert written["preprocess"] == written["spatial_filter"] == set()
    assert {Path(name).suffix for name in written["motion_correct"]} == {".csv"}
    bench.publish(last)
    further = bench.run('keep = "last"\n' + MOVIE_STEPS + 'f0_type = "min"\n', *parts)
    assert further.steps_run == ["preprocess", "spatial_filter", "motion_correct", "dff"]


# ---- what a worker refuses


WITH_ROOM = """
import sys
from collections import namedtuple
from pipeline.recipe import run as run_recipe
from pipeline.inspect.results import Context
from recording.errors import Unusable
from protocol.job import Job
Disk = namedtuple("Disk", "f_bavail f_frsize")
run_recipe.os.statvfs = lambda path: Disk(int(sys.argv[1]), 1)
job = Job.from_json(sys.stdin.read())
try: print(run_recipe.run(job, Context(job.scratch)).summary)
except Unusable as error: print(error)
"""


def run_with_room(free: int, job: dict[str, Any]) -> str:
    """Summary or reason, where so many bytes are free."""
    command = [sys.executable, "-c", WITH_ROOM, str(free)]
    done = subprocess.run(command, input=json.dumps(job), capture_output=True, text=True, cwd=ROOT, check=True)
    return done.stdout


def test_too_little_room(bench: Bench, steps: Path) -> None:
    """The disk is made out to be nearly full: it cannot be filled in a test."""
    movie = recordings.movie(bench.folder / "mouse.isxd", n=4)
    again = BRIGHTEN.replace('"BR"', '"TWO"').format(3)
    third = BRIGHTEN.replace('"BR"', '"THREE"').format(3)
    job = bench.job(bench.recipe(BRIGHTEN.format(2) + again + third), [movie], "movie")
    assert run_with_room(1024, job).strip() == (
        "the products of the recipe take about 3.87e-05 GB and 1.02e-06 GB are free on the output's disk: free some, "
        'or write keep = "last" in the recipe, which takes 2.58e-05 GB'
    )


def test_room_is_that_of_the_movie_as_it_will_be_down_sampled(bench: Bench) -> None:
    """Down-sampling that is left to the movie is looked up before a disk counts as too small for it."""
    frames = np.random.default_rng(3).integers(900, 1100, (64, 40, 48)).astype(np.uint16)
    movie = recordings.movie_from(bench.folder / "mouse.isxd", frames)
    preprocess = '[[step]]\nuse = "preprocess"\ntemporal_downsample_factor = "auto"\n'
    job = bench.job(bench.recipe(preprocess), [movie], "movie")
    size = frames.nbytes * 2  # as float32 at most

    assert "are free on the output's disk" in run_with_room(size // 4, job)
    assert "32 frames" in run_with_room(int(0.7 * size), job), "the movie has 20 Hz, of which the step leaves 10"


def test_a_name_that_grows_too_long(bench: Bench, steps: Path, movie: Path) -> None:
    source = bench.folder / f"{'m' * 195}.isxd"
    source.write_bytes(movie.read_bytes())
    done = bench.run(BRIGHTEN.format(2).replace("BR", "x" * 40), source, api=False)
    assert done.reason.startswith("a product would be called mmm")
    assert done.reason.endswith(".isxd, which is too long: shorten the recording's name")


def test_a_kind_that_the_recipe_does_not_take(bench: Bench, steps: Path, cells: Path) -> None:
    done = bench.run(BRIGHTEN.format(2), cells, kind="cell_set")
    assert done.reason == "the recipe mine.toml takes movie recordings, not cell_set"


def test_licensed_steps_without_the_algorithms(bench: Bench, movie: Path) -> None:
    done = bench.run(bench.recipe('[[step]]\nuse = "de_interleave_dualcolor"\n'), movie, api=False)
    assert "needs the licensed algorithms of IDPS, which are not in this image" in done.reason
    assert not [path for path in bench.staging.rglob("*") if path.is_file()]


# ---- from PID 1 to the sentinel


def test_a_recipe_from_start_to_sentinel(bench: Bench, steps: Path, tmp_path: Path) -> None:
    source, output = tmp_path / "data", tmp_path / "out"
    source.mkdir()
    recordings.movie(source / "mouse.isxd", n=8)
    recordings.cell_set(source / "cells.isxd")
    broken = bench.recipe(BRIGHTEN.format(2) + '[[step]]\npython = "steps.py:fails"\n')
    first = launch.run(source, output, "--recipe", str(broken))
    assert first.code == 1
    (failure,) = first.named("recording-failed")
    assert failure["reason"] == "step 2 (fails) failed: no cells (ValueError in steps.py, line 24)"
    assert (output / "mouse" / "mouse-mean.tif").is_file()  # inspected, so that one sees what it is
    assert not (output / "mouse" / "steps").exists()
    assert (output / "cells" / "cells-cells.csv").is_file()  # not of a kind that the recipe takes: inspected

    mended = bench.recipe(BRIGHTEN.format(2) + TABLE)
    second = launch.run(source, output, "--recipe", str(mended))
    assert second.code == 0, second.stderr
    log = (output / "logs" / "mouse.isxd.log").read_text()
    assert "step 1 (brighten) begins" not in log  # finished by the first run
    assert "step 2 (table) begins" in log
    assert {"mouse-movie.isxd", "mouse-mean.tif", "mouse.json", "steps"} <= {
        path.name for path in (output / "mouse").iterdir()
    }
    assert (output / "mouse" / "steps" / "mouse-BR-table.csv").is_file()
    assert not (output / ".staging").exists()
    assert (output / "done.marker").is_file()

    unchanged = launch.run(source, output, "--recipe", str(mended))
    assert "2 of them earlier" in unchanged.end
    steps.write_text(STEPS + "\n# changed\n")
    assert "1 of them earlier" in launch.run(source, output, "--recipe", str(mended)).end


def test_check_recipe(bench: Bench, steps: Path, tmp_path: Path) -> None:
    good = bench.recipe(TABLE)
    done = launch.bootstrap("--check-recipe", good)
    assert (done.code, done.end) == (0, f"the recipe {good} can be used")
    bad = bench.recipe(TABLE + "[[step]]\nuse = 'dfff'\n[[step]]\nuse = 'export_movie_to_tiff'\nx = 1\n")
    done = launch.bootstrap("--check-recipe", bad)
    assert done.code == 64
    assert [event["message"] for event in done.named("recipe-problem")] == [
        f"{bad}:6: unknown step 'dfff': there is no such step; did you mean 'dff'?",
        f"{bad}:9: export_movie_to_tiff has no parameter 'x'",
    ]
    assert done.end == "the recipe cannot be used: 2 problems, listed above"
