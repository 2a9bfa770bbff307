#!/usr/bin/env python3
"""Print the contents of each layer of an image, unpacked and compressed; fail if the public image is over its budget.

    size.py [image]    default: isx:latest

An unpacked size is the sum of the files in a layer. A compressed size is that of gzip at its default level, which a
registry would store. IDPS has no budget: its size is the vendor's. Standard library only.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import tempfile
import zlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

IMAGE = os.environ.get("IMAGE", "isx") + ":latest"
# Of the public image, in MB; 'make size' fails above them.
BUDGET = {"base": 95, "dependencies": 370, "API": 66, "code": 5, "all": 530, "all, compressed": 190}
NAMES = ("base", "dependencies", "API", "code")


@dataclass(frozen=True)
class Layer:
    unpacked: int
    compressed: int
    parts: Counter


def measure(layer) -> Layer:
    """Sizes of one layer, and of the folders in it."""
    parts: Counter = Counter()
    with tarfile.open(fileobj=layer) as files:
        for member in files:
            depth = 6 if member.name.startswith("opt/venv/lib") else 3
            parts["/".join(Path(member.name).parts[:depth])] += member.size
    layer.seek(0)
    gzip = zlib.compressobj(6, wbits=31)
    compressed = sum(len(gzip.compress(block)) for block in iter(lambda: layer.read(1 << 20), b""))
    return Layer(sum(parts.values()), compressed + len(gzip.flush()), parts)


def layers(image: str) -> list[Layer]:
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder, "image.tar")
        subprocess.run(["docker", "save", "-o", archive, image], check=True)
        with tarfile.open(archive) as saved:
            manifest = json.load(saved.extractfile("manifest.json"))[0]
            return [measure(saved.extractfile(name)) for name in manifest["Layers"]]


def is_public(image: str) -> bool:
    command = ["docker", "image", "inspect", "--format", '{{index .Config.Labels "isx.source"}}', image]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip() == "public"


def main(image: str = IMAGE) -> int:
    own_layers = [layer for layer in layers(image) if layer.unpacked]
    sizes = {name: layer.unpacked / 1e6 for name, layer in zip(NAMES, own_layers)}
    for (name, megabytes), layer in zip(sizes.items(), own_layers):
        print(f"{name}: {megabytes:.1f} MB, {layer.compressed / 1e6:.1f} MB compressed")
        for folder, size in layer.parts.most_common(8):
            print(f"    {size / 1e6:8.1f}  {folder}")
    sizes["all"] = sum(layer.unpacked for layer in own_layers) / 1e6
    sizes["all, compressed"] = sum(layer.compressed for layer in own_layers) / 1e6
    print(f"all: {sizes['all']:.1f} MB, {sizes['all, compressed']:.1f} MB compressed")
    over = {name: size for name, size in sizes.items() if size > BUDGET[name]} if is_public(image) else {}
    for name, size in over.items():
        print(f"{name} is over its budget: {size:.1f} MB of {BUDGET[name]} MB", file=sys.stderr)
    return 1 if over else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
