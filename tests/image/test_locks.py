"""Every lock follows from its .in file, and has a wheel of each package for its Python; a configured index is asked."""

from __future__ import annotations

import base64
import re
import threading
import uuid
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from harness import LOCK, bake, gateway


def test_each_lock_follows_from_what_is_asked_for():
    """Only wheels count there."""
    bake("lock-check")


@pytest.fixture
def index(engine) -> Iterator[tuple[str, list[str]]]:
    """The address of a package index that has nothing, and whom it was asked by."""
    asked: list[str] = []

    class Empty(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.headers.get("Authorization", ""))
            self.send_error(404)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer((gateway(), 0), Empty) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"{gateway()}:{server.server_port}", asked
        server.shutdown()


def test_dependencies_come_from_the_index_of_the_pip_configuration(index, project: Path):
    """And nobody reads its password in the log."""
    address, asked = index
    configuration = project / "pip.conf"
    configuration.write_text(f"[global]\nindex-url = http://someone:p4ssword@{address}/simple\n")
    with (project / LOCK).open("a") as lock:
        lock.write(f"\n# a change that no cache knows: {uuid.uuid4()}\n")
    done = bake("deps", cwd=project, PIP_CONFIG_FILE=configuration, check=False)
    assert done.returncode != 0
    assert re.search(r"was not found in the package registry|No solution found", done.stderr), done.stderr[-3000:]
    assert set(asked) == {"Basic " + base64.b64encode(b"someone:p4ssword").decode()}
    assert "p4ssword" not in done.stdout + done.stderr
