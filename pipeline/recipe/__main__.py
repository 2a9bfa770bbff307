"""Whether a recipe can be used in this image.

    python -m pipeline.recipe --check [--copies FOLDER] FILE [ENGINE]

Prints every mistake as FILE:LINE: message and exits with 64, or prints what the recipe is, as one line of JSON, and
exits with 0. The exit code is 69 if isx cannot be loaded.
"""

from __future__ import annotations

import sys
from pathlib import Path

from pipeline.recipe.read import Recipe, complaints, read
from pipeline.when_used import import_when_used
from pipeline.words import say
from protocol.copies import ORIGINALS, Copies, NotCopied
from protocol.job import RecipeFacts

OK, BAD_RECIPE, NO_ISX, NO_OUTPUT = 0, 64, 69, 73


def describe(recipe: Recipe) -> RecipeFacts:
    """A recipe, as far as PID 1 needs to know it."""
    beside = tuple(sorted({name for step in recipe.steps for name in step.files_beside}))
    return RecipeFacts(
        recipe.group,
        tuple(recipe.kinds),
        recipe.sha256,
        recipe.nwb,
        recipe.follow,
        beside,
    )


def main(arguments: list[str]) -> int:
    import_when_used("pandas")
    copies, rest = ORIGINALS, arguments[1:]
    if rest[:1] == ["--copies"] and rest[1:]:
        copies, rest = Copies(Path(rest[1]), making=True), rest[2:]
    if len(rest) not in (1, 2) or arguments[0] != "--check":
        say([__doc__.strip()])
        return BAD_RECIPE
    try:
        recipe = read(Path(rest[0]), *rest[1:], copies=copies)
        mistakes = complaints(recipe)
    except NotCopied as error:
        say([str(error)])
        return NO_OUTPUT
    except (ImportError, OSError) as error:
        say([f"isx cannot be loaded: {error}"])
        return NO_ISX
    if mistakes:
        say(mistakes)
        return BAD_RECIPE
    say([describe(recipe).to_json().decode()], fd=1)
    return OK


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
