"""Reading a recipe: a lab's pipeline, declared in a TOML file. docs/recipes.md describes the format."""

from __future__ import annotations

import ast
import hashlib
import inspect
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.ownership import why_unread
from pipeline import engines
from pipeline.engines.python import PythonFile
from pipeline.recipe.chain import plan
from pipeline.recipe.model import INPUT, Problem, Recipe, Step
from pipeline.recipe.rules import AUTO, Filters, Rule
from pipeline.recipe.steps import FILE, STEPS, Contract, Makes, Takes
from pipeline.toml_files import Lines, Unreadable, decoded, find_lines, parsed, read_bytes
from pipeline.words import did_you_mean
from protocol.copies import ORIGINALS, Copies
from recording.kinds import ALL_RESULTS, KINDS, MADE_KINDS

FORMAT_VERSION = 1
TOP_KEYS = ("version", "description", "group", "keep", "engine", "nwb", "follow", "step")
STEP_KEYS = ("use", "python", "name", "from", "engine")
PYTHON_KEYS = ("takes", "makes", "suffix")
GROUPS, KEEPS = ("file", "series"), ("all", "last")
# Suffixes of a product's inspect results: a suffix of a step's own must differ.
TAKEN_SUFFIXES = {"series"} | {
    result.partition(".")[0].strip("-")
    for results in (ALL_RESULTS, *(kind.results for kind in KINDS.values()))
    for result in results
}
NOT_OFFERED = (
    "{path}: {these} the licensed algorithms of IDPS, which are not in this image. Build one that has them from your "
    "copy of the IDPS installer: make image INSTALLER=path/to/installer.sh ACCEPT_EULA=Y"
)


# ---- reading


def read(path: Path, engine: str = engines.AUTO, copies: Copies = ORIGINALS) -> Recipe:
    """Read and check a recipe against what the image holds; what is wrong is in its `problems`.

    `engine` is the choice for steps of which the recipe does not say who carries them out.
    """
    recipe = Recipe(path, engine=engine, copies=copies)
    try:
        content = read_bytes(path, copies)
        recipe.text = text = decoded(content)
        document = parsed(text)
    except Unreadable as error:
        recipe.problems.append(Problem(error.line, str(error)))
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
        _check_group(recipe)
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
            hint = "; it belongs in a [[step]] table" if key in STEP_KEYS else did_you_mean(key, TOP_KEYS)
            problem(key, f"unknown key {key!r}{hint}")
    version = document.get("version")
    if version is None:
        problem("version", f"version is missing: write version = {FORMAT_VERSION}")
    elif type(version) is not int or version != FORMAT_VERSION:
        problem("version", f"version must be {FORMAT_VERSION}, the only version, not {version!r}")
    for key, choices in (("group", GROUPS), ("keep", KEEPS)):
        wrong = Rule(str, choices=choices).problem(document.get(key, choices[0]))
        if wrong:
            problem(key, f"{key} {wrong}")
        else:
            setattr(recipe, key, document.get(key, choices[0]))
    recipe.engine = document.get("engine", recipe.engine)
    if recipe.engine not in engines.names():
        problem("engine", _not_an_engine(recipe.engine, "engine" if "engine" in document else "ENGINE"))
    recipe.nwb, recipe.follow = document.get("nwb", False), document.get("follow", True)
    for key in ("nwb", "follow"):
        if not isinstance(getattr(recipe, key), bool):
            problem(key, f"{key} must be true or false")
    if not isinstance(document.get("description", ""), str):
        problem("description", "description must be a string")


@dataclass(frozen=True)
class _Settable:
    """The parameters that a step's function takes."""

    defaults: Mapping[str, tuple[Any, ...] | None]  # in a tuple; None for a parameter that is required
    rules: Mapping[str, Rule | Filters]
    files: frozenset[str] = frozenset()  # parameters that name files, which the runner sets
    any_other: bool = False  # whether it takes any keyword


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
            self.problem(has[0], f"{has[0]} must be a string")
            return None
        step = self._step_of_the_table(table) if has == ["use"] else self._python_step(table)
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

    # ---- a step of the table

    def _step_of_the_table(self, table: dict[str, Any]) -> Step | None:
        use = table["use"]
        contract = STEPS.get(use)
        function = engines.function(use, own=contract is not None and contract.own)
        if contract is None or function is None:
            self.problem("use", f"unknown step {use!r}: {_why_unknown(use, contract, function)}")
            return None
        if contract.unusable:
            self.problem("use", f"{use} cannot be a step: {contract.unusable}")
            return None
        step = Step(self.number, self.line, use, use, contract, lines=self.lines)
        signature = inspect.signature(function).parameters
        settable = {
            name: None if parameter.default is parameter.empty else (parameter.default,)
            for name, parameter in signature.items()
            if name not in contract.set_by_runner
        }
        self._parameters(step, table, _Settable(settable, contract.rules, frozenset(signature) - set(settable)))
        self._bind(step, table)
        return step

    def _bind(self, step: Step, table: dict[str, Any]) -> None:
        """Choose who carries the step out, and ask whether it honours what the recipe gives."""
        step.wanted = wanted = table.get("engine", self.recipe.engine)
        if wanted not in engines.names():
            if "engine" in table:
                self.problem("engine", _not_an_engine(wanted))
            return
        step.engine = engines.choose(step.function, wanted)
        if step.engine is None:
            if wanted != engines.AUTO:
                message = f'the engine {wanted} does not offer {step.function} in this image: choose another, or "auto"'
                self.problem("engine" if "engine" in table else "use", message)
            return
        mistaken = {problem.line for problem in self.recipe.problems}
        for key, value in step.parameters.items():
            objection = "" if value == AUTO else step.engine.objection(step.function, key, value)
            if objection and step.line_of(key) not in mistaken:
                self.problem(key, f"the engine {step.engine.name} cannot honour {key}: {objection}")

    def _parameters(self, step: Step, table: dict[str, Any], settable: _Settable) -> None:
        reserved = STEP_KEYS if step.engine is None else STEP_KEYS + PYTHON_KEYS
        given = {key: value for key, value in table.items() if key not in reserved}
        rejected = set()
        for key, value in given.items():
            misplaced = _misplaced(key, step, settable)
            if misplaced:
                self.problem(key, misplaced)
                continue
            default = settable.defaults.get(key)
            rule = settable.rules.get(key) or _rule_like(default[0] if default else None)
            wrong = rule.problem(value) if rule else _not_plain(value)
            if wrong:
                rejected.add(key)
                self.problem(key, f"{key} {wrong}")
            else:
                step.parameters[key] = None if rule and rule.none and value == "none" else value
        missing = [key for key, default in settable.defaults.items() if default is None and key not in given]
        if missing:
            self.problem("", f"{step.name} needs {' and '.join(missing)}")
        step.defaults = {key: default[0] for key, default in settable.defaults.items() if default}
        sound = {key: value for key, value in step.values.items() if key not in rejected}
        for wrong in filter(None, (check(sound) for check in step.contract.checks)):
            self.problem(min((key for key in given if key in wrong), key=wrong.index, default=""), wrong)

    # ---- a step of the user's own

    def _python_step(self, table: dict[str, Any]) -> Step | None:
        file, colon, name = table["python"].rpartition(":")
        if not colon or not file.endswith(".py") or not name.isidentifier():
            self.problem("python", f'python must be "file.py:function", not {table["python"]!r}')
            return None
        if "engine" in table:
            self.problem("engine", "a step in Python has no choice of engine: remove it")
        source = PythonFile(self.recipe.path.absolute().parent / file, self.recipe.copies)
        definition = self._definition(source, name)
        takes, makes = self._python_kinds(table)
        if definition is None or not takes or not makes:
            return None
        step = Step(self.number, self.line, name, name, Contract(takes, makes), source, lines=self.lines)
        settable = self._python_settable(definition)
        if settable:
            self._parameters(step, table, settable)
            step.defaults = {}  # the function has its own
        return step if settable else None

    def _python_settable(self, definition: ast.FunctionDef) -> _Settable | None:
        """The parameters after (inputs, outputs, context)."""
        name, arguments = definition.name, definition.args
        positional = [*arguments.posonlyargs, *arguments.args]
        if len(positional) < 3 and not arguments.vararg:
            self.problem(
                "python",
                f"{name} must take (inputs, outputs, context) and then its parameters; "
                f"it takes ({', '.join(one.arg for one in positional)})",
            )
            return None
        defaults: list[Any] = [*[None] * (len(positional) - len(arguments.defaults)), *arguments.defaults]
        pairs = [*zip(positional[3:], defaults[3:]), *zip(arguments.kwonlyargs, arguments.kw_defaults)]
        settable = {argument.arg: None if default is None else (_literal(default),) for argument, default in pairs}
        for taken in sorted({*settable} & {*STEP_KEYS, *PYTHON_KEYS}):
            self.problem("python", f"{name} has a parameter {taken!r}, which is a key of every step: rename it")
            return None
        return _Settable(settable, {}, any_other=arguments.kwarg is not None)

    def _definition(self, source: PythonFile, name: str) -> ast.FunctionDef | None:
        try:
            functions = source.definitions()
        except OSError as error:
            self.problem("python", f"{source.path} cannot be read: {why_unread(source.path, error)}")
            return None
        except (SyntaxError, ValueError) as error:
            line = getattr(error, "lineno", None)
            where = f", line {line}" if line else ""
            self.problem("python", f"{source.path}{where} is not valid Python: {getattr(error, 'msg', error)}")
            return None
        if name not in functions:
            self.problem("python", f"{source.path} has no function {name!r}{did_you_mean(name, list(functions))}")
        return functions.get(name)

    def _python_kinds(self, table: dict[str, Any]) -> tuple[tuple[Takes, ...], tuple[Makes, ...]]:
        kinds = tuple(KINDS)
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
            ("a string of letters, digits, _ and - (but not one that inspect results have, such as 'mean')",),
        )
        if len(suffixes) != len(makes):
            if suffixes:
                self.problem("suffix", f"suffix has {len(suffixes)} entries but makes has {len(makes)}")
            return (), ()
        inputs = tuple(Takes(f"{kind} {number}", (kind,)) for number, kind in enumerate(takes, 1))
        made = [(kind, suffix) if kind in MADE_KINDS else (FILE, suffix, kind) for kind, suffix in zip(makes, suffixes)]
        return inputs, tuple(Makes(f"output {number}", *output, required=True) for number, output in enumerate(made, 1))

    def _list_of(self, key: str, value: object, good: Callable[[str], bool], choices: tuple[str, ...]) -> list[str]:
        values = [value] if isinstance(value, str) else value
        if isinstance(values, list) and values and all(isinstance(one, str) and good(one) for one in values):
            return values
        hint = did_you_mean(value, choices) if isinstance(value, str) else ""
        self.problem(key, f"{key} must be {' or '.join(choices)}, or a list of these, not {value!r}{hint}")
        return []


_FILLED = {"scratch": "a private temporary folder", "threads": "the cores that the worker may use"}


def _why_unknown(use: str, contract: Contract | None, function: object) -> str:
    if contract is not None:
        return "the isx in this image does not have it"
    if function is not None:
        return "isx has it, but a recipe cannot chain it; a step in Python can call it"
    usable = [name for name, its in STEPS.items() if not its.unusable and engines.function(name, its.own)]
    return "there is no such step" + did_you_mean(use, usable)


def _not_an_engine(wanted: object, key: str = "engine") -> str:
    hint = did_you_mean(wanted, engines.names()) if isinstance(wanted, str) else ""
    return f"{key} must be one of {', '.join(map(repr, engines.names()))}, not {wanted!r}{hint}"


def _misplaced(key: str, step: Step, settable: _Settable) -> str:
    """Why a recipe must not give this parameter at all, or ""."""
    if key in step.contract.fills:
        return f"{key} is set by the runner, to {_FILLED[step.contract.fills[key]]}: remove it"
    if key in settable.files:
        return f"{key} names files, which the runner sets: remove it; from = ... chooses what a step reads"
    if key not in settable.defaults and not settable.any_other:
        return f"{step.name} has no parameter {key!r}{did_you_mean(key, [*settable.defaults, *STEP_KEYS])}"
    return ""


def _rule_like(default: object) -> Rule | None:
    """Rule for a parameter of which only the default is known."""
    for kind in (bool, int, float, str):
        if type(default) is kind:
            return Rule(float if kind is int else kind)
    return None


def _not_plain(value: object) -> str:
    """Parameters are kept beside the products, as JSON."""
    try:
        json.dumps(value)
    except TypeError:
        return "must not hold a date or a time: write it as a string"
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
                problem = f"from names {name!r}, which is not an earlier step{hint}"
                recipe.problems.append(Problem(step.line_of("from"), problem))
            elif len(named[name]) > 1:
                problem = f"from names {name!r}, but several earlier steps have that name: give them a name = ..."
                recipe.problems.append(Problem(step.line_of("from"), problem))
        if step.name == INPUT or ("name" in step.lines and step.name in named):
            problem = f"name {step.name!r} is already used: each step needs its own"
            recipe.problems.append(Problem(step.line_of("name"), problem))
        named.setdefault(step.name, []).append(step)


def _check_group(recipe: Recipe) -> None:
    """A step that compares recordings is given one alone unless they are grouped."""
    for step in recipe.steps:
        if step.contract.at_least > 1 and recipe.group == "file":
            problem = f'{step.name} compares at least {step.contract.at_least} recordings: write group = "series"'
            recipe.problems.append(Problem(step.line_of("use"), problem))


def _check_chain(recipe: Recipe) -> None:
    """Find the kinds of recording for which every step finds what it takes."""
    starts = next((takes.kinds for takes in recipe.steps[0].contract.takes), ("movie",))
    attempts = {kind: plan(recipe.steps, kind)[1] for kind in starts}
    recipe.kinds = tuple(kind for kind, problems in attempts.items() if not problems)
    if not recipe.kinds:
        recipe.problems += attempts[starts[0]]


def _digest(recipe: Recipe, content: bytes) -> str:
    digest = hashlib.sha256(content)
    for step in recipe.steps:
        if isinstance(step.engine, PythonFile):
            digest.update(step.engine.digest().encode())
    return digest.hexdigest()


def complaints(recipe: Recipe) -> list[str]:
    """Why a recipe cannot be used in this image; empty if it can."""
    messages = list(recipe.messages)
    if recipe.licensed:
        these = f"the steps {', '.join(recipe.licensed)} need" if len(recipe.licensed) > 1 else ""
        messages.append(NOT_OFFERED.format(path=recipe.path, these=these or f"the step {recipe.licensed[0]} needs"))
    return messages
