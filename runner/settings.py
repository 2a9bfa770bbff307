"""The options of the image: one table from which parsing, precedence and --help follow."""

from __future__ import annotations

import contextlib
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from protocol.job import Options
from runner.endings import UsageError
from runner.events import FORMATS
from runner.own import DEFAULT_SENTINEL
from runner.shards import MOST, Shard, count_from, shard_from

USAGE = """\
Usage: docker run --rm -v "$PWD/input:/data:ro" -v "$PWD/output:/output" isx [OPTION...]
       docker run --rm isx COMMAND [ARGUMENT...]

Reads every Inscopix recording in the input folder and writes results for each to the output folder, then a file
that marks the run as complete. The first form processes recordings; a first argument that does not start with '-' is a
command to run in the image instead.
"""

EXIT_CODES = """\
Exit codes:
  0    done
  1    some recordings failed (the rest are finished), or shards are missing; no sentinel
  64   wrong usage, or a recipe that cannot be used
  66   no recording found, or no input folder
  69   isx cannot be loaded; the message says why
  70   an internal error: please report it with the log
  71   some recordings failed because memory ran out: give the run more, or lower WORKERS; otherwise like 1
  73   the output cannot be written, or nothing is mounted there; the message says what to pass
  75   another run is working on this output
  130  stopped by SIGINT
  143  stopped by SIGTERM; run again to continue
"""

YES, NO = ("1", "true", "yes", "on"), ("0", "false", "no", "off")
MOST_DIGITS = 5  # of a count
MOST_BYTES, MOST_SECONDS = 1 << 50, 10**9  # no machine has more, and no run takes longer
UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


# ---- parsers: the text of an option to its value; ValueError says what it must be


def _count(text: str) -> int | None:
    if text and not re.fullmatch(r"0*[1-9]\d*", text, re.ASCII):
        raise ValueError("a whole number from 1")
    if len(text) > MOST_DIGITS:
        raise ValueError(f"a whole number of at most {MOST_DIGITS} digits")
    return int(text) if text else None


def _switch(text: str) -> bool:
    if text.lower() not in YES + NO:
        raise ValueError("1 or 0")
    return text.lower() in YES


def _size(text: str) -> int | None:
    if not text:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?", text, re.ASCII | re.IGNORECASE)
    if not match:
        raise ValueError("a size such as 512M or 2G")
    size = float(match[1]) * UNITS[match[2].upper()]
    if size > MOST_BYTES:
        raise ValueError(f"a size of at most {MOST_BYTES >> 40}T")
    return int(size)


def _seconds(text: str) -> float | None:
    if text and not re.fullmatch(r"\d+(\.\d+)?", text, re.ASCII):
        raise ValueError("a number of seconds")
    if text and float(text) > MOST_SECONDS:
        raise ValueError(f"a number of seconds of at most {MOST_SECONDS}")
    return float(text) if text else None


def _format(text: str) -> str:
    if text not in ("", *FORMATS):
        raise ValueError(f"one of {', '.join(FORMATS)}")
    return text


def _run_id(text: str) -> str:
    if text and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", text):
        raise ValueError("at most 64 letters, digits, dots, dashes and underscores, from a letter or digit")
    return text


# ---- the tables


@dataclass(frozen=True)
class Option:
    """An option and its environment variable: MOVIE_TIFF and --movie-tiff.

    Its value is a field of Settings, or of protocol.job.Options if it changes the results: MOVIE_TIFF is movie_tiff.
    """

    variable: str
    value: str  # what --help calls its value; "" for a switch
    default: str
    parse: Callable[[str], Any]
    help: str
    changes_results: bool = False

    @property
    def flag(self) -> str:
        return "--" + self.variable.lower().replace("_", "-")

    @property
    def field(self) -> str:
        return self.variable.lower()


OPTIONS = (
    Option("INPUT_DIR", "DIR", "/data", Path, "where the recordings are"),
    Option("OUTPUT_DIR", "DIR", "/output", Path, "where the results go"),
    Option("OUTPUT_IN_CONTAINER", "", "0", _switch, "allow the output inside the container, to be copied out"),
    Option(
        "EXPECTED_OUTPUT_FILE",
        "FILE",
        "",
        str,
        "the sentinel, a marker written last if every recording succeeded (default: done.marker in the output folder)",
    ),
    Option("RECIPE", "NAME|FILE", "inspect", str, "what to do with each recording: a shipped recipe or a TOML file"),
    Option(
        "ENGINE",
        "NAME",
        "auto",
        str,
        "what computes the steps if the recipe does not say: auto (IDPS if the image has it, else open), idps, open",
        changes_results=True,
    ),
    Option("WORKERS", "N", "", _count, "sessions processed at a time (default: from the container's cores and memory)"),
    Option("SHARD", "I/N", "", str, "process only part I of N, from 1/N to N/N (default: all)"),
    Option("FORCE", "", "0", _switch, "redo what is already done"),
    Option("MOVIE_TIFF", "", "0", _switch, "also write each movie as TIFF", changes_results=True),
    Option("MOVIE_MP4", "", "0", _switch, "also write each movie as MP4", changes_results=True),
    Option(
        "FILM",
        "",
        "1",
        _switch,
        "a short film before and after motion correction, on the page of a recipe; FILM=0 or --film=0 for none",
        changes_results=True,
    ),
    Option("NWB", "", "0", _switch, "also write an NWB 2 file for each session", changes_results=True),
    Option("NWB_MOVIE", "", "0", _switch, "the same, with the movies' frames in it", changes_results=True),
    Option(
        "WORKER_MEMORY",
        "SIZE",
        "",
        _size,
        "address space of a worker beyond its input, such as 2G; 0 for no limit (default: container memory + 4G)",
    ),
    Option(
        "WORKER_TIMEOUT",
        "SECONDS",
        "",
        _seconds,
        "time for one recording; 0 for no limit (default: inspect 600 and 1 more each 10 MB; recipes 24 hours)",
    ),
    Option(
        "WORKER_IDLE",
        "SECONDS",
        "",
        _seconds,
        "a worker that does not compute, read or write for this time is stopped; 0 for no limit (default: 1800)",
    ),
    Option("LOG_FORMAT", "FORMAT", "", _format, "text or json (default: text on a terminal, else json)"),
    Option(
        "RUN_ID", "ID", "", _run_id, "identifies the run in every line of the log and in the sentinel (default: random)"
    ),
    Option("METRICS", "", "0", _switch, "also write the progress of the run to logs/isx.prom, for Prometheus"),
)

ACTIONS = {  # instead of a run: the name of the value that each takes, and its help
    "--check": ("", "only check whether isx can be loaded, and say what is in the image"),
    "--check-recipe": ("FILE", "only check a recipe"),
    "--gather": ("", "after all shards: check that each is done, write the report and the sentinel"),
    "--version": ("", "versions of the image and of the isx in it"),
    "--help": ("", "this text"),
}

FLAGS = frozenset({*(option.flag for option in OPTIONS), *ACTIONS})

SHARDS = f"""\
A run processes a part of the recordings only on request: by --shard or SHARD (from 1), else by SHARD_INDEX (from 0)
with SHARD_COUNT. A scheduler's own variables, such as SLURM_ARRAY_TASK_ID, have no effect. N is at most {MOST}.
"""


@dataclass
class Request:
    """The command line and the environment, not yet understood."""

    texts: dict[str, str]
    action: str = ""
    argument: str = ""
    problems: list[str] = field(default_factory=list)

    @property
    def input_dir(self) -> Path:
        return Path(self.texts["INPUT_DIR"])

    @property
    def output_dir(self) -> Path:
        return Path(self.texts["OUTPUT_DIR"])

    @property
    def sentinel(self) -> Path:
        return Path(self.texts["EXPECTED_OUTPUT_FILE"] or self.output_dir / DEFAULT_SENTINEL)


@dataclass(frozen=True)
class Settings:
    """A request that was understood."""

    sentinel: Path
    shard: Shard | None
    input_dir: Path
    output_dir: Path
    recipe: str
    workers: int | None
    force: bool
    options: Options
    worker_memory: int | None
    worker_timeout: float | None
    worker_idle: float | None
    metrics: bool
    output_in_container: bool


def read(arguments: Sequence[str], environment: Mapping[str, str]) -> Request:
    """Options over environment over defaults. Never raises: problems are collected, for the sentinel goes first."""
    request = Request({option.variable: environment.get(option.variable) or option.default for option in OPTIONS})
    options = {option.flag: option for option in OPTIONS}
    rest = iter(arguments)
    for argument in rest:
        flag, has_value, value = argument.partition("=")
        flag = "--help" if flag == "-h" else flag
        if flag not in options and flag not in ACTIONS:
            request.problems.append(_unknown(argument))
            continue
        takes = options[flag].value if flag in options else ACTIONS[flag][0]
        if takes and not has_value:
            value = next(rest, "")
        if takes and not value:
            request.problems.append(f"{flag} needs a value: {takes}")
        elif flag in options:
            request.texts[options[flag].variable] = value if takes or has_value else "1"
        elif has_value and not takes:
            request.problems.append(f"{flag} takes no value")
        else:
            _choose_action(request, flag, value)
    return request


def _unknown(argument: str) -> str:
    from runner import advice  # which few need

    if argument.startswith("-"):
        flag, equals, value = argument.partition("=")
        meant = advice.nearest(f"--{flag.lstrip('-')}", FLAGS)
        return f"unknown option {argument!r}" + (f": did you mean {meant}{equals}{value}?" if meant else "")
    meant = shlex.join(advice.as_options([argument], FLAGS)) if argument else ""
    return f"unknown argument after options {argument!r}" + (f": did you mean {meant}?" if meant else "")


def _choose_action(request: Request, flag: str, argument: str) -> None:
    """There is one, unless it is --help, which wins."""
    if request.action == "--help":
        return
    if request.action not in ("", flag) and flag != "--help":
        request.problems.append(f"{request.action} and {flag} cannot be combined")
    request.action, request.argument = flag, argument


def log_format(request: Request) -> str | None:
    """The log's format, or None for the one that suits the stream; a wrong one is reported by `understand`."""
    text = request.texts["LOG_FORMAT"]
    return text if text in FORMATS else None


def run_id(request: Request) -> str:
    """The run's name, "" if none is given; a wrong one is reported by `understand`."""
    with contextlib.suppress(ValueError):
        return _run_id(request.texts["RUN_ID"])
    return ""


def understand(request: Request, environment: Mapping[str, str]) -> Settings:
    """Raises UsageError that names every problem at once."""
    problems, values, shard = list(request.problems), {}, None
    for option in OPTIONS:
        text = request.texts[option.variable]
        try:
            values[option] = option.parse(text)
        except ValueError as error:
            problems.append(f"{option.variable} must be {error}, not {text!r}")
    try:
        if request.action == "--gather":
            count_from(request.texts["SHARD"], environment)
        else:
            shard = shard_from(request.texts["SHARD"], environment)
    except ValueError as error:
        problems.append(str(error))
    if problems:
        raise UsageError("; ".join(problems) + " (--help lists what there is)")
    known = {setting.name for setting in fields(Settings)} - {"shard"}
    return Settings(
        sentinel=request.sentinel,
        shard=shard if shard and shard.count > 1 else None,
        options=Options(**{option.field: value for option, value in values.items() if option.changes_results}),
        **{option.field: value for option, value in values.items() if option.field in known},
    )


def help_text() -> str:
    """--help, from the tables above."""
    lines = [USAGE, "Options, each with its environment variable (an option wins over the variable):"]
    for option in OPTIONS:
        lines.append(f"  {option.flag} {option.value}".rstrip() + f"  [{option.variable}]")
        default = f" (default: {option.default})" if option.value and option.default else ""
        lines.append(f"      {option.help}{default}")
    lines += ["", "Instead of a run:"]
    for flag, (value, text) in ACTIONS.items():
        lines.append(f"  {f'{flag} {value}'.rstrip():22} {text}")
    return "\n".join([*lines, "", SHARDS, EXIT_CODES]).rstrip() + "\n"
