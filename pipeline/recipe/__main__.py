"""Whether a recipe can be used in this image.

    python -m pipeline.recipe --check FILE [ENGINE]

Prints every mistake as FILE:LINE: message and exits with 64, or prints what the recipe is, as one line of JSON, and
exits with 0. The exit code is 69 if isx cannot be loaded.
"""

from __future__ import annotations

import sys
from pathlib import Path

from pipeline.recipe.read import Recipe, complaints, read
from pipeline.words import say
from recording.job import RecipeFacts

OK, BAD_RECIPE, NO_ISX = 0, 64, 69


def describe(recipe: Recipe) -> RecipeFacts:
    """A recipe, as far as PID 1 needs to know it."""
    steps = tuple(step.name for step in recipe.steps)
    return RecipeFacts(recipe.group, tuple(recipe.kinds), recipe.sha256, steps, tuple(recipe.licensed), recipe.nwb)


def main(arguments: list[str]) -> int:
    if len(arguments) not in (2, 3) or arguments[0] != "--check":
        say([__doc__.strip()])
        return BAD_RECIPE
    try:
        recipe = read(Path(arguments[1]), *arguments[2:])
        found = complaints(recipe)
    except (ImportError, OSError) as error:
        say([f"isx cannot be loaded: {error}"])
        return NO_ISX
    if found:
        say(found)
        return BAD_RECIPE
    say([describe(recipe).to_json().decode()], fd=1)
    return OK


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
