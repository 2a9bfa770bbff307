"""The results of a recipe: every product that stays is inspected, and what says that all is there is written.

The last product of each kind is what a lab looks for: it and its results lie at the top, under names that do not depend
on the steps. What was made on the way, with its results, is in the folder of the steps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from pipeline.inspect import quality
from pipeline.inspect.candidates import Candidates
from pipeline.inspect.context import Context
from pipeline.inspect.pieces import Piece
from pipeline.inspect.results import Summary, write_of_series, write_results
from pipeline.pages.content import Measure
from pipeline.pages.page import write as write_page
from pipeline.recipe import peri_event
from pipeline.recipe.chain import Stream, latest
from pipeline.recipe.decided import honour_decisions, of_parts, with_accepted
from pipeline.recipe.joined import joined
from pipeline.recipe.model import Recipe
from pipeline.recipe.names import results_of_steps, second_name, titles
from pipeline.recipe.page import Made
from pipeline.recipe.session_files import page_of, write_nwb, write_record
from pipeline.recipe.state import Run, offset_us, part_of_progress
from pipeline.recipe.steps import FILE
from pipeline.sessions import members, sets
from protocol.job import Member, Result
from recording.errors import TooLittleMemory, Unusable
from recording.kinds import BESIDE_KINDS, JOINED_KINDS, KINDS
from recording.names import STEPS, short

COMPUTING = ("idps", "open")  # engines that the report names: the others read, write and are the lab's own


def results(this: Run, progress: Callable[[float], None]) -> Result:
    """Write the results once all steps are done. Raises Unusable, BadRecording."""
    gathered = _Results.gathered(this)
    gathered.looked_at = with_accepted(this, gathered.titles, gathered.names, gathered.out)
    gathered.whole = joined(this, gathered.keepers, gathered.names, gathered.titles)
    gathered.name_at_the_top()
    gathered.inspect_products(progress)
    gathered.inspect_joined()
    gathered.inspect_inputs_that_stay()
    failed = gathered.inspect_beside()
    decided = honour_decisions(gathered.of_session, gathered.titles, gathered.whole, this, gathered.out)
    measures = gathered.write_pages()
    if this.job.session.nwb:
        around_events = peri_event.tables(gathered.of_steps.values())
        gathered.products += write_nwb(this, gathered.made, gathered.names, decided, around_events)
    products = sorted(set(gathered.products))
    write_record(this, products, measures, gathered.records())
    summaries = [(made.kind, made.summary) for made in gathered.of_session.values()]
    return replace(_result(summaries, [*products, f"{this.stem}.json"], this.recipe), failed=failed)


@dataclass
class _Results:
    """The results made so far."""

    this: Run
    keepers: list[Stream]
    names: list[str]  # of files that stay
    titles: dict[str, tuple[str, str]]  # of the last product of each kind, by file name
    of_steps: dict[str, str]  # names at the top of results that steps wrote
    looked_at: Mapping[Stream, Candidates] = field(default_factory=dict)
    whole: Mapping[Stream, Sequence[Piece]] = field(default_factory=dict)  # sets that are one over the parts
    made: dict[str, Made] = field(default_factory=dict)  # by file name
    of_session: dict[str, Made] = field(default_factory=dict)  # the same, but for sets that are one
    inspected: list[Summary] = field(default_factory=list)  # what was recorded beside
    products: list[str] = field(default_factory=list)

    @classmethod
    def gathered(cls, this: Run) -> _Results:
        """Results that begin with the files of the steps that stay."""
        keepers = [stream for step in this.planned for stream in step.made if stream in this.keep]
        names = [name for stream in keepers for name in this.names(stream)]
        names = [name for name in names if any(this.store.find(entry, name) for entry in this.entries_done())]
        names += [name for entry in this.entries_done() for name in entry.extras]
        this.store.gather(names)
        products = [f"{STEPS}/{name}" for name in names]
        return cls(this, keepers, names, titles(this), results_of_steps(this, names), products=products)

    @property
    def out(self) -> Path:
        return self.this.job.staging

    @property
    def recordings(self) -> list[tuple[str, Stream]]:
        """Those that steps made and that stay."""
        return [(name, stream) for stream in self.keepers if stream.kind != FILE for name in self.this.names(stream)]

    @property
    def beside(self) -> list[Member]:
        return members.others(self.this.job)

    def name_at_the_top(self) -> None:
        """What is there has the cells that were accepted by eye."""
        last = {name: (self.titles[name][0], stream.kind) for name, stream in self.recordings if name in self.titles}
        for name, (shown, kind) in {**{name: (top, FILE) for name, top in self.of_steps.items()}, **last}.items():
            if not (self.out / shown).exists():
                second_name(self.this.store.staging / name, self.out / shown, kind)
            self.products.append(shown)

    def inspect_products(self, progress: Callable[[float], None]) -> None:
        """A warning that holds for several is said once."""
        said: dict[str, list[str]] = {}  # by warning: the products that it is about
        for number, (name, stream) in enumerate(self.recordings):
            shown = self.titles[name][0] if name in self.titles else name
            part = replace(
                self._context(name, stream),
                progress=part_of_progress(progress, number, len(self.recordings) + len(self.beside)),
                warn=lambda text, shown=shown: said.setdefault(text, []).append(shown),
            )
            summary = self._inspect(name, stream, part)
            self.made[name] = Made(stream.step, stream.kind, summary, self._plane(stream))
        for text, about in said.items():
            more = f" and {len(about) - 1} more" if len(about) > 1 else ""
            self.this.context.warn(f"{about[0]}{more}: {text}")
        joined_names = {name for stream in self.whole for name in self.this.names(stream)}
        self.of_session = {name: product for name, product in self.made.items() if name not in joined_names}

    def _is_at_top(self, name: str, stream: Stream) -> bool:
        """Whether its results are; those of a part of a set lie with the steps."""
        return name in self.titles and stream not in self.whole

    def _context(self, name: str, stream: Stream) -> Context:
        this, at_top = self.this, self._is_at_top(name, stream)
        entry = this.store.entries[this.fingerprints[stream.step]]
        return replace(
            this.context,
            offset_us=offset_us(this, stream, name),
            provenance={**this.context.provenance, "step": {**asdict(entry), "products": list(entry.products)}},
            decisions=this.context.decisions if at_top else None,
            candidates=self.looked_at.get(stream) if at_top else this.context.candidates,
        )

    def _inspect(self, name: str, stream: Stream, context: Context) -> Summary:
        if self._is_at_top(name, stream):
            shown, title = self.titles[name]
            summary = write_results(self.out / shown, stream.kind, title, self.out, context, is_part=True)
            self.products += summary.products
            return summary
        steps = self.this.store.staging
        summary = write_results(steps / name, stream.kind, Path(name).stem, steps, context)
        self.products += [f"{STEPS}/{product}" for product in summary.products]
        return summary

    def _plane(self, stream: Stream) -> str:
        return self.this.planned[stream.step].step.plane

    def inspect_joined(self) -> None:
        """Sets that are one over the parts."""
        this = self.this
        for stream, pieces in self.whole.items():
            title = self.titles[this.names(stream)[0]][1].replace(short(this.inputs[0].stem), this.stem, 1)
            part = replace(
                this.context,
                warn=lambda text, title=title: this.context.warn(f"{title}: {text}"),
                candidates=self.looked_at.get(stream),
            )
            ending = f"-{KINDS[stream.kind].called}" if stream.kind == "event_set" else ""
            name = f"{title}{ending}{stream.extension}"
            summary = write_of_series(pieces, stream.kind, name, title, self.out, part)
            self.of_session[of_parts(stream)] = Made(stream.step, stream.kind, summary, self._plane(stream))
            self.products += summary.products

    def inspect_inputs_that_stay(self) -> None:
        """What the recipe ran on is what the session has, if no step made another."""
        for summary in _inputs_that_stay(self.this, self.out):
            self.of_session[summary.part.name] = Made(-1, self.this.job.kind, summary)
            self.products += summary.products

    def inspect_beside(self) -> dict[str, str]:
        """What was recorded beside; returns what could not be used, by path, and why."""
        failed: dict[str, str] = {}
        n_before, n_all = len(self.recordings), len(self.recordings) + len(self.beside)
        for number, one in enumerate(self.beside):
            part = members.context_for(one, self.this.context, n_before + number, n_all)
            part.at(one.path)
            try:
                self.inspected.append(write_results(one.path, one.kind, one.stem, self.out, part, is_part=True))
                self.products += self.inspected[-1].products
            except (MemoryError, TooLittleMemory):
                raise
            except Exception as error:  # hours of work must not be lost to it
                failed[str(one.path)] = members.reason(error)
        self.this.context.at(None)
        return failed

    def write_pages(self) -> dict[str, Sequence[Measure]]:
        """The page, and the tables of the session; returns the measures of each part."""
        this, out = self.this, self.out
        self.products += this.context.decisions.report(out, this.context.warn) if this.context.decisions else []
        self.products += sets.join_ttl(this.stem, self.products, out)
        shown = page_of(this, self.made, self.of_session, self.inspected, [*self.of_steps.values()])
        self.products += write_page(shown, out)
        drawings = [figure for part in shown.parts for figure in part.figures]
        drawn = [name for figure in drawings for name in (figure.file, figure.vector) if name]
        films = [part.film.file for part in shown.parts if part.kind == "motion" and part.film]
        measures = {part.name: part.measures for part in shown.parts}
        quality.write(out / f"{this.stem}-quality.csv", measures)
        self.products += [*drawn, *films, f"{this.stem}-quality.csv"]
        return measures

    def records(self) -> dict[str, Mapping[str, Any]]:
        """Records of the session's recordings, by name."""
        tops = [
            made.summary.part for name, made in self.of_session.items() if name in self.titles or name not in self.made
        ]
        return {part.name: part.record for part in [*tops, *(summary.part for summary in self.inspected)]}


def _inputs_that_stay(this: Run, out: Path) -> list[Summary]:
    """What the recipe ran on is what the session has, if no step made another: sets, GPIO, IMU, cameras."""
    kind = this.job.kind
    if kind not in (*JOINED_KINDS, *BESIDE_KINDS) or any(stream.kind == kind for stream in latest(this.planned)):
        return []
    mine = [one for one in members.of(this.job) if one.path in this.job.inputs]
    if kind in JOINED_KINDS:
        try:
            return [sets.adapt_together(mine, this.stem, out, this.context)]
        except Unusable as error:
            if len(mine) == 1:
                raise
            this.context.warn(str(error))
    pairs = [(one, replace(this.context, offset_us=one.offset_us)) for one in mine]
    return [write_results(one.path, one.kind, one.stem, out, context, is_part=True) for one, context in pairs]


def _result(summaries: list[tuple[str, Summary]], products: list[str], recipe: Recipe) -> Result:
    """The cells are what a lab looks for; else the last product speaks for all. Nobody may mistake who computed it."""
    spoken = [summary for kind, summary in summaries if kind == "cell_set"] or [summary for _, summary in summaries]
    said = [f"recipe {recipe.path.stem}", *(summary.text for summary in spoken[-1:])]
    computed_by = dict.fromkeys(step.bound.title for step in recipe.steps if step.bound.name in COMPUTING)
    text = "; ".join([": ".join(said), *computed_by])
    return Result(tuple(products), text, spoken[-1].picture if spoken else None)
