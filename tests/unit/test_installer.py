"""stages/installer.py on small archives of the installer's make: what is baked, what is refused, in which words."""

from __future__ import annotations

import fnmatch
import gzip
import hashlib
import random
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "stages"))

import installer
from installer import Asked, BuildError

# As cpack writes it, in what matters: reports name and version, takes --skip-license and --prefix, unpacks.
STUB = b"""#!/bin/sh

cpack_version()
{
  echo "Inscopix Data Processing Installer Version: 1.9.6, Copyright (c) Inscopix"
}
case "$*" in
  *--version*) cpack_version; exit 2;;
  *--skip-license*) echo unpacking; exit 0;;
esac
exit 1
#      Start of TAR.GZ file
"""
ARCHIVE = gzip.compress(random.Random(0).randbytes(20_000), mtime=0)
GOOD = STUB + ARCHIVE


def flipped(content: bytes, at: int) -> bytes:
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


def written(folder: Path, content: bytes, name: str = "setup.sh") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_bytes(content)
    return path


@pytest.fixture(autouse=True)
def _no_variables_of_the_caller(monkeypatch):
    for name in ("ISX_SOURCE", "ACCEPT_EULA", "INSTALLER_WAYS", "IMAGE", *installer.WAYS):
        monkeypatch.delenv(name, raising=False)


# --- which isx ------------------------------------------------------------------------------------------------------

OTHER = GOOD.replace(b"1.9.6", b"1.9.5")
PUT = r"Put the installer of IDPS for Linux at the root of the project, or name it: 'make image INSTALLER=path "
REFUSED = (
    r"read the vendor's licence, then build with ACCEPT_EULA=Y\. "
    r"To build the public isx anyway, set ISX_SOURCE=public\."
)
ONE = {"Inscopix_Data_Processing_1.9.6.sh": GOOD}
Y = Asked(eula="Y")
# name: what lies in the slot, what was asked for, what comes of it: the choice, or a message
CHOICES = {
    "nothing at all": ({}, Asked(), "public"),
    "one, accepted": (ONE, Y, "idps"),
    "one, accepted in full": (ONE, Asked(eula="yes"), "idps"),
    "one, not accepted": (
        ONE,
        Asked(),
        r"Inscopix_Data_Processing_1\.9\.6\.sh is Inscopix Data Processing 1\.9\.6\. Its licence is not accepted: "
        + REFUSED,
    ),
    "one, the public isx all the same": (ONE, Asked(source="public"), "public"),
    "one under another name": ({"setup_of_mine.sh": GOOD}, Y, "idps"),
    "one in lower case, not accepted": ({"idps-1.9.6.SH": GOOD}, Asked(), r"idps-1\.9\.6\.SH is Inscopix"),
    "one that a browser renamed": ({"setup.sh.download": GOOD}, Y, "idps"),
    "one beside a script of the lab's": ({**ONE, "run.sh": b"#!/bin/sh\n"}, Y, "idps"),
    "a script of the lab's": ({"run.sh": b"#!/bin/sh\n"}, Asked(), "public"),
    "two": (
        {"a.sh": GOOD, "b.sh": OTHER},
        Y,
        r"There are several installers: a\.sh, b\.sh\. Leave one, or name one with",
    ),
    "two, not accepted": (
        {"a.sh": GOOD, "b.sh": OTHER},
        Asked(),
        r"There are several installers: a\.sh, b\.sh\. Leave one",
    ),
    "a web page": (
        {"Inscopix_1.sh": b"<!DOCTYPE html>"},
        Y,
        r"Inscopix_1\.sh is not an IDPS installer \(it is a web page, perhaps that of a login: download it again",
    ),
    "a web page, not accepted": (
        {"idps.sh": b"<html>"},
        Asked(),
        r"idps\.sh is not an IDPS installer \(it is a web",
    ),
    "an empty file": ({"Inscopix_1.sh": b""}, Y, r"Inscopix_1\.sh is not an IDPS installer \(the file is empty: "),
    "accepted, but there is none": (
        {},
        Y,
        r"ACCEPT_EULA=Y accepts the licence of IDPS, but there is no installer of it\. "
        + PUT
        + r"ACCEPT_EULA=Y', or INSTALLER_DIR=folder with bake and compose\. For the public isx, leave ACCEPT_EULA out",
    ),
    "asked for, but there is none": ({}, Asked(source="idps"), r"ISX_SOURCE=idps asks for IDPS, but there is no"),
    "no answer": (
        ONE,
        Asked(eula="true"),
        r"ACCEPT_EULA=true is not valid: Y accepts the vendor's licence\. For the",
    ),
    "no answer, and none there": ({}, Asked(eula="1"), r"ACCEPT_EULA=1 is not valid: Y accepts the vendor's licence\."),
    "an unknown source": ({}, Asked(source="IDPS"), r"ISX_SOURCE=IDPS: there are only public and idps\."),
    "two ways": (
        ONE,
        Asked(eula="Y", ways=("INSTALLER", "INSTALLER_URL")),
        r"There are several installers: INSTALLER and INSTALLER_URL are set\. Leave one\.",
    ),
    "by address, accepted": (ONE, Asked(eula="Y", ways=("INSTALLER_URL",)), "idps"),
    "by address, not accepted": (
        {},
        Asked(ways=("INSTALLER_URL",)),
        r"INSTALLER_URL names an IDPS installer\. Its licence is not accepted: " + REFUSED,
    ),
    "a folder with none": (
        {"a.jpg": b"", "b.jpg": b""},
        Asked(ways=("INSTALLER_DIR",)),
        r"INSTALLER_DIR holds no IDPS installer; it holds: a\.jpg, b\.jpg\. Put the installer",
    ),
    "an empty folder": (
        {},
        Asked(ways=("INSTALLER_DIR",)),
        r"DIR holds no IDPS installer; it holds: nothing",
    ),
    "a folder with many": (
        {f"{name}.jpg": b"" for name in "abcdefg"},
        Asked(eula="Y", ways=("INSTALLER_DIR",)),
        r"it holds: a\.jpg, b\.jpg, c\.jpg, d\.jpg, e\.jpg and more\. ",
    ),
    "a folder of downloads": (
        {"deeper/setup": GOOD, "a.jpg": b"", ".b": GOOD},
        Asked("", "Y", ("INSTALLER_DIR",)),
        "idps",
    ),
    "a file that is none": (
        {"setup": b"MZ"},
        Asked(eula="Y", ways=("INSTALLER",)),
        r"setup is not an IDPS installer \(it is for Windows\)\. Put",
    ),
    "latest would change": (
        {},
        Asked(held="IDPS 1.9.6"),
        r"isx:latest holds IDPS 1\.9\.6, and its installer is not here: this build would put the public isx in its "
        r"place\. If that is meant, build with ISX_SOURCE=public; for IDPS, name its installer\.",
    ),
    "latest changes, as is meant": ({}, Asked(source="public", held="IDPS 1.9.6"), "public"),
}


@pytest.mark.parametrize("files, asked, result", CHOICES.values(), ids=CHOICES)
def test_which_isx(files, asked, result, tmp_path):
    for name, content in files.items():
        written((tmp_path / name).parent, content, Path(name).name)
    if result in ("public", "idps"):
        assert installer.choose(asked, tmp_path) == result
    else:
        with pytest.raises(BuildError, match=result):
            installer.choose(asked, tmp_path)


def test_in_a_stage_the_ways_are_named_and_their_values_are_not_there(tmp_path, monkeypatch, capsys):
    written(tmp_path / "slot/build", b"Inscopix Data Processing 1.9.6\n", "latest-lab_isx")
    written(tmp_path / "slot", b"*\n", ".dockerignore")
    monkeypatch.setenv("IMAGE", "lab/isx")
    assert installer.main(tmp_path / "slot", tmp_path / "choice") == 1
    assert "ERROR: lab/isx:latest holds Inscopix Data Processing 1.9.6, and its" in capsys.readouterr().err
    monkeypatch.setenv("INSTALLER_WAYS", "INSTALLER ")
    assert installer.main(tmp_path / "slot", tmp_path / "choice") == 1
    assert "ERROR: INSTALLER=path is for Make alone. Put the installer" in capsys.readouterr().err
    monkeypatch.setenv("INSTALLER_WAYS", "INSTALLER_SECRET")
    assert installer.main(tmp_path / "slot", tmp_path / "choice") == 1
    assert "ERROR: INSTALLER_SECRET=path is for Make alone, as a secret holds at most" in capsys.readouterr().err
    monkeypatch.setenv("INSTALLER_WAYS", "INSTALLER_URL")
    monkeypatch.setenv("ACCEPT_EULA", "y")
    assert installer.main(tmp_path / "slot", tmp_path / "choice") == 0
    assert (tmp_path / "choice").read_text() == "idps"


@pytest.mark.parametrize(
    ("variables", "passed", "code"),
    [
        ({}, False, 1),
        ({"ACCEPT_EULA": "Y"}, False, 1),
        ({"ISX_SOURCE": "idps"}, False, 1),
        ({"ISX_SOURCE": "public"}, False, 0),
        ({"INSTALLER_WAYS": "INSTALLER_URL", "ACCEPT_EULA": "Y"}, False, 0),
        ({}, True, 0),
    ],
)
def test_a_build_without_a_context_for_the_installer(variables, passed, code, tmp_path, monkeypatch, capsys):
    """Plain docker build: an installer at the root of the project is not seen."""
    for name in ("ISX_SOURCE", "ACCEPT_EULA", "INSTALLER_WAYS", "IMAGE"):
        monkeypatch.setenv(name, variables.get(name, ""))
    (tmp_path / "slot").mkdir()
    if passed:
        (tmp_path / "slot/.dockerignore").write_text("*\n")
    assert installer.main(tmp_path / "slot", tmp_path / "choice") == code
    said = capsys.readouterr().err
    assert (
        "ERROR: This build does not know where to look for an installer: plain 'docker build' passes no" in said
    ) == code
    assert (tmp_path / "choice").exists() is (code == 0)


@pytest.mark.parametrize(
    ("files", "eula", "said"),
    [
        ({"setup": GOOD}, "", "setup is Inscopix Data Processing 1.9.6. Its licence is not accepted"),
        ({"setup": GOOD}, "Y", ""),
        (
            {"a.txt": b"1", "b.txt": b"2"},
            "",
            "--build-context installer=folder holds no IDPS installer; it holds: a.txt",
        ),
    ],
)
def test_a_context_of_another_folder_is_a_folder_that_is_named(files, eula, said, tmp_path, monkeypatch, capsys):
    for name in ("ISX_SOURCE", "INSTALLER_WAYS", "IMAGE"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("ACCEPT_EULA", eula)
    for name, content in files.items():
        written(tmp_path / "slot", content, name)
    assert installer.main(tmp_path / "slot", tmp_path / "choice") == bool(said)
    assert said in capsys.readouterr().err
    assert (tmp_path / "choice").exists() is not bool(said)


def test_the_root_of_the_project_is_known_by_its_dockerignore():
    lines = (Path(installer.__file__).parents[1] / ".dockerignore").read_text().splitlines()
    assert lines[-1] == "!.dockerignore"


@pytest.mark.parametrize(("file", "start"), [(".dockerignore", "!"), (".gitignore", "/")])
def test_what_the_host_looks_at_is_sent_to_the_builder_and_never_committed(file, start):
    """In the terms of Python's fnmatch: BuildKit's own reading of .dockerignore is tested with the image."""
    lines = (Path(installer.__file__).parents[1] / file).read_text().splitlines()
    globs = [line[1:] for line in lines if line.startswith(f"{start}*")]
    names = ["Inscopix_Data_Processing_1.9.6.sh", "IDPS_1.9.6.sh", "idps", "setup.SH", "setup.sh.part", "INSCOPIX (1)"]
    names += ["README.md", "sh", "mouse.isxd", "Makefile"]
    for name in names:
        sent = any(fnmatch.fnmatchcase(name, glob) for glob in globs)
        assert sent == bool(installer.CANDIDATE.search(name)), name


# --- verify ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", [1 << 20, 4096, len(STUB) + 4, len(GOOD)])
def test_a_sound_installer_in_blocks_of_any_size(block, tmp_path, monkeypatch):
    monkeypatch.setattr(installer, "BLOCK", block)
    sha256 = hashlib.sha256(GOOD).hexdigest()
    assert installer.verify(written(tmp_path, GOOD), "") == sha256
    assert installer.verify(written(tmp_path, GOOD), sha256) == sha256
    assert installer.verify(written(tmp_path, GOOD), f" {sha256.upper()}\n") == sha256  # as PowerShell prints it


UNSOUND = {
    "empty": (b"", r"setup\.sh is not an IDPS installer \(the file is empty: download it again\)"),
    "web page": (
        b"<!DOCTYPE html><title>Log in</title>",
        r"is not an IDPS installer \(it is a web page, perhaps that of a login: download it again in a browser that is",
    ),
    "script": (b"#!/bin/sh\nexit 0\n", r"is not an IDPS installer \(not a self-extracting CPack archive\)"),
    "archive alone": (ARCHIVE, r"is not an IDPS installer \(it is a gzip archive: unpack it\)"),
    "ZIP": (b"PK\x03\x04...", r"is not an IDPS installer \(it is a ZIP archive: unpack it\)"),
    "for Windows": (b"MZ...", r"is not an IDPS installer \(it is for Windows\)"),
    "another stub": (b"#!/bin/sh\nexit 0\n" + ARCHIVE, r"is not an IDPS installer"),
    "stub alone": (STUB, r"is not an IDPS installer \(its archive is missing: download it again\)"),
    "a byte short": (GOOD[:-1], rf"setup\.sh is truncated \({len(GOOD) - 1} bytes\): download it again"),
    "8 bytes short": (GOOD[:-8], r"is truncated"),
    "600 bytes short": (GOOD[:-600], r"is truncated"),
    "half": (GOOD[: len(GOOD) // 2], r"is truncated"),
    "bit flipped in the checksum": (flipped(GOOD, len(GOOD) - 6), r"is damaged \(.*\): download it again"),
    "bit flipped in the data": (flipped(GOOD, len(STUB) + 10_000), r"is damaged \(.*\): download it again"),
}


@pytest.mark.parametrize("content, message", UNSOUND.values(), ids=UNSOUND)
def test_an_unsound_installer_is_refused(content, message, tmp_path):
    with pytest.raises(BuildError, match=message):
        installer.verify(written(tmp_path, content), "")


def test_the_sha256_speaks_first(tmp_path):
    with pytest.raises(BuildError, match=r"has sha256 [0-9a-f]{64}, but INSTALLER_SHA256 says 0{64}"):
        installer.verify(written(tmp_path, GOOD[:-8]), "0" * 64)


# --- name and version -----------------------------------------------------------------------------------------------


def test_name_and_version_are_read_and_not_asked_for(tmp_path):
    assert installer.name_and_version(written(tmp_path, GOOD)) == ("Inscopix Data Processing", "1.9.6")


LINES = {
    "plain": ("Inscopix Data Processing Installer Version: 1.9.6, Copyright (c) Inscopix", "1.9.6"),
    "after other lines": ("warning\nInscopix Data Processing Installer Version: 2.0, Copyright", "2.0"),
    "as shell": ('  echo "Inscopix Data Processing Installer Version: 1.9.6.1234, Copyright"', "1.9.6.1234"),
    "without vendor": ("Inscopix Data Processing Installer Version: 1.9.6", "1.9.6"),
}


@pytest.mark.parametrize("text, version", LINES.values(), ids=LINES)
def test_parse_version(text, version):
    assert installer.parse_version(Path("setup.sh"), text) == ("Inscopix Data Processing", version)


@pytest.mark.parametrize("text", ["", "Usage: setup.sh [options]", "Version 1.9.6"])
def test_no_version(text):
    with pytest.raises(BuildError, match=r"setup\.sh reports no name and version"):
        installer.parse_version(Path("setup.sh"), text)
