"""Dataclasses as JSON. Whoever reads refuses what is not exactly as the class declares it, and names the field.

Messages between processes are read so, and records of earlier runs, which lie where others may write.
"""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import MISSING, asdict, fields
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from recording.errors import shown

T = TypeVar("T")

_PLAIN = {"str": str, "bool": bool, "int": int}


class Malformed(ValueError):
    """Something that was read is not as its class declares it; says which field is to blame."""


class Message:
    """A dataclass that travels as JSON."""

    def to_json(self) -> bytes:
        return to_json(asdict(self))  # type: ignore[call-overload]

    @classmethod
    def from_json(cls: type[T], text: str | bytes) -> T:
        """Raises Malformed."""
        return read(cls, parse(text))


def to_json(content: object) -> bytes:
    """JSON on one line. Paths and times become text."""
    return json.dumps(content, default=_as_text).encode()


def parse(text: str | bytes | bytearray) -> Any:
    """Raises Malformed."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Malformed(f"not JSON: {error}") from None


def read(cls: type[T], content: object, **known: Any) -> T:
    """An object of this class; `known` are fields that the content does not hold. Raises Malformed."""
    what = cls.__name__.lower()
    if not isinstance(content, dict):
        raise Malformed(f"{what}: not a JSON object")
    wanted = {field.name: field for field in fields(cls) if field.name not in known}  # type: ignore[arg-type]
    unknown = sorted(content.keys() - wanted.keys())
    if unknown:
        raise Malformed(f"{what}: unknown field {unknown[0]}")
    values = {}
    for name, field in wanted.items():
        if name in content:
            try:
                values[name] = _value(str(field.type), content[name], vars(sys.modules[cls.__module__]))
            except Malformed:
                raise
            except (ValueError, OverflowError):
                raise Malformed(f"{what}: {name} is {shown(content[name])}") from None
        elif field.default is MISSING and field.default_factory is MISSING:
            raise Malformed(f"{what}: no {name}")
    return cls(**values, **known)


def _as_text(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else os.fspath(value)


def _value(kind: str, value: Any, names: Mapping[str, Any]) -> Any:
    """The value of a field that is annotated with `kind`; `names` are those of its module. Raises ValueError."""
    if kind.endswith(" | None"):
        return _value(kind.removesuffix(" | None"), value, names) if value else None
    outer, _, inner = kind.removesuffix("]").partition("[")
    first, _, second = inner.partition(", ")
    if outer in ("tuple", "list"):
        values = [_value(first, entry, names) for entry in _of(list, value)]
        if second == first and len(values) != 2:
            raise ValueError
        return tuple(values) if outer == "tuple" else values
    if outer in ("dict", "Mapping"):
        return {key: _value(second, entry, names) for key, entry in _of(dict, value).items()}
    if kind == "datetime":
        return _checked(datetime.fromisoformat(_of(str, value)), lambda time: time.tzinfo is not None)
    if kind == "Path":
        return _checked(Path(_of(str, value)), Path.is_absolute)
    if kind == "float":
        return _checked(_of((int, float), value), math.isfinite)
    if kind == "Any":
        return value
    return _of(_PLAIN[kind], value) if kind in _PLAIN else read(names[kind], value)


def _of(types: Any, value: Any) -> Any:
    return _checked(value, lambda its: isinstance(its, types) and (types is bool or not isinstance(its, bool)))


def _checked(value: T, is_sound: Callable[[T], bool]) -> T:
    if not is_sound(value):
        raise ValueError
    return value
