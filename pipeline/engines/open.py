"""The open engine as an engine of recipes: see `open_engine`.

What a step's module may say of itself:
    CANNOT                  for each parameter, which values it cannot honour: a function that takes the value and
                            returns the reason, or ""
    FRAME_BY_FRAME          True if its movie can be computed as it is read
    READS_FRAME_BY_FRAME    True if it makes no movie, but can read such a one
    REFERENCES              what its computation was published as: keys of pipeline/pages/references.bib
"""

from __future__ import annotations

import functools
import hashlib
import importlib
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from types import ModuleType
from typing import Any

from common import APP
from open_engine.files.movies import Deferred, one_blas_thread
from pipeline.engines.protocol import Call

ENGINE = APP / "open_engine"
LIBRARIES = ("numpy", "scipy")


class Open:
    """Offers a step if `open_engine/steps/` has its module."""

    name, title = "open", "open engine, not IDPS"

    def offers(self, step: str) -> bool:
        return step.isidentifier() and (ENGINE / "steps" / f"{step}.py").is_file()

    def function(self, step: str) -> Callable[..., Any] | None:
        return getattr(_module(step), step) if self.offers(step) else None

    def objection(self, step: str, parameter: str, value: object) -> str:
        cannot: Mapping[str, Callable[[Any], str]] = getattr(_module(step), "CANNOT", {})
        return cannot[parameter](value) if parameter in cannot else ""

    def defer(self, name: str, step: str, readers: Sequence[str]) -> Deferred | None:
        makes = getattr(_module(step), "FRAME_BY_FRAME", False)
        return Deferred(name) if makes and all(map(self._reads_frame_by_frame, readers)) else None

    def _reads_frame_by_frame(self, step: str) -> bool:
        module = _module(step) if self.offers(step) else None
        return getattr(module, "FRAME_BY_FRAME", False) or getattr(module, "READS_FRAME_BY_FRAME", False)

    def call(self, step: str, call: Call) -> object:
        function = getattr(_module(step), step)
        with one_blas_thread():
            return function(**call.inputs, **call.outputs, **call.parameters, context=call.context)

    def versions(self, step: str, software: Mapping[str, str]) -> dict[str, Any]:
        return {"code": code_digest(), **{library: version(library) for library in LIBRARIES}}

    def references(self, step: str) -> Sequence[str]:
        return getattr(_module(step), "REFERENCES", ())

    def source_line(self, step: str, error: BaseException) -> str:
        return ""


def _module(step: str) -> ModuleType:
    return importlib.import_module(f"open_engine.steps.{step}")


@functools.lru_cache(maxsize=1)
def code_digest() -> str:
    """A digest of the engine's source, on which its products depend: twelve hexadecimal digits."""
    digest = hashlib.sha256()
    for source in sorted(ENGINE.rglob("*.py")):
        digest.update(source.relative_to(ENGINE).as_posix().encode() + b"\0" + source.read_bytes() + b"\0")
    return digest.hexdigest()[:12]
