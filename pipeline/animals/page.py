"""The page of an animal: overlays of aligned days, cells by day, survival, doubtful pairs and followed cells."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage

from following.result import Pair
from pipeline.animals.animal import Animal
from pipeline.inspect import figures
from pipeline.inspect.context import Context
from pipeline.pages import page as pages
from pipeline.pages import templating
from pipeline.pages.page import png

MOST_CELLS, MOST_PAIRS = 60, 30  # shown; the tables have all
SIDE = 48  # px of a picture of one cell
OVERLAY = 420  # px, of the longer side of the field


@dataclass(frozen=True)
class Seen:
    """A cell on a day, as the page shows it."""

    day: str
    cell: str
    probability: str
    picture: str
    line: str  # points of an SVG polyline, 100 by 24
    responses: str  # up or down, to which events


def write(animal: Animal, out: Path, context: Context) -> list[str]:
    """Writes the figures and the page; returns their names."""
    figures.start_matplotlib(context.scratch)
    names = [f"{animal.name}-presence.png", f"{animal.name}-survival.png"]
    _draw_presence(animal, out / names[0])
    _draw_survival(animal, out / names[1])
    html = f"{animal.name}.html"
    (out / html).write_text(_html(animal, out, names), encoding="utf-8", errors="backslashreplace")
    return [*names, html]


def _html(animal: Animal, out: Path, figure_names: list[str]) -> str:
    following = animal.following
    styles, scripts = [pages.style()], [templating.asset("animal.js")]
    followed = [s for s in range(len(animal.days)) if s not in following.flags]
    n_days = following.presence.sum(axis=1)
    places = _Places(animal)
    shown = [int(group) for group in animal.numbers if n_days[group] > 1][:MOST_CELLS]
    return (
        pages.templates()
        .get_template("animal.html")
        .render(
            animal=animal,
            title=animal.name,
            policy=templating.policy(styles, scripts, pages.MEDIA),
            scripts=scripts,
            styles=styles,
            neighbours=templating.room(templating.NEIGHBOURS),
            misfit=pages.number(following.misfit),
            n_cells=len(animal.numbers),
            n_again=int((n_days[animal.numbers] > 1).sum()),
            figures=[png((out / name).read_bytes()) for name in figure_names],
            overlays=_overlays(animal),
            pairs=[_pair(places, pair) for pair in following.doubtful[:MOST_PAIRS]],
            n_pairs=len(following.doubtful),
            followed_days=[animal.days[s].cells.name for s in followed],
            cells=[(group, places.by_day(group, followed)) for group in shown],
            days=[
                (day, len(day.cells.session.names), model.model, pages.number(residual), s)
                for s, (day, model, residual) in enumerate(zip(animal.days, following.transforms, following.residual))
            ],
            reference=following.reference,
            responds=any(day.cells.responses for day in animal.days),
            files=sorted(path.name for path in out.iterdir() if path.is_file() and not path.name.startswith(".")),
        )
    )


def _pair(places: _Places, pair: Pair) -> tuple[str, bool, Seen, Seen]:
    one, other = places.seen(pair.session, pair.cell), places.seen(pair.other_session, pair.other_cell)
    return f"{pair.probability:.2f}", pair.kept, one, other


class _Places:
    """Pictures of cells: the same place of the reference's field on each day, so that a misfit shows."""

    def __init__(self, animal: Animal) -> None:
        self.animal = animal
        self.members: dict[int, list[tuple[int, int]]] = {}
        for s, groups in enumerate(animal.following.groups):
            for i, group in enumerate(groups):
                self.members.setdefault(int(group), []).append((s, i))
        self.centres = [
            transform(day.cells.session.centres) for day, transform in zip(animal.days, animal.following.transforms)
        ]

    def by_day(self, group: int, days: Sequence[int]) -> list[Seen | None]:
        """A cell on each of these days; None where it is not seen."""
        known = dict(self.members[group])
        return [self.seen(s, known[s]) if s in known else None for s in days]

    def seen(self, s: int, i: int) -> Seen:
        following, day = self.animal.following, self.animal.days[s]
        group = self.members[int(following.groups[s][i])]
        around = np.nanmean([self.centres[q][j] for q, j in group], axis=0)
        trace, session = day.cells.shown[i], day.cells.session
        x = np.linspace(0, 100, max(len(trace), 1))
        line = " ".join(f"{a:.1f},{22 - 20 * b:.1f}" for a, b in zip(x, trace))
        sure = following.sure[s][i]
        probability = "" if np.isnan(sure) else f"{sure:.2f}"
        said = [(events, classes.get(session.names[i])) for events, classes in day.cells.responses.items()]
        responds = ", ".join(f"{events} {verdict}" for events, verdict in said if verdict)
        return Seen(day.cells.name, session.names[i], probability, self._picture(s, i, around), line, responds)

    def _picture(self, s: int, i: int, around: np.ndarray) -> str:
        session, transform = self.animal.days[s].cells.session, self.animal.following.transforms[s]
        reach = 1.6 * (self.animal.following.diameter if np.isfinite(self.animal.following.diameter) else 10)
        if not np.isfinite(around).all():
            return ""
        y, x = np.mgrid[:SIDE, :SIDE] / (SIDE - 1) * 2 * reach - reach
        at = transform.inverse(around + np.column_stack([x.ravel(), y.ravel()]))
        image = session.cut[[i]].toarray().reshape(session.shape)
        seen = ndimage.map_coordinates(image, at.T[::-1], order=1).reshape(SIDE, SIDE)
        grey = Image.fromarray((255 * np.clip(seen, 0, 1)).astype(np.uint8))
        return _png(grey)


def _overlays(animal: Animal) -> list[tuple[str, str]]:
    """Each day's cells (green) over those of all days (magenta), in the field of the reference."""
    following = animal.following
    used = [s for s in range(len(animal.days)) if s not in following.flags]
    if not used:
        return []
    height, width = animal.days[following.reference].cells.session.shape
    zoom = min(1.0, OVERLAY / max(height, width))
    rows, columns = max(1, round(height * zoom)), max(1, round(width * zoom))
    y, x = np.mgrid[:rows, :columns] / zoom
    places = np.column_stack([x.ravel(), y.ravel()])
    maps = []
    for s in used:
        session = animal.days[s].cells.session
        together = session.cut.max(axis=0).toarray().reshape(session.shape)
        at = following.transforms[s].inverse(places).T[::-1]
        maps.append(np.clip(ndimage.map_coordinates(together, at, order=1), 0, 1).reshape(rows, columns))
    mean = np.mean(maps, axis=0)
    mean = mean / max(mean.max(), 1e-9)
    shown = []
    for s, seen in zip(used, maps):
        colours = np.stack([mean, seen, mean], axis=2)
        picture = Image.fromarray((255 * colours).astype(np.uint8))
        shown.append((animal.days[s].cells.name, _png(picture)))
    return shown


def _png(picture: Image.Image) -> str:
    content = io.BytesIO()
    picture.save(content, "png")
    return png(content.getvalue())


def _draw_presence(animal: Animal, path: Path) -> None:
    """Which cell is seen on which day: a row a cell, those on most days on top."""
    used = [s for s in range(len(animal.days)) if s not in animal.following.flags]
    there = animal.following.presence[np.ix_(animal.numbers, used)]
    drawn, axes = figures.figure(5, 4)
    axes.imshow(there, aspect="auto", interpolation="nearest", cmap="Greys", vmin=0, vmax=1)
    axes.set_xlabel("session")
    axes.set_ylabel("cell of the animal")
    axes.set_xticks(range(len(used)), [str(s + 1) for s in used])
    figures.save(drawn, path)


def _draw_survival(animal: Animal, path: Path) -> None:
    """Which part of the cells of a day is found again so many sessions later: mean over days."""
    used = [s for s in range(len(animal.days)) if s not in animal.following.flags]
    there = animal.following.presence[np.ix_(animal.numbers, used)]
    later: dict[int, list[float]] = {}
    for i in range(len(used)):
        for j in range(i, len(used)):
            n = there[:, i].sum()
            if n:
                later.setdefault(j - i, []).append(float((there[:, i] & there[:, j]).sum() / n))
    drawn, axes = figures.figure(5, 4)
    lags = sorted(later)
    for lag in lags:
        axes.plot([lag] * len(later[lag]), later[lag], ".", color=figures.SKY, markersize=4)
    axes.plot(lags, [np.mean(later[lag]) for lag in lags], "-", color=figures.BLUE)
    axes.set_ylim(0, 1.05)
    axes.set_xlabel("sessions later")
    axes.set_ylabel("part of the cells found again")
    figures.save(drawn, path)
