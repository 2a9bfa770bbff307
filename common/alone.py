"""Nothing of the caller's Python reaches a run: no variable of the interpreter, no package of the user.

Apptainer passes the host's environment, and whoever runs the image may have set anything.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

FLAGS = "-EsB"  # no PYTHON... variables, no packages of the user's own, no bytecode written; as the image's entrypoint
OF_THE_IMAGE = {"PYTHONDONTWRITEBYTECODE"}
FOREIGN = ("PYTHON", "MPL", "MATPLOTLIBRC")  # Matplotlib's would change figures


def restart_alone() -> None:
    """Start this script again without the caller's Python variables, unless it was started as the image starts it."""
    callers = [name for name in os.environ if name.startswith("PYTHON") and name not in OF_THE_IMAGE]
    if callers and not sys.flags.ignore_environment:
        os.execv(sys.executable, [sys.executable, FLAGS, *sys.argv])


def without_the_callers(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if not name.startswith(FOREIGN)}
