#!/usr/bin/env python3
"""Write the description of the tool `cells` for Inscopix's IDEAS, from the recipe: deploy/ideas/.ideas/.

    ideas.py [IMAGE]    repository:label of the image as IDEAS has it (default: isx:public)

The parameters are those of the recipe, with the comments beside them; the results are those of the kinds that its steps
make. Needs the locked dependencies.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from pipeline.recipe.steps import STEPS
from recording.kinds import KINDS, SUFFIXES

RECIPE = ROOT / "recipes/cells.toml"
FOLDER = ROOT / "deploy/ideas"
KEY, MODULE = "cells", "isx_cells.py"
SPEC, CONFIG, IMAGES = "3.0.0", "1.0.0", "0.0.1"  # versions of IDEAS's schemas
PARAMETER = re.compile(r"^(\w+) = (\S+?)(?:\s+# (.+))?$")
USE = re.compile(r'^use = "(\w+)"')
CORES, MEMORY = 4, 16000  # MB
LAST = {"movie": "-movie.isxd", "cell_set": "-cells.isxd", "event_set": "-events.isxd"}  # for Inscopix's own software


def write(folder: Path, image: str) -> None:
    repository, _, label = image.rpartition(":")
    tool = folder / ".ideas" / KEY
    tool.mkdir(parents=True, exist_ok=True)
    command = {"file_path": MODULE, "entry_point": KEY, "program_type": "PYTHON"}
    parameters = [recordings(), *of_recipe(), nwb()]
    contents = {
        tool / "tool_spec.json": {
            "schema_version": SPEC,
            "key": KEY,
            "name": "Cells of a one-photon movie",
            "version": (ROOT / "VERSION").read_text().strip(),
            "description": f"{_described()}. Not Inscopix's own algorithms: see the documentation.",
            "visibility": "private",
            "container_image": {"repository": repository, "label": label},
            "command": command,
            "params": parameters,
            "results": results(),
            "resources": {"cpu": CORES, "gpu": 0, "memory": MEMORY},
            "tags": ["Calcium Imaging", "Cell Identification"],
        },
        tool / "config.json": {
            "schema_version": CONFIG,
            "container": image,
            "executor_type": "PYTHON",
            "file": MODULE,
            "function": KEY,
        },
        tool / "inputs.json": {its["key"]: its["type"].get("default") for its in parameters},
        folder / ".ideas/images_spec.json": [
            {
                "schema_version": IMAGES,
                "repository": repository,
                "label": label,
                "description": "Inscopix recordings to results: the public isx API and an open engine",
                "visibility": "private",
            }
        ],
    }
    for path, content in contents.items():
        path.write_text(json.dumps(content, indent=2) + "\n")


def recordings() -> dict[str, Any]:
    formats = [suffix[1:] for suffix in SUFFIXES]
    kind = {"param_type": "ToolPathParam", "multiple": True, "file_formats": formats}
    what = "Movies, and what was recorded with them: GPIO, IMU, behavior movies"
    return parameter("recordings", "Recordings", what, kind, "Input files")


def nwb() -> dict[str, Any]:
    kind = {"param_type": "ToolBooleanParam", "default": False}
    return parameter("nwb", "NWB file", "Also write an NWB 2 file for each session", kind, "Results")


def of_recipe() -> list[dict[str, Any]]:
    """A parameter for each value in a step of the recipe; text where "auto" may stand beside a number."""
    parameters, step = [], ""
    for line in RECIPE.read_text().splitlines():
        if match := USE.match(line):
            step = match[1]
        elif step and (match := PARAMETER.match(line)):
            name, value, comment = match.groups()
            default = json.loads(value)
            is_number = isinstance(default, int)
            kind = {"param_type": "ToolIntRangeParam", "min": 1} if is_number else {"param_type": "ToolStringParam"}
            what = f"{comment or name}, of the step {step}" + ("" if is_number else '; "auto", or a whole number')
            title = name.replace("_", " ").capitalize()
            parameters.append(parameter(name, title, what, {**kind, "default": default}, step))
    return parameters


def parameter(key: str, name: str, description: str, kind: dict[str, Any], group: str) -> dict[str, Any]:
    return {"key": key, "name": name, "description": description, "required": True, "type": kind, "group": group}


def results() -> list[dict[str, Any]]:
    """The results that IDEAS lists: the last product of each kind, in the order of the steps, and the page."""
    steps = [match[1] for line in RECIPE.read_text().splitlines() if (match := USE.match(line))]
    made = dict.fromkeys(made.kind for step in steps for made in STEPS[step].makes if made.kind in LAST)
    return [
        *(
            result(kind, KINDS[kind].name, [f"**/*{ending}" for ending in (LAST[kind], *KINDS[kind].results)])
            for kind in made
        ),
        result("nwb", "NWB file", ["**/*.nwb", "**/*-behavior.mp4"]),
        result("report", "Report", ["index.html", "summary.csv", "**/*.html", "**/*.json", "**/*-quality.csv"]),
    ]


def result(key: str, name: str, patterns: list[str]) -> dict[str, Any]:
    title = name[0].upper() + name[1:]
    return {"key": key, "name": title, "description": title, "file_patterns": patterns}


def _described() -> str:
    (line,) = re.findall(r'^description = "(.+)"$', RECIPE.read_text(), re.MULTILINE)
    return line


if __name__ == "__main__":
    write(FOLDER, sys.argv[1] if len(sys.argv) > 1 else "isx:public")
