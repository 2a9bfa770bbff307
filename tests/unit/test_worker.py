"""The worker process: its protocol, and that it leaves nothing behind."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from samples import recordings

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Ended:
    code: int
    events: list[dict[str, Any]]
    staging: Path
    scratch: Path

    def of(self, event: str) -> list[dict[str, Any]]:
        return [entry for entry in self.events if entry["event"] == event]


def work(tmp_path: Path, recording: Path, kind: str, **changes: Any) -> Ended:
    staging, scratch = tmp_path / "staging", tmp_path / "scratch"
    for folder in (staging, scratch):
        folder.mkdir()
    reader, writer = os.pipe()
    job = {
        "inputs": [str(recording)],
        "kind": kind,
        "stem": "s",
        "staging": str(staging),
        "scratch": str(scratch),
        "threads": 1,
        "recipe": "inspect",
        "options": {},
        "provenance": {"fingerprint": "abc"},
        "events_fd": writer,
    } | changes
    done = subprocess.run(
        [sys.executable, "-m", "pipeline"],
        input=json.dumps(job).encode(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=[writer],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"},  # neither a home nor a locale for names that are not ASCII
        check=False,
    )
    os.close(writer)
    with os.fdopen(reader) as lines:
        events = [json.loads(line) for line in lines]
    return Ended(done.returncode, events, staging, scratch)


def test_a_sound_recording(tmp_path):
    ended = work(tmp_path, recordings.movie(tmp_path / "mövie 日本.isxd"), "movie")
    assert ended.code == 0
    result = ended.events[-1]
    assert result["event"] == "result" and result["summary"] == "12 frames of 32 × 24 px at 20 Hz"
    assert base64.b64decode(result["thumbnail"]).startswith(b"\x89PNG")
    assert sorted(result["products"]) == sorted(path.name for path in ended.staging.iterdir())
    assert result["products"][-1] == "s.json"
    assert json.loads((ended.staging / "s.json").read_text())["provenance"] == {"fingerprint": "abc"}
    assert ended.of("progress")[-1]["done"] == 1 and not ended.of("error")


def test_warnings_are_events(tmp_path):
    import numpy as np

    path = recordings.movie_from(tmp_path / "m.isxd", np.empty((0, 8, 16), np.uint16), cropped=[(0, 4)])
    ended = work(tmp_path, path, "movie")
    assert ended.code == 0 and ended.events[-1]["thumbnail"] is None
    assert [warning["message"][:18] for warning in ended.of("warning")] == ["no frame is valid:"]


def test_reasons(tmp_path):
    broken = tmp_path / "broken.isxd"
    broken.write_bytes(recordings.footer_bytes({"type": 0}))
    cases = [
        ("a", {"recording": broken, "kind": "movie"}, "isx cannot read it: Error parsing movie header"),
        ("b", {"recording": tmp_path / "gone.isxd", "kind": "movie"}, "isx cannot read it: File does not exist"),
    ]
    for name, arguments, reason in cases:
        folder = tmp_path / name
        folder.mkdir()
        ended = work(folder, **arguments)
        assert ended.code == 1
        assert [entry["event"] for entry in ended.events] == ["error"]
        assert ended.events[0]["reason"].startswith(reason)


def test_raw_gpio_leaves_nothing_in_the_common_temporary_folder(tmp_path):
    ended = work(tmp_path, recordings.gpio(tmp_path / "worker-test.gpio"), "gpio")
    assert ended.code == 0
    assert not Path("/tmp/worker-test_gpio.isxd").exists()


def test_lean_start(tmp_path):
    """An image needs no plots: Matplotlib, SciPy and scikit-learn would cost more than all the rest."""
    out = tmp_path / "out"
    out.mkdir()
    path = recordings.image(tmp_path / "i.isxd")
    code = (
        "import sys; from pathlib import Path; from pipeline.inspect.results import Context, write_results;"
        "import pipeline.sessions.inspect;"  # which is what a worker imports
        f"write_results(Path({str(path)!r}), 'image', 's', Path({str(out)!r}), Context(Path({str(tmp_path)!r})));"
        "print(sorted({name.split('.')[0] for name in sys.modules} & {'matplotlib', 'scipy', 'sklearn', 'h5py'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, check=True, text=True)
    assert done.stdout.strip() == "[]"
