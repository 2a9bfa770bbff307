"""Who carries the steps of recipes out. Functions of a lab's own are engines too: see `pipeline.engines.python`."""

from __future__ import annotations

from pipeline.engines.isx_api import IsxEngine
from pipeline.engines.open import Open
from pipeline.engines.protocol import Engine

IDPS = IsxEngine("idps", "IDPS", licensed=True)  # in an image that IDPS was baked into
PUBLIC = IsxEngine("public", "isx", licensed=False)  # input and output
ENGINES: tuple[Engine, ...] = (IDPS, PUBLIC, Open())  # in the order in which "auto" asks them
AUTO = "auto"


def choose(step: str, wanted: str = AUTO) -> Engine | None:
    """The engine for a step: the first that offers it, or the one that is wanted, if it does.

    Whoever computes, reading and writing is the public isx's: it is asked last.
    """
    asked = [engine for engine in ENGINES if wanted in (AUTO, engine.name)]
    return next((engine for engine in (*asked, PUBLIC) if engine.offers(step)), None)


def names() -> tuple[str, ...]:
    """The names that a recipe may choose from."""
    return (AUTO, *(engine.name for engine in ENGINES))
