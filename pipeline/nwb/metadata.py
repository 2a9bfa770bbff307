"""Metadata that recordings lack: `nwb.toml`, in NWB's own names. docs/nwb.md describes the format.

Several files may hold for one recording; a later one overrides single fields of an earlier one.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, time
from pathlib import Path
from typing import Any

from pipeline.toml_files import Lines, Unreadable, decoded, find_lines, parsed, read_bytes, unfit
from pipeline.words import did_you_mean
from protocol.copies import ORIGINALS, Copies


@dataclass(frozen=True)
class Field:
    """The values that one field may hold."""

    fits: Callable[[Any], bool]
    expected: str


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip()) and not unfit(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _matching(pattern: str, expected: str) -> Field:
    return Field(lambda value: isinstance(value, str) and re.fullmatch(pattern, value, re.ASCII) is not None, expected)


def _is_date(value: Any) -> bool:
    moment = _moment(value)
    return moment is not None and moment.year in YEARS


def _is_moment(value: Any) -> bool:
    moment = _moment(value) if isinstance(value, (str, datetime)) else None
    return moment is not None and moment.year in YEARS and moment.tzinfo is not None


def _moment(value: Any) -> datetime | None:
    """A date, or a date and time, as TOML or ISO 8601 writes it; None if it is neither."""
    try:
        return datetime.fromisoformat(value.isoformat() if isinstance(value, date) else value)
    except (TypeError, ValueError):
        return None


def _is_texts(value: Any) -> bool:
    return _is_text(value) or (isinstance(value, list) and bool(value) and all(map(_is_text, value)))


def _is_point(value: Any) -> bool:
    return isinstance(value, list) and len(value) in (2, 3) and all(map(_is_number, value))


TEXT = Field(_is_text, "a string that is not empty")
TEXTS = Field(_is_texts, "a string or a list of strings")
NANOMETRES = Field(lambda value: _is_number(value) and 200 <= value <= 2000, "a wavelength in nm, from 200 to 2000")
POINT = Field(_is_point, "a list of two or three numbers")
YEARS = range(1900, 2200)  # readers count nanoseconds in 64 bits, which end in 2262
DATE = Field(_is_date, "a date such as 2024-05-31")
_DURATION = r"P(?!$)(\d+Y)?(\d+M)?(\d+W)?(\d+D)?(T(?!$)(\d+H)?(\d+M)?(\d+S)?)?"  # ISO 8601
MOMENT = Field(_is_moment, "a date and time with the offset from UTC, such as '2024-05-31T14:30:00+02:00'")
AGE = _matching(rf"{_DURATION}(/({_DURATION})?)?", "an ISO 8601 duration such as 'P90D' or a range 'P80D/P100D'")
SPECIES = _matching(
    r"[A-Z][a-z]+ [a-z]+( [a-z]+)?|http://purl\.obolibrary\.org/obo/NCBITaxon_\d+",
    "a Latin binomial such as 'Mus musculus', or a URL of the NCBI taxonomy",
)
SEX = Field(lambda value: value in ("M", "F", "U", "O"), "one of 'M', 'F', 'U' (unknown), 'O' (other)")
WEIGHT = _matching(r"\d+(\.\d+)? kg", "a string with its unit, such as '0.025 kg'")
SUBJECT_ID = _matching(r"[^/\s\0][^/\0]*", "a string without '/'")

# Sections are NWB's types, fields are those of NWB's schema.
FIELDS: Mapping[str, Mapping[str, Field]] = {
    "NWBFile": {
        "session_description": TEXT,
        "session_id": TEXT,
        "session_start_time": MOMENT,
        "experimenter": TEXTS,
        "experiment_description": TEXT,
        "institution": TEXT,
        "lab": TEXT,
        "keywords": TEXTS,
        "related_publications": TEXTS,
        "protocol": TEXT,
        "pharmacology": TEXT,
        "surgery": TEXT,
        "virus": TEXT,
        "data_collection": TEXT,
        "stimulus_notes": TEXT,
        "notes": TEXT,
    },
    "Subject": {
        "subject_id": SUBJECT_ID,
        "species": SPECIES,
        "sex": SEX,
        "age": AGE,
        "date_of_birth": DATE,
        "description": TEXT,
        "genotype": TEXT,
        "strain": TEXT,
        "weight": WEIGHT,
    },
    "Device": {"description": TEXT, "manufacturer": TEXT},
    "OpticalChannel": {"description": TEXT, "emission_lambda": NANOMETRES},
    "ImagingPlane": {
        "description": TEXT,
        "indicator": TEXT,
        "location": TEXT,
        "excitation_lambda": NANOMETRES,
        "grid_spacing": POINT,
        "grid_spacing_unit": TEXT,
        "origin_coords": POINT,
        "origin_coords_unit": TEXT,
        "reference_frame": TEXT,
    },
}
NOT_READ = "YAML is not read: write the metadata into nwb.toml, which docs/nwb.md describes"
LISTS = ("experimenter", "keywords", "related_publications")

# What DANDI's validation refuses a file without, and what its review and nwbinspector ask for beyond.
REQUIRED = (("Subject", "subject_id"), ("Subject", "species"), ("Subject", "sex"), ("Subject", "age"))
ASKED_FOR = (
    *(("NWBFile", name) for name in ("experimenter", "institution", "experiment_description", "keywords")),
    *(("ImagingPlane", name) for name in ("indicator", "location", "excitation_lambda")),
    ("OpticalChannel", "emission_lambda"),
)


@dataclass(frozen=True)
class Metadata:
    """Values by section and field."""

    values: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def get(self, section: str, name: str, default: Any = None) -> Any:
        return self.values.get(section, {}).get(name, default)

    def section(self, name: str) -> dict[str, Any]:
        return dict(self.values.get(name, {}))

    def over(self, others: Metadata) -> Metadata:
        """These, and of the others the fields that these do not have."""
        sections = {*self.values, *others.values}
        return Metadata({name: {**others.section(name), **self.section(name)} for name in sections})


@dataclass(frozen=True)
class Document:
    """One file as it was read."""

    content: Mapping[str, Any]
    lines: Lines


class MetadataMistakes(Exception):
    """`messages` name every mistake as FILE:LINE: message."""

    def __init__(self, messages: list[str]) -> None:
        super().__init__("; ".join(messages))
        self.messages = messages


def read(paths: Iterable[Path], copies: Copies = ORIGINALS) -> Metadata:
    """The metadata of these files, of which later ones override earlier ones. Raises MetadataMistakes."""
    metadata, messages = Metadata(), []
    for path in paths:
        try:
            document = _load(path, copies)
        except MetadataMistakes as error:
            messages += error.messages
            continue
        wrong = [f"{path}:{line}: {message}" for line, message in sorted(_problems(document))]
        messages += wrong
        if not wrong:
            metadata = _metadata(document).over(metadata)
    if messages:
        raise MetadataMistakes(messages)
    return metadata


def _metadata(document: Document) -> Metadata:
    def plain(name: str, value: Any) -> Any:
        if name in LISTS and isinstance(value, str):
            return [value]
        if name in ("date_of_birth", "session_start_time"):
            return _moment(value)
        return value

    sections = document.content.items()
    return Metadata({name: {key: plain(key, value) for key, value in table.items()} for name, table in sections})


def missing(metadata: Metadata, wanted: Iterable[tuple[str, str]]) -> list[str]:
    """Those of the wanted fields that have no value; an age may be told by the date of birth."""
    return [
        f"{section}.{name}"
        for section, name in wanted
        if metadata.get(section, name) is None
        and not (name == "age" and metadata.get(section, "date_of_birth") is not None)
    ]


# ---- mistakes


def _problems(document: Document) -> Iterator[tuple[int, str]]:
    for section, table in document.content.items():
        line = document.lines.of((section,))
        if section not in FIELDS:
            owners = [name for name, fields in FIELDS.items() if section in fields]
            hint = f"; it belongs in [{owners[0]}]" if owners else did_you_mean(section, list(FIELDS))
            yield line, f"unknown section {_shown(section)}{hint}"
        elif not isinstance(table, dict):
            yield line, f"{section} must be a section with fields, not {_shown(table)}"
        else:
            for name, value in table.items():
                wrong = _problem(section, name, value)
                if wrong:
                    yield document.lines.of((section, name)), wrong


def _problem(section: str, name: str, value: Any) -> str:
    rule = FIELDS[section].get(name)
    if rule is None:
        owners = [other for other, fields in FIELDS.items() if name in fields]
        hint = f"; it belongs in [{owners[0]}]" if owners else did_you_mean(name, list(FIELDS[section]))
        return f"{section} has no field {_shown(name)}{hint}"
    return "" if rule.fits(value) else f"{section}.{name} must be {rule.expected}, not {_shown(value)}"


def _shown(value: Any) -> str:
    text = value.isoformat() if isinstance(value, (date, time)) else repr(value)
    return text if len(text) <= 200 else f"{text[:200]}..."


def _load(path: Path, copies: Copies) -> Document:
    if path.suffix != ".toml":
        raise MetadataMistakes([f"{path}:1: {NOT_READ}"])
    try:
        text = decoded(read_bytes(path, copies))
        return Document(parsed(text), find_lines(text))
    except Unreadable as error:
        raise MetadataMistakes([f"{path}:{error.line}: {error}"]) from None
