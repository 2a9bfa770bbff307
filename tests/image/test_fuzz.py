"""Damaged files among sound ones: a share of `make fuzz`, and files made to be as costly as can be."""

from __future__ import annotations

import csv
import os
import random
import sys
from pathlib import Path

import pytest

from harness import CODE, PROJECT, PUBLIC, container, mounts, run

ANY_SEED = random.SystemRandom().randrange(1 << 32)
# The seed, how many variants, and how they are run; there are two variants of each kind in 62.
SHARES = {
    "the same each time": (13, 100, ("inspect",)),
    "another each time": (ANY_SEED, 62, ("inspect", "products", "recipe")),
}
TERABYTE = (1 << 40) // 20 * 20  # sparse: it takes no room

# Makes them inside the image, whose isx makes the sound ones that they begin as.
MAKE_COSTLY = f"""
import json, os, sys
from pathlib import Path
from samples import damage, recordings

folder = Path("/made")
sound = recordings.every_version(Path(sys.argv[1]))
deep, wide = b"[" * 1_000_000, b'{{"type":0,"x":[' + b"{{}}," * 20_000_000 + b"0]}}"

for name in ("movie", "image", "cell_set", "event_set", "vessel_set", "gpio_isxd", "behavior_movie", "imu"):
    path = sound[name]
    for part, (read, replaced) in damage.PARTS[path.suffix].items():
        texts = {{"deep": deep}} | ({{"wide": wide}} if name in ("movie", "behavior_movie", "imu") else {{}})
        for what, text in texts.items():
            (folder / f"{{what}}-{{part}}-{{name}}{{path.suffix}}").write_bytes(replaced(path.read_bytes(), text))
session = sound["gpio_session"].read_bytes()
(folder / "deep-session.gpio").write_bytes(session[: session.rindex(b'{{"adMode"')] + deep)


def sparse(name, data=b"", end=b""):
    with (folder / name).open("wb") as file:
        file.write(data)
        file.truncate({TERABYTE})
        file.seek(0, os.SEEK_END)
        file.write(end)


for name in ("movie", "event_set", "gpio_isxd", "vessel_set"):
    footer = json.loads(recordings.split_footer(sound[name].read_bytes())[1])
    if name == "movie":
        footer["timingInfo"] |= {{"numTimes": {TERABYTE} // (2 * 24 * 32), "dropped": [], "cropped": [], "blank": []}}
    sparse(f"sparse-{{name}}.isxd", end=recordings.footer_bytes(footer))
footer = json.loads(recordings.split_footer(sound["image"].read_bytes())[1])
footer["spacingInfo"]["numPixels"] = {{"x": 1 << 18, "y": 1 << 19}}
sparse("sparse-image.isxd", end=recordings.footer_bytes(footer))
sparse("sparse.gpio", sound["gpio"].read_bytes())
header = list(damage.IMU.unpack_from(sound["imu"].read_bytes()))
header[5:8] = header[11:14] = 1 << 30, damage.IMU.size, 1 << 34
sparse("sparse.imu", damage.IMU.pack(*header))
parts = list(damage.ISXB.unpack_from(sound["behavior_movie"].read_bytes()))
rest = sound["behavior_movie"].read_bytes()[parts[8] :]
parts[7], parts[8], parts[10] = {TERABYTE} - 96, {TERABYTE}, {TERABYTE} + parts[9]
sparse("sparse.isxb", damage.ISXB.pack(*parts), rest)
(folder / "sound.isxd").write_bytes(sound["movie"].read_bytes())
"""


@pytest.mark.parametrize("seed, variants, ways", SHARES.values(), ids=SHARES)
def test_a_share_of_the_fuzzer(seed, variants, ways, public, capsys):
    fuzz = (PROJECT / "tests/fuzz.py", "--image", PUBLIC, "--seed", seed, "--variants", variants, "--ways", *ways)
    done = run(sys.executable, *fuzz, check=False)
    with capsys.disabled():
        print(f"\nfuzzed with seed {seed}")
    assert done.returncode == 0, done.stdout + done.stderr


def test_costly_files_cost_no_more_than_their_row(public, output, tmp_path):
    """A sparse terabyte, a million brackets in each place that can hold them, twenty million values in each format."""
    recordings = tmp_path / "recordings"
    recordings.mkdir()
    code = (
        "-v",
        f"{PROJECT / 'samples'}:/app/samples:ro",
        "-e",
        "PYTHONPATH=/app",
        "--user",
        f"{os.getuid()}:{os.getgid()}",
    )
    container(*CODE, MAKE_COSTLY, "/tmp", options=["-v", f"{recordings}:/made", *code], check=True)
    limits = ("--memory", "1g", "--memory-swap", "1g", "--pids-limit", "100")
    done = container("--worker-timeout=10", options=[*mounts(recordings, output), *limits])
    assert done.returncode == 71, done.stderr[-3000:]  # some for want of memory
    with (output / "summary.csv").open(newline="") as file:
        rows = {row["path"]: row for row in csv.DictReader(file)}
    assert set(rows) == {path.name for path in Path(recordings).iterdir()}
    assert rows.pop("sound.isxd")["status"] == "done"
    for name, row in rows.items():
        assert row["status"] == "failed" or row["warnings"], name
        assert name.startswith("sparse") or "nested more than 100 deep" in row["reason"] or "memory" in row["reason"], (
            row
        )
