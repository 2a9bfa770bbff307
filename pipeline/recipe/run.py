"""Runs a recipe over one recording, or over the parts of a series.

Finished steps survive: their products lie in the staging folder, which the supervisor keeps until it has published
them, beside an index (`.steps.json`) that vouches for each. A step is done again only if what it depends on changed:
its function and parameters, its inputs, or the software. What the index does not vouch for is removed at the start.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import inspect
import json
import math
import os
import shutil
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pipeline.inspect import metadata
from pipeline.inspect.adapter import Context, Summary, adapt
from pipeline.recipe.chain import PlannedStep, Shape, Stream, kept, plan, room
from pipeline.recipe.read import Recipe, Step, api_function, complaints, has_algorithms, read, source_digest
from pipeline.recipe.steps import FILE, KIND_NAMES, Makes, Takes
from recording.errors import BadRecording, Unusable
from recording.formats import check
from recording.job import Job, Result
from recording.names import short

INDEX = ".steps.json"
WORK = ".work"  # what a step writes lies here until it is whole
RULES = 1  # counted up when the runner comes to call a function in another way
LONGEST_NAME = 235  # bytes; file systems allow 255, and inspect results add to the names of products
SPARE = 1.05  # for the inspect results of the products


@dataclass(frozen=True)
class StepContext:
    """What a step in Python is given besides its files."""

    scratch: Path  # a folder for temporary files, emptied afterwards
    threads: int  # how many cores it may use
    warn: Callable[[str], None]  # takes a sentence for the report
    progress: Callable[[float], None]  # takes the fraction done, 0 to 1


@dataclass
class Entry:
    """A finished step, as the index and the results' JSON have it."""

    step: str
    fingerprint: str
    function: str
    parameters: dict[str, Any]
    inputs: dict[str, list[str]]  # file names, by parameter or kind
    products: dict[str, list[int]]  # by file name: size in bytes and time stamp in ns
    extras: list[str] = field(default_factory=list)  # those of the products that only the function knew of
    seconds: float = 0.0
    software: dict[str, Any] = field(default_factory=dict)


# ---- what is finished already


class Store:
    """Finished steps: in the staging folder, and in the results of an earlier run."""

    def __init__(self, staging: Path, published: Path | None) -> None:
        self.staging, self.published = staging, published
        self.entries = {entry.fingerprint: entry for entry in [*self._earlier(), *_entries(staging / INDEX)]}

    def _earlier(self) -> Iterator[Entry]:
        if self.published:
            yield from _entries(self.published / f"{self.published.name}.json")

    def tidy(self, wanted: set[str]) -> None:
        """Remove from staging what no step of the present recipe vouches for."""
        self.entries = {key: entry for key, entry in self.entries.items() if key in wanted}
        vouched = {name for entry in self.entries.values() for name in entry.products}
        for path in list(self.staging.iterdir()):
            if path.name not in vouched | {INDEX}:
                _remove(path)
        self._write()

    def find(self, entry: Entry, name: str) -> Path | None:
        """A product, if it is as it was when its step had finished."""
        for folder in (self.staging, self.published):
            if folder and name in entry.products and _stamp(folder / name) == entry.products[name]:
                return folder / name
        return None

    def add(self, entry: Entry, work: Path) -> None:
        """Take over what a step has written to `work`, whole or not at all."""
        files = sorted(path for path in work.iterdir() if path.is_file())
        for path in files:
            with path.open("rb") as file:
                os.fsync(file.fileno())
        entry.products = {path.name: _stamp(path) or [] for path in files}
        names = set(entry.products)
        self.entries = {key: other for key, other in self.entries.items() if not names & set(other.products)}
        self._write()
        for path in files:
            path.replace(self.staging / path.name)
        self.entries[entry.fingerprint] = entry
        self._write()

    def drop(self, names: Sequence[str]) -> None:
        """Products that no step needs any more; what was published is left to the supervisor."""
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                (self.staging / name).unlink()

    def gather(self, names: Sequence[str]) -> None:
        """Bring products of an earlier run back to staging, to be published with the new ones."""
        outside = [name for name in names if not (self.staging / name).exists()]
        if outside and self.published:
            with contextlib.suppress(FileNotFoundError):  # the results are not whole without what follows
                (self.published / f"{self.published.name}.json").unlink()
            for name in outside:
                (self.published / name).replace(self.staging / name)

    def _write(self) -> None:
        temporary = self.staging / f"{INDEX}.tmp"
        with temporary.open("w", encoding="utf-8") as file:
            json.dump([asdict(entry) for entry in self.entries.values()], file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self.staging / INDEX)


def _entries(path: Path) -> Iterator[Entry]:
    try:
        content = json.loads(path.read_bytes())
        for each in content if isinstance(content, list) else content.get("steps", []):
            yield Entry(**each)
    except (OSError, ValueError, TypeError, AttributeError):  # missing, or of another kind
        return


def _stamp(path: Path) -> list[int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return [status.st_size, status.st_mtime_ns]


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


# ---- the run


@dataclass
class Run:
    """One recipe on one recording or series."""

    recipe: Recipe
    planned: list[PlannedStep]
    keep: set[Stream]
    inputs: list[Path]
    stem: str
    store: Store
    context: Context
    fingerprints: list[str] = field(default_factory=list)

    def names(self, stream: Stream) -> list[str]:
        return stream.names(self.stem, [short(path.stem) for path in self.inputs])

    def paths(self, stream: Stream) -> list[Path]:
        """Where a product lies; its step must be finished."""
        if stream.step < 0:
            return self.inputs
        entry = self.store.entries[self.fingerprints[stream.step]]
        return [self.store.find(entry, name) or self.store.staging / name for name in self.names(stream)]

    def entries_done(self) -> list[Entry]:
        """In order of the steps; with `keep = "last"` some may not have been needed."""
        return [self.store.entries[each] for each in self.fingerprints if each in self.store.entries]


def run(job: Job, context: Context) -> Result:
    """Do a job. Raises Unusable, BadRecording."""
    recipe = read(Path(job.recipe))
    found = complaints(recipe)
    if found:
        raise Unusable("; ".join(found))
    if job.kind not in recipe.kinds:
        raise Unusable(f"the recipe {recipe.path.name} takes {' or '.join(recipe.kinds)} recordings, not {job.kind}")
    planned, _ = plan(recipe.steps, job.kind)
    store = Store(job.staging, job.results)
    this = Run(recipe, planned, kept(planned, recipe.keep), [*job.inputs], job.stem, store, context)
    _check_names(this)
    this.fingerprints = _fingerprints(this)
    store.tidy(set(this.fingerprints))
    todo = _unfinished(this)
    _check_room(this, todo)
    for number, index in enumerate(sorted(todo)):
        _run_step(this, index, _part_of_progress(context.progress, number, len(todo) + 1))
        _drop_used(this, [later for later in todo if later > index])
    return _results(this, job, _part_of_progress(context.progress, len(todo), len(todo) + 1))


def _check_names(this: Run) -> None:
    """Before hours of work, not after. Raises Unusable."""
    names = [name for each in this.planned for stream in each.made for name in this.names(stream)]
    longest = max(names, key=lambda name: len(os.fsencode(name)))
    if len(os.fsencode(longest)) > LONGEST_NAME:
        raise Unusable(f"a product would be called {longest}, which is too long: shorten the recording's name")


def _fingerprints(this: Run) -> list[str]:
    """One for each step: equal only if its products would be."""
    recording = [[path.name, *(_stamp(path) or [])] for path in this.inputs]
    found: list[str] = []
    for each in this.planned:
        content = {
            "rules": RULES,
            "function": source_digest(each.step.function.path) if each.step.function else "",
            "name": each.step.function.name if each.step.function else each.step.use,
            "parameters": each.step.parameters,
            "inputs": [
                [takes.parameter, stream.label, recording if stream.step < 0 else found[stream.step]]
                for takes, streams in each.inputs
                for stream in streams
            ],
            "outputs": [name for stream in each.made for name in this.names(stream)],
            "software": _software(each.step, this.context),
        }
        found.append(hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest())
    return found


def _software(step: Step, context: Context) -> dict[str, Any]:
    """What a step's products depend on besides its inputs."""
    software = {name: text for name, text in context.provenance.get("software", {}).items() if name.startswith("isx")}
    software["algorithms"] = has_algorithms()
    if step.function:
        software |= {"python": metadata.software()["python"], "numpy": version("numpy"), "scipy": version("scipy")}
    return software


def _unfinished(this: Run) -> set[int]:
    """Indices of the steps to run: their products are missing, and are kept or needed by another one to run."""
    todo: set[int] = set()
    needed = set(this.keep)
    for index in reversed(range(len(this.planned))):
        wanted = [stream for stream in this.planned[index].made if stream in needed]
        is_wanted = bool(wanted) or not this.planned[index].made
        whole = _is_whole(this, this.store.entries.get(this.fingerprints[index]), wanted)
        if is_wanted and not whole:
            todo.add(index)
            needed |= set(this.planned[index].read)
    return todo


def _is_whole(this: Run, entry: Entry | None, wanted: Sequence[Stream]) -> bool:
    """Whether a step need not be run for these. Of the files beside recordings, it may not have written all."""
    if entry is None:
        return False
    names = [name for stream in wanted for name in this.names(stream) if stream.kind != FILE or name in entry.products]
    return all(this.store.find(entry, name) for name in [*names, *entry.extras])


def _check_room(this: Run, todo: set[int]) -> None:
    """Before the first step, not after hours. Raises Unusable."""
    infos = [check(path) for path in this.inputs]
    cells = max(len(info.names) for info in infos)
    shape = Shape(sum(info.n_samples for info in infos), infos[0].width * infos[0].height, *([cells] if cells else []))
    wanted = {stream for index in todo for stream in this.planned[index].made}
    disk = os.statvfs(this.store.staging)
    free = disk.f_bavail * disk.f_frsize
    needed = round(SPARE * room(this.planned, shape, wanted, this.keep))
    if needed <= free:
        return
    advice = "free some"
    if this.recipe.keep == "all":
        less = round(SPARE * room(this.planned, shape, wanted, kept(this.planned, "last")))
        advice += f', or write keep = "last" in the recipe, which takes {_gigabytes(less)}'
    raise Unusable(
        f"the products of the recipe take about {_gigabytes(needed)} and {_gigabytes(free)} are free on the output's "
        f"disk: {advice}"
    )


def _gigabytes(n_bytes: int) -> str:
    return f"{n_bytes / 1e9:.3g} GB"


def _drop_used(this: Run, later: Sequence[int]) -> None:
    still = {stream for index in later for stream in this.planned[index].read} | this.keep
    gone = [stream for each in this.planned for stream in each.made if stream not in still]
    this.store.drop([name for stream in gone for name in this.names(stream)])


def _part_of_progress(progress: Callable[[float], None], number: int, total: int) -> Callable[[float], None]:
    return lambda fraction: progress((number + min(max(fraction, 0.0), 1.0)) / total)


# ---- one step


def _run_step(this: Run, index: int, progress: Callable[[float], None]) -> None:
    each = this.planned[index]
    step = each.step
    work, scratch = this.store.staging / WORK, this.context.scratch / f"step-{step.number}"
    for folder in (work, scratch):
        folder.mkdir(parents=True)
    label = f"step {step.number} ({step.name})"
    print(f"{label} begins", flush=True)  # noqa: T201 - standard output is the recording's log
    began = time.monotonic()
    arguments = {
        takes.parameter: [path for stream in streams for path in this.paths(stream)] for takes, streams in each.inputs
    }
    context = StepContext(scratch, this.context.threads, lambda text: this.context.warn(f"{label}: {text}"), progress)
    try:
        if step.function:
            _call_python(this, each, arguments, work, context)
        else:
            _call_isx(this, each, arguments, work, context)
        _replace_links(work)
        _check_products(this, each, work)
    except BadRecording as error:
        raise Unusable(f"{label} left an unusable {error.path.name}: {error.reason}") from error
    except Unusable as error:
        raise Unusable(f"{label}: {error}") from error
    except MemoryError:
        raise
    except (Exception, SystemExit, KeyboardInterrupt) as error:
        raise Unusable(f"{label} failed: {_why(error, step)}") from error
    expected = {name for stream in each.made for name in this.names(stream)}
    for path in sorted(path for path in work.iterdir() if not path.is_file()):
        context.warn(f"{path.name}, which it made beside its products, is no file and was not kept")
    entry = Entry(
        step.name,
        this.fingerprints[index],
        f"{step.function.path.name}:{step.function.name}" if step.function else step.use,
        step.parameters,
        {parameter: [path.name for path in paths] for parameter, paths in arguments.items()},
        {},
        extras=sorted(path.name for path in work.iterdir() if path.is_file() and path.name not in expected),
        seconds=round(time.monotonic() - began, 3),
        software=_software(step, this.context),
    )
    this.store.add(entry, work)
    shutil.rmtree(work)
    shutil.rmtree(scratch)
    print(f"{label} took {entry.seconds} s", flush=True)  # noqa: T201


def _call_python(
    this: Run, each: PlannedStep, arguments: dict[str, list[Path]], work: Path, context: StepContext
) -> None:
    function = each.step.function
    assert function is not None
    inputs = [path for paths in arguments.values() for path in paths]
    outputs = [work / name for stream in each.made for name in this.names(stream)]
    _load(function.path, function.name)(inputs, outputs, context, **each.step.parameters)


def _load(path: Path, name: str) -> Callable[..., None]:
    """A function of a file that is not part of a package; what lies beside the file can be imported by it."""
    spec = importlib.util.spec_from_file_location(f"recipe_step_{path.stem}", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    sys.path.insert(0, str(path.parent))
    spec.loader.exec_module(module)
    return getattr(module, name)


def _call_isx(this: Run, each: PlannedStep, arguments: dict[str, list[Path]], work: Path, context: StepContext) -> None:
    step, algorithm = each.step, each.step.algorithm
    function = api_function(step.use)
    assert function is not None
    known = inspect.signature(function).parameters
    outputs = _outputs(this, each)
    n_calls = len(next(iter(arguments.values()))) if algorithm.each else 1
    for part in range(n_calls):
        chosen: dict[str, Any] = {**step.parameters}
        for takes, _ in each.inputs:
            chosen[takes.parameter] = _input_value(takes, arguments[takes.parameter], part)
        folders = {}
        returned = None
        for makes, names in outputs:
            if makes.folder:
                folders[names[part]] = chosen[makes.parameter] = str(context.scratch / f"folder-{len(folders)}")
                Path(chosen[makes.parameter]).mkdir(exist_ok=True)
            elif makes.parameter is None:
                returned = names[part if algorithm.each else 0]
            elif makes.parameter != algorithm.edits:
                chosen[makes.parameter] = _output_value(
                    makes, [str(work / name) for name in names], part, algorithm.each
                )
        if algorithm.edits:
            chosen[algorithm.edits] = _copies(chosen[algorithm.edits], outputs, algorithm.edits, work, context.scratch)
        fills = {"scratch": str(context.scratch), "threads": context.threads}
        chosen |= {parameter: fills[what] for parameter, what in algorithm.fills.items()}
        result = function(**{name: value for name, value in chosen.items() if name in known})
        if step.use == "pca_ica" and result is False:
            context.warn("PCA-ICA did not converge: raise max_iterations, or lower num_ics")
        if returned:
            (work / returned).write_text(json.dumps(_plain(result), indent=2) + "\n", encoding="utf-8")
        for prefix, folder in folders.items():
            _collect(Path(folder), work, prefix)
        context.progress((part + 1) / n_calls)


def _outputs(this: Run, each: PlannedStep) -> list[tuple[Makes, list[str]]]:
    """Names of the files for each output; those that are split by a parameter alternate, part by part."""
    grouped: dict[int, tuple[Makes, list[list[str]]]] = {}
    for makes, stream in each.outputs:
        grouped.setdefault(id(makes), (makes, []))[1].append(this.names(stream))
    return [(makes, [name for part in zip(*names) for name in part]) for makes, names in grouped.values()]


def _input_value(takes: Takes, paths: list[Path], part: int) -> str | list[str]:
    if takes.files == "list":
        return [str(path) for path in paths]
    return str(paths[part if takes.files == "each" else 0])


def _output_value(makes: Makes, paths: list[str], part: int, one_by_one: bool) -> str | list[str]:
    if one_by_one:
        return paths[part]
    return paths[0] if makes.once else paths


def _copies(
    originals: list[str], outputs: Sequence[tuple[Makes, list[str]]], parameter: str, work: Path, scratch: Path
) -> list[str]:
    """What a function changes in place is a copy: a product, or only for the function."""
    names = next((names for makes, names in outputs if makes.parameter == parameter), None)
    copies = [work / name for name in names] if names else [scratch / Path(path).name for path in originals]
    for original, copy in zip(originals, copies):
        shutil.copyfile(original, copy)
    return [str(copy) for copy in copies]


def _collect(folder: Path, work: Path, prefix: str) -> None:
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = "-".join(path.relative_to(folder).parts)
        shutil.move(str(path), work / f"{prefix}-{name}")


def _plain(value: Any) -> Any:
    """What a function returned, as JSON can hold it."""
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    if hasattr(value, "tolist"):  # NumPy's
        return _plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _replace_links(work: Path) -> None:
    """What a link leads to may not be there when the results are looked at."""
    for link in [path for path in work.iterdir() if path.is_symlink() and path.is_file()]:
        target = link.resolve()
        link.unlink()
        shutil.copyfile(target, link)


def _check_products(this: Run, each: PlannedStep, work: Path) -> None:
    """A step that went wrong without saying so is found here, not by the next one."""
    for makes, stream in each.outputs:
        if makes.kind == FILE:
            continue
        for name in this.names(stream):
            if not (work / name).is_file():
                raise Unusable(f"it ended without an error, but wrote no {name}")
            kind = check(work / name).kind
            if kind != makes.kind and not (makes.kind == "image" and kind == "movie"):
                raise Unusable(f"it should write {KIND_NAMES[makes.kind]}, but {name} is {KIND_NAMES[kind]}")
    if each.step.function:
        missing = [name for stream in each.made for name in this.names(stream) if not (work / name).is_file()]
        if missing:
            raise Unusable(f"it ended without an error, but wrote no {missing[0]}")


def _why(error: BaseException, step: Step) -> str:
    """For a step in Python also where, in its own file."""
    text = str(error).strip()
    if text.startswith("Error calling C library function"):
        return text.splitlines()[-1]
    if isinstance(error, OSError) and error.strerror:
        text = f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    reason = f"{type(error).__name__}: {text}"
    if step.function:
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if frame.filename == str(step.function.path)]
        reason += f" ({step.function.path.name}, line {lines[-1]})" if lines else ""
    return reason


# ---- results


def _results(this: Run, job: Job, progress: Callable[[float], None]) -> Result:
    """Inspect every product that stays, and write what says that all is there."""
    staging, context = this.store.staging, this.context
    keepers = [stream for each in this.planned for stream in each.made if stream in this.keep]
    names = [name for stream in keepers for name in this.names(stream)]
    names = [name for name in names if any(this.store.find(entry, name) for entry in this.entries_done())]
    names += [name for entry in this.entries_done() for name in entry.extras]
    this.store.gather(names)
    recordings = [
        (name, stream.kind, this.fingerprints[stream.step])
        for stream in keepers
        if stream.kind != FILE
        for name in this.names(stream)
    ]
    found: list[str] = []
    summaries: list[tuple[str, Summary]] = []
    for number, (name, kind, fingerprint) in enumerate(recordings):
        entry = this.store.entries[fingerprint]
        provenance = {**context.provenance, "step": {**asdict(entry), "products": list(entry.products)}}
        part = Context(
            context.scratch,
            context.threads,
            context.options,
            provenance,
            _part_of_progress(progress, number, len(recordings)),
            lambda text, name=name: context.warn(f"{name}: {text}"),
        )
        summary = adapt(staging / name, kind, Path(name).stem, staging, part)
        found += summary.products
        summaries.append((kind, summary))
    products = sorted({*names, *found})
    _write_record(this, job, products)
    return _result(summaries, [*products, f"{this.stem}.json"], f"recipe {this.recipe.path.stem}")


def _write_record(this: Run, job: Job, products: list[str]) -> None:
    record = {
        "schema_version": metadata.SCHEMA_VERSION,
        "kind": job.kind,
        "inputs": [metadata.common(path, job.kind)["input"] for path in this.inputs],
        "recipe": {
            "name": this.recipe.path.stem,
            "sha256": this.recipe.sha256,
            "text": this.recipe.path.read_text(encoding="utf-8"),
        },
        "steps": [asdict(entry) for entry in this.entries_done()],
        "results": products,
        "software": metadata.software(),
        "provenance": this.context.provenance,
    }
    metadata.write(this.store.staging / f"{this.stem}.json", record)


def _result(summaries: list[tuple[str, Summary]], products: list[str], title: str) -> Result:
    """The cells are what a lab looks for; else the last product speaks for all."""
    from base64 import b64encode

    spoken = [summary for kind, summary in summaries if kind == "cell_set"] or [summary for _, summary in summaries]
    text = f"{title}: {spoken[-1].text}" if spoken else title
    thumbnail = b64encode(spoken[-1].thumbnail).decode() if spoken and spoken[-1].thumbnail else None
    return Result(tuple(products), text, thumbnail)
