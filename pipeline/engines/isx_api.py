"""The engines that are functions of the package isx: Inscopix's own code."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.engines.protocol import Call

# The public isx has these functions, but its library lacks what they call.
LICENSED_EXPORTS = ("export_cell_set_to_csv_tiff", "export_vessel_set_to_csv_tiff")

# Of the algorithms of IDPS, those whose publications Inscopix names.
PUBLISHED = {"pca_ica": ("mukamel2009",), "run_cnmfe": ("zhou2018",)}


def function(name: str) -> Callable[..., Any] | None:
    """A function of isx. Those of isx.algo can be looked at in the public isx too, but not called there."""
    import isx
    import isx.algo

    candidate = getattr(isx.algo, name, None)
    if not inspect.isfunction(candidate) or candidate.__module__ != "isx.algo":
        candidate = getattr(isx, name, None)
    return candidate if inspect.isfunction(candidate) and not name.startswith("_") else None


def is_licensed(name: str) -> bool:
    """Whether a function of isx needs the library of IDPS."""
    wanted = function(name)
    return wanted is not None and (wanted.__module__ == "isx.algo" or name in LICENSED_EXPORTS)


def has_algorithms() -> bool:
    """Whether the licensed algorithms are in the image."""
    import isx._internal

    return bool(isx._internal.is_with_algos)


def isx_versions(software: Mapping[str, str]) -> dict[str, str]:
    """The lines on isx, of all the software that a run knows of."""
    return {name: text for name, text in software.items() if name.startswith("isx")}


@dataclass(frozen=True)
class IsxEngine:
    """Functions of isx: those that only the library of IDPS has, or those that every isx has."""

    name: str
    title: str
    licensed: bool

    def offers(self, step: str) -> bool:
        if self.licensed:
            return is_licensed(step) and has_algorithms()
        return function(step) is not None and not is_licensed(step)

    def objection(self, step: str, parameter: str, value: object) -> str:
        return ""  # the contract is that of isx

    def call(self, step: str, call: Call) -> object:
        called = function(step)
        assert called is not None
        return called(**call.inputs, **call.outputs, **call.parameters)

    def versions(self, step: str, software: Mapping[str, str]) -> dict[str, Any]:
        return {**isx_versions(software), "algorithms": has_algorithms()}

    def references(self, step: str) -> Sequence[str]:
        return PUBLISHED.get(step, ()) if self.licensed else ()

    def source_line(self, step: str, error: BaseException) -> str:
        return ""
