"""Movies whose frames alternate between focal planes or colours: a plane is a movie, and so is a colour."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pipeline import engines
from pipeline.recipe.model import INPUT, Recipe, Step
from pipeline.recipe.steps import STEPS
from recording.errors import Unusable
from recording.formats import check

PLANES, COLOURS = "de_interleave", "de_interleave_dualcolor"
HARMLESS = ("trim_movie",)  # steps that do not mind, as they look at no neighbouring frames


def untangled(recipe: Recipe, kind: str, inputs: Sequence[Path]) -> Recipe:
    """The recipe; where frames alternate between planes, it works on each plane by itself.

    Raises Unusable if frames alternate between colours and the recipe does not take them apart.
    """
    if kind != "movie":
        return recipe
    origins = [check(path).origin for path in inputs]
    functions = [step.function for step in recipe.steps]
    if any(origin.n_colours > 1 for origin in origins) and COLOURS not in functions and _computes(recipe):
        raise Unusable(
            f"the frames of {inputs[0].name} alternate between two colours (green and red): the recipe would mix "
            "them. Separate the colours first: with IDPS, in its own program or by a recipe that begins with "
            f"{COLOURS}. Then put the movie of each colour into the input, and remove this one"
        )
    planes = {origin.planes for origin in origins}
    if planes == {()} or PLANES in functions or not _computes(recipe):
        return recipe
    if len(planes) > 1:
        raise Unusable("its parts have different focal planes: process them one by one")
    return replace(recipe, steps=_steps_by_plane(recipe, planes.pop()))


def _computes(recipe: Recipe) -> bool:
    """A lab's own functions may know what they do."""
    return any(step.engine is not None and step.engine.name != "python" and step.function not in HARMLESS
               for step in recipe.steps)  # fmt: skip


def _steps_by_plane(recipe: Recipe, planes: Sequence[int]) -> list[Step]:
    """The planes are taken apart, then every step is there once for each of them."""
    contract = STEPS[PLANES]
    apart = Step(1, 1, PLANES, PLANES, contract, engines.choose(PLANES), parameters={"in_efocus_values": [*planes]})
    steps = [apart]
    for focus in planes:
        plane = f"efocus_{focus:04}"
        movie, made = f"{PLANES}.{focus}", set[str]()
        for step in recipe.steps:
            sources = tuple(_of_plane(source, plane, movie) for source in step.sources)
            takes_it = any("movie" in takes.kinds and not takes.optional for takes in step.contract.takes)
            if "movie" not in made and takes_it and not sources:
                sources = (movie,)
            steps.append(
                replace(step, number=len(steps) + 1, name=f"{step.name}-{plane}", sources=sources, plane=plane)
            )
            made |= {makes.kind for makes in step.contract.makes}
    return steps


def _of_plane(source: str, plane: str, movie: str) -> str:
    name, dot, label = source.partition(".")
    return movie if name == INPUT else f"{name}-{plane}{dot}{label}"
