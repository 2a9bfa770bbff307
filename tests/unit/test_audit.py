"""scripts/audit.py: known vulnerabilities of the locks, from a database on disk; newer_packages.py: newer packages."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

import audit
import newer_packages


def advisory(name: str, versions: list[str], **more: object) -> dict:
    affected = [{"package": {"ecosystem": "PyPI", "name": name}, "versions": versions}]
    return {
        "id": "PYSEC-1",
        "modified": "2026-01-02T00:00:00Z",
        "summary": "reads too far",
        "affected": affected,
        **more,
    }


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """A project with two locks."""
    (tmp_path / "requirements").mkdir()
    (tmp_path / "requirements/python3.11.txt").write_text(
        "numpy==2.4.6 \\\n    --hash=sha256:00\nruamel-yaml==0.19.1 \\\n"
    )
    (tmp_path / "requirements/python3.9.txt").write_text("numpy==2.0.2 \\\n    --hash=sha256:00\n")
    (tmp_path / "requirements/builder.txt").write_text("uv==0.1 \\\n    --hash=sha256:00\n")
    monkeypatch.setattr(audit, "PROJECT", tmp_path)
    return tmp_path


def export(folder: Path, *records: dict) -> str:
    with zipfile.ZipFile(folder / "all.zip", "w") as archive:
        for number, record in enumerate(records):
            archive.writestr(f"{number}.json", json.dumps(record))
    return str(folder / "all.zip")


RECORDS = {
    "another package": (advisory("pillow", ["2.4.6"]), 0, ": 0 hold."),
    "another release": (
        advisory("numpy", ["1.0"]),
        0,
        "3 releases in 2 locks, 1 advisories up to 2026-01-02T00:00:00Z: 0",
    ),
    "withdrawn": (advisory("numpy", ["2.0.2"], withdrawn="2026"), 2, "holds no advisory"),
    "one lock": (
        advisory("NumPy", ["2.0.2"], aliases=["CVE-7"]),
        1,
        "numpy 2.0.2 (python3.9.txt): PYSEC-1, CVE-7: reads too far\n",
    ),
    "a name in another spelling": (advisory("ruamel.yaml", ["0.19.1"]), 1, "ruamel-yaml 0.19.1 (python3.11.txt): "),
    "no versions": (advisory("numpy", []), 1, "lists no versions: look whether this one is meant"),
}


@pytest.mark.parametrize("record, code, said", RECORDS.values(), ids=RECORDS)
def test_what_holds(record, code, said, project, capsys):
    assert audit.audit_locks(export(project, record)) == code
    assert said in "".join(capsys.readouterr())


UNREADABLE = {"nowhere.zip": None, "page.zip": b"<html>", "empty.zip": b"PK\x05\x06" + bytes(18)}


@pytest.mark.parametrize("name, content", UNREADABLE.items())
def test_a_database_that_cannot_be_read_is_said_plainly(name, content, project, capsys):
    if content is not None:
        (project / name).write_bytes(content)
    assert audit.audit_locks(str(project / name)) == 2
    assert f"ERROR: nothing is known about the locks: {name} " in capsys.readouterr().err


def test_no_network(project, monkeypatch, capsys):
    monkeypatch.setattr(audit, "EXPORT", "http://127.0.0.1:1/all.zip")
    assert audit.audit_locks("") == 2
    said = capsys.readouterr().err
    assert "nothing is known about the locks: http://127.0.0.1:1/all.zip cannot be fetched ([Errno 111]" in said
    assert "pass OSV=path" in said


# ---- the distribution's packages

STATUS = """\
Package: openssl
Status: install ok installed
Version: 3.0.15-1~deb12u1
Description: of several lines
 Version: 7

Package: gone
Status: deinstall ok config-files
Version: 1

Package: tzdata
Status: install ok installed
Version: 2025b-0+deb12u1
"""


def test_what_is_installed():
    assert newer_packages.installed(STATUS) == {"openssl": "3.0.15-1~deb12u1", "tzdata": "2025b-0+deb12u1"}


def docker_that(monkeypatch, folder: Path, base: str, answer: str) -> None:
    """A docker that knows one image, of that base, and answers what the archive would."""
    (folder / "status").write_text(STATUS)
    (folder / "docker").write_text(
        f"""#!/bin/sh
        case "$*" in
          *"--entrypoint cat"*) cat {folder}/status ;;
          "image inspect"*) echo "{base}" ;;
          *) cat > {folder}/asked; {answer} ;;
        esac
        """
    )
    (folder / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


NEWER = "openssl 3.0.15-1~deb12u1 3.0.17-1~deb12u3 bookworm-security/main"


@pytest.mark.parametrize(
    ("base", "answer", "code", "said"),
    [
        ("debian:12", "true", 0, "2 packages of the distribution in isx: 0 have newer versions.\n"),
        ("debian:12", f"echo '{NEWER}'", 1, "openssl 3.0.15-1~deb12u1: bookworm-security has 3.0.17-1~deb12u3\n"),
        ("debian:12", f"echo '{NEWER}'", 1, "docker buildx bake --set image.no-cache-filter=base,system-public\n"),
        ("debian:12", "echo Err: no network >&2; exit 1", 2, "packages in isx: Err: no network."),
        ("debian:12", "exit 125", 2, "packages in isx: docker run ended with 125."),
        ("", "true", 2, "packages in isx: isx does not say what it is made of."),
    ],
)
def test_packages_that_have_newer_versions(base, answer, code, said, tmp_path, monkeypatch, capsys):
    docker_that(monkeypatch, tmp_path, base, answer)
    assert newer_packages.report("isx") == code
    assert said in "".join(capsys.readouterr())
    if base:
        assert (tmp_path / "asked").read_text() == "openssl 3.0.15-1~deb12u1\ntzdata 2025b-0+deb12u1\n"


@pytest.mark.parametrize(
    ("source", "code"),
    [
        ("release v=12,o=Debian,a=oldstable-security,n=bookworm-security,l=Debian-Security,c=main,b=amd64", 0),
        ("release v=12-updates,o=Debian,a=oldstable-updates,n=bookworm-updates,l=Debian,c=main,b=amd64", 1),
    ],
)
def test_a_base_that_does_not_ask_for_security_updates_knows_nothing(source, code, tmp_path):
    (tmp_path / "apt-get").write_text("#!/bin/sh\n")
    (tmp_path / "apt-cache").write_text(f"#!/bin/sh\n[ $# = 1 ] && echo '     {source}' || echo '  Candidate: 3'\n")
    (tmp_path / "dpkg").write_text("#!/bin/sh\nexit 1\n")  # no version is older than itself
    for name in ("apt-get", "apt-cache", "dpkg"):
        (tmp_path / name).chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    command = ["sh", "-c", newer_packages.ASK.replace("/tmp/said", str(tmp_path / "said"))]
    done = subprocess.run(command, input="tzdata 3\n", env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr == ("the base has no source of security updates\n" if code else "")


def test_without_docker_nothing_is_known_of_packages_and_that_is_said(project, monkeypatch, capsys):
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setenv("IMAGE", "registry/isx")
    assert audit.main(export(project, advisory("pillow", ["1"]))) == 2
    said = capsys.readouterr()
    assert ": 0 hold." in said.out
    what = "nothing is known about the distribution's packages in registry/isx: there is no docker here."
    assert f"ERROR: {what}" in said.err
