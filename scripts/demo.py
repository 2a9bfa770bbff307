#!/usr/bin/env python3
"""Run the image on a folder of recordings, as the current user, with every restriction at once.

Reads INPUT (default: input) and writes OUTPUT (default: output). If ./input has no recording, the image first makes
samples there; a folder named by INPUT is left as it is. Standard library only.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
IMAGE = os.environ.get("IMAGE", "isx") + ":latest"
SUFFIXES = {".isxd", ".isxb", ".gpio", ".imu"}


def run(*arguments: str) -> int:
    """`docker run` as the current user, read-only, without network, capabilities or new privileges."""
    user = f"{os.getuid()}:{os.getgid()}"
    restrictions = ["--read-only", "--tmpfs", "/tmp", "--network", "none", "--cap-drop", "ALL"]
    restrictions += ["--security-opt", "no-new-privileges"]
    command = ["docker", "run", "--rm", "--user", user, *restrictions, *arguments]
    return subprocess.run(command, check=False).returncode


def has_recordings(folder: Path) -> bool:
    return any(path.suffix.lower() in SUFFIXES for path in folder.rglob("*"))


def main() -> int:
    source = Path(os.environ.get("INPUT") or PROJECT / "input").resolve()
    results = Path(os.environ.get("OUTPUT") or PROJECT / "output").resolve()
    for folder in (source, results):
        folder.mkdir(parents=True, exist_ok=True)
    if not has_recordings(source):
        if os.environ.get("INPUT"):
            print(f"No recording in {source}: looked for {', '.join(sorted(SUFFIXES))}.", file=sys.stderr)
            return 66
        print(f"No recordings in {source}: writing samples there.", flush=True)
        maker = PROJECT / "scripts/sample_recordings.py"
        mounts = ["-v", f"{source}:/samples", "-v", f"{maker}:/make.py:ro"]
        if run(*mounts, IMAGE, "python", "/make.py", "/samples"):
            return 1
    terminal = ["-t"] if sys.stdout.isatty() else []
    code = run(*terminal, "-v", f"{source}:/data:ro", "-v", f"{results}:/output", "-e", "LOG_FORMAT=text", IMAGE)
    if code == 0:
        print(f"\nOpen {results}/index.html")
    return code


if __name__ == "__main__":
    sys.exit(main())
