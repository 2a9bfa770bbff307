"""What the tool `cells` of IDEAS calls, in the image: the recipe of the same name, on the recordings that were chosen.

IDEAS calls `cells` in an empty folder of a container, and keeps what lies there afterwards. Standard library only.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import List  # noqa: UP035 - IDEAS reads the annotations as text, and knows this one

IdeasFile = str  # its word for a path

APP = Path("/app")
RECIPE = APP / "recipes/cells.toml"
PREVIEWS = {  # endings of results: the picture that shows them, and what it shows
    "-cells.isxd": ("-cellmap.png", "Outlines of the cells over the mean of the movie"),
    "-traces.csv": ("-traces.png", "Traces of the cells"),
    "-events.isxd": ("-raster.png", "Events of the cells over time"),
}


def cells(
    recordings: List[IdeasFile],  # noqa: UP006
    temporal_downsample_factor: str = "auto",
    spatial_downsample_factor: str = "auto",
    max_translation: int = 20,
    cell_diameter: str = "auto",
    nwb: bool = False,
) -> None:
    """Ends the process with the run's exit code if it is not 0; the log says why."""
    output, work = Path.cwd(), Path("/tmp/isx-cells")
    inputs = work / "input"
    inputs.mkdir(parents=True)
    for path in map(Path, recordings):
        (inputs / path.name).symlink_to(path.resolve())
    given = {
        "temporal_downsample_factor": temporal_downsample_factor,
        "spatial_downsample_factor": spatial_downsample_factor,
        "max_translation": max_translation,
        "cell_diameter": cell_diameter,
    }
    recipe = work / "cells.toml"
    recipe.write_text(with_values(RECIPE.read_text(), given))
    options = {"INPUT_DIR": inputs, "OUTPUT_DIR": output, "RECIPE": recipe, "NWB": int(nwb), "OUTPUT_IN_CONTAINER": 1}
    environment = {**os.environ, **{name: str(value) for name, value in options.items()}}
    code = subprocess.run([sys.executable, "-EsB", APP / "bootstrap.py"], env=environment, check=False).returncode
    if code:
        sys.exit(code)
    (output / "output_data.json").write_text(json.dumps(described(output), indent=1))


def with_values(recipe: str, values: dict) -> str:
    """The recipe with other values for its parameters: "auto", or a number; the recipe's check refuses others."""
    for name, value in values.items():
        text = str(value).strip()
        shown = text if re.fullmatch(r"\d+", text) else json.dumps(text)
        (line,) = re.findall(rf"^{name} = \S+", recipe, re.MULTILINE)
        recipe = recipe.replace(line, f"{name} = {shown}")
    return recipe


def described(output: Path) -> dict:
    """What IDEAS shows of the results: for its tables of files, pictures beside them."""
    files = []
    for ending, (picture, caption) in PREVIEWS.items():
        for path in sorted(output.rglob(f"*{ending}")):
            if "steps" in path.relative_to(output).parts:
                continue
            shown = path.with_name(path.name[: -len(ending)] + picture)
            previews = [{"file": str(shown.relative_to(output)), "caption": caption}] if shown.is_file() else []
            files.append({"file": str(path.relative_to(output)), "previews": previews, "metadata": [], "tags": []})
    return {"schema_version": "1.0.0", "output_files": files}
