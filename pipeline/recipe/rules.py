"""Rules for the parameters of a step, alone and together."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.words import did_you_mean
from recording.errors import shown

AUTO = "auto"
Check = Callable[[Mapping[str, Any]], str]  # the mistake in all parameters together, or ""


@dataclass(frozen=True)
class Rule:
    """The values that a parameter may have; with `shape`, nested lists of them. None in `shape` is any length."""

    type: type  # bool, int, float or str
    at_least: float = -math.inf
    above: float = -math.inf
    at_most: float = math.inf
    choices: tuple[str, ...] = ()
    shape: tuple[int | None, ...] = ()
    none: bool = False  # "none" in a recipe stands for Python's None
    auto: bool = False  # "auto" has the value estimated from what the step reads: see pipeline.recipe.estimates
    finite: bool = True

    def __str__(self) -> str:
        """What a value must be, as the end of "must be ..."."""
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
        words = [f'or "{word}"' for word, allowed in (("none", self.none), (AUTO, self.auto)) if allowed]
        return ", ".join([" ".join([text, " and ".join(limits)]).rstrip(), *words])

    def problem(self, value: object) -> str:
        """The mistake in a value, or ""."""
        if (self.none and value == "none") or (self.auto and value == AUTO) or self._fits(value, self.shape):
            return ""
        hint = did_you_mean(value, self.choices) if isinstance(value, str) else ""
        return f"must be {self}, not {_shown(value)}{hint}"

    def _fits(self, value: object, shape: tuple[int | None, ...]) -> bool:
        if shape:
            right_length = isinstance(value, list) and len(value) == (shape[0] or max(1, len(value)))
            return right_length and all(self._fits(entry, shape[1:]) for entry in value)
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


_SINGULARS = {bool: "true or false", int: "a whole number", float: "a number", str: "a string"}
_PLURALS = {bool: "true or false", int: "whole numbers", float: "numbers", str: "strings"}


def _alternatives(choices: tuple[str, ...]) -> str:
    return ", ".join(repr(choice) for choice in choices)


def _shown(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else shown(value, most=60)


class Filters:
    """The rule for the filters of auto_accept_reject: [[statistic, operator, value], ...]."""

    none = auto = False
    statistics = ("# Comps", "Cell Size", "SNR", "Event Rate")
    operators = ("<", "=", ">")

    def __str__(self) -> str:
        return (
            "a list of one or more [statistic, operator, value], where the statistic is one of "
            f"{_alternatives(self.statistics)}, the operator one of {_alternatives(self.operators)}, "
            "and the value a number"
        )

    def problem(self, value: object) -> str:
        """The mistake in a value, or ""."""
        good = isinstance(value, list) and bool(value) and all(map(self._is_filter, value))
        return "" if good else f"must be {self}, not {_shown(value)}"

    def _is_filter(self, triple: object) -> bool:
        return (
            isinstance(triple, list)
            and len(triple) == 3
            and triple[0] in self.statistics
            and triple[1] in self.operators
            and type(triple[2]) in (int, float)
        )


def ordered(low: str, high: str, strictly: bool = False) -> Check:
    """`low` must not exceed `high`, if both are numbers."""

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


def enough_components(values: Mapping[str, Any]) -> str:
    pcs, ics = values.get("num_pcs"), values.get("num_ics")
    if values.get("auto_estimate_num_ics") or not (_is_number(pcs) and _is_number(ics)) or pcs >= ics:
        return ""
    return f"num_pcs ({pcs}) must be at least num_ics ({ics})"


def corners_in_order(values: Mapping[str, Any]) -> str:
    rect = values.get("crop_rect")
    if not isinstance(rect, list) or values.get("crop_rect_format") != "tlbr":
        return ""
    top, left, bottom, right = rect
    good = top <= bottom and left <= right
    return "" if good else "crop_rect must be [top, left, bottom, right] with top <= bottom and left <= right"


def segments_in_order(values: Mapping[str, Any]) -> str:
    segments = values.get("crop_segments") or ()
    return "" if all(first <= last for first, last in segments) else "crop_segments must each be [first, last]"


def percentile(values: Mapping[str, Any]) -> str:
    threshold = values.get("threshold")
    if values.get("use_percentile_threshold") and _is_number(threshold) and not 0 <= threshold <= 100:
        return f"threshold ({threshold:g}) is a percentile: it must be from 0 to 100"
    return ""


def some_diameter(values: Mapping[str, Any]) -> str:
    if values.get("average_diameter") or (values.get("min_diameter") and values.get("max_diameter")):
        return ""
    return "either average_diameter or both min_diameter and max_diameter must be given"


def ar_model(values: Mapping[str, Any]) -> str:
    if values.get("deconvolution_method") == "oasis" and values.get("first_order_ar") is False:
        return "deconvolution_method 'oasis' only works with first_order_ar = true; 'scs' works with both"
    return ""


def either(one: str, other: str) -> Check:
    """One of two texts must be given, and not both."""

    def check(values: Mapping[str, Any]) -> str:
        given = [name for name in (one, other) if values.get(name)]
        return "" if len(given) == 1 else f"either {one} or {other} must be given" + (", not both" if given else "")

    return check


def around_zero(name: str) -> Check:
    """A window [begin, end] in s around an event."""

    def check(values: Mapping[str, Any]) -> str:
        begin, end = values.get(name, (-1, 1))
        return (
            ""
            if begin < 0 < end
            else f"{name} must be [begin, end] around 0, such as [-2, 4], not [{begin:g}, {end:g}]"
        )

    return check


def file_beside(name: str) -> Check:
    """A file in the folder of the recordings."""

    def check(values: Mapping[str, Any]) -> str:
        file = values.get(name) or ""
        plain = "/" not in file and "\0" not in file and not file.startswith(".")
        return "" if plain else f"{name} must be the name of a file beside the recording, not {file!r}"

    return check


def rising_range(values: Mapping[str, Any]) -> str:
    low, high = values.get("noise_range", (0, 0))
    return "" if low <= high else f"noise_range must be [low, high], not [{low:g}, {high:g}]"
