"""What recipes can do with isx: which files each function reads and writes, and what its parameters may be.

The signatures themselves are those of the isx in the image; a test fails when isx.algo has a function or a parameter
that is not described here. `python -m pipeline.recipe.steps` prints the table that docs/recipes.md shows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

FILE = "file"  # the kind of a product that no step takes: CSV, TIFF, JSON
KIND_NAMES = {
    "movie": "a movie",
    "image": "an image",
    "cell_set": "a cell set",
    "event_set": "an event set",
    "gpio": "a GPIO recording",
    "imu": "an IMU recording",
    "behavior_movie": "a behaviour movie",
    "nvision": "an nVision movie",
    "vessel_set": "a vessel set",
    FILE: "a file",
}


@dataclass(frozen=True)
class Rule:
    """What a parameter may be: a value, or (with `shape`) nested lists of them; None in `shape` is any length."""

    type: type  # bool, int, float or str
    at_least: float = -math.inf
    above: float = -math.inf
    at_most: float = math.inf
    choices: tuple[str, ...] = ()
    shape: tuple[int | None, ...] = ()
    none: bool = False  # "none" in a recipe stands for Python's None
    finite: bool = True

    def __str__(self) -> str:
        """As in "must be ..."."""
        if self.shape:
            text = ", each ".join(f"a list of {length or 'one or more'}" for length in self.shape)
            text += f" {_PLURALS[self.type]}" if not self.choices else f" of {_alternatives(self.choices)}"
        elif self.choices:
            text = f"one of {_alternatives(self.choices)}"
        else:
            text = _SINGULARS[self.type]
        limits = []
        if self.above > -math.inf:
            limits.append(f"above {self.above:g}")
        if self.at_least > -math.inf:
            limits.append(f"of at least {self.at_least:g}")
        if self.at_most < math.inf:
            limits.append(f"at most {self.at_most:g}")
        return " ".join([text, " and ".join(limits)]).rstrip() + (', or "none"' if self.none else "")

    def problem(self, value: object) -> str:
        """What is wrong with a value, or ""."""
        if (self.none and value == "none") or self._fits(value, self.shape):
            return ""
        close = get_close_matches(value, self.choices, 1) if isinstance(value, str) else []
        return f"must be {self}, not {_shown(value)}" + (f"; did you mean {close[0]!r}?" if close else "")

    def _fits(self, value: object, shape: tuple[int | None, ...]) -> bool:
        if shape:
            right_length = isinstance(value, list) and len(value) == (shape[0] or max(1, len(value)))
            return right_length and all(self._fits(each, shape[1:]) for each in value)
        if self.type is float and type(value) is int:
            value = float(value)
        if type(value) is not self.type:
            return False
        if self.choices:
            return value in self.choices
        if self.type is int and abs(value) >= 1 << 31:  # the library's whole numbers end there
            return False
        if self.type in (int, float):
            if not math.isfinite(value):
                return not self.finite
            return self.at_least <= value <= self.at_most and value > self.above
        return True


_SINGULARS = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}
_PLURALS = {bool: "true or false", int: "whole numbers", float: "numbers", str: "texts"}


def _alternatives(choices: tuple[str, ...]) -> str:
    return ", ".join(repr(choice) for choice in choices)


def _shown(value: object) -> str:
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


@dataclass(frozen=True)
class Filters(Rule):
    """What auto_accept_reject goes by: [[statistic, operator, value], ...]."""

    def __str__(self) -> str:
        return (
            "a list of one or more [statistic, operator, value], where the statistic is one of "
            f"{_alternatives(self.statistics)}, the operator one of {_alternatives(self.operators)}, "
            "and the value a number"
        )

    statistics = ("# Comps", "Cell Size", "SNR", "Event Rate")
    operators = ("<", "=", ">")

    def _fits(self, value: object, shape: tuple[int | None, ...]) -> bool:
        return isinstance(value, list) and bool(value) and all(map(self._is_filter, value))

    def _is_filter(self, each: object) -> bool:
        return (
            isinstance(each, list)
            and len(each) == 3
            and each[0] in self.statistics
            and each[1] in self.operators
            and type(each[2]) in (int, float)
        )


@dataclass(frozen=True)
class Takes:
    """A parameter that names files to read. The runner sets it: to the latest of its kinds, or as `from` says."""

    parameter: str
    kinds: tuple[str, ...]
    files: str = "list"  # "list": of all parts; "first": the first part; "each": one part a call
    optional: bool = False  # set only where `from` names something of its kind
    several: bool = False  # takes the products of several steps at once


@dataclass(frozen=True)
class Makes:
    """A parameter that names files to write, or what the function returns. The runner sets it."""

    parameter: str | None  # None: the function's return value, kept as JSON
    kind: str
    suffix: str  # what the names of its files end in; {x} is the parameter x
    extension: str = ".isxd"
    label: str = ""  # tells several products of one kind apart: `from = "step.label"`
    once: bool = False  # one file for all parts
    split_by: str = ""  # one product for each value of this parameter
    needs: str = ""  # made only where this optional input is given
    folder: bool = False  # the parameter is a folder; whatever appears in it is a product


Check = Callable[[Mapping[str, Any]], str]  # what is wrong with all parameters together, or ""


@dataclass(frozen=True)
class Algorithm:
    """One function of isx: kinds in and out, and the rules of its parameters."""

    takes: tuple[Takes, ...] = ()
    makes: tuple[Makes, ...] = ()
    rules: Mapping[str, Rule] = field(default_factory=dict)
    checks: tuple[Check, ...] = ()
    each: bool = False  # called once for each part, not once for all
    edits: str = ""  # the input that it changes in place, and so gets a copy of
    fills: Mapping[str, str] = field(default_factory=dict)  # parameter: "scratch" or "threads"
    licensed: bool = True
    unusable: str = ""  # why it cannot be a step

    @property
    def set_by_runner(self) -> frozenset[str]:
        """The parameters that a recipe must not set."""
        files = [*(one.parameter for one in self.takes), *(one.parameter for one in self.makes)]
        return frozenset([*filter(None, files), *self.fills])


# ---- rules that several functions share

SWITCH = Rule(bool)
COUNT = Rule(int, at_least=1)
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


def ordered(low: str, high: str, strictly: bool = False) -> Check:
    """`low` must not exceed `high`, where both are numbers."""

    def check(values: Mapping[str, Any]) -> str:
        a, b = values.get(low), values.get(high)
        if not (_is_number(a) and _is_number(b)) or a < b or (a == b and not strictly):
            return ""
        return f"{low} ({a:g}) must be {'below' if strictly else 'at most'} {high} ({b:g})"

    return check


def as_many(these: str, those: str) -> Check:
    """Where `these` are given, there must be one for each of `those`."""

    def check(values: Mapping[str, Any]) -> str:
        n, m = len(values.get(these) or ()), len(values.get(those) or ())
        return f"{these} has {n} entries but {those} has {m}" if n and n != m else ""

    return check


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _enough_components(values: Mapping[str, Any]) -> str:
    pcs, ics = values.get("num_pcs"), values.get("num_ics")
    if values.get("auto_estimate_num_ics") or not (_is_number(pcs) and _is_number(ics)) or pcs >= ics:
        return ""
    return f"num_pcs ({pcs}) must be at least num_ics ({ics})"


def _corners_in_order(values: Mapping[str, Any]) -> str:
    rect = values.get("crop_rect")
    if not isinstance(rect, list) or values.get("crop_rect_format") != "tlbr":
        return ""
    top, left, bottom, right = rect
    good = top <= bottom and left <= right
    return "" if good else "crop_rect must be [top, left, bottom, right] with top <= bottom and left <= right"


def _segments_in_order(values: Mapping[str, Any]) -> str:
    segments = values.get("crop_segments") or ()
    return "" if all(first <= last for first, last in segments) else "crop_segments must each be [first, last]"


def _percentile(values: Mapping[str, Any]) -> str:
    threshold = values.get("threshold")
    if values.get("use_percentile_threshold") and _is_number(threshold) and not 0 <= threshold <= 100:
        return f"threshold ({threshold:g}) is a percentile: it must be from 0 to 100"
    return ""


def _some_diameter(values: Mapping[str, Any]) -> str:
    if values.get("average_diameter") or (values.get("min_diameter") and values.get("max_diameter")):
        return ""
    return "either average_diameter or both min_diameter and max_diameter must be given"


def _ar_model(values: Mapping[str, Any]) -> str:
    if values.get("deconvolution_method") == "oasis" and values.get("first_order_ar") is False:
        return "deconvolution_method 'oasis' only works with first_order_ar = true; 'scs' works with both"
    return ""


def _rising_range(values: Mapping[str, Any]) -> str:
    low, high = values.get("noise_range", (0, 0))
    return "" if low <= high else f"noise_range must be [low, high], not [{low:g}, {high:g}]"


def _movies(parameter: str = "input_movie_files", **more: Any) -> Takes:
    return Takes(parameter, ("movie",), **more)


def _cells(parameter: str = "input_cell_set_files", **more: Any) -> Takes:
    return Takes(parameter, ("cell_set",), **more)


def _events(parameter: str = "input_event_set_files", **more: Any) -> Takes:
    return Takes(parameter, ("event_set",), **more)


def _movie_filter(suffix: str, rules: Mapping[str, Rule], checks: tuple[Check, ...] = (), **more: Any) -> Algorithm:
    return Algorithm((_movies(),), (Makes("output_movie_files", "movie", suffix),), rules, checks, **more)


def _cell_set_editor(suffix: str, rules: Mapping[str, Rule], checks: tuple[Check, ...] = ()) -> Algorithm:
    takes, makes = _cells("input_cellset_file", files="each"), Makes("output_cellset_file", "cell_set", suffix)
    return Algorithm((takes,), (makes,), rules, checks, each=True)


def _cell_set_pair(suffix: str, rules: Mapping[str, Rule]) -> Algorithm:
    return Algorithm(
        (_cells("input_cellset_file1", files="each"), _cells("input_cellset_file2", files="each")),
        (
            Makes("output_spatial_overlap_csv_file", FILE, f"{suffix}-overlap", ".csv"),
            Makes("output_registration_matrix_csv_file", FILE, f"{suffix}-matrix", ".csv"),
            Makes("output_directory", FILE, suffix, "", folder=True),
        ),
        {"lower_threshold": FRACTION, "upper_threshold": FRACTION, "accepted_cells_only": SWITCH, **rules},
        (ordered("lower_threshold", "upper_threshold"),),
        each=True,
    )


def _movie_export(parameter: str, kinds: tuple[str, ...], suffix: str, extension: str, **rules: Rule) -> Algorithm:
    return Algorithm(
        (Takes("input_movie_files", kinds),),
        (Makes(parameter, FILE, suffix, extension, once=True),),
        rules,
        licensed=False,
    )


# ---- the table; the suffixes of the usual steps are those of IDPS

ALGORITHMS: dict[str, Algorithm] = {
    "preprocess": _movie_filter(
        "PP",
        {
            "temporal_downsample_factor": COUNT,
            "spatial_downsample_factor": COUNT,
            "crop_rect": Rule(int, at_least=0, shape=(4,), none=True),
            "crop_rect_format": one_of("tlbr", "tlwh"),
            "fix_defective_pixels": SWITCH,
            "trim_early_frames": SWITCH,
        },
        (_corners_in_order,),
    ),
    "de_interleave": Algorithm(
        (_movies(),),
        (Makes("output_movie_files", "movie", "efocus_{in_efocus_values:04}", split_by="in_efocus_values"),),
        {"in_efocus_values": Rule(int, at_least=0, at_most=1000, shape=(None,))},
    ),
    "de_interleave_dualcolor": Algorithm(
        (_movies(),),
        (
            Makes("output_green_movie_files", "movie", "green", label="green"),
            Makes("output_red_movie_files", "movie", "red", label="red"),
        ),
        {"correct_chromatic_shift": SWITCH},
    ),
    "trim_movie": Algorithm(
        (_movies("input_movie_file", files="each"),),
        (Makes("output_movie_file", "movie", "TPC"),),
        {"crop_segments": Rule(int, at_least=0, shape=(None, 2)), "keep_start_time": SWITCH},
        (_segments_in_order,),
        each=True,
    ),
    "interpolate_movie": Algorithm(
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
    "project_movie": Algorithm(
        (_movies(),),
        (Makes("output_image_file", "image", "{stat_type}_image", once=True),),
        {"stat_type": one_of("mean", "min", "max", "standard_deviation")},
    ),
    "motion_correct": Algorithm(
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
    "pca_ica": Algorithm(
        (_movies(),),
        (Makes("output_cell_set_files", "cell_set", "PCA-ICA"),),
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
        (_enough_components,),
    ),
    "run_cnmfe": Algorithm(
        (_movies(),),
        (Makes("output_cell_set_files", "cell_set", "CNMFE"),),
        {
            "cell_diameter": COUNT,
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
    "estimate_num_ics": Algorithm(
        (Takes("input_image_files", ("image",)),),
        (Makes(None, FILE, "num_ics", ".json", once=True),),
        {
            "average_diameter": POSITIVE,
            "min_diameter": POSITIVE,
            "max_diameter": POSITIVE,
            "min_inter_dist": NOT_NEGATIVE,
        },
        (_some_diameter, ordered("min_diameter", "max_diameter", strictly=True)),
    ),
    "apply_cell_set": Algorithm(
        (_movies(), _cells("input_cell_set_file", files="first")),
        (Makes("output_cell_set_files", "cell_set", "AC"),),
        {"threshold": FRACTION},
    ),
    "apply_rois": Algorithm(
        (_movies(),),
        (Makes("output_cell_set_files", "cell_set", "ROI"),),
        {"rois": Rule(int, shape=(None, None, 2)), "cell_names": NAMES},
        (as_many("cell_names", "rois"),),
    ),
    "event_detection": Algorithm(
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
    "auto_accept_reject": Algorithm(
        (_cells(), _events()),
        (Makes("input_cell_set_files", "cell_set", "AR"),),
        {"filters": Filters(list)},
        edits="input_cell_set_files",
    ),
    "deconvolve_cellset": Algorithm(
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
        (_ar_model, _rising_range),
    ),
    "cell_metrics": Algorithm(
        (_cells(), _events()),
        (Makes("output_metrics_file", FILE, "metrics", ".csv", once=True),),
        {"recompute_metrics": SWITCH},
        edits="input_cell_set_files",
    ),
    "export_cell_contours": Algorithm(
        (_cells("input_cell_set_file", files="each"),),
        (Makes("output_json_file", FILE, "contours", ".json"),),
        {"threshold": FRACTION, "rectify_first": SWITCH},
        each=True,
    ),
    "create_neural_activity_movie": Algorithm(
        (_cells(),),
        (Makes("output_neural_movie_files", "movie", "NAM"),),
        {"accepted_cells_only": SWITCH},
    ),
    "binarize_cell_set": _cell_set_editor(
        "BIN", {"threshold": NUMBER, "use_percentile_threshold": SWITCH}, (_percentile,)
    ),
    "crop_cell_set": _cell_set_editor("CROP", {"crop": Rule(int, at_least=0, shape=(4,))}),
    "transform_cell_set": _cell_set_editor("TF", {"pad_value": Rule(float, finite=False)}),
    "compute_spatial_overlap_cell_set": Algorithm(
        (_cells("input_cellset_file1", files="each"), _cells("input_cellset_file2", files="each")),
        (Makes("output_csv_file", FILE, "overlap", ".csv"),),
        {"accepted_cells_only": SWITCH},
        each=True,
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
    "longitudinal_registration": Algorithm(
        (_cells(), _movies(optional=True)),
        (
            Makes("output_cell_set_files", "cell_set", "LR"),
            Makes("output_movie_files", "movie", "LR_movie", needs="input_movie_files"),
            Makes("csv_file", FILE, "LR-matches", ".csv", once=True),
            Makes("transform_csv_file", FILE, "LR-transforms", ".csv", once=True),
            Makes("crop_csv_file", FILE, "LR-crop_rect", ".csv", once=True),
        ),
        {"min_correlation": FRACTION, "accepted_cells_only": SWITCH},
    ),
    "multiplane_registration": Algorithm(
        (_cells(several=True),),
        (Makes("output_cell_set_file", "cell_set", "MPR", once=True),),
        {
            "min_spat_correlation": FRACTION,
            "temp_correlation_thresh": FRACTION,
            "accepted_cells_only": SWITCH,
        },
    ),
    "estimate_vessel_diameter": Algorithm(
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
    "estimate_vessel_diameter_single_vessel": Algorithm(
        (_movies("input_movie_file", files="each"),),
        (Makes(None, FILE, "diameter", ".json"),),
        {
            "line": Rule(int, at_least=0, shape=(2, 2)),
            "start_frame": INDEX,
            "end_frame": INDEX,
            "output_coordinates": SWITCH,
        },
        (ordered("start_frame", "end_frame"),),
        each=True,
    ),
    "estimate_rbc_velocity": Algorithm(
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
    "decompress": Algorithm(unusable="it takes compressed .isxc files, which are no recordings yet: decompress before"),
    # What the public isx has as well.
    "create_cell_map": Algorithm(
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
        each=True,
        licensed=False,
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
    "export_event_set_to_csv": Algorithm(
        (_events(),),
        (
            Makes("output_csv_file", FILE, "event_table", ".csv", once=True),
            Makes("output_props_file", FILE, "event_properties", ".csv", once=True),
        ),
        {"time_ref": TIME_REF, "sparse_output": SWITCH, "write_amplitude": SWITCH},
        licensed=False,
    ),
    "export_gpio_set_to_csv": Algorithm(
        (Takes("input_gpio_set_files", ("gpio", "imu")),),
        (Makes("output_csv_file", FILE, "gpio_table", ".csv", once=True),),
        {"time_ref": TIME_REF},
        fills={"inter_isxd_file_dir": "scratch"},
        licensed=False,
    ),
    "export_cell_set_to_csv_tiff": Algorithm(
        (_cells(),),
        (
            Makes("output_csv_file", FILE, "cell_table", ".csv", once=True),
            Makes("output_tiff_file", FILE, "cell_images", ".tiff", once=True),
            Makes("output_props_file", FILE, "cell_properties", ".csv", once=True),
        ),
        {"time_ref": TIME_REF},
    ),
    "export_vessel_set_to_csv_tiff": Algorithm(
        (Takes("input_vessel_set_files", ("vessel_set",)),),
        (
            Makes("output_trace_csv_file", FILE, "vessel_table", ".csv", once=True),
            Makes("output_line_csv_file", FILE, "vessel_lines", ".csv", once=True),
            Makes("output_map_tiff_file", FILE, "vessel_map", ".tiff", once=True),
            Makes("output_heatmaps_tiff_dir", FILE, "vessel_heatmaps", "", folder=True),
        ),
        {"time_ref": TIME_REF},
    ),
    "export_movie_to_nwb": Algorithm(unusable="it writes NWB 1.0, which today's readers do not open"),
    "align_start_times": Algorithm(unusable="it changes recordings in place, each by another one"),
}


def rows() -> Iterator[tuple[str, ...]]:
    """The table of docs/recipes.md: step, in, out and suffixes, parameters, whether licensed."""
    for name, algorithm in ALGORITHMS.items():
        if algorithm.unusable:
            yield (f"`{name}`", "", f"not usable: {algorithm.unusable}", "", "")
            continue
        takes = ", ".join(_taken(one) for one in algorithm.takes)
        makes = ", ".join(_made(one) for one in algorithm.makes)
        parameters = ", ".join(f"`{parameter}`" for parameter in algorithm.rules)
        yield (f"`{name}`", takes, makes, parameters, "yes" if algorithm.licensed else "no")


def _taken(one: Takes) -> str:
    names = " or ".join(KIND_NAMES[kind].split(" ", 1)[1] for kind in one.kinds)
    several = "several " if one.several else ""
    return f"{several}{names}{'s' if one.several else ''}" + (" (by `from`)" if one.optional else "")


def _made(one: Makes) -> str:
    name = KIND_NAMES[one.kind].split(" ", 1)[1] + "s" * (one.folder)
    suffix = one.suffix.replace("{", "<").replace("}", ">").replace(":04", "")
    return f"{name} `-{suffix}{'-...' if one.folder else one.extension}`" + (" (one for all parts)" if one.once else "")


def markdown() -> str:
    """The table as the page has it."""
    head = ("Step", "Takes", "Makes", "Parameters", "Licensed")
    lines = [head, ("---",) * len(head), *rows()]
    return "".join("| " + " | ".join(cells) + " |\n" for cells in lines)


if __name__ == "__main__":
    print(markdown(), end="")  # noqa: T201
