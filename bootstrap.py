"""PID 1 of the image: from the command line to the sentinel. Standard library only; `--help` is the manual."""

from __future__ import annotations

from common.alone import restart_alone

if __name__ == "__main__":
    restart_alone()

import os
import signal
import sys
import time

STARTED = time.monotonic()
NOT_EXECUTABLE, NOT_FOUND = 126, 127  # as a shell answers


def main(arguments: list[str]) -> int:
    """Returns the exit code. A first argument that is no option is a command, which takes this process over."""
    if arguments and arguments[0] and not arguments[0].startswith("-"):
        return execute(arguments)

    # Nothing slow comes before the first line of the log.
    from common import NAME, version
    from runner import settings
    from runner.events import Log

    request = settings.read(arguments, os.environ)
    if request.action == "--help":
        sys.stdout.write(settings.help_text())
        return 0
    log = Log(settings.log_format(request), run=settings.run_id(request))
    if request.action != "--version":
        log("start", f"{NAME} {version()} starts: run {log.run} on {log.host}", version=version(), pid=os.getpid())

    from runner import lifecycle

    return lifecycle.answer(request, log, STARTED)


def execute(command: list[str]) -> int:
    """Become the command, with the signals as any program expects them."""
    for name in ("SIGPIPE", "SIGXFSZ"):  # Python ignores them, and that would be inherited
        signal.signal(getattr(signal, name), signal.SIG_DFL)
    try:
        os.execvp(command[0], command)
    except OSError as error:
        return _explain(command, error)


def _explain(command: list[str], error: OSError) -> int:
    """Why it is no command, and what to type if it is something else that is known here. Returns the exit code."""
    from runner import advice, settings
    from runner.endings import USAGE

    usage = advice.instead_of(command, settings.FLAGS)
    if usage:
        sys.stderr.write(f"{usage}\n")
        return USAGE
    if not isinstance(error, FileNotFoundError):
        sys.stderr.write(f"{command[0]}: {error.strerror}\n")
        return NOT_EXECUTABLE
    guess = advice.guess(command[0], settings.FLAGS)
    sys.stderr.write(f"{command[0]}: no such command in this image; options start with '-' (see --help){guess}\n")
    return NOT_FOUND


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
