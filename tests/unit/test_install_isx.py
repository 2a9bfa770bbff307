"""stages/install_isx.py: how an installer is found, fetched, run, and what is made of its tree."""

from __future__ import annotations

import functools
import hashlib
import json
import sys
import threading
import urllib.error
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "stages"))

from test_installer import GOOD, written

import install_isx
from install_isx import LAYOUT, Product
from installer import WAYS, BuildError


@pytest.fixture(autouse=True)
def _no_variables_of_the_caller(monkeypatch, tmp_path):
    for name in ("INSTALLER_SHA256", "INSTALLER_VERSION", "INSTALLER_TIMEOUT", "INSTALLER_WAYS", "ISX_TREE", *WAYS):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(install_isx, "SLOT", tmp_path / "slot")
    monkeypatch.setattr(install_isx, "SECRETS", tmp_path / "secrets")
    monkeypatch.setattr(install_isx, "DOWNLOAD", tmp_path / "download.sh")


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


def test_name_and_version_as_the_installer_reports_them(tmp_path):
    assert install_isx.name_and_version(written(tmp_path, GOOD)) == ("Inscopix Data Processing", "1.9.6")


def test_the_one_in_the_slot(tmp_path):
    installer = written(tmp_path / "slot", GOOD)
    assert install_isx.find_installer() == installer


def test_the_one_in_a_folder_that_was_named(tmp_path, monkeypatch):
    monkeypatch.setenv("INSTALLER_WAYS", "INSTALLER_DIR")
    installer = written(tmp_path / "slot/Downloads of mine", GOOD, "setup")
    assert install_isx.find_installer() == installer


def test_the_secret_comes_before_the_slot(tmp_path, monkeypatch):
    monkeypatch.setenv("INSTALLER_WAYS", "INSTALLER_SECRET")
    written(tmp_path / "slot", GOOD)
    with pytest.raises(BuildError, match="The secret installer was not passed to the build"):
        install_isx.find_installer()
    secret = written(tmp_path / "secrets", GOOD, "installer")
    assert install_isx.find_installer() == secret


def test_none(tmp_path):
    (tmp_path / "slot").mkdir()
    with pytest.raises(BuildError, match=r"No IDPS installer was passed\. Put the installer of IDPS for Linux at"):
        install_isx.find_installer()


@pytest.fixture
def web(tmp_path) -> Iterator[str]:
    written(tmp_path / "web", GOOD)
    handler = functools.partial(SimpleHTTPRequestHandler, directory=tmp_path / "web")
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def by_address(monkeypatch):
    monkeypatch.setenv("INSTALLER_WAYS", "INSTALLER_URL")
    monkeypatch.setenv("INSTALLER_SHA256", hashlib.sha256(GOOD).hexdigest())


def test_the_address_in_a_secret(web, tmp_path, by_address):
    written(tmp_path / "secrets", f"{web}/setup.sh?signature=abc\n".encode(), "installer_url")
    assert install_isx.find_installer().read_bytes() == GOOD


def test_an_address_needs_a_sha256(tmp_path, by_address, monkeypatch):
    monkeypatch.delenv("INSTALLER_SHA256")
    written(tmp_path / "secrets", b"https://example.org/?signature=abc", "installer_url")
    with pytest.raises(BuildError, match="INSTALLER_URL needs INSTALLER_SHA256: it checks the download"):
        install_isx.find_installer()


NO_ANSWER = {
    "{web}/gone.sh?signature=abc": r"127\.0\.0\.1 and localhost are the builder here, not your machine: use an address",
    "no address, signature=abc": r"It must be an address such as https://\.\.\.",
    "http://localhost:1/signature=abc": r"Connection refused\. 127\.0\.0\.1 and localhost are the builder here",
    "http://nowhere.invalid/signature=abc": r"Does the builder reach that server\?",
}


@pytest.mark.parametrize("address, way_out", NO_ANSWER.items())
def test_an_address_that_does_not_answer_is_not_shown(address, way_out, web, tmp_path, by_address, capfd):
    written(tmp_path / "secrets", address.format(web=web).encode(), "installer_url")
    message = f"could not be fetched from INSTALLER_URL: .*{way_out}"
    with pytest.raises(BuildError, match=message) as caught:
        install_isx.find_installer()
    assert "signature=abc" not in str(caught.value)
    assert "signature=abc" not in capfd.readouterr().err.replace(
        "GET /gone.sh?signature=abc", ""
    )  # the server's own log


@pytest.mark.parametrize("code", [403, 404])
def test_an_address_that_has_expired(code):
    failure = urllib.error.HTTPError("https://example.org", code, "", None, None)
    said = install_isx.way_out("https://example.org", failure)
    assert said == f"The server answered {code}: the address has expired or is wrong. Ask for a new one."


# --- what it unpacked -----------------------------------------------------------------------------------------------

LIBRARY, PACKAGE = str(LAYOUT / "libisxpublicapi.so"), str(LAYOUT / "isx/__init__.py")
LAYOUTS = {
    "beside the package": ([LIBRARY, PACKAGE], None),
    "in the package": ([str(LAYOUT / "isx/lib/libisxpublicapi.so"), PACKAGE], None),
    "in an outer folder": ([f"Inscopix Data Processing 1.9.6/{name}" for name in (LIBRARY, PACKAGE)], None),
    "somewhere else": (["opt/python/isx/__init__.py", "opt/python/isx/libisxpublicapi.so"], None),
    "a package of the same name elsewhere": ([LIBRARY, PACKAGE, "tools/isx/__init__.py"], None),
    "twice": (
        [LIBRARY, PACKAGE, "old/isx/__init__.py", "old/libisxpublicapi.so"],
        r"has the Python API more than once: Inscopix Data Processing\.linux/Contents/API/Python, old\. Please report",
    ),
    "no library": (
        [PACKAGE],
        r"no libisxpublicapi\.so in .*/API/Python/isx or beside it\. Found: Inscopix Data Processing\.linux/Contents",
    ),
    "no package": (
        [LIBRARY],
        r"no package isx \(isx/__init__\.py\)\. Found: Inscopix Data Processing\.linux/.*/libisxpublicapi\.so, ",
    ),
    "nothing": ([], r"Found: nothing"),
    "for another system": (["Inscopix Data Processing.app/Contents/isx/__init__.py"], r"Is it IDPS for Linux\?"),
}


@pytest.mark.parametrize("files, message", LAYOUTS.values(), ids=LAYOUTS)
def test_layout(files, message, tmp_path):
    for name in files:
        written((tmp_path / name).parent, b"", Path(name).name)
    if message is None:
        assert (install_isx.find_api(tmp_path, "IDPS", "1.9.6") / "isx/__init__.py").is_file()
    else:
        with pytest.raises(BuildError, match=message):
            install_isx.find_api(tmp_path, "IDPS", "1.9.6")


def test_every_file_becomes_readable_and_the_product_is_written_down(tmp_path):
    api = tmp_path / LAYOUT
    library = written(api, b"", "libisxpublicapi.so")
    tool = written(api / "bin", b"", "tool")
    library.chmod(0o000)
    tool.chmod(0o700)
    (api / "bin").chmod(0o700)
    (api / "broken").symlink_to("nowhere")
    install_isx.finish(tmp_path, Product("idps", "Inscopix Data Processing", "1.9.6", "abc"), api)
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


def test_the_version_must_be_the_expected_one(capsys, tmp_path, monkeypatch):
    written(tmp_path / "slot", GOOD)
    message = refused(capsys, tmp_path, monkeypatch, INSTALLER_VERSION="1.9.5")
    assert "setup.sh reports version 1.9.6, but INSTALLER_VERSION says 1.9.5: correct it." in message


def test_a_tree_that_there_is_not(capsys, tmp_path, monkeypatch):
    written(tmp_path / "slot", GOOD)
    assert "ISX_TREE=apis: there are only full and api." in refused(capsys, tmp_path, monkeypatch, ISX_TREE="apis")


def test_a_download_does_not_stay(web, capsys, tmp_path, monkeypatch, by_address):
    """The layer of the stage that fetches it may be exported with the build cache."""
    written(tmp_path / "secrets", f"{web}/setup.sh".encode(), "installer_url")
    message = refused(capsys, tmp_path, monkeypatch)
    assert "has another layout than expected" in message  # so it was run
    assert not install_isx.DOWNLOAD.exists()
