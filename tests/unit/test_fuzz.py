"""The eyes of tests/fuzz.py, as a tool that sees nothing always passes; and that a seed decides all of a variant."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path

import pytest

from samples import damage, recordings
from tests import fuzz

VARIANT = {"of": "movie", "file": "movie.isxd", "damage": "footer_number", "where": "footer/spacingInfo/numPixels/x"}
DONE = {"path": "0/movie.isxd", "status": "done", "reason": "", "results": "0/movie", "warnings": ""}
FAILED = {"path": "0/movie.isxd", "status": "failed", "reason": "the file is empty", "results": "", "warnings": ""}


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """Results of a sound movie, and of a variant of it: the same."""
    for folder, size in (("sound/of movie.isxd/movie", 10), ("0/movie", 20)):
        (tmp_path / folder).mkdir(parents=True)
        names = {"movie-frames.csv": "index\n0\n", "movie-mean.tif": "pixels", "movie.html": "<html></html>\n"}
        for name, content in names.items():
            (tmp_path / folder / name).write_text(content)
        record = {"input": {"size_bytes": size}, "n_samples": 1, "results": sorted(names), "warnings": []}
        (tmp_path / folder / "movie.json").write_text(json.dumps(record))
    return tmp_path


def judged(output: Path, row: dict[str, str], variant: dict[str, str] = VARIANT) -> tuple[str, list[str]]:
    fuzzed = fuzz.Fuzzed()
    return fuzz.judge("it", row, variant, output, fuzzed), fuzzed.failures


def test_the_same_results_are_no_failure(output):
    assert judged(output, DONE) == ("same", [])


def test_other_results_need_a_warning_or_a_reason_why_nobody_can_know(output):
    (output / "0/movie/movie-mean.tif").write_text("other pixels")
    end, failures = judged(output, DONE)
    assert (end, failures) == ("differs", ["it gives other results without a warning: movie-mean.tif"])
    assert judged(output, {**DONE, "warnings": "its size may be wrong"}) == ("warned", [])
    assert judged(output, DONE, {**VARIANT, "where": "data"}) == ("differs", [])


def test_another_number_in_the_json_is_seen(output):
    path = output / "0/movie/movie.json"
    path.write_text(path.read_text().replace('"n_samples": 1', '"n_samples": 2'))
    assert judged(output, DONE)[1] == ["it gives other results without a warning: n_samples"]


@pytest.mark.parametrize(
    "reason",
    [
        "",
        "it may be damaged; its log has the details",
        "its worker ended with SIGSEGV",
        "not finished after 60 s",
        "out of memory",
    ],
)
def test_a_failure_must_name_the_fault(output, reason):
    (output / "0/movie").rename(output / "elsewhere")
    assert judged(output, FAILED) == ("refused", [])
    assert "fails and names no fault" in judged(output, {**FAILED, "reason": reason})[1][0]


@pytest.mark.parametrize(
    ("row", "column"),
    [
        (FAILED, {"reason": "IndexError: only integers, slices"}),
        (FAILED, {"reason": "step 1 (dff) failed: no frames (ValueError in a.py, line 1)"}),
        (DONE, {"warnings": "not read: OSError()"}),
        (DONE, {"warnings": "Exception: no"}),
    ],
)
def test_words_of_pythons_are_seen_wherever_they_are(output, row, column):
    if row is FAILED:
        (output / "0/movie").rename(output / "elsewhere")
    (failure,) = judged(output, {**row, **column})[1]
    assert failure.startswith("it has Python's words in its row: ")
    assert judged(output, row)[1] == []


def test_what_a_failure_leaves_is_seen(output):
    assert judged(output, FAILED)[1] == [f"it failed and left {output / '0/movie'}"]


def test_a_variant_without_row_is_seen(output):
    (output / "summary.csv").write_text("path,status,reason,results,warnings\n")
    fuzzed = fuzz.Fuzzed()
    fuzz.judge_variants("inspect", [VARIANT], output, fuzzed)
    assert fuzzed.failures == ["inspect: variant 0 (movie, footer_number: footer/spacingInfo/numPixels/x) has no row"]


FAULTS = {
    "movie-frames.csv": (b"index,time\n0\n", "rows of [1, 2] columns"),
    "movie-mean.png": (b"\x89PNG", "has no end"),
    "movie.html": (b"<html>", "has no end"),
    "movie.json": (b'{"results": ["movie-std.tif"]}', "that are not there, or not those"),
    "movie.nwb": (b"\x89HDF\r\n\x1a\n" + bytes(88), "does not end where it says"),
    "movie.mp4": (b"\0\0\0\x20ftyp", "does not end with a box"),
    ".movie.json.tmp": (b"{", "is temporary"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_what_is_half_written_is_seen(output, name):
    assert list(fuzz.half_written(output)) == []
    content, problem = FAULTS[name]
    (output / "0/movie" / name).write_bytes(content)
    assert any(name in sentence and problem in sentence for sentence in fuzz.half_written(output))


def test_a_recipe_may_keep_its_steps_and_nothing_else(output):
    (output / ".staging/kept").mkdir(parents=True)
    assert list(fuzz.half_written(output, steps_kept=True)) == []
    assert list(fuzz.half_written(output)) == [".staging is left behind"]
    (output / ".staging/all.1").mkdir()
    assert list(fuzz.half_written(output, steps_kept=True)) == [".staging is left behind"]


def test_times_of_steps_are_no_difference_and_all_else_is():
    def step(seconds: float, modified: str, stamp: int, rows: int) -> dict[str, bytes]:
        content = {"seconds": seconds, "input": {"modified": modified}, "stamps": [stamp], "rows": rows}
        return fuzz.without_times_of_steps({"m-PP.json": json.dumps(content).encode()})

    one = step(0.024, "2026-11-28T17:58:32+00:00", 1795888712855994919, 24)
    assert one == step(1.5, "2026-11-28T17:59:03+00:00", 1795888743027996010, 24)
    assert one != step(0.024, "2026-11-28T17:58:32+00:00", 1795888712855994919, 25)


def test_results_of_sound_files_and_what_is_outside_are_compared(tmp_path):
    fuzzed = fuzz.Fuzzed()
    fuzz.judge_sound({"sound/a": b"1", "sound/b": b"2", "index.html": b"3"}, {"sound/a": b"1", "sound/b": b"!"}, fuzzed)
    assert fuzzed.failures == ["sound/b is not what it is without damaged files beside it"]
    (tmp_path / "output-recipe").mkdir()
    (tmp_path / "output-recipe/a").write_text("results")
    (tmp_path / "canary").write_text("1")
    before = fuzz.contents(tmp_path)
    (tmp_path / "canary").write_text("2")
    assert before != fuzz.contents(tmp_path)
    assert set(before) == {"canary"}


def test_a_seed_decides_all_of_a_variant(tmp_path):
    sound = recordings.every_version(tmp_path)
    few, many = damage.variants(sound, 1, 60), damage.variants(sound, 1, 600)
    assert list(few) == list(islice(many, 60))
    assert list(damage.variants(sound, 2, 60)) != list(damage.variants(sound, 1, 60))


def test_every_kind_is_damaged_in_every_way(tmp_path):
    sound = recordings.every_kind(tmp_path)
    made = list(damage.variants(sound, 0, 3000))
    for name, path in sound.items():
        labels = {variant.label for variant in made if variant.name == name}
        assert labels == set(damage.damages(path.suffix, name))
    unchanged = sum(variant.data == sound[variant.name].read_bytes() for variant in made)
    assert unchanged < len(made) / 20


@pytest.mark.parametrize(("lost", "end"), [(0, 60), (5, 60)])
def test_the_end_of_an_mp4_with_a_box_of_64_bits(lost, end):
    content = (20).to_bytes(4, "big") + b"ftyp" + bytes(12) + (1).to_bytes(4, "big") + b"mdat"
    content += (40).to_bytes(8, "big") + bytes(24)
    assert fuzz.boxes_end(content[: len(content) - lost]) == end


def test_workers_that_died_are_seen():
    """Their recordings may be sound when they are tried again."""
    log = ["no event", '{"event": "start", "message": "a"}', '{"event": "tried-again", "message": "m: SIGSEGV"}']
    assert fuzz.deaths(log) == ["m: SIGSEGV"]
    assert fuzz.deaths(log[:2]) == []
