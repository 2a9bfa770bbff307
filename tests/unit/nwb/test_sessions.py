"""Which recordings share an NWB file, told by their names, and which files of metadata hold for it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipeline.recipe.steps import FILE, STEPS
from runner import sessions
from runner.discover import Recording


def found(*names: str, root: Path = Path("/data")) -> dict[str, str]:
    """Who leads whom."""
    return sessions.find([Recording(name, 1, 1) for name in names], root).leaders


def test_products_gpio_and_imu_belong_to_their_movie():
    movie, names = (
        "day1/mouse.isxd",
        ("-PP-BP-MC-PCA-ICA.isxd", "-PP-BP-MC-PCA-ICA-ED.isxd", ".gpio", ".imu", "_gpio.isxd"),
    )
    everyone = [movie, *(f"day1/mouse{name}" for name in names)]
    assert found(*reversed(everyone)) == dict.fromkeys(everyone, movie)


@pytest.mark.parametrize(
    "others",
    [
        ("mouse-2.isxd",),  # another mouse, or another day
        ("mouse_part2.isxd",),  # a part, which the files must confirm
        ("mouse-PPX.isxd",),
        ("mouseled.gpio",),
        ("day2/mouse.gpio",),
        ("Mouse.gpio",),
    ],
)
def test_what_is_not_named_after_a_movie_has_a_session_of_its_own(others):
    assert found("mouse.isxd", *others) == {name: name for name in ("mouse.isxd", *others)}


def test_without_a_movie_the_shortest_name_leads():
    names = ("m-PCA-ICA.isxd", "m-PCA-ICA-ED.isxd", "m-PCA-ICA-AR.isxd")
    assert found(*names) == dict.fromkeys(names, names[0])


def test_a_gpio_recording_never_leads_a_movie_of_its_name():
    assert found("a.gpio", "a.isxb", "a.isxd") == dict.fromkeys(("a.gpio", "a.isxb", "a.isxd"), "a.isxd")


def test_every_product_of_a_recipe_is_recognised():
    suffixes = {
        makes.suffix.format(stat_type="mean", in_efocus_values=599)
        for contract in STEPS.values()
        for makes in contract.makes
        if makes.kind != FILE and not makes.split_by
    } | {"green", "red", "efocus_599"}
    assert {"PP", "PCA-ICA", "ED", "mean_image"} <= suffixes
    for suffix in suffixes:
        names = ("mouse.isxd", f"mouse-PP-{suffix}.isxd", f"mouse-PP-{suffix}-2.isxd")
        assert found(*names) == dict.fromkeys(names, "mouse.isxd"), suffix


def test_metadata_from_the_general_to_the_particular(tmp_path):
    (tmp_path / "day1").mkdir()
    for name in ("nwb.toml", "day1/nwb.toml", "day1/mouse.nwb.toml", "day1/other.nwb.toml", "day1/not-nwb.toml"):
        (tmp_path / name).touch()
    recordings = [Recording(name, 1, 1) for name in ("day1/mouse.isxd", "day1/third.isxd", "top.isxd")]
    known = sessions.find(recordings, tmp_path)

    def names(recording: Recording) -> list[str]:
        return [path.relative_to(tmp_path).as_posix() for path in known.metadata(recording)]

    assert [names(recording) for recording in recordings] == [
        ["nwb.toml", "day1/nwb.toml", "day1/mouse.nwb.toml"],
        ["nwb.toml", "day1/nwb.toml"],
        ["nwb.toml"],
    ]


@pytest.mark.parametrize("name", ["nwb.yaml", "nwb.yml", "day1/nwb.yaml", "day1/mouse.nwb.yml"])
def test_yaml_is_found_where_toml_would_be_so_that_it_is_answered(tmp_path, name):
    (tmp_path / "day1").mkdir()
    (tmp_path / name).write_text("Subject:\n  sex: F\n")
    recording = Recording("day1/mouse.isxd", 1, 1)
    files = sessions.find([recording], tmp_path).metadata(recording)
    with pytest.raises(sessions.BadMetadata, match=rf"^{tmp_path / name}:1: YAML is not read: .* into nwb\.toml"):
        sessions.check(files, tmp_path / "copies", lambda: None)


@pytest.mark.parametrize("plant", [os.mkfifo, lambda path: os.truncate(os.open(path, os.O_CREAT | os.O_RDWR), 1 << 40)])
def test_metadata_that_are_no_small_file_are_refused_without_waiting(tmp_path, plant):
    path = tmp_path / "nwb.toml"
    plant(path)
    with pytest.raises(sessions.BadMetadata, match=r"nwb\.toml:1: is no file of at most 1 MB"):
        sessions.check([path], tmp_path / "copies", lambda: None)
