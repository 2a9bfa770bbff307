"""Stands in for the licensed algorithms of IDPS in tests: their signatures, real recordings in and out, simple means.

It proves the runner of recipes, not the algorithms: nothing here finds cells, corrects motion or detects events as
IDPS does. Small recordings only, for it holds them in memory and writes pixel by pixel.
"""

# ruff: noqa: B006 - the signatures are those of IDPS

import csv
import json
import shutil
from pathlib import Path

import isx._internal
import numpy as np

# ---- reading and writing


def _list(files):
    return files if isinstance(files, list) else [files]


def _pairs(inputs, outputs):
    inputs, outputs = _list(inputs), _list(outputs)
    if len(inputs) != len(outputs):
        raise ValueError("Number of input files must match the number of output files.")
    return list(zip(inputs, outputs))


def _read(path):
    """Frames, timing and spacing. The latter two are copies: those of a movie end with it."""
    movie = isx.Movie.read(path)
    n_samples = movie.timing.num_samples
    frames = [movie.get_frame_data(index) for index in range(n_samples)]
    return np.array(frames, np.float32), _timing(movie.timing, n_samples), _copy(movie.spacing)


def _copy(spacing):
    impl = spacing._impl
    return isx.Spacing._from_impl(type(impl).from_buffer_copy(impl))


def _timing(like, n_samples, slower=1):
    period = isx.Duration._from_secs_float(like.period.secs_float * slower)
    return isx.Timing(num_samples=n_samples, period=period, start=like.start)


def _write(path, frames, timing, spacing=None):
    frames = np.ascontiguousarray(frames, np.float32)
    if spacing is None or spacing.num_pixels != frames.shape[1:]:
        spacing = isx.Spacing(num_pixels=frames.shape[1:])
    if timing.num_samples != len(frames):
        timing = _timing(timing, len(frames))
    movie = isx.Movie.write(path, timing, spacing, np.float32)
    for index, frame in enumerate(frames):
        movie.set_frame_data(index, frame)
    movie.flush()


def _filter_movies(inputs, outputs, function):
    for source, target in _pairs(inputs, outputs):
        frames, timing, spacing = _read(source)
        _write(target, function(frames), timing, spacing)


def _cells(path):
    """[(name, image, trace)], timing, spacing"""
    cells = isx.CellSet.read(path)
    cells_read = [
        (cells.get_cell_name(index), cells.get_cell_image_data(index), cells.get_cell_trace_data(index))
        for index in range(cells.num_cells)
    ]
    return cells_read, _timing(cells.timing, cells.timing.num_samples), _copy(cells.spacing)


def _write_cells(path, cells, timing, spacing):
    images = [image for _, image, _ in cells]
    if images and images[0].shape != spacing.num_pixels:
        spacing = isx.Spacing(num_pixels=images[0].shape)
    target = isx.CellSet.write(path, timing, spacing)
    for index, (name, image, trace) in enumerate(cells):
        target.set_cell_data(index, np.asarray(image, np.float32), np.asarray(trace, np.float32), name)
    target.flush()


def _edit_cells(source, target, function):
    if Path(target).exists():
        raise FileExistsError(f"Output file already exists: {target}")
    cells, timing, spacing = _cells(source)
    _write_cells(target, [function(*cell) for cell in cells], timing, spacing)


def _write_events(path, timing, events):
    target = isx.EventSet.write(path, timing, list(events))
    for index, (offsets, amplitudes) in enumerate(events.values()):
        target.set_cell_data(index, np.asarray(offsets, np.uint64), np.asarray(amplitudes, np.float32))
    target.flush()


def _table(path, *rows):
    if path:
        with Path(path).open("w", newline="") as file:
            csv.writer(file).writerows(rows)


def _noise(trace):
    return 1.4826 * np.nanmedian(np.abs(trace - np.nanmedian(trace))) or 1e-6


def _onsets(trace, threshold):
    above = trace - np.nanmedian(trace) > threshold * _noise(trace)
    return np.flatnonzero(above[1:] & ~above[:-1]) + 1


def _components(inputs, outputs, count):
    """Principal components stand in for cells."""
    for source, target in _pairs(inputs, outputs):
        frames, timing, spacing = _read(source)
        flat = frames.reshape(len(frames), -1)
        traces, weights, footprints = np.linalg.svd(flat - flat.mean(axis=0), full_matrices=False)
        n_cells = min(count, len(weights) - 1)
        _write_cells(
            target,
            [
                (f"C{index}", np.abs(footprints[index]).reshape(frames.shape[1:]), traces[:, index] * weights[index])
                for index in range(n_cells)
            ],
            timing,
            spacing,
        )


# ---- the functions, in the order of IDPS


def preprocess(
    input_movie_files,
    output_movie_files,
    temporal_downsample_factor=1,
    spatial_downsample_factor=1,
    crop_rect=None,
    crop_rect_format="tlbr",
    fix_defective_pixels=True,
    trim_early_frames=True,
):
    """Crop, and average blocks."""
    for source, target in _pairs(input_movie_files, output_movie_files):
        frames, timing, _ = _read(source)
        if crop_rect is not None and crop_rect_format == "tlbr":
            top, left, bottom, right = crop_rect
            frames = frames[:, top : bottom + 1, left : right + 1]
        t, s = temporal_downsample_factor, spatial_downsample_factor
        n, rows, columns = frames.shape[0] // t, frames.shape[1] // s, frames.shape[2] // s
        blocks = frames[: n * t, : rows * s, : columns * s].reshape(n, t, rows, s, columns, s)
        _write(target, blocks.mean(axis=(1, 3, 5)), _timing(timing, n, t))


def de_interleave(input_movie_files, output_movie_files, in_efocus_values):
    """Every n-th frame."""
    n_planes, inputs, outputs = len(in_efocus_values), _list(input_movie_files), _list(output_movie_files)
    if len(outputs) != len(inputs) * n_planes:
        raise ValueError("Number of output files must match the number of input files times the number of planes.")
    for number, source in enumerate(inputs):
        frames, timing, spacing = _read(source)
        for plane in range(n_planes):
            one = frames[plane::n_planes]
            _write(outputs[number * n_planes + plane], one, _timing(timing, len(one), n_planes), spacing)


def motion_correct(
    input_movie_files,
    output_movie_files,
    max_translation=20,
    low_bandpass_cutoff=0.004,
    high_bandpass_cutoff=0.016,
    roi=None,
    reference_segment_index=0,
    reference_frame_index=0,
    reference_file_name="",
    global_registration_weight=1.0,
    output_translation_files=None,
    output_crop_rect_file=None,
    preserve_input_dimensions=False,
):
    """Whole-pixel shifts by phase correlation with the reference."""
    pairs = _pairs(input_movie_files, output_movie_files)
    if reference_file_name:
        reference = isx.Image.read(reference_file_name).get_data().astype(np.float32)
    else:
        reference = _read(pairs[reference_segment_index][0])[0][reference_frame_index]
    for number, (source, target) in enumerate(pairs):
        frames, timing, spacing = _read(source)
        shifts = [_shift(frame, reference, max_translation) for frame in frames]
        corrected = [np.roll(frame, shift, axis=(0, 1)) for frame, shift in zip(frames, shifts)]
        _write(target, np.array(corrected), timing, spacing)
        if output_translation_files is not None:
            offsets = np.arange(len(frames)) * timing.period.secs_float
            rows = [(x, y, time) for (y, x), time in zip(shifts, offsets)]
            _table(output_translation_files[number], ("translationX", "translationY", "time"), *rows)
    if output_crop_rect_file is not None:
        _table(output_crop_rect_file, (0, 0, reference.shape[1], reference.shape[0]))


def _shift(frame, reference, limit):
    spectrum = np.fft.rfft2(reference - reference.mean()) * np.conj(np.fft.rfft2(frame - frame.mean()))
    surface = np.fft.irfft2(spectrum, frame.shape)
    peak = np.unravel_index(surface.argmax(), surface.shape)
    signed = [int(p) if p <= n // 2 else int(p) - n for p, n in zip(peak, frame.shape)]
    return tuple(max(-limit, min(limit, along)) for along in signed)


def pca_ica(
    input_movie_files,
    output_cell_set_files,
    num_pcs,
    num_ics=120,
    unmix_type="spatial",
    ica_temporal_weight=0,
    max_iterations=100,
    convergence_threshold=1e-5,
    block_size=1000,
    auto_estimate_num_ics=False,
    average_cell_diameter=13,
):
    """Principal components; no ICA. Does not converge where it is given a single iteration."""
    _components(input_movie_files, output_cell_set_files, num_ics)
    return max_iterations > 1


def run_cnmfe(
    input_movie_files,
    output_cell_set_files,
    output_dir=".",
    cell_diameter=7,
    min_corr=0.8,
    min_pnr=10,
    bg_spatial_subsampling=2,
    ring_size_factor=1.4,
    gaussian_kernel_size=0,
    closing_kernel_size=0,
    merge_threshold=0.7,
    processing_mode="parallel_patches",
    num_threads=4,
    patch_size=80,
    patch_overlap=20,
    output_unit_type="df_over_noise",
):
    """Principal components; leaves a file in `output_dir` as IDPS does."""
    Path(output_dir, "memory_map.bin").write_bytes(bytes(num_threads))
    _components(input_movie_files, output_cell_set_files, 5)


def spatial_filter(
    input_movie_files,
    output_movie_files,
    low_cutoff=0.005,
    high_cutoff=0.500,
    retain_mean=False,
    subtract_global_minimum=True,
):
    """A sharp band of spatial frequencies."""

    def band(frames):
        rows, columns = frames.shape[1:]
        frequency = np.hypot(np.fft.fftfreq(rows)[:, None], np.fft.rfftfreq(columns)[None])
        passed = (frequency >= (low_cutoff or 0)) & (frequency <= (high_cutoff or 1))
        passed[0, 0] = retain_mean
        filtered = np.fft.irfft2(np.fft.rfft2(frames) * passed, (rows, columns))
        return filtered - filtered.min() if subtract_global_minimum else filtered

    _filter_movies(input_movie_files, output_movie_files, band)


def dff(input_movie_files, output_movie_files, f0_type="mean"):
    """(F - F0) / F0"""

    def relative(frames):
        f0 = frames.mean(axis=0) if f0_type == "mean" else frames.min(axis=0)
        return (frames - f0) / np.where(f0 == 0, 1, f0)

    _filter_movies(input_movie_files, output_movie_files, relative)


def project_movie(input_movie_files, output_image_file, stat_type="mean"):
    """Over all frames of all movies."""
    functions = {"mean": np.mean, "min": np.min, "max": np.max, "standard_deviation": np.std}
    movies = [_read(path) for path in _list(input_movie_files)]
    image = functions[stat_type](np.concatenate([frames for frames, _, _ in movies]), axis=0)
    isx.Image.write(output_image_file, movies[0][2], np.float32, image.astype(np.float32))


def event_detection(
    input_cell_set_files,
    output_event_set_files,
    threshold=5,
    tau=0.2,
    event_time_ref="beginning",
    ignore_negative_transients=True,
    accepted_cells_only=False,
):
    """Where a trace rises above a threshold."""
    for source, target in _pairs(input_cell_set_files, output_event_set_files):
        cells, timing, _ = _cells(source)
        events = {}
        for name, _, trace in cells:
            onsets = _onsets(trace, threshold)
            events[name] = onsets * timing.period.to_usecs(), trace[onsets]
        _write_events(target, timing, events)


def trim_movie(input_movie_file, output_movie_file, crop_segments, keep_start_time=False):
    """Without the frames of the segments."""
    frames, timing, spacing = _read(input_movie_file)
    kept = np.ones(len(frames), bool)
    for first, last in crop_segments:
        kept[first : last + 1] = False
    _write(output_movie_file, frames[kept], timing, spacing)


def apply_cell_set(input_movie_files, input_cell_set_file, output_cell_set_files, threshold):
    """Mean over each footprint."""
    cells, _, _ = _cells(input_cell_set_file)
    for source, target in _pairs(input_movie_files, output_cell_set_files):
        frames, timing, spacing = _read(source)
        masks = [(name, np.where(image >= threshold * image.max(), image, 0)) for name, image, _ in cells]
        _write_cells(target, [(name, mask, (frames * mask).mean(axis=(1, 2))) for name, mask in masks], timing, spacing)


def apply_rois(input_movie_files, output_cell_set_files, rois, cell_names=[]):
    """Mean over the rectangle around each ROI."""
    for source, target in _pairs(input_movie_files, output_cell_set_files):
        frames, timing, spacing = _read(source)
        cells = []
        for index, roi in enumerate(rois):
            (left, top), (right, bottom) = np.min(roi, axis=0), np.max(roi, axis=0)
            mask = np.zeros(frames.shape[1:], np.float32)
            mask[top : bottom + 1, left : right + 1] = 1
            name = cell_names[index] if cell_names else f"C{index}"
            cells.append((name, mask, (frames * mask).sum(axis=(1, 2)) / mask.sum()))
        _write_cells(target, cells, timing, spacing)


def longitudinal_registration(
    input_cell_set_files,
    output_cell_set_files,
    input_movie_files=[],
    output_movie_files=[],
    csv_file="",
    min_correlation=0.5,
    accepted_cells_only=False,
    transform_csv_file="",
    crop_csv_file="",
):
    """Everything matches as it is."""
    for source, target in [
        *_pairs(input_cell_set_files, output_cell_set_files),
        *_pairs(input_movie_files, output_movie_files),
    ]:
        shutil.copyfile(source, target)
    _table(csv_file, ("global_cell_index", "local_cell_index"))
    _table(transform_csv_file, (1, 0, 0, 0, 1, 0))
    _table(crop_csv_file, (0, 0, 1, 1))


def auto_accept_reject(input_cell_set_files, input_event_set_files, filters=None):
    """By signal-to-noise ratio and event rate; edits the cell sets in place."""
    compare = {"<": np.less, "=": np.equal, ">": np.greater}
    for cell_file, event_file in _pairs(input_cell_set_files, input_event_set_files):
        cells, events = isx.CellSet.read(cell_file, read_only=False), isx.EventSet.read(event_file)
        seconds = cells.timing.num_samples * cells.timing.period.secs_float
        for index in range(cells.num_cells):
            trace = cells.get_cell_trace_data(index)
            values = {
                "SNR": np.ptp(trace) / _noise(trace),
                "Event Rate": len(events.get_cell_data(index)[0]) / seconds,
                "# Comps": 1,
                "Cell Size": np.count_nonzero(cells.get_cell_image_data(index)),
            }
            good = all(compare[operator](values[statistic], value) for statistic, operator, value in filters or [])
            cells.set_cell_status(index, "accepted" if good else "rejected")


def cell_metrics(input_cell_set_files, input_event_set_files, output_metrics_file, recompute_metrics=True):
    """Signal-to-noise ratio only."""
    rows = [
        (name, np.ptp(trace) / _noise(trace))
        for path in _list(input_cell_set_files)
        for name, _, trace in _cells(path)[0]
    ]
    _table(output_metrics_file, ("cellName", "snr"), *rows)


def export_cell_contours(input_cell_set_file, output_json_file, threshold=0.0, rectify_first=True):
    """The rectangle around what exceeds the threshold."""
    contours = {}
    for name, image, _ in _cells(input_cell_set_file)[0]:
        rows, columns = np.nonzero(image >= threshold * image.max())
        contours[name] = [[int(columns.min()), int(rows.min())], [int(columns.max()), int(rows.max())]]
    Path(output_json_file).write_text(json.dumps(contours))


def multiplane_registration(
    input_cell_set_files,
    output_cell_set_file,
    min_spat_correlation=0.5,
    temp_correlation_thresh=0.99,
    accepted_cells_only=False,
):
    """All cells of all planes."""
    sets = [_cells(path) for path in _list(input_cell_set_files)]
    n_samples = min(timing.num_samples for _, timing, _ in sets)
    cells = [
        (f"P{plane}{name}", image, trace[:n_samples])
        for plane, (of_plane, _, _) in enumerate(sets)
        for name, image, trace in of_plane
    ]
    _write_cells(output_cell_set_file, cells, _timing(sets[0][1], n_samples), sets[0][2])


def estimate_num_ics(input_image_files, average_diameter=None, min_diameter=None, max_diameter=None, min_inter_dist=0):
    """How many blocks of a cell's size have a bright pixel."""
    size = int(average_diameter or (min_diameter + max_diameter) / 2)
    counts = []
    for path in _list(input_image_files):
        image = isx.Image.read(path).get_data()
        bright = image > image.mean() + image.std()
        rows, columns = (length // size * size for length in image.shape)
        blocks = bright[:rows, :columns].reshape(rows // size, size, columns // size, size)
        counts.append(int(blocks.any(axis=(1, 3)).sum()))
    return counts if len(counts) > 1 else counts[0]


def de_interleave_dualcolor(
    input_movie_files, output_green_movie_files, output_red_movie_files, correct_chromatic_shift=True
):
    """Even frames are green, odd ones red."""
    for first, outputs in enumerate((output_green_movie_files, output_red_movie_files)):
        for source, target in _pairs(input_movie_files, outputs):
            frames, timing, spacing = _read(source)
            _write(target, frames[first::2], _timing(timing, len(frames[first::2]), 2), spacing)


def multicolor_registration(
    input_cellset_file1,
    input_cellset_file2,
    output_spatial_overlap_csv_file,
    output_registration_matrix_csv_file,
    output_directory=".",
    lower_threshold=0.2,
    upper_threshold=0.5,
    accepted_cells_only=False,
    save_matched_cellset=True,
    save_unmatched_cellset=True,
    save_uncertain_cellset=True,
    image_format="tiff",
):
    """All cells of the first set count as matched."""
    compute_spatial_overlap_cell_set(input_cellset_file1, input_cellset_file2, output_spatial_overlap_csv_file)
    _table(output_registration_matrix_csv_file, ("primary", "secondary", "match"))
    if save_matched_cellset:
        shutil.copyfile(input_cellset_file1, Path(output_directory, "matched.isxd"))


def binarize_cell_set(input_cellset_file, output_cellset_file, threshold, use_percentile_threshold=False):
    """1 above the threshold, else 0."""

    def binary(name, image, trace):
        level = np.percentile(image, threshold) if use_percentile_threshold else threshold
        return name, image > level, trace

    _edit_cells(input_cellset_file, output_cellset_file, binary)


def crop_cell_set(input_cellset_file, output_cellset_file, crop):
    """[left, right, top, bottom]"""
    left, right, top, bottom = crop
    _edit_cells(
        input_cellset_file,
        output_cellset_file,
        lambda name, image, trace: (name, image[top : image.shape[0] - bottom, left : image.shape[1] - right], trace),
    )


def transform_cell_set(input_cellset_file, output_cellset_file, pad_value=np.nan):
    """As it was."""
    _edit_cells(input_cellset_file, output_cellset_file, lambda *cell: cell)


def compute_spatial_overlap_cell_set(
    input_cellset_file1, input_cellset_file2, output_csv_file, accepted_cells_only=False
):
    """Normalised cross-correlation of footprints."""
    if Path(output_csv_file).exists():
        raise FileExistsError(f"Output file already exists: {output_csv_file}")
    first, second = (_cells(path)[0] for path in (input_cellset_file1, input_cellset_file2))
    rows = [[float((a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum())) for _, b, _ in second] for _, a, _ in first]
    _table(output_csv_file, *rows)


def register_cellsets(
    input_cellset_file1,
    input_cellset_file2,
    output_spatial_overlap_csv_file,
    output_registration_matrix_csv_file,
    output_directory=".",
    lower_threshold=0.3,
    upper_threshold=0.7,
    accepted_cells_only=False,
    primary_cellset_name="primary",
    secondary_cellset_name="secondary",
    primary_color=0x00FF00,
    secondary_color=0xFF0000,
):
    """Nothing matches."""
    compute_spatial_overlap_cell_set(input_cellset_file1, input_cellset_file2, output_spatial_overlap_csv_file)
    _table(output_registration_matrix_csv_file, (primary_cellset_name, secondary_cellset_name, "match"))
    Path(output_directory, "maps").mkdir(parents=True)
    _table(Path(output_directory, "maps", "cellmap.csv"), (primary_color, secondary_color))


def deconvolve_cellset(
    input_raw_cellset_files,
    output_denoised_cellset_files=None,
    output_spike_eventset_files=None,
    accepted_only=False,
    spike_snr_threshold=3.0,
    noise_range=(0.25, 0.5),
    noise_method="mean",
    first_order_ar=True,
    lags=5,
    fudge_factor=0.96,
    deconvolution_method="oasis",
):
    """A running mean, and where a trace rises above the noise."""
    for number, source in enumerate(_list(input_raw_cellset_files)):
        cells, timing, spacing = _cells(source)
        if output_denoised_cellset_files:
            smooth = [(name, image, np.convolve(trace, np.ones(3) / 3, "same")) for name, image, trace in cells]
            _write_cells(output_denoised_cellset_files[number], smooth, timing, spacing)
        if output_spike_eventset_files:
            spikes = {}
            for name, _, trace in cells:
                onsets = _onsets(trace, spike_snr_threshold)
                spikes[name] = onsets * timing.period.to_usecs(), trace[onsets]
            _write_events(output_spike_eventset_files[number], timing, spikes)


def estimate_vessel_diameter(
    input_movie_files,
    output_vessel_set_files,
    lines,
    time_window=2,
    time_increment=1,
    output_units="pixels",
    estimation_method="Non-Parametric FWHM",
    height_estimate_rule="independent",
    auto_accept_reject=True,
    rejection_threshold_fraction=0.2,
    rejection_threshold_count=5,
    vessel_names=[],
):
    """Every line is as wide as it is long."""
    for source, target in _pairs(input_movie_files, output_vessel_set_files):
        frames, timing, spacing = _read(source)
        vessels = isx.VesselSet.write(target, timing, spacing, "vessel diameter")
        for index, line in enumerate(np.array(lines, np.int64)):
            trace = np.full(len(frames), np.linalg.norm(line[1] - line[0]), np.float32)
            name = vessel_names[index] if vessel_names else None
            vessels.set_vessel_diameter_data(index, frames.mean(axis=0), line, trace, trace / 2, name)
        vessels.flush()


def estimate_rbc_velocity(
    input_movie_files,
    output_vessel_set_files,
    rois,
    time_window=10,
    time_increment=2,
    output_units="pixels",
    save_correlation_heatmaps=True,
):
    """Nothing moves."""
    for source, target in _pairs(input_movie_files, output_vessel_set_files):
        frames, timing, spacing = _read(source)
        vessels = isx.VesselSet.write(target, timing, spacing, "rbc velocity")
        for index, roi in enumerate(np.array(rois, np.int64)):
            still = np.zeros(len(frames), np.float32)
            vessels.set_rbc_velocity_data(index, frames.mean(axis=0), roi, still, still)
        vessels.flush()


def create_neural_activity_movie(input_cell_set_files, output_neural_movie_files, accepted_cells_only=False):
    """Footprints times traces."""
    for source, target in _pairs(input_cell_set_files, output_neural_movie_files):
        cells, timing, spacing = _cells(source)
        _write(target, sum(trace[:, None, None] * image for _, image, trace in cells), timing, spacing)


def interpolate_movie(
    input_movie_files,
    output_interpolated_movie_files,
    interpolate_dropped=True,
    interpolate_blank=True,
    max_consecutive_invalid_frames=1,
):
    """As it was, with every frame valid."""
    for source, target in _pairs(input_movie_files, output_interpolated_movie_files):
        frames, timing, spacing = _read(source)
        _write(target, frames, _timing(timing, len(frames)), spacing)


def estimate_vessel_diameter_single_vessel(input_movie_file, line, start_frame, end_frame, output_coordinates=False):
    """The profile along the line; no fit."""
    frames, _, _ = _read(input_movie_file)
    (x0, y0), (x1, y1) = line
    n_pixels = max(abs(x1 - x0), abs(y1 - y0)) + 1
    columns, rows = (np.linspace(a, b, n_pixels).astype(int) for a, b in ((x0, x1), (y0, y1)))
    profile = frames[start_frame : end_frame + 1].mean(axis=0)[rows, columns].astype(np.float64)
    fit, estimate = {"amplitude": float("nan")}, {"length": float(n_pixels), "center": n_pixels / 2}
    return (profile, fit, estimate, np.column_stack((columns, rows)))[: 4 if output_coordinates else 3]


def decompress(input_isxc_file, output_dir):
    """A copy under the other suffix."""
    shutil.copyfile(input_isxc_file, Path(output_dir, Path(input_isxc_file).stem + ".isxd"))
