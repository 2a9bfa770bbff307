"""The table of docs/recipes.md, from the contract of each step: `python -m tests.step_table` prints it."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.engines import ENGINES, isx_api
from pipeline.recipe.steps import STEPS, Makes, Takes
from recording.kinds import KINDS


def rows() -> Iterator[tuple[str, ...]]:
    """The table of docs/recipes.md: step, in, out and suffixes, parameters, whether licensed."""
    for name, contract in STEPS.items():
        if contract.unusable:
            yield (f"`{name}`", "", f"not usable: {contract.unusable}", "", "")
            continue
        takes = ", ".join(_taken(one) for one in contract.takes)
        makes = ", ".join(_made(one) for one in contract.makes)
        parameters = ", ".join(f"`{parameter}`" for parameter in contract.rules)
        yield (f"`{name}`", takes, makes, parameters, engines_of(name))


def engines_of(step: str) -> str:
    """Which engines have it, in an image that has IDPS."""
    others = [engine.name for engine in ENGINES if engine.name != "idps" and engine.offers(step)]
    return ", ".join((["idps"] if isx_api.is_licensed(step) else []) + others)


def _name(kind: str) -> str:
    return KINDS[kind].name if kind in KINDS else kind


def _taken(one: Takes) -> str:
    names = " or ".join(_name(kind) for kind in one.kinds)
    several = "several " if one.several else ""
    return f"{several}{names}{'s' if one.several else ''}" + (
        " (by `from`)" if one.optional else " (of the session)" if one.companion else ""
    )


def _made(one: Makes) -> str:
    name = _name(one.kind) + "s" * (one.folder)
    suffix = one.suffix.replace("{", "<").replace("}", ">").replace(":04", "")
    return f"{name} `-{suffix}{'-...' if one.folder else one.extension}`" + (" (one for all parts)" if one.once else "")


def markdown() -> str:
    """The table as the page has it."""
    head = ("Step", "Takes", "Makes", "Parameters", "Engines")
    lines = [head, ("---",) * len(head), *rows()]
    return "".join("| " + " | ".join(cells) + " |\n" for cells in lines)


if __name__ == "__main__":
    print(markdown(), end="")
