#!/usr/bin/env python3
"""Push the public image to a registry, with provenance and SBOM, by its digest, and give it the project's version.

    publish.py    after 'make image', with IMAGE=registry/name; needs a registry that the client is logged in to, and a
                  builder that can attest (docker-container)

Refuses before anything is pushed if the image that was built may not be passed on. Standard library only.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from build import of_commit

PROJECT = Path(__file__).resolve().parent.parent


class Refused(Exception):
    """Nothing was pushed; the message says why."""


def docker(*arguments: str, **variables: str) -> str:
    environment = {**os.environ, **variables}
    done = subprocess.run(["docker", *arguments], check=False, stdout=subprocess.PIPE, text=True, env=environment)
    if done.returncode:
        raise Refused(f"docker {' '.join(arguments[:3])} failed with exit code {done.returncode}; see above.")
    return done.stdout


def assert_redistributable(image: str) -> None:
    """Refuse an image whose label says that it must not be passed on."""
    labels = json.loads(docker("image", "inspect", "--format", "{{json .Config.Labels}}", image)) or {}
    if labels.get("isx.redistributable") != "true":
        held = " ".join([labels.get("isx.source", "something unknown"), labels.get("isx.version", "")]).strip()
        raise Refused(
            f"{image} holds {held}: its vendor's terms do not allow you to pass it on (label isx.redistributable). "
            "Nothing was pushed. ISX_SOURCE=public builds the image that may be."
        )


def push(name: str) -> str:
    """Build the public image once more, from the cache, and push it without a tag; returns its digest."""
    with tempfile.TemporaryDirectory() as folder:
        metadata = Path(folder, "metadata.json")
        output = f"type=image,name={name},push-by-digest=true,name-canonical=true,push=true"
        options = ["--provenance=mode=max", "--sbom=true", "--metadata-file", str(metadata)]
        options += ["--set", "image.tags=", "--set", f"image.output={output}"]
        docker("buildx", "bake", "image", *options, **of_commit(), ISX_SOURCE="public")
        return json.loads(metadata.read_text())["image"]["containerimage.digest"]


def main() -> int:
    name, version = os.environ.get("IMAGE", ""), (PROJECT / "VERSION").read_text().strip()
    try:
        if "/" not in name:
            raise Refused(f"IMAGE={name} names no registry: such as IMAGE=ghcr.io/OWNER/isx. Nothing was pushed.")
        assert_redistributable(f"{name}:latest")
        digest = push(name)
        docker("buildx", "imagetools", "create", "--tag", f"{name}:{version}", f"{name}@{digest}")
    except Refused as error:
        print(f"\nERROR: {error}\n", file=sys.stderr)
        return 1
    print(f"{name}@{digest} is {name}:{version}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
