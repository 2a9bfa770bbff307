"""Whether files of NWB metadata can be used.

    python -m pipeline.nwb --check [--copies FOLDER] FILE...

Prints every mistake as FILE:LINE: message and exits with 64, or prints nothing and exits with 0. Files are checked one
by one: which of them override which others is decided for each recording. Copies of what was read go to FOLDER
(`protocol.copies`); the exit code is 73 if they cannot be written.
"""

from __future__ import annotations

import sys
from pathlib import Path

from pipeline.nwb.metadata import MetadataMistakes, read
from pipeline.words import say
from protocol.copies import ORIGINALS, Copies, NotCopied

OK, BAD, NO_OUTPUT = 0, 64, 73


def main(arguments: list[str]) -> int:
    if arguments[:1] != ["--check"]:
        say([__doc__.strip()])
        return BAD
    copies, names = ORIGINALS, arguments[1:]
    if names[:1] == ["--copies"]:
        copies, names = Copies(Path(names[1]), making=True), names[2:]
    mistakes = []
    for name in names:
        try:
            read([Path(name)], copies)
        except MetadataMistakes as error:
            mistakes += error.messages
        except NotCopied as error:
            say([str(error)])
            return NO_OUTPUT
    say(mistakes)
    return BAD if mistakes else OK


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
