"""stages/with_secrets.py: what pip and uv are told of the secrets."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "stages"))

import with_secrets

PROJECT = Path(__file__).resolve().parents[2]

CONFIGURATIONS = {
    "nothing": ("", {}),
    "an index": (
        "[global]\nindex-url = https://user:word@pypi.lab/simple\n",
        {"UV_DEFAULT_INDEX": "https://user:word@pypi.lab/simple"},
    ),
    "underscores": ("[global]\nindex_url = https://pypi.lab/simple\n", {"UV_DEFAULT_INDEX": "https://pypi.lab/simple"}),
    "of install alone": (
        "[global]\nindex-url = https://a/\n[install]\nindex-url = https://b/\n",
        {"UV_DEFAULT_INDEX": "https://b/"},
    ),
    "more indexes": (
        "[global]\nextra-index-url =\n    https://a/simple\n    https://b/simple\n",
        {"UV_INDEX": "https://a/simple https://b/simple", "UV_INDEX_STRATEGY": "unsafe-best-match"},
    ),
    "folders": (
        "[install]\nfind-links = /wheels\n  https://a/wheels\nno-index = true\n",
        {"UV_FIND_LINKS": "/wheels,https://a/wheels", "UV_NO_INDEX": "true"},
    ),
    "trust": (
        "[global]\ntrusted-host = pypi.lab\n  files.lab\ncert = /etc/ca.pem\nproxy = http://proxy.lab:3128\n",
        {
            "UV_INSECURE_HOST": "pypi.lab files.lab",
            "SSL_CERT_FILE": "/etc/ca.pem",
            "ALL_PROXY": "http://proxy.lab:3128",
        },
    ),
    "what uv does not know": ("[global]\nindex-url =\nprogress-bar = off\n[list]\nformat = json\n", {}),
    "a percent sign": ("[global]\nindex-url = https://a:b%2Fc@d/\n", {"UV_DEFAULT_INDEX": "https://a:b%2Fc@d/"}),
}


@pytest.mark.parametrize("text, expected", CONFIGURATIONS.values(), ids=CONFIGURATIONS)
def test_a_pip_configuration_as_uv_says_it(text, expected):
    assert with_secrets.for_uv(text) == expected


def test_the_bundle_that_was_passed_comes_before_that_of_the_configuration(tmp_path):
    (tmp_path / "pip").write_text("[global]\ncert = /etc/ca.pem\n")
    assert with_secrets.variables(tmp_path)["SSL_CERT_FILE"] == "/etc/ca.pem"
    (tmp_path / "ca").write_text("a bundle")
    environment = with_secrets.variables(tmp_path)
    assert {environment[name] for name in ("SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE")} == {str(tmp_path / "ca")}
    assert environment["PIP_CONFIG_FILE"] == str(tmp_path / "pip")


def test_an_empty_secret_is_none(tmp_path):
    """compose passes an empty file for what is not given."""
    (tmp_path / "pip").touch()
    (tmp_path / "ca").touch()
    assert with_secrets.variables(tmp_path) == with_secrets.SETTINGS


def test_the_command_runs_in_that_environment():
    command = [sys.executable, PROJECT / "stages/with_secrets.py", sys.executable, "-c"]
    code = "import os, sys; print(os.environ['UV_LINK_MODE'], os.environ['KEPT']); sys.exit(3)"
    done = subprocess.run(
        [*command, code], check=False, capture_output=True, text=True, env={**os.environ, "KEPT": "yes"}
    )
    assert (done.returncode, done.stdout) == (3, "copy yes\n")


def failing(tmp_path: Path, times: int, said: str) -> list[str]:
    """A command that fails so often, and says so; each call leaves a line."""
    code = (
        "import pathlib, sys; calls = pathlib.Path(sys.argv[1]); calls.open('a').write('called\\n'); "
        "n = len(calls.read_text().split()); print(sys.argv[3], n, file=sys.stderr); sys.exit(n <= int(sys.argv[2]))"
    )
    return [sys.executable, "-c", code, str(tmp_path / "calls"), str(times), said]


@pytest.mark.parametrize(
    ("times", "said", "n_calls", "code"),
    [
        (0, "fetched", 1, 0),
        (2, "ReadTimeoutError: Read timed out.", 3, 0),
        (99, "error: Failed to fetch", with_secrets.ATTEMPTS, 1),
        (99, "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.", 1, 1),
        (99, "ERROR: No matching distribution found for isx==9", 1, 1),
        (99, "error: Hash mismatch for `isx==2.1.0`", 1, 1),
        (99, "  x No solution found when resolving dependencies:", 1, 1),
    ],
)
def test_what_failed_is_tried_again_unless_that_is_final(tmp_path, capfd, times, said, n_calls, code):
    done = with_secrets.run_again(failing(tmp_path, times, said), wait_s=0.001)
    assert (done.returncode, done.stderr) == (code, f"{said} {n_calls}\n")
    assert (tmp_path / "calls").read_text().count("called") == n_calls
    assert capfd.readouterr().err.count(f"of {with_secrets.ATTEMPTS} failed") == n_calls - 1


def test_pip_and_uv_do_not_try_again_by_themselves(tmp_path):
    environment = with_secrets.variables(tmp_path)
    assert (environment["PIP_RETRIES"], environment["UV_HTTP_RETRIES"]) == ("0", "0")


def test_the_command_line_ends_with_the_code_of_the_command(tmp_path):
    script = PROJECT / "stages/with_secrets.py"
    command = failing(tmp_path, 99, "no matching distribution")
    done = subprocess.run([sys.executable, script, "--again", *command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "no matching distribution 1\n")
