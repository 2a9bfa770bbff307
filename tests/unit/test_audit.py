"""scripts/audit.py: known vulnerabilities of the locks, from a database on disk."""

from __future__ import annotations

import json
import sys
import zipfile
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

import audit


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
    (tmp_path / "requirements.txt").write_text("numpy==2.4.6 \\\n    --hash=sha256:00\nruamel-yaml==0.19.1 \\\n")
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
    "a name in another spelling": (advisory("ruamel.yaml", ["0.19.1"]), 1, "ruamel-yaml 0.19.1 (requirements.txt): "),
    "no versions": (advisory("numpy", []), 1, "lists no versions: look whether this one is meant"),
}


@pytest.mark.parametrize("record, code, said", RECORDS.values(), ids=RECORDS)
def test_what_holds(record, code, said, project, capsys):
    assert audit.main(export(project, record)) == code
    assert said in "".join(capsys.readouterr())


UNREADABLE = {"nowhere.zip": None, "page.zip": b"<html>", "empty.zip": b"PK\x05\x06" + bytes(18)}


@pytest.mark.parametrize("name, content", UNREADABLE.items())
def test_a_database_that_cannot_be_read_is_said_plainly(name, content, project, capsys):
    if content is not None:
        (project / name).write_bytes(content)
    assert audit.main(str(project / name)) == 2
    assert f"ERROR: nothing is known about the locks: {name} " in capsys.readouterr().err


def test_no_network(project, monkeypatch, capsys):
    monkeypatch.setattr(audit, "EXPORT", "http://127.0.0.1:1/all.zip")
    assert audit.main() == 2
    said = capsys.readouterr().err
    assert "nothing is known about the locks: http://127.0.0.1:1/all.zip cannot be fetched ([Errno 111]" in said
    assert "pass OSV=path" in said
