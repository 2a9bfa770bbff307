"""What is read of the acquisition metadata, whatever is missing from them: all the rest, with a warning."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import isx
import pynwb
import pytest

from open_engine.context import StepContext
from pipeline.inspect import acquisition
from pipeline.inspect.adapter import adapt
from pipeline.inspect.context import Context
from pipeline.nwb.metadata import Metadata
from pipeline.nwb.session import Source
from pipeline.nwb.write import Contents, write
from tests import damage, recordings

Change = Callable[[dict[str, Any]], object]
IDPS = {
    "efocus": 850,
    "channel": "green",
    "interpolatedFrames": [1, 2],
    "mc_padding": True,
    "cellset": {"method": "pca-ica", "units": "dF over F"},
}
VESSELS = {
    "type": "vessel diameter",
    "units": "microns",
    "timeIncrement": 2,
    "timeWindow": 4.5,
    "estimationMethod": "Parametric FWHM",
    "invalidWindows": [3, 4],
    "clippedVessels": "{a: 1}",
}


def noted(change: Change = lambda block: None) -> dict[str, Any]:
    block = copy.deepcopy(recordings.ACQUISITION)
    change(block)
    return block


def read(path: Path, extra: Any) -> tuple[dict[str, Any], list[str]]:
    """The acquisition in the JSON of a movie with these extra properties, and the movie's warnings."""
    recordings.with_extra(recordings.movie(path, n=3), extra)
    out = path.parent / f"{path.stem}-out"
    out.mkdir()
    warnings: list[str] = []
    adapt(path, "movie", "s", out, Context(path.parent, warn=warnings.append))
    return json.loads((out / "s.json").read_text())["acquisition"], warnings


COMPLETE: dict[str, Change] = {
    "two colours, one at a time": lambda block: None,
    "both at once": lambda block: block["microscope"]["dualColor"].update(enabled=True),
    "one colour": lambda block: block["microscope"].pop("dualColor"),
    "one colour, null": lambda block: block["microscope"].update(dualColor=None),
    "no animal": lambda block: block.pop("animal"),
    "no microscope": lambda block: block.pop("microscope"),
    "no probe, no producer": lambda block: (block.pop("probe"), block.pop("producer")),
    "notes of IDPS": lambda block: block.update(idps=IDPS),
    "of vessels": lambda block: block.update(idps={"vesselset": VESSELS}),
    "of vessels, few": lambda block: block.update(idps={"vesselset": {}}),
    "custom": lambda block: block["microscope"].update(customMetadata={"mine": [1, {"a": 2}]}, widefield=True),
    "an ID": lambda block: block.update(processingInterface={"recordingUUID": "u-1"}),
}


@pytest.mark.parametrize("change", COMPLETE.values(), ids=COMPLETE)
def test_a_complete_block_says_what_isx_says(tmp_path, change):
    path = recordings.with_extra(recordings.movie(tmp_path / "m.isxd", n=3), noted(change))
    lacking: list[str] = []
    found = dict(acquisition.read(noted(change), lacking))
    assert found == isx.Movie.read(str(path)).get_acquisition_info()
    assert lacking == []


def _dropped() -> list[str]:
    return sorted({where.strip("/").replace("/", ".") for _, _, where in damage.fields(noted())})


@pytest.mark.parametrize("where", _dropped())
def test_one_missing_key_takes_nothing_else_with_it(tmp_path, where):
    def drop(block: dict[str, Any]) -> None:
        *above, key = where.split(".")
        for name in above:
            block = block[name]
        del block[key]

    whole, _ = read(tmp_path / "whole.isxd", noted())
    found, warnings = read(tmp_path / "m.isxd", noted(drop))
    alone = {"microscope.led": 2, "microscope.dualColor": 2, "animal": 6, "microscope": 7, "probe": 6}
    allowed = alone.get(where, 1)  # a part takes its keys along; what remains is as it was
    assert len(whole.keys() - found.keys()) <= allowed
    unchanged = whole.keys() & found.keys()
    assert {name: found[name] for name in unchanged} == {name: whole[name] for name in unchanged}
    try:
        stated = isx.Movie.read(str(tmp_path / "m.isxd")).get_acquisition_info()
    except Exception:
        lost = f"its acquisition metadata lack {where}"
        (warning,) = warnings
        assert warning.startswith(lost) and warning.endswith(": only the rest of them is known")
        assert found
    else:
        assert (found, warnings) == (stated, [])


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        ([], ["its acquisition metadata cannot be read: "]),
        ("text", ["its acquisition metadata cannot be read: "]),
        (noted(lambda block: block.update(animal=5)), ["its acquisition metadata lack animal.sex, animal.dob, "]),
        (noted(lambda block: block.update(microscope=[])), ["its acquisition metadata lack microscope.focus, "]),
        (
            noted(lambda block: block["producer"].update(versionBE=5)),
            ["its acquisition metadata lack producer.ver"],
        ),
        (noted(lambda block: block.update(idps={"efocus": "x"})), ["its acquisition metadata lack idps.efocus:"]),
        (
            noted(lambda block: block.update(idps={"interpolatedFrames": 5})),
            ["its acquisition metadata lack idps."],
        ),
        (
            noted(lambda block: block["microscope"]["dualColor"].update(enabled=3)),
            ["its acquisition metadata lack m"],
        ),
    ],
)
def test_blocks_of_another_kind(tmp_path, extra, said):
    found, warnings = read(tmp_path / "m.isxd", extra)
    assert len(warnings) == len(said)
    assert all(warning.startswith(start) for warning, start in zip(warnings, said)), warnings
    assert bool(found) == (isinstance(extra, dict))


# ---- to the end of the way


def nwb(folder: Path, extra: Any) -> pynwb.NWBFile:
    movie = recordings.with_extra(recordings.movie(folder / "mouse.isxd", n=4), extra)
    write(folder / "mouse.nwb", Contents([Source(movie, "movie")], "id", Metadata(), embed=True), StepContext(folder))
    with pynwb.NWBHDF5IO(str(folder / "mouse.nwb"), "r") as io:
        file = io.read()
        assert file.devices["Microscope"]
        return file


def test_the_nwb_file_has_the_other_facts(tmp_path):
    file = nwb(tmp_path, noted(lambda block: block["microscope"].pop("gain")))
    assert (file.subject.subject_id, file.subject.species) == ("A-101", "Mus musculus")
    assert (file.experimenter, file.session_id) == (("Doe, Jane",), "session 1")
    assert file.devices["Microscope"].serial_number == "11100001"
    assert file.devices["Microscope"].model.name == "NVista3"
    assert file.acquisition["OnePhotonSeries"].intensity == 0.2


@pytest.mark.parametrize("odd", ["a/b:c", "a\0b", 5, 1e300, [1], {"a": 1}, True, " ", 10**400, None])
def test_odd_values_are_left_out_of_the_nwb_file(tmp_path, odd):
    def everywhere(block: dict[str, Any]) -> None:
        for part in ("animal", "microscope", "personnel"):
            block[part] = dict.fromkeys(block[part], odd) | {"led": {"exPower": odd, "ogPower": odd}}
        block["animal"]["id"] = "A-1"
        block["name"] = odd

    file = nwb(tmp_path, noted(everywhere))
    assert file.subject.subject_id == "A-1"
