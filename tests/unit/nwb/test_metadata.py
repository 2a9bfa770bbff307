"""nwb.toml and nwb.yaml: every mistake at once, with its line; what holds where several files do."""

from __future__ import annotations

import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest
from pynwb import NWBFile
from pynwb.device import Device, DeviceModel
from pynwb.file import Subject
from pynwb.ophys import ImagingPlane, OpticalChannel

from pipeline.nwb import metadata
from pipeline.nwb.metadata import MetadataMistakes

ROOT = Path(__file__).resolve().parents[3]

TOML = """\
[NWBFile]
experimenter = "Doe, Jane"
keywords = ["calcium", "mouse"]

[Subject]  # of all
subject_id = "m1"
species = "Mus musculus"
sex = "F"
date_of_birth = 2024-01-31

[ImagingPlane]
grid_spacing = [0.9, 0.9]
excitation_lambda = 475
"""
YAML = """\
NWBFile:
  experimenter: Doe, Jane
  keywords: [calcium, mouse]

Subject:
  subject_id: m1
  species: Mus musculus
  sex: F
  date_of_birth: 2024-01-31

ImagingPlane:
  grid_spacing: [0.9, 0.9]
  excitation_lambda: 475
"""


def mistakes(path: Path, text: str) -> list[str]:
    path.write_text(text)
    with pytest.raises(MetadataMistakes) as raised:
        metadata.read([path])
    return [message.removeprefix(f"{path}:") for message in raised.value.messages]


def test_toml_and_yaml_say_the_same(tmp_path):
    (tmp_path / "nwb.toml").write_text(TOML)
    (tmp_path / "nwb.yaml").write_text(YAML)
    toml, yaml = (metadata.read([tmp_path / name]) for name in ("nwb.toml", "nwb.yaml"))
    assert toml == yaml
    assert toml.section("NWBFile") == {"experimenter": ["Doe, Jane"], "keywords": ["calcium", "mouse"]}
    assert toml.get("Subject", "date_of_birth") == datetime(2024, 1, 31)
    assert {type(value) for value in yaml.get("ImagingPlane", "grid_spacing")} == {float}


def test_a_later_file_overrides_single_fields(tmp_path):
    (tmp_path / "nwb.toml").write_text(TOML)
    (tmp_path / "mouse.nwb.yaml").write_text("Subject:\n  subject_id: m2\n  weight: 0.025 kg\n")
    found = metadata.read([tmp_path / "nwb.toml", tmp_path / "mouse.nwb.yaml"])
    assert found.get("Subject", "subject_id") == "m2"
    assert found.get("Subject", "weight") == "0.025 kg"
    assert found.get("Subject", "species") == "Mus musculus"


WRONG_TOML = """\
sex = "F"
[Subjekt]
sex = "F"
[Subject]
specis = "Mus musculus"
species = "mouse"
sex = "female"
age = "90 days"
weight = 25
indicator = "GCaMP6f"
subject_id = ""
[ImagingPlane]
excitation_lambda = 4.75e-7
grid_spacing = [
  1,
]
[NWBFile]
keywords = []
session_start_time = 2024-05-31T14:30:00
"""
WRONG = [
    "1: unknown section 'sex'; it belongs into [Subject]",
    "2: unknown section 'Subjekt'; did you mean 'Subject'?",
    "5: Subject has no field 'specis'; did you mean 'species'?",
    "6: Subject.species must be a Latin binomial such as 'Mus musculus', or a URL of the NCBI taxonomy, not 'mouse'",
    "7: Subject.sex must be one of 'M', 'F', 'U' (unknown), 'O' (other), not 'female'",
    "8: Subject.age must be an ISO 8601 duration such as 'P90D' or a range 'P80D/P100D', not '90 days'",
    "9: Subject.weight must be a text with its unit, such as '0.025 kg', not 25",
    "10: Subject has no field 'indicator'; it belongs into [ImagingPlane]",
    "11: Subject.subject_id must be a text without '/', not ''",
    "13: ImagingPlane.excitation_lambda must be a wavelength in nm, from 200 to 2000, not 4.75e-07",
    "14: ImagingPlane.grid_spacing must be a list of two or three numbers, not [1]",
    "18: NWBFile.keywords must be a text or a list of texts, not []",
    "19: NWBFile.session_start_time must be a date and time with the offset from UTC, such as "
    "'2024-05-31T14:30:00+02:00', not datetime.datetime(2024, 5, 31, 14, 30)",
]


def test_all_mistakes_at_once_with_their_lines(tmp_path):
    assert mistakes(tmp_path / "nwb.toml", WRONG_TOML) == WRONG


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "Subject:\n  sex: male\n  spceies: Mus musculus\n",
            ["2: Subject.sex must be one of", "3: Subject has no field"],
        ),
        ("Subject: mouse\n", ["1: Subject must be a section with fields, not 'mouse'"]),
        ("- Subject\n", ["1: must hold sections such as Subject, each with its fields"]),
        ("Subject:\n  sex: F\n sex: M\n", ["3: is not valid YAML"]),
        ("Subject:\n  sex: F\n  sex: M\n", ["3: is not valid YAML: found duplicate key"]),
        ("Subject:\n  sex: !!python/object:os.system F\n", ["2: Subject.sex must be one of"]),
    ],
)
def test_mistakes_in_yaml(tmp_path, text, expected):
    found = mistakes(tmp_path / "nwb.yaml", text)
    assert len(found) == len(expected)
    for message, start in zip(found, expected):
        assert message.startswith(start)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"[Subject\n", "1: is not valid TOML"),
        (b'[Subject]\nsex = "\xff"\n', "2: is not UTF-8 text: save it as such"),
    ],
)
def test_files_that_cannot_be_parsed(tmp_path, content, expected):
    path = tmp_path / "nwb.toml"
    path.write_bytes(content)
    with pytest.raises(MetadataMistakes, match=expected):
        metadata.read([path])


def test_the_checker_names_the_mistakes_of_all_files(tmp_path):
    first, second = tmp_path / "nwb.toml", tmp_path / "nwb.yaml"
    first.write_text(WRONG_TOML)
    second.write_text("Device:\n  maker: Inscopix\n")
    command = [sys.executable, "-m", "pipeline.nwb", "--check", first, second]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 64
    assert done.stderr.splitlines() == [
        *(f"{first}:{each}" for each in WRONG),
        f"{second}:2: Device has no field 'maker'",
    ]
    second.write_text(YAML)
    done = subprocess.run([*command[:-2], second], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_checker_needs_neither_isx_nor_pynwb():
    code = "import sys, pipeline.nwb.metadata; sys.exit(bool({'isx', 'pynwb'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_every_field_is_one_of_nwb():
    types = {"NWBFile": NWBFile, "Subject": Subject, "OpticalChannel": OpticalChannel, "ImagingPlane": ImagingPlane}

    def arguments(*classes: type) -> set[str]:
        return {each["name"] for one in classes for each in one.__init__.__docval__["args"]}

    for name, kind in types.items():
        assert set(metadata.FIELDS[name]) <= arguments(kind), name
    assert set(metadata.FIELDS["Device"]) <= arguments(Device, DeviceModel)
    assert set(metadata.FIELDS) == {*types, "Device"}


def test_what_is_missing_is_named(tmp_path):
    (tmp_path / "nwb.toml").write_text(TOML)
    found = metadata.read([tmp_path / "nwb.toml"])
    assert metadata.missing(found, metadata.REQUIRED) == []  # the date of birth tells the age
    assert metadata.missing(metadata.Metadata(), metadata.REQUIRED) == [
        "Subject.subject_id",
        "Subject.species",
        "Subject.sex",
        "Subject.age",
    ]
