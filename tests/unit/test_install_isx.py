"""stages/install_isx.py on small archives of the installer's make: what is refused, and in which words."""

from __future__ import annotations

import functools
import gzip
import hashlib
import json
import random
import sys
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "stages"))

import install_isx
from install_isx import LAYOUT, BuildError, Product

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
def _no_variables_of_the_caller(monkeypatch, tmp_path):
    for name in ("ISX_SHA256", "ISX_VERSION", "ACCEPT_EULA", "INSTALLER_TIMEOUT", "ISX_TREE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(install_isx, "SLOT", tmp_path / "slot")
    monkeypatch.setattr(install_isx, "SECRETS", tmp_path / "secrets")
    monkeypatch.setattr(install_isx, "DOWNLOAD", tmp_path / "download.sh")


# --- verify ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", [1 << 20, 4096, len(STUB) + 4, len(GOOD)])
def test_a_sound_installer_in_blocks_of_any_size(block, tmp_path, monkeypatch):
    monkeypatch.setattr(install_isx, "BLOCK", block)
    sha256 = hashlib.sha256(GOOD).hexdigest()
    assert install_isx.verify(written(tmp_path, GOOD), "") == sha256
    assert install_isx.verify(written(tmp_path, GOOD), sha256) == sha256
    assert install_isx.verify(written(tmp_path, GOOD), f" {sha256.upper()}\n") == sha256  # as PowerShell prints it


UNSOUND = {
    "empty": (b"", r"setup\.sh is not an IDPS installer"),
    "web page": (
        b"<!DOCTYPE html><title>Log in</title>",
        r"is not an IDPS installer \(no self-extracting CPack archive\)",
    ),
    "script": (b"#!/bin/sh\nexit 0\n", r"is not an IDPS installer"),
    "archive alone": (ARCHIVE, r"is not an IDPS installer"),
    "another stub": (b"#!/bin/sh\nexit 0\n" + ARCHIVE, r"is not an IDPS installer"),
    "stub alone": (STUB, r"is not an IDPS installer"),
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
        install_isx.verify(written(tmp_path, content), "")


def test_the_sha256_speaks_first(tmp_path):
    with pytest.raises(BuildError, match=r"has sha256 [0-9a-f]{64}, but INSTALLER_SHA256 says 0{64}"):
        install_isx.verify(written(tmp_path, GOOD[:-8]), "0" * 64)


# --- name and version -----------------------------------------------------------------------------------------------


def test_name_and_version_as_reported_and_as_written(tmp_path):
    installer = written(tmp_path, GOOD)
    assert install_isx.name_and_version(installer) == ("Inscopix Data Processing", "1.9.6")
    assert install_isx.name_and_version_in_stub(installer) == ("Inscopix Data Processing", "1.9.6")


LINES = {
    "plain": ("Inscopix Data Processing Installer Version: 1.9.6, Copyright (c) Inscopix", "1.9.6"),
    "after other lines": ("warning\nInscopix Data Processing Installer Version: 2.0, Copyright", "2.0"),
    "as shell": ('  echo "Inscopix Data Processing Installer Version: 1.9.6.1234, Copyright"', "1.9.6.1234"),
    "without vendor": ("Inscopix Data Processing Installer Version: 1.9.6", "1.9.6"),
}


@pytest.mark.parametrize("text, version", LINES.values(), ids=LINES)
def test_parse_version(text, version):
    assert install_isx.parse_version(Path("setup.sh"), text) == ("Inscopix Data Processing", version)


@pytest.mark.parametrize("text", ["", "Usage: setup.sh [options]", "Version 1.9.6"])
def test_no_version(text):
    with pytest.raises(BuildError, match=r"setup\.sh reports no name and version"):
        install_isx.parse_version(Path("setup.sh"), text)


# --- running the stub -----------------------------------------------------------------------------------------------


def test_standard_input_is_closed(tmp_path):
    installer = written(tmp_path, b"read answer || echo nobody answers\n")
    assert install_isx.run_stub(installer).stdout == "nobody answers\n"


def test_a_stub_that_does_not_end(tmp_path, monkeypatch):
    monkeypatch.setenv("INSTALLER_TIMEOUT", "0.2")
    with pytest.raises(BuildError, match=r"did not end within 0 s: .* Give it longer with INSTALLER_TIMEOUT"):
        install_isx.run_stub(written(tmp_path, b"exec sleep 60\n"))


def test_a_time_limit_that_is_none(tmp_path, monkeypatch):
    monkeypatch.setenv("INSTALLER_TIMEOUT", "15m")
    with pytest.raises(BuildError, match=r"INSTALLER_TIMEOUT=15m: it must be a number of seconds\."):
        install_isx.run_stub(written(tmp_path, b"exit 0\n"))


def test_a_stub_that_fails_is_quoted(tmp_path):
    installer = written(tmp_path, b"echo This machine is not supported.; exit 3\n")
    with pytest.raises(BuildError, match=r"setup\.sh failed with exit code 3:\nThis machine is not supported\."):
        install_isx.unpack(installer, tmp_path / "target")


# --- finding it -----------------------------------------------------------------------------------------------------


def test_the_one_in_the_slot(tmp_path):
    installer = written(tmp_path / "slot/Downloads of mine", GOOD)
    written(tmp_path / "slot", b"", ".DS_Store")
    assert install_isx.find_installer() == installer


def test_the_secret(tmp_path):
    secret = written(tmp_path / "secrets", GOOD, "installer")
    assert install_isx.find_installer() == secret


def test_none():
    with pytest.raises(BuildError, match=r"No IDPS installer was passed\. Pass it with 'make image INSTALLER="):
        install_isx.find_installer()


TOO_MANY = {
    "in the slot": (["slot/a.sh", "slot/b.sh"], r"/slot/a\.sh, .*/slot/b\.sh\. Leave one"),
    "slot and secret": (["slot/a.sh", "secrets/installer"], r"/slot/a\.sh, .*/secrets/installer\. Leave one"),
    "a folder of other files": (
        [f"slot/{name}.jpg" for name in "abcdefg"],
        r"other files beside one: .*/slot/a\.jpg, .*/slot/e\.jpg and 2 more\. Leave one",
    ),
    "slot and address": (["slot/a.sh", "secrets/installer_url"], r"/slot/a\.sh, the secret installer_url\. Leave one"),
}


@pytest.mark.parametrize("files, message", TOO_MANY.values(), ids=TOO_MANY)
def test_two(files, message, tmp_path):
    for name in files:
        written((tmp_path / name).parent, GOOD, Path(name).name)
    with pytest.raises(BuildError, match=message):
        install_isx.find_installer()


@pytest.fixture
def web(tmp_path) -> Iterator[str]:
    written(tmp_path / "web", GOOD)
    handler = functools.partial(SimpleHTTPRequestHandler, directory=tmp_path / "web")
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_the_address_in_a_secret(web, tmp_path, monkeypatch):
    written(tmp_path / "secrets", f"{web}/setup.sh?signature=abc\n".encode(), "installer_url")
    monkeypatch.setenv("ISX_SHA256", hashlib.sha256(GOOD).hexdigest())
    assert install_isx.find_installer().read_bytes() == GOOD


def test_an_address_needs_a_sha256(tmp_path):
    written(tmp_path / "secrets", b"https://example.org/?signature=abc", "installer_url")
    with pytest.raises(BuildError, match="INSTALLER_SHA256 is needed"):
        install_isx.find_installer()


@pytest.mark.parametrize(
    "address", ["{web}/gone.sh?signature=abc", "no address, signature=abc", "http://127.0.0.1:1/signature=abc"]
)
def test_an_address_that_does_not_answer_is_not_shown(address, web, tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("ISX_SHA256", "0" * 64)
    written(tmp_path / "secrets", address.format(web=web).encode(), "installer_url")
    with pytest.raises(BuildError, match="could not be fetched from the secret installer_url: ") as caught:
        install_isx.find_installer()
    assert "signature=abc" not in str(caught.value)
    assert "signature=abc" not in capfd.readouterr().err.replace(
        "GET /gone.sh?signature=abc", ""
    )  # the server's own log


# --- what it unpacked -----------------------------------------------------------------------------------------------

LIBRARY, PACKAGE = str(LAYOUT / "libisxpublicapi.so"), str(LAYOUT / "isx/__init__.py")
LAYOUTS = {
    "beside the package": ([LIBRARY, PACKAGE], None),
    "in the package": ([str(LAYOUT / "isx/lib/libisxpublicapi.so"), PACKAGE], None),
    "no library": (
        [PACKAGE],
        r"no .*/API/Python/libisxpublicapi\.so\. Found: Inscopix Data Processing\.linux/Contents",
    ),
    "no package": ([LIBRARY], r"no .*/API/Python/isx/__init__\.py\. Found"),
    "nothing": ([], r"Found: nothing"),
    "for another system": (["Inscopix Data Processing.app/Contents/isx/__init__.py"], r"Is it IDPS for Linux\?"),
}


@pytest.mark.parametrize("files, message", LAYOUTS.values(), ids=LAYOUTS)
def test_layout(files, message, tmp_path):
    for name in files:
        written((tmp_path / name).parent, b"", Path(name).name)
    if message is None:
        install_isx.assert_layout(tmp_path, "IDPS", "1.9.6")
    else:
        with pytest.raises(BuildError, match=message):
            install_isx.assert_layout(tmp_path, "IDPS", "1.9.6")


def test_every_file_becomes_readable_and_the_product_is_written_down(tmp_path):
    api = tmp_path / LAYOUT
    library = written(api, b"", "libisxpublicapi.so")
    tool = written(api / "bin", b"", "tool")
    library.chmod(0o000)
    tool.chmod(0o700)
    (api / "bin").chmod(0o700)
    (api / "broken").symlink_to("nowhere")
    install_isx.finish(tmp_path, Product("idps", "Inscopix Data Processing", "1.9.6", "abc"))
    assert [oct(path.stat().st_mode & 0o777) for path in (library, tool, api / "bin")] == ["0o644", "0o755", "0o755"]
    assert (tmp_path / "api").samefile(api)
    assert json.loads((tmp_path / "isx.json").read_text()) == {
        "source": "idps",
        "name": "Inscopix Data Processing",
        "version": "1.9.6",
        "sha256": "abc",
    }


def refused(capsys, tmp_path, monkeypatch, **variables: str) -> str:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert install_isx.main(["idps", str(tmp_path / "target")]) == 1
    return capsys.readouterr().err


def test_the_licence_must_be_accepted(capsys, tmp_path, monkeypatch):
    written(tmp_path / "slot", GOOD)
    message = refused(capsys, tmp_path, monkeypatch)
    assert "ERROR: The licence of Inscopix Data Processing 1.9.6 is not accepted" in message
    assert not (tmp_path / "target").exists()


def test_the_version_must_be_the_expected_one(capsys, tmp_path, monkeypatch):
    written(tmp_path / "slot", GOOD)
    message = refused(capsys, tmp_path, monkeypatch, ACCEPT_EULA="y", ISX_VERSION="1.9.5")
    assert "setup.sh reports version 1.9.6, but INSTALLER_VERSION says 1.9.5: correct it." in message


def test_a_tree_that_there_is_not(capsys, tmp_path, monkeypatch):
    written(tmp_path / "slot", GOOD)
    assert "ISX_TREE=apis: there are only full and api." in refused(capsys, tmp_path, monkeypatch, ISX_TREE="apis")


def test_a_download_does_not_stay(web, capsys, tmp_path, monkeypatch):
    """The layer of the stage that fetches it may be exported with the build cache."""
    written(tmp_path / "secrets", f"{web}/setup.sh".encode(), "installer_url")
    sha256 = hashlib.sha256(GOOD).hexdigest()
    message = refused(capsys, tmp_path, monkeypatch, ACCEPT_EULA="Y", ISX_SHA256=sha256)
    assert "has another layout than expected" in message  # so it was run
    assert not install_isx.DOWNLOAD.exists()
