"""Methods text for a paper, from what really ran: steps, engines, parameters and versions, with citations."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common import NAME
from pipeline.pages.content import Part, StepShown

LIBRARIES = (("numpy", "NumPy", "harris2020"), ("matplotlib", "Matplotlib", "hunter2007"))
STEPS_LIBRARIES = (("scipy", "SciPy", "virtanen2020"),)


@dataclass(frozen=True)
class Methods:
    """The text, and the keys of what it cites, in order."""

    markdown: str
    citations: tuple[str, ...]


def text(parts: Sequence[Part], steps: Sequence[StepShown], software: Mapping[str, Any]) -> Methods:
    """The work in sentences."""
    cited: list[str] = []

    def cite(key: str) -> str:
        if key not in cited:
            cited.append(key)
        return f"[@{key}]"

    sentences = [f"Recordings were read with isx {software.get('isx') or '(unknown version)'} {cite('isx')}."]
    sentences += [_sentence(step, software, cite) for step in steps]
    for said in dict.fromkeys(part.methods for part in parts if part.methods):
        sentences.append(re.sub(r"\[\{(\w+)\}\]", lambda match: cite(match[1]), said))
    in_steps = {name for step in steps for name in step.software}
    libraries = [*LIBRARIES, *(library for library in STEPS_LIBRARIES if library[0] in in_steps)]
    versions = {**{name: text for step in steps for name, text in step.software.items()}, **software}
    used = [f"{title} {versions[name]} {cite(key)}" for name, title, key in libraries if versions.get(name)]
    sentences.append(f"Tables and figures were made in Python {software.get('python', '')} with {_listed(used)}.")
    return Methods(" ".join(sentences) + "\n", tuple(cited))


def bibliography(keys: Sequence[str]) -> str:
    """BibTeX."""
    return "\n\n".join(_references()[key] for key in keys) + "\n"


@functools.cache
def _references() -> dict[str, str]:
    """BibTeX entries by key."""
    entries = (Path(__file__).parent / "references.bib").read_text(encoding="utf-8").strip().split("\n\n")
    return {entry.partition("{")[2].partition(",")[0]: entry for entry in entries}


def _sentence(step: StepShown, software: Mapping[str, Any], cite: Any) -> str:
    version = f" (isx {step.software['isx']})" if step.software.get("isx") else ""
    by = {
        "open": f"the open engine of {NAME} {software.get(NAME) or '(unknown version)'}, which is not IDPS,",
        "python": "a Python function of the laboratory",
    }.get(step.engine, f"{step.engine_title}{version}")
    said = f"Step {step.number}, {step.name.replace('_', ' ')}, was carried out by {by}"
    said += "".join(f" {cite(key)}" for key in step.references)
    values = [f"{name} = {_value(value)}" for name, value in step.parameters.items()]
    return said + (f" with {', '.join(values)}." if values else " with default parameters.")


def _value(value: Any) -> str:
    if value is None:
        return "none"
    return "[" + ", ".join(map(_value, value)) + "]" if isinstance(value, (list, tuple)) else str(value)


def _listed(items: Sequence[str]) -> str:
    return items[0] if len(items) == 1 else ", ".join(items[:-1]) + " and " + items[-1] if items else "its own modules"
