#!/usr/bin/env python3
"""Write down what this project would like to know of an image with the real IDPS, and nothing confidential.

    report.py [file]    default: build/report.json, of the image isx:latest (IMAGE names another)

Names, sizes and versions: where the product's files lie, what its libraries need, which functions it offers. No content
of any file of the vendor's, no path of this machine, no recording, no licence. Standard library only.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
IMAGE = os.environ.get("IMAGE", "isx") + ":latest"

# Runs in the image, by its Python.
LOOK = r"""
import inspect, json, platform, sys
from pathlib import Path

sys.path.insert(0, "/app")
from native import elf, loading

TREE = Path("/opt/inscopix")


def layout(depth=5):
    # Number and bytes of the files in each folder, by suffix; deeper folders count for the one above.
    folders = {}
    for path in sorted(TREE.rglob("*")):
        if path.is_file() and not path.is_symlink():
            folder = "/".join(path.relative_to(TREE).parts[:-1][:depth])
            kinds = folders.setdefault(folder, {})
            suffix = ".so" if ".so" in path.name else path.suffix
            n, size = kinds.get(suffix, (0, 0))
            kinds[suffix] = (n + 1, size + path.stat().st_size)
    return folders


def needs(library):
    try:
        closure = elf.closure(library)
    except (elf.NotElf, OSError) as error:
        return {"problem": str(error)}
    of_product = sorted(name for name, path in closure.paths.items() if str(path.resolve()).startswith("/opt/"))
    return {
        "brought": of_product,
        "of the system": sorted(set(closure.paths) - set(of_product)),
        "missing": closure.missing,
        "glibc": closure.glibc_needed,
    }


def functions():
    try:
        import isx
        import isx._internal
    except Exception as error:
        return {"import isx": repr(error)}
    said = {"with algorithms": bool(isx._internal.is_with_algos)}
    for module in (isx, getattr(isx, "algo", None)):
        for name, value in vars(module).items() if module else ():
            if inspect.isfunction(value) and not name.startswith("_"):
                said[f"{module.__name__}.{name}"] = str(inspect.signature(value))
    return said


api = loading.find_api()
print(json.dumps({
    "product": {**api.facts, "sha256": ""},
    "python": platform.python_version(),
    "glibc": elf.system_glibc(),
    "packages of the distribution for it": loading.system_packages(),
    "files": layout(),
    "libraries": {str(path.relative_to(TREE)): needs(path) for path in elf.find_library(TREE / "api/")},
    "functions": functions(),
    "examples": sorted(path.name for path in TREE.rglob("example*.py")),
}))
"""


def main(out: Path) -> int:
    command = ["docker", "run", "--rm", "--network", "none", "-i", IMAGE, "python", "-"]
    done = subprocess.run(command, input=LOOK, capture_output=True, text=True, check=False)
    if done.returncode:
        print(f"{IMAGE} says nothing of itself:\n{done.stderr.strip()}", file=sys.stderr)
        return 1
    report = json.loads(done.stdout.splitlines()[-1])
    report["version of this project"] = (PROJECT / "VERSION").read_text().strip()
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(report, indent=1, sort_keys=True) + "\n")
    product = report["product"]
    print(f"{out}: {product['name']} {product['version']} ({product['source']}). Read it before you send it.")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else PROJECT / "build/report.json"))
