"""What pages are made of, asked without a browser; tests/browser looks at them in one."""

from __future__ import annotations

import base64
import hashlib
import importlib
import re
from pathlib import Path

import numpy as np
import pytest

import healthcheck
from common import NAME
from pipeline.engines import isx_api
from pipeline.inspect.opened import module_of
from pipeline.inspect.results import Context, write_results
from pipeline.pages import cells, methods, page
from pipeline.pages.content import Part, StepShown
from pipeline.recipe import peri_event
from recording import formats
from recording.kinds import KINDS
from samples import recordings
from tests.launch import ROOT

PAGES = Path(page.__file__).parent
VENDORED = {  # of uPlot 1.6.32 on npm, whose integrity there is sha512-KIMVnG68zvu5XXUbC4LQEPnhwOxBuLyW1AHtpm6IKTX...
    "uPlot.iife.min.js": "19c8d4c6ad88929a79f4ae49d6f7161566dfd0ba3d15cc495e974f787eb78f1f",
    "uPlot.min.css": "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04",
}


@pytest.mark.parametrize("name", VENDORED)
def test_the_chart_library_is_the_published_one(name):
    assert hashlib.sha256((PAGES / "vendor" / name).read_bytes()).hexdigest() == VENDORED[name]
    assert "MIT License" in (PAGES / "vendor/LICENSE.uPlot").read_text()


@pytest.mark.parametrize("folder", [".", "bench/baseline", "bench/single-stage"])
def test_everything_that_the_code_reads_reaches_the_image(folder):
    """Templates, styles and scripts lie beside the code: the allow-lists name whole folders, as the Dockerfiles do."""
    sent = (PAGES.parents[1] / folder / "Dockerfile.dockerignore").read_text().splitlines()
    copied = (PAGES.parents[1] / folder / "Dockerfile").read_text()
    for name in (name for name in healthcheck.CODE if (ROOT / name).is_dir()):
        assert f"!{name}" in sent
        assert f"COPY {name} /app/{name}" in copied


def made(path: Path, folder: Path, stem: str = "s", **shown) -> str:
    out = folder / "out"
    out.mkdir()

    def write(part: Part) -> None:
        page.write(page.Page(part.name, stem, [part], {"isx": "2.1.0", "numpy": "2"}, {}, **shown), out)

    write_results(path, formats.check(path).kind, stem, out, Context(folder), write)
    return (out / f"{stem}.html").read_text()


def test_the_policy_names_every_style_and_script(tmp_path):
    text = made(recordings.cell_set(tmp_path / "r.isxd"), tmp_path)
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]+)"', text)
    policy = policy.replace("&#39;", "'")
    assert policy.startswith("default-src 'none'; ") and "unsafe" not in policy
    parts = re.findall(r"<(script|style)>(.*?)</\1>", text, re.DOTALL)
    assert len(parts) == 5
    for _, content in parts:
        assert f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'" in policy
    assert not re.search(r"\s(style|on\w+)=", re.sub(r"<(script|style).*?</\1>", "", text, flags=re.DOTALL))


def test_a_page_keeps_room_for_its_neighbours_near_its_start(tmp_path):
    data = made(recordings.cell_set(tmp_path / "r.isxd"), tmp_path).encode()
    room = re.search(rb"<!--neighbours-->( {3000})<!--/neighbours-->", data)
    assert room and room.end() < 1 << 16  # where the runner looks


def test_large_pictures_are_shown_from_their_files(tmp_path, monkeypatch):
    monkeypatch.setattr(page, "PICTURES_BYTES", 0)
    text = made(recordings.movie(tmp_path / "r.isxd"), tmp_path, stem="a#b")
    assert 'src="./a%23b-preview.png"' in text


# ---- cells


def test_thinning_keeps_least_and_greatest():
    traces = np.zeros((500, 50_000), np.float32)
    traces[3, 40_001], traces[3, 40_002] = 9, -9
    traces[4, 30_000:31_000] = np.nan
    values, stretch = cells.thinned(traces)
    assert values.shape[1] * 500 * 8 / 3 < 1.1 * cells.TRACES_BYTES
    assert (values[3].max(), values[3].min()) == (9, -9)
    assert abs(int(values[3].argmax()) // 2 * stretch - 40_001) <= stretch
    assert np.isnan(values[4]).any() and not np.isnan(values[5]).any()
    few, stretch = cells.thinned(traces[:2, :5000])
    assert stretch == 0 and few.shape == (2, 5000)


def test_a_page_of_ten_thousand_cells_has_its_limit():
    values, _ = cells.thinned(np.zeros((10_000, 3000), np.float32))
    assert values.size * 8 / 3 < 1.3 * cells.TRACES_BYTES


@pytest.mark.parametrize("trace", [[1.0, 2, 4], [5.0, 5, 5], [np.nan, 1, np.inf], [np.nan] * 3])
def test_traces_are_encoded_to_one_part_in_65_534(trace):
    trace = np.array(trace)
    text, low, high = cells.encoded(trace)
    codes = np.frombuffer(base64.b64decode(text), "<u2")
    decoded = np.where(codes == cells.MISSING, np.nan, low + codes / 65_534 * (high - low))
    expected = np.where(np.isfinite(trace), trace, np.nan)
    assert np.allclose(decoded, expected, atol=(high - low) / 65_534, equal_nan=True)


def test_an_outline_goes_around_where_a_footprint_reaches_half():
    core = np.zeros((5, 6))
    core[1:4, 1:5] = 1
    numbers = np.array(re.findall(r"[\d.]+", cells.outline((10, 20, core))), float).reshape(-1, 2)
    assert (numbers.min(axis=0), numbers.max(axis=0)) == (pytest.approx([20.5, 10.5]), pytest.approx([24.5, 13.5]))
    assert cells.outline((0, 0, np.zeros((0, 0)))) == ""


# ---- numbers and words


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (float("nan"), "–"),
        (0, "0"),
        (0.30000000000000004, "0.3"),
        (204.70000000000002, "205"),
        (1234567, "1 234 567"),
    ],
)
def test_numbers_as_people_write_them(value, text):
    assert page.number(value).replace("\u202f", " ") == text


def test_acquisition_leaves_out_what_is_empty():
    said = {"Animal ID": "", "Animal Weight": 0, "Probe Type": "None", "Exposure Time (ms)": 50, "Microscope Gain": 0}
    assert page.acquisition({"acquisition": said}) == [("Exposure Time (ms)", "50"), ("Microscope Gain", "0")]


def step(**changes) -> StepShown:
    about = {"number": 2, "name": "pca_ica", "function": "pca_ica", "engine": "open", "engine_title": "open engine"}
    about |= {
        "parameters": {"num_ics": 20, "unmix": None},
        "software": {"scipy": "1.13.1"},
        "seconds": 1,
        "products": [],
        "references": ["mukamel2009"],
    }
    return StepShown(**{**about, **changes})


def test_methods_say_who_computed_and_cite_what_was_used():
    text = methods.text([], [step()], {NAME: "0.1.0", "isx": "2.1.0", "numpy": "2.0.2", "python": "3.11"})
    assert (
        "Step 2, pca ica, was carried out by the open engine of isx image 0.1.0, which is not IDPS, [@mukamel2009]"
        in text.markdown
    )
    assert "num_ics = 20, unmix = none" in text.markdown and "SciPy 1.13.1 [@virtanen2020]" in text.markdown
    assert "Matplotlib" not in text.markdown
    assert set(re.findall(r"\[@(\w+)\]", text.markdown)) == set(text.citations)
    by_idps = methods.text([], [step(engine="idps", engine_title="IDPS", software={"isx": "1.9.6"})], {})
    assert "was carried out by IDPS (isx 1.9.6) [@mukamel2009] with" in by_idps.markdown
    assert "scipy" not in by_idps.markdown.lower()


def test_references_are_those_that_can_be_cited():
    keys = {key for keys in isx_api.PUBLISHED.values() for key in keys}
    for path in (ROOT / "open_engine/steps").glob("[!_]*.py"):
        keys |= set(getattr(importlib.import_module(f"open_engine.steps.{path.stem}"), "REFERENCES", ()))
    for module in (*(module_of(kind) for kind in KINDS), peri_event):
        keys |= set(re.findall(r"\[\{(\w+)\}\]", getattr(module, "METHODS", "")))
    keys |= {key for _, _, key in (*methods.LIBRARIES, *methods.STEPS_LIBRARIES)} | {"isx"}
    references = (Path(methods.__file__).parent / "references.bib").read_text()
    assert sorted(re.findall(r"^@\w+\{(\w+),", references, re.M)) == sorted(keys)
    entries = methods.bibliography(sorted(keys)).split("\n\n")
    for entry in entries:
        assert re.fullmatch(r"@(article|book|inproceedings|misc)\{\w+,\n(  \w+ = \{.*\},?\n)+\}\n?", entry), entry
        assert entry.count("{") == entry.count("}")
