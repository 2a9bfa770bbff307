"""Reading a recipe: a lab's pipeline, declared in a TOML file. docs/recipes.md describes the format."""

from __future__ import annotations

import ast
import hashlib
import inspect
import json
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pipeline.recipe.steps import ALGORITHMS, FILE, KIND_NAMES, Algorithm, Makes, Rule, Takes

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FORMAT_VERSION = 1
TOP_KEYS = ("version", "description", "group", "keep", "step")
STEP_KEYS = ("use", "python", "name", "from")
PYTHON_KEYS = ("takes", "makes", "suffix")
GROUPS, KEEPS = ("file", "series"), ("all", "last")
MADE_KINDS = ("movie", "image", "cell_set", "event_set", "vessel_set")
INPUT = "input"  # `from = "input"` is the recording itself
# What the inspect results of a product are called: a suffix of a step's own must differ.
TAKEN_SUFFIXES = (
    *("frames", "mean", "std", "max", "min", "preview", "intensity", "traces", "cells", "footprints", "cellmap"),
    *("events", "rates", "raster", "gpio", "imu", "tracking", "vessels", "map", "series"),
)
NOT_LICENSED = (
    "{path}: {these} the licensed algorithms of IDPS, which are not in this image. Build one that has them from your "
    "copy of the IDPS installer: make image INSTALLER=path/to/installer.sh ACCEPT_EULA=Y"
)


@dataclass(frozen=True)
class Problem:
    """A mistake in a recipe."""

    line: int
    message: str


@dataclass(frozen=True)
class Function:
    """A step of the user's own."""

    path: Path
    name: str


@dataclass
class Step:
    """One step, as the recipe has it and as the runner needs it."""

    number: int  # from 1
    line: int
    name: str
    algorithm: Algorithm
    parameters: dict[str, Any] = field(default_factory=dict)  # as given; None for "none"
    defaults: dict[str, Any] = field(default_factory=dict)
    sources: tuple[str, ...] = ()  # `from`
    use: str = ""
    function: Function | None = None
    lines: dict[str, int] = field(default_factory=dict)

    @property
    def values(self) -> dict[str, Any]:
        """Every parameter's value, given or not."""
        return {**self.defaults, **self.parameters}

    def line_of(self, key: str) -> int:
        return self.lines.get(key, self.line)


@dataclass
class Recipe:
    """A recipe that was read, with all that is wrong with it."""

    path: Path
    group: str = "file"
    keep: str = "all"
    steps: list[Step] = field(default_factory=list)
    kinds: tuple[str, ...] = ()  # of the recordings that it takes
    problems: list[Problem] = field(default_factory=list)
    sha256: str = ""  # of the recipe and of every Python file that it names

    @property
    def licensed(self) -> list[str]:
        """Names of the steps that need the licensed algorithms."""
        return list(dict.fromkeys(step.use for step in self.steps if step.use and step.algorithm.licensed))

    @property
    def messages(self) -> list[str]:
        """FILE:LINE: message, in order of lines."""
        in_order = sorted(self.problems, key=lambda problem: problem.line)
        return [f"{self.path}:{problem.line}: {problem.message}" for problem in in_order]


# ---- reading


def read(path: Path) -> Recipe:
    """Read and check a recipe against the isx in the image; what is wrong is in its `problems`."""
    recipe = Recipe(path)
    try:
        content = path.read_bytes()
        text = content.decode("utf-8-sig")  # Windows' Notepad puts a mark before the text
        document = tomllib.loads(text)
    except OSError as error:
        recipe.problems.append(Problem(1, f"cannot be read: {error.strerror}"))
        return recipe
    except UnicodeDecodeError as error:
        recipe.problems.append(Problem(content[: error.start].count(b"\n") + 1, "is not UTF-8 text: save it as such"))
        return recipe
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        line = re.search(r"at line (\d+)", str(error))
        last = len(text.splitlines()) or 1
        recipe.problems.append(Problem(int(line[1]) if line else last, f"is not valid TOML: {error}"))
        return recipe
    lines = find_lines(text)
    _read_top(document, lines, recipe)
    tables = document.get("step")
    if isinstance(tables, list) and all(isinstance(table, dict) for table in tables) and tables:
        for number, table in enumerate(tables, 1):
            line, key_lines = lines.steps[number - 1] if number <= len(lines.steps) else (lines.top.get("step", 1), {})
            step = _Reader(recipe, number, line, key_lines).step(table)
            if step:
                recipe.steps.append(step)
        _check_names(recipe)
        if len(recipe.steps) == len(tables):
            _check_chain(recipe)
    else:
        recipe.problems.append(Problem(lines.top.get("step", 1), "has no steps: write each as a [[step]] table"))
    recipe.sha256 = _digest(recipe, content)
    return recipe


def _read_top(document: Mapping[str, Any], lines: Lines, recipe: Recipe) -> None:
    def problem(key: str, message: str) -> None:
        recipe.problems.append(Problem(lines.top.get(key, 1), message))

    for key in document:
        if key not in TOP_KEYS:
            hint = "; it belongs into a [[step]] table" if key in STEP_KEYS else did_you_mean(key, TOP_KEYS)
            problem(key, f"unknown key {key!r}{hint}")
    version = document.get("version")
    if version is None:
        problem("version", f"version is missing: write version = {FORMAT_VERSION}")
    elif type(version) is not int or version != FORMAT_VERSION:
        problem("version", f"version must be {FORMAT_VERSION}, the only one that there is, not {version!r}")
    for key, choices in (("group", GROUPS), ("keep", KEEPS)):
        wrong = Rule(str, choices=choices).problem(document.get(key, choices[0]))
        if wrong:
            problem(key, f"{key} {wrong}")
        else:
            setattr(recipe, key, document.get(key, choices[0]))
    if not isinstance(document.get("description", ""), str):
        problem("description", "description must be a text")


class _Reader:
    """Reads one [[step]] table; problems go to the recipe."""

    def __init__(self, recipe: Recipe, number: int, line: int, lines: dict[str, int]) -> None:
        self.recipe, self.number, self.line, self.lines = recipe, number, line, lines

    def problem(self, key: str, message: str) -> None:
        self.recipe.problems.append(Problem(self.lines.get(key, self.line), message))

    def step(self, table: dict[str, Any]) -> Step | None:
        has = [key for key in ("use", "python") if key in table]
        if len(has) != 1:
            self.problem(has[-1] if has else "", "a step needs either use or python" + (", not both" if has else ""))
            return None
        if not isinstance(table[has[0]], str):
            self.problem(has[0], f"{has[0]} must be a text")
            return None
        step = self._isx_step(table) if has == ["use"] else self._python_step(table)
        if step is None:
            return None
        step.sources = self._sources(table.get("from", []))
        if "name" in table:
            if isinstance(table["name"], str) and re.fullmatch(r"[\w-]+", table["name"]):
                step.name = table["name"]
            else:
                self.problem("name", "name must be made of letters, digits, _ and -")
        return step

    def _sources(self, value: object) -> tuple[str, ...]:
        names = [value] if isinstance(value, str) else value
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            self.problem("from", "from must be the name of an earlier step, or a list of names")
            return ()
        return tuple(names)

    def _isx_step(self, table: dict[str, Any]) -> Step | None:
        use = table["use"]
        algorithm, function = ALGORITHMS.get(use), api_function(use)
        usable = [name for name, each in ALGORITHMS.items() if not each.unusable and api_function(name)]
        if algorithm is None or function is None:
            if algorithm is not None:
                why = "the isx in this image does not have it"
            elif function is not None:
                why = "isx has it, but a recipe cannot chain it; a step in Python can call it"
            else:
                why = "there is no such step" + did_you_mean(use, usable)
            self.problem("use", f"unknown step {use!r}: {why}")
            return None
        if algorithm.unusable:
            self.problem("use", f"{use} cannot be a step: {algorithm.unusable}")
            return None
        step = Step(self.number, self.line, use, algorithm, use=use, lines=self.lines)
        signature = inspect.signature(function).parameters
        settable = {
            name: None if each.default is each.empty else (each.default,)
            for name, each in signature.items()
            if name not in algorithm.set_by_runner
        }
        self._parameters(step, table, settable, algorithm.rules, signature)
        return step

    def _parameters(
        self,
        step: Step,
        table: dict[str, Any],
        settable: Mapping[str, tuple[Any, ...] | None],  # the default in a tuple, or None for a required one
        rules: Mapping[str, Rule],
        known: Mapping[str, object],
        takes_any: bool = False,
    ) -> None:
        what = step.use or step.name
        rejected = set()
        reserved = STEP_KEYS if step.use else STEP_KEYS + PYTHON_KEYS
        given = {key: value for key, value in table.items() if key not in reserved}
        for key, value in given.items():
            if key in step.algorithm.fills:
                self.problem(key, f"{key} is set by the runner, to {_FILLED[step.algorithm.fills[key]]}: remove it")
            elif key in known and key not in settable:
                self.problem(
                    key, f"{key} names files, which the runner sets: remove it; from = ... chooses what a step reads"
                )
            elif key not in settable and not takes_any:
                hint = did_you_mean(key, [*settable, *STEP_KEYS])
                self.problem(key, f"{what} has no parameter {key!r}{hint}")
            else:
                default = settable.get(key)
                rule = rules.get(key) or _rule_like(default[0] if default else None)
                wrong = rule.problem(value) if rule else _not_plain(value)
                if wrong:
                    rejected.add(key)
                    self.problem(key, f"{key} {wrong}")
                else:
                    step.parameters[key] = None if rule and rule.none and value == "none" else value
        missing = [key for key, default in settable.items() if default is None and key not in given]
        if missing:
            self.problem("", f"{what} needs {' and '.join(missing)}")
        step.defaults = {key: default[0] for key, default in settable.items() if default}
        sound = {key: value for key, value in step.values.items() if key not in rejected}
        for check in step.algorithm.checks:
            wrong = check(sound)
            if wrong:
                self.problem(min((key for key in given if key in wrong), key=wrong.index, default=""), wrong)

    def _python_step(self, table: dict[str, Any]) -> Step | None:
        file, colon, name = table["python"].rpartition(":")
        if not colon or not file.endswith(".py") or not name.isidentifier():
            self.problem("python", f'python must be "file.py:function", not {table["python"]!r}')
            return None
        function = Function(self.recipe.path.absolute().parent / file, name)
        definition = self._definition(function)
        takes, makes = self._python_kinds(table)
        if definition is None or not takes or not makes:
            return None
        algorithm = Algorithm(takes, makes, licensed=False)
        step = Step(self.number, self.line, name, algorithm, function=function, lines=self.lines)
        arguments = definition.args
        positional = [*arguments.posonlyargs, *arguments.args]
        if len(positional) < 3 and not arguments.vararg:
            self.problem(
                "python",
                f"{name} must take (inputs, outputs, context) and then its parameters; "
                f"it takes ({', '.join(one.arg for one in positional)})",
            )
            return None
        defaults: list[Any] = [*[None] * (len(positional) - len(arguments.defaults)), *arguments.defaults]
        pairs = [
            *zip(positional[3:], defaults[3:]),
            *zip(arguments.kwonlyargs, arguments.kw_defaults),
        ]
        settable = {argument.arg: None if default is None else (_literal(default),) for argument, default in pairs}
        for taken in sorted({*settable} & {*STEP_KEYS, *PYTHON_KEYS}):
            self.problem("python", f"{name} has a parameter {taken!r}, which is a key of every step: rename it")
            return None
        self._parameters(step, table, settable, {}, settable, takes_any=arguments.kwarg is not None)
        step.defaults = {}  # the function has its own
        return step

    def _definition(self, function: Function) -> ast.FunctionDef | None:
        """Found without running the file."""
        try:
            tree = ast.parse(function.path.read_bytes(), str(function.path))
        except OSError as error:
            self.problem("python", f"{function.path} cannot be read: {error.strerror}")
            return None
        except (SyntaxError, ValueError) as error:
            line = getattr(error, "lineno", None)
            where = f", line {line}" if line else ""
            self.problem("python", f"{function.path}{where} is not valid Python: {getattr(error, 'msg', error)}")
            return None
        functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
        if function.name not in functions:
            hint = did_you_mean(function.name, list(functions))
            self.problem("python", f"{function.path} has no function {function.name!r}{hint}")
        return functions.get(function.name)

    def _python_kinds(self, table: dict[str, Any]) -> tuple[tuple[Takes, ...], tuple[Makes, ...]]:
        kinds = tuple(kind for kind in KIND_NAMES if kind != FILE)
        takes = self._list_of("takes", table.get("takes", "movie"), lambda kind: kind in kinds, kinds)
        makes = self._list_of(
            "makes",
            table.get("makes", "movie"),
            lambda kind: kind in MADE_KINDS or re.fullmatch(r"\.[A-Za-z0-9.]{1,12}", kind) is not None,
            (*MADE_KINDS, 'a file\'s ending such as ".csv"'),
        )
        if not makes:
            return (), ()
        suffixes = self._list_of(
            "suffix",
            table.get("suffix", [table["python"].rpartition(":")[2]] * len(makes)),
            lambda suffix: re.fullmatch(r"[\w-]{1,40}", suffix) is not None and suffix not in TAKEN_SUFFIXES,
            ("a text of letters, digits, _ and - (but not one that inspect results have, such as 'mean')",),
        )
        if len(suffixes) != len(makes):
            if suffixes:
                self.problem("suffix", f"suffix has {len(suffixes)} entries but makes has {len(makes)}")
            return (), ()
        return (
            tuple(Takes(f"{kind} {number}", (kind,)) for number, kind in enumerate(takes, 1)),
            tuple(
                Makes("outputs", kind if kind in MADE_KINDS else FILE, suffix, ".isxd" if kind in MADE_KINDS else kind)
                for kind, suffix in zip(makes, suffixes)
            ),
        )

    def _list_of(self, key: str, value: object, good: Callable[[str], bool], choices: tuple[str, ...]) -> list[str]:
        values = [value] if isinstance(value, str) else value
        if isinstance(values, list) and values and all(isinstance(one, str) and good(one) for one in values):
            return values
        hint = did_you_mean(value, choices) if isinstance(value, str) else ""
        self.problem(key, f"{key} must be {' or '.join(choices)}, or a list of such, not {value!r}{hint}")
        return []


_FILLED = {"scratch": "a private temporary folder", "threads": "the cores that the worker may use"}


def _rule_like(default: object) -> Rule | None:
    """For a parameter of which only the default is known."""
    for kind in (bool, int, float, str):
        if type(default) is kind:
            return Rule(float if kind is int else kind)
    return None


def _not_plain(value: object) -> str:
    """What a step is given is kept beside its products, as JSON."""
    try:
        json.dumps(value)
    except TypeError:
        return "must not hold a date or a time: write it as a text"
    return ""


def _literal(node: ast.expr) -> object:
    try:
        return ast.literal_eval(node)
    except ValueError:
        return None


def _check_names(recipe: Recipe) -> None:
    """Names given to steps must differ; `from` must name one earlier step."""
    named: dict[str, list[Step]] = {}
    for step in recipe.steps:
        for source in step.sources:
            name = source.partition(".")[0]
            if name == INPUT:
                continue
            if name not in named:
                later = any(other.name == name for other in recipe.steps if other.number >= step.number)
                hint = ": it comes later" if later else did_you_mean(name, [INPUT, *named])
                problem = f"from names {name!r}, which is no earlier step{hint}"
                recipe.problems.append(Problem(step.line_of("from"), problem))
            elif len(named[name]) > 1:
                problem = f"from names {name!r}, but several earlier steps are called so: give them a name = ..."
                recipe.problems.append(Problem(step.line_of("from"), problem))
        if step.name == INPUT or ("name" in step.lines and step.name in named):
            problem = f"name {step.name!r} is taken: each needs its own"
            recipe.problems.append(Problem(step.line_of("name"), problem))
        named.setdefault(step.name, []).append(step)


def _check_chain(recipe: Recipe) -> None:
    """Find the kinds of recording for which every step finds what it takes."""
    from pipeline.recipe.chain import plan

    starts = next((takes.kinds for takes in recipe.steps[0].algorithm.takes), ("movie",))
    attempts = {kind: plan(recipe.steps, kind)[1] for kind in starts}
    recipe.kinds = tuple(kind for kind, problems in attempts.items() if not problems)
    if not recipe.kinds:
        recipe.problems += attempts[starts[0]]


def _digest(recipe: Recipe, content: bytes) -> str:
    digest = hashlib.sha256(content)
    for step in recipe.steps:
        if step.function:
            digest.update(source_digest(step.function.path).encode())
    return digest.hexdigest()


def source_digest(path: Path) -> str:
    """Of a Python file and of those beside it, which it may import."""
    digest = hashlib.sha256()
    for source in sorted({path, *path.parent.glob("*.py")}):
        try:
            digest.update(f"{source.name}\0{hashlib.sha256(source.read_bytes()).hexdigest()}\0".encode())
        except OSError:
            continue
    return digest.hexdigest()


def did_you_mean(word: str, words: list[str] | tuple[str, ...]) -> str:
    close = get_close_matches(word, words, 1)
    return f"; did you mean {close[0]!r}?" if close else ""


# ---- the API


def api_function(name: str) -> Callable[..., Any] | None:
    """A function of the isx in the image; the licensed ones can be looked at, if not called, in the public one too."""
    import isx
    import isx.algo

    function = getattr(isx.algo, name, None)
    if not inspect.isfunction(function) or function.__module__ != "isx.algo":
        function = getattr(isx, name, None)
    return function if inspect.isfunction(function) and not name.startswith("_") else None


def has_algorithms() -> bool:
    """Whether the licensed algorithms are in the image."""
    import isx._internal

    return bool(isx._internal.is_with_algos)


# ---- where things stand in the file


@dataclass
class Lines:
    """Lines of the top-level keys, and of each [[step]] and its keys."""

    top: dict[str, int] = field(default_factory=dict)
    steps: list[tuple[int, dict[str, int]]] = field(default_factory=list)


_TOKEN = re.compile(
    r'''
    (?P<comment> \#[^\n]* )
  | (?P<string> """ (?: \\. | [^\\] )*? "{3,5} (?!") | \'\'\' .*? \'{3,5} (?!\')
              | " (?: \\. | [^"\\\n] )* " | \' [^\'\n]* \' )
  | (?P<mark> [][{}=\n] )
  | (?P<bare> [^][{}=\n\s\#"\']+ )
  | (?P<space> [ \t\r]+ )
    ''',
    re.VERBOSE | re.DOTALL,
)


def find_lines(text: str) -> Lines:
    """Lines of the keys in a valid TOML document: Python's parser does not tell.

    A statement ends where a line ends outside of strings and brackets.
    """
    lines = Lines()
    keys = lines.top
    statement: list[str] = []
    line = first = 1
    depth = 0
    for match in [*_TOKEN.finditer(text), None]:
        token = match[0] if match else "\n"
        if match and match.lastgroup in ("comment", "space"):
            continue
        if token == "\n" and depth == 0:
            keys = _note_statement(statement, first, keys, lines)
            statement = []
        elif token != "\n":
            first = first if statement else line
            statement.append(token)
            is_mark = match is not None and match.lastgroup == "mark"
            depth += (token in "[{") - (token in "]}") if is_mark else 0
        line += token.count("\n")
    return lines


def _note_statement(statement: list[str], line: int, keys: dict[str, int], lines: Lines) -> dict[str, int]:
    """Note one key or one table; returns where the keys that follow belong."""
    if not statement:
        return keys
    if statement[0] != "[":
        keys.setdefault(_unquoted("".join(statement[: statement.index("=")])).partition(".")[0], line)
        return keys
    name = _unquoted("".join(statement).strip("[]"))
    if name == "step" and statement[1] == "[":
        lines.steps.append((line, {}))
        return lines.steps[-1][1]
    if name.startswith("step.") and lines.steps:  # a table inside a step: one parameter
        lines.steps[-1][1].setdefault(name.partition(".")[2], line)
    else:
        lines.top.setdefault(name.partition(".")[0], line)
    return {}


def _unquoted(key: str) -> str:
    return key.replace('"', "").replace("'", "")


def complaints(recipe: Recipe) -> list[str]:
    """Why a recipe cannot be used in this image; empty if it can."""
    found = list(recipe.messages)
    if recipe.licensed and not has_algorithms():
        these = f"the steps {', '.join(recipe.licensed)} need" if len(recipe.licensed) > 1 else ""
        found.append(NOT_LICENSED.format(path=recipe.path, these=these or f"the step {recipe.licensed[0]} needs"))
    return found
