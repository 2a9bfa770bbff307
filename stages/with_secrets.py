#!/usr/bin/env python3
"""Run a command with the CA bundle and the pip configuration that were passed to the build as secrets.

    with_secrets.py COMMAND...

uv reads no pip configuration, so it gets the same settings as variables of its own. Nothing is written down.
Standard library only.
"""

from __future__ import annotations

import configparser
import os
import sys
from pathlib import Path

SECRETS = Path("/run/secrets")
SETTINGS = {
    "PIP_RETRIES": "10",
    "PIP_TIMEOUT": "30",
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    "PIP_ROOT_USER_ACTION": "ignore",
    "PIP_NO_INPUT": "1",
    "UV_HTTP_RETRIES": "10",
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


def variables(secrets: Path) -> dict[str, str]:
    """The environment variables for pip and uv."""
    ca, pip = secrets / "ca", secrets / "pip"
    found = dict(SETTINGS)
    if has_content(pip):
        found["PIP_CONFIG_FILE"] = str(pip)
        found.update(for_uv(pip.read_text(encoding="utf-8")))
    if has_content(ca):
        found.update(dict.fromkeys(("SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE"), str(ca)))
    return found


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
    found = {
        variable: separator.join(given[option].split())
        for option, (variable, separator) in OPTIONS.items()
        if given.get(option)
    }
    return {**found, "UV_INDEX_STRATEGY": "unsafe-best-match"} if "UV_INDEX" in found else found


if __name__ == "__main__":
    os.execvpe(sys.argv[1], sys.argv[1:], {**os.environ, **variables(SECRETS)})
