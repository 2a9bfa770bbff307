"""Who carries a step out is chosen once, when the recipe is read; adding an engine takes one module and one entry."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from pipeline import engines
from pipeline.engines import open as open_steps
from pipeline.engines.open import Open
from pipeline.engines.protocol import Call
from pipeline.engines.python import PythonFile
from pipeline.recipe.read import complaints, read
from tests.launch import ROOT

TOP = "version = 1\n"


class Toy:
    """An engine as a stranger would add it."""

    name, title = "toy", "toy engine"

    def __init__(self) -> None:
        self.calls: list[Call] = []

    def offers(self, step: str) -> bool:
        return step == "dff"

    def objection(self, step: str, parameter: str, value: object) -> str:
        return "it only knows the mean" if value == "min" else ""

    def call(self, step: str, call: Call) -> object:
        self.calls.append(call)
        Path(call.outputs["output_movie_files"][0]).write_bytes(Path(call.inputs["input_movie_files"][0]).read_bytes())
        return None

    def versions(self, step: str, software: Mapping[str, str]) -> dict[str, Any]:
        return {"toy": "1"}

    def source_line(self, step: str, error: BaseException) -> str:
        return ""


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> Toy:
    toy = Toy()
    monkeypatch.setattr(engines, "ENGINES", (*engines.ENGINES, toy))
    return toy


def write(folder: Path, text: str) -> Path:
    path = folder / "mine.toml"
    path.write_text(TOP + text, encoding="utf-8")
    return path


def test_a_module_of_the_lab_s_may_be_called_like_one_of_ours(tmp_path: Path) -> None:
    (tmp_path / "protocol").mkdir()
    (tmp_path / "protocol/__init__.py").write_text("from protocol import stimuli\nstimulus = stimuli.STIMULUS\n")
    (tmp_path / "protocol/stimuli.py").write_text("STIMULUS = 'grating'\n")
    (tmp_path / "common.py").write_text("name = 'lab'\n")
    (tmp_path / "steps.py").write_text(
        "import common, protocol\n\n\ndef show(inputs, outputs, context):\n    return protocol.stimulus, common.name\n"
    )
    call = Call({}, {}, {}, None)
    assert PythonFile(tmp_path / "steps.py").call("show", call) == ("grating", "lab")
    import protocol

    assert Path(protocol.__file__).parent == ROOT / "protocol" and sys.modules["common"].APP == ROOT


def engine_of(folder: Path, text: str) -> str:
    recipe = read(write(folder, text))
    assert recipe.problems == []
    return recipe.steps[0].engine.name if recipe.steps[0].engine else ""


DFF = '[[step]]\nuse = "dff"\n'


@pytest.mark.parametrize(
    "text, name",
    [
        (DFF, "open"),  # the public isx has no algorithms: the first that offers it
        ('engine = "auto"\n' + DFF, "open"),
        ('engine = "open"\n' + DFF, "open"),
        ('engine = "toy"\n' + DFF, "toy"),
        (DFF + 'engine = "toy"\n', "toy"),
        ('engine = "open"\n' + DFF + 'engine = "toy"\n', "toy"),  # a step's own choice counts
        ('[[step]]\nuse = "export_movie_to_tiff"\n', "public"),
        ('engine = "open"\n[[step]]\nuse = "export_movie_to_tiff"\n', "public"),  # whoever computes
    ],
)
def test_the_engine_of_a_step(tmp_path: Path, toy: Toy, text: str, name: str) -> None:
    assert engine_of(tmp_path, text) == name


@pytest.mark.parametrize(
    "text, message",
    [
        (
            'engine = "opne"\n' + DFF,
            "2: engine must be one of 'auto', 'idps', 'public', 'open', 'toy', not 'opne'",
        ),
        (DFF + "engine = 3\n", "4: engine must be one of 'auto', 'idps', 'public', 'open', 'toy', not 3"),
        (DFF + 'engine = "public"\n', "4: the engine public does not offer dff in this image: choose another, or"),
        ('engine = "idps"\n' + DFF, "4: the engine idps does not offer dff in this image: choose another, or"),
        (DFF + 'engine = "toy"\nf0_type = "min"\n', "5: the engine toy cannot honour f0_type: it only knows the mean"),
        ('[[step]]\npython = "steps.py:f"\nengine = "toy"\n', "4: a step in Python has no choice of engine: remove it"),
    ],
)
def test_a_mistake_has_its_line(tmp_path: Path, toy: Toy, text: str, message: str) -> None:
    (tmp_path / "steps.py").write_text("def f(inputs, outputs, context):\n    pass\n")
    recipe = read(write(tmp_path, text))
    assert any(text_of.startswith(f"{recipe.path}:{message}") for text_of in recipe.messages), recipe.messages


def test_the_run_may_choose_for_recipes_that_do_not(tmp_path: Path, toy: Toy) -> None:
    def chosen(text: str) -> Any:
        return read(write(tmp_path, text), "toy").steps[0].engine

    assert chosen(DFF) is toy
    assert chosen('engine = "open"\n' + DFF).name == "open"
    assert read(write(tmp_path, DFF), "tyo").messages == [
        f"{tmp_path}/mine.toml:1: ENGINE must be one of 'auto', 'idps', 'public', 'open', 'toy', not 'tyo'; "
        "did you mean 'toy'?"
    ]
    recipe = read(write(tmp_path, '[[step]]\nuse = "preprocess"\n'), "toy")
    assert complaints(recipe) == [
        f'{recipe.path}:3: the engine toy does not offer preprocess in this image: choose another, or "auto"'
    ]


def test_a_step_that_no_engine_offers_needs_a_licence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "ENGINES", engines.ENGINES[:2])
    recipe = read(write(tmp_path, DFF))
    assert recipe.messages == []
    assert recipe.licensed == ["dff"]
    (message,) = complaints(recipe)
    assert "the step dff needs the licensed algorithms of IDPS, which are not in this image" in message


def test_what_the_open_engine_depends_on() -> None:
    versions = Open().versions("dff", {"isx": "2.1.0 (public)"})
    assert set(versions) == {"code", "numpy", "scipy"}


def test_steps_of_the_open_engine_have_one_blas_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several would wait for one another, busily; steps have threads of their own."""
    seen: list[int] = []

    def step(**_: object) -> None:
        seen.extend(pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas")

    monkeypatch.setattr(open_steps, "_module", lambda name: SimpleNamespace(dff=step))
    with threadpool_limits(2, "blas"):
        Open().call("dff", Call({}, {}, {}, context=None))
        after = [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]
    assert seen and set(seen) == {1}
    assert set(after) == {min(2, len(os.sched_getaffinity(0)))}
