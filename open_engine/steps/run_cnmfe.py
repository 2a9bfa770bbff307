"""Cells of one-photon movies, footprints and traces together.

The model is that of CNMF-E (Zhou et al. 2018, eLife 7, e28728), which IDPS runs too; see extraction.py for the method
and docs/open-engine.md for what differs. The largest differences: cells begin where transients are rather than at
pixels that correlate with their neighbours, the background is a low-pass with a gain a pixel rather than a ring
regression, and cells that are not believed are dropped in the end.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from open_engine.cnmfe import patches, processes
from open_engine.cnmfe.extraction import Extracted, Settings
from open_engine.cnmfe.patches import Tile
from open_engine.context import StepContext
from open_engine.files import cellsets
from open_engine.files.frames import Series, in_order, open_series
from recording.errors import TooLittleMemory, Unusable

REFERENCES = ("zhou2018", "friedrich2017")

UNITS = {"df": "dF", "df_over_noise": "dF over noise"}
FEWEST_FRAMES = 30
FEW_FRAMES = 200  # with fewer, one moment decides whether something is believed to be a cell
SMALLEST_PATCH = 4  # diameters: in less, background and cells cannot be told apart
MOST_CANDIDATES = 300  # that are kept: more nobody looks at
READ_SHARE = 0.35  # of free memory that patches fill in one pass over the movie, so that passes are few
READ_MOST = 3 * 2**29  # bytes of it
CANNOT: dict[str, Callable[[Any], str]] = {
    "gaussian_kernel_size": lambda value: _only_zero("gaussian_kernel_size", value),
    "closing_kernel_size": lambda value: _only_zero("closing_kernel_size", value),
}


def _only_zero(name: str, value: Any) -> str:
    way_out = "remove it, or give 0, as the filters follow from cell_diameter"
    return "" if value == 0 else f"engine open does not offer run_cnmfe's {name} = {value}: {way_out}"


def run_cnmfe(
    input_movie_files: str | list[str],
    output_cell_set_files: str | list[str],
    output_dir: str = ".",
    cell_diameter: float = 7,
    min_corr: float = 0.8,
    min_pnr: float = 10,
    bg_spatial_subsampling: int = 2,
    ring_size_factor: float = 1.4,
    gaussian_kernel_size: int = 0,
    closing_kernel_size: int = 0,
    merge_threshold: float = 0.7,
    processing_mode: str = "parallel_patches",
    num_threads: int = 4,
    patch_size: int = 80,
    patch_overlap: int = 20,
    output_unit_type: str = "df_over_noise",
    *,
    context: StepContext,
) -> None:
    """Write one cell set over all movies of a series, a file a movie. Parameters as in isx.algo.run_cnmfe:

    cell_diameter : px.
    min_corr : least mean correlation of a seed with the pixels beside it, in the filtered movie.
    min_pnr : least ratio of a cell's highest peak to its noise, in its trace filtered by the decay of calcium.
    bg_spatial_subsampling : size of the background's bins, px; at most about a quarter of the diameter is used.
    ring_size_factor : radius, in diameters, from within which the background of a pixel is taken.
    merge_threshold : correlation of denoised traces above which cells that overlap become one.
    processing_mode : "all_in_memory" takes the field as one patch; the others work on patches of patch_size px that
        overlap by patch_overlap, one after the other or num_threads at a time. The results of these two are the same.
    output_unit_type : "df": change of brightness at the footprint's peak, in the movie's units; "df_over_noise": that
        over the trace's noise.
    output_dir, gaussian_kernel_size, closing_kernel_size : nothing is written there; only 0, see CANNOT.

    What was looked at and not believed to be a cell is written too, for who decides by eye: beside each file, as
    a cell set `<its stem>-candidates.isxd` of rejected cells X0, X1, ...; its footer has the reasons.

    Raises Unusable if there are no cells, too few frames, a field smaller than a cell or too little memory.
    """
    for name, value in (("gaussian_kernel_size", gaussian_kernel_size), ("closing_kernel_size", closing_kernel_size)):
        if reason := CANNOT[name](value):
            raise Unusable(reason)
    with open_series(cellsets.as_list(input_movie_files)) as series, threadpool_limits(1):
        name = series.parts[0].path.name
        n_frames = int(series.valid.sum())
        if n_frames < FEWEST_FRAMES:
            raise Unusable(f"{name} has {n_frames} recorded frames: run_cnmfe needs {FEWEST_FRAMES} or more")
        if n_frames < FEW_FRAMES:
            context.warn(
                f"{name} has only {n_frames} recorded frames: noise is mistaken for cells more often: check each cell"
            )
        diameter = float(cell_diameter)
        if min(series.shape) < 2 * diameter:
            size = f"{series.shape[1]} x {series.shape[0]} px"
            raise Unusable(f"{name} is too small, {size}, for cells of {diameter:g} px: lower cell_diameter")
        settings = Settings(
            diameter,
            series.timing.rate_hz,
            min_corr,
            min_pnr,
            merge_threshold,
            bg_spatial_subsampling,
            ring_size_factor,
        )
        whole = processing_mode == "all_in_memory"
        tiles = patches.tiles(series.shape, max(series.shape) if whole else patch_size, 0 if whole else patch_overlap)
        if min(tiles[0].shape) < min(SMALLEST_PATCH * diameter, *series.shape):
            context.warn(
                f"patch_size = {patch_size} px is less than {SMALLEST_PATCH} cells of {diameter:g} px: "
                "raise it to tell cells from background"
            )
        threads = num_threads if processing_mode == "parallel_patches" else 1
        believed, candidates = _over_patches(series, tiles, settings, min(threads, context.threads), context)
        if not len(believed.cells):
            raise Unusable(f"no cells found in {name}: check cell_diameter (now {diameter:g} px), or lower min_pnr")
        _write(output_cell_set_files, series, believed, output_unit_type, diameter)
        if len(candidates.cells):
            beside = [cellsets.candidates_of(path) for path in cellsets.as_list(output_cell_set_files)]
            _write(beside, series, candidates, output_unit_type, diameter)


def _over_patches(
    series: Series, tiles: list[Tile], settings: Settings, threads: int, context: StepContext
) -> tuple[Extracted, Extracted]:
    """Cells, and candidates that are not believed.

    The patches are read as many at a time as memory allows; the result does not depend on how many that are.
    """
    work = processes.Work(settings, series.shape, int(series.valid.sum()))
    size = 4 * max(map(work.floats, tiles))
    free = _free_memory()
    reading = min(READ_SHARE * free, READ_MOST)
    threads = _threads_that_fit(settings.working_copies * size, threads, free, reading)
    at_once = max(threads, int(reading / size) // threads * threads)  # so that all end about together
    several = []
    with processes.team(work, tiles, at_once, threads, (free - reading) / threads) as team:
        for first in range(0, len(tiles), at_once):
            group = tiles[first : first + at_once]
            movies = patches.read(series, group, team.movies(group), threads)
            for of_patch in in_order(lambda patch: team.cells(*patch), zip(count(), group, movies), threads):
                several.append(of_patch)
                context.progress(0.95 * len(several) / len(tiles))
    cells = patches.joined([of_patch.believed for of_patch in several])
    candidates = patches.joined([of_patch.doubted for of_patch in several])
    candidates = patches.unlike(candidates, cells.cells)
    doubtful = candidates.single.clearest(MOST_CANDIDATES)
    left = MOST_CANDIDATES - len(doubtful.cells)
    merged = candidates.take(np.flatnonzero(candidates.merged)).clearest(left)
    return cells, patches.together([doubtful, merged])


def _threads_that_fit(patch_bytes: float, threads: int, free: float, reading: float) -> int:
    """How many patches can be worked on at a time. Raises TooLittleMemory if not even one."""
    fits = int((free - reading) / patch_bytes)
    if fits < 1:
        raise TooLittleMemory(
            f"run_cnmfe needs {patch_bytes / 2**30:.1f} GB for a patch, but {free / 2**30:.1f} GB are "
            "free: lower patch_size, preprocess with a larger down-sampling factor, or give it more memory"
        )
    return min(threads, fits)


def _free_memory() -> float:
    """Bytes: what the limit of address space leaves, or the machine's memory."""
    page = os.sysconf("SC_PAGE_SIZE")
    machine = float(os.sysconf("SC_PHYS_PAGES") * page)
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit == resource.RLIM_INFINITY:
        return machine
    with open("/proc/self/statm") as file:  # noqa: PTH123
        used = int(file.read().split()[0]) * page
    return min(machine, float(limit - used))


def _write(
    files: str | list[str] | list[Path], series: Series, extracted: Extracted, units: str, diameter: float
) -> None:
    """The clearest first; what is not believed is rejected, and keeps the reason."""
    extracted = extracted.clearest(len(extracted.cells))
    traces = np.full((len(extracted.cells), series.n_frames), np.nan, np.float32)
    traces[:, series.valid] = extracted.cells.traces
    scales = np.maximum(extracted.noise, 1e-30) if units == "df_over_noise" else np.ones(len(extracted.cells))
    traces /= scales[:, None]
    like = [cellsets.footer_like(part, cnmfe={"cell_diameter": diameter}) for part in series.parts]
    noted = {"method": "cnmfe", "type": "analog", "units": UNITS[units]}
    more: dict[str, Any] = {cellsets.SCALES: [float(scale) for scale in scales]}
    if extracted.doubts.any():
        names = cellsets.default_names(len(extracted.cells), "X")
        more |= {"names": names, "statuses": ["rejected"] * len(names), **cellsets.with_reasons([*extracted.doubts])}
    cellsets.write_cell_set(files, like, extracted.cells.footprints, traces, noted=noted, **more)
