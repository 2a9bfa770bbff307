"""The lab's own functions: `python = "file.py:function"`."""

from __future__ import annotations

import ast
import hashlib
import importlib.abc
import importlib.util
import platform
import sys
import traceback
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import version
from pathlib import Path
from typing import Any

from common import APP
from pipeline.engines.isx_api import has_algorithms, isx_versions
from pipeline.engines.protocol import Call
from protocol.copies import ORIGINALS, Copies


@dataclass(frozen=True)
class PythonFile:
    """The functions of one file: each is called with (inputs, outputs, context) and its parameters."""

    path: Path
    copies: Copies = ORIGINALS  # from which it and what it imports are read
    name: str = "python"
    title: str = "Python"

    def definitions(self) -> dict[str, ast.FunctionDef]:
        """Its functions, found without running it. Raises OSError, SyntaxError, ValueError."""
        tree = ast.parse(self.copies.read(self.path), str(self.path))
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

    def references(self, step: str) -> Sequence[str]:
        return ()

    def source_line(self, step: str, error: BaseException) -> str:
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if frame.filename == str(self.path)]
        return f"{self.path.name}, line {lines[-1]}" if lines else ""

    def digest(self) -> str:
        """SHA-256 of the file and of the modules and packages beside it, which it may import."""
        digest, folder = hashlib.sha256(), self.path.parent
        for source in sorted({self.path, *self.copies.python_files(folder)}):
            try:
                content = hashlib.sha256(self.copies.read(source)).hexdigest()
                digest.update(f"{source.relative_to(folder).as_posix()}\0{content}\0".encode(errors="surrogateescape"))
            except OSError:
                continue
        return digest.hexdigest()

    def _load(self, name: str) -> Callable[..., object]:
        """A function of a file that is not part of a package; what lies beside the file can be imported by it."""
        modules = _Modules(self.path.parent, self.copies)
        spec = modules.spec(f"recipe_step_{self.path.stem}", self.path)
        assert spec and spec.loader
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        sys.meta_path.insert(sys.meta_path.index(PathFinder), modules)
        sys.path.insert(0, str(self.path.parent))  # for what is no Python file
        with _out_of_the_way(modules.names):
            spec.loader.exec_module(module)
        return getattr(module, name)


@contextmanager
def _out_of_the_way(names: Collection[str]) -> Iterator[None]:
    """This software's modules of these names, so that the lab's own `protocol.py` is what the lab's file imports."""
    ours = {
        name: module
        for name, module in list(sys.modules.items())
        if name.partition(".")[0] in names and str(getattr(module, "__file__", "")).startswith(f"{APP}/")
    }
    for name in ours:
        del sys.modules[name]
    try:
        yield
    finally:
        sys.modules.update(ours)


class _Modules(importlib.abc.MetaPathFinder):
    """Imports the modules and packages of a folder, which go by their own paths, from the copies."""

    def __init__(self, folder: Path, copies: Copies) -> None:
        self.folder, self.copies, self.files = folder, copies, set(copies.python_files(folder))
        self.names = {file.relative_to(folder).parts[0].removesuffix(".py") for file in self.files}

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: object = None) -> ModuleSpec | None:
        last = name.rpartition(".")[2]
        for folder in [self.folder] if path is None else map(Path, path):
            for file in (folder / last / "__init__.py", folder / f"{last}.py"):
                if file in self.files:
                    return self.spec(name, file)
        return None

    def spec(self, name: str, file: Path) -> ModuleSpec | None:
        return importlib.util.spec_from_file_location(name, file, loader=_Loader(file, self.copies))


class _Loader(importlib.abc.SourceLoader):
    """Keeps no bytecode, as it tells no time stamps."""

    def __init__(self, file: Path, copies: Copies) -> None:
        self.file, self.copies = file, copies

    def get_filename(self, name: str) -> str:
        return str(self.file)

    def get_data(self, path: str | bytes) -> bytes:
        return self.copies.read(Path(str(path)))


def _paths(values: Iterable[str | list[str]]) -> list[Path]:
    return [Path(path) for value in values for path in ([value] if isinstance(value, str) else value)]
