"""The content of a page. The kinds' modules state it where they compute it; `pipeline.pages.page` lays it out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.pages.cells import Cells


@dataclass(frozen=True)
class Measure:
    """One number about a recording."""

    name: str
    label: str  # for people
    value: float | int | None  # None if it cannot be told
    unit: str  # "" for counts and ratios
    meaning: str
    mark: str = ""  # why to look at this again; only where a threshold has a source


@dataclass(frozen=True)
class Figure:
    """A PNG beside the page."""

    file: str
    caption: str
    vector: str = ""  # the same as SVG, beside it


@dataclass(frozen=True)
class Responding:
    """Which cells respond to events of one kind."""

    events: str  # what they are called
    n_events: int  # that were used
    counts: Mapping[str, int]  # of cells, by class
    rows: Sequence[tuple[str, float, float, float, str]]  # cell, effect, p, q and class of those that respond
    table: str  # of all cells, beside the page


@dataclass(frozen=True)
class Film:
    """An MP4 beside the page. One of two halves has their field of view, on which outlines of cells can be drawn."""

    file: str
    caption: str
    field: tuple[int, int] = (0, 0)  # rows and columns
    side: tuple[int, int] = (0, 0)  # px, width and height of a half
    gap: int = 0  # px between them


@dataclass(frozen=True)
class Part:
    """One recording on a page: the one that was inspected, or a product of a recipe."""

    name: str  # its file's
    kind: str  # its code
    summary: str
    record: Mapping[str, Any]  # as in its JSON
    figures: Sequence[Figure] = ()
    measures: Sequence[Measure] = ()
    cells: Cells | None = None
    film: Film | None = None
    warnings: Sequence[str] = ()
    responding: Responding | None = None
    methods: str = ""  # how its numbers were computed, for a paper; keys of references.bib as [{key}]


@dataclass(frozen=True)
class StepShown:
    """One step of a recipe."""

    number: int
    name: str
    function: str
    engine: str  # its code
    engine_title: str  # for people
    parameters: Mapping[str, Any]
    software: Mapping[str, Any]
    seconds: float
    products: Sequence[str]
    references: Sequence[str] = ()  # keys of references.bib
    before: bytes = b""  # small PNGs; b"" where there is no picture
    after: bytes = b""


def is_stated(label: str, value: Any) -> bool:
    """Whether an entry of the acquisition info says anything."""
    return value not in (None, "", "None", "none") and not (value == 0 and label.startswith(("Probe", "Animal")))
