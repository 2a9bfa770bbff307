"""Each measure of a session beside those of the other sessions in the output: strips of dots on its page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median

from pipeline.pages import templating

FEWEST = 5  # sessions with a measure, to say that one is out of line
OUTLIER = 3.5  # modified z-score (Iglewicz and Hoaglin 1993, How to Detect and Handle Outliers)
WIDTH, MARGIN, HEIGHT = 240, 6, 14  # px of a strip


@dataclass(frozen=True)
class Strip:
    """One measure of a session, and those of the others."""

    name: str
    unit: str
    value: float
    others: Sequence[float]

    @property
    def is_out_of_line(self) -> bool:
        """By the modified z-score, with the mean deviation where most sessions have one value."""
        everyone = [self.value, *self.others]
        middle = median(everyone)
        away = [abs(each - middle) for each in everyone]
        spread = median(away) / 0.6745 or 1.2533 * fmean(away)
        is_far = abs(self.value - middle) > OUTLIER * spread
        return len(everyone) >= FEWEST and is_far and _number(self.value) != _number(middle)

    @property
    def sentence(self) -> str:
        others = f"{_number(min(self.others))} to {_number(max(self.others))}{self._unit}"
        return f"{self.label} is out of line: {self.shown}, the other {len(self.others)} sessions have {others}"

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
        low, high = self._limits
        return _number(low), _number(high)

    @property
    def dots(self) -> list[int]:
        """Where those of the others lie on the strip, in px."""
        return sorted({self._place(each) for each in self.others})

    @property
    def dot(self) -> int:
        """Where the session's own lies."""
        return self._place(self.value)

    @property
    def _limits(self) -> tuple[float, float]:
        return min(self.value, *self.others), max(self.value, *self.others)

    def _place(self, value: float) -> int:
        low, high = self._limits
        share = (value - low) / (high - low) if high > low else 0.5
        return round(MARGIN + share * (WIDTH - 2 * MARGIN))


def strips(mine: str, sessions: Mapping[str, Mapping[str, tuple[str, str]]]) -> list[Strip]:
    """Of the session `mine`; `sessions` are all of its kind: values and units by measure, as text."""
    found = []
    for name, (text, unit) in sessions[mine].items():
        others = [_value(each[name][0]) for key, each in sessions.items() if key != mine and name in each]
        known = [each for each in others if each is not None]
        value = _value(text)
        if value is not None and known:
            found.append(Strip(name, unit, value, known))
    return sorted(found, key=lambda strip: not strip.is_out_of_line)


def text(found: Sequence[Strip], room: int) -> str:
    """What a page says of them in `room` bytes: all, else fewer, those out of line first; "" if nothing fits."""
    template = templating.environment().get_template("others.html")
    for n in range(len(found), 0, -1):
        n_others = max(len(each.others) for each in found)
        shown = template.render(
            found=found,
            rows=found[:n],
            out=[each.sentence for each in found if each.is_out_of_line],
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
