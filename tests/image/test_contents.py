"""What is in the image, and what is not: nothing of the installer, nothing secret, nothing that only a build needs."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import re
import stat
import subprocess
import sys
import tarfile
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

import newer_packages
from harness import CODE, IMAGE, INSTALLERS, PROJECT, bake, container, docker, environment, inspect, run, slot

BY_URL, BY_SECRET = f"{IMAGE}-url:idps", f"{IMAGE}-secret:isx"
SIGNATURE = "signature=5ec2e7ad42e55"
ARCHIVE = b"\n\x1f\x8b\x08"
BLOCK = 1 << 22
OF_THE_PRODUCT = b"bytes of the stand-in's GUI"


@dataclass(frozen=True)
class Build:
    """An image with IDPS, and all that the builder tells about how it was made."""

    image: str
    told: str


def build(image: str, folder: Path, **variables: object) -> Build:
    """Build with the cache's metadata in the image, and with the provenance written out in full."""
    name, _, tag = image.partition(":")
    metadata = folder / "metadata.json"
    options = ["--metadata-file", metadata, "--set", f"image.tags={name}:{tag}"]
    options += ["--set", "image.cache-to=type=inline", *variables.pop("options", [])]
    done = bake("image", *options, **variables, ACCEPT_EULA="Y", BUILDX_METADATA_PROVENANCE="max")
    told = [done.stdout, done.stderr, metadata.read_text(), docker("history", "--no-trunc", image).stdout]
    told += [json.dumps(inspect(image)), docker("buildx", "du", "--verbose").stdout]
    reference = json.loads(metadata.read_text())["image"]["buildx.build.ref"].rpartition("/")[2]
    for command in (["history", "inspect"], ["history", "logs"]):  # newer buildx only
        told.append(docker("buildx", *command, reference, check=False).stdout)
    return Build(image, "\n".join(told))


def test_the_distributions_packages_are_the_archives_newest(public):
    try:
        outdated, count = newer_packages.outdated(public)
    except newer_packages.CannotAsk as error:
        pytest.skip(f"nothing is known about the distribution's packages: {error}")
    assert count > 50
    assert outdated == [], f"{', '.join(map(str, outdated))}\n{newer_packages.WAY_OUT}"


@pytest.fixture(scope="module")
def builds(idps, web, tmp_path_factory) -> list[Build]:
    """IDPS by bind mount, by address and by secret; also the stages that see the installer: in no image, but they may
    be in an exported cache (and so small a stand-in has no API)."""
    good = slot(tmp_path_factory.mktemp("slot"), "good")
    digest = hashlib.sha256((good / "good.sh").read_bytes()).hexdigest()
    by_url = {"INSTALLER_URL": f"{web}/good.sh?{SIGNATURE}", "INSTALLER_SHA256": digest}
    stage = ["--set", "image.target=isx"]
    choice = ["--set", "image.target=choice"]
    by_secret = ["--set", f"image.secrets=id=installer,src={INSTALLERS / 'small.sh'}"]
    by_secret += ["--set", "image.args.INSTALLER_WAYS=INSTALLER_SECRET"]
    return [
        build(f"{IMAGE}-bound:idps", tmp_path_factory.mktemp("bound"), INSTALLER_DIR=good),
        build(BY_URL, tmp_path_factory.mktemp("url"), **by_url),
        build(f"{IMAGE}-url-stage:isx", tmp_path_factory.mktemp("stage"), **by_url, options=stage),
        build(f"{IMAGE}-choice:isx", tmp_path_factory.mktemp("choice"), INSTALLER_DIR=good, options=choice),
        build(BY_SECRET, tmp_path_factory.mktemp("secret"), options=[*stage, *by_secret]),
    ]


def marks(installer: Path) -> list[bytes]:
    """Bytes by which an installer is known: a line of its stub, and pieces from all over its archive."""
    content = installer.read_bytes()
    start = content.index(ARCHIVE) + 1
    pieces = [content[start + (len(content) - start) * part // 5 :][:48] for part in range(5)]
    return [b"This is not Inscopix Data Processing. It stands in", b"cpack_skip_license", content[-48:], *pieces]


def found_in(stream: io.BufferedIOBase, needles: Collection[bytes]) -> set[bytes]:
    """Which of the needles stand in the stream."""
    there: set[bytes] = set()
    tail, overlap = b"", max(map(len, needles)) - 1
    while block := stream.read(BLOCK):
        window = tail + block
        there |= {needle for needle in needles if needle in window}
        tail = window[-overlap:]
    return there


def saved(*images: str) -> Iterator[tuple[str, io.BufferedIOBase]]:
    """Every file of `docker save`: the layers, unpacked, and all metadata."""
    for member, content in archived("docker", "save", *images):
        if content:
            packed = content.peek(2).startswith(b"\x1f\x8b")
            yield member.name, gzip.GzipFile(fileobj=content) if packed else content


def archived(*command: str) -> Iterator[tuple[tarfile.TarInfo, io.BufferedReader | None]]:
    """The members of the tar archive that a command prints, and their content."""
    with (
        subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE) as process,
        tarfile.open(fileobj=process.stdout, mode="r|") as archive,
    ):
        for member in archive:
            yield member, archive.extractfile(member) if member.isfile() else None
    assert process.returncode == 0


def test_no_byte_of_the_installer_in_any_layer(builds):
    secret = {*marks(INSTALLERS / "good.sh"), *marks(INSTALLERS / "small.sh"), SIGNATURE.encode()}
    layers = saved(*(build.image for build in builds))
    by_layer = {name: found_in(content, {*secret, OF_THE_PRODUCT}) for name, content in layers}
    assert not {name: marks & secret for name, marks in by_layer.items() if marks & secret}
    assert any(OF_THE_PRODUCT in marks for marks in by_layer.values()), "the search does not even find the product"


def test_nothing_secret_in_what_the_builder_tells(builds):
    for built in builds:
        assert SIGNATURE not in built.told
        assert "It stands in for its installer" not in built.told
        assert "cpack_skip_license" not in built.told


def test_the_image_by_address_works(builds):
    assert "Inscopix Data Processing 1.9.6" in container("--version", image=BY_URL, check=True).stdout


# --- the file system ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def files(public) -> dict[str, tarfile.TarInfo]:
    """Every file of the image as a container sees it, without what Docker mounts."""
    name = docker("create", public).stdout.strip()
    try:
        members = {"/" + member.name: member for member, _ in archived("docker", "export", name)}
    finally:
        docker("rm", name)
    assert "/app/bootstrap.py" in members
    return members


UNWANTED = {
    "pip": r"/(pip|pip3|pip3\.\d+|ensurepip|pip-\S+\.dist-info)$",
    "a compiler or linker": r"/s?bin/(\S+-)?(cc|c99|gcc|g\+\+|cpp|clang|ld|as|make)(-\d+)?$",
    "a package manager": r"/s?bin/(apt|dpkg)(-\S+)?$",
    "a way to become another user": r"/s?bin/(su|sudo|runuser|newgrp|sg)$",
    "package lists": r"^/var/lib/apt/lists/.+|^/var/cache/apt/.+\.(bin|deb)$",
    "logs": r"^/var/log/.+",
    "caches": r"^/root/\.cache/|^/tmp/.",
    "an installer": r"^/(app|opt|tmp|installer|build|root|home)/?.*\.(sh|whl|deb)$",
    "secrets": r"^/run/secrets",
    "tests of packages": r"/site-packages/.*/tests?$",
}


@pytest.mark.parametrize("pattern", UNWANTED.values(), ids=UNWANTED)
def test_not_in_the_image(pattern, files):
    matching = [path for path, member in files.items() if re.search(pattern, path) and not member.issym()]
    assert matching == []


def test_no_file_lends_rights(files):
    assert [
        path for path, member in files.items() if member.isfile() and member.mode & (stat.S_ISUID | stat.S_ISGID)
    ] == []


def test_code_belongs_to_root_and_only_root_may_write_it(files):
    code = {path: member for path, member in files.items() if path.startswith(("/app", "/opt", "/usr"))}
    assert [
        path for path, member in code.items() if not member.issym() and member.mode & 0o022 and member.mode < 0o2000
    ] == []
    assert {member.uid for member in code.values()} == {0}


def test_anyone_may_read_the_code(files):
    code = {path: member for path, member in files.items() if path.startswith(("/app", "/opt"))}
    assert [path for path, member in code.items() if member.isfile() and not member.mode & 0o004] == []
    assert [path for path, member in code.items() if member.isdir() and member.mode & 0o005 != 0o005] == []


def test_folders_that_all_may_write_are_sticky(files):
    shared = [member for member in files.values() if member.isdir() and member.mode & 0o002]
    assert [member.name for member in shared if not member.mode & stat.S_ISVTX] == []


def test_not_root(public, idps):
    for image in (public, idps):
        assert inspect(image)["Config"]["User"] == "1000:1000"
    assert container("id", "-u", check=True).stdout == "1000\n"


# --- what the image says of itself ---------------------------------------------------------------------------------


def test_labels_of_the_public_image(public):
    pinned = dict(re.findall(r'^ARG (ISX_\w+)="?([^"\n]+)"?$', (PROJECT / "Dockerfile").read_text(), re.MULTILINE))
    labels = inspect(public)["Config"]["Labels"]
    assert labels["isx.source"] == "public"
    assert labels["isx.version"] == labels["org.opencontainers.image.version"] == pinned["ISX_VERSION"]
    assert labels["isx.sha256"] == pinned["ISX_SHA256"]  # of the wheels for all Pythons; this one's is in the image:
    assert json.loads(container("cat", "/opt/inscopix/isx.json").stdout)["sha256"] in labels["isx.sha256"].split()
    assert labels["isx.redistributable"] == "true"
    assert labels["org.opencontainers.image.title"] == "isx"
    assert labels["org.opencontainers.image.base.name"]


def test_the_digest_of_the_base_is_what_its_name_carries_and_nothing_else(public):
    """Unless BASE_DIGEST gives it."""
    image = f"{IMAGE}-digest:public"
    run(
        "env",
        "-u",
        "BASE_DIGEST",
        "docker",
        "buildx",
        "bake",
        "image",
        "--set",
        f"image.tags={image}",
        ISX_SOURCE="public",
    )
    labels = inspect(image)["Config"]["Labels"]
    name, digest = (labels[f"org.opencontainers.image.base.{part}"] for part in ("name", "digest"))
    assert digest == name.partition("@")[2]


def test_labels_of_the_image_with_idps(idps):
    labels = inspect(idps)["Config"]["Labels"]
    assert labels["isx.source"] == "idps"
    assert labels["isx.version"] == "1.9.6"
    assert labels["isx.sha256"] == hashlib.sha256((INSTALLERS / "good.sh").read_bytes()).hexdigest()
    assert labels["isx.redistributable"] == "false"


def test_revision_and_time_of_the_commit(idps):
    git = ("git", "-C", PROJECT)
    if run(*git, "rev-parse", "HEAD", check=False).returncode:
        pytest.skip("this is no git checkout: there is no commit to name")
    image, commit = inspect(idps), run(*git, "rev-parse", "HEAD").stdout.strip()
    seconds = int(run(*git, "log", "-1", "--format=%ct").stdout)
    assert image["Config"]["Labels"]["org.opencontainers.image.revision"].removesuffix("-dirty") == commit
    assert image["Created"] == datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def test_provenance_is_attested_only_where_it_is_asked_for():
    """It holds the time of the build, and Docker's containerd store counts it to the image: no digest would come
    twice. That store is not the one of these tests."""

    def attested(*options: str) -> dict[str, object]:
        described = json.loads(bake("image", "--print", *options).stdout)["target"]["image"]
        return {its["type"]: its.get("mode", "") for its in described["attest"] if not its.get("disabled")}

    assert attested() == {}
    assert attested("--sbom=true", "--provenance=mode=max") == {"provenance": "max", "sbom": ""}


def test_bill_of_materials(public, idps, tmp_path):
    """Also valid by CycloneDX's own strict schema, which is not among the test tools."""
    for image, vendor in ((public, "isx"), (idps, "Inscopix Data Processing")):
        target = tmp_path / "sbom.cdx.json"
        run(sys.executable, PROJECT / "scripts/sbom.py", image, target)
        document = json.loads(target.read_text())
        assert (document["bomFormat"], document["specVersion"]) == ("CycloneDX", "1.6")
        components = {component["name"]: component for component in document["components"]}
        labels = inspect(image)["Config"]["Labels"]
        assert components[vendor]["version"] == labels["isx.version"]
        (digest,) = components[vendor]["hashes"]
        assert digest["alg"] == "SHA-256"
        assert digest["content"] in labels["isx.sha256"].split()
        locked = re.findall(r"^([\w-]+)==(\S+)", (PROJECT / "requirements.txt").read_text(), re.MULTILINE)
        releases = {(re.sub(r"[-_.]+", "-", name).lower(), its["version"]) for name, its in components.items()}
        assert set(locked) <= releases
        assert {"libc6", "libglib2.0-0", "python3.11-minimal"} <= set(components)
        assert components["uPlot"]["purl"] == f"pkg:npm/uplot@{components['uPlot']['version']}"
        references = [component["bom-ref"] for component in document["components"]]
        assert len(references) == len(set(references))


LICENCES = """
import json, re
from importlib.metadata import distributions
from pathlib import Path
installed = r"^Package: (.*)\\nStatus: install ok installed$"
packages = re.findall(installed, open("/var/lib/dpkg/status").read(), re.MULTILINE)
print(json.dumps({
    "packages": {name: Path("/usr/share/doc", name, "copyright").exists() for name in packages},
    "python": {d.name: [d.locate_file(file).exists() for file in d.files
                        if ".dist-info" in str(file) and "licen" in str(file).lower()] for d in distributions()},
}))
"""


def test_licences_of_everything_are_there(public):
    licences = json.loads(container(*CODE, LICENCES, check=True).stdout)
    assert [name for name, there in licences["packages"].items() if not there] == []
    assert [name for name, there in licences["python"].items() if not all(there)] == []
    assert {"numpy", "isx"} <= {name for name, there in licences["python"].items() if there}
    assert len(licences["packages"]) > 50


def test_no_secret_in_the_environment(public):
    names = {entry.partition("=")[0] for entry in inspect(public)["Config"]["Env"]}
    assert names == {"PATH", "LC_ALL", "HOME", "PYTHONDONTWRITEBYTECODE", "ISX_MPLCACHE"}


def test_only_the_api_where_that_is_asked_for(installers, tmp_path):
    image = f"{IMAGE}-api:idps"
    options = ["--set", f"image.tags={image}"]
    bake("image", *options, INSTALLER_DIR=slot(tmp_path / "slot", "good"), ACCEPT_EULA="Y", ISX_TREE="api")
    shown = container("find", "/opt/inscopix", "-type", "f", image=image, check=True).stdout
    assert "/Contents/API/Python/isx/__init__.py\n" in shown
    assert "/Contents/API/Python/isx/examples/example_preprocessing.py\n" in shown
    assert "/Contents/ThirdPartyLicenses.txt\n" in shown
    assert "GUI" not in shown
    assert "MATLAB" not in shown


def test_unreadable_files_of_a_product_are_mended(installers, tmp_path):
    image = f"{IMAGE}-unreadable:idps"
    options = ["--set", f"image.tags={image}"]
    bake("image", *options, INSTALLER_DIR=slot(tmp_path / "slot", "unreadable"), ACCEPT_EULA="Y")
    done = container("--check", image=image, options=["--user", "4321:8765"])
    assert done.returncode == 0, done.stderr


def test_size(public):
    """A guard against what creeps in: each layer, and all together, keep to the budget."""
    run(sys.executable, PROJECT / "scripts/size.py", public)
