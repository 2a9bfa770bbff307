#!/usr/bin/env python3
"""Run a command with the CA bundle and the pip configuration that were passed to the build as secrets.

    with_secrets.py [--again] COMMAND...

uv reads no pip configuration, so it gets the same settings as variables of its own. Nothing is written down.
With --again, COMMAND is pip or uv, and runs again if a download failed. Standard library only.
"""

from __future__ import annotations

import configparser
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

SECRETS = Path("/run/secrets")
SETTINGS = {
    "PIP_RETRIES": "0",  # see `run_again`
    "PIP_TIMEOUT": "30",
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    "PIP_ROOT_USER_ACTION": "ignore",
    "PIP_NO_INPUT": "1",
    "UV_HTTP_RETRIES": "0",
    "UV_HTTP_TIMEOUT": "30",
    "UV_LINK_MODE": "copy",  # its cache is on another file system
    "UV_NO_PROGRESS": "1",
    "UV_PYTHON_DOWNLOADS": "never",
}
# An option of pip: the variable of uv, and what separates several values.
OPTIONS = {
    "index-url": ("UV_DEFAULT_INDEX", " "),
    "extra-index-url": ("UV_INDEX", " "),
    "find-links": ("UV_FIND_LINKS", ","),
    "no-index": ("UV_NO_INDEX", " "),
    "trusted-host": ("UV_INSECURE_HOST", " "),
    "cert": ("SSL_CERT_FILE", " "),
    "proxy": ("ALL_PROXY", " "),
}

ATTEMPTS = 6
# What another attempt cannot change, as pip and as uv say it.
FINAL = ("do not match the hashes", "hash mismatch", "no matching distribution", "no solution found")


def run_again(
    command: Sequence[str | Path], environment: Mapping[str, str] | None = None, wait_s: float = 2
) -> subprocess.CompletedProcess[str]:
    """Run pip or uv until it succeeds, an error is final or ATTEMPTS have failed; with the standard error of the last.

    This is the only layer of retries. pip's own do not help if a download stalls half-way.
    """
    for attempt in range(1, ATTEMPTS + 1):
        done = subprocess.run(
            command, check=False, env=environment, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        is_final = any(words in done.stderr.lower() for words in FINAL)
        if done.returncode == 0 or is_final or attempt == ATTEMPTS:
            break
        print(f"{done.stderr}\nattempt {attempt} of {ATTEMPTS} failed", file=sys.stderr, flush=True)
        time.sleep(wait_s)
        wait_s *= 2
    return done


def variables(secrets: Path) -> dict[str, str]:
    """The environment variables for pip and uv."""
    ca, pip = secrets / "ca", secrets / "pip"
    environment = dict(SETTINGS)
    if has_content(pip):
        environment["PIP_CONFIG_FILE"] = str(pip)
        environment.update(for_uv(pip.read_text(encoding="utf-8")))
    if has_content(ca):
        environment.update(dict.fromkeys(("SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE"), str(ca)))
    return environment


def has_content(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > 0


def for_uv(configuration: str) -> dict[str, str]:
    """What a pip configuration says, as uv's variables. pip takes the best release of all indexes; uv is told to."""
    parser = configparser.RawConfigParser()
    parser.read_string(configuration)
    given: dict[str, str] = {}
    for section in ("global", "install"):
        if parser.has_section(section):
            given.update({name.replace("_", "-"): value for name, value in parser.items(section)})
    settings = {
        variable: separator.join(given[option].split())
        for option, (variable, separator) in OPTIONS.items()
        if given.get(option)
    }
    return {**settings, "UV_INDEX_STRATEGY": "unsafe-best-match"} if "UV_INDEX" in settings else settings


def main(arguments: list[str]) -> int:
    environment = {**os.environ, **variables(SECRETS)}
    if arguments[0] != "--again":
        os.execvpe(arguments[0], arguments, environment)
    done = run_again(arguments[1:], environment)
    print(done.stderr, end="", file=sys.stderr)
    return done.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
