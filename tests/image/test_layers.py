"""A change rebuilds what it must and no more; the layers of all else stay the same to the bit."""

from __future__ import annotations

import json
import re
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from harness import IMAGE, INSTALLERS, LOCK, docker, inspect

TAG = f"{IMAGE}-layers"
STEP = re.compile(r"\[(?:\S+ )?(\S+) +\d+/\d+\] (?!FROM )")


def build(project: Path, tag: str = "public", **variables: str) -> tuple[set[str], list[str]]:
    """The stages of which a step ran, and the layers."""
    done = docker("buildx", "bake", "--progress=rawjson", "image", cwd=project, IMAGE=TAG, **variables)
    steps = {}
    for line in done.stderr.splitlines():
        for step in json.loads(line).get("vertexes") or ():
            steps[step["name"]] = steps.get(step["name"], False) or bool(step.get("cached"))
    ran = {match[1] for name, cached in steps.items() if not cached and (match := STEP.match(name))}
    return ran, inspect(f"{TAG}:{tag}")["RootFS"]["Layers"]


def append(name: str | Path) -> Callable[[Path], None]:
    def change(project: Path) -> None:
        with (project / name).open("a") as file:
            file.write(f"\n# a change that no cache knows: {uuid.uuid4()}\n")

    return change


# An engine may clean its cache between two builds, for reasons that are not ours: then more steps run, never fewer.
ATTEMPTS = 3

# name: the file that changes, the stages of which a step runs, how many layers differ
CHANGES = {
    "nothing": (None, set(), 0),
    "the pipeline": ("pipeline/__init__.py", {"app", "proven-public", "runtime"}, 1),
    "PID 1": ("bootstrap.py", {"app", "proven-public", "runtime"}, 1),
    "a module of PID 1": ("runner/run.py", {"app", "proven-public", "runtime"}, 1),
    "what the build asks too": ("native/loading.py", {"isx-public", "loads", "app", "proven-public", "runtime"}, 1),
    "a file that is not in the image": ("scripts/build.py", set(), 0),
    "the lock": (LOCK, {"lock", "deps", "loads", "app", "proven-public", "runtime"}, 1),
    "the lock for another Python": ("requirements/python3.9.txt", {"lock"}, 0),
}


@pytest.mark.parametrize("changed, rebuilt, differing", CHANGES.values(), ids=CHANGES)
def test_a_change_of(changed, rebuilt, differing, project):
    for _ in range(ATTEMPTS):
        _, before = build(project)
        if changed:
            append(changed)(project)
        ran, after = build(project)
        if ran == rebuilt:
            break
    assert ran == rebuilt
    assert len(after) == len(before)
    assert sum(old != new for old, new in zip(before, after)) == differing


def test_a_change_of_code_does_not_run_the_installer_again(installers, project):
    """It lies at the root of the project, beside the code, and yet in a context of its own."""
    shutil.copy(INSTALLERS / "good.sh", project / "Inscopix_Data_Processing_1.9.6.sh")
    _, before = build(project, "idps", ACCEPT_EULA="Y")
    append("pipeline/__init__.py")(project)
    append("bootstrap.py")(project)
    ran, after = build(project, "idps", ACCEPT_EULA="Y")
    assert ran == {"app", "algorithms", "proven-idps", "runtime"}
    assert sum(old != new for old, new in zip(before, after)) == 1
