"""Whoever edits a recipe, a step's code or metadata during a run changes the next run, and nothing of this one."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import h5py
import pytest

from protocol.copies import Copies
from runner import recipe
from runner.endings import Unwritable
from tests.launch import run, start

RECIPE = """
version = 1

[[step]]
python = "lab/steps.py:write"
makes = ".txt"
text = "OLD"
"""
STEPS = """
import time
from pathlib import Path

HERE = Path(__file__).parent

def write(inputs, outputs, context, text=""):
    (HERE / "arrived").touch()
    while not (HERE / "go").exists():
        time.sleep(0.01)
    import beside
    from package.inner import deep
    words = [text, "OLD", beside.WORD, deep.WORD, (HERE / "data.txt").read_text()]
    Path(outputs[0]).write_text(" ".join(words))
"""
METADATA = """
[NWBFile]
session_description = "OLD"
[Subject]
subject_id = "OLD"
"""
FILES = {
    "recipe.toml": RECIPE,
    "lab/steps.py": STEPS,
    "lab/beside.py": 'WORD = "OLD"\n',
    "lab/package/__init__.py": "",
    "lab/package/inner/__init__.py": "",
    "lab/package/inner/deep.py": "from .. import inner\nfrom . import deeper\nWORD = deeper.WORD\n",
    "lab/package/inner/deeper.py": 'WORD = "OLD"\n',
    "lab/data.txt": "data",
    "../input/nwb.toml": METADATA,
}
NAMES = ("larger", "part1")


@pytest.fixture
def lab(samples: Path, tmp_path: Path, input: Path) -> Path:
    for name in NAMES:
        (input / name).mkdir()
        shutil.copy2(samples / f"{name}.isxd", input / name / f"{name}.isxd")
    folder = tmp_path / "recipes"
    for name, content in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    return folder


def arguments(lab: Path, name: str = "") -> tuple[str, ...]:
    """Arguments of a run with one worker. It writes NWB if the edited file decides about NWB."""
    return "--recipe", str(lab / "recipe.toml"), "--workers=1", *(["--nwb"] if name.endswith("nwb.toml") else [])


def said(output: Path) -> set[str]:
    """The words of each product, and the subject of each NWB file."""
    words = set()
    for name in NAMES:
        (text,) = (output / name / name).rglob("*.txt")
        words.add(text.read_text())
        for path in (output / name / name).glob("*.nwb"):
            with h5py.File(path) as file:
                words.add(f"subject {file['general/subject/subject_id'][()].decode()}")
    return words


def new(file: Path) -> None:
    file.write_text(file.read_text().replace("OLD", "NEW"))


def broken(file: Path) -> None:
    file.write_text("]] no TOML, no Python")


def gone(file: Path) -> None:
    file.unlink()


@pytest.mark.parametrize(
    ("name", "edit"),
    [
        ("recipe.toml", new),
        ("lab/steps.py", new),
        ("lab/beside.py", gone),
        ("lab/package/inner/deeper.py", new),
        ("../input/nwb.toml", new),
        ("../input/nwb.toml", broken),
        ("recipe.toml", gone),
    ],
)
def test_an_edit_during_a_run(lab, input, output, tmp_path, name, edit):
    running = start("--input-dir", input, "--output-dir", output, *arguments(lab, name))
    while not (lab / "lab/arrived").exists() and running.poll() is None:
        time.sleep(0.01)
    edit(lab / name)
    (lab / "lab/go").touch()
    _, log = running.communicate(timeout=120)
    assert running.returncode == 0, log
    old = {"OLD OLD OLD OLD data", *(["subject OLD"] if name.endswith("nwb.toml") else [])}
    assert said(output) == old
    for name_of in NAMES:
        record = json.loads((output / name_of / name_of / f"{name_of}.json").read_text())
        assert record["recipe"]["sha256"] == record["provenance"]["recipe_sha256"]
        assert (record["recipe"]["text"], record["provenance"]["recipe"]) == (RECIPE, "recipe.toml")
    assert not (output / ".staging").exists()

    if edit is new:  # the next run sees it
        shutil.copytree(output, tmp_path / "next", symlinks=True)
        again = run(input, tmp_path / "next", *arguments(lab, name))
        assert (again.code, again.end) == (0, "2 recordings, all done")
        assert any("NEW" in text for text in said(tmp_path / "next"))
    (lab / name).write_text(FILES[name])
    again = run(input, output, *arguments(lab, name))
    assert again.end == "2 recordings, all done, 2 of them earlier"
    assert said(output) == old


def test_a_module_in_a_package_is_part_of_the_recipe(lab, input, output):
    (lab / "lab/go").touch()
    assert run(input, output, *arguments(lab)).code == 0
    new(lab / "lab/package/inner/deeper.py")
    assert run(input, output, *arguments(lab)).end == "2 recordings, all done"
    assert said(output) == {"OLD OLD OLD NEW data"}


def test_copies_are_the_files_as_they_were_first_read(tmp_path):
    folder, copies = tmp_path / "lab", tmp_path / "copies"
    (folder / "package").mkdir(parents=True)
    (folder / "no package").mkdir()
    (folder / "package/loop").symlink_to(folder / "package")
    for name in ("a.py", "b.txt", "package/__init__.py", "package/c.py", "no package/d.py"):
        (folder / name).write_text(name)
    making, made = Copies(copies, making=True), Copies(copies)
    python = [folder / name for name in ("a.py", "package/__init__.py", "package/c.py")]
    assert making.python_files(folder) == python
    assert making.read(folder / "b.txt") == b"b.txt"
    for path in (*python, folder / "b.txt"):
        path.write_text("edited")
    (folder / "e.py").touch()
    for copy in (making, made):
        assert copy.python_files(folder) == python
        assert [copy.read(path) for path in python] == [b"a.py", b"package/__init__.py", b"package/c.py"]
        assert copy.read(folder / "b.txt") == b"b.txt"
    with pytest.raises(FileNotFoundError):
        made.read(folder / "e.py")


def test_copies_that_cannot_be_written_are_said(lab, tmp_path):
    (tmp_path / "copies").touch()
    with pytest.raises(Unwritable, match=r"recipe\.toml cannot be copied to the output's disk: Not a directory"):
        recipe.load(str(lab / "recipe.toml"), "auto", tmp_path / "copies", lambda: None)
