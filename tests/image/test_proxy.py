"""Builds behind a proxy: a real one that forwards, and one that intercepts TLS; both see what the build asks for."""

from __future__ import annotations

import contextlib
import shutil
import ssl
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from harness import LOCK, PROJECT, bake, gateway, run

NO_PACKAGE = "no-such-package"  # asked for so that a build ends early, at a step that no cache knows
DEAD = "http://127.0.0.1:9"  # nobody listens there
CLEARED = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"))  # unset
WAYS = {
    "make": (sys.executable, PROJECT / "scripts/build.py", "--progress=plain"),
    "bake": ("docker", "buildx", "bake", "--progress=plain", "image"),
    "compose": ("docker", "compose", "--progress=plain", "build"),
}


@contextlib.contextmanager
def proxy(folder: Path, *options: object) -> Iterator[tuple[str, Path]]:
    """A proxy that containers reach; its address, and its log."""
    port, log = folder / "port", folder / "proxy.log"
    command = [sys.executable, "-m", "proxy", "--hostname", gateway(), "--port", "0", "--port-file", port]
    command += ["--log-file", log, "--num-workers", "1", "--num-acceptors", "1", *options]
    process = subprocess.Popen([*map(str, command)], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while not (port.exists() and port.read_text().strip()):
            assert process.poll() is None and time.monotonic() < deadline, log.read_text() if log.exists() else ""
            time.sleep(0.1)
        yield f"http://{gateway()}:{port.read_text().split()[0]}", log
    finally:
        process.terminate()
        process.wait()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy"])
def test_the_distribution_is_asked_through_the_proxy_of_the_shell(way, name, public, tmp_path):
    package = f"{NO_PACKAGE}-{uuid.uuid4()}"
    with proxy(tmp_path) as (address, log):
        variables = {**CLEARED, name: address, "RUNTIME_PACKAGES": package, "ISX_SOURCE": "public"}
        done = run(*WAYS[way], check=False, **variables)
        said = done.stdout + done.stderr
        assert done.returncode != 0
        assert f"Unable to locate package {package}" in said, said[-3000:]
        seen = log.read_text()
    assert "/InRelease - 200 OK" in seen, seen


def test_without_the_proxy_nothing_comes_through(public):
    """So that the test above shows something: a proxy that is not there stops the same build."""
    package = f"{NO_PACKAGE}-{uuid.uuid4()}"
    variables = {**CLEARED, "HTTP_PROXY": DEAD, "RUNTIME_PACKAGES": package, "ISX_SOURCE": "public"}
    done = run(*WAYS["bake"], check=False, **variables)
    assert done.returncode != 0
    said = done.stdout + done.stderr
    assert "Could not connect to 127.0.0.1:9" in said, said[-3000:]


# ---- TLS


def signed(folder: Path, name: str, *, by: str = "", host: str = "") -> None:
    """NAME.key and NAME.pem: a certificate of an authority, or one that the authority `by` signs for a host."""
    openssl = shutil.which("openssl")
    assert openssl, "the proxy signs certificates with openssl"
    (folder / "host.cnf").write_text("[req]\ndistinguished_name = subject\n[subject]\n")  # else it is an authority's
    key = ["-newkey", "rsa:2048", "-nodes", "-keyout", f"{name}.key", "-out", f"{name}.pem", "-days", "2"]
    issuer = ["-CA", f"{by}.pem", "-CAkey", f"{by}.key"] if by else []
    alternative = f"subjectAltName={'DNS' if host.isalpha() else 'IP'}:{host}"
    names = ["-config", "host.cnf", "-addext", "basicConstraints=CA:FALSE", "-addext", alternative] if host else []
    command = [openssl, "req", "-x509", "-subj", f"/CN={name}", *key, *issuer, *names]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)


@contextlib.contextmanager
def index(folder: Path, host: str) -> Iterator[tuple[str, list[str]]]:
    """The address of a package index behind TLS that the lab's own authority vouches for, and what it was asked."""
    asked: list[str] = []

    class Empty(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, *_: object) -> None:
            pass

    signed(folder, "lab")
    signed(folder, "index", by="lab", host=host)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "index.pem", folder / "index.key")
    with ThreadingHTTPServer((host, 0), Empty) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"https://{host}:{server.server_port}/simple", asked
        server.shutdown()


def ask(project: Path, address: str, **variables: object) -> str:
    """Have a build install from an index that has nothing; what it said."""
    configuration = project / "pip.conf"
    configuration.write_text(f"[global]\nindex-url = {address}\n")
    with (project / LOCK).open("a") as lock:
        lock.write(f"\n# a change that no cache knows: {uuid.uuid4()}\n")
    done = bake("deps", cwd=project, check=False, **{**CLEARED, "PIP_CONFIG_FILE": configuration, **variables})
    assert done.returncode != 0
    return done.stdout + done.stderr


@pytest.mark.parametrize("trusted", [True, False])
def test_a_proxy_that_intercepts_tls(trusted, project: Path, tmp_path_factory):
    """Only the proxy reaches the index, which is on this machine's own address; the build knows its authority alone."""
    folder = tmp_path_factory.mktemp("proxy")
    signed(folder, "proxy")
    subprocess.run(["openssl", "genrsa", "-out", "signing.key", "2048"], cwd=folder, check=True, capture_output=True)
    options = ["--ca-cert-file", "proxy.pem", "--ca-key-file", "proxy.key", "--ca-signing-key-file", "signing.key"]
    options += ["--ca-cert-dir", folder, "--ca-file", "lab.pem"]
    with index(folder, "localhost") as (address, asked), proxy(folder, *options) as (through, log):
        authority = folder / ("proxy.pem" if trusted else "lab.pem")
        said = ask(project, address, HTTPS_PROXY=through, SSL_CERT_FILE=authority)
        assert bool(asked) is trusted, log.read_text() + said[-3000:]
    wanted = "was not found in the package registry" if trusted else "invalid peer certificate"
    assert wanted in said, said[-3000:]


def test_an_internal_index_needs_no_internet(project: Path, tmp_path_factory):
    """Everything else would go to a proxy that is not there."""
    folder = tmp_path_factory.mktemp("index")
    with index(folder, gateway()) as (address, asked):
        elsewhere = {"HTTPS_PROXY": DEAD, "HTTP_PROXY": DEAD, "NO_PROXY": gateway(), "no_proxy": gateway()}
        said = ask(project, address, SSL_CERT_FILE=folder / "lab.pem", **elsewhere)
        assert asked, said[-3000:]
    assert "was not found in the package registry" in said, said[-3000:]
