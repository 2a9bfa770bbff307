"""The page of a recipe's results: cells and events that it found, motion, and each step with pictures before and after.

Only the last product of each kind is shown in full; what a step made on the way has its files, and its picture here.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from pipeline.inspect import before_after, figures, movie_quality, quality, tissue
from pipeline.inspect.results import Summary
from pipeline.pages.cells import Cells
from pipeline.pages.content import Figure, Film, Measure, Part, StepShown
from pipeline.recipe.store import Entry
from pipeline.sessions.events import with_events
from recording import formats
from recording.errors import BadRecording
from recording.kinds import KINDS, MADE_KINDS

TRANSLATIONS = "translationX", "translationY"  # px, in the table that motion correction writes


@dataclass(frozen=True)
class Made:
    """A recording that a step made."""

    step: int  # index
    kind: str
    summary: Summary
    plane: str = ""  # the focal plane, if the recording has several


def shown_parts(made: Mapping[str, Made]) -> list[Part]:
    """The last product of each kind, cells with the events that were found in them. `made` goes by file name."""
    shown: list[Summary] = []
    for kind in sorted(MADE_KINDS, key=lambda kind: KINDS[kind].page):
        if KINDS[kind].page > 1 and shown:
            break  # cells are what a lab looks for
        of_kind = [product for product in made.values() if product.kind == kind]
        last = {product.plane: product.step for product in sorted(of_kind, key=lambda product: product.step)}
        if any(last):
            last.pop("", None)  # what was there before planes were taken apart
        shown += [product.summary for product in of_kind if last.get(product.plane) == product.step]
    return with_events(shown)


def with_tissue(parts: Sequence[Part], names: Collection[str], movies: Sequence[tissue.Inspected]) -> list[Part]:
    """The parts; the cells of those of these names have images of a movie (its files, in order) behind them."""
    if not movies:
        return [*parts]
    return [
        replace(part, cells=_over(part.cells, movies)) if part.cells and part.name in names else part for part in parts
    ]


def _over(cells: Cells, movies: Sequence[tissue.Inspected]) -> Cells:
    areas = [np.count_nonzero(values) for _, _, values in cells.cores if values.any()]
    diameter = 2 * float(np.sqrt(np.median(areas) / np.pi)) if areas else 10.0
    return replace(cells, tissue=tissue.backgrounds(movies, cells.shape, diameter))


def shown_steps(
    entries: Sequence[tuple[int, str, Entry]], made: Mapping[str, Made], pictures: Mapping[str, bytes]
) -> list[StepShown]:
    """Each step with its engine's title; `pictures` are those of the recordings that the recipe began with."""
    thumbnails = {**pictures, **{name: product.summary.thumbnail for name, product in made.items()}}
    steps = []
    for number, title, entry in entries:
        read = [name for names in entry.inputs.values() for name in names]
        after = [thumbnails[name] for name in entry.products if name in thumbnails]
        before = [thumbnails[name] for name in read if name in thumbnails]
        steps.append(
            StepShown(
                number,
                entry.step,
                entry.function,
                entry.engine,
                title,
                {**entry.parameters, **{name: f"{value} (from the movie)" for name, value in entry.estimated.items()}},
                entry.software,
                entry.seconds,
                [*entry.products],
                entry.references,
                before[0] if before else b"",
                after[0] if after else b"",
            )
        )
    return steps


def pictures(recordings: Sequence[Path], kind: str) -> dict[str, bytes]:
    """A small PNG of each movie that a recipe begins with."""
    if kind != "movie":
        return {}
    return {path.name: figures.thumbnail(figures.grey(movie_quality.mean_image(path))[0]) for path in recordings}


# ---- motion


def motion(
    entry: Entry,
    find: Callable[[str], Path | None],
    stem: str,
    out: Path,
    warn: Callable[[str], None],
    film_threads: int = 0,
) -> Part | None:
    """The effect of motion correction, over time and on the movie; None without a table of translations.

    `find` takes a file name and returns its path, or None if the file is gone. Writes `<stem>-motion.png`, and
    `<stem>-motion.mp4` with so many threads, unless that is 0. Warns of tables that cannot be read.
    """
    tables = [find(name) for name in entry.products if name.endswith("-translations.csv")]
    translations = [(table.name, _translations(table)) for table in tables if table]
    unread = [name for name, read in translations if read is None]
    if unread:
        warn(f"the page shows no motion for {', '.join(unread)}, which holds no translations")
    shifts = [read for _, read in translations if read is not None]
    if not shifts:
        return None
    file = f"{stem}-motion.png"
    _draw(out / file, shifts)
    length = np.concatenate([np.hypot(*shift[:, :2].T) for shift in shifts])
    steps = np.concatenate([np.hypot(*np.diff(shift[:, :2], axis=0).T) for shift in shifts])
    measures = [
        Measure("translation_max_px", "Translation, greatest", float(length.max()), "px", "of a frame, in this table"),
        Measure(
            "translation_step_median_px",
            "Motion from frame to frame",
            quality.median(steps),
            "px",
            "length of the difference of successive translations, median",
        ),
    ]
    read = [name for names in entry.inputs.values() for name in names]
    for when, names in (("before", read), ("after", [*entry.products])):
        measures += _state(when, [path for path in map(find, names) if path])
    return Part(
        "Motion correction",
        "motion",
        f"greatest translation {length.max():.3g} px",
        {},
        (Figure(file, "Translation of each frame that corrects its motion [px of the movie at that step]."),),
        tuple(measures),
        film=_film(entry, find, out / f"{stem}-motion.mp4", film_threads) if film_threads else None,
    )


def _film(entry: Entry, find: Callable[[str], Path | None], out: Path, threads: int) -> Film | None:
    """Film of the movies that the step read and made, or None if one of them no longer exists."""
    read, made = entry.inputs.get("input_movie_files", ()), [name for name in entry.products if name.endswith(".isxd")]
    before, after = [find(name) for name in read], [find(name) for name in made]
    if not before or not all(path and _is_movie(path) for path in (*before, *after)):
        return None
    return before_after.write([*filter(None, before)], [*filter(None, after)], out, threads)


def _translations(table: Path) -> np.ndarray | None:
    """Translations in px and seconds, shape (frames, 3)."""
    try:
        with table.open(encoding="utf-8", newline="") as file:
            rows = [*csv.DictReader(file)]
        columns = [[float(row[name] or "nan") for name in TRANSLATIONS] for row in rows]
        times = [float(row["time"] or "nan") if "time" in row else number for number, row in enumerate(rows)]
    except (ValueError, KeyError, csv.Error):
        return None
    return np.column_stack([columns, times]) if rows else None


def _state(when: str, recordings: Sequence[Path]) -> list[Measure]:
    """How sharp and how still the first movie among these is."""
    for path in recordings:
        if not _is_movie(path):
            continue
        glance = movie_quality.glance(path)
        if glance.n < 2:
            continue
        which = f"{when} motion correction; {glance.n} frames, evenly spread, whole field of view"
        return [
            Measure(
                f"correlation_with_mean_{when}",
                f"Correlation with the mean image, {when}",
                glance.correlation,
                "",
                f"Pearson's r of a frame and the mean image, median; {which}",
            ),
            Measure(
                f"crispness_{when}_per_px",
                f"Crispness of the mean image, {when}",
                quality.crispness(glance.mean),
                "1/px",
                f"norm of its gradients over that of the image less its mean; {which}",
            ),
        ]
    return []


def _is_movie(path: Path) -> bool:
    try:
        return path.suffix == ".isxd" and formats.check(path).kind == "movie"
    except BadRecording:
        return False


def _draw(path: Path, shifts: Sequence[np.ndarray]) -> None:
    """Translations of all parts, one after the other."""
    drawn, axes = figures.figure(9, 2.8)
    begin = 0.0
    for shift in shifts:
        time = begin + shift[:, 2]
        for column, name, colour in ((0, "x", figures.BLUE), (1, "y", figures.VERMILION)):
            label = name if begin == 0 else None
            axes.plot(*figures.envelope(time, shift[:, column]), color=colour, linewidth=0.8, label=label)
        begin = float(time[-1])
    axes.set(xlabel="Time [s], parts one after the other" if len(shifts) > 1 else "Time [s]", ylabel="Translation [px]")
    axes.set_xlim(0, begin or 1)
    figures.legend_outside(axes)
    figures.save(drawn, path)
