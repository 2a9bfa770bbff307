"""Libraries that are imported only when something of them is used."""

from __future__ import annotations

import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import LazyLoader
from types import ModuleType
from typing import Any


def import_when_used(name: str) -> None:
    """Who imports this library first gets a module that loads itself when something of it is used.

    isx imports pandas for tracking tables alone, which takes an eighth of the processor time of a small recording.
    """
    sys.meta_path.insert(0, _WhenUsed(name))


class _WhenUsed(MetaPathFinder):
    def __init__(self, name: str) -> None:
        self._name = name

    def find_spec(self, name: str, path: Any, target: ModuleType | None = None) -> ModuleSpec | None:
        spec = PathFinder.find_spec(name, path, target) if name == self._name else None
        if spec and spec.loader:
            spec.loader = LazyLoader(spec.loader)
        return spec
