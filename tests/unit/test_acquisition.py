"""What is read of the acquisition metadata, whatever is missing from them: all the rest, with a warning."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import isx
import numpy as np
import pynwb
import pytest

from pipeline.inspect import acquisition
from pipeline.inspect.context import Context
from pipeline.inspect.results import write_results
from pipeline.nwb.metadata import Metadata
from pipeline.nwb.session import Source
from pipeline.nwb.write import Contents, write
from recording import formats
from samples import damage, recordings

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
    write_results(path, "movie", "s", out, Context(path.parent, warn=warnings.append))
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
    facts = dict(acquisition.read(noted(change), lacking))
    assert facts == isx.Movie.read(str(path)).get_acquisition_info()
    assert lacking == []


PAIR = {
    "behavior": {
        "paired": True,
        "synced": True,
        "system": {"sessionName": "b"},
        "software": {"behaviorIdas": "2.0"},
    },
    "miniscope": {"system": {"sessionName": "m", "systemSerial": "AC"}, "software": {"miniscopeIdas": "1.8"}},
}
ANIMAL = recordings.ACQUISITION["animal"]
CAMERAS: dict[str, Change] = {
    "alone": lambda session: None,
    "an animal": lambda session: session.update(userInterface={"animal": ANIMAL}),
    "no animal": lambda session: session.update(userInterface={"animal": {}}),
    "custom": lambda session: session.update(userInterface={"customMetadata": {"mine": {"value": 5}}}),
    "paired": lambda session: session["processingInterface"].update(system=PAIR, recordingUUID="u-1"),
    "not paired": lambda session: session["processingInterface"].update(system={"behavior": {"paired": False}}),
    "no behavior": lambda session: session["processingInterface"].update(system={}),
    "automatic": lambda session: camera_of(session)["sensorParams"]["exposure"].update(type="auto"),
    "no exposure": lambda session: camera_of(session)["sensorParams"].pop("exposure"),
}


def camera_of(session: dict[str, Any]) -> dict[str, Any]:
    return session["processingInterface"]["camera-1"]


def with_session(path: Path, change: Change) -> Path:
    data = recordings.behavior_movie(path).read_bytes()
    session = json.loads(damage.session_of(data))
    change(session)
    path.write_bytes(damage.with_isxb(data, session=json.dumps(session).encode()))
    return path


@pytest.mark.parametrize("change", CAMERAS.values(), ids=CAMERAS)
def test_a_complete_session_of_nvision_says_what_isx_says(tmp_path, change):
    path = with_session(tmp_path / "m.isxb", change)
    lacking: list[str] = []
    facts = dict(acquisition.read_camera(formats.read_isxb(path)[2], lacking))
    assert facts == isx.Movie.read(str(path)).get_acquisition_info()
    assert lacking == []


@pytest.mark.parametrize(
    ("change", "lacks"),
    [
        (lambda session: camera_of(session).pop("cameraSerial"), "processingInterface.camera-1.cameraSerial"),
        (lambda session: session["userInterface"]["animal"].pop("dob"), "userInterface.animal.dob"),
        (
            lambda session: session["processingInterface"]["system"]["behavior"].pop("synced"),
            "processingInterface.system.behavior.synced",
        ),
        (
            lambda session: camera_of(session)["sensorParams"].pop("gain"),
            "processingInterface.camera-1.sensorParams.gain",
        ),
    ],
)
def test_one_missing_key_of_a_session_of_nvision_takes_nothing_else_with_it(tmp_path, change, lacks):
    def all_of_it(session: dict[str, Any]) -> None:
        session.update(userInterface={"animal": dict(ANIMAL)})
        session["processingInterface"].update(system=copy.deepcopy(PAIR))

    def less(session: dict[str, Any]) -> None:
        all_of_it(session)
        change(session)

    whole = isx.Movie.read(str(with_session(tmp_path / "whole.isxb", all_of_it))).get_acquisition_info()
    path, said = with_session(tmp_path / "m.isxb", less), []
    rest = acquisition.acquisition(isx.Movie.read(str(path)), path, said.append)
    assert said == [f"its acquisition metadata lack {lacks}: only the rest of them is known"]
    assert len(whole.keys() - rest.keys()) == 1
    assert {name: whole[name] for name in rest} == rest


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
    rest, warnings = read(tmp_path / "m.isxd", noted(drop))
    alone = {"microscope.led": 2, "microscope.dualColor": 2, "animal": 6, "microscope": 7, "probe": 6}
    allowed = alone.get(where, 1)  # a part takes its keys along; what remains is as it was
    assert len(whole.keys() - rest.keys()) <= allowed
    unchanged = whole.keys() & rest.keys()
    assert {name: rest[name] for name in unchanged} == {name: whole[name] for name in unchanged}
    try:
        stated = isx.Movie.read(str(tmp_path / "m.isxd")).get_acquisition_info()
    except Exception:
        lost = f"its acquisition metadata lack {where}"
        (warning,) = warnings
        assert warning.startswith(lost) and warning.endswith(": only the rest of them is known")
        assert rest
    else:
        assert (rest, warnings) == (stated, [])


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
    facts, warnings = read(tmp_path / "m.isxd", extra)
    assert len(warnings) == len(said)
    assert all(warning.startswith(start) for warning, start in zip(warnings, said)), warnings
    assert bool(facts) == (isinstance(extra, dict))


MISFITS: dict[str, Change] = {  # by what is said not to be known; isx passes over all of these in silence
    "producer": lambda block: block.update(producer=5),
    "idps": lambda block: block.update(idps="x"),
    "processingInterface": lambda block: block.update(processingInterface='{"recordingUUID": '),
    "idps.cellset": lambda block: block.update(idps={"cellset": [1]}),
    "animal.id": lambda block: block["animal"].update(id=12.5),
    "microscope.serial": lambda block: block["microscope"].update(serial=True),
    "name": lambda block: block.update(name=["a"]),
}


@pytest.mark.parametrize("what", MISFITS)
def test_what_is_there_and_says_nothing_is_named(tmp_path, what):
    facts, warnings = read(tmp_path / "m.isxd", noted(MISFITS[what]))
    assert warnings == [f"its acquisition metadata hold {what} in a form that cannot be read: it is not known"] or (
        len(warnings) == 1 and f"lack {what}" in warnings[0]
    )
    assert facts["Experimenter Name"] == "Doe, Jane"


def test_a_part_in_a_text_is_read_and_one_that_is_null_or_empty_says_nothing(tmp_path):
    for i, value in enumerate(('{"recordingUUID": "u"}', None, {}, "", [])):
        _, warnings = read(tmp_path / f"{i}.isxd", noted(lambda block, value=value: block.update(idps=value)))
        assert warnings == []


def test_a_name_that_somebody_gave_twice_does_not_matter(tmp_path):
    def twice(block: dict[str, Any]) -> None:
        block["microscope"]["customMetadata"] = {"Animal ID": {"of": "ours"}}
        del block["animal"]["dob"]

    facts, warnings = read(tmp_path / "m.isxd", noted(twice))
    assert warnings == ["its acquisition metadata lack animal.dob: only the rest of them is known"]
    assert facts["Animal Sex"] == "m"


def test_a_camera_without_parameters_of_its_sensor_is_not_given_to_isx(tmp_path):
    """It looks for the exposure in what is not there, and now and then that ends the process."""

    class Source:
        def get_acquisition_info(self) -> dict[str, Any]:
            raise AssertionError("it may end the process")

    path = with_session(tmp_path / "m.isxb", lambda session: camera_of(session).pop("sensorParams"))
    said: list[str] = []
    facts = acquisition.acquisition(Source(), path, said.append)
    lacks = "processingInterface.camera-1.sensorParams"
    assert said == [f"its acquisition metadata lack {lacks}: only the rest of them is known"]
    assert facts == {"Camera Name": "", "Camera Serial Number": "c-1"}


@pytest.mark.parametrize(
    "less",
    [
        pytest.param(lambda session: session["processingInterface"].pop("camera-1"), id="the camera"),
        pytest.param(lambda session: session.pop("processingInterface"), id="all cameras"),
    ],
)
def test_a_camera_of_which_nothing_is_noted(tmp_path, less):
    path = recordings.behavior_movie(tmp_path / "m.isxb", states=("spacingInfo",))
    session = formats.read_isxb(path)[2]
    less(session)
    path.write_bytes(damage.with_isxb(path.read_bytes(), session=json.dumps(session).encode()))
    said: list[str] = []
    acquisition.acquisition(isx.Movie.read(str(path)), path, said.append)
    lacks = "processingInterface.camera-1"
    assert said == [f"its acquisition metadata lack {lacks}: only the rest of them is known"]


def test_what_a_camera_whose_name_has_a_dot_lacks(tmp_path):
    def change(session: dict[str, Any]) -> None:
        session["processingInterface"]["cam.1"] = session["processingInterface"].pop("camera-1")
        session.update(cameraName="cam.1", userInterface={"customMetadata": {"mine": {}}})

    path = with_session(tmp_path / "m.isxb", change)
    said: list[str] = []
    facts = acquisition.acquisition(isx.Movie.read(str(path)), path, said.append)
    lacks = "userInterface.customMetadata.mine.value"
    assert said == [f"its acquisition metadata lack {lacks}: only the rest of them is known"]
    assert (facts["Camera Serial Number"], facts["Camera Brightness"]) == ("c-1", 50)


def test_a_session_of_nvision_whose_parts_are_texts(tmp_path):
    path = with_session(tmp_path / "m.isxb", lambda session: session.update(userInterface=5))
    said: list[str] = []
    acquisition.acquisition(isx.Movie.read(str(path)), path, said.append)
    assert said == ["its acquisition metadata hold userInterface in a form that cannot be read: it is not known"]


# ---- to the end of the way


def nwb(folder: Path, extra: Any) -> pynwb.NWBFile:
    movie = recordings.with_extra(recordings.movie(folder / "mouse.isxd", n=4), extra)
    write(folder / "mouse.nwb", Contents([Source(movie, "movie")], "id", Metadata(), embed=True), Context(folder))
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


def test_what_nwb_does_not_take_of_the_animal_is_said(tmp_path):
    block = noted(lambda block: block["animal"].update(species="mouse", sex="male"))
    movie, said = recordings.with_extra(recordings.movie(tmp_path / "m.isxd", n=4), block), []
    given = Metadata({"Subject": {"sex": "M"}})
    write(tmp_path / "m.nwb", Contents([Source(movie, "movie")], "id", given), Context(tmp_path, 1, said.append))
    about = [text for text in said if text.startswith("the recording states")]
    assert about == [  # the metadata give the sex
        "the recording states Subject.species as 'mouse', but NWB takes a Latin binomial such as 'Mus musculus', or a "
        "URL of the NCBI taxonomy: it is left out"
    ]


def test_hardware_times_that_cannot_be_read_without_the_softwares_version(tmp_path):
    frames = recordings.frames(6, 24, 32)
    for producer, warned in (({"version": "1.8.2"}, 0), ({"version": "1.0.0"}, 0), ({}, 1), (None, 1), ("x", 1)):
        folder = tmp_path / str(producer)
        folder.mkdir()
        path = recordings.movie_from(folder / "m.isxd", frames, np.arange(6) * 50_000 + (1 << 33))
        recordings.with_extra(path, {"producer": producer} if producer is not None else None)
        said: list[str] = []
        write_results(path, "movie", "s", folder, Context(folder, warn=said.append))
        about = [
            text for text in said if text.startswith("it lacks producer.version, which is needed to read its frames'")
        ]
        assert len(about) == warned, (producer, said)
        has = "hardware_time_us" in (folder / "s-frames.csv").read_text().partition("\n")[0]
        assert has is (producer == {"version": "1.8.2"})


@pytest.mark.parametrize(
    "odd", ["a/b:c", "a\0b", 5, 1e300, [1], {"a": 1}, True, " ", pytest.param(10**400, id="huge"), None]
)
def test_odd_values_are_left_out_of_the_nwb_file(tmp_path, odd):
    def everywhere(block: dict[str, Any]) -> None:
        for part in ("animal", "microscope", "personnel"):
            block[part] = dict.fromkeys(block[part], odd) | {"led": {"exPower": odd, "ogPower": odd}}
        block["animal"]["id"] = "A-1"
        block["name"] = odd

    file = nwb(tmp_path, noted(everywhere))
    assert file.subject.subject_id == "A-1"
