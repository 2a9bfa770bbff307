"""Recipes are checked before any data is touched: every mistake at once, each with its line and the way out."""

# ruff: noqa: E501 - one mistake a line

from __future__ import annotations

import inspect
import json
import re
import subprocess
import sys
from pathlib import Path

import isx.algo
import pytest

from pipeline import engines
from pipeline.engines import isx_api
from pipeline.recipe.chain import kept, plan, room
from pipeline.recipe.read import read
from pipeline.recipe.steps import STEPS
from pipeline.toml_files import find_lines, tomllib
from recording.kinds import KINDS, Shape
from tests.step_table import markdown

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = sorted((ROOT / "recipes").glob("*.toml"))
TOP = 'version = 1\ngroup = "file"\n'  # steps begin on line 3


def write(folder: Path, text: str, name: str = "mine.toml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def problems(folder: Path, text: str) -> list[tuple[int, str]]:
    recipe = read(write(folder, text))
    return sorted((problem.line, problem.message) for problem in recipe.problems)


def cli(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pipeline.recipe", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


# ---- mistakes

CELLS = '[[step]]\nuse = "pca_ica"\nnum_pcs = 150\n'  # lines 3 to 5
EVENTS = CELLS + '[[step]]\nuse = "event_detection"\n'  # to line 7

WRONG_TOPS = [
    ("", 1, "version is missing: write version = 1"),
    ("version = 2", 1, "version must be 1, the only version, not 2"),
    ('version = "1"', 1, "version must be 1"),
    ("version = true", 1, "version must be 1"),
    ("version = 1\n\ngruop = 'file'", 3, "unknown key 'gruop'; did you mean 'group'?"),
    ("version = 1\nuse = 'dff'", 2, "unknown key 'use'; it belongs in a [[step]] table"),
    ("version = 1\ngroup = 'files'", 2, "group must be one of 'file', 'series', not 'files'; did you mean 'file'?"),
    ("version = 1\nfollow = 3", 2, "follow must be true or false"),
    ("version = 1\nkeep = 3", 2, "keep must be one of 'all', 'last', not 3"),
    ("version = 1\ndescription = 3", 2, "description must be a string"),
    ("version = 1", 1, "has no steps: write each as a [[step]] table"),
    ("version = 1\nstep = []", 2, "has no steps"),
    ("version = 1\n[step]\nuse = 'dff'", 2, "has no steps"),
    ("version = 1\n[[step]\nuse = 'dff'", 2, "is not valid TOML"),
    ("version = 1\nversion = 1", 2, "is not valid TOML"),
    pytest.param("version = 1\nx = " + "[" * 5000 + "]" * 5000, 2, "is not valid TOML", id="deep"),
    pytest.param("version = 1\nx = 0x" + "f" * 9000, 2, "x is a whole number that does not fit 64 bits", id="huge"),
    pytest.param("version = 1\n" + "a." * 300_000 + "a = 1", 2, "to read: a key with too many dots?", id="dots"),
    pytest.param("version = 1\n" + "#" * (1 << 20), 1, "is larger than 1 MB", id="large"),
    ('version = 1\n[[step]]\nuse = "dff"\nx = "a\\u0000b"', 4, "step.x holds the character NUL"),
]

WRONG_STEPS = [
    ("[[step]]\nf0_type = 'mean'", 3, "a step needs either use or python"),
    ("[[step]]\nuse = 'dff'\npython = 'a.py:b'", 5, "a step needs either use or python, not both"),
    ("[[step]]\nuse = 3", 4, "use must be a string"),
    ("[[step]]\nuse = 'dfff'", 4, "unknown step 'dfff': there is no such step; did you mean 'dff'?"),
    ("[[step]]\nuse = 'get_file_stem'", 4, "unknown step 'get_file_stem': isx has it, but a recipe cannot chain it"),
    ("[[step]]\nuse = 'decompress'", 4, "decompress cannot be a step: it takes compressed .isxc files"),
    ("[[step]]\nuse = 'align_start_times'", 4, "align_start_times cannot be a step: it changes recordings in place"),
    ("[[step]]\nuse = 'export_movie_to_nwb'", 4, "export_movie_to_nwb cannot be a step: it writes NWB 1.0"),
    ("[[step]]\nuse = 'dff'\nf0 = 'min'", 5, "dff has no parameter 'f0'"),
    ("[[step]]\nuse = 'dff'\nf0_typ = 'min'", 5, "dff has no parameter 'f0_typ'; did you mean 'f0_type'?"),
    ("[[step]]\nuse = 'dff'\nf0_type = 'maen'", 5, "one of 'mean', 'min', not 'maen'; did you mean 'mean'?"),
    ("[[step]]\nuse = 'dff'\ninput_movie_files = ['a']", 5, "input_movie_files names files, which the runner sets"),
    ("[[step]]\nuse = 'dff'\noutput_movie_files = ['a']", 5, "output_movie_files names files, which the runner sets"),
    ("[[step]]\nuse = 'motion_correct'\nreference_file_name = 'a'", 5, "from = ... chooses what a step reads"),
    ("[[step]]\nuse = 'run_cnmfe'\noutput_dir = '/tmp'", 5, "is set by the runner, to a private temporary folder"),
    ("[[step]]\nuse = 'run_cnmfe'\nnum_threads = 2", 5, "is set by the runner, to the cores that the worker may use"),
    ("[[step]]\nuse = 'pca_ica'", 3, "pca_ica needs num_pcs"),
    ("[[step]]\nuse = 'pca_ica'\nnum_pcs = 100", 5, "num_pcs (100) must be at least num_ics (120)"),
    ("[[step]]\nuse = 'pca_ica'\nnum_pcs = 9\nnum_ics = 10", 5, "num_pcs (9) must be at least num_ics (10)"),
    ("[[step]]\nuse = 'pca_ica'\nnum_pcs = 1.5", 5, "num_pcs must be a whole number of at least 1, not 1.5"),
    ("[[step]]\nuse = 'pca_ica'\nnum_pcs = 4294967297", 5, "num_pcs must be a whole number of at least 1, not 4294967297"),
    ("[[step]]\nuse = 'pca_ica'\nnum_pcs = true", 5, "num_pcs must be a whole number of at least 1, not true"),
    ("[[step]]\nuse = 'preprocess'\ntrim_early_frames = 1", 5, "must be true or false, not 1"),
    ("[[step]]\nuse = 'preprocess'\ncrop_rect = [1, 2, 3]", 5, 'must be a list of 4 whole numbers of at least 0, or "none"'),
    ("[[step]]\nuse = 'preprocess'\ncrop_rect = [9, 0, 5, 5]", 5, "with top <= bottom and left <= right"),
    ("[[step]]\nuse = 'spatial_filter'\nlow_cutoff = 0", 5, 'low_cutoff must be a number above 0, or "none", not 0'),
    ("[[step]]\nuse = 'spatial_filter'\nlow_cutoff = nan", 5, "low_cutoff must be a number above 0"),
    ("[[step]]\nuse = 'spatial_filter'\nlow_cutoff = 0.6", 5, "low_cutoff (0.6) must be below high_cutoff (0.5)"),
    ("[[step]]\nuse = 'spatial_filter'\nhigh_cutoff = 0.005", 5, "low_cutoff (0.005) must be below high_cutoff (0.005)"),
    ("[[step]]\nuse = 'motion_correct'\nhigh_bandpass_cutoff = 0.001", 5, "must be below high_bandpass_cutoff (0.001)"),
    ("[[step]]\nuse = 'motion_correct'\nglobal_registration_weight = 0.01", 5, "of at least 0.05 and at most 1"),
    ("[[step]]\nuse = 'trim_movie'\ncrop_segments = [[5, 2]]", 5, "crop_segments must each be [first, last]"),
    ("[[step]]\nuse = 'trim_movie'\ncrop_segments = [5, 2]", 5, "a list of one or more, each a list of 2 whole numbers"),
    ("[[step]]\nuse = 'apply_rois'\nrois = [[[1, 2]]]\ncell_names = ['a', 'b']", 6, "cell_names has 2 entries but rois has 1"),
    ("[[step]]\nuse = 'estimate_rbc_velocity'\nrois = [[[1, 2], [3, 4]]]", 5, "each a list of 4, each a list of 2"),
    ("[[step]]\nuse = 'estimate_vessel_diameter'\nlines = [[[1, 2], [3, 4]]]\ntime_increment = 5", 6, "at most time_window"),
    ("[[step]]\nuse = 'estimate_num_ics'", 3, "either average_diameter or both min_diameter and max_diameter"),
    ("[[step]]\nuse = 'binarize_cell_set'\nthreshold = 101\nuse_percentile_threshold = true", 5, "from 0 to 100"),
    ("[[step]]\nuse = 'deconvolve_cellset'\nfirst_order_ar = false", 5, "only works with first_order_ar = true"),
    ("[[step]]\nuse = 'deconvolve_cellset'\nnoise_range = [0.5, 0.1]", 5, "noise_range must be [low, high]"),
    (CELLS + "[[step]]\nuse = 'longitudinal_registration'", 7, "compares at least 2 recordings: write group = \"series\""),
    (CELLS + "[[step]]\nuse = 'event_detection'\nthreshold = -1", 8, "threshold must be a number above 0, not -1"),
    (CELLS + "[[step]]\nuse = 'event_detection'\ntau = '0.2'", 8, "tau must be a number above 0, not '0.2'"),
    (EVENTS + "[[step]]\nuse = 'auto_accept_reject'\nfilters = [['SNR', '>=', 3]]", 10, "the operator one of '<', '=', '>'"),
    (EVENTS + "[[step]]\nuse = 'auto_accept_reject'\nfilters = []", 10, "filters must be a list of one or more"),
    # the chain
    ("[[step]]\nuse = 'preprocess'\n[[step]]\nuse = 'event_detection'", 5, "event_detection needs a cell set, and no earlier"),
    (CELLS + "[[step]]\nuse = 'auto_accept_reject'", 6, "auto_accept_reject needs an event set, and no earlier step makes one"),
    (CELLS + "[[step]]\nuse = 'dff'\nfrom = 'pca_ica'", 8, "from names a cell set that dff does not take"),
    (EVENTS + "[[step]]\nuse = 'deconvolve_cellset'\n[[step]]\nuse = 'dff'\nfrom = 'deconvolve_cellset'", 12, "from names a cell set that dff does not take"),
    (CELLS + "[[step]]\nuse = 'dff'\nfrom = 'pca'", 8, "from names 'pca', which is not an earlier step; did you mean 'pca_ica'?"),
    (CELLS + "[[step]]\nuse = 'dff'\nfrom = 'dff'", 8, "from names 'dff', which is not an earlier step: it comes later"),
    (CELLS + "[[step]]\nuse = 'dff'\nfrom = 3", 8, "from must be the name of an earlier step, or a list of names"),
    (CELLS + "[[step]]\nuse = 'register_cellsets'", 6, "register_cellsets takes two cell sets: name both with from = [..., ...]"),
    (
        "[[step]]\nuse = 'de_interleave'\nin_efocus_values = [100, 200]\n[[step]]\nuse = 'dff'",
        6,
        'dff takes one of several products: choose it with from = one of "de_interleave.100", "de_interleave.200"',
    ),
    (
        "[[step]]\nuse = 'de_interleave_dualcolor'\n[[step]]\nuse = 'dff'\nfrom = 'de_interleave_dualcolor'",
        7,
        "from names 'de_interleave_dualcolor', which makes several products",
    ),
    (
        "[[step]]\nuse = 'de_interleave_dualcolor'\n[[step]]\nuse = 'dff'\nfrom = 'de_interleave_dualcolor.blue'",
        7,
        "has no product 'blue': it has green, red",
    ),
    ("[[step]]\nuse = 'export_movie_to_tiff'\n[[step]]\nuse = 'dff'\nfrom = 'export_movie_to_tiff'", 7, "makes nothing that a step"),
    ("[[step]]\nuse = 'dff'\n[[step]]\nuse = 'dff'\n[[step]]\nuse = 'dff'\nfrom = 'dff'", 9, "several earlier steps have that name"),
    ("[[step]]\nuse = 'dff'\nname = 'a'\n[[step]]\nuse = 'dff'\nname = 'a'", 8, "name 'a' is already used: each step needs its own"),
    ("[[step]]\nuse = 'dff'\nname = 'input'", 5, "name 'input' is already used"),
    ("[[step]]\nuse = 'dff'\nname = 'a b'", 5, "name must be made of letters, digits, _ and -"),
    # steps in Python
    ("[[step]]\npython = 'steps.py'", 4, "python must be \"file.py:function\", not 'steps.py'"),
    ("[[step]]\npython = 'missing.py:run'", 4, "missing.py cannot be read: No such file or directory"),
    ("[[step]]\npython = 'broken.py:run'", 4, "broken.py, line 2 is not valid Python"),
    ("[[step]]\npython = 'steps.py:smoth'", 4, "has no function 'smoth'; did you mean 'smooth'?"),
    ("[[step]]\npython = 'steps.py:short'", 4, "short must take (inputs, outputs, context) and then its parameters; it takes (inputs)"),
    ("[[step]]\npython = 'steps.py:smooth'", 3, "smooth needs width"),
    ("[[step]]\npython = 'steps.py:clash'", 4, "clash has a parameter 'name', which is a key of every step: rename it"),
    ("[[step]]\npython = 'steps.py:smooth'\nwidth = 1\nwdith = 2", 6, "smooth has no parameter 'wdith'; did you mean 'width'?"),
    ("[[step]]\npython = 'steps.py:smooth'\nwidth = 1\nhow = 2", 6, "how must be a string, not 2"),
    ("[[step]]\npython = 'steps.py:smooth'\nwidth = [2020-01-01]", 5, "width must not hold a date or a time: write it as a string"),
    ("[[step]]\npython = 'steps.py:smooth'\nwidth = 1\ntakes = 'moive'", 6, "did you mean 'movie'?"),
    ("[[step]]\npython = 'steps.py:smooth'\nwidth = 1\nmakes = 'csv'", 6, "a file's ending such as \".csv\""),
    ("[[step]]\npython = 'steps.py:smooth'\nwidth = 1\nsuffix = 'mean'", 6, "but not one that inspect results have"),
    ("[[step]]\npython = 'steps.py:smooth'\nwidth = 1\nsuffix = '../x'", 6, "suffix must be a string of letters, digits, _ and -"),
    ("[[step]]\npython = 'steps.py:smooth'\nwidth = 1\nsuffix = ['a', 'b']", 6, "suffix has 2 entries but makes has 1"),
]  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "steps.py").write_text(
        "def smooth(inputs, outputs, context, width, *, how='mean'):\n    pass\n\n\ndef short(inputs):\n    pass\n"
        "\n\ndef clash(inputs, outputs, context, name='x'):\n    pass\n"
    )
    (tmp_path / "broken.py").write_text("def run(inputs, outputs, context):\n    return (\n")
    return tmp_path


@pytest.mark.parametrize(("text", "line", "message"), WRONG_TOPS)
def test_mistakes_at_the_top(folder: Path, text: str, line: int, message: str) -> None:
    steps = "" if "steps" in message or "TOML" in message else "\n[[step]]\nuse = 'dff'"
    mistakes = problems(folder, text + steps)
    assert len(mistakes) == 1, mistakes
    assert mistakes[0][0] == line
    assert message in mistakes[0][1]


@pytest.mark.parametrize(("text", "line", "message"), WRONG_STEPS)
def test_mistakes_in_steps(folder: Path, text: str, line: int, message: str) -> None:
    mistakes = problems(folder, TOP + text)
    assert len(mistakes) == 1, mistakes
    assert mistakes[0][0] == line
    assert message in mistakes[0][1]


def test_unreadable_recipes(tmp_path: Path) -> None:
    latin = tmp_path / "latin.toml"
    latin.write_bytes(b"version = 1\n# \xb5m\n")
    assert [(one.line, one.message) for one in read(latin).problems] == [(2, "is not UTF-8 text: save it as such")]
    missing = read(tmp_path / "missing.toml")
    assert [one.message for one in missing.problems] == ["cannot be read: No such file or directory"]


def test_a_recipe_saved_by_windows(folder: Path) -> None:
    path = folder / "windows.toml"
    path.write_bytes(b"\xef\xbb\xbfversion = 1\r\n[[step]]\r\nuse = 'dfff'\r\n")
    assert [one.line for one in read(path).problems] == [3]


def test_every_mistake_at_once(folder: Path) -> None:
    text = """\
version = 3
[[step]]
use = "preproces"
[[step]]
use = "spatial_filter"
low_cutoff = 0.5
high_cutoff = 0.1
lowcutoff = 1
[[step]]
use = "pca_ica"
from = "dff"
[[step]]
use = "de_interleave_dualcolor"
"""
    path = write(folder, text)
    done = cli("--check", path)
    lines = done.stderr.splitlines()
    assert done.returncode == 64
    assert done.stdout == ""
    assert [line.split(": ")[0] for line in lines[:-1]] == [f"{path}:{number}" for number in (1, 3, 6, 8, 9, 11)]
    assert "not in this image" in lines[-1]


# ---- sound recipes


def test_steps_that_need_no_licence(folder: Path) -> None:
    text = TOP + "[[step]]\nuse = 'export_movie_to_tiff'\n[[step]]\npython = 'steps.py:smooth'\nwidth = 3\n"
    done = cli("--check", write(folder, text))
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert facts["kinds"] == ["movie"]


def test_facts_change_with_the_code_of_a_step(folder: Path) -> None:
    path = write(folder, TOP + "[[step]]\npython = 'steps.py:smooth'\nwidth = 3\n")
    before = read(path).sha256
    assert read(path).sha256 == before
    (folder / "helper.py").write_text("x = 1\n")
    assert read(path).sha256 != before


def test_a_recipe_takes_every_kind_that_all_of_its_steps_take(folder: Path) -> None:
    export = "[[step]]\nuse = 'export_movie_to_mp4'\n"
    assert read(write(folder, TOP + export)).kinds == ("movie", "behavior_movie", "nvision")
    both = read(write(folder, TOP + export + "[[step]]\nuse = 'dff'\n"))
    assert (both.kinds, both.problems) == (("movie",), [])


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_recipes_are_sound(path: Path) -> None:
    recipe = read(path)
    assert recipe.messages == []
    assert recipe.kinds == ("movie",)
    assert recipe.group == "series"
    done = cli("--check", path)
    assert done.returncode == 0, done.stderr


def test_a_step_that_only_idps_has(folder: Path) -> None:
    done = cli("--check", write(folder, TOP + "[[step]]\nuse = 'de_interleave_dualcolor'\n"))
    assert done.returncode == 64
    (message,) = done.stderr.splitlines()
    assert "the step de_interleave_dualcolor needs the licensed algorithms of IDPS" in message
    assert "make image INSTALLER=path/to/installer.sh ACCEPT_EULA=Y" in message


def test_wrong_usage() -> None:
    done = cli("--chekc", "x")
    assert done.returncode == 64
    assert "--check [--copies FOLDER] FILE" in done.stderr


def test_none_stands_for_none(folder: Path) -> None:
    recipe = read(write(folder, TOP + "[[step]]\nuse = 'spatial_filter'\nlow_cutoff = 'none'\n"))
    assert recipe.problems == []
    assert recipe.steps[0].parameters == {"low_cutoff": None}


# ---- the table


def functions() -> dict[str, inspect.Signature]:
    return {
        name: inspect.signature(function)
        for name, function in inspect.getmembers(isx.algo, inspect.isfunction)
        if function.__module__ == "isx.algo"
    }


def test_every_algorithm_of_isx_is_in_the_table() -> None:
    assert len(functions()) >= 32
    assert set(functions()) <= set(STEPS)


@pytest.mark.parametrize("name", [name for name, contract in STEPS.items() if not contract.unusable])
def test_the_table_agrees_with_the_signatures(name: str) -> None:
    algorithm = STEPS[name]
    function = engines.function(name, algorithm.own)
    assert function is not None
    assert algorithm.own == (isx_api.function(name) is None)
    signature = inspect.signature(function)
    settable = set(signature.parameters) - algorithm.set_by_runner
    assert settable == set(algorithm.rules)
    assert algorithm.set_by_runner <= set(signature.parameters)
    assert algorithm.takes
    assert algorithm.makes
    assert {kind for takes in algorithm.takes for kind in takes.kinds} <= set(KINDS)
    assert isx_api.is_licensed(name) or name not in functions()
    for parameter, rule in algorithm.rules.items():
        default = signature.parameters[parameter].default
        if default is not inspect.Parameter.empty and default is not None and default != []:
            value = list(default) if isinstance(default, tuple) else default
            assert rule.problem(value) == "" or isinstance(default, int), parameter
        if rule.none:
            assert rule.problem("none") == ""


def test_the_page_shows_the_table() -> None:
    page = (ROOT / "docs/recipes.md").read_text("utf-8")
    assert markdown() in page, "python -m tests.step_table prints the table for docs/recipes.md"


def test_the_recipes_on_the_page_are_sound(folder: Path) -> None:
    page = (ROOT / "docs/recipes.md").read_text("utf-8")
    blocks = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    assert len(blocks) >= 2
    for source in (ROOT / "docs/examples").iterdir():
        if source.is_file():
            (folder / source.name).write_bytes(source.read_bytes())
    for number, block in enumerate(blocks):
        assert read(write(folder, block, f"{number}.toml")).messages == []


# ---- where things stand

TRICKY = '''\
# [[step]]
version = 1 # = 2
"description" = """
[[step]]
use = "no"
""" # a text
'group' = 'file'

[[step]]
use = "a \\" [[step]] = #"
crop_rect = [
  1, # first
  2, ']',
]
name = \'\'\'
b = 3
\'\'\'
[[ step ]]
x.y = 1
t = { a = 1, b = "}" }
[[step]] # last
[step.filters]
z = 1
[other]
use = 2
'''


def test_lines_are_found_where_python_does_not_tell() -> None:
    lines = find_lines(TRICKY)
    tomllib.loads(TRICKY)
    assert lines.top == {"version": 2, "description": 3, "group": 7, "other": 24}
    assert lines.steps == [
        (9, {"use": 10, "crop_rect": 11, "name": 15}),
        (18, {"x": 19, "t": 20}),
        (21, {"filters": 22}),
    ]


@pytest.mark.parametrize("end", ["\n", "\r\n", ""])
def test_lines_with_any_line_end(end: str) -> None:
    text = f"version = 1{end or chr(10)}[[step]]{end or chr(10)}use = 'dff'{end}"
    assert find_lines(text).steps == [(2, {"use": 3})]


@pytest.mark.parametrize("quotes", ['"""', "'''"])
@pytest.mark.parametrize("content", ["", "a", "\n", "a\nb", '"', "''", "x = 1\n[[step]]"])
def test_lines_after_a_long_text(quotes: str, content: str) -> None:
    text = f"a = {quotes}{content} {quotes}\nb = 1\n"
    tomllib.loads(text)
    assert find_lines(text).top == {"a": 1, "b": 2 + content.count("\n")}


# ---- the chain


def chained(folder: Path, text: str) -> list[str]:
    """What the products' names end in."""
    recipe = read(write(folder, TOP + text))
    assert recipe.messages == []
    planned, _ = plan(recipe.steps, recipe.kinds[0])
    return [stream.chain + stream.extension for step in planned for stream in step.made]


def test_names_follow_idps(folder: Path) -> None:
    planned, _ = plan(read(ROOT / "recipes/standard.toml").steps, "movie")
    assert [step.made[0].chain for step in planned] == [
        "-PP",
        "-PP-BP",
        "-PP-BP-mean_image",
        "-PP-BP-MC",
        "-PP-BP-MC-DFF",
        "-PP-BP-MC-DFF-PCA-ICA",
        "-PP-BP-MC-DFF-PCA-ICA-ED",
        "-PP-BP-MC-DFF-PCA-ICA-AR",
    ]
    (_, movies), (takes, image) = planned[3].inputs
    assert takes.parameter == "reference_file_name"
    assert [image[0].chain, movies[0].chain] == ["-PP-BP-mean_image", "-PP-BP"]


def test_no_two_products_share_a_name(folder: Path) -> None:
    twice = "[[step]]\nuse = 'dff'\n[[step]]\nuse = 'dff'\nf0_type = 'min'\nfrom = 'input'\n"
    assert chained(folder, twice) == ["-DFF.isxd", "-DFF-2.isxd"]
    beside = "[[step]]\npython = 'steps.py:smooth'\nwidth = 1\nmakes = ['movie', '.json', '.txt']\n"
    assert chained(folder, beside) == ["-smooth.isxd", "-smooth-2.json", "-smooth.txt"]


def test_from_picks_an_earlier_product(folder: Path) -> None:
    text = "[[step]]\nuse = 'dff'\n[[step]]\nuse = 'spatial_filter'\nfrom = 'input'\n[[step]]\nuse = 'trim_movie'\nfrom = 'dff'\ncrop_segments = [[0, 1]]\n"
    assert chained(folder, text) == ["-DFF.isxd", "-BP.isxd", "-DFF-TPC.isxd"]


def test_planes_and_colours_are_told_apart(folder: Path) -> None:
    text = "[[step]]\nuse = 'de_interleave'\nin_efocus_values = [5, 900]\n[[step]]\nuse = 'dff'\nfrom = 'de_interleave.900'\n"
    assert chained(folder, text) == ["-efocus_0005.isxd", "-efocus_0900.isxd", "-efocus_0900-DFF.isxd"]


def test_what_the_last_keeps() -> None:
    planned, _ = plan(read(ROOT / "recipes/standard.toml").steps, "movie")
    endings = {stream.chain.rpartition("-")[2] for stream in kept(planned, "last")}
    assert endings == {"translations", "crop_rect", "mean_image", "DFF", "ED", "AR"}
    assert len(kept(planned, "all")) == 10


def test_room_is_that_of_the_largest_moment() -> None:
    planned, _ = plan(read(ROOT / "recipes/standard.toml").steps, "movie")
    everything = {stream for step in planned for stream in step.made}
    shape = Shape(samples=1000, pixels=640_000)
    movie = 4 * 500 * 160_000  # after preprocessing
    cells = 4 * 120 * (160_000 + 500)
    all_of_it = room(planned, shape, everything, kept(planned, "all"), {})
    assert 4 * movie + 2 * cells < all_of_it < 4 * movie + 2 * cells + 10_000_000
    least = room(planned, shape, everything, kept(planned, "last"), {})
    assert 2 * movie < least < 3 * movie
    assert room(planned, shape, set(), everything, {}) == 0
