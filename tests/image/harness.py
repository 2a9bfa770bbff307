"""What the image tests share: the commands of the project, run as a user would run them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PROJECT))

from tests.trees import sentinel as sentinel  # noqa: E402 - tests take it from here

# Processes of pytest that run side by side build under names of their own, and never the name that users build under.
IMAGE = "-".join(filter(None, ("isx-test", os.environ.get("PYTEST_XDIST_WORKER"))))
INSTALLERS = PROJECT / f"build/installers/{IMAGE}"
LOCK = (PROJECT / "requirements.txt").resolve().relative_to(PROJECT)  # of the default base
PUBLIC, IDPS = f"{IMAGE}:public", f"{IMAGE}:idps-1.9.6"
CODE = ("python", "-c")  # a command in the image

Done = subprocess.CompletedProcess  # of text

# The caller's own choices must not change what is tested; the base and the network's needs may.
OF_THE_CALLER = re.compile(r"INSTALLER|ISX_|ACCEPT_EULA|IMAGE$|REVISION|SOURCE_")


def environment(**variables: object) -> dict[str, str]:
    """That of the caller without what builds are told by, and these; None unsets one."""
    kept = {name: value for name, value in os.environ.items() if not OF_THE_CALLER.match(name)}
    given = {"IMAGE": IMAGE, "BUILDX_BAKE_ENTITLEMENTS_FS": "0", **variables}
    return {
        **{name: value for name, value in kept.items() if name not in given},
        **{name: str(value) for name, value in given.items() if value is not None},
    }


def run(*command: object, check: bool = True, cwd: Path = PROJECT, **variables: object) -> Done:
    """Run a command with these environment variables; with `check`, a failure shows its output."""
    words = [str(word) for word in command]
    done = subprocess.run(
        words, check=False, cwd=cwd, env=environment(**variables), capture_output=True, text=True, timeout=900
    )
    if check:
        assert done.returncode == 0, f"{' '.join(words)} failed ({done.returncode}):\n{done.stdout}{done.stderr}"
    return done


def docker(*arguments: object, **options: object) -> Done:
    return run("docker", *arguments, **options)


def bake(target: str, *options: object, **rest: object) -> Done:
    return docker("buildx", "bake", "--progress=plain", target, *options, **rest)


def container(*arguments: object, image: str = PUBLIC, options: Sequence[object] = (), check: bool = False) -> Done:
    """`docker run`; the exit code is for the test to judge."""
    return docker("run", "--rm", *options, image, *arguments, check=check)


def gateway() -> str:
    """The address of this machine that builds and containers reach."""
    return docker("network", "inspect", "bridge", "--format", "{{(index .IPAM.Config 0).Gateway}}").stdout.strip()


def mounts(recordings: Path, output: Path) -> list[str]:
    return ["-v", f"{recordings}:/data:ro", "-v", f"{output}:/output"]


def inspect(image: str) -> dict:
    return json.loads(docker("image", "inspect", image).stdout)[0]


def exists(image: str) -> bool:
    return docker("image", "inspect", image, check=False).returncode == 0


def slot(folder: Path, *variants: str) -> Path:
    """A folder for INSTALLER_DIR with these stand-ins in it."""
    folder.mkdir(parents=True, exist_ok=True)
    for variant in variants:
        shutil.copy(INSTALLERS / f"{variant}.sh", folder)
    return folder


def events(done: Done) -> Iterator[dict]:
    """The log of a run: every line on standard error is one event."""
    return (json.loads(line) for line in done.stderr.splitlines())


def last_event(done: Done) -> dict:
    return list(events(done))[-1]
