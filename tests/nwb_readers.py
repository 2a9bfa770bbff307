#!/usr/bin/env python3
"""Lets the field's own tools judge the NWB files of a run over every kind of recording.

    nwb_readers.py [--recordings FOLDER] [--tools FOLDER]

Runs bootstrap.py from this checkout over recordings of every kind, and over those of a folder of your own, with NWB=1
and with NWB_MOVIE=1; and over a simulated session with a behaviour movie, with RECIPE=cells
and activity around events. Then pynwb and
nwbinspector (as DANDI configures it) look at each file, and the lines of docs/nwb.md that take an output to DANDI are
run, up to the upload. What roiextractors reads from a file is compared with what it reads from the recording; neuroconv
does the same through its interfaces; pynapple reads every series, PyAV and OpenCV every film. Exits with 1 if any of
them objects. Needs the locked dependencies, isx, and a package index, from which the tools are installed into an
environment of their own (--tools keeps it).
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import venv
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
TOOLS = (
    "pynwb",
    "nwbinspector",
    "dandi",
    "roiextractors",
    "neuroconv",
    "pynapple",
    "av",
    "opencv-python-headless",
    "isx",
)
WAYS = {  # by name: the environment of the run, and what it runs over
    "NWB": ({"NWB": "1"}, "input"),
    "NWB_MOVIE": ({"NWB_MOVIE": "1"}, "input"),
    "cells, peri_event": ({"RECIPE": "recipe.toml", "NWB_MOVIE": "1"}, "session"),
}
MOST_APART = 4  # grey levels of 255, on average, between a frame as stored and as browsers show it
DANDISET = "identifier: DANDI:000000\nname: test\ndescription: test\n"  # as dandi download would bring it
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
    from samples import recordings, simulate
    from tests.launch import run

    source = work / "input"
    source.mkdir()
    recordings.every_kind(source)
    recordings.stating(recordings.movie(source / "mouse.isxd", n=150))
    recordings.stating(recordings.cell_set(source / "mouse-PCA-ICA.isxd"))
    recordings.event_set(source / "mouse-PCA-ICA-ED.isxd")
    for suffix in (".gpio", ".imu"):
        getattr(recordings, suffix[1:])(source / f"mouse{suffix}")
    for path in more.iterdir() if more else ():
        if path.suffix.lower() in (".isxd", ".isxb", ".gpio", ".imu"):
            shutil.copyfile(path, source / path.name)
    session = work / "session"
    session.mkdir()
    simulate.write(session, "mouse", simulate.recording(seconds=30))
    recordings.behavior_movie(session / "mouse.isxb", n=60, tracked=True)
    recordings.gpio(session / "mouse.gpio")
    (session / "trials.csv").write_text(
        "time_s,label\n" + "".join(f"{3 + 2.2 * i},{'go' if i % 2 else 'stop'}\n" for i in range(11))
    )
    steps = (ROOT / "recipes/cells.toml").read_text() + '\n[[step]]\nuse = "peri_event"\nevents = "trials.csv"\n'
    (work / "recipe.toml").write_text(steps)
    for folder in (source, session):
        (folder / "nwb.toml").write_text(METADATA)
    for way, (environment, folder) in WAYS.items():
        environment = {name: str(work / value) if name == "RECIPE" else value for name, value in environment.items()}
        done = run(work / folder, work / way / "output", env=environment)
        if done.code:
            sys.exit(done.stderr)


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
    for way, (_, folder) in WAYS.items():
        output = work / way / "output"
        for path in sorted(output.rglob("*.nwb")):
            objections = [*_validate(path), *_inspect(path), *_compare(path, work / folder), *_series(path)]
            n_files, n_objections = n_files + 1, n_objections + len(objections)
            _say("\n    ".join([f"{way} {path.name}: {'fine' if not objections else 'objections'}", *objections]))
        of_dandi = _dandi(output)
        n_objections += len(of_dandi)
        _say("\n    ".join([f"{way}, all files, dandi: {'fine' if not of_dandi else 'objections'}", *of_dandi]))
    _say(f"{n_files} files, {n_objections} objections")
    return 1 if n_objections else 0


def _validate(path: Path) -> list[str]:
    import pynwb

    return [f"pynwb: {problem}" for problem in pynwb.validate(path=str(path))]


def _inspect(path: Path) -> Iterator[str]:
    """What is critical or a violation, but for the orientation of a movie with fewer frames than pixels across."""
    from nwbinspector import Importance, inspect_nwbfile, load_config

    for message in inspect_nwbfile(nwbfile_path=str(path), config=load_config("dandi")):
        is_short_movie = message.check_function_name == "check_data_orientation" and "OnePhoton" in message.object_name
        if message.importance.value >= Importance.BEST_PRACTICE_VIOLATION.value and not is_short_movie:
            yield f"nwbinspector: {message.importance.name} {message.object_name}: {message.message}"


def _dandi(output: Path) -> list[str]:
    """The lines of docs/nwb.md, beside the whole output, in a folder where nothing else lies."""
    dandiset = output.with_name("000000")
    dandiset.mkdir()
    (dandiset / "dandiset.yaml").write_text(DANDISET)
    text = (ROOT / "docs/nwb.md").read_text().partition("## Upload to DANDI")[2].partition("```sh\n")[2]
    lines = [line for line in text.partition("```")[0].splitlines() if re.match("dandi (organize|validate)", line)]
    assert len(lines) == 2, lines
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    for line in lines:
        done = subprocess.run(
            ["sh", "-c", line],
            cwd=dandiset,
            env={**os.environ, "PATH": path},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            return [f"{line.partition(' -')[0]}: {said}" for said in (done.stdout + done.stderr).splitlines()]
    files, films = (len(list(dandiset.rglob(f"*.{suffix}"))) for suffix in ("nwb", "mp4"))
    wanted = [len(list(output.rglob(name))) for name in ("*.nwb", "*-behavior*.mp4")]
    return [] if [files, films] == wanted else [f"dandi organize took {files} files and {films} films of {wanted}"]


def _compare(path: Path, recordings: Path) -> Iterator[str]:
    """Cells and frames as roiextractors and neuroconv read them from the recording and from the NWB file."""
    import pynwb

    with pynwb.NWBHDF5IO(str(path), "r") as io:
        file = io.read()
        ophys = file.processing.get("ophys")
        movies = {name: series for name, series in file.acquisition.items() if name.startswith("OnePhotonSeries")}
        embedded = [name for name, series in movies.items() if series.external_file is None]
        has_cells = ophys is not None and "ImageSegmentation" in ophys.data_interfaces
    if has_cells:
        made, beside = path.parent.rglob("*-AR.isxd"), recordings.glob(f"{path.stem}-PCA-ICA.isxd")
        yield from _compare_cells(path, next(iter((*made, *beside)), recordings / f"{path.stem}.isxd"))
    if embedded:
        yield from _compare_frames(path, recordings / f"{path.stem}.isxd", embedded[0])
    if embedded and (recordings / f"{path.stem}-PCA-ICA.isxd").is_file():
        yield from _compare_files(path, recordings)


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
        if not np.array_equal(ours.get_property("accepted", ours.get_roi_ids()), _accepted(recording)):
            yield f"roiextractors: the status of cells of {recording.name} differs"
    if path.stem == "mouse" and not any(image.any() for image in ours.get_images_dict().values() if image is not None):
        yield "roiextractors: it finds no images"


def _accepted(recording: Path) -> list[bool]:
    import isx

    cells = isx.CellSet.read(str(recording))
    return [cells.get_cell_status(i) == "accepted" for i in range(cells.num_cells)]


def _series(path: Path) -> Iterator[str]:
    """Every series through pynapple, and every film through PyAV."""
    import numpy as np
    import pynapple
    import pynwb

    read = pynapple.load_file(str(path))
    for name in read.keys():  # noqa: SIM118 - no dict
        if name != "BehaviorMovie" and not len(read[name]):
            yield f"pynapple: {name} is empty"
    with pynwb.NWBHDF5IO(str(path), "r") as io:
        for series in io.read().acquisition.values():
            for film in getattr(series, "external_file", None) or ():
                times = series.get_timestamps()[:] if series.timestamps is None else series.timestamps[:]
                shown = [_frames(path.parent / film, track) for track in (0, 1)]
                for name, (when, _) in zip(("as stored", "for browsers"), shown):
                    if len(when) != len(times) or np.abs(when - (times[:] - times[0])).max() > 1e-5:
                        yield f"PyAV: {film}, {name}, has other frames or times than {series.name}"
                stored, played = (pictures for _, pictures in shown)
                if np.abs(stored - played).mean() > MOST_APART:
                    yield f"PyAV: what browsers show of {film} differs from what is stored"
                if not np.array_equal(_by_opencv(path.parent / film), stored):
                    yield f"OpenCV: it takes other frames of {film} than those that are stored"


def _frames(film: Path, track: int) -> tuple[Any, Any]:
    """Seconds, and pictures in grey."""
    import av
    import numpy as np

    with av.open(str(film)) as opened:
        frames = [*opened.decode(video=track)]
        return np.array([frame.time for frame in frames]), np.array(
            [_grey(frame.to_ndarray(format="bgr24")) for frame in frames]
        )


def _by_opencv(film: Path) -> Any:
    """The pictures that OpenCV, and so what tracks animals, takes by itself."""
    import cv2
    import numpy as np

    opened = cv2.VideoCapture(str(film))
    return np.array([_grey(picture) for is_picture, picture in iter(opened.read, (False, None)) if is_picture])


def _grey(picture: Any) -> Any:
    return picture.astype("float32").mean(axis=-1)


def _compare_files(path: Path, recordings: Path) -> Iterator[str]:
    """Whether the file says everything that neuroconv's of the same recordings says (the table in docs/nwb.md)."""
    import numpy as np
    import pynwb
    from neuroconv import ConverterPipe
    from neuroconv.datainterfaces import InscopixImagingInterface, InscopixSegmentationInterface

    theirs = path.with_name("neuroconv.nwb")
    movie = InscopixImagingInterface(file_path=str(recordings / f"{path.stem}.isxd"))
    cells = InscopixSegmentationInterface(file_path=str(recordings / f"{path.stem}-PCA-ICA.isxd"))
    ConverterPipe(data_interfaces=[movie, cells]).run_conversion(nwbfile_path=str(theirs))
    with pynwb.NWBHDF5IO(str(path), "r") as one, pynwb.NWBHDF5IO(str(theirs), "r") as other:
        (mine, plane), (its, its_plane) = (_told(io.read()) for io in (one, other))
    theirs.unlink()
    for name, value in its.items():
        if not np.array_equal(mine[name], value):
            yield f"neuroconv's file has another {name}: {value}, not {mine[name]}"
    said = " ".join(plane)
    for fact in re.findall(r"[^();:,]*: ([^();,]+)", " ".join(its_plane)):
        if fact.strip() not in said:
            yield f"neuroconv's file says {fact.strip()!r} of device or plane: {its_plane}"


def _told(file: Any) -> tuple[dict[str, Any], list[str]]:
    """What a file holds, by name, and what it says in words of device, software and imaging plane."""
    (series,) = (of_movie for of_movie in file.acquisition.values() if of_movie.neurodata_type == "OnePhotonSeries")
    table = file.processing["ophys"]["ImageSegmentation"]["PlaneSegmentation"]
    plane, device = series.imaging_plane, series.imaging_plane.device
    status = "status" if "status" in table.colnames else "cell_status"
    held = {
        "clock": file.session_start_time.replace(tzinfo=None),  # neuroconv takes the local time for UTC
        "session": file.session_id,
        "animal": [getattr(file.subject, name) for name in ("subject_id", "sex", "species")],
        "day of birth": file.subject.date_of_birth.date(),
        "frames": series.data[:],
        "rate": series.rate,
        "footprints": table["image_mask"][:],
        "status of cells": [str(status_of_cell) for status_of_cell in table[status][:]],
    }
    microscope = [device.name, getattr(device.model, "name", ""), str(device.serial_number)]
    software = [str(number) for _, number in (file.was_generated_by if file.was_generated_by is not None else ())]
    return held, [*microscope, *software, device.description, plane.description]


def _traces(extractor: Any, n_samples: int = 0) -> Any:
    """Shape (samples, cells): some versions of roiextractors turn those of Inscopix round."""
    traces = next(those for those in (extractor.get_traces(name=name) for name in ("raw", "dff")) if those is not None)
    return traces.T if n_samples and traces.shape[0] != n_samples else traces


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
