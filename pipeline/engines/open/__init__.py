"""The open engine: the steps of isx.algo by code of this project, from published methods. It is not IDPS.

Each step is a module of its own that holds a function of the same name, with the parameters of its namesake in isx.algo
and the keyword `context`. A module may say in `CANNOT`, for each parameter, which values it cannot honour:
a function that takes the value and returns the reason, or "". docs/open-engine.md says what each step computes.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

from pipeline.engines.protocol import Call
from pipeline.movies import Deferred

FOLDER = Path(__file__).parent
PIPELINE = FOLDER.parent.parent
SHARED = ("movies.py", "statistics.py")
FRAME_BY_FRAME = (  # steps whose movies can be computed as they are read
    "preprocess",
    "spatial_filter",
    "motion_correct",
    "dff",
    "trim_movie",
    "interpolate_movie",
    "de_interleave",
)
LIBRARIES = ("numpy", "scipy", "scikit-learn")


class Open:
    """Offers a step if this folder has its module."""

    name, title = "open", "open engine, not IDPS"

    def offers(self, step: str) -> bool:
        return (FOLDER / f"{step}.py").is_file()

    def objection(self, step: str, parameter: str, value: object) -> str:
        cannot: Mapping[str, Callable[[Any], str]] = getattr(_module(step), "CANNOT", {})
        return cannot[parameter](value) if parameter in cannot else ""

    def defer(self, name: str, step: str, readers: Sequence[str]) -> Deferred | None:
        return Deferred(name) if step in FRAME_BY_FRAME and set(readers) <= {*FRAME_BY_FRAME, "project_movie"} else None

    def call(self, step: str, call: Call) -> object:
        function = getattr(_module(step), step)
        return function(**call.inputs, **call.outputs, **call.parameters, context=call.context)

    def versions(self, step: str, software: Mapping[str, str]) -> dict[str, Any]:
        return {"code": code_digest(), **{library: version(library) for library in LIBRARIES}}

    def source_line(self, step: str, error: BaseException) -> str:
        return ""


def _module(step: str) -> ModuleType:
    return importlib.import_module(f"{__name__}.{step}")


@functools.lru_cache(maxsize=1)
def code_digest() -> str:
    """Of the engine's source, and what reads movies for it: its products depend on it. Twelve hexadecimal digits."""
    digest = hashlib.sha256()
    for source in [*sorted(FOLDER.rglob("*.py")), *(PIPELINE / name for name in SHARED)]:
        digest.update(source.relative_to(PIPELINE).as_posix().encode() + b"\0" + source.read_bytes() + b"\0")
    return digest.hexdigest()[:12]
