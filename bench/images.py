"""Sections about the image itself: its start, its build, its size, its health check."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections import Counter
from pathlib import Path
from typing import Any

from measure import (
    IMAGE,
    ME,
    NAME,
    PROJECT,
    docker,
    inside,
    interleaved,
    new_folder,
    rounded,
    seconds_of,
    spread,
    workspace,
)

sys.path.insert(0, str(PROJECT / "scripts"))

from build import of_commit
from size import layers
from verify_reproducible import copy_of_project

INSTALLER = PROJECT / "build/installers/good.sh"
STEP = re.compile(r"\[(?:\S+ )?(\S+) \d+/\d+\] (?!FROM )")


# --- building -----------------------------------------------------------------------------------------------------


def build(target: str, *options: str, project: Path = PROJECT, **variables: str) -> dict[str, Any]:
    """Seconds, and how many steps of which stage were done rather than found in the cache."""
    command = [sys.executable, str(project / "scripts/build.py"), *filter(None, [target]), *options]
    environment = {**os.environ, **of_commit(), "IMAGE": NAME, "ISX_SOURCE": "public" if target else "", **variables}
    output = ""

    def run() -> None:
        nonlocal output
        done = subprocess.run(
            [*command, "--progress=rawjson"], check=False, env=environment, capture_output=True, text=True
        )
        output = done.stderr
        if done.returncode:
            raise RuntimeError(f"building {target or 'from the installer'} failed:\n{output[-3000:]}")

    before = tagged()
    seconds = seconds_of(run)
    for replaced in before - tagged():
        forget(replaced)
    return {"seconds": seconds, "rebuilt": rebuilt(output)}


def tagged() -> set[str]:
    """The images that bear the benchmarks' name."""
    return set(docker("images", "--quiet", "--no-trunc", "--filter", f"reference={NAME}").split())


def forget(image: str) -> None:
    """An image that lost its last name to the next build; one that has another name stays."""
    if docker("image", "inspect", "--format", "{{len .RepoTags}}", image) == "0":
        docker("image", "rm", image)


def rebuilt(rawjson: str) -> dict[str, int]:
    done, cached = {}, set()
    for line in rawjson.splitlines():
        if not line.startswith("{"):
            continue
        for vertex in json.loads(line).get("vertexes") or ():
            step = STEP.match(vertex["name"])
            if step and vertex.get("completed"):
                done[vertex["digest"]] = step[1]
                if vertex.get("cached"):
                    cached.add(vertex["digest"])
    return dict(sorted(Counter(stage for digest, stage in done.items() if digest not in cached).items()))


def forget_all() -> None:
    """Remove the images that the benchmarks built; the build cache stays."""
    with contextlib.suppress(RuntimeError):
        mine = docker("images", "--format", "{{.Repository}}:{{.Tag}}", "--filter", f"reference={NAME}").split()
        if mine:
            docker("image", "rm", "--force", *mine)


def section_build(quick: bool) -> dict[str, Any]:
    """Cold, nothing changed, and one thing changed at a time; in a copy of the project. pip's download cache stays."""
    build("test-installer")
    with tempfile.TemporaryDirectory() as folder:
        copy = copy_of_project(Path(folder, "project"))
        installer = Path(folder, "installer.sh")
        shutil.copy(INSTALLER, installer)
        idps = {"INSTALLER": str(installer), "ACCEPT_EULA": "Y"}

        def changed(name: str) -> dict[str, Any]:
            with (copy / name).open("a") as file:
                file.write(f"# {uuid.uuid4()}\n")
            return build("image", project=copy)

        def installer_changed() -> dict[str, Any]:
            """Another comment on the second line of the stub, which counts its lines."""
            shebang, _, rest = installer.read_bytes().split(b"\n", 2)
            installer.write_bytes(b"\n".join([shebang, f"# {uuid.uuid4()}".encode(), rest]))
            return build("", project=copy, **idps)

        build("image", project=copy)
        build("", project=copy, **idps)
        contenders = {
            "nothing_changed": lambda: build("image", project=copy),
            "code_changed": lambda: changed("runner/output/report.py"),
            "lock_changed": lambda: changed("requirements/python3.11.txt"),
            "installer_changed": installer_changed,
        }
        measured = interleaved(contenders, 1 if quick else 3)
        if not quick:
            measured["cold"] = [build("image", "--no-cache", project=copy) for _ in range(2)]
    build("image")
    return {
        name: {**spread([run["seconds"] for run in runs]), "rebuilt": runs[-1]["rebuilt"]}
        for name, runs in measured.items()
    }


# --- starting -----------------------------------------------------------------------------------------------------


def section_start(quick: bool) -> dict[str, Any]:
    """`docker run` until it returns, with one small recording; each run has an output folder of its own."""
    build("test-installer")
    build("bench-runtime-install")
    with workspace() as folder:
        volume = f"{NAME}-{os.getpid()}"
        inputs, pip = new_folder(folder / "input"), new_folder(folder / "pip")
        inside("small", "/made", 1, options=("-v", f"{inputs}:/made"))

        def run(image: str, *options: str) -> float:
            output = new_folder(folder / uuid.uuid4().hex)
            mounts = ("-v", f"{inputs}:/data:ro", "-v", f"{output}:/output")
            seconds = seconds_of(lambda: docker("run", "--rm", *mounts, *options, image))
            assert (output / "done.marker").is_file()
            return seconds

        installing = ("-v", f"{pip}:/root/.cache/pip", *proxy())
        warm = (*installing, "-v", f"{volume}:/opt/idps")
        contenders = {
            "true": lambda: seconds_of(lambda: docker("run", "--rm", IMAGE, "true")),
            "import_isx": lambda: seconds_of(lambda: docker("run", "--rm", IMAGE, "python", "-c", "import isx")),
            "image": lambda: run(IMAGE, "--user", ME),
            "install_warm": lambda: run(f"{NAME}:runtime-install", *warm),
        }
        cold = {"install_cold": lambda: run(f"{NAME}:runtime-install", *installing)}  # a new volume each time
        try:
            run(f"{NAME}:runtime-install", *warm)  # fills the volume and pip's cache: no download is measured
            measured = {**interleaved(contenders, 3 if quick else 9), **interleaved(cold, 1 if quick else 3)}
        finally:
            docker("volume", "rm", "--force", volume)
    spreads: dict[str, Any] = {name: spread(values) for name, values in measured.items()}
    for name in ("install_cold", "install_warm"):
        spreads[f"{name}_ratio"] = rounded(spreads[name]["median"] / spreads["image"]["median"])
    return spreads


def proxy() -> tuple[str, ...]:
    """Options that pip needs in a container behind a TLS-intercepting proxy, or with an index of one's own."""
    options = []
    for variable, name in (("SSL_CERT_FILE", "PIP_CERT"), ("PIP_CONFIG_FILE", "PIP_CONFIG_FILE")):
        if os.environ.get(variable):
            options += ["-v", f"{os.environ[variable]}:/run/{name}:ro", "-e", f"{name}=/run/{name}"]
    return tuple(options)


# --- size and health ----------------------------------------------------------------------------------------------


def section_size(quick: bool) -> dict[str, Any]:
    """MB, unpacked and gzipped, of this image and of one stage with the same content, which is built without cache."""
    version = docker("image", "inspect", "--format", '{{index .Config.Labels "isx.version"}}', IMAGE)
    seconds = build("bench-single-stage", "--no-cache", ISX_VERSION=version)["seconds"]
    sizes: dict[str, Any] = {}
    for name, image in {"image": IMAGE, "single_stage": f"{NAME}:single-stage"}.items():
        measured = layers(image)
        unpacked, compressed = (
            sum(getattr(layer, kind) for layer in measured) / 1e6 for kind in ("unpacked", "compressed")
        )
        sizes[name] = {"unpacked": rounded(unpacked), "compressed": rounded(compressed)}
    ratios = {kind: rounded(sizes["image"][kind] / sizes["single_stage"][kind]) for kind in ("unpacked", "compressed")}
    return {**sizes, "ratio": ratios, "single_stage_build": rounded(seconds)}


def section_health(quick: bool) -> dict[str, Any]:
    """Seconds within a running container, of the check and of what it replaces."""
    measured = json.loads(inside("commands", 5 if quick else 20))
    return {
        name: {"wall": spread([one["seconds"] for one in runs]), "cpu": spread([one["cpu"] for one in runs])}
        for name, runs in measured.items()
    }
