"""Imports go downwards only, as docs/architecture.md says, and never in a circle; those inside functions count too."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Collection, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tests.launch import ROOT

FOR_WORKERS = ("common", "recording", "protocol", "open_engine")
BESIDE = "toml_files", "reasons", "when_used", "words"
OF_THE_PIPELINE = tuple(f"pipeline.{name}" for name in BESIDE)  # that lie beside its packages
FLOORS = {  # and the parts of the project that each may import beside itself; the most specific name holds
    "common": (),
    "recording": (),
    "protocol": ("common", "recording"),
    "native": ("common", "protocol"),
    "study": ("recording",),
    "runner": ("common", "recording", "protocol", "native", "study"),
    "open_engine": ("common", "recording", "protocol.process"),
    "following": (),
    "open_engine.files": ("recording", "open_engine.context"),
    "pipeline": ("common", "recording", "protocol", "open_engine", "following"),
    "pipeline.engines": ("common", "protocol.copies", "open_engine"),
    "pipeline.pages": ("common", "recording", "protocol"),
    "pipeline.inspect": (*FOR_WORKERS, "pipeline.pages"),
    "pipeline.nwb": (*FOR_WORKERS, *OF_THE_PIPELINE, "pipeline.pages", "pipeline.inspect"),
    "pipeline.sessions": (*FOR_WORKERS, *OF_THE_PIPELINE, "pipeline.pages", "pipeline.inspect", "pipeline.nwb"),
    "pipeline.animals": (*FOR_WORKERS, *OF_THE_PIPELINE, "following", "pipeline.pages", "pipeline.inspect"),
    "bootstrap": ("common", "runner"),
    "healthcheck": ("common", "native", "runner"),
}
STANDARD_LIBRARY_ONLY = ("common", "recording", "protocol", "native", "study", "runner", "bootstrap", "healthcheck")
MORE = {"healthcheck": {"isx", "numpy"}}  # for --deep, which the build runs in a process of its own
OTHERS = {  # what else these may import, beside the standard library
    "open_engine": {"numpy", "scipy", "PIL", "threadpoolctl", "isx"},
    "open_engine.files": {"numpy", "threadpoolctl", "isx"},
    "following": {"numpy", "scipy"},
}
OURS = {floor.partition(".")[0] for floor in FLOORS}


def sources() -> dict[str, Path]:
    """Every module of the image, by its name."""
    files = [path for part in OURS for path in (ROOT / part).rglob("*.py")]
    files += [ROOT / f"{part}.py" for part in OURS if (ROOT / f"{part}.py").is_file()]
    return {".".join(path.relative_to(ROOT).with_suffix("").parts).replace(".__init__", ""): path for path in files}


MODULES = sources()


def imports(tree: ast.AST) -> Iterator[str]:
    """What a module imports: names of this project's modules, top-level names of others."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            full = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name in MODULES else str(node.module) for name in full]
        else:
            continue
        for name in names:
            yield name if name.partition(".")[0] in OURS else name.partition(".")[0]


GRAPH = {name: set(imports(ast.parse(path.read_text("utf-8")))) - {name} for name, path in MODULES.items()}


def within(module: str, part: str) -> bool:
    return module == part or module.startswith(f"{part}.")


def wrong(module: str, used: set[str]) -> list[str]:
    """What a module must not import."""
    floor = max((floor for floor in FLOORS if within(module, floor)), key=len)
    allowed = (*FLOORS[floor], floor)
    foreign = {name for name in used if name.partition(".")[0] not in OURS}
    forbidden = [name for name in used - foreign if not any(within(name, part) for part in allowed)]
    others = MORE.get(floor, set()) if floor in STANDARD_LIBRARY_ONLY else OTHERS.get(floor)
    if others is not None and sys.version_info >= (3, 10):  # before, Python has no list of its own modules
        forbidden += foreign - sys.stdlib_module_names - others
    return sorted(forbidden)


@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports_go_downwards(module):
    assert wrong(module, GRAPH[module]) == []


def reached(module: str) -> set[str]:
    """All modules that it loads, and those that they load."""
    loaded: set[str] = set()
    pending = [module]
    while pending:
        name = pending.pop()
        if name in GRAPH and name not in loaded:
            loaded.add(name)
            pending += [*GRAPH[name], name.rpartition(".")[0]]
    return loaded


def test_pid_1_loads_no_format():
    """It asks a process of its own about recordings: `protocol.precheck`."""
    assert not [name for name in reached("bootstrap") if within(name, "recording.formats")]
    assert "recording.formats.isxd" in reached("protocol.precheck"), "the test itself"


def test_a_recipe_is_checked_without_what_takes_long_to_import():
    """Each run begins with this check; scipy.signal alone takes as long as all the rest of it."""
    script = "import sys; from pipeline.recipe.__main__ import main; main(sys.argv[1:]); print(*sys.modules)"
    told = [sys.executable, "-c", script, "--check", ROOT / "recipes/cells.toml"]
    modules = subprocess.run(told, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    assert "open_engine.steps.motion_correct" in modules
    assert not {"pandas.core", "scipy.signal", "scipy.stats", "scipy.ndimage", "scipy.optimize"} & {*modules}


def test_there_is_no_circle():
    assert circle(GRAPH) == ""


@pytest.mark.parametrize("package", sorted({name.rpartition(".")[0] for name in MODULES}))
def test_nor_among_packages(package):
    """What lies side by side in a package, modules and packages, imports in one direction only."""
    assert circle(side_by_side(package, GRAPH)) == ""


def circle(graph: Mapping[str, Collection[str]]) -> str:
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return " imports ".join(reversed(error.args[1]))
    return ""


def side_by_side(package: str, graph: Mapping[str, Collection[str]]) -> dict[str, set[str]]:
    """What each module or package that lies in this one imports of the others; "" is the top."""
    depth = package.count(".") + 1 if package else 0

    def child(name: str) -> str:
        inside = not package or name.startswith(f"{package}.")
        return ".".join(name.split(".")[: depth + 1]) if inside else ""

    imported: dict[str, set[str]] = {}
    for name, used in graph.items():
        if mine := child(name):
            imported.setdefault(mine, set()).update(filter(None, map(child, used)))
    return {name: used - {name} for name, used in imported.items()}


def test_packages_that_import_one_another_are_found():
    """The test itself: no module imports in a circle here."""
    graph = {"a.one": {"b.one"}, "b.one": set(), "b.two": {"a.two"}, "a.two": set()}
    assert circle(graph) == ""
    assert circle(side_by_side("", graph)) in ("a imports b imports a", "b imports a imports b")


@pytest.mark.parametrize(
    ("module", "used", "expected"),
    [
        ("recording.kinds", {"protocol.message"}, ["protocol.message"]),
        ("protocol.job", {"runner.lifecycle"}, ["runner.lifecycle"]),
        ("runner.lifecycle", {"json", "numpy", "pipeline.recipe"}, ["numpy", "pipeline.recipe"]),
        (
            "pipeline.inspect.movie",
            {"numpy", "runner.events", "pipeline.recipe.read"},
            ["pipeline.recipe.read", "runner.events"],
        ),
        (
            "open_engine.steps.dff",
            {"pipeline.inspect.movie", "open_engine.context"},
            ["pipeline.inspect.movie"],
        ),
    ],
)
def test_wrong_imports_are_found(module, used, expected):
    """The test itself."""
    if sys.version_info < (3, 10):
        expected = [name for name in expected if name != "numpy"]
    assert wrong(module, used) == expected
