"""The contract of every step that a recipe can use: the files that it reads and writes, and what its parameters may be.

The names and the signatures are those of isx, but for the steps that are this project's own; a test fails if isx.algo
has a function or a parameter that is not described here. The table does not know who carries a step out: that is what
`pipeline.engines` is for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pipeline.recipe.rules import (
    AUTO,
    Check,
    Filters,
    Rule,
    ar_model,
    around_zero,
    as_many,
    corners_in_order,
    either,
    enough_components,
    file_beside,
    ordered,
    percentile,
    rising_range,
    segments_in_order,
    some_diameter,
)
from recording.kinds import Shape

FILE = "file"  # the kind of a product that no step takes: CSV, TIFF, JSON


@dataclass(frozen=True)
class Takes:
    """A parameter that names files to read. The runner sets it: to the latest of its kinds, or as `from` says."""

    parameter: str
    kinds: tuple[str, ...]
    files: str = "list"  # "list": of all parts; "first": the first part; "each": one part a call
    optional: bool = False  # set only if `from` names something of its kind
    several: bool = False  # takes the products of several steps at once
    companion: bool = False  # not a product: recordings of the session beside those that the recipe runs on, if any


@dataclass(frozen=True)
class Makes:
    """A parameter that names files to write, or what the function returns. The runner sets it."""

    parameter: str | None  # None: the function's return value, kept as JSON
    kind: str
    suffix: str  # the ending of its files' names; {x} is the parameter x
    extension: str = ".isxd"
    label: str = ""  # tells several products of one kind apart: `from = "step.label"`
    once: bool = False  # one file for all parts
    split_by: str = ""  # one product for each value of this parameter
    needs: str = ""  # made only if this optional input is given
    folder: bool = False  # the parameter is a folder; whatever appears in it is a product
    required: bool = False  # whether a file must be written; a recording always must
    result: bool = False  # what a lab looks for: it lies among the session's results too, as <session>-<suffix>...


@dataclass(frozen=True)
class Contract:
    """One step: kinds in and out, and the rules of its parameters."""

    takes: tuple[Takes, ...] = ()
    makes: tuple[Makes, ...] = ()
    rules: Mapping[str, Rule] = field(default_factory=dict)
    checks: tuple[Check, ...] = ()
    per_part: bool = False  # called once for each part, not once for all
    edits: str = ""  # the input that it changes in place, and so gets a copy of
    fills: Mapping[str, str] = field(default_factory=dict)  # parameter: "scratch" or "threads"
    shape: Callable[[Mapping[str, Any], Shape], Shape] = lambda values, before: before  # of the products
    complaint: Callable[[Any], str] = lambda returned: ""  # a warning for the user, from the return value
    at_least: int = 1  # recordings that it compares: fewer are an error
    unusable: str = ""  # why it cannot be a step
    own: bool = False  # a step of this project, which isx does not have
    beside: tuple[str, ...] = ()  # parameters that name a table of times beside the recordings
    channel: str = ""  # the parameter that names a TTL channel, whose edges are those of "edge"

    @property
    def set_by_runner(self) -> frozenset[str]:
        """The parameters that a recipe must not set."""
        files = [*(one.parameter for one in self.takes), *(one.parameter for one in self.makes)]
        return frozenset([*filter(None, files), *self.fills, *(["context"] if self.own else [])])


# ---- rules of parameters that several steps have

SWITCH = Rule(bool)
COUNT = Rule(int, at_least=1)
COUNT_OR_AUTO = Rule(int, at_least=1, auto=True)
INDEX = Rule(int, at_least=0)
NUMBER = Rule(float)
POSITIVE = Rule(float, above=0)
NOT_NEGATIVE = Rule(float, at_least=0)
FRACTION = Rule(float, at_least=0, at_most=1)
CUT_OFF = Rule(float, above=0, none=True)
TEXT = Rule(str)
NAMES = Rule(str, shape=(None,))
UNITS = Rule(str, choices=("pixels", "microns"))
COLOUR = Rule(int, at_least=0, at_most=0xFFFFFF)
TIME_REF = Rule(str, choices=("start", "unix"))
TIME_REF_TSC = Rule(str, choices=("start", "unix", "tsc"))


def one_of(*choices: str) -> Rule:
    return Rule(str, choices=choices)


# ---- contracts that are alike


def _binned(values: Mapping[str, Any], before: Shape) -> Shape:
    """A factor that is still to be estimated counts as 1: that takes the most room."""
    factors = values["temporal_downsample_factor"], values["spatial_downsample_factor"]
    time, space = (1 if factor == AUTO else factor for factor in factors)
    return replace(before, samples=-(-before.samples // time), pixels=-(-before.pixels // space**2))


def _shared_out(values: Mapping[str, Any], before: Shape) -> Shape:
    """Shape of one of several movies whose frames were recorded in turn."""
    return replace(before, samples=-(-before.samples // len(values.get("in_efocus_values", (1, 2)))))


def _converged(returned: object) -> str:
    return "PCA-ICA did not converge: raise max_iterations, or lower num_ics" if returned is False else ""


def _movies(parameter: str = "input_movie_files", **more: Any) -> Takes:
    return Takes(parameter, ("movie",), **more)


def _cells(parameter: str = "input_cell_set_files", **more: Any) -> Takes:
    return Takes(parameter, ("cell_set",), **more)


def _events(**more: Any) -> Takes:
    return Takes("input_event_set_files", ("event_set",), **more)


def _movie_filter(suffix: str, rules: Mapping[str, Rule], checks: tuple[Check, ...] = (), **more: Any) -> Contract:
    return Contract((_movies(),), (Makes("output_movie_files", "movie", suffix),), rules, checks, **more)


def _cell_finder(suffix: str, rules: Mapping[str, Rule], checks: tuple[Check, ...] = (), **more: Any) -> Contract:
    return Contract((_movies(),), (Makes("output_cell_set_files", "cell_set", suffix),), rules, checks, **more)


def _cell_set_editor(suffix: str, rules: Mapping[str, Rule], checks: tuple[Check, ...] = ()) -> Contract:
    takes, makes = _cells("input_cellset_file", files="each"), Makes("output_cellset_file", "cell_set", suffix)
    return Contract((takes,), (makes,), rules, checks, per_part=True)


def _cell_set_pair(suffix: str, rules: Mapping[str, Rule]) -> Contract:
    return Contract(
        (_cells("input_cellset_file1", files="each"), _cells("input_cellset_file2", files="each")),
        (
            Makes("output_spatial_overlap_csv_file", FILE, f"{suffix}-overlap", ".csv"),
            Makes("output_registration_matrix_csv_file", FILE, f"{suffix}-matrix", ".csv"),
            Makes("output_directory", FILE, suffix, "", folder=True),
        ),
        {"lower_threshold": FRACTION, "upper_threshold": FRACTION, "accepted_cells_only": SWITCH, **rules},
        (ordered("lower_threshold", "upper_threshold"),),
        per_part=True,
    )


def _movie_export(parameter: str, kinds: tuple[str, ...], suffix: str, extension: str, **rules: Rule) -> Contract:
    return Contract(
        (Takes("input_movie_files", kinds),),
        (Makes(parameter, FILE, suffix, extension, once=True),),
        rules,
    )


# ---- the table; the suffixes of the usual steps are those of IDPS

STEPS: dict[str, Contract] = {
    "preprocess": _movie_filter(
        "PP",
        {
            "temporal_downsample_factor": COUNT_OR_AUTO,
            "spatial_downsample_factor": COUNT_OR_AUTO,
            "crop_rect": Rule(int, at_least=0, shape=(4,), none=True),
            "crop_rect_format": one_of("tlbr", "tlwh"),
            "fix_defective_pixels": SWITCH,
            "trim_early_frames": SWITCH,
        },
        (corners_in_order,),
        shape=_binned,
    ),
    "de_interleave": Contract(
        (_movies(),),
        (Makes("output_movie_files", "movie", "efocus_{in_efocus_values:04}", split_by="in_efocus_values"),),
        {"in_efocus_values": Rule(int, at_least=0, at_most=1000, shape=(None,))},
        shape=_shared_out,
    ),
    "de_interleave_dualcolor": Contract(
        (_movies(),),
        (
            Makes("output_green_movie_files", "movie", "green", label="green"),
            Makes("output_red_movie_files", "movie", "red", label="red"),
        ),
        {"correct_chromatic_shift": SWITCH},
        shape=_shared_out,
    ),
    "trim_movie": Contract(
        (_movies("input_movie_file", files="each"),),
        (Makes("output_movie_file", "movie", "TPC"),),
        {"crop_segments": Rule(int, at_least=0, shape=(None, 2)), "keep_start_time": SWITCH},
        (segments_in_order,),
        per_part=True,
    ),
    "interpolate_movie": Contract(
        (_movies(),),
        (Makes("output_interpolated_movie_files", "movie", "INT"),),
        {"interpolate_dropped": SWITCH, "interpolate_blank": SWITCH, "max_consecutive_invalid_frames": COUNT},
    ),
    "spatial_filter": _movie_filter(
        "BP",
        {
            "low_cutoff": CUT_OFF,
            "high_cutoff": CUT_OFF,
            "retain_mean": SWITCH,
            "subtract_global_minimum": SWITCH,
        },
        (ordered("low_cutoff", "high_cutoff", strictly=True),),
    ),
    "project_movie": Contract(
        (_movies(),),
        (Makes("output_image_file", "image", "{stat_type}_image", once=True),),
        {"stat_type": one_of("mean", "min", "max", "standard_deviation")},
    ),
    "motion_correct": Contract(
        (_movies(), Takes("reference_file_name", ("image",), files="first", optional=True)),
        (
            Makes("output_movie_files", "movie", "MC"),
            Makes("output_translation_files", FILE, "MC-translations", ".csv"),
            Makes("output_crop_rect_file", FILE, "MC-crop_rect", ".csv", once=True),
        ),
        {
            "max_translation": COUNT,
            "low_bandpass_cutoff": CUT_OFF,
            "high_bandpass_cutoff": CUT_OFF,
            "roi": Rule(int, at_least=0, shape=(None, 2), none=True),
            "reference_segment_index": INDEX,
            "reference_frame_index": INDEX,
            "global_registration_weight": Rule(float, at_least=0.05, at_most=1),
            "preserve_input_dimensions": SWITCH,
        },
        (ordered("low_bandpass_cutoff", "high_bandpass_cutoff", strictly=True),),
    ),
    "dff": _movie_filter("DFF", {"f0_type": one_of("mean", "min")}),
    "pca_ica": _cell_finder(
        "PCA-ICA",
        {
            "num_pcs": COUNT,
            "num_ics": COUNT,
            "unmix_type": one_of("temporal", "spatial", "both"),
            "ica_temporal_weight": FRACTION,
            "max_iterations": COUNT,
            "convergence_threshold": POSITIVE,
            "block_size": COUNT,
            "auto_estimate_num_ics": SWITCH,
            "average_cell_diameter": COUNT,
        },
        (enough_components,),
        shape=lambda values, before: replace(before, cells=values["num_ics"]),
        complaint=_converged,
    ),
    "run_cnmfe": _cell_finder(
        "CNMFE",
        {
            "cell_diameter": COUNT_OR_AUTO,
            "min_corr": FRACTION,
            "min_pnr": NOT_NEGATIVE,
            "bg_spatial_subsampling": COUNT,
            "ring_size_factor": POSITIVE,
            "gaussian_kernel_size": INDEX,
            "closing_kernel_size": INDEX,
            "merge_threshold": FRACTION,
            "processing_mode": one_of("all_in_memory", "sequential_patches", "parallel_patches"),
            "patch_size": Rule(int, at_least=2),
            "patch_overlap": INDEX,
            "output_unit_type": one_of("df", "df_over_noise"),
        },
        (ordered("patch_overlap", "patch_size", strictly=True),),
        fills={"output_dir": "scratch", "num_threads": "threads"},
    ),
    "estimate_num_ics": Contract(
        (Takes("input_image_files", ("image",)),),
        (Makes(None, FILE, "num_ics", ".json", once=True),),
        {
            "average_diameter": POSITIVE,
            "min_diameter": POSITIVE,
            "max_diameter": POSITIVE,
            "min_inter_dist": NOT_NEGATIVE,
        },
        (some_diameter, ordered("min_diameter", "max_diameter", strictly=True)),
    ),
    "apply_cell_set": Contract(
        (_movies(), _cells("input_cell_set_file", files="first")),
        (Makes("output_cell_set_files", "cell_set", "AC"),),
        {"threshold": FRACTION},
    ),
    "apply_rois": _cell_finder(
        "ROI",
        {"rois": Rule(int, shape=(None, None, 2)), "cell_names": NAMES},
        (as_many("cell_names", "rois"),),
        shape=lambda values, before: replace(before, cells=len(values["rois"])),
    ),
    "event_detection": Contract(
        (_cells(),),
        (Makes("output_event_set_files", "event_set", "ED"),),
        {
            "threshold": POSITIVE,
            "tau": POSITIVE,
            "event_time_ref": one_of("maximum", "beginning", "mid_rise"),
            "ignore_negative_transients": SWITCH,
            "accepted_cells_only": SWITCH,
        },
    ),
    "auto_accept_reject": Contract(
        (_cells(), _events()),
        (Makes("input_cell_set_files", "cell_set", "AR"),),
        {"filters": Filters()},
        edits="input_cell_set_files",
    ),
    "deconvolve_cellset": Contract(
        (_cells("input_raw_cellset_files"),),
        (
            Makes("output_denoised_cellset_files", "cell_set", "DEN"),
            Makes("output_spike_eventset_files", "event_set", "SPK"),
        ),
        {
            "accepted_only": SWITCH,
            "spike_snr_threshold": POSITIVE,
            "noise_range": Rule(float, at_least=0, at_most=1, shape=(2,)),
            "noise_method": one_of("mean", "median", "logmexp"),
            "first_order_ar": SWITCH,
            "lags": COUNT,
            "fudge_factor": POSITIVE,
            "deconvolution_method": one_of("oasis", "scs"),
        },
        (ar_model, rising_range),
    ),
    "cell_metrics": Contract(
        (_cells(), _events()),
        (Makes("output_metrics_file", FILE, "metrics", ".csv", once=True),),
        {"recompute_metrics": SWITCH},
        edits="input_cell_set_files",
    ),
    "export_cell_contours": Contract(
        (_cells("input_cell_set_file", files="each"),),
        (Makes("output_json_file", FILE, "contours", ".json"),),
        {"threshold": FRACTION, "rectify_first": SWITCH},
        per_part=True,
    ),
    "create_neural_activity_movie": Contract(
        (_cells(),),
        (Makes("output_neural_movie_files", "movie", "NAM"),),
        {"accepted_cells_only": SWITCH},
    ),
    "binarize_cell_set": _cell_set_editor(
        "BIN", {"threshold": NUMBER, "use_percentile_threshold": SWITCH}, (percentile,)
    ),
    "crop_cell_set": _cell_set_editor("CROP", {"crop": Rule(int, at_least=0, shape=(4,))}),
    "transform_cell_set": _cell_set_editor("TF", {"pad_value": Rule(float, finite=False)}),
    "compute_spatial_overlap_cell_set": Contract(
        (_cells("input_cellset_file1", files="each"), _cells("input_cellset_file2", files="each")),
        (Makes("output_csv_file", FILE, "overlap", ".csv"),),
        {"accepted_cells_only": SWITCH},
        per_part=True,
    ),
    "register_cellsets": _cell_set_pair(
        "REG",
        {
            "primary_cellset_name": TEXT,
            "secondary_cellset_name": TEXT,
            "primary_color": COLOUR,
            "secondary_color": COLOUR,
        },
    ),
    "multicolor_registration": _cell_set_pair(
        "MCR",
        {
            "save_matched_cellset": SWITCH,
            "save_unmatched_cellset": SWITCH,
            "save_uncertain_cellset": SWITCH,
            "image_format": one_of("tiff", "png"),
        },
    ),
    "longitudinal_registration": Contract(
        (_cells(), _movies(optional=True)),
        (
            Makes("output_cell_set_files", "cell_set", "LR"),
            Makes("output_movie_files", "movie", "LR_movie", needs="input_movie_files"),
            Makes("csv_file", FILE, "LR-matches", ".csv", once=True),
            Makes("transform_csv_file", FILE, "LR-transforms", ".csv", once=True),
            Makes("crop_csv_file", FILE, "LR-crop_rect", ".csv", once=True),
        ),
        {"min_correlation": FRACTION, "accepted_cells_only": SWITCH},
        at_least=2,
    ),
    "multiplane_registration": Contract(
        (_cells(several=True),),
        (Makes("output_cell_set_file", "cell_set", "MPR", once=True),),
        {
            "min_spat_correlation": FRACTION,
            "temp_correlation_thresh": FRACTION,
            "accepted_cells_only": SWITCH,
        },
    ),
    "estimate_vessel_diameter": Contract(
        (_movies(),),
        (Makes("output_vessel_set_files", "vessel_set", "VD"),),
        {
            "lines": Rule(int, at_least=0, shape=(None, 2, 2)),
            "time_window": POSITIVE,
            "time_increment": POSITIVE,
            "output_units": UNITS,
            "estimation_method": one_of("Non-Parametric FWHM", "Parametric FWHM"),
            "height_estimate_rule": one_of("independent", "global", "local"),
            "auto_accept_reject": SWITCH,
            "rejection_threshold_fraction": NOT_NEGATIVE,
            "rejection_threshold_count": INDEX,
            "vessel_names": NAMES,
        },
        (ordered("time_increment", "time_window"), as_many("vessel_names", "lines")),
    ),
    "estimate_vessel_diameter_single_vessel": Contract(
        (_movies("input_movie_file", files="each"),),
        (Makes(None, FILE, "diameter", ".json"),),
        {
            "line": Rule(int, at_least=0, shape=(2, 2)),
            "start_frame": INDEX,
            "end_frame": INDEX,
            "output_coordinates": SWITCH,
        },
        (ordered("start_frame", "end_frame"),),
        per_part=True,
    ),
    "estimate_rbc_velocity": Contract(
        (_movies(),),
        (Makes("output_vessel_set_files", "vessel_set", "RBCV"),),
        {
            "rois": Rule(int, at_least=0, shape=(None, 4, 2)),
            "time_window": POSITIVE,
            "time_increment": POSITIVE,
            "output_units": UNITS,
            "save_correlation_heatmaps": SWITCH,
        },
        (ordered("time_increment", "time_window"),),
    ),
    "decompress": Contract(
        unusable="it takes compressed .isxc files, which cannot be read as recordings: decompress them first"
    ),
    # This project's own.
    "detect_transients": Contract((_cells(),), (Makes("output_event_set_files", "event_set", "ED"),), own=True),
    "accept_cells": Contract(
        (_cells(), _events()),
        (Makes("input_cell_set_files", "cell_set", "AR"),),
        edits="input_cell_set_files",
        own=True,
    ),
    "peri_event": Contract(
        (_cells(), _events(optional=True), Takes("input_ttl_files", ("gpio",), companion=True)),
        (Makes("output_directory", FILE, "peri", "", once=True, folder=True, result=True),),
        {
            "channel": TEXT,
            "edge": one_of("rise", "fall"),
            "events": TEXT,
            "window_s": Rule(float, shape=(2,)),
            "shuffles": Rule(int, at_least=99, at_most=100_000),
        },
        (either("channel", "events"), around_zero("window_s"), file_beside("events")),
        own=True,
        beside=("events",),
        channel="channel",
    ),
    # Steps that the public isx has as well.
    "create_cell_map": Contract(
        (_cells("isxd_cellset_file", files="each"),),
        (
            Makes("output_isxd_cell_map_file", "image", "cell_map"),
            Makes("output_tiff_cell_map_file", FILE, "cell_map-rgb", ".tif"),
        ),
        {
            "selected_cell_statuses": Rule(str, choices=("accepted", "undecided", "rejected"), shape=(None,)),
            "cell_thresh": FRACTION,
            "binary": SWITCH,
            "rgb": one_of("red", "green", "blue"),
        },
        per_part=True,
    ),
    "export_movie_to_tiff": _movie_export(
        "output_tiff_file", ("movie",), "frames", ".tif", write_invalid_frames=SWITCH
    ),
    "export_movie_to_mp4": _movie_export(
        "output_mp4_file",
        ("movie", "behavior_movie", "nvision"),
        "movie",
        ".mp4",
        compression_quality=Rule(float, at_least=0.001, at_most=1),
        write_invalid_frames=SWITCH,
        frame_rate_format=one_of("float", "int"),
        draw_bounding_box=SWITCH,
        draw_bounding_box_center=SWITCH,
        draw_zones=SWITCH,
    ),
    "export_movie_timestamps_to_csv": _movie_export(
        "output_csv_file", ("movie", "behavior_movie", "nvision"), "timestamps", ".csv", time_ref=TIME_REF_TSC
    ),
    "export_nvision_movie_tracking_frame_data_to_csv": _movie_export(
        "output_csv_file", ("nvision",), "tracking_frames", ".csv", time_ref=TIME_REF_TSC
    ),
    "export_nvision_movie_tracking_zone_data_to_csv": _movie_export(
        "output_csv_file", ("nvision",), "tracking_zones", ".csv"
    ),
    "export_event_set_to_csv": Contract(
        (_events(),),
        (
            Makes("output_csv_file", FILE, "event_table", ".csv", once=True),
            Makes("output_props_file", FILE, "event_properties", ".csv", once=True),
        ),
        {"time_ref": TIME_REF, "sparse_output": SWITCH, "write_amplitude": SWITCH},
    ),
    "export_gpio_set_to_csv": Contract(
        (Takes("input_gpio_set_files", ("gpio", "imu")),),
        (Makes("output_csv_file", FILE, "gpio_table", ".csv", once=True),),
        {"time_ref": TIME_REF},
        fills={"inter_isxd_file_dir": "scratch"},
    ),
    "export_cell_set_to_csv_tiff": Contract(
        (_cells(),),
        (
            Makes("output_csv_file", FILE, "cell_table", ".csv", once=True),
            Makes("output_tiff_file", FILE, "cell_images", ".tiff", once=True),
            Makes("output_props_file", FILE, "cell_properties", ".csv", once=True),
        ),
        {"time_ref": TIME_REF},
    ),
    "export_vessel_set_to_csv_tiff": Contract(
        (Takes("input_vessel_set_files", ("vessel_set",)),),
        (
            Makes("output_trace_csv_file", FILE, "vessel_table", ".csv", once=True),
            Makes("output_line_csv_file", FILE, "vessel_lines", ".csv", once=True),
            Makes("output_map_tiff_file", FILE, "vessel_map", ".tiff", once=True),
            Makes("output_heatmaps_tiff_dir", FILE, "vessel_heatmaps", "", folder=True),
        ),
        {"time_ref": TIME_REF},
    ),
    "export_movie_to_nwb": Contract(unusable="it writes NWB 1.0, which today's readers do not open"),
    "align_start_times": Contract(unusable="it changes recordings in place"),
}
