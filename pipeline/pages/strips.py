"""Each measure of a session beside those of the other sessions in the output: strips of dots on its page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import fsum

from common.normal import SD_TO_MAD
from pipeline.pages import templating

FEWEST = 5  # sessions with a measure, to say that one is out of line
OUTLIER = 3.5  # modified z-score (Iglewicz and Hoaglin 1993, How to Detect and Handle Outliers)
WIDTH, MARGIN, HEIGHT = 240, 6, 14  # px of a strip


def median(values: Sequence[float]) -> float:
    """The module `statistics` takes longer to import than a page of one session does to write."""
    ordered = sorted(values)
    return (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2


@dataclass(frozen=True)
class Population:
    """One measure of all sessions of a kind. What they share is reckoned once: there may be ten thousand."""

    values: Sequence[float]  # in rising order

    @cached_property
    def middle(self) -> float:
        return median(self.values)

    @cached_property
    def spread(self) -> float:
        """Robust standard deviation, from the median deviation; from the mean one if most sessions have one value."""
        away = [abs(value - self.middle) for value in self.values]
        return median(away) / SD_TO_MAD or 1.2533 * fsum(away) / len(away)

    def place(self, value: float) -> int:
        """Where it lies on the strip, in px."""
        low, high = self.values[0], self.values[-1]
        share = (value - low) / (high - low) if high > low else 0.5
        return round(MARGIN + share * (WIDTH - 2 * MARGIN))

    @cached_property
    def places(self) -> Mapping[int, int]:
        """How many sessions lie at a place, by px, in rising order."""
        return Counter(map(self.place, self.values))


@dataclass(frozen=True)
class Strip:
    """One measure of a session, among those of all."""

    name: str
    unit: str
    value: float
    everyone: Population  # itself included

    @cached_property
    def is_out_of_line(self) -> bool:
        """Whether the modified z-score makes the session an outlier."""
        middle = self.everyone.middle
        is_far = abs(self.value - middle) > OUTLIER * self.everyone.spread
        return self.n_others + 1 >= FEWEST and is_far and _number(self.value) != _number(middle)

    @property
    def n_others(self) -> int:
        return len(self.everyone.values) - 1

    @property
    def sentence(self) -> str:
        values = self.everyone.values
        low = values[1] if self.value == values[0] else values[0]
        high = values[-2] if self.value == values[-1] else values[-1]
        others = f"{_number(low)} to {_number(high)}{self._unit}"
        return f"{self.label} is out of line: {self.shown}, the other {self.n_others} sessions have {others}"

    @property
    def label(self) -> str:
        """The name of the measure in `-quality.csv`, as words."""
        return self.name.replace("_", " ")

    @property
    def _unit(self) -> str:
        return f" {self.unit}" if self.unit else ""

    @property
    def shown(self) -> str:
        """The session's own value, with its unit."""
        return f"{_number(self.value)}{self._unit}"

    @property
    def range(self) -> tuple[str, str]:
        """The least and the largest value of all sessions."""
        return _number(self.everyone.values[0]), _number(self.everyone.values[-1])

    @cached_property
    def dots(self) -> str:
        """Those of the others, as an SVG path."""
        places = self.everyone.places.items()
        return "".join(f"M{x} 7h0" for x, n in places if n > (x == self.dot))

    @cached_property
    def dot(self) -> int:
        """Where the session's own lies, in px."""
        return self.everyone.place(self.value)


def populations(sessions: Iterable[Mapping[str, tuple[str, str]]]) -> dict[str, Population]:
    """Populations by measure. `sessions` are all of one kind, with value and unit by measure, as text."""
    by_measure: dict[str, list[float]] = {}
    for measures in sessions:
        for name, (text, _) in measures.items():
            value = _value(text)
            if value is not None:
                by_measure.setdefault(name, []).append(value)
    return {name: Population(sorted(values)) for name, values in by_measure.items()}


def strips(mine: Mapping[str, tuple[str, str]], everyone: Mapping[str, Population]) -> list[Strip]:
    """One strip for each measure of a session. `everyone` holds the measures of all sessions, this one included."""
    comparable = []
    for name, (text, unit) in mine.items():
        value = _value(text)
        if value is not None and len(everyone[name].values) > 1:
            comparable.append(Strip(name, unit, value, everyone[name]))
    return sorted(comparable, key=lambda strip: not strip.is_out_of_line)


def text(fitting: Sequence[Strip], room: int) -> str:
    """What a page says of them in `room` bytes: all, else fewer, those out of line first; "" if nothing fits."""
    if not fitting:
        return ""
    template = templating.environment().get_template("others.html")
    n_others = max(strip.n_others for strip in fitting)
    sentences = [strip.sentence for strip in fitting if strip.is_out_of_line]
    for n in range(len(fitting), 0, -1):
        shown = template.render(
            rows=fitting[:n],
            out=sentences,
            sessions="session" if n_others == 1 else f"{n_others} sessions",
            is_enough=n_others + 1 >= FEWEST,
            size=(WIDTH, HEIGHT),
        )
        if len(shown.encode()) <= room:
            return shown
    return ""


def _value(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if abs(value) < float("inf") else None


def _number(value: float) -> str:
    return f"{value:.3g}"
