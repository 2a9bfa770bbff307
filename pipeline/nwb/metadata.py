"""Metadata that recordings lack: `nwb.toml` or `nwb.yaml`, in NWB's own names. docs/nwb.md describes the format.

Several files may hold for one recording; a later one overrides single fields of an earlier one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Any

from pipeline.recipe.lines import Unreadable, decoded, find_lines, parsed, read_bytes
from pipeline.words import did_you_mean


@dataclass(frozen=True)
class Field:
    """The values that one field may hold."""

    fits: Callable[[Any], bool]
    expected: str


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _matching(pattern: str, expected: str) -> Field:
    return Field(lambda value: isinstance(value, str) and re.fullmatch(pattern, value) is not None, expected)


def _is_date(value: Any) -> bool:
    if isinstance(value, str):
        try:
            datetime.fromisoformat(value)
        except ValueError:
            return False
    return isinstance(value, (str, date))


def _is_moment(value: Any) -> bool:
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    except ValueError:
        return False
    return isinstance(moment, datetime) and moment.tzinfo is not None


def _is_texts(value: Any) -> bool:
    return _is_text(value) or (isinstance(value, list) and bool(value) and all(map(_is_text, value)))


def _is_point(value: Any) -> bool:
    return isinstance(value, list) and len(value) in (2, 3) and all(map(_is_number, value))


TEXT = Field(_is_text, "a text that is not empty")
TEXTS = Field(_is_texts, "a text or a list of texts")
NANOMETRES = Field(lambda value: _is_number(value) and 200 <= value <= 2000, "a wavelength in nm, from 200 to 2000")
POINT = Field(_is_point, "a list of two or three numbers")
DATE = Field(_is_date, "a date such as 2024-05-31")
_DURATION = r"P(?!$)(\d+Y)?(\d+M)?(\d+W)?(\d+D)?(T(?!$)(\d+H)?(\d+M)?(\d+S)?)?"  # ISO 8601
MOMENT = Field(_is_moment, "a date and time with the offset from UTC, such as '2024-05-31T14:30:00+02:00'")
AGE = _matching(rf"{_DURATION}(/({_DURATION})?)?", "an ISO 8601 duration such as 'P90D' or a range 'P80D/P100D'")
SPECIES = _matching(
    r"[A-Z][a-z]+ [a-z]+( [a-z]+)?|http://purl\.obolibrary\.org/obo/NCBITaxon_\d+",
    "a Latin binomial such as 'Mus musculus', or a URL of the NCBI taxonomy",
)
SEX = Field(lambda value: value in ("M", "F", "U", "O"), "one of 'M', 'F', 'U' (unknown), 'O' (other)")
WEIGHT = _matching(r"\d+(\.\d+)? kg", "a text with its unit, such as '0.025 kg'")
SUBJECT_ID = _matching(r"[^/\s][^/]*", "a text without '/'")

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
    """One file as it was read; `lines` are those of the sections and, by section, of their fields."""

    path: Path
    content: Mapping[str, Any]
    lines: Mapping[tuple[str, ...], int]

    def line(self, *keys: str) -> int:
        return self.lines.get(keys) or self.lines.get(keys[:1], 1)


class MetadataMistakes(Exception):
    """`messages` name every mistake as FILE:LINE: message."""

    def __init__(self, messages: list[str]) -> None:
        super().__init__("; ".join(messages))
        self.messages = messages


def read(paths: Iterable[Path]) -> Metadata:
    """The metadata of these files, of which later ones override earlier ones. Raises MetadataMistakes."""
    found, messages = Metadata(), []
    for path in paths:
        try:
            document = _load(path)
        except MetadataMistakes as error:
            messages += error.messages
            continue
        wrong = [f"{path}:{line}: {message}" for line, message in sorted(_problems(document))]
        messages += wrong
        if not wrong:
            found = _metadata(document).over(found)
    if messages:
        raise MetadataMistakes(messages)
    return found


def _metadata(document: Document) -> Metadata:
    def plain(name: str, value: Any) -> Any:
        if name in LISTS and isinstance(value, str):
            return [value]
        if name in ("date_of_birth", "session_start_time"):
            return datetime.fromisoformat(value if isinstance(value, str) else value.isoformat())
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
        line = document.line(section)
        if section not in FIELDS:
            owners = [name for name, fields in FIELDS.items() if section in fields]
            hint = f"; it belongs into [{owners[0]}]" if owners else did_you_mean(section, list(FIELDS))
            yield line, f"unknown section {section!r}{hint}"
        elif not isinstance(table, dict):
            yield line, f"{section} must be a section with fields, not {table!r}"
        else:
            for name, value in table.items():
                wrong = _problem(section, str(name), value)
                if wrong:
                    yield document.line(section, str(name)), wrong


def _problem(section: str, name: str, value: Any) -> str:
    rule = FIELDS[section].get(name)
    if rule is None:
        owners = [other for other, fields in FIELDS.items() if name in fields]
        hint = f"; it belongs into [{owners[0]}]" if owners else did_you_mean(name, list(FIELDS[section]))
        return f"{section} has no field {name!r}{hint}"
    return "" if rule.fits(value) else f"{section}.{name} must be {rule.expected}, not {value!r}"


# ---- the two languages


def _load(path: Path) -> Document:
    try:
        text = decoded(read_bytes(path))
        if path.suffix.lower() == ".toml":
            return Document(path, parsed(text), _toml_lines(text))
        return _load_yaml(path, text)
    except Unreadable as error:
        raise MetadataMistakes([f"{path}:{error.line}: {error}"]) from None


def _toml_lines(text: str) -> dict[tuple[str, ...], int]:
    lines = find_lines(text)
    fields = {(table, key): line for table, keys in lines.tables.items() for key, line in keys.items()}
    return {**{(key,): line for key, line in lines.top.items()}, **fields}


def _load_yaml(path: Path, text: str) -> Document:
    """Raises Unreadable."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    try:
        content = YAML(typ="rt").load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise Unreadable(mark.line + 1 if mark else 1, f"is not valid YAML: {error.problem or error.context}") from None
    except (YAMLError, ValueError, RecursionError) as error:
        raise Unreadable(1, f"is not valid YAML: {error}") from None
    if content is None:
        return Document(path, {}, {})
    if not isinstance(content, dict):
        raise Unreadable(1, "must hold sections such as Subject, each with its fields")
    lines: dict[tuple[str, ...], int] = {}
    for section, table in content.items():
        lines[(str(section),)] = content.lc.key(section)[0] + 1
        if isinstance(table, dict):
            lines |= {(str(section), str(name)): table.lc.key(name)[0] + 1 for name in table}
    return Document(path, {str(section): _plain(table) for section, table in content.items()}, lines)


def _plain(value: Any) -> Any:
    """Python's own types in place of those that remember how YAML spelt them."""
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return kind(value)
    return value
