#!/usr/bin/env python3
"""Write the software bill of materials of an image, in CycloneDX 1.6.

    sbom.py [image [file]]    default: isx:latest, build/sbom.cdx.json

The list is read inside the image: the distribution's packages from dpkg's records, Python's from their metadata, and
the vendor's tree as one component with its name, version and sha256. Standard library only.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

PROJECT = Path(__file__).resolve().parent.parent
IMAGE = os.environ.get("IMAGE", "isx") + ":latest"
TARGET = PROJECT / "build/sbom.cdx.json"

# Runs in the image.
READER = """
import json, re
from importlib.metadata import distributions
records = [dict(re.findall(r"^([A-Z][\\w-]*): (.*)$", record, re.MULTILINE))
           for record in open("/var/lib/dpkg/status", encoding="utf-8").read().split("\\n\\n")]
release = dict(line.split("=", 1) for line in open("/etc/os-release").read().splitlines() if "=" in line)
python = [(d.name, d.version, d.metadata.get("License-Expression") or d.metadata.get("License") or "")
          for d in distributions() if d.name != "isx"]
print(json.dumps({
    "packages": [[record[key] for key in ("Package", "Version", "Architecture")]
                 for record in records if record.get("Status") == "install ok installed"],
    "python": sorted(python),
    "isx": json.load(open("/opt/inscopix/isx.json")),
    "release": {key: value.strip('"') for key, value in release.items()},
    "charts": re.search(r"uPlot \\(v([\\d.]+)\\)", open("/app/pipeline/pages/vendor/uPlot.iife.min.js").read())[1],
}))
"""


def component(kind: str, name: str, version: str, purl: str = "", **more: object) -> dict:
    reference = purl or f"{name}@{version}"
    return {
        "type": kind,
        "bom-ref": reference,
        "name": name,
        "version": version,
        **({"purl": purl} if purl else {}),
        **more,
    }


def components(content: dict) -> list[dict]:
    release, isx = content["release"], content["isx"]
    distribution = f"{release['ID']}-{release['VERSION_ID']}"
    vendor = component(
        "library" if isx["source"] == "public" else "application",
        isx["name"],
        isx["version"],
        f"pkg:pypi/isx@{isx['version']}" if isx["source"] == "public" else "",
        supplier={"name": "Inscopix, Inc."},
        **({"hashes": [{"alg": "SHA-256", "content": isx["sha256"]}]} if isx["sha256"] else {}),
    )
    packages = [
        component(
            "library",
            name,
            version,
            f"pkg:deb/{release['ID']}/{quote(name)}@{quote(version)}?arch={architecture}&distro={distribution}",
        )
        for name, version, architecture in content["packages"]
    ]
    python = [
        component("library", name, version, f"pkg:pypi/{name.lower().replace('_', '-')}@{version}", **licence(text))
        for name, version, text in content["python"]
    ]
    system = component("operating-system", release["ID"], release["VERSION_ID"])
    charts = component("library", "uPlot", content["charts"], f"pkg:npm/uplot@{content['charts']}", **licence("MIT"))
    return [vendor, system, *packages, *python, charts]


def licence(text: str) -> dict:
    """The licence as the package names it; the long texts that some packages put there are left out."""
    return {"licenses": [{"license": {"name": text}}]} if text and len(text) < 80 else {}


def main(image: str = IMAGE, target: str = str(TARGET)) -> int:
    command = ["docker", "run", "--rm", "-i", "--network", "none", image, "python", "-c", READER]
    content = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    inspect = ["docker", "image", "inspect", "--format", "{{.Id}}", image]
    digest = subprocess.run(inspect, check=True, capture_output=True, text=True).stdout.strip()
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": component("container", image, digest)},
        "components": components(content),
    }
    Path(target).parent.mkdir(exist_ok=True)
    Path(target).write_text(json.dumps(document, indent=1) + "\n")
    print(f"{target}: {len(document['components'])} components")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
