"""Whatever is amiss with an installer ends the build with one message: what was found, and what to do."""

from __future__ import annotations

import hashlib
import re
import sys

import pytest

from harness import IMAGE, INSTALLERS, PROJECT, bake, docker, exists, run, slot

FAILING = f"{IMAGE}-failing"
SOUND = {"ACCEPT_EULA": "Y", "INSTALLER_TIMEOUT": 20}

# name: the stand-ins in the slot, variables, the message
FAILURES = {
    "not an installer": (
        ["not-an-installer"],
        {},
        r"not-an-installer\.sh is not an IDPS installer \(not a self-extracting CPack archive\)\. Put the installer",
    ),
    "8 bytes short": (["truncated-8"], {}, r"truncated-8\.sh is truncated \(\d+ bytes\): download it again\."),
    "600 bytes short": (["truncated-600"], {}, r"truncated-600\.sh is truncated \(\d+ bytes\): download it again\."),
    "wrong sha256": (
        ["good"],
        {"INSTALLER_SHA256": "0" * 64},
        r"good\.sh has sha256 [0-9a-f]{64}, but INSTALLER_SHA256 says 0{64}: download it again, or correct it\.",
    ),
    "wrong version": (
        ["good"],
        {"INSTALLER_VERSION": "1.9.5"},
        r"good\.sh reports version 1\.9\.6, but INSTALLER_VERSION says 1\.9\.5: correct it\.",
    ),
    "refuses": (["refuses"], {}, r"refuses\.sh failed with exit code 1:\n#\d+ [\d.]+ This machine is not supported\."),
    "hangs": (
        ["hangs"],
        {"INSTALLER_TIMEOUT": 3},
        r"hangs\.sh --skip-license .* did not finish within 3 s: it may be waiting for an answer\. Give it longer with "
        r"INSTALLER_TIMEOUT",
    ),
    "wrong layout": (
        ["wrong-layout"],
        {},
        r"Inscopix Data Processing 1\.9\.6 has another layout than expected: no package isx \(isx/__init__\.py\)\. "
        r"Found: Inscopix Data Processing\.linux/Contents/API/Python/inscopix/.*libisxpublicapi\.so, .*"
        r"Inscopix Data Processing\.linux/Contents\. Is it IDPS for Linux\?",
    ),
    "missing library": (
        ["missing-library"],
        {},
        r"ERROR: no package of this distribution has libicudata-\w+\.so\.56 \(needed by lib[^)]+\)\. "
        r"If the installer should have brought it, check that it is complete\.",
    ),
    "a library that no package has": (
        ["no-such-library"],
        {},
        r"libGL\.so\.1, which libisxpublicapi\.so needs and the product does not bring: libgl1 [\s\S]+"
        r"ERROR: no package of this distribution has libnowhere\.so\.9 \(needed by libisxpublicapi\.so\)[\s\S]+"
        r'RUNTIME_PACKAGES="name \.\.\."',
    ),
    "a Python package that the image has not": (
        ["needs-module"],
        {},
        r"No module named 'six'[\s\S]+PYTHON_PACKAGES=\"name==version --hash=sha256:\.\.\.\"",
    ),
    "newer glibc": (
        ["newer-glibc"],
        {},
        r"glibc 2\.99 needed by libisxpublicapi\.so, but this system has 2\.\d+"
        r"[\s\S]+ ERROR: isx needs glibc 2\.99, and this BASE_IMAGE has 2\.\d+: no base is known that has it",
    ),
    "not a library": (["small"], {}, r"libisxpublicapi\.so is too short for a shared library"),
}


@pytest.mark.parametrize("variants, variables, message", FAILURES.values(), ids=FAILURES)
def test_build_fails_with_a_message(variants, variables, message, installers, tmp_path):
    folder = slot(tmp_path / "slot", *variants)
    done = bake("image", **{**SOUND, "INSTALLER_DIR": folder, **variables}, IMAGE=FAILING, check=False)
    assert done.returncode != 0
    assert re.search(message, done.stderr), done.stderr[-3000:]
    assert "Traceback" not in done.stderr
    assert not any(exists(f"{FAILING}:{tag}") for tag in ("latest", "idps", "idps-1.9.5"))


def test_a_base_with_a_python_that_the_lock_does_not_serve(public, tmp_path):
    """The image itself with another `python3`: nothing is fetched for it."""
    base = f"{FAILING}-base:3.12"
    tell = "sys.version_info, sys.version, sys.argv = (3, 12, 0), '3.12.0', sys.argv[1:]"
    code = f"import runpy, sys; {tell}; runpy.run_path(sys.argv[0], run_name='__main__')"
    script = f"""case $1 in -*) exec /usr/bin/python3.11 "$@" ;; esac\nexec /usr/bin/python3.11 -c "{code}" "$@"\n"""
    (tmp_path / "python3").write_text(f"#!/bin/sh\n{script}")
    steps = [f"FROM {public}", "USER 0", "ENV PATH=/usr/local/bin:/usr/bin:/bin", "WORKDIR /etc/apt/apt.conf.d"]
    steps += ["COPY --chmod=755 python3 /usr/local/bin/"]
    (tmp_path / "Dockerfile").write_text("\n".join(steps))
    docker("build", "--tag", base, tmp_path)
    done = bake("image", "--set=image.target=lock", BASE_IMAGE=base, BASE_DIGEST="", IMAGE=FAILING, check=False)
    assert done.returncode != 0
    assert "ERROR: BASE_IMAGE has Python 3.12.0: take one with 3.9, 3.11 or 3.13, such as Debian 12." in done.stderr


def build(**variables: object):
    """`make image`, without Make."""
    return run(
        sys.executable, PROJECT / "scripts/build.py", **{"ACCEPT_EULA": "Y", "IMAGE": FAILING, **variables}, check=False
    )


# The same, and more, said before anything is built.
REFUSALS = {
    "no such file": ({"INSTALLER": "nowhere.sh"}, r"INSTALLER=nowhere\.sh: there is no such file"),
    "no such secret": ({"INSTALLER_SECRET": "nowhere.sh"}, r"INSTALLER_SECRET=nowhere\.sh: there is no such file"),
    "wrong version": (
        {"INSTALLER": INSTALLERS / "good.sh", "INSTALLER_VERSION": "1.9.5"},
        r"good\.sh reports version 1\.9\.6, but INSTALLER_VERSION says 1\.9\.5: correct it\.",
    ),
    "secret too large": (
        {"INSTALLER_SECRET": INSTALLERS / "good.sh"},
        r"good\.sh is too large for a BuildKit secret \(\d+ bytes; at most 512000\): pass it with INSTALLER=path, "
        r"which bind-mounts it, or as INSTALLER_URL with INSTALLER_SHA256\.",
    ),
    "truncated": ({"INSTALLER": INSTALLERS / "truncated-8.sh"}, r"truncated-8\.sh is truncated"),
    "not an installer": ({"INSTALLER": INSTALLERS / "not-an-installer.sh"}, r"is not an IDPS installer"),
    "wrong sha256": (
        {"INSTALLER": INSTALLERS / "good.sh", "INSTALLER_SHA256": "0" * 64},
        r"good\.sh has sha256 [0-9a-f]{64}, but INSTALLER_SHA256 says 0{64}",
    ),
}


@pytest.mark.parametrize("variables, message", REFUSALS.values(), ids=REFUSALS)
def test_refused_before_anything_is_built(variables, message, installers):
    done = build(**variables)
    assert done.returncode == 1
    assert re.search(message, done.stderr), done.stderr
    assert "#1 " not in done.stderr, "a build was started"
    assert not exists(f"{FAILING}:latest")


# The signed address.

SIGNATURE = "signature=b0b5c0ffee"


def test_an_address_needs_a_sha256(web, installers):
    done = bake("image", INSTALLER_URL=f"{web}/good.sh?{SIGNATURE}", **SOUND, IMAGE=FAILING, check=False)
    assert done.returncode != 0
    assert "INSTALLER_URL needs INSTALLER_SHA256: it checks the download and keys the cache." in done.stderr
    assert SIGNATURE not in done.stderr


def test_an_address_that_has_expired(web, installers):
    address, sha256 = f"{web}/expired.sh?{SIGNATURE}", hashlib.sha256(b"").hexdigest()
    done = bake("image", INSTALLER_URL=address, INSTALLER_SHA256=sha256, **SOUND, IMAGE=FAILING, check=False)
    assert done.returncode != 0
    message = "could not be fetched from INSTALLER_URL: the server answered 404. The address has expired or is wrong"
    assert message in done.stderr
    assert SIGNATURE not in done.stderr
