"""Each measure of a session beside those of the other sessions in the output: strips of dots on its page.

Standard library only: PID 1 draws them when it knows all sessions, in the room that each page keeps for that.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from statistics import fmean, median

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
        mine = f"{_number(self.value)}{self._unit}"
        return f"{self.label} is out of line: {mine}, the other {len(self.others)} sessions have {others}"

    @property
    def label(self) -> str:
        """The name of the measure in `-quality.csv`, as words."""
        return self.name.replace("_", " ")

    @property
    def _unit(self) -> str:
        return f" {self.unit}" if self.unit else ""

    def html(self) -> str:
        """A row: name, strip, value. The session's own dot is large."""
        low, high = min(self.value, *self.others), max(self.value, *self.others)

        def place(value: float) -> int:
            share = (value - low) / (high - low) if high > low else 0.5
            return round(MARGIN + share * (WIDTH - 2 * MARGIN))

        dots = "".join(f"M{x} 7h0" for x in sorted({place(each) for each in self.others}))
        style = ' class="out"' if self.is_out_of_line else ""
        return (
            f"<tr{style}><th>{escape(self.label)}</th><td>{_number(low)}</td>"
            f'<td><svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img" '
            f'aria-label="{_number(self.value)} among {_number(low)} to {_number(high)}"><path d="{dots}"/>'
            f'<circle cx="{place(self.value)}" cy="7" r="5"/></svg></td><td>{_number(high)}</td>'
            f"<td>{_number(self.value)}{escape(self._unit)}</td></tr>"
        )


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


def texts(found: Sequence[Strip]) -> Iterator[str]:
    """What a page says of them: all, else fewer, those out of line first."""
    for n in range(len(found), 0, -1):
        out = "".join(f"<p>{escape(each.sentence)}.</p>" for each in found if each.is_out_of_line)
        rows = "".join(each.html() for each in found[:n])
        n_others = max(len(each.others) for each in found)
        sessions = "session" if n_others == 1 else f"{n_others} sessions"
        yield (
            f'<details class="others"{" open" if out else ""}><summary>Beside the other {sessions} of this output'
            f"{'' if out else ': nothing is out of line' if n_others + 1 >= FEWEST else ''}</summary>{out}"
            f"<table>{rows}</table></details>"
        )


def _value(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if abs(value) < float("inf") else None


def _number(value: float) -> str:
    return f"{value:.3g}"
