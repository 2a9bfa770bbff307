#!/usr/bin/env python3
"""Lets the field's own tools judge the NWB files of a run over every kind of recording.

    nwb_readers.py [--recordings FOLDER] [--tools FOLDER]

Runs bootstrap.py from this checkout over recordings of every kind, and over those of a folder of your own, with NWB=1
and with NWB_MOVIE=1. Then pynwb, nwbinspector (as DANDI configures it) and dandi look at each file, and what
roiextractors reads from it is compared with what it reads from the recording; neuroconv does the same through its
interfaces. Exits with 1 if any of them objects. Needs the locked dependencies, isx, and a package index, from which the
tools are installed into an environment of their own (--tools keeps it).
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import venv
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
TOOLS = ("pynwb", "nwbinspector", "dandi", "roiextractors", "neuroconv", "isx")
WAYS = ("NWB", "NWB_MOVIE")
METADATA = """\
[NWBFile]
session_description = "A mouse explores an open field"
experimenter = "Doe, Jane"
institution = "University of Somewhere"
lab = "Doe"
experiment_description = "Calcium imaging in an open field"
keywords = ["calcium imaging"]
[Subject]
subject_id = "m1"
species = "Mus musculus"
sex = "F"
age = "P90D"
description = "A mouse"
[OpticalChannel]
emission_lambda = 525
[ImagingPlane]
indicator = "GCaMP6f"
location = "CA1"
excitation_lambda = 475
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--recordings", type=Path, help="more recordings to run over")
    parser.add_argument("--tools", type=Path, help="where the tools' environment is, or is to be")
    parser.add_argument("--judge", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.judge:
        return judge(options.judge)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        _run(work, options.recordings)
        python = _tools(options.tools or work / "tools")
        return subprocess.run([python, __file__, "--judge", work], check=False).returncode


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


# ---- with the locked dependencies


def _run(work: Path, more: Path | None) -> None:
    sys.path.insert(0, str(ROOT))
    from tests import recordings
    from tests.launch import run

    source = work / "input"
    source.mkdir()
    recordings.every_kind(source)
    recordings.movie(source / "mouse.isxd", n=150)
    recordings.cell_set(source / "mouse-PCA-ICA.isxd")
    recordings.event_set(source / "mouse-PCA-ICA-ED.isxd")
    for suffix in (".gpio", ".imu"):
        getattr(recordings, suffix[1:])(source / f"mouse{suffix}")
    for path in more.iterdir() if more else ():
        if path.suffix.lower() in (".isxd", ".isxb", ".gpio", ".imu"):
            shutil.copyfile(path, source / path.name)
    (source / "nwb.toml").write_text(METADATA)
    for way in WAYS:
        done = run(source, work / way, env={way: "1"})
        if done.code:
            sys.exit(done.stderr)
        for path in (work / way).rglob("*.nwb"):  # what an archive holds lies together
            for recording in source.glob("*.isx[db]"):
                os.link(recording, path.parent / recording.name)


def _tools(folder: Path) -> Path:
    python = folder / "bin/python"
    if not python.exists():
        venv.create(folder, with_pip=True)
    subprocess.run([python, "-m", "pip", "install", "--quiet", *TOOLS], check=True)
    return python


# ---- with the tools


def judge(work: Path) -> int:
    """In the tools' environment."""
    from importlib.metadata import version

    warnings.simplefilter("ignore")
    _say(", ".join(f"{name} {version(name)}" for name in TOOLS))
    n_files = n_objections = 0
    for way in WAYS:
        paths = sorted((work / way).rglob("*.nwb"))
        for path in paths:
            objections = [*_validate(path), *_inspect(path), *_compare(path, work / "input")]
            n_files, n_objections = n_files + 1, n_objections + len(objections)
            _say("\n    ".join([f"{way} {path.name}: {'fine' if not objections else 'objections'}", *objections]))
        found = _dandi(paths)
        n_objections += len(found)
        _say("\n    ".join([f"{way}, all files, dandi: {'fine' if not found else 'objections'}", *found]))
    _say(f"{n_files} files, {n_objections} objections")
    return 1 if n_objections else 0


def _validate(path: Path) -> list[str]:
    import pynwb

    return [f"pynwb: {each}" for each in pynwb.validate(path=str(path))]


def _inspect(path: Path) -> Iterator[str]:
    """What is critical or a violation, but for the orientation of a movie with fewer frames than pixels across."""
    from nwbinspector import Importance, inspect_nwbfile, load_config

    for found in inspect_nwbfile(nwbfile_path=str(path), config=load_config("dandi")):
        is_short_movie = found.check_function_name == "check_data_orientation" and "OnePhoton" in found.object_name
        if found.importance.value >= Importance.BEST_PRACTICE_VIOLATION.value and not is_short_movie:
            yield f"nwbinspector: {found.importance.name} {found.object_name}: {found.message}"


def _dandi(paths: Sequence[Path]) -> list[str]:
    """All at once, under names as `dandi organize` gives them."""
    with tempfile.TemporaryDirectory() as folder:
        top = Path(folder)
        (top / "dandiset.yaml").write_text("identifier: DANDI:000000\nname: test\ndescription: test\n")
        (top / "sub-m1").mkdir()
        for path in paths:
            shutil.copyfile(path, top / "sub-m1" / f"sub-m1_ses-{path.stem.replace('_', '-')}_ophys.nwb")
            for recording in path.parent.glob("*.isx[db]"):
                shutil.copyfile(recording, top / "sub-m1" / recording.name)
        command = [Path(sys.executable).with_name("dandi"), "validate", "--min-severity", "ERROR", top]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    return [f"dandi: {line}" for line in done.stdout.splitlines()] if done.returncode else []


def _compare(path: Path, recordings: Path) -> Iterator[str]:
    """Cells and frames as roiextractors and neuroconv read them from the recording and from the NWB file."""
    import pynwb

    with pynwb.NWBHDF5IO(str(path), "r") as io:
        file = io.read()
        ophys = file.processing.get("ophys")
        movies = {name: each for name, each in file.acquisition.items() if name.startswith("OnePhotonSeries")}
        embedded = [name for name, each in movies.items() if each.external_file is None]
        has_cells = ophys is not None and "ImageSegmentation" in ophys.data_interfaces
    if has_cells:
        named = [recordings / f"{path.stem}.isxd", recordings / f"{path.stem}-PCA-ICA.isxd"]
        yield from _compare_cells(path, next(each for each in reversed(named) if each.is_file()))
    if embedded:
        yield from _compare_frames(path, recordings / f"{path.stem}.isxd", embedded[0])


def _compare_cells(path: Path, recording: Path) -> Iterator[str]:
    import numpy as np
    from neuroconv.datainterfaces import InscopixSegmentationInterface
    from roiextractors import InscopixSegmentationExtractor, NwbSegmentationExtractor

    ours = NwbSegmentationExtractor(str(path))
    theirs: dict[str, Any] = {
        "roiextractors": InscopixSegmentationExtractor(str(recording)),
        "neuroconv": InscopixSegmentationInterface(file_path=str(recording)).segmentation_extractor,
    }
    traces = _traces(ours)
    missing = np.isnan(traces).any(axis=1)
    for name, other in theirs.items():
        if not np.array_equal(traces[~missing], _traces(other, len(traces))[~missing]):
            yield f"{name}: traces of {recording.name} differ"
        if not np.array_equal(ours.get_roi_image_masks(), other.get_roi_image_masks()):
            yield f"{name}: footprints of {recording.name} differ"
        if abs(ours.get_sampling_frequency() - other.get_sampling_frequency()) > 1e-9:
            yield f"{name}: rates of {recording.name} differ"


def _traces(extractor: Any, n_samples: int = 0) -> Any:
    """Shape (samples, cells): some versions of roiextractors turn those of Inscopix round."""
    found = next(each for each in (extractor.get_traces(name=name) for name in ("raw", "dff")) if each is not None)
    return found.T if n_samples and found.shape[0] != n_samples else found


def _compare_frames(path: Path, recording: Path, series: str) -> Iterator[str]:
    import numpy as np
    from neuroconv.datainterfaces import InscopixImagingInterface
    from roiextractors import InscopixImagingExtractor, NwbImagingExtractor

    ours = NwbImagingExtractor(str(path), optical_series_name=series)
    theirs: dict[str, Any] = {
        "roiextractors": InscopixImagingExtractor(str(recording)),
        "neuroconv": InscopixImagingInterface(file_path=str(recording)).imaging_extractor,
    }
    for name, other in theirs.items():
        if not np.array_equal(np.squeeze(ours.get_series()), np.squeeze(other.get_series())):
            yield f"{name}: frames of {recording.name} differ"
        if abs(ours.get_sampling_frequency() - other.get_sampling_frequency()) > 1e-9:
            yield f"{name}: rates of {recording.name} differ"


if __name__ == "__main__":
    sys.exit(main())
