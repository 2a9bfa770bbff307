"""Runs a recipe over one recording, or over the parts of a series.

Finished steps survive: their products lie in the staging folder, which the supervisor keeps until it has published
them, beside an index (`.steps.json`) that vouches for each. A step is done again only if what it depends on changed:
its function and parameters, its inputs, or the software. What the index does not vouch for is removed at the start.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from open_engine.context import StepContext
from open_engine.files.cellsets import edit_footer, status_numbers
from pipeline.engines.open import code_digest
from pipeline.engines.protocol import Defers
from pipeline.inspect import consistency, figures, metadata, quality, tables
from pipeline.inspect.adapter import Summary, adapt, adapt_pieces
from pipeline.inspect.candidates import Candidates
from pipeline.inspect.context import Context
from pipeline.inspect.pieces import Piece
from pipeline.pages.content import Measure
from pipeline.pages.page import Page
from pipeline.pages.page import write as write_page
from pipeline.recipe import candidates, companions, estimates, page, peri_event
from pipeline.recipe.call import call_step, files_of
from pipeline.recipe.chain import COMPANIONS, PULSES, PlannedStep, Stream, kept, latest, plan, room
from pipeline.recipe.interleaved import untangled
from pipeline.recipe.model import Recipe, Step
from pipeline.recipe.page import Made
from pipeline.recipe.read import complaints, read
from pipeline.recipe.steps import FILE
from pipeline.recipe.store import Entry, Store, stamp
from pipeline.sessions import members, sets
from protocol.copies import Copies
from protocol.job import Job, Result
from recording.errors import BadRecording, TooLittleMemory, Unusable
from recording.formats import check, movie_layout
from recording.kinds import BESIDE_KINDS, KINDS, Shape
from recording.names import STEPS, short

COMPUTING = ("idps", "open")  # engines that the report names: the others read, write and are the lab's own
UNFINISHED = ".unfinished"  # what a step writes lies here until it is whole
RULES = 3  # counted up when the runner comes to call a function, or to note what it did, in another way
LONGEST_NAME = 235  # bytes; file systems allow 255, and inspect results add to the names of products
PLAIN = ("cell_set", "event_set", "movie")  # kinds whose results have the name of the session alone
SPARE = 1.05  # for the inspect results of the products


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
    warnings: list[str]  # all that the context was given
    job: Job
    fingerprints: list[str] = field(default_factory=list)
    deferred: dict[str, Any] = field(default_factory=dict)  # by name: what stands for movies that are no files
    diameters: dict[tuple[str, ...], Any] = field(default_factory=dict)  # of cells, by the files that show them

    def names(self, stream: Stream) -> list[str]:
        return stream.names(self.stem, [short(path.stem) for path in self.inputs])

    def files(self, stream: Stream) -> list[Any]:
        """The paths of a product, or what stands for them; its step must be finished."""
        if stream.step == COMPANIONS and stream.label != PULSES:
            return [one.path for one in companions.of_kind(stream.kind, self.job.session, self.inputs)]
        if stream.step == COMPANIONS:
            return companions.tables_of_pulses(self.job.session, stream.kind, self.inputs, self.context)
        if stream.step < 0:
            return self.inputs
        entry, staging = self.store.entries[self.fingerprints[stream.step]], self.store.staging
        return [
            self.deferred.get(name) or self.store.find(entry, name) or staging / name for name in self.names(stream)
        ]

    def entries_done(self) -> list[Entry]:
        """In order of the steps; with `keep = "last"` some may not have been needed."""
        return [self.store.entries[each] for each in self.fingerprints if each in self.store.entries]


def run(job: Job, context: Context) -> Result:
    """Do a job. Raises Unusable, BadRecording."""
    recipe = read(Path(job.recipe), job.options.engine, Copies(job.copies))
    found = complaints(recipe)
    if job.copies and recipe.sha256 != job.provenance["recipe_sha256"]:
        found.append(f"the recipe {recipe.path} changed during the run: run again")
    if found:
        raise Unusable("; ".join(found))
    if job.kind not in recipe.kinds:
        raise Unusable(f"the recipe {recipe.path.name} takes {' or '.join(recipe.kinds)} recordings, not {job.kind}")
    recipe = untangled(recipe, job.kind, job.inputs)
    planned, _ = plan(recipe.steps, job.kind)
    store = Store(job.staging, job.results, job.stem)
    remembering, warnings = context.remembering()
    keep = kept(planned, recipe.keep)
    this = Run(recipe, planned, keep, [*job.inputs], job.stem, store, remembering, warnings, job)
    _check_names(this)
    _check_number(this)
    for each in planned:
        companions.check(each, job)
    this.fingerprints = _fingerprints(this)
    store.tidy(set(this.fingerprints))
    todo = _unfinished(this)
    this.deferred = _deferred(this, todo, this.keep)
    _check_room(this, todo)
    _check_frames(this, job.kind)
    n_run = 0
    for index, fingerprint in enumerate(this.fingerprints):
        if index in todo:
            _run_step(this, index, _part_of_progress(context.progress, n_run, len(todo) + 1))
            _drop_used(this, [later for later in todo if later > index])
            n_run += 1
        elif fingerprint in store.entries:  # finished earlier, perhaps under another name and number
            step, entry = planned[index].step, store.entries[fingerprint]
            entry.step = step.name
            for warning in entry.warnings:
                this.context.warn(f"{step.label}: {warning}")
    return _results(this, job, _part_of_progress(context.progress, len(todo), len(todo) + 1))


def _check_names(this: Run) -> None:
    """Before hours of work, not after. Raises Unusable."""
    names = [name for each in this.planned for stream in each.made for name in this.names(stream)]
    longest = max(names, key=lambda name: len(os.fsencode(name)))
    if len(os.fsencode(longest)) > LONGEST_NAME:
        raise Unusable(f"a product would be called {longest}, which is too long: shorten the recording's name")


def _check_number(this: Run) -> None:
    """A step that compares recordings would find one to be like itself. Raises Unusable."""
    for each in this.planned:
        if len(this.inputs) < each.step.contract.at_least:
            raise Unusable(
                f"step {each.step.number} ({each.step.name}) compares at least {each.step.contract.at_least} "
                f"recordings, and there is only {this.inputs[0].name}: recordings that belong together lie in one "
                "folder, have names that differ only by a number, and are equal in size and rate"
            )


def _fingerprints(this: Run) -> list[str]:
    """One for each step: equal only if its products would be."""
    recording = [[path.name, *(stamp(path) or [])] for path in this.inputs]
    found: list[str] = []
    for each in this.planned:
        content = {
            "rules": RULES,
            "engine": each.step.bound.name,
            "function": each.step.function,
            "parameters": each.step.parameters,
            "inputs": [
                [takes.parameter, stream.label, recording if stream.step < 0 else found[stream.step]]
                for takes, streams in each.inputs
                for stream in streams
            ],
            "outputs": [name for stream in each.made for name in this.names(stream)],
            "software": _software(each.step, this.context),
            **companions.facts(each, this.job),
        }
        found.append(hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest())
    return found


def _software(step: Step, context: Context) -> dict[str, Any]:
    """The versions that a step's products depend on, besides its inputs."""
    software = step.bound.versions(step.function, context.provenance.get("software", {}))
    return {**software, "estimates": code_digest()} if estimates.wanted(step.parameters) else software


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


def _deferred(this: Run, todo: set[int], keep: set[Stream]) -> dict[str, Any]:
    """Movies that no file is made of: nobody keeps them, and their engine can compute them as later steps read them."""
    found: dict[str, Any] = {}
    for index in todo:
        step = this.planned[index].step
        engine = step.bound
        for stream in this.planned[index].made:
            readers = [later.step for later in this.planned if stream in later.read]
            theirs = all(reader.bound is engine for reader in readers)
            if stream.kind == "movie" and stream not in keep and theirs and isinstance(engine, Defers):
                functions = [reader.function for reader in readers]
                found |= {name: engine.defer(name, step.function, functions) for name in this.names(stream)}
    return {name: each for name, each in found.items() if each is not None}


def _is_whole(this: Run, entry: Entry | None, wanted: Sequence[Stream]) -> bool:
    """Whether the store has all of a finished step that is wanted. Files count only if the step wrote them."""
    if entry is None:
        return False
    names = [name for stream in wanted for name in this.names(stream) if stream.kind != FILE or name in entry.products]
    return all(this.store.find(entry, name) for name in [*names, *entry.extras])


def _check_frames(this: Run, kind: str) -> None:
    """What inspection would say of movies whose bytes are not those of their frames."""
    for path in this.inputs if kind == "movie" else ():
        consistency.frames(path, movie_layout(path), lambda text, path=path: this.context.warn(f"{path.name}: {text}"))


def _check_room(this: Run, todo: set[int]) -> None:
    """Before the first step, not after hours. Raises Unusable."""
    infos = [check(path) for path in this.inputs]
    cells = max(len(info.names) for info in infos)
    shape = Shape(sum(info.n_samples for info in infos), infos[0].width * infos[0].height, *([cells] if cells else []))
    made = {stream for index in todo for stream in this.planned[index].made}

    def takes(keep: set[Stream]) -> int:
        deferred = _deferred(this, todo, keep).keys()
        files = {stream for stream in made if not deferred & this.names(stream)}
        return round(SPARE * room(this.planned, shape, files, keep))

    disk = os.statvfs(this.store.staging)
    free = disk.f_bavail * disk.f_frsize
    needed = takes(this.keep)
    if needed <= free:
        return
    advice = "free some"
    if this.recipe.keep == "all":
        less = takes(kept(this.planned, "last"))
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
    step, engine = each.step, each.step.bound
    folder, scratch = this.store.staging / UNFINISHED, this.context.scratch / f"step-{step.number}"
    for new in (folder, scratch):
        new.mkdir(parents=True)
    label = step.label
    print(f"{label} begins", flush=True)  # noqa: T201 - standard output is the log
    began = time.monotonic()
    read = {
        takes.parameter: [file for stream in streams for file in this.files(stream)] for takes, streams in each.inputs
    }
    warnings: list[str] = []

    def warn(text: str) -> None:
        for private in (this.store.staging, this.context.scratch):  # of this run alone
            text = text.replace(f"{private}/", "")
        warnings.append(text)
        this.context.warn(f"{label}: {text}")

    begins_us = companions.begins_us(this.job.session) if companions.has(each) else {}
    if begins_us:
        made = [(stream, file) for stream in each.read if stream.step >= 0 for file in this.files(stream)]
        begins_us |= {str(file): _offset_us(this, this.job, stream, file.name) for stream, file in made}
    begins = {path: offset / 1e6 for path, offset in begins_us.items()}
    context = StepContext(
        scratch, this.context.threads, warn, progress, this.inputs[0].parent, begins, this.job.session.name
    )
    try:
        estimated = _estimated(this, each, context)
        call_step(each, files_of(each, read, this.names, folder, this.deferred), context, estimated)
        _replace_links(folder)
        _check_products(this, each, folder)
        if engine.name != "python":  # what a lab's own function writes is its own affair
            for table in folder.glob("*.csv"):
                tables.make_safe(table)
    except BadRecording as error:
        raise Unusable(f"{label} left an unusable {error.path.name}: {error.reason}") from error
    except Unusable as error:
        raise type(error)(f"{label}: {error}") from error
    except MemoryError:
        raise
    except (Exception, SystemExit, KeyboardInterrupt) as error:
        raise Unusable(f"{label} failed: {_why(error, step)}") from error
    expected = {name for stream in each.made for name in this.names(stream)}
    for path in sorted(path for path in folder.iterdir() if not path.is_file()):
        context.warn(f"{path.name}, which it made beside its products, is no file and was not kept")
    entry = Entry(
        step.name,
        this.fingerprints[index],
        engine.name,
        step.function,
        step.parameters,
        {parameter: [file.name for file in files] for parameter, files in read.items()},
        {},
        extras=sorted(path.name for path in folder.iterdir() if path.is_file() and path.name not in expected),
        seconds=round(time.monotonic() - began, 3),
        software=_software(step, this.context),
        references=list(engine.references(step.function)),
        estimated=estimated,
        warnings=warnings,
    )
    this.store.add(entry, folder)
    shutil.rmtree(folder)
    shutil.rmtree(scratch)
    for name, value in estimated.items():
        print(f"{label}: {name} was estimated as {value}")  # noqa: T201
    print(f"{label} took {entry.seconds} s ({engine.title})", flush=True)  # noqa: T201


def _estimated(this: Run, each: PlannedStep, context: StepContext) -> dict[str, Any]:
    """The values of the step's parameters that the recipe leaves to the movie."""
    step, stream = each.step, next(iter(each.read), None)
    if stream is None or not estimates.wanted(step.parameters):
        return {}
    files = this.files(stream)
    factor = _down_sampled(this, stream)
    measured, factor = (files, 1.0) if factor is None else (this.inputs, factor)
    movie = estimates.Movie(files, measured, factor, context.warn, this.diameters)
    return estimates.estimate(step.function, step.parameters, movie)


def _down_sampled(this: Run, stream: Stream) -> float | None:
    """By which factor, since it was recorded; None if the size of cells may have changed otherwise."""
    factor = 1.0
    while stream.step >= 0:
        made_by = this.planned[stream.step]
        if made_by.step.function not in estimates.KEEP_SIZE:
            return None
        entry = this.store.entries[this.fingerprints[stream.step]]
        factor *= {**entry.parameters, **entry.estimated}.get(estimates.DOWN_SAMPLING, 1)
        stream = made_by.read[0]
    return factor


def _replace_links(folder: Path) -> None:
    """Files take the place of links, whose targets may be gone when somebody looks at the results."""
    for link in [path for path in folder.iterdir() if path.is_symlink() and path.is_file()]:
        copy = link.with_name(f"{link.name}.copy")
        shutil.copyfile(link, copy)
        copy.replace(link)


def _check_products(this: Run, each: PlannedStep, folder: Path) -> None:
    """A step that went wrong without saying so is found here, not by the next one."""
    for makes, stream in each.outputs:
        if makes.kind == FILE and not makes.required:
            continue
        for name in this.names(stream):
            if name in this.deferred:
                continue
            if not (folder / name).is_file():
                raise Unusable(f"it ended without an error, but wrote no {name}")
            if makes.kind == FILE:
                continue
            kind = check(folder / name).kind
            if kind != makes.kind and not (makes.kind == "image" and kind == "movie"):
                raise Unusable(f"it should write {KINDS[makes.kind].a}, but {name} is {KINDS[kind].a}")


def _why(error: BaseException, step: Step) -> str:
    """The error's text; then, for whoever wrote the step, its kind and, for a step in Python, where in its own file."""
    text = str(error).strip()
    if text.startswith("Error calling C library function"):
        return text.splitlines()[-1]
    if isinstance(error, OSError) and error.strerror:
        text = f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    place = step.bound.source_line(step.function, error)
    kind = type(error).__name__ + (f" in {place}" if place else "")
    return f"{text} ({kind})" if text else kind


# ---- results


def _results(this: Run, job: Job, progress: Callable[[float], None]) -> Result:
    """Inspect every product that stays, and write what says that all is there.

    The last product of each kind is what a lab looks for: it and its results lie at the top, under names that do not
    depend on the steps. What was made on the way, with its results, is in the folder of the steps.
    """
    out, steps = job.staging, this.store.staging
    keepers = [stream for each in this.planned for stream in each.made if stream in this.keep]
    names = [name for stream in keepers for name in this.names(stream)]
    names = [name for name in names if any(this.store.find(entry, name) for entry in this.entries_done())]
    names += [name for entry in this.entries_done() for name in entry.extras]
    this.store.gather(names)
    titles = _titles(this)
    recordings = [(name, stream) for stream in keepers if stream.kind != FILE for name in this.names(stream)]
    products = [f"{STEPS}/{name}" for name in names]
    results = _results_of_steps(this, names)
    for name, shown in results.items():
        _second_name(steps / name, out / shown)
        products.append(shown)
    made: dict[str, Made] = {}
    beside = members.others(job)
    looked_at = _with_accepted(this, titles, names, out)
    whole = _joined(this, job, keepers, names, titles)
    n_all = len(recordings) + len(beside)
    said: dict[str, list[str]] = {}  # by warning: the products that it is about
    for number, (name, stream) in enumerate(recordings):
        fingerprint = this.fingerprints[stream.step]
        entry = this.store.entries[fingerprint]
        shown, title = titles.get(name, (name, Path(name).stem))
        part = replace(
            this.context,
            offset_us=_offset_us(this, job, stream, name),
            provenance={**this.context.provenance, "step": {**asdict(entry), "products": list(entry.products)}},
            progress=_part_of_progress(progress, number, n_all),
            warn=lambda text, shown=shown: said.setdefault(text, []).append(shown),
            decisions=this.context.decisions if name in titles and stream not in whole else None,
        )
        is_last = name in titles
        at_top = is_last and stream not in whole
        if is_last:
            if not (out / shown).exists():
                _second_name(steps / name, out / shown, stream.kind)
            products.append(shown)
        if at_top:
            part.candidates = looked_at.get(stream)
        place = out if at_top else steps
        summary = adapt(
            out / shown if at_top else steps / name,
            stream.kind,
            title if at_top else Path(name).stem,
            place,
            part,
            is_part=at_top,
        )
        products += summary.products if at_top else [f"{STEPS}/{product}" for product in summary.products]
        made[name] = Made(stream.step, stream.kind, summary, this.planned[stream.step].step.plane)
    for text, about in said.items():
        more = f" and {len(about) - 1} more" if len(about) > 1 else ""
        this.context.warn(f"{about[0]}{more}: {text}")
    of_session = {name: each for name, each in made.items() if not any(name in this.names(stream) for stream in whole)}
    for stream, pieces in whole.items():
        title = titles[this.names(stream)[0]][1].replace(short(this.inputs[0].stem), this.stem, 1)
        part = replace(
            this.context,
            warn=lambda text, title=title: this.context.warn(f"{title}: {text}"),
            candidates=looked_at.get(stream),
        )
        ending = f"-{KINDS[stream.kind].called}" if stream.kind == "event_set" else ""
        summary = adapt_pieces(pieces, stream.kind, f"{title}{ending}{stream.extension}", title, out, part)
        of_session[_of_parts(stream)] = Made(stream.step, stream.kind, summary, this.planned[stream.step].step.plane)
        products += summary.products
    for summary in _inputs_that_stay(this, job, out):
        of_session[summary.part.name] = Made(-1, job.kind, summary)
        products += summary.products
    inspected: list[Summary] = []
    failed: dict[str, str] = {}
    for number, one in enumerate(beside):
        part = members.context_for(one, this.context, len(recordings) + number, n_all)
        try:
            inspected.append(adapt(one.path, one.kind, one.stem, out, part, is_part=True))
            products += inspected[-1].products
        except (MemoryError, TooLittleMemory):
            raise
        except Exception as error:  # hours of work must not be lost to it
            failed[str(one.path)] = members.reason(error)
    decided = _honour_decisions(of_session, titles, whole, this, out)
    products += this.context.decisions.report(out, this.context.warn) if this.context.decisions else []
    products += sets.join_ttl(this.stem, products, out)
    shown_page = _page(this, job, made, of_session, inspected, [*results.values()])
    products += write_page(shown_page, out)
    products += [
        name for part in shown_page.parts for each in part.figures for name in (each.file, each.vector) if name
    ]
    products += [part.film.file for part in shown_page.parts if part.kind == "motion" and part.film]
    measures = {part.name: part.measures for part in shown_page.parts}
    quality.write(out / f"{this.stem}-quality.csv", measures)
    products.append(f"{this.stem}-quality.csv")
    if job.session.nwb:
        products += _write_nwb(this, job, made, names, decided, peri_event.tables(results.values()))
    products = sorted(set(products))
    tops = [each.summary.part for name, each in of_session.items() if name in titles or name not in made]
    records = {part.name: part.record for part in [*tops, *(summary.part for summary in inspected)]}
    _write_record(this, job, products, measures, records)
    summaries = [(each.kind, each.summary) for each in of_session.values()]
    return replace(_result(summaries, [*products, f"{this.stem}.json"], this.recipe), failed=failed)


def _inputs_that_stay(this: Run, job: Job, out: Path) -> list[Summary]:
    """What the recipe ran on is what the session has, if no step made another: sets, GPIO, IMU, cameras."""
    if job.kind not in (*sets.SETS, *BESIDE_KINDS) or any(each.kind == job.kind for each in latest(this.planned)):
        return []
    mine = [one for one in members.of(job) if one.path in job.inputs]
    if job.kind in sets.SETS:
        try:
            return [sets.adapt_together(mine, this.stem, out, this.context)]
        except Unusable as error:
            if len(mine) == 1:
                raise
            this.context.warn(str(error))
    contexts = (replace(this.context, offset_us=one.offset_us) for one in mine)
    return [adapt(one.path, one.kind, one.stem, out, each, is_part=True) for one, each in zip(mine, contexts)]


def _of_parts(stream: Stream) -> str:
    """What stands for the files of all parts among those of the session; no file has such a name."""
    return f"/{stream.chain}/{stream.kind}/{stream.label}"


def _honour_decisions(
    of_session: Mapping[str, Made],
    titles: Mapping[str, tuple[str, str]],
    whole: Mapping[Stream, Sequence[Piece]],
    this: Run,
    out: Path,
) -> dict[str, Sequence[Mapping[str, str]]]:
    """What was decided by eye becomes the status in the session's cell sets; those of the steps stay as they were.

    Returns it by the name of the file that the step made.
    """
    decided: dict[str, Sequence[Mapping[str, str]]] = {}
    parts = {_of_parts(stream): this.names(stream) for stream in whole}
    for key, each in of_session.items():
        cells = each.summary.part.cells
        if cells and cells.decided and each.step >= 0:  # what was in the input stays as it is
            for name in parts.get(key, [key]):
                path = out / titles[name][0]
                copy = path.with_name(f".{path.name}.decided")
                shutil.copyfile(path, copy)
                edit_footer(copy, CellStatuses=status_numbers(cells.status[: cells.n_cells]))
                copy.replace(path)
                decided[name] = cells.decided
    return decided


def _with_accepted(
    this: Run, titles: Mapping[str, tuple[str, str]], names: Sequence[str], out: Path
) -> dict[Stream, Candidates]:
    """By cell set, what the step that found its cells did not take.

    Where somebody accepted some of it, the session's cell and event sets with them are written.
    """

    def entry_of(index: int) -> Entry | None:
        return this.store.entries.get(this.fingerprints[index])

    def tops(stream: Stream) -> list[Path]:
        return [out / titles[name][0] for name in this.names(stream)]

    def beside(stream: Stream) -> list[Path]:
        return candidates.beside(stream, this.planned, entry_of, this.files)

    def lineage(stream: Stream) -> Stream:
        return candidates.origin(stream, this.planned)

    found: dict[Stream, Candidates] = {}
    last = [stream for stream in latest(this.planned) if set(this.names(stream)) <= set(names)]
    for stream in [each for each in last if each.kind == "cell_set"]:
        cells, looked_at = this.files(stream), beside(stream)
        its = candidates.curated(looked_at, this.context.decisions, cells, this.context.warn)
        if its.candidates:
            found[stream] = its.candidates
        if not its.new:
            continue
        its.write(cells, tops(stream))
        for events in [each for each in last if each.kind == "event_set"]:
            made_by = this.planned[events.step]
            read = [each for each in made_by.read if each.kind == "cell_set"]
            if len(read) == 1 and lineage(read[0]) == lineage(stream):
                again = functools.partial(_again, this, events, read[0])
                scratch = this.context.scratch / f"events-{made_by.step.number}"
                scratch.mkdir()
                candidates.add_events(cells, its, this.files(events), tops(events), scratch, again)
                shutil.rmtree(scratch)
    return found


def _again(this: Run, events: Stream, cells: Stream, files: list[Path], folder: Path) -> list[Path]:
    """The events of other cell sets, found by the same step; paths, one a part."""
    each = this.planned[events.step]
    read = {
        takes.parameter: [file for stream in streams for file in (files if stream == cells else this.files(stream))]
        for takes, streams in each.inputs
    }
    entry = this.store.entries[this.fingerprints[events.step]]
    context = StepContext(folder, this.context.threads, lambda text: None, lambda done: None, this.inputs[0].parent)
    call_step(each, files_of(each, read, this.names, folder, {}), context, entry.estimated)
    return [folder / name for name in this.names(events)]


def _joined(
    this: Run, job: Job, keepers: Sequence[Stream], names: Sequence[str], titles: Mapping[str, tuple[str, str]]
) -> dict[Stream, list[Piece]]:
    """Sets of cells, and of their events, that name the same cells in each part: they are one for the session."""
    found = {}
    for stream in latest(this.planned):
        files = [name for name in this.names(stream) if name in names]
        if stream in keepers and stream.kind in sets.SETS and len(files) == len(this.inputs) > 1:
            paths = [this.store.staging / name for name in files]
            if len({check(path).names for path in paths}) == 1:
                found[stream] = [_piece(this, job, stream, name, titles) for name in files]
    return found


def _piece(this: Run, job: Job, stream: Stream, name: str, titles: Mapping[str, tuple[str, str]]) -> Piece:
    """A product of one part, with how many samples of the part it lacks; with the cells that were accepted by eye."""
    with_accepted = job.staging / titles[name][0] if name in titles else None
    path, whole = this.store.staging / name, check(this.inputs[this.names(stream).index(name)])
    product, before, after = check(path), 0, 0
    if whole.start and product.start and product.period_s and whole.period_s:
        n_whole = whole.n_samples // max(1, round(product.period_s / whole.period_s))
        lacks = (product.start - whole.start).total_seconds() / product.period_s
        if abs(lacks - round(lacks)) < 0.01 and 0 <= round(lacks) <= n_whole - product.n_samples:
            before = round(lacks)
            after = n_whole - product.n_samples - before
    path = with_accepted if with_accepted and with_accepted.exists() else path
    return Piece(path, _offset_us(this, job, stream, name), before, after)


def _offset_us(this: Run, job: Job, stream: Stream, name: str) -> int:
    """The start of a product, from the session's: as much later than its part's as it states."""
    names = this.names(stream)
    path = this.inputs[names.index(name) if len(names) == len(this.inputs) else 0]
    offset_us = job.session.member(path).offset_us if job.session.members else 0
    if stream.step < 0:
        return offset_us
    part, product = check(path), check(this.store.staging / name)
    if part.start and product.start and product.kind != "image":
        later = (product.start - part.start) // timedelta(microseconds=1)
        offset_us += later if 0 <= later < 1e6 * part.n_samples * part.period_s else 0
    return offset_us


def _titles(this: Run) -> dict[str, tuple[str, str]]:
    """Of the last product of each kind, by file name: its name at the top, and what those of its results begin with.

    Cells, events and the movie have no results of equal names; other kinds add theirs.
    """
    found = {}
    last = latest(this.planned)
    for stream in last:
        several = sum(other.kind == stream.kind for other in last) > 1
        plane = this.planned[stream.step].step.plane
        label = f"-{plane or stream.label or stream.chain.lstrip('-')}" if several else ""
        stems = [this.stem] if stream.once or len(this.inputs) == 1 else [short(path.stem) for path in this.inputs]
        for name, stem in zip(this.names(stream), stems):
            title = f"{stem}{label}" + ("" if stream.kind in PLAIN else f"-{KINDS[stream.kind].called}")
            found[name] = f"{stem}{label}-{KINDS[stream.kind].called}{stream.extension}", title
    return found


def _results_of_steps(this: Run, names: Sequence[str]) -> dict[str, str]:
    """Of files that are results of the session, their names at the top; no two steps have one name."""
    found: dict[str, str] = {}
    for each in this.planned:
        for makes, stream in each.outputs:
            if not makes.result:
                continue
            (begin,) = this.names(stream)
            top = "-".join(filter(None, (this.stem, each.step.plane, makes.suffix)))
            its = {name: f"{top}-{name.removeprefix(begin + '-')}" for name in names if name.startswith(f"{begin}-")}
            its = {name: shown for name, shown in its.items() if name in _products_of(this, stream)}
            clash = set(its.values()) & set(found.values())
            found |= {
                name: shown.replace(top, f"{top}-{each.step.number}", 1) if clash else shown
                for name, shown in its.items()
            }
    return found


def _products_of(this: Run, stream: Stream) -> dict[str, Any]:
    entry = this.store.entries.get(this.fingerprints[stream.step])
    return entry.products if entry else {}


def _second_name(file: Path, name: Path, kind: str = FILE) -> None:
    """People edit cell sets, in place: those get a copy, so that what the step made stays as it was."""
    if kind == "cell_set":
        shutil.copyfile(file, name)
        return
    try:
        os.link(file, name)
    except OSError:  # a disk without hard links
        shutil.copyfile(file, name)


def _write_nwb(
    this: Run,
    job: Job,
    made: Mapping[str, Made],
    names: Sequence[str],
    decided: Mapping[str, Sequence[Mapping[str, str]]],
    around_events: Sequence[str],
) -> list[str]:
    """One file of the recording or series and the last products of each kind, and films beside it; returns names."""
    from pipeline.nwb.collect import Product, write_run  # imported only when asked for

    last, titles = kept(this.planned, "last"), _titles(this)
    out = job.staging / f"{this.stem}.nwb"
    products = [
        Product(
            _with_decisions(this, job, titles, name),
            stream.kind,
            stream.chain,
            part,
            _made_by(each.step),
            made[name].summary.beside if name in made else None,
            _offset_us(this, job, stream, name) if stream.kind != FILE else 0,
            decided.get(name, ()),
        )
        for each in this.planned
        for stream in each.made
        if stream in last
        for part, name in enumerate(this.names(stream))
        if name in names
    ]
    responses = [job.staging / f"{table}.csv" for table in around_events]
    return [path.name for path in write_run(job, products, responses, out, this.context)]


def _with_decisions(this: Run, job: Job, titles: Mapping[str, tuple[str, str]], name: str) -> Path:
    """A product of a step, or the session's own cells and events, which were decided by eye."""
    decided = job.staging / titles[name][0] if name in titles and this.context.decisions else None
    is_of_cells = decided is not None and decided.name.endswith(("-cells.isxd", "-events.isxd"))
    return decided if decided and is_of_cells else this.store.staging / name


def _made_by(step: Step) -> str:
    return f"made by {step.function} ({step.bound.title})"


def _page(
    this: Run,
    job: Job,
    made: Mapping[str, Made],
    of_session: Mapping[str, Made],
    beside: Sequence[Summary],
    results: Sequence[str],
) -> Page:
    """Everything that the page of this run shows."""
    steps, inputs = this.store.staging, {path.name: path for path in this.inputs}
    done = [
        (each.step.number, each.step.bound.title, this.store.entries[fingerprint])
        for each, fingerprint in zip(this.planned, this.fingerprints)
        if fingerprint in this.store.entries
    ]

    def find(name: str) -> Path | None:
        path = inputs.get(name, steps / name)
        return path if path.is_file() else None

    corrections = [entry for _, _, entry in done if entry.function == "motion_correct"]
    figures.start_matplotlib(this.context.scratch)
    around_events = peri_event.parts(results, this.stem, job.staging)
    threads = max(1, this.context.threads) if this.context.options.film else 0
    motions = [
        page.motion(entry, find, this.stem, job.staging, this.context.warn, threads) for entry in corrections[-1:]
    ]
    shown = page.shown_parts(of_session)
    for plane in {each.plane for each in of_session.values()}:
        of_plane = {each.summary.part.name for each in of_session.values() if each.plane == plane}
        shown = page.with_tissue(shown, of_plane, _corrected(this, made, plane), made, steps)
    return Page(
        title=members.title(job),
        stem=this.stem,
        parts=[*shown, *around_events, *filter(None, motions), *(summary.part for summary in beside)],
        software=metadata.software(),
        provenance=this.context.provenance,
        steps=page.shown_steps(done, made, page.pictures(this.inputs, job.kind)),
        recipe=this.recipe.path.stem,
        warnings=this.warnings,
        session=members.facts(job.session) if len(job.session.members) > 1 else None,
    )


def _corrected(this: Run, made: Mapping[str, Made], plane: str) -> list[str]:
    """The files of a plane's movie after its last motion correction, else of the movie that cells were found in."""
    steps = [each for each in this.planned if each.step.plane == plane]
    cells = [each for each in steps if any(stream.kind == "cell_set" for stream in each.made)]
    candidates = [
        *(stream for each in reversed(cells) for stream in each.read),
        *(stream for each in steps if each.step.function == "motion_correct" for stream in each.made),
    ]
    movies = [stream for stream in candidates if stream.kind == "movie" and stream.step >= 0]
    return next((names for names in map(this.names, reversed(movies)) if set(names) <= set(made)), [])


def _write_record(
    this: Run,
    job: Job,
    products: list[str],
    measures: Mapping[str, Sequence[Measure]],
    records: Mapping[str, Mapping[str, Any]],
) -> None:
    record = {
        "schema_version": metadata.SCHEMA_VERSION,
        "kind": job.kind,
        "inputs": [metadata.common(path, job.kind)["input"] for path in this.inputs],
        "recipe": {
            "name": this.recipe.path.stem,
            "sha256": this.recipe.sha256,
            "text": this.recipe.text,
        },
        "steps": [asdict(entry) for entry in this.entries_done()],
        "session": members.facts(job.session),
        "recordings": records,
        "results": products,
        "quality": {name: quality.to_json(each) for name, each in measures.items()},
        "software": metadata.software(),
        "provenance": this.context.provenance,
    }
    metadata.write(job.staging / f"{this.stem}.json", record)


def _result(summaries: list[tuple[str, Summary]], products: list[str], recipe: Recipe) -> Result:
    """The cells are what a lab looks for; else the last product speaks for all. Nobody may mistake who computed it."""
    spoken = [summary for kind, summary in summaries if kind == "cell_set"] or [summary for _, summary in summaries]
    said = [f"recipe {recipe.path.stem}", *(summary.text for summary in spoken[-1:])]
    computed_by = dict.fromkeys(step.bound.title for step in recipe.steps if step.bound.name in COMPUTING)
    text = "; ".join([": ".join(said), *computed_by])
    return Result(tuple(products), text, spoken[-1].picture if spoken else None)
