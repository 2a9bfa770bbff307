"""nwb.toml: every mistake at once, with its line; what holds where several files do."""

from __future__ import annotations

import re
import resource
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


def mistakes(path: Path, text: str) -> list[str]:
    path.write_text(text)
    with pytest.raises(MetadataMistakes) as raised:
        metadata.read([path])
    return [message.removeprefix(f"{path}:") for message in raised.value.messages]


def test_values_are_those_that_nwb_takes(tmp_path):
    (tmp_path / "nwb.toml").write_text(TOML)
    read = metadata.read([tmp_path / "nwb.toml"])
    assert read.section("NWBFile") == {"experimenter": ["Doe, Jane"], "keywords": ["calcium", "mouse"]}
    assert read.get("Subject", "date_of_birth") == datetime(2024, 1, 31)
    assert read.get("ImagingPlane", "grid_spacing") == [0.9, 0.9]


def test_a_later_file_overrides_single_fields(tmp_path):
    (tmp_path / "nwb.toml").write_text(TOML)
    (tmp_path / "mouse.nwb.toml").write_text('[Subject]\nsubject_id = "m2"\nweight = "0.025 kg"\n')
    read = metadata.read([tmp_path / "nwb.toml", tmp_path / "mouse.nwb.toml"])
    assert read.get("Subject", "subject_id") == "m2"
    assert read.get("Subject", "weight") == "0.025 kg"
    assert read.get("Subject", "species") == "Mus musculus"


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
    "1: unknown section 'sex'; it belongs in [Subject]",
    "2: unknown section 'Subjekt'; did you mean 'Subject'?",
    "5: Subject has no field 'specis'; did you mean 'species'?",
    "6: Subject.species must be a Latin binomial such as 'Mus musculus', or a URL of the NCBI taxonomy, not 'mouse'",
    "7: Subject.sex must be one of 'M', 'F', 'U' (unknown), 'O' (other), not 'female'",
    "8: Subject.age must be an ISO 8601 duration such as 'P90D' or a range 'P80D/P100D', not '90 days'",
    "9: Subject.weight must be a string with its unit, such as '0.025 kg', not 25",
    "10: Subject has no field 'indicator'; it belongs in [ImagingPlane]",
    "11: Subject.subject_id must be a string without '/', not ''",
    "13: ImagingPlane.excitation_lambda must be a wavelength in nm, from 200 to 2000, not 4.75e-07",
    "14: ImagingPlane.grid_spacing must be a list of two or three numbers, not [1]",
    "18: NWBFile.keywords must be a string or a list of strings, not []",
    "19: NWBFile.session_start_time must be a date and time with the offset from UTC, such as "
    "'2024-05-31T14:30:00+02:00', not 2024-05-31T14:30:00",
]


def test_all_mistakes_at_once_with_their_lines(tmp_path):
    assert mistakes(tmp_path / "nwb.toml", WRONG_TOML) == WRONG


TOO_MANY_DIGITS = "is not valid TOML: a number has too many digits$"
TOO_MANY_DIGITS = TOO_MANY_DIGITS if hasattr(sys, "get_int_max_str_digits") else "ImagingPlane.excitation_lambda is"
SUBJECT = b"# of all\n[Subject]\n"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"[Subject\n", "1: is not valid TOML"),
        (b'[Subject]\nsex = "\xff"\n', "2: is not UTF-8 text: save it as such"),
        (b"\n" * (1 << 20) + b"#", "1: is larger than 1 MB"),
        (SUBJECT + b"strain = " + b"[" * 100_000, r"3: is not valid TOML: its values are nested too deeply$"),
        (SUBJECT + b'strain = "a\\u0000b"\n', "3: Subject.strain holds the character NUL, which no text may have$"),
        (b'[NWBFile]\nkeywords = [\n "a",\n "\\u0000"\n]\n', "2: NWBFile.keywords holds the character NUL"),
        (b'NWBFile.lab = "x"\nNWBFile.notes = "\\u0000"\n', "2: NWBFile.notes holds the character NUL"),
        (b'NWBFile = {lab = "\\u0000"}\n', "1: NWBFile.lab holds the character NUL"),
        (SUBJECT + b'strain = "\\ud800"\n', "3: is not valid TOML"),
        (
            b"[ImagingPlane]\ngrid_spacing = [1, " + b"9" * 400 + b"]\n",
            "2: ImagingPlane.grid_spacing is a whole number that",
        ),
        (b"[ImagingPlane]\n\nexcitation_lambda = " + b"9" * 5000, f"3: {TOO_MANY_DIGITS}"),
        (
            b"[ImagingPlane]\nexcitation_lambda = 0x" + b"f" * 9000,
            "2: ImagingPlane.excitation_lambda is a whole number",
        ),
        (b"Device = 0x" + b"f" * 9000, "1: Device is a whole number that does not fit 64 bits"),
        (b"[ImagingPlane]\ngrid_spacing = [1, 1e999]\n", "2: ImagingPlane.grid_spacing must be a list of two or three"),
        (b"[ImagingPlane]\norigin_coords = [nan, 1]\n", "2: ImagingPlane.origin_coords must be a list of two or three"),
        (b"[OpticalChannel]\nemission_lambda = nan\n", "2: OpticalChannel.emission_lambda must be a wavelength"),
        (SUBJECT + b"date_of_birth = 0001-01-01\n", "3: Subject.date_of_birth must be a date"),
        (SUBJECT + b"date_of_birth = 14:30:00\n", "3: Subject.date_of_birth must be a date"),
        (SUBJECT + b"date_of_birth = 2024-02-30\n", "3: is not valid TOML"),
        (SUBJECT + b"date_of_birth = '9999-12-31'\n", "3: Subject.date_of_birth must be a date"),
        (b"NWBFile.session_start_time = 0001-01-01T00:00:00+23:00\n", "1: NWBFile.session_start_time must be"),
        (SUBJECT + "age = 'P\u0669\u0660D'\n".encode(), "3: Subject.age must be an ISO 8601 duration"),
        (SUBJECT + b"strain = " + b"[" + b"1," * 50_000 + b"]\n", r"3: Subject.strain must be a string .{,250}\.\.\.$"),
    ],
)
def test_what_cannot_be_read_or_written_is_refused_with_its_line(tmp_path, content, expected):
    path = tmp_path / "nwb.toml"
    path.write_bytes(content)
    with pytest.raises(MetadataMistakes) as raised:
        metadata.read([path])
    (message,) = raised.value.messages
    assert re.match(f"{re.escape(str(path))}:{expected}", message), message[:400]


@pytest.mark.parametrize("separator", [".", '."a".'])
def test_a_key_of_very_many_dots_costs_little(tmp_path, separator):
    path = tmp_path / "nwb.toml"
    path.write_text(f"[Subject]\nsex = 'F'\n{separator.join(['a'] * (1_000_000 // (len(separator) + 1)))} = 1\n")
    command = [sys.executable, "-m", "pipeline.nwb", "--check", path]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    limit = "import os, resource, sys; resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))"
    start = "os.execv(sys.argv[1], sys.argv[1:])"
    command = [sys.executable, "-c", f"{limit}; {start}", *command]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 64, done.stderr
    assert re.fullmatch(
        f"{path}:[34]: takes more than (10 s|256 MB) to read: a key with too many dots\\?\n", done.stderr
    )
    assert after.ru_utime - before.ru_utime < 20


@pytest.mark.parametrize("name", ["nwb.yaml", "nwb.yml", "mouse.nwb.yaml"])
def test_yaml_is_answered_with_a_sentence(tmp_path, name):
    path = tmp_path / name
    path.write_text(
        "a: &a [x, x]\n"
        + "".join(f"{b}: &{b} [*{a}, *{a}]\n" for a, b in zip("abcdefghijklmnopqr", "bcdefghijklmnopqrs"))
    )
    with pytest.raises(MetadataMistakes) as raised:
        metadata.read([path])
    assert raised.value.messages == [
        f"{path}:1: YAML is not read: write the metadata into nwb.toml, which docs/nwb.md describes"
    ]


def test_the_checker_names_the_mistakes_of_all_files(tmp_path):
    first, second = tmp_path / "nwb.toml", tmp_path / "mouse.nwb.toml"
    first.write_text(WRONG_TOML)
    second.write_text("[Device]\nmaker = 'Inscopix'\n")
    command = [sys.executable, "-m", "pipeline.nwb", "--check", first, second]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 64
    assert done.stderr.splitlines() == [
        *(f"{first}:{mistake}" for mistake in WRONG),
        f"{second}:2: Device has no field 'maker'",
    ]
    second.write_text(TOML)
    done = subprocess.run([*command[:-2], second], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_checker_needs_neither_isx_nor_pynwb():
    code = "import sys, pipeline.nwb.metadata; sys.exit(bool({'isx', 'pynwb'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_every_field_is_one_of_nwb():
    types = {"NWBFile": NWBFile, "Subject": Subject, "OpticalChannel": OpticalChannel, "ImagingPlane": ImagingPlane}

    def arguments(*classes: type) -> set[str]:
        return {argument["name"] for one in classes for argument in one.__init__.__docval__["args"]}

    for name, kind in types.items():
        assert set(metadata.FIELDS[name]) <= arguments(kind), name
    assert set(metadata.FIELDS["Device"]) <= arguments(Device, DeviceModel)
    assert set(metadata.FIELDS) == {*types, "Device"}


def test_what_is_missing_is_named(tmp_path):
    (tmp_path / "nwb.toml").write_text(TOML)
    read = metadata.read([tmp_path / "nwb.toml"])
    assert metadata.missing(read, metadata.REQUIRED) == []  # the date of birth tells the age
    assert metadata.missing(metadata.Metadata(), metadata.REQUIRED) == [
        "Subject.subject_id",
        "Subject.species",
        "Subject.sex",
        "Subject.age",
    ]
