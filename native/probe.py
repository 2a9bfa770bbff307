"""Load the native library and say how that went: a process of its own, as a broken library may end it.

Run as a file with `-I -S`, so that it costs little more than the library itself: `python -I -S probe.py LIBRARY`.
"""

from __future__ import annotations

import ctypes
import json
import sys


def probe(library: str) -> dict[str, object]:
    """Whether the library has the licensed algorithms, or the loader's reason why it cannot be loaded."""
    try:
        native = ctypes.CDLL(library)
        return {"with_algorithms": bool(native.isx_get_is_with_algos())}
    except (OSError, AttributeError) as error:
        return {"error": str(error)}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(probe(sys.argv[1])))
