"""docs/architecture.md says which files to touch to add a kind, an engine or a step: toys are added by just those."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

import healthcheck
from open_engine.files import frames
from samples import recordings
from tests.launch import ROOT

CITED = "a publication that is cited"
CODE = (*healthcheck.CODE, "requirements.txt")

TOY_KIND = '''"""A toy kind."""

from pathlib import Path

from pipeline.inspect import metadata
from pipeline.inspect.context import Context, Outcome
from pipeline.inspect.opened import OpenRecording


def write_results(recording: OpenRecording, stem: str, out: Path, context: Context) -> Outcome:
    (out / f"{stem}-toys.csv").write_text("name\\nbear\\n")
    return Outcome("one bear", b"", {"n_toys": 1})
'''

FIRST_CLASS_KIND = '''"""A toy kind with a quality measure."""

from pathlib import Path

import isx

from pipeline.inspect.context import Context, Outcome
from pipeline.inspect.opened import OpenRecording
from pipeline.pages.content import Measure


class Box:
    """Stands in for what isx would open."""

    def __init__(self, path: str) -> None:
        self.timing = isx.Timing(3, isx.Duration.from_msecs(100))


READ = Box
METHODS = "Toys were counted [{milne1926}]."


def write_results(recording: OpenRecording, stem: str, out: Path, context: Context) -> Outcome:
    (out / f"{stem}-toys.csv").write_text("name\\nbear\\n")
    measures = (Measure("n_toys", "toys", 1, "", "how many toys there are"),)
    return Outcome("one bear", b"", {"n_toys": 1}, measures, methods=METHODS)
'''

TOY_CHECK = """def _check_toy(one: _Isxd) -> RecordingInfo:
    if listed(one.footer, "toys") != ["bear"]:
        raise Damaged("its toys are not all there")
    return one.file.info("toy")


_CHECKS = {
    "toy": _check_toy,
"""

TOY_PAPER = """@book{milne1926,
  author = {A. A. Milne},
  title = {Winnie-the-Pooh},
  year = {1926}
}

"""

TOY_IN_NWB = '''"""Toys."""

from pynwb import TimeSeries

from pipeline.nwb.session import Opened, SessionFile


def add(session: SessionFile, recording: Opened) -> None:
    name = session.name("Toys", recording.source.label)
    session.file.add_acquisition(TimeSeries(name=name, data=[1.0, 2.0, 3.0], unit="bears", rate=recording.rate))
'''

TOY_STEP = '''"""A toy step."""

from open_engine.context import StepContext
from open_engine.files import frames

FRAME_BY_FRAME = True
REFERENCES = ("milne1926",)


def brighten(input_movie_files, output_movie_files, by: float = 1, *, context: StepContext) -> None:
    for source, target in zip(input_movie_files, output_movie_files):
        with frames.open_movie(source) as movie:
            frames.produce(target, movie, lambda movie, start, stop: movie.read(start, stop) + by, context)
'''

TOY_ENGINE = '''"""A toy engine."""

from pathlib import Path


class Toy:
    name, title = "toy", "toy engine"

    def offers(self, step):
        return step == "dff"

    def objection(self, step, parameter, value):
        return ""

    def call(self, step, call):
        for source, target in zip(call.inputs["input_movie_files"], call.outputs["output_movie_files"]):
            Path(target).write_bytes(Path(source).read_bytes())

    def versions(self, step, software):
        return {"toy": "1"}

    def references(self, step):
        return ["mukamel2009"]

    def source_line(self, step, error):
        return ""
'''


def files_to_touch(what: str) -> set[str]:
    """The row of the table in docs/architecture.md."""
    page = (ROOT / "docs/architecture.md").read_text("utf-8")
    (row,) = re.findall(rf"^\| {re.escape(what)} \| (.*?) \|", page, re.MULTILINE)
    return set(re.findall(r"`([^`]+)`", row))


@pytest.fixture
def app(tmp_path: Path) -> Path:
    folder = tmp_path / "app"
    folder.mkdir()
    for name in CODE:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / name)
    return folder


def edited(app: Path, name: str, old: str, new: str) -> str:
    path = app / name
    text = path.read_text("utf-8")
    assert text.count(old) == 1, f"{name} has {text.count(old)} times {old!r}"
    path.write_text(text.replace(old, new), "utf-8")
    return name


def added(app: Path, name: str, text: str) -> str:
    (app / name).write_text(text, "utf-8")
    return name


def cited(app: Path) -> str:
    """With a paper that nothing cited before."""
    name = "pipeline/pages/references.bib"
    return added(app, name, TOY_PAPER + (app / name).read_text("utf-8"))


def documented(toy: str, *rows: str) -> set[str]:
    """All that these rows of the table name, for a toy of this name."""
    return {re.sub("<[a-z]+>", toy, name) for row in rows for name in files_to_touch(row)}


def run(app: Path, tmp_path: Path, *arguments: str, code: int = 0) -> Path:
    command = [sys.executable, str(app / "bootstrap.py"), *arguments]
    places = {"INPUT_DIR": str(tmp_path / "in"), "OUTPUT_DIR": str(tmp_path / "out")}
    environment = {**os.environ, **places}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    return tmp_path / "out"


def test_a_toy_kind(app: Path, tmp_path: Path) -> None:
    row = '    Kind("toy", "toy", "toy", ("-toys.csv",), isxd_type=6),\n'
    touched = {
        edited(app, "recording/kinds.py", "_ROWS = (\n", "_ROWS = (\n" + row),
        added(app, "pipeline/inspect/toy.py", TOY_KIND),
    }
    assert files_to_touch("a kind of recording") == {"recording/kinds.py", "pipeline/inspect/<kind>.py"}
    assert touched == {"recording/kinds.py", "pipeline/inspect/toy.py"}
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "box.isxd").write_bytes(recordings.footer_bytes({"type": 6}))
    out = run(app, tmp_path)
    assert (out / "box" / "box-toys.csv").read_text() == "name\nbear\n"
    assert "one bear" in (out / "index.html").read_text("utf-8")
    run(app, tmp_path, "--nwb")  # no NWB file, and no failure either
    assert "box.isxd has no NWB file: NWB files do not support a toy yet" in (out / "summary.csv").read_text()


def test_a_first_class_kind(app: Path, tmp_path: Path) -> None:
    """With a check, a quality measure, a methods text that cites, and a place in NWB files."""
    row = '    Kind("toy", "toy", "toy", ("-toys.csv",), isxd_type=6),\n'
    touched = {
        edited(app, "recording/kinds.py", "_ROWS = (\n", "_ROWS = (\n" + row),
        added(app, "pipeline/inspect/toy.py", FIRST_CLASS_KIND),
        added(app, "pipeline/nwb/toy.py", TOY_IN_NWB),
        edited(app, "pipeline/nwb/kinds.py", "images, movies, signals", "images, movies, signals, toy"),
        edited(app, "pipeline/nwb/kinds.py", "IN_NWB = {", 'IN_NWB = {"toy": Kind(toy.add),'),
        edited(app, "recording/formats/isxd.py", "_CHECKS = {\n", TOY_CHECK),
        cited(app),
    }
    rows = ("a kind of recording", "NWB output for a kind", "a check of a kind before isx opens it", CITED)
    assert touched == documented("toy", *rows)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "box.isxd").write_bytes(recordings.footer_bytes({"type": 6, "toys": ["bear"]}))
    (tmp_path / "in" / "empty.isxd").write_bytes(recordings.footer_bytes({"type": 6, "toys": []}))
    out = run(app, tmp_path, "--nwb", code=1)
    assert "empty.isxd,,failed,its toys are not all there" in (out / "summary.csv").read_text()
    assert "Toys were counted [@milne1926]." in (out / "box" / "box-methods.md").read_text("utf-8")
    assert "Winnie-the-Pooh" in (out / "box" / "box-citations.bib").read_text("utf-8")
    assert "n_toys,1,,,how many toys there are" in (out / "box" / "box-quality.csv").read_text()
    assert "how many toys there are" in (out / "box" / "box.html").read_text("utf-8")
    with h5py.File(out / "box" / "box.nwb") as file:
        assert file["acquisition/Toys/data"][:].tolist() == [1, 2, 3]
        assert file["acquisition/Toys/data"].attrs["unit"] == "bears"


def test_a_toy_step(app: Path, tmp_path: Path) -> None:
    """A step that the open engine has and isx lacks. It cites its publication."""
    row = '    "brighten": _movie_filter("BR", {"by": NUMBER}, own=True),\n'
    touched = {
        edited(
            app,
            "pipeline/recipe/steps.py",
            "STEPS: dict[str, Contract] = {\n",
            "STEPS: dict[str, Contract] = {\n" + row,
        ),
        added(app, "open_engine/steps/brighten.py", TOY_STEP),
        cited(app),
    }
    assert touched == documented("brighten", "a step of a recipe", "a step of the open engine", CITED)
    (tmp_path / "in").mkdir()
    movie = recordings.movie(tmp_path / "in" / "m.isxd", n=4)
    recipe = tmp_path / "toy.toml"
    recipe.write_text('version = 1\n[[step]]\nuse = "brighten"\nby = 3\n[[step]]\nuse = "dff"\n')
    out = run(app, tmp_path, "--recipe", str(recipe))
    with frames.open_movie(movie) as before, frames.open_movie(out / "m" / "steps" / "m-BR.isxd") as after:
        assert (after.read(0, 4) == before.read(0, 4) + 3).all()
    assert "brighten" in (out / "m" / "m.html").read_text("utf-8")
    assert "brighten" in (out / "m" / "m-methods.md").read_text("utf-8")
    assert "Winnie-the-Pooh" in (out / "m" / "m-citations.bib").read_text("utf-8")


def test_a_toy_engine(app: Path, tmp_path: Path) -> None:
    touched = {
        edited(
            app,
            "pipeline/engines/__init__.py",
            "from pipeline.engines.protocol import Engine\n",
            "from pipeline.engines.protocol import Engine\nfrom pipeline.engines.toy import Toy\n",
        ),
        edited(app, "pipeline/engines/__init__.py", "PUBLIC, OPEN)", "PUBLIC, OPEN, Toy())"),
        added(app, "pipeline/engines/toy.py", TOY_ENGINE),
    }
    assert files_to_touch("an engine") == {"pipeline/engines/__init__.py", "pipeline/engines/<engine>.py"}
    assert touched == {"pipeline/engines/__init__.py", "pipeline/engines/toy.py"}
    (tmp_path / "in").mkdir()
    recordings.movie(tmp_path / "in" / "m.isxd", n=4)
    recipe = tmp_path / "toy.toml"
    recipe.write_text('version = 1\nengine = "toy"\n[[step]]\nuse = "dff"\n')
    out = run(app, tmp_path, "--recipe", str(recipe))
    assert (out / "m" / "steps" / "m-DFF.isxd").read_bytes() == (tmp_path / "in" / "m.isxd").read_bytes()
    assert '"engine": "toy"' in (out / "m" / "m.json").read_text("utf-8")
    assert "mukamel2009" in (out / "m" / "m-citations.bib").read_text("utf-8")
    assert "toy engine" in (out / "logs" / "m.isxd.log").read_text()


def test_a_toy_format(app: Path, tmp_path: Path) -> None:
    """Of movies, on request."""
    shutil.copy(ROOT / "compose.yaml", app)
    option = '    Option("MOVIE_NPY", "", "0", _switch, "also write each movie for NumPy", changes_results=True),\n'
    writing = (
        "    if context.options.movie_npy:\n"
        "        with target.with_name(f'{target.name}.npy').open('wb') as file:\n"
        "            np.save(file, np.stack([*export.frames(source)]))\n"
    )
    touched = {
        edited(app, "recording/kinds.py", '"-movie.tif", ', '"-movie.tif", "-movie.npy", '),
        edited(
            app,
            "pipeline/inspect/movie.py",
            "    if context.options.movie_tiff:\n",
            writing + "    if context.options.movie_tiff:\n",
        ),
        edited(
            app,
            "protocol/job.py",
            "    movie_tiff: bool = False\n",
            "    movie_tiff: bool = False\n    movie_npy: bool = False\n",
        ),
        edited(app, "runner/settings.py", '    Option("MOVIE_TIFF"', option + '    Option("MOVIE_TIFF"'),
        edited(app, "compose.yaml", "      MOVIE_TIFF:\n", "      MOVIE_TIFF:\n      MOVIE_NPY:\n"),
    }
    assert touched == documented("movie", "a format of results, on request")
    (tmp_path / "in").mkdir()
    movie = recordings.movie(tmp_path / "in" / "m.isxd", n=4)
    out = run(app, tmp_path, "--movie-npy")
    with frames.open_movie(movie) as stored:
        assert (np.load(out / "m" / "m-movie.npy") == stored.read(0, 4)).all()
    assert "m-movie.npy" in (out / "m" / "m.html").read_text("utf-8")
