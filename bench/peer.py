"""inscopix-cnmfe on the aligned movies that accuracy.py left: peer.py FOLDER NAME-SEED ...

Inscopix's own open CNMF-E (PyPI; AGPL; CPython up to 3.10) is installed into an environment of its own,
build/peer/venv, and only files come from there: FOLDER/NAME-SEED-peer-CORR_PNR.npz, kept for the next time. It runs at
its default thresholds and at lower ones, which find more on these recordings. Its cell diameter is two thirds of the
width at half of the peak: it doubles the value.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

VENV = Path(__file__).resolve().parent.parent / "build/peer/venv"
NEEDS = ("inscopix-cnmfe==1.0.2", "tifffile")
PYTHONS = ("3.10", "3.9", "3.8")
THRESHOLDS = ((0.8, 10), (0.6, 6))  # min_pixel_correlation, min_peak_to_noise_ratio


class NotHere(Exception):
    """The peer cannot be had on this machine; the text says why."""


def run(folder: Path, names: list[str]) -> None:
    """Raises NotHere."""
    left = [name for name in names if not all(result(folder, name, *thresholds).exists() for thresholds in THRESHOLDS)]
    if left:
        install()
        subprocess.run([VENV / "bin/python", __file__, folder, *left], check=True)


def result(folder: Path, name: str, correlation: float, peak_to_noise: float) -> Path:
    return folder / f"{name}-peer-{round(100 * correlation)}_{peak_to_noise:g}.npz"


def install() -> None:
    """By the ordinary pip, unless it is there. Raises NotHere."""
    if (VENV / "ready").exists():
        return
    python = next((candidate for candidate in pythons() if _works(candidate)), None)
    if python is None:
        raise NotHere("inscopix-cnmfe needs a Python of at most 3.10, and none was found")
    subprocess.run([python, "-m", "venv", "--clear", VENV], check=True)
    command = [VENV / "bin/python", "-m", "pip", "install", "-q", "--disable-pip-version-check", *NEEDS]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise NotHere(f"pip cannot install {NEEDS[0]}: {(done.stderr.strip().splitlines() or ['no reason given'])[-1]}")
    (VENV / "ready").touch()


def pythons() -> list[str]:
    """Pythons that the peer may run on, the newest first: those on the PATH, then those that pyenv has installed."""
    kept = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    on_path = (shutil.which(f"python{version}") for version in PYTHONS)
    of_pyenv = (str(path) for version in PYTHONS for path in sorted(kept.glob(f"{version}*/bin/python{version}")))
    return [*filter(None, on_path), *of_pyenv]


def _works(python: str) -> bool:
    """Whether it starts and can make environments; pyenv's stand-in for a version that is not chosen does not start."""
    return not subprocess.run([python, "-c", "import venv, ensurepip"], check=False, capture_output=True).returncode


def find_cells(folder: Path, name: str, correlation: float, peak_to_noise: float) -> None:
    """Runs where the peer is."""
    import resource
    import tempfile
    import time

    import numpy as np
    import tifffile
    from inscopix_cnmfe import run_cnmfe

    wide = name.startswith("cortex")
    with tempfile.TemporaryDirectory(dir=folder) as work:
        movie = Path(work) / "movie.tif"
        tifffile.imwrite(movie, np.load(folder / f"{name}-aligned.npy"), photometric="minisblack")
        before = time.process_time()
        footprints, traces = run_cnmfe(
            str(movie),
            average_cell_diameter=9 if wide else 7,
            min_pixel_correlation=correlation,
            min_peak_to_noise_ratio=peak_to_noise,
            num_threads=1,
            processing_mode=2,
            output_units=0,
        )
        seconds = time.process_time() - before
    out = result(folder, name, correlation, peak_to_noise)
    unfinished = out.with_suffix(".part.npz")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    arrays = {"A": np.asarray(footprints, np.float32), "C": np.asarray(traces, np.float32)}
    np.savez(unfinished, **arrays, cpu_s=seconds, peak_gb=peak)
    unfinished.rename(out)


if __name__ == "__main__":
    where = Path(sys.argv[1])
    for name in sys.argv[2:]:
        if name.count("@"):  # one setting, in a process of its own, so that its peak of memory is its own
            name, correlation, peak_to_noise = name.split("@")
            find_cells(where, name, float(correlation), float(peak_to_noise))
            continue
        for thresholds in THRESHOLDS:
            if not result(where, name, *thresholds).exists():
                subprocess.run([sys.executable, __file__, where, f"{name}@{thresholds[0]}@{thresholds[1]}"], check=True)
