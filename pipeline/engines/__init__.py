"""The engines that compute the steps of recipes. A lab's own functions are an engine too: `pipeline.engines.python`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pipeline.engines import isx_api
from pipeline.engines.isx_api import IsxEngine
from pipeline.engines.open import Open
from pipeline.engines.protocol import Engine

IDPS = IsxEngine("idps", "IDPS", licensed=True)  # in an image that IDPS was baked into
PUBLIC = IsxEngine("public", "isx", licensed=False)  # input and output
OPEN = Open()
ENGINES: tuple[Engine, ...] = (IDPS, PUBLIC, OPEN)  # in the order in which "auto" asks them
AUTO = "auto"


def choose(step: str, wanted: str = AUTO) -> Engine | None:
    """The engine for a step: the first that offers it, or the one that is wanted, if it does.

    Whoever computes, reading and writing is the public isx's, which is asked last, and a step that isx does not have is
    this project's own.
    """
    asked = [engine for engine in ENGINES if wanted in (AUTO, engine.name)]
    last = PUBLIC if isx_api.function(step) else OPEN
    return next((engine for engine in (*asked, last) if engine.offers(step)), None)


def function(step: str, own: bool) -> Callable[..., Any] | None:
    """The function whose parameters a step has: that of isx, or the open engine's if it is this project's own."""
    return OPEN.function(step) if own else isx_api.function(step)


def names() -> tuple[str, ...]:
    """The names that a recipe may choose from."""
    return (AUTO, *(engine.name for engine in ENGINES))
