"""Stands in for the isx of IDPS in tests: the public isx, with the algorithms of the `algo.py` beside this file.

It proves the runner of recipes, not the algorithms.
"""

from . import _internal
from .core import *  # noqa: F403
from .core import __version__  # noqa: F401
from .io import *  # noqa: F403
from .util import *  # noqa: F403

_internal.is_with_algos = True  # only now: the native library of the public isx has none of what this promises
_is_with_algos = True

from .algo import *  # noqa: E402, F403
