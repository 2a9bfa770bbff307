"""stages/install_isx.py: how an installer is found, fetched, run, and what is made of its tree."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "stages"))

from test_installer import GOOD, written

import download
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
    assert install_isx.run_stub(installer).said == "nobody answers\n"


def test_a_stub_that_does_not_end(tmp_path, monkeypatch):
    monkeypatch.setenv("INSTALLER_TIMEOUT", "0.2")
    with pytest.raises(BuildError, match=r"did not finish within 0 s: .* Give it longer with INSTALLER_TIMEOUT"):
        install_isx.run_stub(written(tmp_path, b"exec sleep 60\n"))


def test_the_last_words_of_a_stub_that_does_not_end_are_quoted(tmp_path, monkeypatch):
    monkeypatch.setenv("INSTALLER_TIMEOUT", "1")
    with pytest.raises(BuildError, match=r"did not finish within 1 s: .*\nWhich folder\?$"):
        install_isx.run_stub(written(tmp_path, b"echo Which folder?; exec sleep 60\n"))


LEAVE = (
    b"sleep 60 &",
    b"(sleep 60; touch late) &",
    b"nohup sleep 60 >&2 &",
    b"setsid sleep 60 &",
    b"setsid nohup sh -c 'trap \"\" TERM HUP INT; sleep 60; sleep 60' >/dev/null 2>&1 &",
    b"setsid yes >/dev/null &",
)


@pytest.mark.parametrize("leave", LEAVE)
def test_what_a_stub_leaves_in_the_background_is_not_waited_for_and_ended(tmp_path, monkeypatch, leave):
    monkeypatch.setenv("INSTALLER_TIMEOUT", "30")
    before = time.monotonic()
    done = install_isx.run_stub(
        written(tmp_path, leave + b" echo $! >" + bytes(tmp_path / "pid") + b"; echo said\nexit 2\n")
    )
    assert time.monotonic() - before < 10
    assert (done.code, done.said) == (2, "said\n")
    child = Path("/proc", (tmp_path / "pid").read_text().strip(), "stat")
    time.sleep(0.2)
    assert not child.exists() or child.read_text().rpartition(")")[2].split()[0] == "Z"


def test_what_a_daemon_of_a_stub_leaves_ends_too(tmp_path):
    """A grandchild in a session of its own, whose parent has ended before the stub."""
    code = f"sleep 60 & echo $! > {tmp_path}/pid"
    install_isx.run_stub(written(tmp_path, f"setsid sh -c '{code}'; exit 0\n".encode()))
    assert not Path("/proc", (tmp_path / "pid").read_text().strip()).exists()


NOISY = {
    "lines": b"yes 'some words of no interest' | head -c 300000000; echo; echo the end; exit 3\n",
    "no line": b"head -c 300000000 /dev/zero | tr '\\0' x; printf ' the end'; exit 3\n",
    "a bar": b"for i in $(seq 20000); do printf '\\r%s of 20000' $i; done; printf '\\rthe end'; exit 3\n",
}


@pytest.mark.parametrize("noisy", NOISY.values(), ids=NOISY)
def test_the_output_of_a_stub_is_held_neither_in_memory_nor_on_disk(tmp_path, noisy):
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import install_isx, shutil, tempfile; from pathlib import Path\n"
        "tempfile.tempdir = '/nowhere'\n"
        "try: install_isx.unpack(Path(sys.argv[2]), Path(sys.argv[3]))\n"
        "except install_isx.BuildError as error: print(error)\n"
        "print(Path('/proc/self/status').read_text().partition('VmHWM:')[2].split()[0])"
    )
    stages = Path(install_isx.__file__).parent
    command = [sys.executable, "-c", code, stages, written(tmp_path, noisy), tmp_path / "target"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    *message, peak = done.stdout.splitlines()
    assert message[0] == "setup.sh failed with exit code 3:"
    assert len(message) <= 11 and message[-1].endswith("the end")
    assert max(map(len, message)) <= 303
    assert int(peak) < 60 << 10  # KiB


@pytest.mark.parametrize("given", ["15m", "nan", "inf", "-1", "0", "1e400", "9" * 400])
def test_a_time_limit_that_is_none(tmp_path, monkeypatch, given):
    monkeypatch.setenv("INSTALLER_TIMEOUT", given)
    with pytest.raises(BuildError, match=rf"INSTALLER_TIMEOUT={given[:40]}: it must be a number of seconds\."):
        install_isx.run_stub(written(tmp_path, b"exit 0\n"))


def test_a_stub_that_closes_its_output_and_goes_on(tmp_path):
    done = install_isx.run_stub(written(tmp_path, b"echo said; exec >&- 2>&-; sleep 1; exit 4\n"))
    assert (done.code, done.said) == (4, "said\n")


@pytest.mark.parametrize(
    "way, how",
    [
        (b"kill -9 $$", "signal SIGKILL: it said nothing."),
        (b"echo Segmentation; kill -SEGV $$", "signal SIGSEGV:\nSegmentation"),
        (b"sh -c 'kill -9 $$'; exit $?", "exit code 137:"),
    ],
)
def test_a_stub_that_is_killed(tmp_path, way, how):
    with pytest.raises(BuildError) as raised:
        install_isx.unpack(written(tmp_path, way + b"\n"), tmp_path / "target")
    assert str(raised.value).startswith(f"setup.sh failed with {how}")


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
    (tmp_path / "slot/.dockerignore").touch()
    with pytest.raises(BuildError, match=r"No IDPS installer was passed\. Put the installer of IDPS for Linux at"):
        install_isx.find_installer()


class Odd(BaseHTTPRequestHandler):
    """Answers in ways that tempt a client to quote the address."""

    def do_GET(self) -> None:
        name = self.path.partition("?")[0].rpartition("/")[2]
        if name == "setup.sh":
            self.answer(200, GOOD)
        elif name == "private.sh":
            wanted = "Basic " + base64.b64encode(b"us3r:p4ss word").decode()
            self.answer(200 if self.headers["Authorization"] == wanted else 401, GOOD)
        elif name == "elsewhere.sh":
            self.answer(302, b"", Location="/p4th/setup.sh?s1gn4ture=2")
        elif name in ("file", "ftp", "gopher", "data"):
            self.answer(302, b"", Location=f"{name}://h0st.invalid/p4th?s1gn4ture=2")
        elif name == "circle":
            self.answer(302, b"", Location=self.path)
        elif name == "no-http":
            self.wfile.write(b"p4th s1gn4ture\r\n\r\n")
        elif name == "login":
            self.answer(200, b"\n<!DOCTYPE html>\n<html><body>p4th s1gn4ture</body></html>")
        elif name == "later":  # at the third attempt
            type(self).n_cut += 1
            size = len(GOOD) if self.n_cut > 2 else 10
            self.answer(200, GOOD[:size], **{"Content-Length": str(len(GOOD))})
        elif name == "short":
            self.answer(200, GOOD[:10], **{"Content-Length": "4096"})
        else:
            self.answer(int(name), self.path.encode())

    def answer(self, code: int, content: bytes, **headers: str) -> None:
        self.send_response(code, self.path)  # as the server's words, so that a message that quotes them is found out
        for header, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(header, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Its log would hold the address."""


@pytest.fixture
def web() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Odd) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def by_address(monkeypatch):
    monkeypatch.setenv("INSTALLER_WAYS", "INSTALLER_URL")
    monkeypatch.setenv("INSTALLER_SHA256", hashlib.sha256(GOOD).hexdigest())


FETCHED = {
    "a signature": "http://{web}/p4th/setup.sh?s1gn4ture=1&a=%2B%2f",
    "an end of line": "http://{web}/p4th/setup.sh?s1gn4ture=1\r\n",
    "capitals": "HTTP://{web}/p4th/setup.sh?s1gn4ture=1",
    "a fragment": "http://{web}/p4th/setup.sh?s1gn4ture=1#fr4gment",
    "a redirect": "http://{web}/p4th/elsewhere.sh?s1gn4ture=1",
    "a user": "http://us3r:p4ss%20word@{web}/p4th/private.sh?s1gn4ture=1",
}
HERE = r"127\.0\.0\.1 and localhost are the builder here, not your machine: use an address that the builder reaches"
EXPIRED = r"the server answered 4\d\d\. The address has expired or is wrong: ask for a new one\."
NO_ADDRESS = r"INSTALLER_URL is not an address that can be fetched: "
REDIRECT = r"the server redirects (in a circle, or )?to what cannot be fetched\. It must be an address such as https://"
NOT_FETCHED = {
    "gone": ("http://{web}/p4th/404?s1gn4ture=1", EXPIRED),
    "expired": ("http://{web}/p4th/403?s1gn4ture=1", EXPIRED),
    "a wrong password": ("http://us3r:p4ss@{web}/p4th/private.sh", EXPIRED),
    "a server in trouble": ("http://{web}/p4th/503?s1gn4ture=1", r"the server answered 503\. Try again later"),
    "a refusal": ("http://{web}/p4th/418?s1gn4ture=1", r"the server answered 418\. Try again later"),
    "a redirect to a file": ("http://{web}/p4th/file?s1gn4ture=1", REDIRECT),
    "a redirect to FTP": ("http://{web}/p4th/ftp?s1gn4ture=1", REDIRECT),
    "a redirect to something else": ("http://{web}/p4th/gopher?s1gn4ture=1", REDIRECT),
    "a redirect to data": ("http://{web}/p4th/data?s1gn4ture=1", REDIRECT),
    "a circle": ("http://{web}/p4th/circle?s1gn4ture=1", REDIRECT),
    "no HTTP": ("http://{web}/p4th/no-http?s1gn4ture=1", HERE),
    "cut short": ("http://{web}/p4th/short?s1gn4ture=1", r"the connection ended after 10 of 4096 bytes\."),
    "a page that wants a login": (
        "http://{web}/p4th/login?s1gn4ture=1",
        r"INSTALLER_URL leads to a web page, not to the installer: the server may want a login",
    ),
    "TLS that is none": ("https://{web}/p4th?s1gn4ture=1", r"is not secure \(\w+\)\. Behind a TLS-intercepting proxy"),
    "nobody listens": ("http://localhost:1/p4th?s1gn4ture=1", rf"Connection refused\. {HERE}"),
    "IPv6": ("http://us3r@[::1]:1/p4th?s1gn4ture=1", HERE),
    "an unknown host": ("http://h0st.invalid:4711/p4th", r"name of the server is not known\. Does the builder reach"),
    "an endless host": ("http://" + "h0st" * 20 + ".invalid/p4th", r"\. Does the builder reach that server\?"),
    "no number as port": (
        "http://h0st.invalid:s1gn4ture/p4th",
        NO_ADDRESS + r"its host or port is malformed\. It must",
    ),
    "too high a port": ("http://h0st.invalid:474747/p4th", NO_ADDRESS + r"its host or port is malformed\."),
    "a password with a colon and a slash": ("http://us3r:p4ss/:@h0st.invalid/", NO_ADDRESS + r"its host or port"),
    "half an IPv6 address": ("http://[::1/p4th?s1gn4ture=1", NO_ADDRESS + r"its host or port is malformed\."),
    "a space": ("http://{web}/p4th /setup.sh?s1gn4ture=1", NO_ADDRESS + r"it has a space or another character that"),
    "a line in the middle": ("http://{web}/p4th\r\nHost: h0st.invalid", NO_ADDRESS + r"it has a space or another"),
    "an umlaut": ("http://h0st.invalid/p4th/ü", NO_ADDRESS + r"it has a space or another character"),
    "no host": ("http:///p4th?s1gn4ture=1", NO_ADDRESS + r"it names no host\."),
    "no scheme": ("h0st.invalid/p4th?s1gn4ture=1", NO_ADDRESS + r"it is neither http nor https\."),
    "a file": ("file:///p4th/setup.sh", NO_ADDRESS + r"it is neither http nor https\."),
    "FTP": ("ftp://us3r:p4ss@h0st.invalid/p4th", NO_ADDRESS + r"it is neither http nor https\."),
    "data": ("data:s1gn4ture,p4th", NO_ADDRESS + r"it is neither http nor https\."),
    "nothing": (" ", NO_ADDRESS + r"it is empty\."),
}
# Each part of the addresses above, of which no message may repeat one; a port too.
PARTS = ("us3r", "p4ss", "h0st", "p4th", "s1gn4ture", "fr4gment", "4711", "474747")


def installing_from(address: str, tmp_path: Path) -> int:
    written(tmp_path / "secrets", address.encode(), "installer_url")
    return install_isx.main(["idps", str(tmp_path / "target")])


@pytest.mark.parametrize("address", FETCHED.values(), ids=FETCHED)
def test_an_address_that_is_fetched_is_not_shown(address, web, tmp_path, by_address, capfd):
    assert installing_from(address.format(web=web), tmp_path) == 1
    said = "".join(capfd.readouterr())
    assert "has another layout than expected" in said  # so it was fetched, found sound and run
    assert [part for part in (*PARTS, web.partition(":")[2]) if part in said] == []


@pytest.mark.parametrize("address, message", NOT_FETCHED.values(), ids=NOT_FETCHED)
def test_an_address_that_does_not_lead_there_is_not_shown(address, message, web, tmp_path, by_address, capfd):
    assert installing_from(address.format(web=web), tmp_path) == 1
    said = "".join(capfd.readouterr())
    assert re.search(f"ERROR: .*({message})", said), said
    assert [part for part in (*PARTS, web.partition(":")[2]) if part in said] == []


def test_a_download_that_was_cut_short_is_tried_again(web, tmp_path, by_address, capfd):
    Odd.n_cut = 0
    assert installing_from(f"http://{web}/p4th/later", tmp_path) == 1
    said = capfd.readouterr().err
    assert f"attempt 2 of 3: the connection ended after 10 of {len(GOOD)} bytes" in said
    assert "has another layout than expected" in said  # so it was fetched, found sound and run


def test_a_password_does_not_follow_a_redirect():
    request = download.request_for("https://us3r:p4ss@example.org/")
    redirected = urllib.request.HTTPRedirectHandler().redirect_request(
        request, None, 302, "", {}, "https://elsewhere.example.org/"
    )
    assert request.has_header("Authorization")
    assert not redirected.has_header("Authorization")


def test_an_address_needs_a_sha256(tmp_path, by_address, monkeypatch):
    monkeypatch.delenv("INSTALLER_SHA256")
    written(tmp_path / "secrets", b"https://example.org/?signature=abc", "installer_url")
    with pytest.raises(BuildError, match="INSTALLER_URL needs INSTALLER_SHA256: it checks the download"):
        install_isx.find_installer()


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
    written(tmp_path / "secrets", f"http://{web}/setup.sh".encode(), "installer_url")
    message = refused(capsys, tmp_path, monkeypatch)
    assert "has another layout than expected" in message  # so it was run
    assert not install_isx.DOWNLOAD.exists()
