"""The lab's own functions: `python = "file.py:function"`."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import platform
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pipeline.engines.isx_api import has_algorithms, isx_versions
from pipeline.engines.protocol import Call


@dataclass(frozen=True)
class PythonFile:
    """The functions of one file: each is called with (inputs, outputs, context) and its parameters."""

    path: Path
    name: str = "python"
    title: str = "Python"

    def definitions(self) -> dict[str, ast.FunctionDef]:
        """Its functions, found without running it. Raises OSError, SyntaxError, ValueError."""
        tree = ast.parse(self.path.read_bytes(), str(self.path))
        return {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}

    def offers(self, step: str) -> bool:
        return step in self.definitions()

    def objection(self, step: str, parameter: str, value: object) -> str:
        return ""  # its signature is its contract

    def call(self, step: str, call: Call) -> object:
        inputs, outputs = _paths(call.inputs.values()), _paths(call.outputs.values())
        return self._load(step)(inputs, outputs, call.context, **call.parameters)

    def versions(self, step: str, software: Mapping[str, str]) -> dict[str, Any]:
        ours = {"python": platform.python_version(), "numpy": version("numpy"), "scipy": version("scipy")}
        return {**isx_versions(software), "algorithms": has_algorithms(), **ours, "source": self.digest()}

    def source_line(self, step: str, error: BaseException) -> str:
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if frame.filename == str(self.path)]
        return f"{self.path.name}, line {lines[-1]}" if lines else ""

    def digest(self) -> str:
        """Of the file and of those beside it, which it may import."""
        digest = hashlib.sha256()
        for source in sorted({self.path, *self.path.parent.glob("*.py")}):
            try:
                digest.update(f"{source.name}\0{hashlib.sha256(source.read_bytes()).hexdigest()}\0".encode())
            except OSError:
                continue
        return digest.hexdigest()

    def _load(self, name: str) -> Callable[..., object]:
        """A function of a file that is not part of a package; what lies beside the file can be imported by it."""
        spec = importlib.util.spec_from_file_location(f"recipe_step_{self.path.stem}", self.path)
        assert spec and spec.loader
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        sys.path.insert(0, str(self.path.parent))
        spec.loader.exec_module(module)
        return getattr(module, name)


def _paths(values: Iterable[str | list[str]]) -> list[Path]:
    return [Path(each) for value in values for each in ([value] if isinstance(value, str) else value)]
