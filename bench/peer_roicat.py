"""ROICaT on the studies of following_studies.py: peer_roicat.py CONDITION SEED [SEED ...]; a line of JSON for each.

ROICaT (Nguyen et al.; PyPI) is installed into an environment of its own of about 7 GB, build/roicat/venv, and only
these lines come from there. Its pipeline of tracking is followed step by step at its defaults, but for what would need
weights of networks to be downloaded: images are aligned by phase correlation instead of RoMa, then by DeepFlow as
usual, and footprints are compared by overlap and scattering wavelets, without ROInet. Mean images and footprints are
those that `following` gets. Cells that it leaves in no cluster are alone.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
VENV = HERE.parent / "build/roicat/venv"
NEEDS = "roicat[core]==1.7.13"
PYTHONS = ("python3.13", "python3.12", "python3.11")
METHOD = "PhaseCorrelation"
SIDE = 36  # px of the picture of a cell; the largest here is 30 across


class NotHere(Exception):
    """ROICaT cannot be had on this machine; the text says why."""


def run(conditions: Sequence[str], seeds: Sequence[int]) -> list[dict[str, Any]]:
    """Raises NotHere."""
    install()
    rows = []
    for condition in conditions:
        command = [VENV / "bin/python", __file__, condition, *map(str, seeds)]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode:
            why = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise NotHere(f"ROICaT ended with {done.returncode} on {condition}: {why}")
        rows += [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return rows


def install() -> None:
    """By the ordinary pip, unless it is there. Raises NotHere."""
    if (VENV / "ready").exists():
        return
    python = next(filter(runs, PYTHONS), None)
    if python is None:
        raise NotHere(f"ROICaT needs one of {', '.join(PYTHONS)}, and none was found")
    subprocess.run([python, "-m", "venv", "--clear", VENV], check=True)
    command = [VENV / "bin/python", "-m", "pip", "install", "-q", "--disable-pip-version-check", NEEDS]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise NotHere(f"pip cannot install {NEEDS}: {(done.stderr.strip().splitlines() or ['no reason given'])[-1]}")
    (VENV / "ready").touch()


def runs(python: str) -> bool:
    """Whether it is more than a name: managers of versions put one on the path for each that they know of."""
    return (
        bool(shutil.which(python))
        and not subprocess.run([python, "-c", ""], check=False, capture_output=True).returncode
    )


def track(days: Sequence[Any]) -> list[Any]:
    """A label for each cell of each day, -1 for none; runs where ROICaT is."""
    import numpy as np
    from roicat import data_importing, tracking, util
    from roicat.tracking.similarity_graph import DEFAULT_METRICS

    given = util.get_default_parameters(pipeline="tracking")
    height, width = days[0].shape
    data = data_importing.Data_roicat(verbose=False)
    data.set_spatialFootprints([day.footprints for day in days], um_per_pixel=1.0)
    data.set_FOVHeightWidth(height, width)
    data.set_FOV_images([day.image for day in days])
    data.transform_spatialFootprints_to_ROIImages(out_height_width=(SIDE, SIDE))
    aligner = tracking.alignment.Aligner(
        um_per_pixel=1.0, verbose=False, device="cpu", **given["alignment"]["initialization"]
    )
    images = aligner.augment_FOV_images(
        FOV_images=data.FOV_images, spatialFootprints=data.spatialFootprints, **given["alignment"]["augment"]
    )
    geometric = {**given["alignment"]["fit_geometric"], "method": METHOD}
    aligner.fit_geometric(ims_moving=images, verbose=False, **geometric)
    aligner.transform_images_geometric(images)
    aligner.fit_nonrigid(
        ims_moving=aligner.ims_registered_geo,
        remappingIdx_init=aligner.remappingIdx_geo,
        **given["alignment"]["fit_nonrigid"],
    )
    aligner.transform_images_nonrigid(images)
    aligner.transform_ROIs(
        ROIs=data.spatialFootprints, remappingIdx=aligner.remappingIdx_nonrigid, **given["alignment"]["transform_ROIs"]
    )
    blurrer = tracking.blurring.ROI_Blurrer(frame_shape=(height, width), plot_kernel=False, **given["blurring"])
    blurrer.blur_ROIs(spatialFootprints=aligner.ROIs_aligned[:])
    wavelets = tracking.scatteringWaveletTransformer.SWT(
        image_shape=(SIDE, SIDE), device="cpu", kwargs_Scattering2D=given["SWT"]["kwargs_Scattering2D"]
    )
    pictures = np.concatenate([footprints.astype(np.float32) for footprints in data.ROI_images])
    wavelets.transform(ROI_images=pictures, batch_size=given["SWT"]["batch_size"])
    metrics = [metric for metric in DEFAULT_METRICS if metric.name != "nn"]
    graph = tracking.similarity_graph.ROI_graph(
        frame_height=height,
        frame_width=width,
        verbose=False,
        metric_configs=metrics,
        **given["similarity_graph"]["sparsification"],
    )
    graph.compute_similarity_blockwise(
        spatialFootprints=blurrer.ROIs_blurred,
        ROI_session_bool=data.session_bool,
        features={"swt": wavelets.latents},
        **given["similarity_graph"]["compute_similarity"],
    )
    normal = given["similarity_graph"]["normalization"]
    graph.make_normalized_similarities(
        centers_of_mass=data.centroids,
        features={"swt": wavelets.latents},
        device="cpu",
        k_max=data.n_sessions * normal["k_max"],
        k_min=data.n_sessions * normal["k_min"],
        algo_NN=normal["algo_NN"],
    )
    clusterer = tracking.clustering.Clusterer(
        similarities=graph.similarities_final,
        metric_configs=metrics,
        s_sesh=graph.s_sesh,
        session_bool=data.session_bool,
        verbose=False,
    )
    mixing = clusterer.find_optimal_parameters_for_pruning(seed=0, **given["clustering"]["parameters_automatic_mixing"])
    clusterer.make_pruned_similarity_graphs(mixing_params=mixing, **given["clustering"]["pruning"])
    how = given["clustering"]
    if data.n_sessions >= how["cluster_method"]["n_sessions_switch"]:
        labels = clusterer.fit(d_conj=clusterer.dConj_pruned, session_bool=data.session_bool, **how["hdbscan"])
    else:
        labels = clusterer.fit_sequentialHungarian(
            d_conj=clusterer.dConj_pruned, session_bool=data.session_bool, **how["sequential_hungarian"]
        )
    return np.split(np.asarray(labels), np.cumsum([len(day.names) for day in days])[:-1])


def main() -> None:
    import contextlib
    import time

    sys.path.insert(0, str(HERE))
    from following_studies import CONDITIONS, linked, recall_and_precision, study

    condition = sys.argv[1]
    for seed in map(int, sys.argv[2:]):
        days = study(CONDITIONS[condition], seed)
        began = time.process_time()
        with contextlib.redirect_stdout(sys.stderr):
            labels = track(days)
        recall, precision = recall_and_precision(days, linked(labels))
        seconds = time.process_time() - began
        row = {"condition": condition, "seed": seed, "recall": recall, "precision": precision, "seconds": seconds}
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
