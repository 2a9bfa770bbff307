"""Whether files of NWB metadata can be used.

    python -m pipeline.nwb --check FILE...

Prints every mistake as FILE:LINE: message and exits with 64, or prints nothing and exits with 0. Files are checked one
by one: which of them override which others is decided for each recording.
"""

from __future__ import annotations

import sys
from pathlib import Path

from pipeline.nwb.metadata import MetadataMistakes, read
from pipeline.words import say

OK, BAD = 0, 64


def main(arguments: list[str]) -> int:
    if arguments[:1] != ["--check"]:
        say([__doc__.strip()])
        return BAD
    found = []
    for name in arguments[1:]:
        try:
            read([Path(name)])
        except MetadataMistakes as error:
            found += error.messages
    say(found)
    return BAD if found else OK


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
