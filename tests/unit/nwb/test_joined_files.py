"""Names of what recipes make, and which files of NWB metadata hold for a session."""

from __future__ import annotations

import os

import pytest

from pipeline.recipe.steps import FILE, STEPS
from runner.input import metadata as sessions
from study import names


def test_every_product_of_a_recipe_is_recognised():
    suffixes = {
        makes.suffix.format(stat_type="mean", in_efocus_values=599)
        for contract in STEPS.values()
        for makes in contract.makes
        if makes.kind != FILE and not makes.split_by
    } | {"green", "red", "efocus_599"}
    assert {"PP", "PCA-ICA", "ED", "mean_image"} <= suffixes
    for suffix in suffixes:
        for name in (f"mouse-PP-{suffix}", f"mouse-PP-{suffix}-2", f"mouse-PP_001-{suffix}"):
            assert names.adds_steps(name, "mouse"), name
    for name in ("mouse-2", "mouse_part2", "mouse-PPX", "mouseled", "mouse", "Mouse-PP"):
        assert not names.adds_steps(name, "mouse"), name


def test_metadata_from_the_general_to_the_particular(tmp_path):
    (tmp_path / "day1").mkdir()
    for name in ("nwb.toml", "day1/nwb.toml", "day1/mouse.nwb.toml", "day1/other.nwb.toml", "day1/not-nwb.toml"):
        (tmp_path / name).touch()
    known = sessions.MetadataFiles(tmp_path)

    def of(folder: str, *stems: str) -> list[str]:
        return [path.relative_to(tmp_path).as_posix() for path in known.of(folder, stems)]

    assert [of("day1", "mouse"), of("day1", "third"), of("", "top")] == [
        ["nwb.toml", "day1/nwb.toml", "day1/mouse.nwb.toml"],
        ["nwb.toml", "day1/nwb.toml"],
        ["nwb.toml"],
    ]


@pytest.mark.parametrize("name", ["nwb.yaml", "nwb.yml", "day1/nwb.yaml", "day1/mouse.nwb.yml"])
def test_yaml_is_found_where_toml_would_be_so_that_it_is_answered(tmp_path, name):
    (tmp_path / "day1").mkdir()
    (tmp_path / name).write_text("Subject:\n  sex: F\n")
    files = sessions.MetadataFiles(tmp_path).of("day1", ["mouse"])
    with pytest.raises(sessions.BadMetadata, match=rf"^{tmp_path / name}:1: YAML is not read: .* into nwb\.toml"):
        sessions.check(files, tmp_path / "copies", lambda: None)


@pytest.mark.parametrize("plant", [os.mkfifo, lambda path: os.truncate(os.open(path, os.O_CREAT | os.O_RDWR), 1 << 40)])
def test_metadata_that_are_no_small_file_are_refused_without_waiting(tmp_path, plant):
    path = tmp_path / "nwb.toml"
    plant(path)
    with pytest.raises(sessions.BadMetadata, match=r"nwb\.toml:1: is not a file of at most 1 MB"):
        sessions.check([path], tmp_path / "copies", lambda: None)
