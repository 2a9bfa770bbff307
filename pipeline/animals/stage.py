"""What a worker does for one animal: reads its sessions, follows their cells, writes tables, figures and the page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from following import follow
from open_engine.files.movies import one_blas_thread
from pipeline.animals import page
from pipeline.animals.animal import Animal, Day
from pipeline.animals.read import read_session
from pipeline.inspect import metadata, tables
from pipeline.inspect.context import Context
from protocol.job import Job, Result
from recording.errors import BadRecording, Unusable

GRID = 8  # places across the field at which a warp is written


def run(job: Job, context: Context) -> Result:
    """`job.inputs` are the sources of the sessions by start, `job.results` is the output folder, `job.stem` the animal.

    Raises Unusable if fewer than two sessions can be read.
    """
    assert job.results is not None
    cells, starts, left = [], [], []
    for number, (source, said) in enumerate(zip(job.inputs, job.provenance["sessions"])):
        try:
            cells.append(read_session(source, job.results / said["results"], said["results"], said["table"]))
            starts.append(said["start"])
        except (BadRecording, Unusable, OSError, ValueError) as error:
            left.append((said["results"], _why(error)))
            context.warn(f"{said['results']} is left out: {left[-1][1]}")
        context.progress(0.3 * (number + 1) / len(job.inputs))
    if len(cells) < 2:
        why = "; ".join(f"{name}: {reason}" for name, reason in left[:3])
        raise Unusable(f"of {len(job.inputs)} sessions, {len(cells)} can be read ({why}): there is nothing to follow")
    with one_blas_thread():
        following = follow([one.session for one in cells])
    context.progress(0.7)
    days = [Day(its, start, following.flags.get(s, "")) for s, (its, start) in enumerate(zip(cells, starts))]
    for day in days:
        if day.note:
            context.warn(f"{day.cells.name} is not matched: {day.note}")
    animal = Animal(job.stem, days, following, left)
    products = write_tables(animal, job.staging)
    products += page.write(animal, job.staging, context)
    metadata.write(job.staging / f"{job.stem}.json", _record(animal, products, job))
    return Result((*products, f"{job.stem}.json"), summary(animal))


def _why(error: Exception) -> str:
    if isinstance(error, BadRecording):
        return error.reason
    return f"{error.strerror}: {error.filename}" if isinstance(error, OSError) and error.strerror else str(error)


def summary(animal: Animal) -> str:
    following = animal.following
    used = len(animal.days) - len(following.flags)
    n_days = following.presence.sum(axis=1)[animal.numbers]
    text = f"{len(animal.numbers)} cells over {used} sessions, {int((n_days > 1).sum())} of them on more than one"
    fit = f"; days match to within {following.misfit:.2f} of a cell's diameter" if np.isfinite(following.misfit) else ""
    n_apart = len(following.flags)
    apart = f"; {n_apart} session{' does' if n_apart == 1 else 's do'} not fit" if n_apart else ""
    return text + fit + apart


def write_tables(animal: Animal, out: Path) -> list[str]:
    writers: list[tuple[str, Callable[[Animal], dict[str, Sequence[object]]]]] = [
        ("cells", _cells),
        ("presence", _presence),
        ("transforms", _transforms),
        ("warps", _warps),
        ("doubtful", _doubtful),
        *([("responses", _responses)] if any(day.cells.responses for day in animal.days) else []),
    ]
    names = []
    for kind, columns in writers:
        names.append(f"{animal.name}-{kind}.csv")
        tables.write(out / names[-1], columns(animal))
    return names


def _cells(animal: Animal) -> dict[str, Sequence[object]]:
    rows = [
        (int(group), day.cells.name, name, float(sure))
        for day, groups, sures in zip(animal.days, animal.following.groups, animal.following.sure)
        for group, name, sure in zip(groups, day.cells.session.names, sures)
    ]
    rows.sort(key=lambda row: row[0])
    return {
        "animal_cell": [row[0] for row in rows],
        "session": [row[1] for row in rows],
        "cell": [row[2] for row in rows],
        "probability": [round(row[3], 4) for row in rows],
    }


def _responses(animal: Animal) -> dict[str, Sequence[object]]:
    """How the step peri_event found each cell of each session to respond."""
    rows = [
        (int(group), day.cells.name, name, events, classes[name])
        for day, groups in zip(animal.days, animal.following.groups)
        for group, name in zip(groups, day.cells.session.names)
        for events, classes in day.cells.responses.items()
        if name in classes
    ]
    rows.sort(key=lambda row: (row[0], row[3]))
    heads = ("animal_cell", "session", "cell", "events", "class")
    return {name: [row[i] for row in rows] for i, name in enumerate(heads)}


def _presence(animal: Animal) -> dict[str, Sequence[object]]:
    there, used = animal.following.presence, animal.numbers
    columns: dict[str, Sequence[object]] = {"animal_cell": used, "n_sessions": there[used].sum(axis=1)}
    followed = [(s, day) for s, day in enumerate(animal.days) if s not in animal.following.flags]
    return {**columns, **{day.cells.name: there[used, s].astype(int) for s, day in followed}}


def _transforms(animal: Animal) -> dict[str, Sequence[object]]:
    """x of the reference = a00 x + a01 y + t0, y likewise; then what the warp adds there (`-warps.csv`)."""
    following, flags = animal.following, animal.following.flags
    affine = np.array([transform.affine.ravel() for transform in following.transforms]).reshape(-1, 6)
    affine[sorted(flags)] = np.nan
    columns: dict[str, Sequence[object]] = {
        "session": [day.cells.name for day in animal.days],
        "start": [day.start for day in animal.days],
        "reference": [int(s == following.reference) for s in range(len(animal.days))],
        "model": ["" if s in flags else transform.model for s, transform in enumerate(following.transforms)],
    }
    columns |= {name: affine[:, i] for i, name in enumerate(("a00", "a01", "t0", "a10", "a11", "t1"))}
    columns["residual_px"] = following.residual
    columns["better_than_mirrored"] = following.excess
    columns["left_by_itself"] = [day.note for day in animal.days]
    return columns


def _warps(animal: Animal) -> dict[str, Sequence[object]]:
    rows = []
    for s, (day, transform) in enumerate(zip(animal.days, animal.following.transforms)):
        if transform.warp is None or s in animal.following.flags:
            continue
        height, width = day.cells.session.shape
        grid = np.array([(x, y) for y in np.linspace(0, height - 1, GRID) for x in np.linspace(0, width - 1, GRID)])
        moved = transform(grid)
        added = moved - (grid @ transform.affine[:, :2].T + transform.affine[:, 2])
        rows += [(day.cells.name, *at, *by) for at, by in zip(grid, added)]
    return {name: [row[i] for row in rows] for i, name in enumerate(("session", "x", "y", "dx", "dy"))}


def _doubtful(animal: Animal) -> dict[str, Sequence[object]]:
    names = [(day.cells.name, day.cells.session.names) for day in animal.days]
    rows = [
        (
            names[pair.session][0],
            names[pair.session][1][pair.cell],
            names[pair.other_session][0],
            names[pair.other_session][1][pair.other_cell],
            round(pair.probability, 4),
            int(pair.kept),
        )
        for pair in animal.following.doubtful
    ]
    heads = ("session", "cell", "other_session", "other_cell", "probability", "kept")
    return {name: [row[i] for row in rows] for i, name in enumerate(heads)}


def _record(animal: Animal, products: Sequence[str], job: Job) -> dict[str, object]:
    following = animal.following
    return {
        "schema_version": metadata.SCHEMA_VERSION,
        "kind": "animal",
        "animal": animal.name,
        "sessions": [
            {
                "session": day.cells.name,
                "start": day.start,
                "n_cells": len(day.cells.session.names),
                "left_by_itself": day.note or None,
            }
            for day in animal.days
        ],
        "left_out": [{"session": name, "reason": reason} for name, reason in animal.left],
        "reference": animal.days[following.reference].cells.name,
        "misfit_diameters": following.misfit,
        "n_cells": len(animal.numbers),
        "results": [*products],
        "software": metadata.software(),
        "provenance": job.provenance,
    }
