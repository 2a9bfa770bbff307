"""Accuracy of run_cnmfe on simulated recordings whose truth is known: python bench/accuracy.py [SEED ...]

Two generators: minisim 1.0.3 (GPL; Python 3.10 or later), installed into build/minisim, from which only files come, and
scripts/simulate.py. Movies are aligned by their true shifts, so that this measures run_cnmfe alone. Only the cell
diameter is given, and once it is estimated. Prints a table in Markdown.

A true cell counts if it is detectable and 60% of its light is in the field. It is found if the cosine of the footprints
and the r of the traces are both at least 0.5, by optimal assignment; cells matched to others than these are left out.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from scipy.ndimage import shift
from scipy.optimize import linear_sum_assignment
from threadpoolctl import threadpool_limits

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from pipeline.engines.open.estimate import diameter_of  # noqa: E402
from pipeline.engines.open.extraction import Settings, extract  # noqa: E402
from scripts import simulate as synthetic  # noqa: E402

BUILD = ROOT / "build" / "minisim"
MICRONS = 2.2  # a pixel
KINDS = {  # px, frames/s, s, region, cells/mm3, photons, neuropil, stray light, decay s, diameter px, tissue's vessels
    "easy": (128, 10, 100, "ca1", 25000, 3000, 0.2, 0.5, 0.6, 10, False),
    "ca1": (200, 10, 150, "ca1", 24000, 1500, 0.6, 1.0, 0.6, 10, True),
    "dense": (160, 20, 100, "ca1", 60000, 2000, 0.5, 0.5, 0.5, 10, False),
    "lowsnr": (200, 10, 150, "ca1", 18000, 150, 0.8, 1.0, 0.8, 10, True),
    "cortex": (256, 10, 200, "cortex", 5000, 1500, 1.0, 1.0, 0.8, 13, True),
}
SIMULATE = """
import sys, json, numpy as np
from minisim import CellActivity, ImageSensor, Leakage, Neuropil, Sensor, build_spec, presets, simulate
n, fps, seconds, region, density, photons, neuropil, stray, tau, _, vessels = json.loads(sys.argv[1])
microns, seed, out = float(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
scope = presets.miniscope_v4()
sensor = ImageSensor(n_px_height=n, n_px_width=n, pixel_pitch_um=microns * scope.optics.magnification, bit_depth=12)
change = {"image_sensor": sensor, "leakage": Leakage(profile="gaussian" if vessels else "uniform", level=stray)}
scope = scope.model_copy(update=change if vessels else {**change, "illumination": None, "vignette": None})
tissue = presets.ca1() if region == "ca1" else presets.cortex_l23()
cells = tissue.population.model_copy(update={"density_per_mm3": float(density), "min_distance_um": 8.0})
tissue = tissue.model_copy(update={"population": cells, "neuropil": Neuropil(amplitude=neuropil)})
activity = CellActivity(tau_decay_s=tau, p_quiescent_to_active=0.03 / fps)
made = simulate(build_spec(scope, tissue, duration_s=float(seconds), fps=float(fps), seed=seed,
    include_vasculature=vessels, activity=activity, sensor=Sensor(photons_per_unit=float(photons))))
truth = made.ground_truth
A = truth.A_observed.astype(np.float32)
whole = [p.to_dense().sum() if hasattr(p, "to_dense") else np.asarray(p.values).sum() for p in truth.planted]
inside = A.sum((1, 2)) / np.maximum(np.asarray(truth.observed_gain) * np.array(whole), 1e-12)
np.savez(out, movie=np.clip(np.rint(made.observed), 0, 65535).astype(np.uint16), A=A, C=truth.C.astype(np.float32),
    counted=truth.detectable & (inside > 0.6))
"""


def simulated(kind: str, seed: int) -> dict[str, np.ndarray]:
    """Movie, A, C and which cells count; kept for the next time."""
    import json

    path = BUILD / f"{kind}-{seed}.npz"
    python = BUILD / "venv" / "bin" / "python"
    if not python.exists():
        BUILD.mkdir(parents=True, exist_ok=True)
        subprocess.run([sys.executable, "-m", "venv", str(BUILD / "venv")], check=True)
        subprocess.run([python, "-m", "pip", "install", "-q", "minisim==1.0.3", "zarr<3"], check=True)
    if not path.exists():
        arguments = [json.dumps(KINDS[kind]), str(MICRONS), str(seed), str(path)]
        subprocess.run([python, "-W", "ignore", "-c", SIMULATE, *arguments], check=True)
    return dict(np.load(path))


def our_own(seed: int) -> dict[str, np.ndarray]:
    made = synthetic.recording(seed=seed, seconds=100, shape=(160, 160), n_cells=70, diameter_px=12)
    movie = np.stack(
        [shift(frame, -by, order=3, mode="nearest") for frame, by in zip(made.movie.astype(np.float32), made.shifts)]
    )
    counted = (made.inside > 0.6) & (made.spikes.sum(axis=1) > 0)
    return {"movie": movie, "A": made.footprints, "C": made.traces, "counted": counted}


def score(truth: dict[str, np.ndarray], images: np.ndarray, traces: np.ndarray) -> tuple[float, float, float, float]:
    """Precision, recall, F1 and median r."""
    cosine = _unit(images) @ _unit(truth["A"]).T
    r = (
        _unit(traces - traces.mean(axis=1, keepdims=True))
        @ _unit(truth["C"] - truth["C"].mean(axis=1, keepdims=True)).T
    )
    worth = np.where((cosine >= 0.5) & (r >= 0.5), cosine + r, 0)
    i, j = linear_sum_assignment(-worth)
    i, j = i[worth[i, j] > 0], j[worth[i, j] > 0]
    hits = truth["counted"][j]
    precision = hits.sum() / max(1, len(images) - (~hits).sum())
    recall = hits.sum() / max(1, truth["counted"].sum())
    f1 = 2 * precision * recall / max(1e-9, precision + recall)
    return precision, recall, f1, float(np.median(r[i, j][hits])) if hits.any() else 0.0


def _unit(x: np.ndarray) -> np.ndarray:
    x = x.reshape(len(x), -1).astype(np.float64)
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)


def main() -> None:
    seeds = [int(seed) for seed in sys.argv[1:]] or [301, 302]
    print("| recording | seed | estimated diameter | counted | P | R | F1 | r, raw | F1, estimated | CPU s | peak GB |")
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    for kind in [*KINDS, "our own"]:
        for seed in seeds:
            truth = our_own(seed) if kind == "our own" else simulated(kind, seed)
            rate, diameter = (10, 12) if kind == "our own" else (KINDS[kind][1], KINDS[kind][9])
            movie = np.ascontiguousarray(np.moveaxis(truth["movie"].astype(np.float32), 0, 2))
            with threadpool_limits(1):
                guess = diameter_of(movie[:, :, :800].copy(), rate)
                start = time.process_time()
                found = extract(movie.copy(), Settings(diameter, rate)).cells
                seconds = time.process_time() - start
                again = extract(movie, Settings(guess or diameter, rate)).cells
            p, r, f1, correlation = score(truth, found.images(), found.traces)
            other = score(truth, again.images(), again.traces)[2]
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
            cells = [kind, seed, f"{guess or 0:.1f}", truth["counted"].sum(), f"{p:.3f}", f"{r:.3f}", f"{f1:.3f}"]
            print(
                "|",
                " | ".join(map(str, [*cells, f"{correlation:.3f}", f"{other:.3f}", f"{seconds:.0f}", f"{peak:.2f}"])),
                "|",
                flush=True,
            )


if __name__ == "__main__":
    main()
