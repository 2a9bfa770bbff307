"""One-photon recordings whose truth is known, by minisim 1.0.3: minisim_movies.py FOLDER [NAME-SEED ...]

minisim (PyPI; GPL; Python 3.10 or later) is a tool of tests and benchmarks: it is installed into an environment of its
own, build/minisim/venv, and only files come from there. Each recording is FOLDER/NAME-SEED.npz: movie (frames, rows,
columns), uint16; A and C, footprints and calcium; S, spikes; counted, whether a cell is detectable and 60% of its light
is in the field; inside, that share of each; shifts (frames, 2), px down and right; rate_hz; diameter, px at half of a
cell's peak.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PYTHON = Path(__file__).resolve().parent.parent / "build/minisim/venv/bin/python"
NEEDS = ("minisim==1.0.3", "zarr<3")
OLDEST = (3, 10)
MICRONS = 2.2  # a pixel
# px, frames/s, s, region, cells/mm3, photons, neuropil, stray light, motion um, decay s, diameter px, bleaching and
# vessels
KINDS = {
    "easy": (128, 10, 100, "ca1", 25000, 3000, 0.2, 0.5, 0, 0.6, 10, False, False),
    "ca1": (200, 10, 150, "ca1", 24000, 1500, 0.6, 1.0, 8, 0.6, 10, True, True),
    "dense": (160, 20, 100, "ca1", 60000, 2000, 0.5, 0.5, 0, 0.5, 10, False, False),
    "lowsnr": (200, 10, 150, "ca1", 18000, 150, 0.8, 1.0, 4, 0.8, 10, True, True),
    "shaky": (192, 20, 75, "ca1", 20000, 1000, 0.6, 1.0, 22, 0.6, 10, False, True),
    "cortex": (256, 10, 200, "cortex", 5000, 1500, 1.0, 1.0, 8, 0.8, 13, True, True),
    "small": (96, 10, 60, "ca1", 22000, 1500, 0.5, 0.5, 0, 0.6, 10, False, False),
    "moving": (112, 10, 60, "ca1", 22000, 2000, 0.5, 0.5, 5, 0.6, 10, True, True),
}


class NotHere(Exception):
    """minisim cannot be had on this machine; the text says why."""


def made(folder: Path, names: list[str]) -> list[Path]:
    """The recordings NAME-SEED, each made unless it is there. Raises NotHere."""
    paths = [folder / f"{name}.npz" for name in names]
    missing = [name for name, path in zip(names, paths) if not path.exists()]
    if missing:
        install()
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run([PYTHON, "-W", "ignore", __file__, folder, *missing], check=True)
    return paths


def install() -> None:
    """minisim, by the ordinary pip, unless it is there. Raises NotHere."""
    ready = PYTHON.parent.parent / "ready"
    if ready.exists():
        return
    if sys.version_info < OLDEST:
        raise NotHere(f"minisim needs Python {'.'.join(map(str, OLDEST))} or later; this is {sys.version.split()[0]}")
    subprocess.run([sys.executable, "-m", "venv", "--clear", PYTHON.parent.parent], check=True)
    command = [str(PYTHON), "-m", "pip", "install", "-q", "--disable-pip-version-check", *NEEDS]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise NotHere(f"pip cannot install {NEEDS[0]}: {last}")
    ready.touch()


def simulate(kind: str, seed: int, path: Path) -> None:
    """Runs where minisim is."""
    import minisim
    import numpy as np
    from minisim import Bleaching, BrainMotion, CellActivity, ImageSensor, Leakage, Neuropil, Sensor, presets

    n, rate, seconds, region, density, photons, neuropil, stray, motion, decay, diameter, bleaches, vessels = KINDS[
        kind
    ]
    scope = presets.miniscope_v4()
    sensor = ImageSensor(n_px_height=n, n_px_width=n, pixel_pitch_um=MICRONS * scope.optics.magnification, bit_depth=12)
    change = {"image_sensor": sensor, "leakage": Leakage(profile="gaussian" if vessels else "uniform", level=stray)}
    even = {} if vessels else {"illumination": None, "vignette": None}
    tissue = presets.ca1() if region == "ca1" else presets.cortex_l23()
    cells = tissue.population.model_copy(update={"density_per_mm3": float(density), "min_distance_um": 8.0})
    extra = [BrainMotion(max_shift_um=1.5 * motion, motion_amplitude_um=float(motion))] if motion else []
    extra += [Bleaching(bleach_susceptibility=1e-4, turnover_tau_s=2000.0)] if bleaches else []
    recording = minisim.simulate(
        minisim.build_spec(
            scope.model_copy(update={**change, **even}),
            tissue.model_copy(update={"population": cells, "neuropil": Neuropil(amplitude=neuropil)}),
            duration_s=float(seconds),
            fps=float(rate),
            seed=seed,
            include_vasculature=vessels,
            activity=CellActivity(tau_decay_s=decay, p_quiescent_to_active=0.03 / rate),
            sensor=Sensor(photons_per_unit=float(photons)),
            extra_steps=extra,
        )
    )
    truth = recording.ground_truth
    footprints = truth.A_observed.astype(np.float32)
    whole = [p.to_dense().sum() if hasattr(p, "to_dense") else np.asarray(p.values).sum() for p in truth.planted]
    inside = footprints.sum((1, 2)) / np.maximum(np.asarray(truth.observed_gain) * np.array(whole), 1e-12)
    movie = np.clip(np.rint(recording.observed), 0, 65535).astype(np.uint16)
    unfinished = path.with_suffix(".part.npz")
    np.savez(
        unfinished,
        movie=movie,
        A=footprints,
        C=truth.C.astype(np.float32),
        S=truth.S.astype(np.float32),
        counted=truth.detectable & (inside > 0.6),
        inside=np.clip(inside, 0, 1),
        shifts=np.zeros((len(movie), 2)) if truth.shifts is None else truth.shifts,
        rate_hz=rate,
        diameter=diameter,
    )
    unfinished.rename(path)


if __name__ == "__main__":
    for name in sys.argv[2:] or [f"{kind}-311" for kind in KINDS]:
        kind, _, seed = name.partition("-")
        simulate(kind, int(seed), Path(sys.argv[1]) / f"{name}.npz")
